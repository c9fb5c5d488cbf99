"""The gauge of a position: health on a rail, with liquidation, trigger and target marked on it."""

from __future__ import annotations

from itertools import groupby

from tui.model.position import Status
from tui.model.units import WAD
from tui.screen.figures import ratio
from tui.screen.lines import Line, Span, line
from tui.screen.words import STATUS

LOW = 0.9
THRESHOLD_MARK, TRIGGER_MARK, TARGET_MARK, HEAD_MARK, BEYOND_MARK = "┃", "▼", "◇", "●", "▶"
LEGEND = f"{THRESHOLD_MARK} liquidation 1.00   {TRIGGER_MARK} trigger   {TARGET_MARK} target   {HEAD_MARK} health now"


def scale_top(trigger: int | None, target: int | None) -> float:
    """The health at the right end of the rail: room for the marks, never less than 2."""
    return max(2.0, 1.12 * (target or 0) / WAD, 1.2 * (trigger or 0) / WAD)


def column_of(value: int, width: int, top: float) -> int:
    """The cell of a health factor on a rail of `width` cells; beyond the ends it is the end."""
    share = (value / WAD - LOW) / (top - LOW)
    return min(width - 1, max(0, round(share * (width - 1))))


def gauge(
    width: int,
    health_factor: int | None,
    status: Status,
    trigger: int | None = None,
    target: int | None = None,
    stale: bool = False,
) -> tuple[Span, ...]:
    """The rail in exactly `width` cells. Without debt or where health is unknown it carries no head and no filling:
    an empty dotted rail never looks like health.
    """
    if width < 4:
        return (Span(" " * max(0, width)),)
    if health_factor is None or status in (Status.UNKNOWN, Status.NO_DEBT):
        word = " unknown " if status is Status.UNKNOWN else " no debt, nothing to liquidate "
        if len(word) + 4 > width:
            return (Span("┄" * width, "faint"),)
        role = STATUS[status].role
        return (Span("┄┄", "faint"), Span(word, role), Span("┄" * (width - len(word) - 2), "faint"))
    role = "stale" if stale else STATUS[status].role
    top = scale_top(trigger, target)
    head = column_of(health_factor, width, top)
    cells = [("━", role) if index <= head else ("─", "faint") for index in range(width)]
    if target is not None:
        cells[column_of(target, width, top)] = (TARGET_MARK, "target")
    if trigger is not None:
        cells[column_of(trigger, width, top)] = (TRIGGER_MARK, "trigger")
    cells[column_of(WAD, width, top)] = (THRESHOLD_MARK, "threshold")
    beyond = health_factor / WAD > top
    cells[head] = (BEYOND_MARK if beyond else HEAD_MARK, role)
    return tuple(
        Span("".join(character for character, _ in run), shared)
        for shared, run in groupby(cells, key=lambda entry: entry[1])
    )


def gauge_labels(width: int, trigger: int | None, target: int | None) -> Line:
    """The numbers under a rail of the same width: 1.00 and, where they fit, trigger and target."""
    top = scale_top(trigger, target)
    taken = [" "] * width
    roles = [""] * width
    for value, word, role in (
        (WAD, "1.00", "threshold"),
        (trigger, "", "trigger"),
        (target, "", "target"),
    ):
        if value is None:
            continue
        text = word or ratio(value)
        start = min(max(0, column_of(value, width, top) - len(text) // 2), width - len(text))
        around = range(max(0, start - 1), min(width, start + len(text) + 1))
        if start < 0 or any(taken[index] != " " for index in around):
            continue
        for offset, character in enumerate(text):
            taken[start + offset], roles[start + offset] = character, role
    spans = [
        Span("".join(taken[index] for index in run), role)
        for role, run in ((key, list(group)) for key, group in groupby(range(width), key=lambda index: roles[index]))
    ]
    return line(*spans)
