"""Where a rule would fire: the price of the asset that it waits for, or that brings health to its trigger. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.position import Asset, Position
from tui.model.rule import Rule, TriggerKind
from tui.model.units import BPS, WAD
from tui.protocols.base import LendingMarket
from tui.risk.trigger import rising_price, trigger_price
from tui.rules.evaluate import health_fact
from tui.rules.prices import PriceSeen, fact, has_crossed, level_of, level_usd, price_seen


@dataclass(frozen=True, slots=True)
class FiresAt:
    """The price (8 decimals) of `asset` at which a rule fires, `distance_bps` of the present price away (negative: it
    must fall; 0: it is beyond it already). For a pair `level` (wad) is the price in units of `quote`; where health is
    trailed `health_factor` (wad) is where that fires now.
    """

    asset: Asset
    price_usd: int
    distance_bps: int
    level: int | None = None
    quote: Asset | None = None
    health_factor: int | None = None


def fires_at(rule: Rule, market: LendingMarket, position: Position, best: int | None = None) -> FiresAt | None:
    """Where `rule` fires on `position`; None where no price brings it there, or a price is not known.

    `best`: the best price seen (wad), for a trigger that trails; None takes the present one.
    """
    if rule.health_factor_below is not None:
        found = trigger_price(
            position, rule.health_factor_below, lambda prices: market.repriced(position, prices).health_factor
        )
        return None if found is None else FiresAt(*found)
    if rule.boosts:
        return None
    if rule.health_factor_above is not None:
        found = rising_price(
            position, rule.health_factor_above, lambda prices: market.repriced(position, prices).health_factor
        )
        return None if found is None else FiresAt(*found)
    trigger, price = rule.trigger, price_seen(rule, market, position)
    if trigger.kind is TriggerKind.HEALTH_TRAILING:
        level = None if price is None else level_of(trigger, price.wad if best is None else best)
        if level is None:
            return None
        found = trigger_price(position, level, lambda prices: market.repriced(position, prices).health_factor)
        return None if found is None else FiresAt(*found, health_factor=level)
    asset = None if trigger.asset is None else market.find_asset(position, trigger.asset)
    if price is None or asset is None:
        return None
    best = price.wad if best is None else best
    level = level_of(trigger, best)
    if level is None:
        return None
    quote = None if trigger.quote is None else market.find_asset(position, trigger.quote)
    there = level_usd(level, price)
    distance = 0 if has_crossed(trigger, price, best) else (there - price.usd) * BPS // price.usd
    return FiresAt(asset, there, distance, None if quote is None else level, quote)


def is_crossed(rule: Rule, market: LendingMarket, position: Position, best: int | None = None) -> bool:
    """Whether a position is beyond the trigger of `rule` now; what is not known is not."""
    if position.unknown is not None:
        return False
    if rule.health_factor_below is not None:
        return position.health_factor is not None and position.health_factor < rule.health_factor_below
    if rule.health_factor_above is not None:
        return position.health_factor is not None and position.health_factor > rule.health_factor_above
    price = price_seen(rule, market, position)
    return price is not None and has_crossed(rule.trigger, price, price.wad if best is None else best)


def beyond_words(rule: Rule, market: LendingMarket, position: Position, best: int | None = None) -> str | None:
    """What is beyond the trigger already of a rule that waits for a price, or for high health to close a part: armed,
    it fires at once. None where nothing is.
    """
    if not is_crossed(rule, market, position, best):
        return None
    if rule.closes_when_high:
        return health_fact(rule.trigger, position.health_factor, crossed=True)
    price = price_seen(rule, market, position)
    return None if price is None else fact(rule.trigger, price, price.wad if best is None else best)


def at_trigger(rule: Rule, market: LendingMarket, position: Position, best: int | None = None) -> Position:
    """The position where the rule would fire, or as it is where it fires already or no price brings it there."""
    found = fires_at(rule, market, position, best)
    if found is None or found.distance_bps == 0:
        return position
    price = found.price_usd
    if rule.trigger.asset is not None:
        # At its level it does not fire yet: the next price beyond does.
        price = _beyond(rule, market, position, price, best)
    return market.repriced(position, {found.asset.address: price})


def _beyond(rule: Rule, market: LendingMarket, position: Position, there: int, best: int | None) -> int:
    seen = price_seen(rule, market, position)
    assert seen is not None
    step = 1 if rule.trigger.kind is TriggerKind.PRICE_ABOVE else -1
    best = seen.wad if best is None else best
    if has_crossed(rule.trigger, PriceSeen(there, seen.unit_usd), best):
        return there
    return max(there + step, 1)


def liquidation_first(
    rule: Rule, market: LendingMarket, position: Position, best: int | None = None
) -> tuple[int, int] | None:
    """(the level of a price trigger, the price at which the position is liquidated before it), both in wad as the rule
    counts; of health that is trailed its level and 1. None where the rule comes first.
    """
    price = price_seen(rule, market, position)
    level = None if price is None else level_of(rule.trigger, price.wad if best is None else best)
    if rule.trigger.kind is TriggerKind.HEALTH_TRAILING:
        return None if price is None or level is None or level > WAD or price.wad < WAD else (level, WAD)
    found = fires_at(rule, market, position, best)
    if price is None or found is None or level is None:
        return None
    if position.health_factor is None or position.health_factor < WAD:
        return None
    there = market.repriced(position, {found.asset.address: max(found.price_usd, 1)})
    if there.health_factor is None or there.health_factor >= WAD:
        return None
    safe, lost = price.usd, found.price_usd
    while abs(safe - lost) > 1:
        middle = (safe + lost) // 2
        health = market.repriced(position, {found.asset.address: max(middle, 1)}).health_factor
        safe, lost = (middle, lost) if health is None or health >= WAD else (safe, middle)
    return level, PriceSeen(lost, price.unit_usd).wad
