"""Going on with a firing that did not do all of its own: what it took of each `max`, and how long its rule rests. Pure.

`max` is for one firing, and after one a rule rests for its `cooldown`. Where a step was out, or the chain undid a part,
what is left of that firing is done as soon as it can be: with what it left of each `max`, and of what it did already
nothing is done again before the cooldown is over. What it took is read from the record, transaction by transaction.

In an emergency none of this holds: each firing has all of its `max`, and none that lacked something is rested from.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tui.engine.budget import may_have_spent
from tui.engine.further import SPAN, is_useful, time_text
from tui.engine.retrying import has_reverted, reverts_in_row
from tui.model.intent import Firing, FiringState
from tui.model.plan import Plan, Refusal
from tui.model.rule import Rule, Step
from tui.planning.leaving_out import is_refused
from tui.planning.shortfalls import ends_at, is_emergency, suffices
from tui.rules.state import RuleState, rest_to_close

COOLDOWN = "cooldown"
NOTHING: Mapping[Step, int] = MappingProxyType({})
_OF_STEPS = frozenset({"nothing-available", "standing-allowance", "action-impossible"})
"""Refusals of all that is left of a firing, beside those of its simulation: what else there was is done already."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A firing that is gone on with. `taken`: what was taken of the maximum of each step that did anything, in base
    units (of the asset that the maximum is of), also where it has no maximum. `until`: chain time at which its cooldown
    is over. `is_through`: some of it ended as it was meant to, so that its rule rests.
    """

    taken: Mapping[Step, int]
    until: int
    is_through: bool


def firings_since(rule: Rule, now: int) -> int:
    """From which chain time on firings have to be known for `begun`."""
    return now - max(rule.limits.cooldown, SPAN)


def begun(
    rule: Rule, position: str, state: RuleState, health: int | None, firings: Iterable[Firing], now: int
) -> Begun | None:
    """What a firing at `now` (chain time), where `health` is so (wad), goes on with: those of `firings`, the newest
    first, whose cooldown is not over, and those that reverted in a row and were let go, to be planned anew or to close
    the rest of a part. None where it begins anew: nothing of them was done, or it is an emergency. `state`: what the
    rule remembers before it fires.
    """
    if is_emergency(rule, health):
        return None
    own = [one for one in firings if (one.rule_digest, one.position) == (rule.digest, position)]
    planned_anew = state.episode is None or bool(rest_to_close(state))
    row = {one.id for one in reverts_in_row(rule, position, own, now) if one.block_timestamp > now - SPAN}
    found = [
        (one, took)
        for one in own
        if one.block_timestamp + rule.limits.cooldown > now or (planned_anew and one.id in row)
        if (took := _taken_by(one, rule))
    ]
    if not found:
        return None
    taken: dict[Step, int] = {}
    for _, took in found:
        for step, amount in took.items():
            taken[step] = taken.get(step, 0) + amount
    until = max(one.block_timestamp for one, _ in found) + rule.limits.cooldown
    through = any(not has_reverted(one) and one.state is FiringState.DONE for one, _ in found)
    return Begun(MappingProxyType(taken), until, through)


def _taken_by(firing: Firing, rule: Rule) -> dict[Step, int]:
    """What a firing took of maxima: the most that each of its transactions may have, of those that went through. What
    an earlier version did not note is not counted.
    """
    taken: dict[Step, int] = {}
    for one in firing.intents:
        if one.step is not None and one.takes and one.step < len(rule.steps) and may_have_spent(one):
            step = rule.steps[one.step]
            taken[step] = taken.get(step, 0) + one.takes
    return taken


async def going_on(
    before: Begun | None,
    now: int,
    make: Callable[[Mapping[Step, int]], Awaitable[Plan | Refusal]],
    worth: Callable[[Plan | Refusal], bool],
) -> tuple[Plan | Refusal, Begun | None]:
    """The plan that goes on with a firing, and what that is; of another (None) where there is none, or where its
    cooldown is over and what is left of it is not `worth` being done first. `make` makes a plan, where so much was
    taken of each step.
    """
    plan = await make(NOTHING if before is None else before.taken)
    if before is None or now < before.until or worth(plan):
        return plan, before
    return await make(NOTHING), None


def is_worth_it(rule: Rule, plan: Plan | Refusal, undone: Iterable[int] = ()) -> bool:
    """Whether what is left of a firing is to be done first where its cooldown is over and another may begin. Steps that
    were `undone` again and again (numbers) are no reason to wait with all the others.
    """
    return isinstance(plan, Plan) and is_useful(rule, plan) and not set(plan.taken) <= set(undone)


def still_short(rule: Rule, plan: Plan) -> Plan:
    """A plan that goes on with a firing. Where it falls short for want of what that took already, it is as one that
    lacked something: its cooldown holds by the record alone, and gives way in an emergency.
    """
    if plan.lacks is not None or plan.reaches_target or suffices(rule, ends_at(plan)):
        return plan
    return replace(plan, lacks="its firing has taken of its maxima before")


def refuse_again(rule: Rule, acting: Rule, plan: Plan | Refusal, before: Begun, now: int) -> Refusal | None:
    """Why what would go on with a firing waits until its cooldown is over; None where it is carried out, or refused by
    itself.

    A firing that lacked something goes on within its cooldown for what it lacked: the plan has a step in it that did
    nothing yet, or gets where it was to get. What it did already is not done again. One that the chain undid in part is
    tried again at once, but for scraps.
    """
    if now >= before.until:
        return None
    if isinstance(plan, Refusal):
        # It is no fault of the engine, and nothing that would have to hold it: the rule rests, as it is written.
        return _resting(before, plan.reason) if plan.code in _OF_STEPS or is_refused(plan) else None
    if plan.reaches_target or suffices(rule, ends_at(plan)):
        return None
    if any(acting.steps[number] not in before.taken for number in plan.taken):
        return None
    if not before.is_through and is_useful(rule, plan):
        return None
    return _resting(before, plan.shortfall or "it would do the same again")


def _resting(before: Begun, why: str) -> Refusal:
    return Refusal(
        COOLDOWN,
        "it goes on with what its last firing left undone, and nothing of that can be done now "
        f"({why}): it rests until {time_text(before.until)}",
    )
