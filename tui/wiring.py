"""The composition root: options in, an engine with its ports out. The only place that knows every room.

Nothing here speaks to the network; the signer process is started here, before any loop or terminal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tui.aggregators.client import HttpAggregator
from tui.chain.client import ChainClient, open_chain
from tui.chain.clock import SystemClock
from tui.config.options import Options, RefusedForSafety, UsageError
from tui.config.paths import Paths, resolve_paths
from tui.engine.commands import Commands
from tui.engine.configwatch import ConfigWatch
from tui.engine.engine import Engine, Ports, Setup
from tui.engine.freshness import GRACE_SECONDS, SILENT_AFTER_BLOCKS
from tui.engine.handsign import ResumeSign
from tui.engine.killswitch import KillSwitch
from tui.journal.reading import SqliteReader, read_journal
from tui.journal.store import SqliteJournal, open_journal
from tui.model.network import Network
from tui.ports.clock import Clock
from tui.ports.journal import JournalError
from tui.protocols.base import LendingMarket
from tui.protocols.registry import make_market, protocols
from tui.quotes.base import Quoter, Swapper
from tui.quotes.registry import make_quoters, make_swapper
from tui.rules.load import load_rules

if TYPE_CHECKING:
    from tui.vault.client import SignerClient


@dataclass(slots=True)
class Wired:
    """An engine with everything it holds. `close_signer` may be called from anywhere, also twice."""

    network: Network
    paths: Paths
    engine: Engine
    commands: Commands
    chain: ChainClient
    journal: SqliteJournal | None
    record: SqliteReader | None
    signer: SignerClient | None
    aggregators: tuple[HttpAggregator, ...] = ()

    async def aclose(self) -> None:
        """Close connections, the record and the signer."""
        await self.chain.aclose()
        for one in self.aggregators:
            await one.aclose()
        if self.journal is not None:
            self.journal.close()
        if self.record is not None:
            self.record.close()
        self.close_signer()

    def close_signer(self) -> None:
        """End the signer process."""
        if self.signer is not None:
            self.signer.close()


def assemble(
    network: Network,
    paths: Paths,
    *,
    accounts: Sequence[str],
    rules_files: Sequence[Path],
    keystores: Mapping[str, Path],
    labels: Mapping[str, str] | None = None,
    signing: bool,
    signer: SignerClient | None = None,
    read_only_why: str = "",
    clock: Clock | None = None,
    config: ConfigWatch | None = None,
) -> Wired:
    """Put an engine together. With `signing` it holds the state directory's lock and a signer process (`signer`, or a
    new one). `config` watches the files that `network` was read from.

    Raises UsageError for a network without a usable market or node, JournalError where the record cannot be opened
    (JournalLocked where another engine holds it).
    """
    clock = clock or SystemClock()
    markets, notices = _markets(network)
    aggregators, unusable = _aggregators(network)
    try:
        chain = open_chain(network, clock)
    except ValueError as error:
        raise UsageError(f"network {network.name}: {error}") from error
    journal = open_journal(paths.state) if signing else None
    record = None if signing else _record(paths.state)
    if signing and signer is None:
        from tui.vault.client import spawn_signer

        signer = spawn_signer(paths.state)
    setup = Setup(
        network,
        markets,
        tuple(dict.fromkeys(account.lower() for account in accounts)),
        tuple(rules_files),
        {account.lower(): path for account, path in keystores.items()},
        dict(labels or {}),
        read_only=not signing,
        read_only_why=read_only_why,
        notices=(*notices, *unusable),
        config=config or ConfigWatch(()),
        quoters=_quoters(network),
        swapper=_swapper(network),
        aggregators=aggregators,
        dialects=tuple(one.dialect for one in aggregators),
    )
    ports = Ports(
        chain.heads,
        chain.reader,
        chain.simulator,
        chain.fees,
        chain.broadcaster,
        clock,
        journal,
        signer,
        record,
        chain.events,
    )
    engine = Engine(setup, ports, KillSwitch(paths.state), ResumeSign(paths.state))
    return Wired(network, paths, engine, Commands(engine), chain, journal, record, signer, aggregators)


def wire(
    options: Options,
    *,
    signing: bool,
    signer: SignerClient | None = None,
    labels: Mapping[str, str] | None = None,
    read_only_why: str = "no keystore is open here",
) -> Wired:
    """An engine from the command line's options. Raises UsageError and JournalError."""
    paths = paths_of(options)
    file = network_file(options, paths)
    # Before the file is read: an edit between the two is then seen as one.
    config = ConfigWatch(() if file is None else (file,))
    network = resolve_network(options, paths)
    keystores = find_keystores(options, paths)
    files = rules_files(options, paths)
    accounts = [*options.addresses, *keystores, *_named_in(files)]
    if not accounts:
        raise UsageError("no account to watch; give --address 0x... or --keystore FILE")
    return assemble(
        network,
        paths,
        accounts=accounts,
        rules_files=files,
        keystores=keystores,
        labels=labels,
        signing=signing,
        signer=signer,
        read_only_why=read_only_why,
        config=config,
    )


