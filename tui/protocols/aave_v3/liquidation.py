"""Liquidation prices on the contract's own integers, and what a liquidation would take.

The closed form brackets the price; the search runs on totals that change with the moving assets alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tui.model.position import GroupLiquidation
from tui.model.units import BPS, SECONDS_PER_YEAR, WAD
from tui.protocols.aave_v3.health import Figures, Line, debt_value, known_price
from tui.protocols.aave_v3.math import HALF_BPS, percent_div, percent_mul
from tui.protocols.aave_v3.rules import Rules
from tui.risk.correlation import groups_of
from tui.risk.liquidation import HIGHEST_PRICE, highest_unsafe, lowest_unsafe, root_price

_SCALE_BITS = 96
LONGEST_YEARS = 100.0
"""Interest that takes longer than this to liquidate is as good as none."""
CLOSE_FACTOR_HEALTH = 95 * WAD // 100
HALF_CLOSE_FACTOR = BPS // 2
WHOLE_CLOSE_BELOW_USD = 2_000 * 10**8
"""Since 3.3: a reserve's collateral or debt under 2,000 dollars can be liquidated whole."""

Moving = tuple[int, int, int, int, int]
"""supplied that counts, threshold, owed that counts, unit, price now"""


def liquidation_price(rules: Rules, lines: Sequence[Line], moving: Sequence[Line]) -> int | None:
    """The price of `moving[0]` (8 decimals) at which the contract's health goes under 1, all of `moving` keeping
    their ratio to it and everything else held; None where no price does that. Convention: tui.risk.liquidation.

    While it searches, prices follow the lead as price * level // lead, at least 1. Where one asset is both supplied
    and owed, rounding to 1e-8 dollar can make health waver around 1 for a few units: the result is then a price under
    1 with a safe one beside it.
    """
    keys = {line.price_key for line in moving}
    collateral = weighted = debt = 0
    parts: list[Moving] = []
    for line in lines:
        if not line.counts and not line.borrowed:
            continue
        price = known_price(line)
        supplied, owed, unit = line.supplied if line.counts else 0, line.owed if line.borrowed else 0, line.reserve.unit
        if line.price_key in keys:
            if supplied or owed:
                parts.append((supplied, line.threshold, owed, unit, price))
            continue
        value = supplied * price // unit
        collateral += value
        weighted += value * line.threshold
        debt += debt_value(rules, owed, price, unit)
    lead = known_price(moving[0])
    if not parts:
        return None
    return _search(rules, collateral, weighted, debt, parts, lead)


