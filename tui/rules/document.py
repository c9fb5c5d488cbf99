"""A rules text with its meaning and its positions, and the cuts that edits are made of.

Each cut changes whole lines or one value; `Document.checked` reads the outcome back before anyone gets it.
"""

from __future__ import annotations

import copy
import re
import tomllib
from typing import Any

from tui.model.text import clean_text
from tui.rules.spans import Entry, Kind, Path, Scan, scan

Value = str | int | bool
"""What an edit may write."""

TABLES = ("when", "target", "limits")
_BOM = "\ufeff"
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_COMMENT_LINE = re.compile(r"[ \t]*#")


class EditRefused(Exception):
    """An edit that cannot be made without guessing; the text says why and what to do instead."""


def key_text(key: str) -> str:
    return key if _BARE.fullmatch(key) else value_text(key)


def value_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int):
        raise EditRefused(f"{type(value).__name__} is not a value of a rules file")
    if isinstance(value, int):
        return str(value)
    escaped = "".join(
        f"\\{character}" if character in '"\\' else character if character.isprintable() else f"\\U{ord(character):08X}"
        for character in value
    )
    return f'"{escaped}"'


class Document:
    """One text. Methods that cut return the body of the changed text and leave this one as it is.

    Raises EditRefused where the text is no TOML, or its rules are no list.
    """

    def __init__(self, text: str) -> None:
        self.bom = _BOM if text.startswith(_BOM) else ""
        self.body = text.removeprefix(_BOM)
        self.line_end = "\r\n" if "\r\n" in self.body else "\n"
        self.scan: Scan = scan(self.body)
        if self.scan.stopped_at is not None:
            raise EditRefused(f"line {self.scan.stopped_line} is not valid TOML; mend it in the text first")
        try:
            self.data: dict[str, Any] = tomllib.loads(self.body)
        except (ValueError, RecursionError, OverflowError):
            raise EditRefused("the text is not valid TOML; mend it in the text first") from None
        if not isinstance(self.data.get("rule", []), list):
            raise EditRefused("rule is not a list of tables; write [[rule]] in the text first")

    def names(self) -> tuple[str | None, ...]:
        tables = self.data.get("rule", [])
        names = (table.get("name") if isinstance(table, dict) else None for table in tables)
        return tuple(name if isinstance(name, str) else None for name in names)

    def rule_index(self, rule: str) -> int:
        found = [index for index, name in enumerate(self.names()) if name is not None and name.strip() == rule]
        if len(found) != 1:
            many = "more than one rule is" if found else "no rule is"
            raise EditRefused(f'{many} called "{clean_text(rule)}"; mend the names in the text')
        return found[0]

    def expected(self) -> dict[str, Any]:
        return copy.deepcopy(self.data)

    def checked(self, body: str, expected: dict[str, Any]) -> str:
        """The whole text, once it has been read back and means `expected`."""
        try:
            meant = tomllib.loads(body) == expected
        except (ValueError, RecursionError, OverflowError):
            meant = False
        if not meant:
            raise EditRefused("the file is written in a way that this cannot be changed in; change it in the text")
        return self.bom + body

    def is_inline(self, path: Path) -> bool:
        """Whether a list is written as `key = [...]`."""
        entry = self.scan.entry(path)
        return entry is not None and entry.kind is Kind.KEY

    def steps(self, rule: str) -> tuple[int, list[Any], dict[str, Any]]:
        index = self.rule_index(rule)
        expected = self.expected()
        steps = expected["rule"][index].get("step", [])
        if not isinstance(steps, list) or self.is_inline(("rule", index, "step")) or self.is_inline(("rule",)):
            raise EditRefused("the steps are written as an inline list; change them in the text")
        return index, steps, expected

    def replaced(self, start: int, end: int, text: str) -> str:
        return self.body[:start] + text + self.body[end:]

    def inserted_lines(self, at: int, text: str) -> str:
        """Whole lines put in at the start of a line (or at the end of the body)."""
        text = text.replace("\n", self.line_end)
        if at and not self.body[:at].endswith("\n"):
            text = self.line_end + text
        return self.replaced(at, at, text)

    def appended(self, text: str) -> str:
        body = self.body
        gap = "" if not body.strip() or re.search(r"\n[ \t]*\r?\n\Z", body) else "\n"
        return self.inserted_lines(len(body), gap + text)

    def with_key(self, path: Path, value: Value) -> str:
        """The body with a new key, in the table it belongs to; the table is made where there is none."""
        parent, key = path[:-1], str(path[-1])
        pair = f"{key_text(key)} = {value_text(value)}"
        entry = self.scan.entry(parent)
        if entry is not None and entry.kind in (Kind.HEADER, Kind.ARRAY_HEADER):
            return self.inserted_lines(self._after_last_key(entry), pair + "\n")
        if entry is not None:
            return self._with_inline_key(entry, pair)
        siblings = [item for item in self.scan.entries if item.path[:-1] == parent and not item.inline]
        if siblings:  # when.health_factor_below = "1.25", written with dots
            last = siblings[-1]
            prefix = self.body[last.start : last.value_start].rpartition(".")[0]
            return self.inserted_lines(self._line_after(last.value_end), f"{prefix}.{pair}\n")
        if len(parent) == 3 and parent[-1] in TABLES:
            table = str(parent[-1])
            header = self.scan.entry(parent[:-1])
            if header is None or header.kind is not Kind.ARRAY_HEADER:
                raise EditRefused("the rule is written inline; change it in the text")
            if table == "limits":
                _, end = self.block(parent[:-1])
                return self.inserted_lines(end, f"\n[rule.limits]\n{pair}\n")
            return self.inserted_lines(self._after_last_key(header), f"{table} = {{ {pair} }}\n")
        raise EditRefused("the file is written in a way that this cannot be added to; change it in the text")

    def without_key(self, entry: Entry) -> str:
        if not entry.inline:
            start = self._line_start(entry.start)
            comment = re.compile(r"[ \t]*(?=#)").match(self.body, entry.value_end)
            if comment is not None:  # what was said about it stays, on the line where it stood
                return self.replaced(entry.start, comment.end(), "")
            return self.cut(start, self._line_after(entry.value_end))
        body, start, end = self.body, entry.start, entry.value_end
        comma_after = re.compile(r"[ \t]*,[ \t]*").match(body, end)
        if comma_after is not None:
            return self.replaced(start, comma_after.end(), "")
        comma_before = re.search(r"[ \t]*,[ \t]*\Z", body[:start])
        return self.replaced(comma_before.start() if comma_before else start, end, "")

    def with_key_renamed(self, entry: Entry, key: str) -> str:
        """The body with another name for a key that is written plainly, its value and comment where they are."""
        old = str(entry.path[-1])
        if not re.compile(rf"{re.escape(old)}[ \t]*=").match(self.body, entry.start):
            raise EditRefused(f"{clean_text(old)} is not written as a plain key; change it in the text")
        return self.replaced(entry.start, entry.start + len(old), key_text(key))

    def with_step(self, index: int, place: int, count: int, step: str) -> str:
        rule = ("rule", index)
        if place < count:
            start, _ = self.block((*rule, "step", place))
            return self.inserted_lines(start, step + "\n")
        if count:
            _, end = self.block((*rule, "step", count - 1))
        else:
            header = self.scan.entry(rule)
            if header is None:
                raise EditRefused("the rule is written inline; change it in the text")
            end = self._after_last_key(header)
        spaced = "\n" + step
        follows = self.body[end:].lstrip(" \t")
        if follows and not follows.startswith(("\n", "\r\n")):
            spaced += "\n"
        return self.inserted_lines(end, spaced)

    def block(self, path: Path) -> tuple[int, int]:
        """Where a header's block starts and ends: with the comments directly above it, up to and including its last
        key and the comments right below. Blank lines after it are not part of it.
        """
        headers = [item for item in self.scan.entries if item.kind in (Kind.HEADER, Kind.ARRAY_HEADER)]
        own = next((item for item in headers if item.path == path), None)
        if own is None:
            raise EditRefused("the rule is written inline; change it in the text")
        inside = [item for item in self.scan.entries if item.path[: len(path)] == path]
        following = [item for item in headers if item.start > inside[-1].start]
        if any(own.start < item.start < inside[-1].start and item.path[: len(path)] != path for item in headers):
            raise EditRefused("the parts of the rule are not written together; change it in the text")
        limit = self._with_comments_above(following[0].start) if following else len(self.body)
        end = self._line_after(max(item.value_end for item in inside))
        while end < limit and _COMMENT_LINE.match(self.body, end):
            end = self._line_after(end)
        return self._with_comments_above(own.start), end

    def cut(self, start: int, end: int) -> str:
        """The body without whole lines; blank lines left on both sides become those of one side."""
        before, after = self.body[:start], self.body[end:]
        blank_before = not before.strip() or re.search(r"\n[ \t]*\r?\n\Z", before) is not None
        if blank_before:
            after = re.sub(r"\A(?:[ \t]*\r?\n)+", "", after)
        return before + after

    def _after_last_key(self, header: Entry) -> int:
        """The start of the line after the last key written under a header itself."""
        last = header.value_end
        for item in self.scan.entries:
            if item.start > header.start:
                if item.kind in (Kind.HEADER, Kind.ARRAY_HEADER):
                    break
                last = max(last, item.value_end)
        return self._line_after(last)

    def _with_inline_key(self, entry: Entry, pair: str) -> str:
        inner_end = entry.value_end - 1
        if self.body[inner_end : entry.value_end] != "}":
            raise EditRefused(f"{clean_text(str(entry.path[-1]))} is not a table; mend it in the text")
        inner = self.body[entry.value_start + 1 : inner_end]
        if not inner.strip():
            return self.replaced(entry.value_start, entry.value_end, f"{{ {pair} }}")
        kept = entry.value_start + 1 + len(inner.rstrip())
        return self.replaced(kept, kept, f", {pair}")

    def _with_comments_above(self, offset: int) -> int:
        """The start of the comment lines directly above a line, unless they are the heading of the file."""
        start = line = self._line_start(offset)
        while line > 0:
            above = self._line_start(line - 1)
            if not _COMMENT_LINE.match(self.body, above):
                return line
            line = above
        return start

    def _line_start(self, offset: int) -> int:
        return self.body.rfind("\n", 0, offset) + 1

    def _line_after(self, offset: int) -> int:
        found = self.body.find("\n", offset)
        return len(self.body) if found < 0 else found + 1
