"""Network files: from TOML of unknown origin to a `Network`, or to messages that say where, what and how to mend it.

Built-in networks are files of the same form beside this module; they name no node.
"""

from __future__ import annotations

import difflib
import logging
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlsplit

from tui.config.aggregators import MOST_SECONDS, aggregators_of
from tui.config.toml_text import shown_key, without_urls
from tui.model.masking import is_loopback
from tui.model.network import (
    AGGREGATORS,
    DE_RISK,
    PRICE_HEARTBEAT,
    MarketConfig,
    Network,
    RelayConfig,
    SwapConfig,
)
from tui.model.text import clean_text
from tui.rules.fields import SECONDS
from tui.rules.spans import Path, Scan, scan

MAX_FILE_BYTES = 256 * 1024
MOST_URLS = 16
MOST_TABLES = 64

_T = TypeVar("_T")
_BUILT_IN = FilePath(__file__).parent / "chains"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", re.ASCII)
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)
_WORD32 = re.compile(r"0[xX][0-9a-fA-F]{64}", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9}) ?([smhd])", re.ASCII)
_LONGEST_HEARTBEAT = 365 * 86_400
_PLACE = re.compile(r" ?\(at (?:line (\d+), column \d+|end of document)\)$")
_TOP_KEYS = (
    "name", "chain_id", "block_time", "confirmations", "rpc", "quorum", "wrapped_native", "native_usd_feed",
    "multicall3", "market", "swap", "helpers", "relay", "degraded", "rpc_budget", "max_lag",
    "l1_fee_oracle",
)  # fmt: skip

_log = logging.getLogger(__name__)


class NetworkFault(Exception):
    """A network file or name cannot be used. The text has a line `FILE:LINE: what; fix` for each fault."""


@dataclass(frozen=True, slots=True)
class NetworkReading:
    """A file as read. `network` is None where `errors` has something; `warnings` want to be read all the same."""

    network: Network | None
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def builtin_names() -> tuple[str, ...]:
    """The names of the networks that come along, sorted."""
    return tuple(sorted(file.stem for file in _BUILT_IN.glob("*.toml")))


def builtin_network(name: str) -> Network:
    """A network that comes along, without nodes. Raises NetworkFault for a name that does not."""
    names = builtin_names()
    if name not in names:
        known = ", ".join(names)
        raise NetworkFault(f"no network is called {clean_text(name, 40)!r}; use one of {known}, or give a network file")
    return load_network(_BUILT_IN / f"{name}.toml")


def load_network(path: FilePath) -> Network:
    """The network of a file; warnings go to the log. Raises NetworkFault, and OSError where it cannot be read."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    reading = parse_network(content, str(path))
    for warning in reading.warnings:
        _log.warning("%s", warning)
    if reading.network is None:
        raise NetworkFault("\n".join(reading.errors))
    return reading.network


def parse_network(content: bytes, file: str) -> NetworkReading:
    """The network in a file's content; `file` is what messages call it. Never raises."""
    reader = _Reader("".join(character if character.isprintable() else "?" for character in file))
    network = _parse(content, reader)
    errors = _in_order(reader.errors)
    return NetworkReading(None if errors else network, errors, _in_order(reader.warnings))


