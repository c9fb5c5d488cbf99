"""Rules that would chase each other: one boosts down to where another defends, which defends up to where it boosts; or
one boosts what another has taken off at a price, or where health is high; or one sets another off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tui.model.rule import SALES, ActionKind, Mode, Rule
from tui.model.units import BPS
from tui.rules.fields import percent_text, plain_decimal
from tui.rules.match import overlap

USUAL_PREMIUM_BPS = 9
"""What a flash loan is taken to cost: the dearest usual one."""
TARGET_ROOM = 1_000
"""A defence ends above its target by up to this part of it (0.1%)."""


def chasing(rules: Iterable[Rule]) -> Iterator[tuple[Rule, Rule, str, str]]:
    """(boost, defence, what is wrong, how to mend it) for every two acting rules on the same position whose bands meet:
    the boost's target is not above the defence's trigger, or the defence's target not below the boost's trigger.
    """
    acting = [rule for rule in rules if rule.mode is not Mode.NOTIFY]
    for boost in (rule for rule in acting if rule.boosts):
        for defence in acting:
            found = None if defence.boosts else _meeting(boost, defence)
            if found is not None and overlap(boost.position, defence.position):
                yield (boost, defence, *found)


def surprising(rules: Iterable[Rule]) -> Iterator[tuple[Rule, Rule, str, str]]:
    """(rule, other rule, what may surprise, how to mend it) for every two acting rules on the same position of which
    the first undoes what the other did, or is set off by it. No cycle without an end: the other fires once.
    """
    acting = [rule for rule in rules if rule.mode is not Mode.NOTIFY]
    yield from _levering_again(acting)
    yield from _set_off(acting)


def _levering_again(acting: Sequence[Rule]) -> Iterator[tuple[Rule, Rule, str, str]]:
    """A boost beside what takes debt off at a price, or where health is high: it takes it on again after that."""
    for boost in (rule for rule in acting if rule.boosts):
        for other in acting:
            if other.closes_when_high and overlap(boost.position, other.position):
                yield (boost, other, *_undone(boost, other))
            if other.trigger.by_value and overlap(boost.position, other.position):
                level = plain_decimal(boost.trigger.level, 18)
                where = "at a price" if other.trigger.is_price else "where health has fallen"
                yield (
                    boost,
                    other,
                    f'"{other.name}" takes debt off {where}, after which health may be above {level}: '
                    f'"{boost.name}" would then borrow again on the same position',
                    f'disarm "{boost.name}" once "{other.name}" has fired, or write a higher trigger',
                )


def _undone(boost: Rule, profit: Rule) -> tuple[str, str]:
    """What a boost and a take-profit on the same health do to each other."""
    ceiling, level = plain_decimal(boost.trigger.level, 18), plain_decimal(profit.trigger.level, 18)
    if profit.trigger.level <= boost.trigger.level:
        said = (
            f'"{boost.name}" boosts above {ceiling}, where "{profit.name}" is beyond its trigger {level}: nothing is '
            "boosted there, so it never boosts"
        )
        return said, "keep one of the two"
    said = (
        f'"{profit.name}" closes a part above {level}: "{boost.name}" would borrow again as soon as health is between '
        f"{ceiling} and {level}, and by boosting from {ceiling} on it keeps health from getting there"
    )
    return said, "keep one of the two armed at a time"


def _set_off(acting: Sequence[Rule]) -> Iterator[tuple[Rule, Rule, str, str]]:
    """A take-profit on health beside what raises health by itself: no price has to rise for it to fire then."""
    for profit in (rule for rule in acting if rule.closes_when_high):
        level = plain_decimal(profit.trigger.level, 18)
        for other in acting:
            done = _raises_over(other, profit.trigger.level)
            if other is not profit and done is not None and overlap(profit.position, other.position):
                yield (
                    profit,
                    other,
                    f'"{other.name}" {done} {level}: "{profit.name}" would then close a part on the same position, '
                    "though nothing has risen",
                    f'disarm "{profit.name}" once "{other.name}" has fired, or write a higher trigger',
                )


def _raises_over(rule: Rule, level: int) -> str | None:
    """How a rule may bring health above a level by what it does, in words; None where it does not."""
    target, closed = rule.target_health_factor, rule.close_bps
    if rule.health_factor_below is not None and target is not None:
        if target + target // TARGET_ROOM < level:
            return None
        return f"restores health to {plain_decimal(target, 18)} and a little more, above"
    if closed == BPS or rule.boosts:
        return None  # nothing is owed then, or health falls
    if rule.trigger.by_value:
        where = "at a price" if rule.trigger.is_price else "where health has fallen"
        return f"takes debt off {where}, after which health may be above"
    before = rule.trigger.level
    if closed is not None and before < level and before * BPS > level * (BPS - closed):
        side = "above" if rule.closes_when_high else "below"
        return f"closes {percent_text(closed)} {side} {plain_decimal(before, 18)}, after which health may be above"
    return None


def _meeting(boost: Rule, defence: Rule) -> tuple[str, str] | None:
    ceiling, floor = boost.health_factor_above, boost.target_health_factor
    trigger, target = defence.health_factor_below, defence.target_health_factor
    if ceiling is None or floor is None or trigger is None:
        return None
    said = (
        f'"{boost.name}" boosts from {plain_decimal(ceiling, 18)} down to {plain_decimal(floor, 18)} and '
        f'"{defence.name}" defends from {plain_decimal(trigger, 18)} up to {plain_decimal(target or trigger, 18)} on '
        f"the same position: they would chase each other, and {_round_trip(boost, defence)}"
    )
    if floor <= trigger:
        return said, f"write a boost target above {plain_decimal(trigger, 18)}"
    if target is not None and target >= ceiling:
        return said, f"write a boost trigger above {plain_decimal(target, 18)}"
    return None


def _round_trip(boost: Rule, defence: Rule) -> str:
    """What one boost and one defence against it may lose, as a share of what they move."""
    there = max((step.max_slippage_bps or 0 for step in boost.steps), default=0) + USUAL_PREMIUM_BPS
    sales = [step for step in defence.steps if step.action in SALES and step.action is not ActionKind.BOOST]
    back = max((step.max_slippage_bps or 0 for step in sales), default=0) + (USUAL_PREMIUM_BPS if sales else 0)
    share = percent_text(there + back)
    on_10k = (there + back) * 10_000 // BPS
    return f"one round trip may cost {share} of what is moved (${on_10k:,} on $10,000) and the gas of both"
