"""Where every key of a TOML text stands: offsets and lines, which the parsers do not tell.

A scan never raises and never recurses, whatever the text; what the text means is for `tomllib` to say.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass, field
from enum import Enum

Path = tuple[str | int, ...]

MAX_NESTING = 16
"""Brackets within brackets, and parts of one dotted key. A rules file needs three."""
MAX_BARE_VALUE = 64
"""Characters of a number or date. Longer ones cost quadratic time to read and mean nothing here."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]\}#\r\n]*")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_LITERAL = re.compile(r"'[^'\n]*'")


class Kind(Enum):
    """What an entry is: `[table]`, `[[table of a list]]`, `key = value`, or a member of a `[list]`."""

    HEADER = "header"
    ARRAY_HEADER = "array header"
    KEY = "key"
    ITEM = "item"


@dataclass(slots=True)
class Entry:
    """One key, header or list member. Offsets count characters; `line` from 1.

    `path` has an integer for each list passed through. For headers the value is the header itself.
    """

    path: Path
    kind: Kind
    line: int
    start: int
    value_start: int
    value_end: int
    inline: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """All entries in the order of the text. `stopped_at` is the offset where the text ceased to be TOML, or None;
    `limit` says which limit of ours was passed there, if it was one.
    """

    entries: tuple[Entry, ...]
    lines: dict[Path, int]
    stopped_at: int | None
    stopped_line: int
    limit: str | None

    def line_of(self, path: Path) -> int:
        """The line of a path, or of its nearest parent that is written down; 1 where there is none."""
        for length in range(len(path), 0, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return line
        return 1

    def entry(self, path: Path) -> Entry | None:
        """The entry that is written exactly as `path`, or None."""
        return next((entry for entry in self.entries if entry.path == path), None)

    def duplicates(self) -> tuple[tuple[Entry, int], ...]:
        """Keys and tables written twice, each with the line of the first."""
        first: dict[tuple[Path, bool], int] = {}
        found = []
        for entry in self.entries:
            if entry.kind is Kind.KEY or entry.kind is Kind.HEADER:
                key = (entry.path, entry.kind is Kind.KEY)
                if key in first:
                    found.append((entry, first[key]))
                else:
                    first[key] = entry.line
        return tuple(found)


def scan(text: str) -> Scan:
    """The positions in `text`, as far as it is TOML and within the limits of this module."""
    scanner = _Scanner(text)
    stopped_at, limit = None, None
    try:
        scanner.document()
    except _StopScan as stop:
        stopped_at, limit = scanner.position, stop.limit
    line = scanner.line(scanner.position if stopped_at is None else stopped_at)
    return Scan(tuple(scanner.entries), scanner.lines, stopped_at, line, limit)


class _StopScan(Exception):
    def __init__(self, limit: str | None = None) -> None:
        super().__init__(limit)
        self.limit = limit


@dataclass(slots=True)
class _Frame:
    """An open bracket: the entry whose value it is, and how many members it has so far."""

    entry: Entry
    is_list: bool
    count: int = 0


@dataclass(slots=True)
class _Scanner:
    text: str
    position: int = 0
    entries: list[Entry] = field(default_factory=list)
    lines: dict[Path, int] = field(default_factory=dict)
    _list_lengths: dict[Path, int] = field(default_factory=dict)
    _line_starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", self.text))]

    def line(self, offset: int) -> int:
        return bisect_right(self._line_starts, offset)

    def document(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BLANK)
            if self.position >= len(self.text):
                return
            if self._peek() == "[":
                table = self._header()
            else:
                self._value(self._key(table, inline=False))
            if not self._skip(_LINE_END):
                raise _StopScan

    def _header(self) -> Path:
        start = self.position
        is_list = self.text.startswith("[[", start)
        self.position += 2 if is_list else 1
        parts = self._key_parts()
        if not self.text.startswith("]]" if is_list else "]", self.position):
            raise _StopScan
        self.position += 2 if is_list else 1
        path: Path = ()
        for number, part in enumerate(parts, start=1):
            path += (part,)
            if number < len(parts) and path in self._list_lengths:
                path += (self._list_lengths[path] - 1,)
        if is_list:
            length = self._list_lengths.get(path, 0)
            self._list_lengths[path] = length + 1
            path += (length,)
        kind = Kind.ARRAY_HEADER if is_list else Kind.HEADER
        self._record(Entry(path, kind, self.line(start), start, start, self.position))
        return path

    def _key(self, table: Path, *, inline: bool) -> Entry:
        start = self.position
        parts = self._key_parts()
        if self._peek() != "=":
            raise _StopScan
        self.position += 1
        self._skip(_SPACE)
        entry = Entry((*table, *parts), Kind.KEY, self.line(start), start, self.position, self.position, inline)
        self._record(entry)
        return entry

    def _key_parts(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            parts.append(self._key_part())
            if len(parts) > MAX_NESTING:
                raise _StopScan(f"a key has more than {MAX_NESTING} parts")
            self._skip(_SPACE)
            if self._peek() != ".":
                return parts
            self.position += 1

    def _key_part(self) -> str:
        start = self.position
        quote = self._peek()
        if quote in ('"', "'"):
            if not self._skip(_BASIC if quote == '"' else _LITERAL):
                raise _StopScan
            raw = self.text[start : self.position]
            if "\\" not in raw or quote == "'":
                return raw[1:-1]
            try:
                return str(tomllib.loads(f"key = {raw}")["key"])
            except ValueError:
                raise _StopScan from None
        if not self._skip(_BARE_KEY):
            raise _StopScan
        return self.text[start : self.position]

    def _value(self, entry: Entry) -> None:
        frames: list[_Frame] = []
        self._open(entry, frames)
        while frames:
            frame = frames[-1]
            closing = "]" if frame.is_list else "}"
            self._skip(_BLANK)
            if frame.count and self._peek() == ",":
                self.position += 1
                self._skip(_BLANK)
            elif frame.count and self._peek() != closing:
                raise _StopScan
            if self._peek() == closing:
                self.position += 1
                frame.entry.value_end = self.position
                frames.pop()
                continue
            if frame.is_list:
                here = self.position
                member = Entry((*frame.entry.path, frame.count), Kind.ITEM, self.line(here), here, here, here, True)
                self._record(member)
            else:
                member = self._key(frame.entry.path, inline=True)
            frame.count += 1
            self._open(member, frames)

    def _open(self, entry: Entry, frames: list[_Frame]) -> None:
        """Step over a plain value, or into a bracket."""
        character = self._peek()
        if character in ("[", "{"):
            if len(frames) >= MAX_NESTING:
                raise _StopScan(f"brackets are nested deeper than {MAX_NESTING}")
            self.position += 1
            frames.append(_Frame(entry, character == "["))
            return
        if character in ('"', "'"):
            triple = self.text.startswith(character * 3, self.position)
            if not (self._long_string(character) if triple else self._skip(_BASIC if character == '"' else _LITERAL)):
                raise _StopScan
        else:
            match = _BARE_VALUE.match(self.text, self.position)
            bare = match[0].rstrip(" \t") if match else ""
            if not bare:
                raise _StopScan
            if len(bare) > MAX_BARE_VALUE:
                raise _StopScan(f"a value without quotes is longer than {MAX_BARE_VALUE} characters")
            self.position += len(bare)
        entry.value_end = self.position

    def _long_string(self, quote: str) -> bool:
        """Step over a multi-line string; up to two quotes of its text may touch the closing three."""
        position = self.position + 3
        while True:
            position = self.text.find(quote * 3, position)
            if position < 0:
                return False
            if quote == '"' and self._is_escaped(position):
                position += 1
                continue
            position += 3
            for _ in range(2):
                if self.text.startswith(quote, position):
                    position += 1
            self.position = position
            return True

    def _is_escaped(self, position: int) -> bool:
        before = position
        while self.text[before - 1] == "\\":
            before -= 1
        return (position - before) % 2 == 1

    def _record(self, entry: Entry) -> None:
        self.entries.append(entry)
        for length in range(1, len(entry.path) + 1):
            self.lines.setdefault(entry.path[:length], entry.line)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.position)
        if match is None:
            return False
        self.position = match.end()
        return True

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]
