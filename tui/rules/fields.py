"""Reading one TOML table of a rules file: typed fields out, faults with lines in. Nothing here ever raises.

What the file says is quoted in faults only after `clean_text`: it may be hostile.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tui.model.rule import RuleFault, Severity
from tui.model.text import clean_text
from tui.model.units import BPS, format_units, parse_units, whole
from tui.rules.spans import Path, Scan

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_COOLDOWN = 365 * 86_400
_EXACT_DECIMALS = 60
"""As many digits as a number text may have after its point: nothing that is written is dropped before it is judged."""
_EXACT_BPS = whole(_EXACT_DECIMALS - 2)

_DURATION = re.compile(r"([0-9]{1,9}) ?([smhd])", re.ASCII)


@dataclass(slots=True)
class FaultList:
    """Faults of one file, gathered in one pass."""

    file: str
    scan: Scan
    faults: list[RuleFault] = field(default_factory=list)

    def add(
        self,
        path: Path,
        what: str,
        fix: str,
        *,
        rule: str | None = None,
        severity: Severity = Severity.ERROR,
        line: int | None = None,
    ) -> None:
        """Note a fault at the key `path` (or at `line`). The field is the part of the path inside its rule."""
        inside = ".".join(str(part) for part in path[2:]) if path[:1] == ("rule",) else ".".join(map(str, path))
        at = self.scan.line_of(path) if line is None else line
        dotted = clean_text(inside, 120) if inside else None
        self.faults.append(RuleFault(self.file, at, what, fix, rule, dotted, severity))


def quoted(value: object, limit: int = 48) -> str:
    """A value of the file as it may be shown: cleaned, short, in quotes if it is text."""
    if isinstance(value, str):
        return f'"{clean_text(value, limit)}"' if value else '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return clean_text(str(value), limit)


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    spelled = {other.casefold(): other for other in known}
    matches = difflib.get_close_matches(word[:64].casefold(), list(spelled), n=1, cutoff=0.6)
    return spelled[matches[0]] if matches else None


def choices(words: Iterable[str]) -> str:
    """`"a", "b" or "c"`; nothing for no words."""
    texts = [f'"{word}"' for word in words]
    return f"{', '.join(texts[:-1])} or {texts[-1]}" if len(texts) > 1 else "".join(texts)


@dataclass(slots=True)
class TableReader:
    """Takes the fields of one table, each at most once; what is left over is unknown.

    `name` is how the table is called in messages: `rule "guard"`, `step 1 of rule "guard"`.
    """

    faults: FaultList
    table: Mapping[str, object]
    path: Path
    name: str
    rule: str | None
    taken: list[str] = field(default_factory=list)

    def fault(self, key: str | None, what: str, fix: str, severity: Severity = Severity.ERROR) -> None:
        """Note a fault at a key of this table, or at the table itself."""
        path = self.path if key is None else (*self.path, key)
        self.faults.add(path, what, fix, rule=self.rule, severity=severity)

    def take(self, key: str, required: str | None = None) -> object | None:
        """The raw value of a key. `required` is the line to write where it is missing; None: it may be missing."""
        self.taken.append(key)
        value = self.table.get(key)
        if value is None and required is not None:
            self.fault_missing(key, required)
        return value

    def fault_missing(self, key: str, example: str) -> None:
        """Note that a key is not there, at the table, but for the editor's field of that key."""
        line = self.faults.scan.line_of(self.path)
        self.faults.add((*self.path, key), f"{self.name} has no {key}", f"add {example}", rule=self.rule, line=line)

    def finish(self, reasons: Mapping[str, str] | None = None) -> None:
        """Note every key that nothing took. `reasons` are known words that belong elsewhere, with what to do."""
        for key in self.table:
            if key in self.taken:
                continue
            shown = clean_text(key, 40)
            guess = closest(key, (word for word in self.taken if word not in self.table))
            if reasons is not None and key in reasons:
                fix = reasons[key]
            elif guess is not None:
                fix = f"did you mean {guess}?"
            else:
                fix = f"remove it; known here: {', '.join(self.taken)}"
            self.fault(key, f'{self.name} has an unknown key "{shown}"', fix)

    def text(self, key: str, example: str, *, required: bool = True) -> str | None:
        """A text without surrounding space, or None with a fault noted."""
        value = self.take(key, f"{key} = {example}" if required else None)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault(key, f"{key} is {quoted(value)}, not a text in quotes", f"write {key} = {example}")
            return None
        if not value.strip():
            self.fault(key, f"{key} is empty", f"write {key} = {example}")
            return None
        return value.strip()

    def choice(
        self,
        key: str,
        words: tuple[str, ...],
        refused: Mapping[str, tuple[str, str]] | None = None,
        *,
        required: bool = True,
    ) -> str | None:
        """One of `words`. `refused` gives what and fix for words that are known but not possible."""
        value = self.text(key, f'"{words[0]}"', required=required)
        if value is None or value in words:
            return value
        if refused is not None and value in refused:
            self.fault(key, *refused[value])
            return None
        guess = closest(value, words)
        fix = f'did you mean "{guess}"?' if guess else f"write {choices(words)}"
        self.fault(key, f"{key} is {quoted(value)}, which is none of {choices(words)}", fix)
        return None

    def whole_number(self, key: str, default: int, lowest: int, highest: int) -> int | None:
        """A plain TOML integer, or `default` where absent."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.fault(key, f"{key} is {quoted(value)}, not a whole number", f"write {key} = {default}, without quotes")
            return None
        if not lowest <= value <= highest:
            self.fault(key, f"{key} is {quoted(value)}", f"write a whole number from {lowest} to {highest}")
            return None
        return value

    def flag(self, key: str) -> bool:
        """A plain `true` or `false`; false where it is absent or at fault."""
        value = self.take(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        meant = value.strip().casefold() if isinstance(value, str) else ""
        fix = f"write {key} = {meant if meant in ('true', 'false') else 'true'}, without quotes"
        self.fault(key, f"{key} is {quoted(value)}, neither true nor false", fix)
        return False

    def decimal(
        self, key: str, decimals: int, example: str, highest: int, *, required: bool = False, unit: str = ""
    ) -> int | None:
        """An exact decimal text above zero and at most `highest` whole units, in units of 10 ** -decimals."""
        value = self.take(key, f'{key} = "{example}"' if required else None)
        if value is None:
            return None
        text = self._number_text(key, value, example)
        if text is None:
            return None
        try:
            amount = parse_units(text, decimals)
        except ValueError:
            self.fault(
                key, f"{key} is {quoted(text)}, {_why_not_decimal(text, decimals)}", f'write it like "{example}"'
            )
            return None
        if amount <= 0:
            self.fault(key, f"{key} is {quoted(text)}, but must be above zero", f'write it like "{example}"')
            return None
        if amount > highest * 10**decimals:
            limit = f"{highest:,}{unit}" if highest < 10**15 else f"10^{len(str(highest)) - 1}{unit}"
            self.fault(key, f"{key} is {quoted(text)}, more than can be meant", f"write at most {limit}")
            return None
        return amount

    def share(self, key: str, example: str, highest: int = BPS, *, required: bool = False) -> int | None:
        """A percentage text above 0% up to `highest` basis points, read exactly: whole basis points or a fault."""
        value = self.take(key, f'{key} = "{example}"' if required else None)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            fits = isinstance(value, int) and 0 < value * 100 <= highest
            meant = f"{value}%" if fits else example
            self.fault(key, f"{key} is a bare number, not a percentage", f'write it like {key} = "{meant}"')
            return None
        text = self._number_text(key, value, example)
        if text is None:
            return None
        try:
            if not text.endswith("%"):
                raise ValueError(text)
            exact = parse_units(text[:-1], _EXACT_DECIMALS)
        except ValueError:
            self.fault(
                key,
                f"{key} is {quoted(text)}, not a percentage with at most two digits after the point",
                f'write it like "{example}"',
            )
            return None
        share, rest = divmod(exact, _EXACT_BPS)
        if not 0 < exact <= highest * _EXACT_BPS:
            self.fault(key, f"{key} is {quoted(text)}", f"write a share above 0% and up to {percent_text(highest)}")
            return None
        if rest:
            near = " or ".join(f'"{percent_text(bps)}"' for bps in (share, share + 1) if bps)
            self.fault(key, f"{key} is {quoted(text)}, which is finer than 0.01%", f"write {near}")
            return None
        return share

    def duration(self, key: str, default: int) -> int | None:
        """A time like "30s", "5m", "1h" or "1d", in seconds."""
        value = self.take(key)
        if value is None:
            return default
        match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            guess = f'"{value}s"' if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else '"5m"'
            self.fault(
                key, f"{key} is {quoted(value)}, not a time", f"write it like {guess}: a number and s, m, h or d"
            )
            return None
        seconds = int(match[1]) * SECONDS[match[2]]
        if seconds > LONGEST_COOLDOWN:
            self.fault(key, f"{key} is {quoted(value)}, longer than a year", 'write at most "365d"')
            return None
        return seconds

    def subtable(self, key: str, required: str | None) -> TableReader | None:
        """A table below this one, or None (with a fault unless it may be missing)."""
        value = self.take(key, required)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fault(key, f"{key} is {quoted(value)}, not a table", f"write {required or f'[rule.{key}]'}")
            return None
        return TableReader(self.faults, value, (*self.path, key), f"{key} of {self.name}", self.rule)

    def _number_text(self, key: str, value: object, example: str) -> str | None:
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, int | float) and not isinstance(value, bool):
            plain = str(value)
            fits = math.isfinite(value) if isinstance(value, float) else True
            fix = f'"{plain}"' if fits and "e" not in plain and len(plain) <= 40 else f'"{example}"'
            self.fault(key, f"{key} is a bare number, which is not read exactly", f"put it in quotes: {key} = {fix}")
        else:
            self.fault(key, f"{key} is {quoted(value)}, not a number in quotes", f'write {key} = "{example}"')
        return None


def plain_decimal(amount: int, decimals: int) -> str:
    """The shortest text of an exact amount: "5000", "0.25"."""
    text = format_units(amount, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent_text(bps: int) -> str:
    """The shortest text of a share in basis points: "0.5%", "25%"."""
    return f"{plain_decimal(bps, 2)}%"


def _why_not_decimal(text: str, decimals: int) -> str:
    if "," in text or "_" in text:
        return "with separators between the digits"
    if text.endswith("%"):
        return "a percentage where a plain number belongs"
    if text.startswith("$"):
        return "with a currency sign"
    whole, point, fraction = text.partition(".")
    if point and whole.isascii() and whole.isdigit() and fraction.isascii() and fraction.isdigit():
        if len(fraction.rstrip("0")) > decimals:
            return f"with more than {decimals} digits after the point"
        return "too long"
    return "not a plain decimal number"
