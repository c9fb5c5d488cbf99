"""Rules that would chase each other: one boosts down to where another defends, which defends up to where it boosts; or
one boosts what another has taken off at a price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tui.model.rule import SALES, ActionKind, Mode, Rule
from tui.model.units import BPS
from tui.rules.fields import percent_text, plain_decimal
from tui.rules.match import overlap

USUAL_PREMIUM_BPS = 9
"""What a flash loan is taken to cost: the dearest usual one."""


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


def levering_again(rules: Iterable[Rule]) -> Iterator[tuple[Rule, Rule, str, str]]:
    """(boost, price rule, what may surprise, how to mend it) for every two acting rules on the same position of which
    one takes debt off at a price and the other takes it on where health is high, as it is after that.
    """
    acting = [rule for rule in rules if rule.mode is not Mode.NOTIFY]
    for boost in (rule for rule in acting if rule.boosts):
        for other in acting:
            if other.trigger.is_price and overlap(boost.position, other.position):
                level = plain_decimal(boost.trigger.level, 18)
                yield (
                    boost,
                    other,
                    f'"{other.name}" takes debt off at a price, after which health may be above {level}: '
                    f'"{boost.name}" would then borrow again on the same position',
                    f'disarm "{boost.name}" once "{other.name}" has fired, or write a higher trigger',
                )


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
