"""What a yes covers when the plan is made anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.plain_market import USDC, WETH, PlainMarket, wallet_of
from tests.support.plain_rules import asked, repay, rule_of, sell, supply
from tui.model.agreement import differs, digest_of
from tui.model.plan import Plan, PlannedStep, SwapCost
from tui.model.rule import Step
from tui.model.units import USD, WAD
from tui.planning.plan import build_plan

MARKET = PlainMarket()


def planned(*steps: Step, owed: int = 150_000, usdc: int = 10**6) -> Plan:
    position = MARKET.position({WETH: 100 * WAD}, {USDC: owed * 10**6})
    wallet = wallet_of(native=10 * WAD, USDC=usdc * 10**6, WETH=100 * WAD)
    rule = rule_of(*steps)
    plan = build_plan(rule, MARKET, position, wallet, asked(rule, MARKET, position, wallet))
    assert isinstance(plan, Plan)
    return plan


def test_the_same_plan_and_one_that_needs_less_are_agreed_to() -> None:
    for steps in ((repay(),), (sell(),), (repay(maximum="5000"), sell())):
        plan = planned(*steps)
        assert differs(plan, plan) is None
        assert differs(plan, planned(*steps, owed=149_900)) is None
        assert differs(plan, planned(*steps, owed=150_100)) is None
        assert differs(planned(*steps, owed=140_000), plan) == "the market moved and more is needed now"


def test_another_way_is_not_agreed_to_whatever_it_moves() -> None:
    plan = planned(repay())
    others = [
        planned(supply()),
        planned(sell()),
        planned(repay(maximum="10000"), supply()),
        planned(sell("WETH", "USDC")),
    ]
    for other in others:
        assert differs(plan, other) == "the plan does it in another way now"
        assert differs(other, plan) == "the plan does it in another way now"


def test_what_falls_short_now_is_not_agreed_to() -> None:
    said = differs(planned(repay()), planned(repay(), usdc=3_000))
    assert said is not None
    assert said.startswith("the plan does not reach its target any more (reaches 1.1")


def with_most_sold(plan: Plan, hundredths: int) -> Plan:
    (step,) = plan.steps
    sale = step.action.sale
    assert sale is not None
    more = replace(sale, most_sold=sale.most_sold * hundredths // 100)
    return replace(plan, steps=(PlannedStep(replace(step.action, sale=more), step.health_factor_after),))


@pytest.mark.parametrize(("hundredths", "covered"), [(100, True), (102, True), (103, False)])
def test_a_sale_may_sell_hardly_more(hundredths: int, covered: bool) -> None:
    plan = planned(sell())
    said = differs(plan, with_most_sold(plan, hundredths))
    assert said == (None if covered else "the market moved and more would be sold now")


def test_a_sale_that_is_a_small_part_of_a_plan_may_grow_by_a_small_part_of_that() -> None:
    plan = planned(sell())
    wide = replace(plan, spend_usd=plan.spend_usd * 2)
    assert differs(wide, with_most_sold(wide, 103)) is None


def costing(plan: Plan, gas: int | None, swap: int) -> Plan:
    """With dollars of gas and of what sales lose."""
    wei = None if gas is None else gas * USD
    return replace(plan, cost=replace(plan.cost, gas_usd=wei, swap=SwapCost(fees_usd=swap * USD)))


@pytest.mark.parametrize(
    ("before", "after", "covered"),
    [
        ((10, 10), (10, 16), True),
        ((10, 10), (10, 17), False),
        ((10, 10), (16, 10), True),
        ((10, 10), (None, 13), True),  # gas of unknown price: sales are held to what they were
        ((10, 10), (None, 14), False),
        ((10, 10), (0, 0), True),
        ((0, -5), (1, 0), True),
        ((0, -5), (2, 0), False),
    ],
)
def test_cost_may_grow_by_a_quarter_and_a_dollar(
    before: tuple[int, int], after: tuple[int | None, int], covered: bool
) -> None:
    plan = planned(sell())
    said = differs(costing(plan, *before), costing(plan, *after))
    assert (said is None) is covered
    if said is not None:
        assert said.startswith("it would cost $")


def test_a_digest_names_what_is_shown() -> None:
    plan = planned(sell())
    changed = [
        with_most_sold(plan, 101), costing(plan, 1, 1), replace(plan, spend_usd=1), replace(plan, rule_digest="other"),
        replace(plan, block=replace(plan.block, hash="0x1")), planned(repay()),
    ]  # fmt: skip
    assert len({digest_of(one) for one in (plan, *changed)}) == len(changed) + 1
    assert digest_of(replace(plan, simulated=True)) == digest_of(plan)