def _search(rules: Rules, collateral: int, weighted: int, debt: int, parts: list[Moving], lead: int) -> int | None:
    held = cover = owing = 0
    for supplied, threshold, owed, unit, price in parts:
        value = (supplied * price << _SCALE_BITS) // (unit * lead)
        held += value
        cover += value * threshold
        owing += (owed * price << _SCALE_BITS) // (unit * lead)
    scale = 1 << _SCALE_BITS
    slack = BPS * (2 * len(parts) + 3)
    # The steps of prices that follow the lead shift each value a little more.
    if len(parts) > 1:
        slack += sum((s * t + o * BPS) // unit + BPS for s, t, o, unit, _ in parts)
    wanted = debt * BPS
    directed = rules.directed_rounding
    smooth, long = root_price(wanted, weighted, cover, owing * BPS, scale)
    single = len(parts) == 1

    def totals(level: int) -> tuple[int, int, int]:
        c, w, d = collateral, weighted, debt
        for supplied, threshold, owed, unit, price in parts:
            at = level if single else price * level // lead or 1
            if supplied:
                value = supplied * at // unit
                c += value
                w += value * threshold
            if owed:
                d += -(-owed * at // unit) if directed else owed * at // unit
        return c, w, d

    def unsafe(level: int) -> bool:
        c, w, d = totals(level)
        if directed:
            return w * WAD + d // 2 < d * WAD * BPS
        return (c * (w // c) + HALF_BPS) // BPS * WAD + d // 2 < d * WAD if c else d != 0

    def band(level: int) -> int:
        c, w, _ = totals(level)
        return w // c if c else 0

    def guess(threshold: int | None) -> int:
        if threshold is None:
            return smooth
        return root_price(wanted, collateral * threshold, held * threshold, owing * BPS, scale)[0]

    # Cutting the average threshold to a basis point takes less than one basis point of the collateral.
    cut, cut_slope = (0, 0) if directed else (collateral, held)
    under = root_price(wanted - slack, weighted, cover, owing * BPS, scale)[0]
    over, still_long = root_price(wanted + slack, weighted - cut, cover - cut_slope, owing * BPS, scale)
    if long:
        if smooth < 0 and over < 1:
            return None
        top = over + 2 if still_long and over >= 0 else max(4 * smooth, 4 * lead)
        return highest_unsafe(unsafe, under - 1, min(top, HIGHEST_PRICE), guess, None if directed else band)
    if smooth < 0:
        return None
    return lowest_unsafe(unsafe, over - 1, min(under + 2, HIGHEST_PRICE), guess, None if directed else band)


LEAST_FACTOR = WAD // 10_000
"""Prices cut to 8 digits stop being in proportion near zero: what they say there of a pair that moves as one is
rounding, not a market.
"""


def group_liquidations(rules: Rules, lines: Sequence[Line]) -> tuple[GroupLiquidation, ...]:
    """Where health reaches 1 as assets of one price root move together, for every root with two assets in play."""
    used = {
        line.reserve.asset: line
        for line in lines
        if (line.counts and line.supplied) or (line.borrowed and line.owed)
    }  # fmt: skip
    found = []
    for assets in groups_of(used):
        members = [used[asset] for asset in assets]
        price = liquidation_price(rules, lines, members)
        if price is not None:
            factor = price * WAD // known_price(members[0])
            if factor < LEAST_FACTOR:
                continue
            found.append(GroupLiquidation(assets, assets[0], factor, price))
    return tuple(found)


def seconds_to_liquidation(lines: Sequence[Line], figures: Figures) -> int | None:
    """Seconds until interest alone brings health to 1, at today's prices and rates; 0 where it is there already.

    Solves sum A_i (1 + s_i t) = sum D_j exp(r_j t) in years (for one pair about t = ln(HF) / (r - s)) by Newton.
    None without debt or where debt never catches up within a hundred years. Only for showing.
    """
    if figures.health_factor is None or not figures.debt:
        return None
    if figures.health_factor < WAD:
        return 0
    covers = [
        (line.supplied_value * line.threshold / BPS, line.reserve.supply_rate / 1e27) for line in lines if line.counts
    ]
    debts = [
        (line.owed * known_price(line) / line.reserve.unit, line.reserve.borrow_rate / 1e27)
        for line in lines
        if line.borrowed
    ]

    def gap_and_slope(years: float) -> tuple[float, float]:
        gap = slope = 0.0
        for value, rate in covers:
            gap += value * (1 + rate * years)
            slope += value * rate
        for value, rate in debts:
            grown = value * math.exp(min(rate * years, 700.0))
            gap -= grown
            slope -= grown * rate
        return gap, slope

    # The gap is concave and starts above zero: it ends below zero or never was there.
    low, high = 0.0, LONGEST_YEARS
    ending = gap_and_slope(high)[0]
    if ending > 0 or not math.isfinite(ending):
        return None
    years = 0.0
    for _ in range(100):
        gap, slope = gap_and_slope(years)
        if gap > 0:
            low = years
        else:
            high = years
        newton = years - gap / slope if slope < 0 else high
        step = newton if low < newton < high else (low + high) / 2
        if abs(step - years) * SECONDS_PER_YEAR < 0.5:
            break
        years = step
    return int(years * SECONDS_PER_YEAR)


def liquidation_penalty(rules: Rules, lines: Sequence[Line], figures: Figures) -> int | None:
    """Dollars (8 decimals) that one liquidation would take beyond the debt it repays; None without debt.

    A liquidator picks the pair of collateral and debt that pays most, up to the close factor of the revision. A
    healthy position is judged as if its health had just gone under 1.
    """
    if figures.health_factor is None:
        return None
    health = figures.health_factor
    covers = [line for line in lines if line.counts and line.supplied]
    debts = [line for line in lines if line.borrowed and line.owed]
    worst = 0
    for debt in debts:
        owed = debt_value(rules, debt.owed, known_price(debt), debt.reserve.unit)
        for cover in covers:
            seizable = cover.supplied_value
            repaid = _closable(rules, owed, seizable, figures.debt, health)
            if percent_mul(repaid, cover.bonus) > seizable:
                repaid = percent_div(seizable, cover.bonus) if cover.bonus else 0
            worst = max(worst, percent_mul(repaid, cover.bonus) - repaid)
    return worst


def _closable(rules: Rules, owed: int, seizable: int, total_debt: int, health: int) -> int:
    if health <= CLOSE_FACTOR_HEALTH:
        return owed
    if not rules.close_factor_of_total:
        return percent_mul(owed, HALF_CLOSE_FACTOR)
    if owed < WHOLE_CLOSE_BELOW_USD or seizable < WHOLE_CLOSE_BELOW_USD:
        return owed
    return min(owed, percent_mul(total_debt, HALF_CLOSE_FACTOR))
