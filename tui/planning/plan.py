"""From a rule and a position to a plan: sizes, calls, fees, costs, and every limit that may refuse it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tui.model.plan import Alternative, Plan, PlanCost, Refusal
from tui.model.position import Position
from tui.model.rule import Order, Rule
from tui.model.wallet import Wallet
from tui.planning.choice import Way, Ways
from tui.planning.circumstances import Circumstances as Circumstances
from tui.planning.costs import lost_yield, plan_cost
from tui.planning.limits import price_plan as price_plan
from tui.planning.limits import refuse_before_sizing
from tui.planning.shortfalls import HOLDS, held, lacking, may_wait
from tui.planning.texts import health_text, part_text, step_text
from tui.planning.waterfall import Waterfall
from tui.protocols.base import LendingMarket
from tui.risk.probability import expected_loss, volatility_of

PASSED_OVER = frozenset({"standing-allowance", "no-gas", "action-impossible"})
"""Codes of refusals that are about some of the steps: they keep the others from nothing."""


def build_plan(
    rule: Rule,
    market: LendingMarket,
    position: Position,
    wallet: Wallet,
    circumstances: Circumstances,
    alternatives: bool = True,
) -> Plan | Refusal:
    """What `rule` would do to `position` now, or why it does nothing.

    The plan is not simulated yet: its gas is what such calls usually take. `alternatives` False leaves out what else
    could be done, which costs the sizing of each step alone.
    """
    refusal = refuse_before_sizing(rule, position, wallet, circumstances)
    if refusal is not None:
        return refusal
    ways = Ways(rule, market, position, wallet, circumstances)
    pricing = _Pricing(rule, position, wallet, circumstances)
    chosen = pricing.first(ways.candidates())
    if isinstance(chosen, Refusal) and chosen.code in PASSED_OVER and rule.order is Order.WRITTEN:
        left_out = pricing.passed_over(ways, chosen)
        if not left_out.keys() <= circumstances.left_out.keys():
            around = replace(circumstances, left_out={**circumstances.left_out, **left_out})
            chosen = build_plan(rule, market, position, wallet, around, alternatives=False)
    if not alternatives:
        return chosen
    return replace(chosen, alternatives=_alternatives(rule, ways, pricing))


class _Pricing:
    """Ways made into plans with their costs, held against the rule's limits."""

    def __init__(self, rule: Rule, position: Position, wallet: Wallet, circumstances: Circumstances) -> None:
        self._rule, self._position, self._wallet, self._circumstances = rule, position, wallet, circumstances
        self._volatility = volatility_of(position)

    def first(self, ways: Iterator[Way]) -> Plan | Refusal:
        """The plan of the first way that nothing refuses; else what refuses the best of them. While a limit on cost
        holds a way that reaches the target, no other is taken that does not even take health over the trigger.
        """
        refusal: Refusal | None = None
        limited: Refusal | None = None
        for way in ways:
            plan = self.plan(way)
            if isinstance(plan, Plan):
                if limited is not None and may_wait(self._rule, plan):
                    return held(limited, plan, self._rule)
                return plan
            if way.fall.reaches_target and plan.code in HOLDS:
                limited = limited or plan
            # That a way adds nothing says less than why another, which would help, is not taken.
            if refusal is None or refusal.code == "nothing-available":
                refusal = plan
        return refusal or Refusal("nothing-available", "the rule has no steps")

    def passed_over(self, ways: Ways, refusal: Refusal) -> Mapping[int, str]:
        """Which steps to pass over where `refusal` keeps all of the written ones from being done, and why: the others
        go as far as any that nothing refuses. Empty where all are refused.
        """
        for numbers, way in ways.parts():
            if isinstance(self.plan(way), Plan):
                return dict.fromkeys(numbers, refusal.reason)
        return {}

    def plan(self, way: Way) -> Plan | Refusal:
        """The plan of one way, or why it is not taken."""
        if way.refusal is not None:
            return way.refusal
        position, rule, fall = self._position, self._rule, way.fall
        before, avoided = position.health_factor, position.liquidation_penalty_usd
        assert before is not None
        plan = Plan(
            rule=rule.name,
            rule_digest=rule.digest,
            position=position.key,
            block=position.block,
            steps=fall.steps,
            calls=way.calls,
            health_factor_before=before,
            health_factor_after=fall.position.health_factor,
            reaches_target=fall.reaches_target,
            shortfall=None if fall.reaches_target else _shortfall(rule, fall),
            fees=self._circumstances.fees,
            cost=PlanCost(0, 0, None, lost_yield_usd_year=lost_yield(position, fall.actions)),
            avoided_loss_usd=avoided,
            spend_usd=fall.spend_usd,
            expected_loss_usd=None if avoided is None else expected_loss(avoided, before, self._volatility),
            volatility_bps=self._volatility,
            closed_bps=fall.closed_bps,
            floor=rule.target_health_factor if rule.boosts else None,
            taken=fall.taken,
            left_out=tuple(
                f"{step_text(rule.steps[number])}: {why}" for number, why in self._circumstances.left_out.items()
            ),
            rounds=fall.rounds,
        )
        lacks = lacking(rule, plan, self._circumstances.offers)
        plan = replace(plan, lacks=lacks, awaits=lacks if may_wait(rule, plan) else None)
        return price_plan(plan, rule, self._wallet, self._circumstances, way.gas_by)

    def cost(self, way: Way) -> PlanCost | None:
        """What a way would cost, whatever the limits say; None where it has no calls."""
        if not way.calls:
            return None
        lost = lost_yield(self._position, way.fall.actions)
        rounds, swap, times = way.fall.rounds, way.fall.swap_cost, 1
        if rounds is not None:
            # Ways are compared by what they cost to the end.
            swap, times = replace(swap, gap_usd=swap.gap_usd + rounds.swap_usd), 1 + rounds.ahead
        return plan_cost(way.gas * times, way.calls * times, swap, lost, self._circumstances)


