"""Prices that rules wait for: read from a market's own prices, compared exactly, told in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tui.model.position import Asset, Held, Position
from tui.model.rule import Rule, Trigger, TriggerKind
from tui.model.text import clean_text, short_address
from tui.model.units import BPS, USD, WAD, format_units, group_digits
from tui.rules.fields import percent_text, plain_decimal


@dataclass(frozen=True, slots=True)
class PriceSeen:
    """A price at a block by the market's own oracle: dollars with 8 decimals, and the dollars that one unit of the
    quote asset is worth (one dollar where the price is in dollars). `doubted`: it is old, or from the future.

    For a trigger that trails health it is that health, in wad of units of one wad, and `held` what the position is made
    of (None: the market does not tell); in doubt where any price is that health stands on.
    """

    usd: int
    unit_usd: int = USD
    doubted: bool = False
    held: Held | None = None

    @property
    def wad(self) -> int:
        """The price in units of the quote, in wad, cut."""
        return self.usd * WAD // self.unit_usd

    def is_below(self, level: int) -> bool:
        """Whether it is under a level in wad, exactly."""
        return self.usd * WAD < level * self.unit_usd

    def is_above(self, level: int) -> bool:
        """Whether it is over a level in wad, exactly."""
        return self.usd * WAD > level * self.unit_usd


class _Prices(Protocol):
    def find_asset(self, position: Position, name: str) -> Asset | None: ...

    def price_usd(self, position: Position, asset: Asset) -> int | None: ...

    def held(self, position: Position) -> Held | None: ...


def price_seen(rule: Rule, market: _Prices, position: Position) -> PriceSeen | None:
    """The price that a rule waits for at a position's block, or the health that it trails; None where the market does
    not tell it, where the rule waits for none, and where nothing is owed that health could be of.
    """
    trigger = rule.trigger
    if trigger.kind is TriggerKind.HEALTH_TRAILING and position.unknown is None:
        health = position.health_factor
        return None if health is None else PriceSeen(health, WAD, held=market.held(position))
    if trigger.asset is None or position.unknown is not None:
        return None
    price = _price(trigger.asset, market, position)
    unit = USD if trigger.quote is None else _price(trigger.quote, market, position)
    return None if price is None or unit is None else PriceSeen(price, unit)


def _price(name: str, market: _Prices, position: Position) -> int | None:
    asset = market.find_asset(position, name)
    price = None if asset is None else market.price_usd(position, asset)
    return price if price is not None and price > 0 else None


def level_of(trigger: Trigger, best: int | None = None) -> int | None:
    """The price in wad beyond which a trigger fires, or the health. `best`: the best seen, for one that trails (None:
    none).
    """
    if trigger.trails:
        return None if best is None else best * (BPS - (trigger.trailing_bps or 0)) // BPS
    return trigger.level if trigger.is_price else None


def level_usd(level: int, price: PriceSeen) -> int:
    """A level (wad) in dollars with 8 decimals, up, at the present price of the quote."""
    return -(-level * price.unit_usd // WAD)


def has_crossed(trigger: Trigger, price: PriceSeen, best: int | None = None) -> bool:
    """Whether a price is beyond the level of a trigger. At the level is not beyond it."""
    level = level_of(trigger, best)
    if level is None:
        return False
    return price.is_above(level) if trigger.kind is TriggerKind.PRICE_ABOVE else price.is_below(level)


def pair_text(trigger: Trigger) -> str:
    """`WETH`, or `WETH/WBTC`; `health factor` for what trails that."""
    if trigger.kind is TriggerKind.HEALTH_TRAILING:
        return "health factor"
    return "/".join(short_address(name) if name.startswith("0x") else clean_text(name, 24) for name in trigger.names)


def price_text(wad: int) -> str:
    """A price in wad as people read it, with as many digits as its size deserves: `1,987.20`, `0.04987123`."""
    places = 2 if wad >= 100 * WAD else 4 if wad >= WAD // 10 else 8 if wad >= WAD // 10**4 else 18
    return group_digits(format_units(wad, 18, places))


def level_text(wad: int) -> str:
    """A level as it was written: `2,000`, `0.05`."""
    return group_digits(plain_decimal(wad, 18))


def fact(trigger: Trigger, price: PriceSeen, best: int | None = None) -> str:
    """Where the price stands: `WETH 1,987.20 below 2,000`, `WETH 3,700.00 is not below 3,600 (10% under 4,000)`."""
    level = level_of(trigger, best)
    side = side_word(trigger)
    if level is None:
        return f"{pair_text(trigger)} {price_text(price.wad)}"
    crossed = has_crossed(trigger, price, best)
    shown = price_text(price.wad)
    # Four digits must not say the opposite of what all of them say.
    if _order(_read(shown), level) != _order(price.wad, level):
        shown = group_digits(format_units(price.wad, 18).rstrip("0").rstrip("."))
    line = f"{pair_text(trigger)} {shown} {side if crossed else f'is not {side}'} {level_words(trigger, level)}"
    if trigger.trailing_bps is not None and best is not None:
        of_it = "the best price" if trigger.is_price else "the best"
        line += f" ({percent_text(trigger.trailing_bps)} under {of_it} seen, {price_text(best)})"
    return line


def level_words(trigger: Trigger, level: int) -> str:
    """A level for people; one that trails is a price itself, with no more digits than a price."""
    return price_text(level) if trigger.trails else level_text(level)


def side_word(trigger: Trigger) -> str:
    """On which side of its level a trigger fires."""
    return "above" if trigger.kind in (TriggerKind.PRICE_ABOVE, TriggerKind.HEALTH_ABOVE) else "below"


def _read(text: str) -> int:
    whole, _, fraction = text.replace(",", "").partition(".")
    return int(whole) * WAD + int(fraction.ljust(18, "0") or "0")


def _order(one: int, other: int) -> int:
    return (one > other) - (one < other)


def lessened(before: Held, now: Held) -> bool:
    """Whether a position backs its debt with less of anything than before, or owes more of anything. Only its owner
    does that, or a liquidator; anybody may repay or supply for it, which is neither.
    """
    had = {name: (backs, owes) for name, backs, owes in before}
    has = {name: (backs, owes) for name, backs, owes in now}
    nothing = (0, 0)
    return any(
        has.get(name, nothing)[0] < had.get(name, nothing)[0] or has.get(name, nothing)[1] > had.get(name, nothing)[1]
        for name in had.keys() | has.keys()
    )
