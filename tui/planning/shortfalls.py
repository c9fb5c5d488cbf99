"""Whether a way that falls short of its goal is to be taken now, or whether a better one is to be waited for. Pure.

A small part done now is no defence: it spends what the wallet has, while the way that would do all of it waits for
cheaper gas or for an answer. In an emergency everything that helps is done at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tui.model.plan import Plan, Refusal
from tui.model.rule import Rule
from tui.planning.circumstances import Offer, OfferKey
from tui.planning.texts import health_text

HOLDS = frozenset({"max-cost", "max-cost-share", "max-base-fee", "cost-unknown"})
"""Codes of refusals by a limit on cost: they end by themselves."""


def suffices(rule: Rule, health: int | None) -> bool:
    """Whether a health factor (wad; None: no debt left) takes a position back over the trigger of a rule that waits for
    health; where a part of the debt is to be closed nothing but the whole part suffices.
    """
    if rule.boosts:
        return True
    below = rule.health_factor_below
    return health is None if below is None else health is None or health >= below


def ends_at(plan: Plan) -> int | None:
    """The health (wad; None: no debt) that a plan comes to, with the rounds that are to follow it."""
    return plan.health_factor_after if plan.rounds is None else plan.rounds.ends_at


def is_emergency(rule: Rule, health: int | None) -> bool:
    """Whether limits on cost give way at this health (wad)."""
    return health is not None and health < rule.limits.emergency


def may_wait(rule: Rule, plan: Plan) -> bool:
    """Whether a plan does too little to be all that is done, while there is time for something better."""
    if plan.reaches_target or suffices(rule, ends_at(plan)):
        return False
    return not is_emergency(rule, plan.health_factor_before)


def held(refusal: Refusal, plan: Plan, rule: Rule) -> Refusal:
    """Why neither the way that a limit holds is taken nor the best of those that fall short."""
    part = plan.goal_words or f"reaches {health_text(ends_at(plan), 4)}"
    level = "" if rule.health_factor_below is None else f", under its trigger {health_text(rule.health_factor_below)}"
    return replace(refusal, reason=f"{refusal.reason}; what costs less only {part}{level}, and waits as well")


def unanswered(offers: Mapping[OfferKey, Offer] | None) -> str | None:
    """What no exchange gave any answer to, in words; None where all that was asked was answered."""
    return next((one.why_not for one in (offers or {}).values() if one.unanswered and one.why_not), None)


def lacking(rule: Rule, plan: Plan, offers: Mapping[OfferKey, Offer] | None) -> str | None:
    """What a plan that does too little lacks, and may have at the next block: a sale that nobody answered, or a step
    that was refused at this block, may do the rest.
    """
    if plan.reaches_target or suffices(rule, ends_at(plan)):
        return None
    return unanswered(offers) or next(iter(plan.left_out), None)


def lacking_steps(rule: Rule, acting: Rule, plan: Plan, why: str | None) -> Plan:
    """A plan of `acting`, what of `rule` may act now. Where steps are out, and `why`, and it does too little, it lacks
    them: they may be back at the next block.
    """
    if plan.lacks is not None or why is None or len(acting.steps) == len(rule.steps):
        return plan
    if plan.reaches_target or suffices(rule, ends_at(plan)):
        return plan
    return replace(plan, lacks=why, awaits=why if may_wait(rule, plan) else None)