def _named_in(files: Sequence[Path]) -> list[str]:
    """Accounts that rules name one by one (`market/0x...`): who writes a rule for an account wants it watched."""
    named = []
    for path in files:
        with contextlib.suppress(OSError):
            positions = [rule.position for rule in load_rules(path).rules]
            named += [position.rpartition("/")[2] for position in positions if position.count("/") == 2]
    return named


def paths_of(options: Options) -> Paths:
    """Where files live. Raises UsageError where a directory cannot be made."""
    try:
        return resolve_paths(options.config, options.state)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; choose another --config or --state") from error


def state_directory(options: Options) -> Path:
    """The state directory."""
    return paths_of(options).state


def open_record(options: Options) -> SqliteReader:
    """The journal, to read only. Raises UsageError, JournalError."""
    return read_journal(state_directory(options))


def _record(state: Path) -> SqliteReader | None:
    """The journal of a state directory that another engine may be writing; None where there is none to read."""
    with contextlib.suppress(JournalError):
        return read_journal(state)
    return None


def network_file(options: Options, paths: Paths) -> Path | None:
    """The file that the network asked for is read from; None for one that comes along."""
    wanted = options.network
    if wanted is None:
        return paths.config / "network.toml"
    is_file = wanted.endswith(".toml") or "/" in wanted or Path(wanted).is_file()
    return Path(wanted) if is_file else None


def resolve_network(options: Options, paths: Paths) -> Network:
    """The network asked for: a file, a built-in name, or `network.toml` of the configuration. Raises UsageError."""
    from tui.config.networks import NetworkFault, builtin_network, load_network

    file = network_file(options, paths)
    try:
        if options.network is None and file is not None and not file.exists():
            raise UsageError("no network is named; give --network NAME or FILE (`trimtab practice` needs none)")
        network = builtin_network(options.network or "") if file is None else load_network(file)
    except NetworkFault as fault:
        raise UsageError(str(fault)) from fault
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from error
    if options.rpc:
        asked = sum(url.startswith("http") for url in options.rpc)
        if asked < network.quorum:
            raise UsageError(
                f"network {network.name}: {network.quorum} nodes must agree (quorum), but --rpc gives {asked} http(s) "
                "URLs; give --rpc for each of them, or lower quorum in the network file"
            )
        network = replace(network, rpc=options.rpc)
    if not network.rpc:
        raise UsageError(f"network {network.name} names no node; give --rpc URL")
    return network


def _markets(network: Network) -> tuple[tuple[LendingMarket, ...], tuple[str, ...]]:
    """The markets that this version can watch, and a lasting notice for each that it cannot.

    A market of a protocol that is not known yet must not blind the others; raises UsageError where none is left.
    """
    known = protocols()
    notices = tuple(
        f"market {config.protocol}/{config.name} is NOT watched: this version does not know {config.protocol}"
        for config in network.markets
        if config.protocol not in known
    )
    try:
        markets = tuple(make_market(config, network) for config in network.markets if config.protocol in known)
    except ValueError as error:
        raise UsageError(f"network {network.name}: {error}") from error
    if not markets:
        told = "; ".join(notices) or "it names no market; add a [[market]] table"
        raise UsageError(f"network {network.name}: {told} (known: {', '.join(known)})")
    return markets, notices


def _quoters(network: Network) -> tuple[Quoter, ...]:
    try:
        return make_quoters(network)
    except ValueError as error:
        raise UsageError(f"network {network.name}: {error}") from error


