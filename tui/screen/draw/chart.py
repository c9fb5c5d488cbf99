"""A price over time as a braille line, with the prices that matter drawn across it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from tui.model.view import PricePoint
from tui.screen.figures import price, time_of_day
from tui.screen.lines import Line, Span, cell, line, split

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_NEAR = 0.35
"""A level further than this share from the last price is named at the edge instead of squeezing the line flat."""


@dataclass(frozen=True, slots=True)
class Level:
    """A price (8 decimals) that is drawn across the chart, with its word and role."""

    price_usd: int
    word: str
    role: str


def _rows(points: Sequence[PricePoint], columns: int) -> list[float | None]:
    """One price for each dot column, evenly over time; None before the first point."""
    first, last = points[0].timestamp, points[-1].timestamp
    extent = max(1, last - first)
    picked: list[float | None] = [None] * columns
    index = 0
    for column in range(columns):
        moment = first + extent * column / max(1, columns - 1)
        while index + 1 < len(points) and points[index + 1].timestamp <= moment:
            index += 1
        here = points[index]
        if index + 1 < len(points) and points[index + 1].timestamp > here.timestamp:
            after = points[index + 1]
            share = (moment - here.timestamp) / (after.timestamp - here.timestamp)
            picked[column] = here.price_usd + (after.price_usd - here.price_usd) * min(1.0, max(0.0, share))
        else:
            picked[column] = float(here.price_usd)
    return picked


def chart(
    points: Sequence[PricePoint],
    levels: Sequence[Level],
    width: int,
    height: int,
    zone: tzinfo | None,
    stale: bool = False,
) -> list[Line]:
    """The chart in `width` x `height` cells, the last row being the time axis. Needs at least two points."""
    axis = max(
        [len(price(level.price_usd)) + len(level.word) + 2 for level in levels]
        + [len(price(p.price_usd)) + 2 for p in points[-1:]]
        + [10]
    )
    plot_width, plot_height = width - axis, height - 1
    if plot_width < 8 or plot_height < 3:
        return [line(("Not enough room for a chart.", "muted"))]
    if len(points) < 2:
        return [line(("The chart starts with the second block.", "muted"))]
    prices = [point.price_usd for point in points]
    last = prices[-1]
    near = [level for level in levels if abs(level.price_usd - last) <= _NEAR * last]
    low = min(prices + [level.price_usd for level in near])
    high = max(prices + [level.price_usd for level in near])
    margin = max((high - low) * 0.06, last * 0.0005)
    low_edge, high_edge = low - margin, high + margin
    dots_high = plot_height * 4

    def dot_row(value: float) -> int:
        share = (high_edge - value) / (high_edge - low_edge)
        return min(dots_high - 1, max(0, int(share * dots_high)))

    masks = [[0] * plot_width for _ in range(plot_height)]
    previous: int | None = None
    for column, value in enumerate(_rows(points, plot_width * 2)):
        if value is None:
            continue
        row = dot_row(value)
        top, bottom = (row, row) if previous is None else (min(row, previous), max(row, previous))
        for dot in range(top, bottom + 1):
            masks[dot // 4][column // 2] |= _DOTS[dot % 4][column % 2]
        previous = row

    labels: dict[int, tuple[str, str]] = {}
    across: dict[int, str] = {}
    now_row = dot_row(last) // 4
    labels[now_row] = (f" {price(last)}", "stale" if stale else "strong")
    for level in levels:
        row = dot_row(level.price_usd) // 4
        if level in near:
            across.setdefault(row, level.role)
        text = f" {price(level.price_usd)} {level.word}"
        for candidate in _nearby(row, plot_height):
            if candidate not in labels:
                labels[candidate] = (text, level.role)
                break
    rows: list[Line] = []
    for row in range(plot_height):
        spans: list[Span] = []
        rail = across.get(row, "")
        for mask in masks[row]:
            if mask:
                spans.append(Span(chr(0x2800 + mask), "stale" if stale else "curve"))
            else:
                spans.append(Span("╌" if rail else " ", rail))
        text, role = labels.get(row, ("", ""))
        rows.append(Line((*_merged(spans), cell(text, axis, role))))
    begin, end = time_of_day(points[0].timestamp, zone), time_of_day(points[-1].timestamp, zone)
    rows.append(split([Span(begin, "muted")], [Span(end + " " * axis, "muted")], width))
    return rows


def _nearby(row: int, height: int) -> list[int]:
    """`row` and its neighbours, nearest first."""
    return [
        candidate for offset in range(height) for candidate in {row + offset, row - offset} if 0 <= candidate < height
    ]


def _merged(spans: Sequence[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1].role == span.role:
            merged[-1] = Span(merged[-1].text + span.text, span.role)
        else:
            merged.append(span)
    return merged
