"""Lines of styled text by role: what every pane draws, made without Textual and tested without it.

A role is a word such as "risk" or "muted"; only the palette of a theme knows its colour. Nothing here reads markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, overload

from rich.cells import cell_len, set_cell_size

Align = Literal["left", "right", "center"]


class Span(NamedTuple):
    """A piece of text in one role; `action` is the id of what a click on it does, or empty."""

    text: str
    role: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a pane. `ground` is the role of its background; `tag` names what the row stands for (a click on it
    chooses that), empty where nothing.
    """

    spans: tuple[Span, ...] = ()
    ground: str = ""
    tag: str = ""

    @property
    def text(self) -> str:
        """The line without roles."""
        return "".join(span.text for span in self.spans)


BLANK = Line()


class Lazy(Sequence[Line]):
    """Lines of which only those that are looked at are made: `head`, then `count` entries of `height` lines each."""

    def __init__(self, head: Sequence[Line], count: int, height: int, make: Callable[[int], Sequence[Line]]) -> None:
        self._head, self._count, self._height, self._make = head, count, height, make
        self._made: dict[int, Sequence[Line]] = {}

    def __len__(self) -> int:
        return len(self._head) + self._count * self._height

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = index + len(self) if index < 0 else index
        if not 0 <= row < len(self):
            raise IndexError(index)
        if row < len(self._head):
            return self._head[row]
        entry, part = divmod(row - len(self._head), self._height)
        made = self._made.get(entry)
        if made is None:
            made = self._made[entry] = self._make(entry)
        return made[part]


def line(*parts: Span | tuple[str, str] | str, ground: str = "", tag: str = "") -> Line:
    """A line of spans, (text, role) pairs and plain texts."""
    spans = []
    for part in parts:
        if isinstance(part, Span):
            spans.append(part)
        elif isinstance(part, str):
            spans.append(Span(part))
        else:
            spans.append(Span(*part))
    return Line(tuple(span for span in spans if span.text), ground, tag)


def width_of(spans: Iterable[Span]) -> int:
    """Terminal cells that the spans take."""
    return sum(cell_len(span.text) for span in spans)


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` cells, an ellipsis where something is cut off."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"


def cell(text: str, width: int, role: str = "", align: Align = "left", action: str = "") -> Span:
    """`text` in exactly `width` cells."""
    fitted = shorten(text, width)
    room = max(0, width - cell_len(fitted))
    if align == "right":
        fitted = " " * room + fitted
    elif align == "center":
        fitted = " " * (room // 2) + fitted + " " * (room - room // 2)
    else:
        fitted += " " * room
    return Span(fitted, role, action)


def clip(spans: Sequence[Span], width: int) -> tuple[Span, ...]:
    """The spans in at most `width` cells, an ellipsis where something is cut off."""
    if width_of(spans) <= width:
        return tuple(spans)
    kept: list[Span] = []
    left = width
    for span in spans:
        taken = cell_len(span.text)
        if taken < left:
            kept.append(span)
            left -= taken
            continue
        if left > 0:
            text = set_cell_size(span.text, left - 1) + "…" if left > 1 else "…"
            kept.append(Span(text, span.role, span.action))
        break
    return tuple(kept)


def split(left: Sequence[Span], right: Sequence[Span], width: int, ground: str = "", tag: str = "") -> Line:
    """`left` at the left edge and `right` at the right edge; `right` is kept whole as long as it fits."""
    right = clip(right, width)
    room = width - width_of(right)
    left = clip(left, max(0, room - 1))
    gap = width - width_of(left) - width_of(right)
    return Line((*left, Span(" " * gap), *right), ground, tag)


def wrap(text: str, width: int, role: str = "", first: str = "", indent: str = "") -> list[Line]:
    """`text` on as many lines as it needs; words longer than a line are broken. `first` leads the first line,
    `indent` the others.
    """
    lines: list[Line] = []
    lead, current = first, ""
    for word in text.split():
        while True:
            room = max(1, width - cell_len(lead))
            candidate = f"{current} {word}" if current else word
            if cell_len(candidate) <= room:
                current = candidate
                break
            if current:
                lines.append(line((lead + current, role)))
                lead, current = indent, ""
                continue
            head = _head(word, room)
            lines.append(line((lead + head, role)))
            lead, word = indent, word[len(head) :]
            if not word:
                break
    if current:
        lines.append(line((lead + current, role)))
    return lines


def _head(word: str, room: int) -> str:
    """As many whole characters as fit, at least one."""
    taken = 1
    while taken < len(word) and cell_len(word[: taken + 1]) <= room:
        taken += 1
    return word[:taken]


def heading(title: str, width: int, note: str = "") -> Line:
    """A thin rule with a title at the left and a quiet note at the right."""
    left = f"─ {title} " if title else ""
    right = f" {note} ─" if note else ""
    if cell_len(left) + cell_len(right) + 2 > width:
        right = ""
    rule = "─" * max(0, width - cell_len(left) - cell_len(right))
    if not title:
        return line((rule + right, "rule"))
    return line(("─ ", "rule"), (title, "title"), (" ", "rule"), (rule, "rule"), *([(right, "muted")] if note else []))


def fitted(lines: Iterable[Line], width: int) -> list[Line]:
    """The lines, each in at most `width` cells."""
    return [row if width_of(row.spans) <= width else Line(clip(row.spans, width), row.ground, row.tag) for row in lines]
