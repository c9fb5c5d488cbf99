"""The chosen plan is the cheapest that reaches the target, found again by trying everything; what else there was."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings

from tests.planning.test_waterfall import scenes
from tests.support.plain_market import (
    DAI,
    POOL,
    USDC,
    WETH,
    Exchange,
    PlainMarket,
    circumstances,
    wallet_of,
)
from tests.support.plain_rules import asked, burn, repay, rule_of, sell, supply
from tui.model.plan import Alternative, FeeQuote, Plan, Refusal
from tui.model.position import Position
from tui.model.rule import Order, Rule
from tui.model.units import USD, WAD
from tui.model.wallet import Wallet
from tui.planning.calling import calls_of
from tui.planning.choice import Ways
from tui.planning.circumstances import Circumstances
from tui.planning.plan import build_plan, with_its_way
from tui.planning.waterfall import run_waterfall

Scene = tuple[PlainMarket, Position, Wallet, Rule, Circumstances]


def _tried(scene: Scene, order: tuple[int, ...]) -> tuple[tuple[int, int], int, bool, int]:
    """(what it costs and its calls), health, whether it reaches the target, steps: a way priced from scratch."""
    market, position, wallet, rule, around = scene
    fall = run_waterfall(rule, market, position, wallet, around, order)
    calls = calls_of(market, fall, wallet)
    wei = sum(market.typical_gas(call) for call in calls) * (around.fees.base_fee + around.fees.priority_fee)
    assert around.native_price_usd is not None
    cost = sum(step.action.sale.cost.total_usd for step in fall.steps if step.action.sale) * WAD
    health = fall.position.health_factor
    return (
        (cost + wei * around.native_price_usd, len(calls)),
        2**256 - 1 if health is None else health,
        fall.reaches_target,
        len(fall.steps),
    )


@settings(max_examples=120, deadline=None)
@given(scenes())
def test_the_chosen_plan_is_the_cheapest_that_reaches_the_target(scene: Scene) -> None:
    market, position, wallet, rule, around = scene
    rule = replace(rule, order=Order.CHEAPEST, steps=rule.steps[:3])
    scene = market, position, wallet, rule, around
    every = [
        _tried(scene, order)
        for length in range(1, len(rule.steps) + 1)
        for order in permutations(range(len(rule.steps)), length)
    ]
    plan = build_plan(rule, market, position, replace(wallet, native=10**24), around)
    reaching = [one for one in every if one[2] and one[3]]
    acting = [one for one in every if one[3]]
    if isinstance(plan, Refusal):
        assert plan.code in ("nothing-available", "no-debt") or not acting or _no_native(scene)
        return
    if _no_native(scene):
        return  # another native balance sizes what is wrapped anew
    cost = (plan.cost.swap_usd * WAD + plan.cost.gas_wei * (around.native_price_usd or 0), len(plan.calls))
    if reaching:
        assert plan.reaches_target
        assert cost == min(one[0] for one in reaching)
    else:
        assert not plan.reaches_target
        best = max(one[1] for one in acting)
        assert (plan.health_factor_after or 2**256 - 1) == best
        assert cost == min(one[0] for one in acting if one[1] == best)


def _no_native(scene: Scene) -> bool:
    return scene[4].wrapped_native is not None


def _scene(**balances: int) -> tuple[PlainMarket, Position, Wallet]:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD, USDC: 30_000 * 10**6}, {USDC: 170_000 * 10**6, DAI: 10_000 * WAD})
    return market, position, wallet_of(native=10 * WAD, **balances)


def test_the_order_of_the_file_does_not_matter_to_the_cheapest() -> None:
    market, position, wallet = _scene(USDC=200_000 * 10**6)
    steps = (sell(), burn(), repay())
    for order in permutations(steps):
        rule = rule_of(*order, target=13 * WAD // 10, order=Order.CHEAPEST)
        plan = build_plan(rule, market, position, wallet, asked(rule, market, position, wallet))
        assert isinstance(plan, Plan)
        assert [step.action.kind for step in plan.steps] == ["repay"]
        written = replace(rule, order=Order.WRITTEN)
        plan = build_plan(written, market, position, wallet, asked(written, market, position, wallet))
        assert isinstance(plan, Plan)
        assert plan.steps[0].action.kind == order[0].action


def test_a_combination_is_taken_where_no_step_suffices() -> None:
    market, position, wallet = _scene(USDC=50_000 * 10**6)
    rule = rule_of(sell(maximum="20"), repay(), burn(), target=18 * WAD // 10, order=Order.CHEAPEST)
    around = asked(rule, market, position, wallet)
    plan = build_plan(rule, market, position, wallet, around)
    assert isinstance(plan, Plan)
    assert plan.reaches_target
    # The sale is last: then it need not be so large.
    assert plan.steps[-1].action.kind == "deleverage"
    assert len(plan.steps) == 3
    singles = [one for one in plan.alternatives if len(one.steps) == 1]
    assert [one.reaches_target for one in singles] == [False] * 3
    assert all(one.why_not and "of 1.80" in one.why_not for one in singles)


def test_what_is_refused_still_tells_every_way_and_what_it_would_cost() -> None:
    market, position, wallet = _scene(USDC=200_000 * 10**6)
    rule = rule_of(sell(), repay(), target=13 * WAD // 10, max_cost_usd=USD)
    refused = build_plan(rule, market, position, wallet, asked(rule, market, position, wallet))
    assert isinstance(refused, Refusal)
    assert refused.code == "max-cost"
    told = {one.words: one for one in refused.alternatives}
    assert set(told) == {"repay USDC", "deleverage WETH for USDC"}
    assert all(one.cost is not None and one.cost.total_usd for one in told.values())
    assert all("over the rule's $1.00" in (one.why_not or "") for one in told.values())
    quick = build_plan(rule, market, position, wallet, asked(rule, market, position, wallet), alternatives=False)
    assert quick == replace(refused, alternatives=())


def test_alternatives_say_what_each_would_cost_and_why_not() -> None:
    market, position, wallet = _scene(USDC=200_000 * 10**6, WETH=WAD)
    wallet = replace(
        wallet, tokens={**wallet.tokens, WETH.address: replace(wallet.tokens[WETH.address], allowances={POOL: 2**256})}
    )
    rule = rule_of(sell(), supply(), repay(), repay("WBTC"), target=13 * WAD // 10)
    plan = build_plan(rule, market, position, wallet, asked(rule, market, position, wallet))
    assert isinstance(plan, Plan)
    told = {one.words: one for one in plan.alternatives}
    assert [one.words for one in plan.alternatives][:2] == ["repay USDC", "deleverage WETH for USDC"]
    assert told["repay USDC"].why_not is None
    assert told["deleverage WETH for USDC"].cost is not None
    assert told["deleverage WETH for USDC"].cost.swap_usd > 0
    assert "may take more of the wallet's WETH (without limit)" in (told["add-collateral WETH"].why_not or "")
    assert "no WBTC is owed" in (told["repay WBTC"].why_not or "") or "holds none" in (told["repay WBTC"].why_not or "")
    assert build_plan(rule, market, position, wallet, asked(rule, market, position, wallet), alternatives=False) == (
        replace(plan, alternatives=())
    )


@settings(max_examples=80, deadline=None)
@given(scenes())
def test_alternatives_are_cheapest_first_and_complete(scene: Scene) -> None:
    market, position, wallet, rule, around = scene
    plan = build_plan(rule, market, position, replace(wallet, native=10**24), around)
    if isinstance(plan, Refusal):
        return
    ways = plan.alternatives
    assert {one.steps for one in ways if len(one.steps) == 1} == {(number,) for number in range(len(rule.steps))}
    feasible = [one for one in ways if one.why_not is None]
    assert all(one.reaches_target and one.cost is not None for one in feasible)
    assert [one for one in ways if one.why_not is None] == list(ways[: len(feasible)])
    costs = [_total(one) for one in feasible]
    assert costs == sorted(costs)


def _total(way: Alternative) -> int:
    assert way.cost is not None
    assert way.cost.total_usd is not None
    return way.cost.total_usd


def test_of_more_steps_than_can_all_be_tried_a_cheap_chain_is_taken() -> None:
    market, position, wallet = _scene(USDC=20_000 * 10**6, DAI=10_000 * WAD, WETH=5 * WAD)
    steps = (sell(), sell(debt="DAI"), supply(), repay("DAI"), repay(), burn())
    rule = rule_of(*steps, target=14 * WAD // 10, order=Order.CHEAPEST)
    around = asked(rule, market, position, wallet)
    plan = build_plan(rule, market, position, wallet, around)
    assert isinstance(plan, Plan)
    assert plan.reaches_target
    written = build_plan(replace(rule, order=Order.WRITTEN), market, position, wallet, around)
    assert isinstance(written, Plan)
    assert plan.cost.total_usd is not None
    assert written.cost.total_usd is not None
    assert plan.cost.total_usd <= written.cost.total_usd


def test_a_way_that_costs_too_much_gives_way_to_a_part() -> None:
    market, position, wallet = _scene(USDC=60_000 * 10**6)
    rule = rule_of(repay(), sell(slippage=100), target=16 * WAD // 10, order=Order.CHEAPEST, max_cost_usd=30 * USD)
    around = asked(rule, market, position, wallet, [Exchange(fee_bps=30)])
    plan = build_plan(rule, market, position, wallet, around)
    assert isinstance(plan, Plan)
    assert [step.action.kind for step in plan.steps] == ["repay"]
    assert not plan.reaches_target
    rule = replace(rule, order=Order.WRITTEN)
    refused = build_plan(rule, market, position, wallet, around)
    assert isinstance(refused, Refusal)
    assert refused.code == "max-cost"
    assert "sales $" in refused.reason


def _held_by_its_share(usdc: int, health_pct: int = 0, **limits: int) -> Plan | Refusal:
    """The cheapest of a sale that reaches the target and a repayment out of the wallet, where gas is far too dear for a
    tenth of what waiting is expected to lose. `health_pct` prices the collateral so that health is that.
    """
    market = PlainMarket()
    price = 2_000 * USD * health_pct // 118 if health_pct else 2_000 * USD
    position = market.position({WETH: 100 * WAD}, {USDC: 140_678 * 10**6}, {WETH: price})
    wallet = wallet_of(native=10 * WAD, USDC=usdc * 10**6)
    rule = rule_of(repay(), sell(), target=15 * WAD // 10, order=Order.CHEAPEST, max_cost_share_bps=1_000, **limits)
    around = asked(rule, market, position, wallet)
    around = replace(around, fees=FeeQuote(80 * 10**9, 200 * 10**9, 10**9, 400 * 10**9))
    return build_plan(rule, market, position, wallet, around)


def test_a_scrap_is_not_done_instead_of_what_a_limit_holds() -> None:
    refused = _held_by_its_share(5)
    assert isinstance(refused, Refusal)
    assert refused.code == "max-cost-share"
    assert refused.acts_below is not None
    assert "what costs less only reaches 1.1800, under its trigger 1.20, and waits as well" in refused.reason


def test_what_takes_health_over_the_trigger_is_done_while_a_limit_holds_the_rest() -> None:
    plan = _held_by_its_share(5_000)
    assert isinstance(plan, Plan)
    assert [step.action.kind for step in plan.steps] == ["repay"]
    assert not plan.reaches_target
    assert (plan.health_factor_after or 0) > 12 * WAD // 10


def test_in_an_emergency_nothing_waits_for_a_limit() -> None:
    refused, scrap = (_held_by_its_share(5, health, max_cost_usd=50 * USD) for health in (118, 104))
    assert isinstance(refused, Refusal)
    assert isinstance(scrap, Plan), "a limit that does not give way holds the sale, and what helps a little is done"
    assert [step.action.kind for step in scrap.steps] == ["repay"]
    full = _held_by_its_share(5, 104)
    assert isinstance(full, Plan)
    assert full.reaches_target


def test_no_price_of_the_coin_compares_sales_before_gas() -> None:
    market, position, wallet = _scene(USDC=200_000 * 10**6)
    rule = rule_of(sell(), burn("USDC", "20000"), repay(), target=115 * WAD // 100, order=Order.CHEAPEST)
    around = asked(rule, market, position, wallet, around=circumstances(native_price_usd=None))
    plan = build_plan(rule, market, position, wallet, around)
    assert isinstance(plan, Plan)
    assert plan.cost.swap_usd == 0
    assert plan.cost.total_usd is None


def test_sizes_that_begin_alike_are_found_once() -> None:
    market, position, wallet = _scene(USDC=5_000 * 10**6, DAI=2_000 * WAD)
    rule = rule_of(repay(), repay("DAI"), sell(), target=15 * WAD // 10, order=Order.CHEAPEST)
    around = asked(rule, market, position, wallet)
    market.asked = 0
    plan = build_plan(rule, market, position, wallet, around)
    assert isinstance(plan, Plan)
    assert market.asked < 150


@pytest.mark.parametrize("order", list(Order))
def test_a_rule_that_can_do_nothing_says_why_of_every_step(order: Order) -> None:
    market, position, wallet = _scene()
    rule = rule_of(repay(), supply("WBTC"), order=order)
    refused = build_plan(rule, market, position, wallet, circumstances())
    assert isinstance(refused, Refusal)
    assert refused.code == "nothing-available"
    assert refused.reason == "repay USDC: the wallet holds none; add-collateral WBTC: the wallet holds none"


def test_two_sales_of_one_collateral_share_its_allowance_and_its_nonces() -> None:
    market, position, wallet = _scene()
    rule = rule_of(sell(maximum="5"), sell(debt="DAI", maximum="4"))
    around = asked(rule, market, position, wallet)
    assert around.offers is not None
    offers = {key: replace(one, terms=replace(one.terms, allowed=6 * WAD)) for key, one in around.offers.items()}
    ways = Ways(rule, market, position, wallet, replace(around, offers=offers))
    calls = ways.written().calls
    # What the first one leaves does not suffice for the second.
    assert [call.words for call in calls] == ["Sell", "Approve", "Sell"]
    first = calls[0].action
    assert first is not None
    assert first.sale is not None
    second = calls[2].action
    assert second is not None
    assert second.sale is not None
    assert second.sale.terms.allowed == 6 * WAD - first.sale.most_sold
    assert USDC in (first.asset, second.asset)


def test_a_simulated_plan_and_its_own_way_tell_one_cost() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})
    wallet = wallet_of(USDC=100_000 * 10**6, WETH=100 * WAD)
    plan = build_plan(rule_of(repay(), supply()), market, position, wallet, circumstances())
    assert isinstance(plan, Plan)
    assert plan.taken == (0,)
    gas = plan.cost.gas_usd
    assert gas is not None
    simulated = replace(plan, cost=replace(plan.cost, gas_usd=gas * 100), health_factor_after=plan.health_factor_before)
    told = with_its_way(simulated)
    (own,) = [one for one in told.alternatives if one.steps == (0,)]
    assert own.cost == simulated.cost
    assert own.health_factor_after == simulated.health_factor_after
    assert [one.steps for one in plan.alternatives] == [(0,), (1,)]
    assert [one.steps for one in told.alternatives] == [(0,), (1,)], "what is usual for both was compared"
    assert [one.simulated for one in told.alternatives] == [True, False]
    (other,) = [one for one in told.alternatives if one.steps == (1,)]
    assert other in plan.alternatives
