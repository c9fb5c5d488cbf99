"""Going on after a firing that did all it could and left health below its trigger: how far, how often. Pure.

A rule that restores health is never left latched below its trigger: what is still to be done is planned anew at the
next block, once its cooldown is over. So that scraps do not burn gas without end, a further firing has to reach its
target, take health over the trigger or add something of use, and there are so many in an hour at most. In an emergency
whatever raises health goes out, as long as it costs less than a liquidation.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import takewhile

from tui.model.intent import Firing, FiringState, IntentState
from tui.model.plan import Plan, Refusal
from tui.model.rule import Rule
from tui.model.units import format_units, usd_text
from tui.planning.shortfalls import ends_at, is_emergency, suffices
from tui.planning.texts import health_text
from tui.rules.state import fires_once

SPAN = 60 * 60
"""Seconds of chain time over which firings that left health below the trigger are counted."""
MOST = 12
"""Firings of one rule on one position within `SPAN` that may leave it below the trigger, but for an emergency."""
USEFUL_PART = 10
"""A further firing is of use where it makes up this part of what health lacks to the trigger (a tenth) ..."""
USEFUL_GAS = 50
"""... or where gas costs no more than this part of what it moves (a fiftieth)."""


def goes_on(rule: Rule) -> bool:
    """Whether a rule is to be tried on and on until health is over its trigger: what closes a part does it once, what
    is done about a price does not move it back, and nobody is in danger above the trigger of a boost.
    """
    return rule.health_factor_below is not None and rule.target_health_factor is not None


def short_ones(rule: Rule, position: str, firings: Iterable[Firing], now: int) -> tuple[Firing, ...]:
    """The firings, the newest first, that went through within `SPAN` before `now` (chain time) and left the position
    below the trigger; none that was before one which took it over.
    """
    done = (
        one
        for one in firings
        if (one.rule_digest, one.position) == (rule.digest, position)
        and one.state is FiringState.DONE
        and one.block_timestamp > now - SPAN
    )
    return tuple(takewhile(lambda one: not _took_over(rule, one), done))


def refuse_further(
    rule: Rule, position: str, plan: Plan, firings: Iterable[Firing], *, is_rest: bool = False
) -> Refusal | None:
    """Why a plan is not carried out after what `firings` (the newest first) have done already, and when it is tried
    again; None where it is carried out. `is_rest`: it is what an earlier firing left of a part that is to be closed.
    """
    if not goes_on(rule) and not is_rest and not (fires_once(rule) and rule.target_health_factor is not None):
        return None
    before = short_ones(rule, position, firings, plan.block.timestamp)
    if not before or (is_emergency(rule, plan.health_factor_before) and _pays(rule, plan, len(before))):
        return None
    if len(before) >= MOST:
        again = time_text(before[MOST - 1].block_timestamp + SPAN)
        still = "health is still below its trigger" if goes_on(rule) else "it has not done all that it is to do"
        return Refusal(
            "too-many-firings",
            f"it fired {len(before)} times within an hour and {still}: it is tried again from {again} on",
        )
    if is_useful(rule, plan):
        return None
    now, after = (health_text(one, 4) for one in (plan.health_factor_before, ends_at(plan)))
    gas, again = plan.cost.gas_usd, time_text(before[0].block_timestamp + SPAN)
    price = "gas of unknown price" if gas is None else f"${usd_text(gas)} of gas"
    return Refusal(
        "adds-too-little",
        f"after what it did already it would only take the health factor from {now} to {after}, for {price}: it goes "
        f"on as soon as more can be done, else it is tried again from {again} on",
    )


def was_undone(rule: Rule, position: str, firings: Iterable[Firing]) -> bool:
    """Whether the chain refused a transaction of the last firing (of `firings`, the newest first) of a rule on a
    position that is over: the price went on by more than the room that its swaps had, or something else moved.
    """
    last = next(
        (
            one
            for one in firings
            if (one.rule_digest, one.position) == (rule.digest, position) and not one.state.is_open
        ),
        None,
    )
    return last is not None and any(one.state is IntentState.FINAL_REVERTED for one in last.intents)


def going_on_words(rule: Rule, health: int | None, cooldown_until: int | None, now: int) -> str:
    """What is told of a firing after which health is still below the trigger."""
    trigger, rest = health_text(rule.health_factor_below), rest_words(cooldown_until, now)
    shown = "?" if health is None else format_units(health, 18, 4)
    return f"is still below its trigger {trigger} after its rebalance (health factor {shown}): it goes on{rest}"


def rest_words(cooldown_until: int | None, now: int) -> str:
    """How long something that goes on rests first; nothing where it does not. Seconds of chain time."""
    if cooldown_until is None or cooldown_until <= now:
        return ""
    return f" once its cooldown is over ({cooldown_until - now} s)"


def time_text(timestamp: int) -> str:
    """A moment of chain time, `18:40:12 UTC`."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%H:%M:%S UTC")


def _goal(rule: Rule) -> int | None:
    """The health factor (wad) to which anything is missing; None where a part is to be closed."""
    return rule.health_factor_below if goes_on(rule) else rule.target_health_factor


def is_useful(rule: Rule, plan: Plan) -> bool:
    """Whether a plan gets where the rule is to get, or adds something that is worth its gas."""
    if plan.reaches_target or suffices(rule, ends_at(plan)):
        return True
    after, goal, gas = ends_at(plan), _goal(rule), plan.cost.gas_usd
    if after is None:
        return True
    if goal is not None and (after - plan.health_factor_before) * USEFUL_PART >= goal - plan.health_factor_before:
        return True
    return gas is not None and gas * USEFUL_GAS <= plan.spend_usd


def _pays(rule: Rule, plan: Plan, already: int) -> bool:
    """Whether a plan raises health for less than a liquidation would take: that is no time to save gas. After `MOST`
    firings it has to take health over the trigger, or cost no more than its share of the loss, by how much of what
    health lacks it makes up: so all of them together cost no more than the loss, however small each of them is.
    """
    before, after, loss = plan.health_factor_before, ends_at(plan), plan.avoided_loss_usd
    if after is None:
        return True
    cost, goal = plan.cost.total_usd, _goal(rule)
    if after <= before or (cost is not None and loss is not None and cost >= loss):
        return False
    if already < MOST or plan.reaches_target or suffices(rule, after):
        return True
    if cost is None or loss is None or goal is None:
        return False
    return cost * (goal - before) <= loss * (after - before)


def _took_over(rule: Rule, firing: Firing) -> bool:
    """Whether a firing is known to have left health at or above the trigger."""
    after, trigger = firing.health_factor_after, rule.health_factor_below
    return after is not None and trigger is not None and after >= trigger
