"""How likely a position is to reach its liquidation within a horizon, by one simple model that is stated in full.

Health is taken to follow a lognormal walk without drift; the first passage through 1 within t years is then
2 * (1 - Phi(ln(H) / (sigma * sqrt(t)))) (the reflection principle). All in decimal arithmetic of fixed precision, so
that every machine gives the same integer.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, Context, Decimal
from functools import lru_cache

from tui.model.position import Asset, Position
from tui.model.units import BPS, SECONDS_PER_YEAR, WAD
from tui.risk.correlation import is_dollar, root_of
from tui.risk.search import first_true

HORIZON = 7 * 24 * 60 * 60
"""Seconds that are looked ahead."""
VOLATILITY_BPS = 8_000
"""A year, of collateral against debt: near what ether and bitcoin have shown against the dollar in bad years."""
CORRELATED_BPS = 1_000
"""Where collateral and debt share one price root (staked ether against ether)."""
DOLLARS_BPS = 500
"""Where both are dollars."""

_CONTEXT = Context(prec=60)
_CERTAINLY_UNDER_ONE = Decimal(9)
"""At so many deviations the probability is under 1e-18: it is told as the least there is."""
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
_NEGLIGIBLE = Decimal("1e-40")
_STEP = WAD // 10_000
"""Healths are looked for to four digits, as people read them."""
_HIGHEST = 1_000 * WAD


def volatility_of(position: Position) -> int:
    """The volatility a year (basis points) that the model takes for a position, by what its health hangs on."""
    held = [one.asset for one in position.collateral if one.counts]
    owed = [one.asset for one in position.debt]
    return volatility_between(held, owed)


def volatility_between(collateral: Iterable[Asset], debt: Iterable[Asset]) -> int:
    """The volatility a year (basis points) of the one against the other. Symbols alone tell which move together."""
    symbols = [asset.symbol for asset in (*collateral, *debt)]
    if symbols and all(is_dollar(symbol) for symbol in symbols):
        return DOLLARS_BPS
    roots = {root_of(symbol) for symbol in symbols}
    return CORRELATED_BPS if len(roots) == 1 and None not in roots else VOLATILITY_BPS


@lru_cache(maxsize=4096)
def liquidation_probability(health_factor: int, volatility_bps: int = VOLATILITY_BPS, horizon: int = HORIZON) -> int:
    """The modelled probability (wad, up) that a health factor (wad) reaches 1 within `horizon` seconds.

    1 at or under health 1; never 0: what is very unlikely is told as the least there is. Raises ValueError for a
    volatility or a horizon that is not positive.
    """
    if volatility_bps <= 0 or horizon <= 0:
        raise ValueError("volatility and horizon must be positive")
    if health_factor <= WAD:
        return WAD
    context = _CONTEXT.copy()
    distance = context.ln(context.divide(Decimal(health_factor), Decimal(WAD)))
    years = context.divide(Decimal(horizon), Decimal(SECONDS_PER_YEAR))
    deviation = context.multiply(context.divide(Decimal(volatility_bps), Decimal(BPS)), context.sqrt(years))
    away = context.divide(distance, deviation)
    if away >= _CERTAINLY_UNDER_ONE:
        return 1
    outside = context.subtract(Decimal(1), _inside(away, context))
    wad = context.multiply(outside, Decimal(WAD)).to_integral_value(rounding=ROUND_CEILING)
    return min(max(int(wad), 1), WAD)


def _inside(deviations: Decimal, context: Context) -> Decimal:
    """The probability of a normal value within so many deviations of its mean: erf(z / sqrt 2).

    sqrt(2/pi) * exp(-z*z/2) * sum of z^(2n+1) / (1*3*5*...*(2n+1)): all terms positive, so nothing cancels.
    """
    square = context.multiply(deviations, deviations)
    term = total = deviations
    odd = 1
    while term > context.multiply(total, _NEGLIGIBLE):
        odd += 2
        term = context.divide(context.multiply(term, square), Decimal(odd))
        total = context.add(total, term)
    scale = context.sqrt(context.divide(Decimal(2), _PI))
    bell = context.exp(context.divide(square.copy_negate(), Decimal(2)))
    return context.multiply(context.multiply(scale, bell), total)


def expected_loss(avoided_loss_usd: int, health_factor: int, volatility_bps: int, horizon: int = HORIZON) -> int:
    """What a liquidation would take (any unit) times the probability of getting there, up."""
    return -(-avoided_loss_usd * liquidation_probability(health_factor, volatility_bps, horizon) // WAD)


def health_worth_acting(
    cost_usd: int, loss_usd: int, share_bps: int, volatility_bps: int, emergency: int, horizon: int = HORIZON
) -> int | None:
    """The highest health factor (wad, to four digits, down) at which a cost is no more than a share of the expected
    loss, or under which the whole loss counts (`emergency`); None where it is more than the loss itself, so at none.

    The loss is taken to be as large there as now.
    """
    if cost_usd > loss_usd:
        return None

    def too_dear(steps: int) -> bool:
        return cost_usd * BPS > expected_loss(loss_usd, steps * _STEP, volatility_bps, horizon) * share_bps

    first = first_true(too_dear, WAD // _STEP, _HIGHEST // _STEP, 12 * WAD // (10 * _STEP))
    highest = _HIGHEST if first is None else (first - 1) * _STEP
    return max(highest, emergency)
