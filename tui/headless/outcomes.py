"""`trimtab journal --outcomes`: what each firing was expected to do beside what it did, and how far off it was. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from tui.headless.as_json import Json, usd, wad
from tui.model.intent import Firing, FiringState
from tui.model.text import clean_text
from tui.ports.journal import Outcome

Row = tuple[Firing, Outcome]

_HEAD = ("at block", "state", "rule", "HF expected", "simulated", "actual", "gas expected", "actual", "sale", "sold")


def carried_out(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Those of which something was signed: a firing that was dropped came to nothing, and was to."""
    return tuple(row for row in rows if row[0].state is not FiringState.DROPPED)


def outcome_json(row: Row) -> Json:
    """One firing's expected and actual figures; null: not known, or nothing of that kind."""
    firing, outcome = row
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
        "sold_asset": outcome.sold_asset,
        "sold_expected": None if outcome.sold_expected is None else str(outcome.sold_expected),
        "sold_actual": None if outcome.sold_actual is None else str(outcome.sold_actual),
    }


def differences(rows: Sequence[Row]) -> tuple[int | None, int | None, int]:
    """Mean of actual less simulated health (wad) and of actual less expected gas (dollars with 8 decimals), rounded to
    the nearest; None where no firing has both figures. The third is how many firings ended done.
    """
    done = [outcome for firing, outcome in rows if firing.state is FiringState.DONE]
    health = [
        one.health_actual - one.health_simulated
        for one in done
        if one.health_actual is not None and one.health_simulated is not None
    ]
    gas = [
        one.gas_actual_usd - one.gas_expected_usd
        for one in done
        if one.gas_actual_usd is not None and one.gas_expected_usd is not None
    ]
    return _mean(health), _mean(gas), len(done)


def differences_json(rows: Sequence[Row]) -> Json:
    """The mean differences, as the last line of the JSON."""
    health, gas, done = differences(rows)
    return {
        "kind": "outcomes",
        "done": done,
        "health_actual_less_simulated": wad(health),
        "gas_actual_less_expected_usd": usd(gas, 4),
    }


def outcome_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table, and the mean differences below it."""
    cells = [_HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(_HEAD))]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    health, gas, done = differences(rows)
    yield ""
    yield (
        f"{done} done; on average health came out {_signed(wad(health, 6))} off what was simulated, "
        f"gas cost {_signed(usd(gas, 4), '$')} off what was expected"
    )


def _cells(row: Row) -> tuple[str, ...]:
    firing, one = row
    sold = "-" if one.sold_asset is None else f"{one.sold_expected} {clean_text(one.sold_asset, 12)}"
    return (
        str(firing.block_number),
        str(firing.state),
        clean_text(firing.rule, 24),
        wad(one.health_expected, 4) or "-",
        wad(one.health_simulated, 4) or "-",
        wad(one.health_actual, 4) or "?",
        _signless(usd(one.gas_expected_usd, 4)),
        _signless(usd(one.gas_actual_usd, 4)),
        "-" if one.swap_expected_usd is None else _signless(usd(one.swap_expected_usd, 4)),
        sold,
    )


def _signless(text: str | None) -> str:
    return "?" if text is None else f"${text}"


def _signed(text: str | None, unit: str = "") -> str:
    if text is None:
        return "?"
    return f"-{unit}{text[1:]}" if text.startswith("-") else f"+{unit}{text}"


def _mean(values: Sequence[int]) -> int | None:
    return round(Fraction(sum(values), len(values))) if values else None
