"""The price at which a position's health factor falls under a threshold, or rises over one, for showing where a rule
would fire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tui.model.position import Asset, Collateral, Position
from tui.model.units import BPS, WAD
from tui.risk.correlation import groups_of
from tui.risk.search import first_true, last_true

_HIGHEST_FACTOR = 1000
_HIGHEST_RECOVERY = 100


def trigger_price(
    position: Position, threshold: int, health_at: Callable[[Mapping[str, int]], int | None]
) -> tuple[Asset, int, int] | None:
    """(asset, price in 8 decimals, distance in basis points of the present price) where health first is under
    `threshold` (wad); None where no price of the main collateral or its group brings it there.

    `health_at` answers the exact health factor (wad, None without debt) with some prices replaced, by asset address.
    The main collateral moves together with all assets of its price root; where that changes nothing (collateral and
    debt share the root) it moves alone. A position already under the threshold is at distance 0; the price is then the
    level above the present one that it fell through, or the present one where no price leads back.
    """
    main = _main_collateral(position)
    if main is None or position.health_factor is None or position.unknown is not None or not main.price_usd:
        return None
    if position.health_factor < threshold:
        return main.asset, _level_above(position, main, threshold, health_at) or main.price_usd, 0
    for moving in _together(position, main):
        found = _search(position, main, moving, threshold, health_at)
        if found is not None:
            return main.asset, found, (found - main.price_usd) * BPS // main.price_usd
    return None


def rising_price(
    position: Position, threshold: int, health_at: Callable[[Mapping[str, int]], int | None]
) -> tuple[Asset, int, int] | None:
    """The same where health first is over `threshold`; None where no price of the main collateral or its group brings
    it there. A position already over it is at distance 0; the price is then the level below the present one that it
    rose through, or the present one where no price leads back.
    """
    main = _main_collateral(position)
    if main is None or position.health_factor is None or position.unknown is not None or not main.price_usd:
        return None
    now = main.price_usd
    for moving in _together(position, main):
        over = _over(moving, now, threshold, health_at)
        if position.health_factor > threshold:
            found = first_true(over, 1, now, _first_guess(position, moving, threshold, now, now))
            if found is not None and found > 1:
                return main.asset, found, 0
            continue
        highest = now * _HIGHEST_FACTOR
        found = first_true(over, now, highest, _first_guess(position, moving, threshold, now, highest))
        if found is not None:
            return main.asset, found, (found - now) * BPS // now
    return (main.asset, now, 0) if position.health_factor > threshold else None


def _level_above(
    position: Position, main: Collateral, threshold: int, health_at: Callable[[Mapping[str, int]], int | None]
) -> int | None:
    """The highest price of the main collateral that still is under `threshold`, for a position that is."""
    now = main.price_usd or 0
    highest = now * _HIGHEST_RECOVERY
    for moving in _together(position, main):
        under = _under(moving, now, threshold, health_at)
        found = last_true(under, now, highest, _first_guess(position, moving, threshold, now, highest))
        if found is not None and found < highest:
            return found
    return None


def _under(
    moving: Mapping[str, int], now: int, threshold: int, health_at: Callable[[Mapping[str, int]], int | None]
) -> Callable[[int], bool]:
    """Whether health is under `threshold` when the main collateral stands at a price and all of `moving` with it."""

    def under(price: int) -> bool:
        health = health_at({address: max(own * price // now, 1) for address, own in moving.items()})
        return health is not None and health < threshold

    return under


def _over(
    moving: Mapping[str, int], now: int, threshold: int, health_at: Callable[[Mapping[str, int]], int | None]
) -> Callable[[int], bool]:
    """Whether health is over `threshold` when the main collateral stands at a price and all of `moving` with it."""

    def over(price: int) -> bool:
        health = health_at({address: max(own * price // now, 1) for address, own in moving.items()})
        return health is not None and health > threshold

    return over


def _main_collateral(position: Position) -> Collateral | None:
    counted = [held for held in position.collateral if held.counts and held.value_usd and held.price_usd]
    return max(counted, key=lambda held: held.value_usd or 0, default=None)


def _together(position: Position, main: Collateral) -> Sequence[dict[str, int]]:
    """Sets of prices (by address) that move in proportion, most telling first."""
    prices = {held.asset.address: held.price_usd for held in position.holdings if held.price_usd}
    alone = {main.asset.address: prices[main.asset.address]}
    assets = [held.asset for held in position.holdings if held.asset.address in prices]
    unique = list({asset.address: asset for asset in assets}.values())
    for group in groups_of(unique):
        if any(asset.address == main.asset.address for asset in group):
            return [{asset.address: prices[asset.address] for asset in group}, alone]
    return [alone]


def _search(
    position: Position,
    main: Collateral,
    moving: Mapping[str, int],
    threshold: int,
    health_at: Callable[[Mapping[str, int]], int | None],
) -> int | None:
    now = main.price_usd or 0
    under = _under(moving, now, threshold, health_at)
    guess = _first_guess(position, moving, threshold, now, now)
    down = last_true(under, 1, now, guess)
    if down is not None:
        return down
    return first_true(under, now, now * _HIGHEST_FACTOR, now) if len(moving) == 1 else None


def _first_guess(position: Position, moving: Mapping[str, int], threshold: int, now: int, highest: int) -> int:
    """Where a smooth health factor would meet the threshold: A_j scaled so that A = T * D."""
    weighted = 0
    mine = 0
    for held in position.collateral:
        if held.counts and held.value_usd:
            part = held.value_usd * held.liquidation_threshold // WAD
            weighted += part
            mine += part if held.asset.address in moving else 0
    owed = sum(held.value_usd or 0 for held in position.debt)
    own_debt = sum(held.value_usd or 0 for held in position.debt if held.asset.address in moving)
    slope = mine - threshold * own_debt // WAD
    if slope <= 0:
        return now
    fixed = threshold * (owed - own_debt) // WAD - (weighted - mine)
    return min(max(now * fixed // slope, 1), highest)
