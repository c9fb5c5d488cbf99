"""`trimtab journal --outcomes`: what each firing was expected to do beside what it did, and how far off. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tui.headless.as_json import Json, usd, wad
from tui.model.outcome import Outcome, Row, SoldAsset, differences
from tui.model.text import clean_text
from tui.model.units import format_units

_HEAD = (
    "at block",
    "state",
    "rule",
    "HF expected",
    "simulated",
    "actual",
    "gas expected",
    "actual",
    "sale expected",
    "actual",
    "sold expected",
    "actual",
    "slippage expected",
    "actual",
)
_SOLD_PLACES = 6
"""Digits of a sold amount after the point that the table shows."""


def outcome_json(row: Row) -> Json:
    """One firing's expected and actual figures; null: not known, or nothing of that kind. Slippage is all that sales
    cost (fees, price, the lender's premium) as a share of what was sold, at the market's own prices. `sold_...` are of
    the first asset that pays, `sales` of each; `buys` what own swaps brought in.
    """
    firing, outcome = row
    first = outcome.sales[0] if outcome.sales else SoldAsset("", None)
    return {
        "kind": "outcome",
        "firing": firing.id,
        "rule": firing.rule,
        "position": firing.position,
        "state": str(firing.state),
        "block": firing.block_number,
        "health_expected": wad(outcome.health_expected),
        "health_simulated": wad(outcome.health_simulated),
        "health_actual": wad(outcome.health_actual),
        "gas_expected_usd": usd(outcome.gas_expected_usd, 4),
        "gas_actual_usd": usd(outcome.gas_actual_usd, 4),
        "swap_expected_usd": usd(outcome.swap_expected_usd, 4),
        "sold_asset": first.symbol or None,
        "sold_expected": _integer(first.expected),
        "sold_actual": _integer(first.actual),
        "sold_decimals": first.decimals,
        "sales": [_asset_json(one) for one in outcome.sales],
        "buys": [_asset_json(one) for one in outcome.buys],
        "swap_actual_usd": usd(outcome.swap_actual_usd, 4),
        "slippage_expected": wad(outcome.slippage_expected, 6),
        "slippage_actual": wad(outcome.slippage_actual, 6),
    }


def _asset_json(one: SoldAsset) -> Json:
    return {
        "asset": one.symbol or None,
        "expected": _integer(one.expected),
        "actual": _integer(one.actual),
        "decimals": one.decimals,
    }


def _integer(amount: int | None) -> str | None:
    return None if amount is None else str(amount)


def differences_json(rows: Sequence[Row]) -> Json:
    """The mean differences, as the last line of the JSON."""
    off = differences(rows)
    return {
        "kind": "outcomes",
        "done": off.done,
        "health_actual_less_simulated": wad(off.health),
        "gas_actual_less_expected_usd": usd(off.gas_usd, 4),
        "slippage_actual_less_expected": wad(off.slippage, 6),
    }


def outcome_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table, and the mean differences below it."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(_HEAD))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    off = differences(rows)
    yield ""
    yield (
        f"{off.done} done; on average health came out {_signed(wad(off.health, 6))} off what was simulated, "
        f"gas cost {_signed(usd(off.gas_usd, 4), '$')} and sales lost {_signed(_percent(off.slippage, 4))} "
        f"off what was expected"
    )


def _cells(row: Row) -> tuple[str, ...]:
    firing, one = row
    return (
        str(firing.block_number),
        str(firing.state),
        clean_text(firing.rule, 24),
        wad(one.health_expected, 4) or "-",
        wad(one.health_simulated, 4) or "-",
        wad(one.health_actual, 4) or "?",
        _signless(usd(one.gas_expected_usd, 4)),
        _signless(usd(one.gas_actual_usd, 4)),
        *_of_sale(one),
    )


def _of_sale(one: Outcome) -> tuple[str, ...]:
    """Cost, amount and slippage, expected and actual; `-` where nothing was to be sold."""
    if not one.sales:
        return ("-",) * 6
    return (
        _dollars(one.swap_expected_usd),
        _dollars(one.swap_actual_usd),
        " + ".join(_amount(sold, sold.expected) for sold in one.sales),
        " + ".join(_amount(sold, sold.actual) for sold in one.sales),
        _percent(one.slippage_expected) or "?",
        _percent(one.slippage_actual) or "?",
    )


def _amount(one: SoldAsset, sold: int | None) -> str:
    """`7.062492 WETH`. Where an earlier version did not note the decimals, base units that say so."""
    if sold is None:
        return "?"
    symbol = clean_text(one.symbol, 12)
    if one.decimals is None:
        return f"{sold} base units of {symbol}"
    return f"{format_units(sold, one.decimals, min(one.decimals, _SOLD_PLACES))} {symbol}"


def _percent(share: int | None, places: int = 3) -> str | None:
    return None if share is None else f"{format_units(share, 16, places)}%"


def _dollars(value: int | None) -> str:
    """A cost that may be a gain: `$1.2000`, `-$1.2000`."""
    text = _signless(usd(value, 4))
    return f"-${text[2:]}" if text.startswith("$-") else text


def _signless(text: str | None) -> str:
    return "?" if text is None else f"${text}"


def _signed(text: str | None, unit: str = "") -> str:
    if text is None:
        return "?"
    return f"-{unit}{text[1:]}" if text.startswith("-") else f"+{unit}{text}"
