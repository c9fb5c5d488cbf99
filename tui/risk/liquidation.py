"""Where health reaches 1 as prices move: closed forms that find the neighbourhood, searches that find the very unit.

Protocol-neutral. An adapter with faster integers of its own passes its conditions here; anything else goes through
`LendingMarket.repriced`.

Convention, everywhere: prices are whole numbers with 8 decimals. For what is held long, the liquidation price is the
highest price at which the contract's health is under 1; for what is owed more than held, the lowest such price. At
that price the position can be liquidated, one unit beside it, on the safe side, it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tui.model.position import Asset, Position
from tui.model.units import BPS, WAD
from tui.risk.search import first_true, last_true

HIGHEST_PRICE = 2**128 - 1


class Repricing(Protocol):
    """The part of a lending market that the searches here need."""

    def repriced(self, position: Position, prices_usd: Mapping[str, int]) -> Position:
        """The same position with other prices."""


def root_price(fixed_debt: int, fixed_cover: int, cover_slope: int, debt_slope: int, scale: int) -> tuple[int, bool]:
    """Where fixed_cover + cover_slope * p / scale meets fixed_debt + debt_slope * p / scale, and whether the moving
    assets are long there (cover grows faster than debt).

    p = (D_rest - A_rest) / (q * LT - b), floored; it may be negative or zero: then no positive price is one. Slopes
    that cancel give (-1, True): no price at all.
    """
    slope = cover_slope - debt_slope
    if slope == 0:
        return -1, True
    return (fixed_debt - fixed_cover) * scale // slope, slope > 0


def highest_unsafe(
    unsafe: Callable[[int], bool],
    low: int,
    high: int,
    guess: Callable[[int | None], int],
    band: Callable[[int], int] | None = None,
) -> int | None:
    """The largest p in [low, high] with `unsafe(p)`, where p above `high` is known to be safe.

    Within one value of `band` (None: there is one band) `unsafe` is monotone, true below and false above; `band` is
    monotone in p; `guess` says where it turns within a band. Bands are visited from the top, so that a later dip back
    under 1 is not overlooked.
    """
    low = max(low, 1)
    top = high
    while top >= low:
        value = band(top) if band else None
        bottom = low if band is None or value is None else _band_start(band, value, low, top)
        found = last_true(unsafe, bottom, top, guess(value))
        if found is not None:
            return found
        top = bottom - 1
    return None


def lowest_unsafe(
    unsafe: Callable[[int], bool],
    low: int,
    high: int,
    guess: Callable[[int | None], int],
    band: Callable[[int], int] | None = None,
) -> int | None:
    """The smallest p in [low, high] with `unsafe(p)`, where p below `low` is known to be safe. See highest_unsafe."""
    bottom = max(low, 1)
    while bottom <= high:
        value = band(bottom) if band else None
        top = high if band is None or value is None else _band_end(band, value, bottom, high)
        found = first_true(unsafe, bottom, top, guess(value))
        if found is not None:
            return found
        bottom = top + 1
    return None


def _band_start(band: Callable[[int], int], value: int, low: int, top: int) -> int:
    if band(low) == value:
        return low
    start = first_true(lambda p: band(p) == value, low, top)
    return top if start is None else start


def _band_end(band: Callable[[int], int], value: int, bottom: int, high: int) -> int:
    if band(high) == value:
        return high
    end = last_true(lambda p: band(p) == value, bottom, high)
    return bottom if end is None else end


def liquidation_price(market: Repricing, position: Position, moving: Sequence[Asset]) -> int | None:
    """The liquidation price of `moving[0]` when all of `moving` keep their price ratio, asked of the adapter.

    None without debt, where a price is not known, or where no price of them brings health under 1. Others are held.
    """
    prices = prices_of(position)
    lead = prices.get(moving[0].address)
    if position.health_factor is None or position.unknown is not None or not lead:
        return None
    if any(prices.get(asset.address) is None for asset in moving):
        return None

    def unsafe(price: int) -> bool:
        health = market.repriced(position, at_level(prices, moving, price)).health_factor
        return health is not None and health < WAD

    keys = {asset.address for asset in moving}
    held = owed = held_rest = owed_rest = 0
    for one in position.collateral:
        if one.counts and one.value_usd:
            weighted = one.value_usd * one.liquidation_threshold // WAD
            held, held_rest = (
                (held + weighted, held_rest) if one.asset.address in keys else (held, held_rest + weighted)
            )
    for debt in position.debt:
        value = debt.value_usd or 0
        owed, owed_rest = (owed + value, owed_rest) if debt.asset.address in keys else (owed, owed_rest + value)
    guess, long = root_price(owed_rest, held_rest, held, owed, lead)
    if guess < 0:
        return None
    if long:
        return last_true(unsafe, 1, max(2 * guess, 2 * lead), guess)
    return first_true(unsafe, 1, max(2 * guess, 2 * lead), guess)


def prices_of(position: Position) -> dict[str, int | None]:
    """The prices a position is valued at, by asset address."""
    prices = {one.asset.address: one.price_usd for one in position.collateral}
    return prices | {one.asset.address: one.price_usd for one in position.debt}


def at_level(prices: Mapping[str, int | None], moving: Sequence[Asset], level: int) -> dict[str, int]:
    """The prices of `moving` when the first of them stands at `level` and the ratios hold, floored, at least 1."""
    lead = prices[moving[0].address] or 1
    return {asset.address: max((prices[asset.address] or 0) * level // lead, 1) for asset in moving}


def distance_bps(price: int, liquidation: int) -> int:
    """How far a price must move to the liquidation price, in basis points of the price: -2500 is a quarter down.

    Rounded towards zero: the way is never longer than it says.
    """
    if price <= 0:
        raise ValueError("a price must be positive")
    away = (liquidation - price) * BPS
    return away // price if away >= 0 else -(-away // price)