def _alternatives(rule: Rule, ways: Ways, pricing: _Pricing) -> tuple[Alternative, ...]:
    """Each step alone, and what the written order takes where it takes several: the cheapest that reaches the target
    first, then what falls short, then what cannot be done.
    """
    looked_at: list[tuple[tuple[int, ...], Way]] = [((number,), ways.single(number)) for number in ways.numbers]
    written = ways.written()
    if len(written.fall.taken) > 1:
        looked_at.append((written.fall.taken, written))
    found = []
    for numbers, way in looked_at:
        plan = pricing.plan(way)
        why_not = plan.reason if isinstance(plan, Refusal) else plan.shortfall
        words = ", then ".join(step_text(rule.steps[number]) for number in numbers)
        rounds = way.fall.rounds
        if rounds is not None:
            words += f" {rounds.how_many}"
        one = Alternative(
            words=words,
            steps=numbers,
            cost=pricing.cost(way),
            health_factor_after=way.fall.position.health_factor if rounds is None else rounds.ends_at,
            reaches_target=way.fall.reaches_target,
            why_not=why_not,
        )
        rank = 2 if isinstance(plan, Refusal) else int(not way.fall.reaches_target)
        found.append(((rank, ways.cost_key(way)), one))
    return tuple(one for _, one in sorted(found, key=lambda ranked: ranked[0]))


def with_its_way(plan: Plan) -> Plan:
    """A simulated plan whose own way among the alternatives is told as it was simulated, not as such calls usually are:
    two figures for one thing cannot both be true. The order stays: ways are compared by what is usual for all of them,
    and by all of their rounds, of which a plan is one.
    """
    if plan.rounds is not None:
        return plan
    told = tuple(
        replace(one, cost=plan.cost, health_factor_after=plan.health_factor_after, simulated=True)
        if one.steps == plan.taken and one.cost is not None
        else one
        for one in plan.alternatives
    )
    return replace(plan, alternatives=told)


def _shortfall(rule: Rule, fall: Waterfall) -> str:
    notes = [step.note for step in fall.steps if step.note] + list(fall.skipped)
    if rule.close_bps is not None:
        told = f"closes {part_text(fall.closed_bps or 0)} of {part_text(rule.close_bps)}"
    else:
        ends = fall.position.health_factor if fall.rounds is None else fall.rounds.ends_at
        reached = health_text(ends, 4)
        told = f"reaches {reached} of {health_text(rule.target_health_factor)}"
        if fall.rounds is not None:
            told += f" {fall.rounds.how_many}"
    return f"{told}: {'; '.join(notes)}" if notes else told


def balances_of(wallet: Wallet) -> Mapping[str, int]:
    """Token balances that could be read, by address."""
    return {token: holding.balance for token, holding in wallet.tokens.items() if holding.balance is not None}
