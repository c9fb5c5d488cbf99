"""What was expected of firings beside what came of them: the means first, then each, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from tui.model.outcome import Outcome, Row, differences
from tui.model.text import short_address
from tui.model.units import format_units
from tui.screen.clean import clean_text
from tui.screen.figures import amount, dollars, health
from tui.screen.lines import BLANK, Line, Span, cell, fitted, heading, line, split, wrap
from tui.screen.words import FIRING

_NAMES, _FIGURE = 11, 12


def outcomes_lines(rows: Sequence[Row], width: int, zone: tzinfo | None) -> list[Line]:
    """All of `rows` (oldest first) in `width` cells."""
    if not rows:
        return wrap("Nothing was signed yet, so there is nothing to hold against what was expected.", width, "muted")
    shown = [*_means(rows, width), BLANK]
    for row in reversed(rows):
        shown += [*_one(row, width, zone), BLANK]
    return fitted(shown, width)


def _means(rows: Sequence[Row], width: int) -> list[Line]:
    off = differences(rows)
    firings = "1 firing" if off.done == 1 else f"{off.done} firings"
    return [
        heading("Outcomes", width, f"{firings} done"),
        *wrap("On average, actual less expected:", width, "muted"),
        line(
            " health ", (_signed(_health(off.health)), "strong"),
            "   gas ", (_signed(_gas(off.gas_usd)), "strong"),
            "   slippage ", (_signed(_share(off.slippage)), "strong"),
        ),
    ]  # fmt: skip


def _one(row: Row, width: int, zone: tzinfo | None) -> list[Line]:
    firing, one = row
    sign = FIRING[firing.state]
    at = datetime.fromtimestamp(firing.block_timestamp, zone or UTC)
    lines = [
        split(
            [
                Span(f"{sign.glyph} ", sign.role),
                Span(clean_text(firing.rule, 28), "strong"),
                Span(f" {sign.word}", sign.role),
                Span(f"  {short_address(firing.account)}", "muted"),
            ],
            [Span(f"{at:%d %b %H:%M}  block {firing.block_number:,}", "muted")],
            width,
        ),
        line(
            "  ", cell("", _NAMES),
            *(cell(word, _FIGURE, "muted", "right") for word in ("expected", "actual", "off by")),
        ),
        _figures("health", _health(one.health_simulated), _health(one.health_actual),
                 _health(_less(one.health_actual, one.health_simulated))),
        _figures("gas", _gas(one.gas_expected_usd), _gas(one.gas_actual_usd),
                 _gas(_less(one.gas_actual_usd, one.gas_expected_usd))),
    ]  # fmt: skip
    if one.sales:
        lines += [
            _figures("sale cost", _gas(one.swap_expected_usd), _gas(one.swap_actual_usd),
                     _gas(_less(one.swap_actual_usd, one.swap_expected_usd))),
            _figures("slippage", _share(one.slippage_expected), _share(one.slippage_actual),
                     _share(_less(one.slippage_actual, one.slippage_expected))),
            *wrap(_sold(one), width, "muted", "  ", "  "),
        ]  # fmt: skip
    return lines


def _figures(name: str, expected: str | None, actual: str | None, off: str | None) -> Line:
    return line(
        "  ",
        cell(name, _NAMES, "muted"),
        cell(expected or "?", _FIGURE, "", "right"),
        cell(actual or "?", _FIGURE, "strong", "right"),
        cell(_signed(off), _FIGURE, "", "right"),
    )


def _sold(one: Outcome) -> str:
    parts = []
    for asset in one.sales:
        symbol = clean_text(asset.symbol, 12)
        if asset.decimals is None:
            parts.append(f"{symbol}, amounts not noted")
            continue
        expected = "?" if asset.expected is None else amount(asset.expected, asset.decimals)
        really = "?" if asset.actual is None else amount(asset.actual, asset.decimals)
        parts.append(f"{really} {symbol} of {expected} expected")
    return f"sold {' and '.join(parts)}"


def _less(actual: int | None, expected: int | None) -> int | None:
    return None if actual is None or expected is None else actual - expected


def _health(wad: int | None) -> str | None:
    return None if wad is None else health(wad, 6)


def _gas(value_usd: int | None) -> str | None:
    return None if value_usd is None else dollars(value_usd)


def _share(wad: int | None) -> str | None:
    return None if wad is None else f"{format_units(wad, 16, 3)}%"


def _signed(text: str | None) -> str:
    """With its sign also where it is positive; `?` where it is not known."""
    if text is None:
        return "?"
    return text.replace("-", "−") if text.startswith(("-", "−")) else f"+{text}"
