"""What of a rule its rounds are for, and what is left of it between two of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from tui.model.plan import Action
from tui.model.position import Position
from tui.model.rounds import DebtPart, RoundsSoFar
from tui.model.rule import REPAYING, ActionKind, Order, Rule
from tui.model.units import format_units, parse_units
from tui.planning.circumstances import Circumstances, kind_of
from tui.protocols.base import LendingMarket


def rest_of(rule: Rule, so_far: RoundsSoFar, market: LendingMarket, position: Position) -> Rule:
    """What is left of a rule between two rounds: the step under way with what its maximum leaves, the steps behind it,
    the sum of dollars that may still be paid. The share of cost was held against all rounds before the first.
    """
    step, limits = rule.steps[so_far.step], rule.limits
    asset = market.find_asset(position, step.collateral or "")
    if step.maximum is not None and asset is not None:
        left = max(parse_units(step.maximum, asset.decimals) - so_far.sold, 0)
        step = replace(step, maximum=format_units(left, asset.decimals))
    later = rule.steps[so_far.step + 1 :] if rule.order is Order.WRITTEN else ()
    if limits.max_cost_usd is not None:
        limits = replace(limits, max_cost_usd=max(limits.max_cost_usd - so_far.cost_usd, 0))
    limits = replace(limits, max_cost_share_bps=None)
    return replace(rule, steps=(step, *later), limits=limits, order=Order.WRITTEN)


def less_by(rule: Rule, number: int, action: Action) -> Rule:
    """A rule whose step `number` has so much less left of its maximum as `action` of it sold."""
    step, sale = rule.steps[number], action.sale
    if step.maximum is None or sale is None:
        return rule
    decimals = sale.collateral.decimals
    left = format_units(max(parse_units(step.maximum, decimals) - sale.sold, 0), decimals)
    return replace(rule, steps=(*rule.steps[:number], replace(step, maximum=left), *rule.steps[number + 1 :]))


def parts_of(
    rule: Rule, step: int, market: LendingMarket, position: Position, owed: Mapping[str, int]
) -> tuple[DebtPart, ...]:
    """What is `owed` (base units by token) as it fires of the debts that the step of this number, which goes in rounds,
    and those behind it repay: what an earlier step was to close, and could not, no round will.
    """
    steps = rule.steps[step:] if rule.order is Order.WRITTEN else (rule.steps[step],)
    assets = (market.find_asset(position, one.asset) for one in steps if one.action in REPAYING)
    tokens = dict.fromkeys(asset.address for asset in assets if asset is not None)
    return tuple(DebtPart(one, owed[one]) for one in tokens if one in owed)


def behind_a_round(around: Circumstances) -> Circumstances:
    """The circumstances of what is only foreseen behind a round. What was quoted is for the size of that one: the worst
    price allowed is assumed. What earlier rounds left it uses up, and a call that was made for it is for no other.
    """
    absent = set(around.absent)
    for key, offer in (around.offers or {}).items():
        if kind_of(key) is ActionKind.DELEVERAGE:
            (absent.add if offer.terms.absent else absent.discard)(key[0])
    so_far = None if around.so_far is None else replace(around.so_far, left=())
    return replace(around, so_far=so_far, given=MappingProxyType({}), absent=frozenset(absent), offers=None)