def _swapper(network: Network) -> Swapper | None:
    try:
        return make_swapper(network)
    except ValueError as error:
        raise UsageError(f"network {network.name}: {error}") from error


def longest_wait(network: Network) -> float:
    """Seconds that a defence may wait for an aggregator: a third of the time after which what was read of a silent
    chain is too old to sign on. Reading, asking the exchange and simulating want theirs as well.
    """
    return (SILENT_AFTER_BLOCKS * network.block_time + GRACE_SECONDS) / 3


def _aggregators(network: Network) -> tuple[tuple[HttpAggregator, ...], tuple[str, ...]]:
    """The aggregators of a network that can be asked, and a lasting notice for each that cannot: no defence depends on
    one, so none keeps an engine from starting.
    """
    from tui.vault.errors import KeystoreError
    from tui.vault.passwords import service_key_from_file

    usable, notices = [], []
    for config in network.aggregators:
        try:
            key = None if config.key_file is None else service_key_from_file(Path(config.key_file).expanduser())
        except KeystoreError as error:
            notices.append(f"{config.kind} is NOT asked for swaps: {error}")
            continue
        except RuntimeError:
            notices.append(
                f"{config.kind} is NOT asked for swaps: no home directory for key_file; write its whole path"
            )
            continue
        timeout = min(config.timeout, longest_wait(network))
        usable.append(HttpAggregator(replace(config, timeout=timeout), network.chain_id, key))
    return tuple(usable), tuple(notices)


def rules_files(options: Options, paths: Paths) -> tuple[Path, ...]:
    """The rules files: those named, else `rules.toml` of the configuration where it exists. Raises UsageError."""
    for path in options.rules:
        if not path.is_file():
            raise UsageError(f"--rules {path}: there is no such file")
    if options.rules:
        return options.rules
    default = paths.config / "rules.toml"
    return (default,) if default.exists() else ()


def find_keystores(options: Options, paths: Paths) -> dict[str, Path]:
    """Own accounts by lower-case address: the key files named, else those of the configuration. Raises UsageError.

    Key files are looked at, not opened; a named one that may not be used is refused with its fix.
    """
    from tui.vault.errors import KeystoreFault
    from tui.vault.keystore import inspect_keystore

    named: dict[str, Path] = {}
    for path in options.keystores:
        report = inspect_keystore(path)
        if report.faults or report.address is None:
            why = "; ".join(str(fault) for fault in report.faults) or "names no address"
            unsafe = any(fault.fault is KeystoreFault.UNSAFE for fault in report.faults)
            raise (RefusedForSafety if unsafe else UsageError)(f"--keystore {path}: {why}")
        first = named.setdefault(report.address.lower(), path)
        if first != path:
            raise UsageError(f"--keystore {path}: is of the same account as {first}; give one of the two")
    if named:
        return named
    found: dict[str, Path] = {}
    directory = paths.config / "keystore"
    for path in sorted(directory.glob("*.json")) if directory.is_dir() else ():
        report = inspect_keystore(path)
        if not report.faults and report.address is not None:
            found.setdefault(report.address.lower(), path)
    return found


def read_passwords(options: Options, accounts: Sequence[str]) -> dict[str, str] | None:
    """The passwords of the key files of `accounts`, by account, from private files or descriptors: one for all, or one
    for each in the order of the key files. None where none is given. Raises UsageError.
    """
    from tui.vault.errors import KeystoreError, KeystoreFault
    from tui.vault.passwords import password_from_descriptor, password_from_file

    given = len(options.password_files) + len(options.password_fds)
    if not given:
        return None
    if given not in (1, len(options.keystores)):
        option = "--password-file" if options.password_files else "--password-fd"
        files = "1 key file" if len(options.keystores) == 1 else f"{len(options.keystores)} key files"
        raise UsageError(
            f"{option} is given {given} times for {files}; give it once for all, or once for each --keystore in the "
            "same order"
        )
    try:
        passwords = [password_from_file(path) for path in options.password_files]
        passwords += [password_from_descriptor(number) for number in options.password_fds]
    except KeystoreError as error:
        raise (RefusedForSafety if error.fault is KeystoreFault.UNSAFE else UsageError)(str(error)) from error
    if given == 1:
        return dict.fromkeys(accounts, passwords[0])
    return dict(zip(accounts, passwords, strict=True))