def _in_order(faults: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(text for _, text in sorted(faults, key=lambda fault: fault[0]))


def _parse(content: bytes, reader: _Reader) -> Network | None:
    if len(content) > MAX_FILE_BYTES:
        reader.add_line(1, f"larger than {MAX_FILE_BYTES // 1024} KiB", "a network needs a few lines")
        return None
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        reader.add_line(line, f"byte 0x{content[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        return None
    data = _toml(text, reader)
    return None if data is None else _network(data, reader)


def _toml(text: str, reader: _Reader) -> dict[str, object] | None:
    found = reader.scan = scan(text)
    if found.limit is not None:
        reader.add_line(found.stopped_line, found.limit, "write it plainly: a network needs nothing of the kind")
        return None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        for entry, first in found.duplicates():
            key = shown_key(entry.path[-1])
            reader.add_line(entry.line, f"{key} is written twice, first on line {first}", "keep one of the two")
        if not reader.errors:
            message = str(error)
            place = _PLACE.search(message)
            line = int(place[1]) if place and place[1] else text.rstrip().count("\n") + 1
            what = clean_text(without_urls(_PLACE.sub("", message)), 100)
            reader.add_line(line, f"not valid TOML ({what})", "mend that line")
    except (ValueError, RecursionError, OverflowError):
        reader.add_line(1, "not readable as TOML", "write it plainly, as in the documentation")
    return None


def _network(data: Mapping[str, object], reader: _Reader) -> Network | None:
    reader.warn_unknown(data, (), _TOP_KEYS)
    name = reader.take(data, ("name",), _name, required=True)
    chain_id = reader.take(data, ("chain_id",), _whole(1, 2**63 - 1), required=True)
    block_time = reader.take(data, ("block_time",), _seconds, required=True)
    confirmations = reader.take(data, ("confirmations",), _whole(1, 10_000))
    quorum = reader.take(data, ("quorum",), _whole(1, MOST_URLS))
    rpc = reader.take(data, ("rpc",), _urls) or ()
    asked = sum(url.startswith("http") for url in rpc)
    if rpc and quorum is not None and quorum > asked:
        reader.add(
            ("quorum",), f"{quorum} nodes must agree but only {asked} http(s) URLs are listed", "list more, or lower it"
        )
    addresses = {
        key: reader.take(data, (key,), _address)
        for key in ("wrapped_native", "native_usd_feed", "multicall3", "l1_fee_oracle")
    }
    markets = tuple(
        _market(heads, options, path, reader)
        for path, heads, options in reader.tables(data, "market", ("protocol", "name"), unique=True)
    )
    rows = reader.tables(data, "swap", ("kind",), own=_AGGREGATOR_READERS)
    swaps = tuple(SwapConfig(heads[0], options) for _, heads, options in rows if heads[0] not in AGGREGATORS)
    services = [(path, heads[0], options) for path, heads, options in rows if heads[0] in AGGREGATORS]
    aggregators = aggregators_of(services, swaps, reader)
    degraded = reader.take(data, ("degraded",), _degraded) or ""
    if degraded and (quorum is None or quorum < 2):
        reader.add(("degraded",), "degraded lowers a quorum, and there is none", "set quorum = 2 or more, or remove it")
    budget = reader.take(data, ("rpc_budget",), _whole(1, 100_000))
    max_lag = reader.take(data, ("max_lag",), _duration)
    relay = _relay(reader.take(data, ("relay",), _table), reader)
    helpers = reader.take(data, ("helpers",), _table) or {}
    helper_addresses = {key: reader.take(helpers, ("helpers", key), _address) for key in helpers}
    if reader.errors or name is None or chain_id is None or block_time is None:
        return None
    return Network(
        name=name,
        chain_id=chain_id,
        block_time=block_time,
        confirmations=2 if confirmations is None else confirmations,
        rpc=rpc,
        quorum=1 if quorum is None else quorum,
        wrapped_native=addresses["wrapped_native"],
        native_usd_feed=addresses["native_usd_feed"],
        multicall3=addresses["multicall3"],
        markets=markets,
        swaps=swaps,
        aggregators=aggregators,
        helpers=MappingProxyType({key: value for key, value in helper_addresses.items() if value is not None}),
        relay=relay,
        degraded=degraded,
        rpc_budget=budget,
        l1_fee_oracle=addresses["l1_fee_oracle"],
        max_lag=max_lag,
    )


def _relay(table: Mapping[str, object] | None, reader: _Reader) -> RelayConfig | None:
    if table is None:
        return None
    reader.warn_unknown(table, ("relay",), ("url", "public_after"))
    url = reader.take(table, ("relay", "url"), _http_url, required=True)
    blocks = reader.take(table, ("relay", "public_after"), _whole(1, 100))
    if url is None:
        return None
    return RelayConfig(url) if blocks is None else RelayConfig(url, blocks)


def _market(heads: tuple[str, ...], options: Mapping[str, object], path: Path, reader: _Reader) -> MarketConfig:
    own = {key: value for key, value in options.items() if key != "price_heartbeat"}
    beat = None
    # A value that is no text or number at all has been told already, and stands here as nothing.
    if options.get("price_heartbeat") is not None:
        beat = reader.take(options, (*path, "price_heartbeat"), _duration)
    return MarketConfig(heads[0], heads[1], MappingProxyType(own), PRICE_HEARTBEAT if beat is None else beat)


class _Wrong(ValueError):
    """A value that cannot be used: what is wrong, and the fix."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


@dataclass(slots=True)
class _Reader:
    """Collects faults with their lines."""

    file: str
    scan: Scan | None = None
    errors: list[tuple[int, str]] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)

    def add(self, path: Path, what: str, fix: str) -> None:
        """A fault at a key."""
        self.add_line(1 if self.scan is None else self.scan.line_of(path), what, fix)

    def add_line(self, line: int, what: str, fix: str) -> None:
        """A fault at a line."""
        self.errors.append((line, f"{self.file}:{line}: {what}; {fix}"))

    def warn_unknown(self, table: Mapping[str, object], path: Path, known: tuple[str, ...]) -> None:
        """Say which keys mean nothing here, and which they may have been meant to be."""
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key[:40], known, 1)
                fix = f"did you mean {near[0]}?" if near else "remove it"
                line = 1 if self.scan is None else self.scan.line_of((*path, key))
                self.warnings.append((line, f"{self.file}:{line}: {shown_key(key)} means nothing here; {fix}"))

    def take(
        self, table: Mapping[str, object], path: Path, read: Callable[[object], _T], *, required: bool = False
    ) -> _T | None:
        """One value as `read` makes it, or None with a fault."""
        key = path[-1]
        if key not in table:
            if required:
                self.add(path[:-1], f"{key} is missing", f"add {key} = ...")
            return None
        try:
            return read(table[str(key)])
        except _Wrong as wrong:
            self.add(path, f"{shown_key(key)} {wrong.what}", wrong.fix)
            return None

    def tables(
        self,
        data: Mapping[str, object],
        kind: str,
        heads: tuple[str, ...],
        *,
        unique: bool = False,
        own: Mapping[str, Callable[[object], object]] = MappingProxyType({}),
    ) -> list[tuple[Path, tuple[str, ...], Mapping[str, object]]]:
        """The `[[kind]]` tables: where they stand, the texts of `heads`, and every other key; `own` has the readers of
        keys that are more than an option.
        """
        rows = data.get(kind, [])
        if not isinstance(rows, list) or len(rows) > MOST_TABLES or not all(isinstance(row, dict) for row in rows):
            self.add((kind,), f"{kind} is not a list of at most {MOST_TABLES} tables", f"write it as [[{kind}]]")
            return []
        found: list[tuple[Path, tuple[str, ...], Mapping[str, object]]] = []
        for index, row in enumerate(rows):
            path: Path = (kind, index)
            texts = [self.take(row, (*path, head), _name, required=True) for head in heads]
            options = {key: self.take(row, (*path, key), own.get(key, _option)) for key in row if key not in heads}
            if any(text is None for text in texts):
                continue
            named = tuple(text for text in texts if text is not None)
            if unique and any(named == other for _, other, _ in found):
                self.add(path, f"{kind} {'/'.join(named)} is there twice", "give each its own name")
            found.append((path, named, MappingProxyType(options)))
        return found


def _name(value: object) -> str:
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise _Wrong("is not a plain name", "use up to 40 letters, digits, dots, dashes")
    return value


def _whole(lowest: int, highest: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise _Wrong("is out of range or not a whole number", f"write a number from {lowest} to {highest}")
        return value

    return read


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _Wrong("is not a number of seconds", "write seconds, such as 12.0")
    if not 0.05 <= value <= 3600:
        raise _Wrong("is out of range", "write seconds from 0.05 to 3600")
    return float(value)


def _duration(value: object) -> int:
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    seconds = 0 if match is None else int(match[1]) * SECONDS[match[2]]
    if not 0 < seconds <= _LONGEST_HEARTBEAT:
        raise _Wrong("is not a time of at most a year", 'write it like "25h": a number and s, m, h or d')
    return seconds


def _table(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _Wrong("is not a table", "write it as a [table] with keys of its own")
    return value


def _urls(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_URLS:
        raise _Wrong(f"is not a list of at most {MOST_URLS} URLs", 'write rpc = ["https://..."]')
    return tuple(dict.fromkeys(_url(one) for one in value))


def _url(value: object) -> str:
    # The URL itself is never repeated in a message: it may hold a token.
    fix = "use an http, https, ws or wss URL with a host"
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise _Wrong("holds something that is not a URL", fix)
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname) and len(value) <= 2048
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise _Wrong("holds a URL that cannot be used", fix)
    return value


def _http_url(value: object) -> str:
    url = _url(value)
    if not url.startswith(("http://", "https://")):
        raise _Wrong("is not an http or https URL", "give the relay's https URL")
    return url


def _service_url(value: object) -> str:
    url = _url(value)
    if urlsplit(url).query or urlsplit(url).fragment or not url.startswith(("http://", "https://")):
        raise _Wrong("is not the https URL of a service, without ? and #", "give it as its makers write it")
    if url.startswith("http://") and not is_loopback(url):
        raise _Wrong("would send the key for everybody to read", "use https")
    return url


def _patience(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.1 <= value <= MOST_SECONDS:
        raise _Wrong("is not a time that a defence may wait", f"write seconds from 0.1 to {MOST_SECONDS:g}")
    return float(value)


def _file_name(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 1000 or not value.startswith(("/", "~/")):
        raise _Wrong(
            "is not the whole path of a file", 'write it from the top, like "/home/you/keys/0x" or "~/keys/0x"'
        )
    return value


_AGGREGATOR_READERS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {"url": _service_url, "timeout": _patience, "key_file": _file_name}
)


def _degraded(value: object) -> str:
    if value != DE_RISK:
        raise _Wrong("is not a way to go on", f'write degraded = "{DE_RISK}", or remove it')
    return DE_RISK


def _address(value: object) -> str:
    if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
        raise _Wrong("is not an address", "write 0x and 40 hex digits")
    digits = value[2:]
    if digits not in (digits.lower(), digits.upper()) and digits != _checksummed(digits.lower()):
        raise _Wrong("has capitals that do not fit its checksum: a character is mistyped", "copy the address again")
    return "0x" + digits.lower()


def _checksummed(digits: str) -> str:
    """The capitals of an address by EIP-55."""
    from eth_hash.auto import keccak  # loads a native library: not at import time

    hashed = keccak(digits.encode()).hex()
    return "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit for digit, nibble in zip(digits, hashed, strict=False)
    )


def _option(value: object) -> object:
    """A protocol's own key: a text, a whole number, a switch, or a list of them. Addresses are checked."""
    if isinstance(value, list):
        if len(value) > 1000 or any(isinstance(one, list) for one in value):
            raise _Wrong("is too long a list or a list of lists", "write one short list")
        return tuple(_option(one) for one in value)
    if isinstance(value, bool) or (type(value) is int and abs(value) < 2**63):
        return value
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise _Wrong("is neither a short text nor a whole number", "write it as text in quotes")
    if value[:2] in ("0x", "0X") and len(value) == 66 and _WORD32.fullmatch(value):
        return value.lower()
    return _address(value) if value[:2] in ("0x", "0X") else value
