"""What of a rule its rounds are for, and what is left of it between two of them. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from tui.model.plan import Action
from tui.model.position import Asset, Position
from tui.model.rounds import Behind, DebtPart, RoundsSoFar
from tui.model.rule import REPAYING, SALES, ActionKind, Order, Rule
from tui.model.units import format_units, parse_units
from tui.planning.circumstances import Circumstances, kind_of
from tui.protocols.base import LendingMarket


def rest_of(rule: Rule, so_far: RoundsSoFar, market: LendingMarket, position: Position) -> Rule:
    """What is left of a rule between two rounds: all of its steps with what their maxima leave, the sum of dollars that
    may still be paid. The share of cost was held against all rounds before the first.
    """
    if not so_far.rounds:
        return rule
    rule, limits = with_less(rule, dict(so_far.used), market, position), rule.limits
    if limits.max_cost_usd is not None:
        limits = replace(limits, max_cost_usd=max(limits.max_cost_usd - so_far.cost_usd, 0))
    limits = replace(limits, max_cost_share_bps=None)
    return replace(rule, limits=limits)


def with_less(rule: Rule, used: Mapping[int, int], market: LendingMarket, position: Position) -> Rule:
    """A rule whose steps, by number, have so many base units less of their maxima."""
    steps = []
    for number, step in enumerate(rule.steps):
        asset = market.find_asset(position, (step.collateral if step.action in SALES else step.asset) or "")
        if step.maximum is not None and asset is not None and used.get(number):
            step = replace(step, maximum=_less(step.maximum, used[number], asset))
        steps.append(step)
    return replace(rule, steps=tuple(steps))


def _less(maximum: str, used: int, asset: Asset) -> str:
    return format_units(max(parse_units(maximum, asset.decimals) - used, 0), asset.decimals)


def less_by(rule: Rule, number: int, action: Action) -> Rule:
    """A rule whose step `number` has so much less left of its maximum as `action` of it sold."""
    step, sale = rule.steps[number], action.sale
    if step.maximum is None or sale is None:
        return rule
    left = _less(step.maximum, sale.sold, sale.collateral)
    return replace(rule, steps=(*rule.steps[:number], replace(step, maximum=left), *rule.steps[number + 1 :]))


def parts_of(
    rule: Rule,
    step: int,
    market: LendingMarket,
    position: Position,
    owed: Mapping[str, int],
    left_out: Container[int] = (),
) -> tuple[DebtPart, ...]:
    """What is `owed` (base units by token) as it fires of the debts that rounds are to close, of which the step of this
    number has the first: its own and those of the steps behind it, in whatever order those come. What an earlier step
    was to close, and could not, no round will, but for one that is only `left_out` now.
    """
    earlier = set() if rule.order is Order.CHEAPEST else {one for one in range(step) if one not in left_out}
    steps = [one for number, one in enumerate(rule.steps) if number not in earlier]
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


def steps_behind(foreseen: Iterable[tuple[int, Action, int]]) -> tuple[Behind, ...]:
    """What is foreseen (the number of a step, what it does, the dollars that it moves), together for each step."""
    found: dict[int, Behind] = {}
    for number, action, usd in foreseen:
        sale = action.sale
        taken = action.amount if sale is None else sale.most_sold
        pays = action.asset if sale is None else sale.collateral
        before = found.get(number)
        found[number] = Behind(
            number,
            action.kind,
            action.asset,
            action.amount + (0 if before is None else before.amount),
            pays,
            taken + (0 if before is None else before.taken),
            usd + (0 if before is None else before.spend_usd),
            sale is not None and sale.withdrawn is not None,
        )
    return tuple(found.values())
