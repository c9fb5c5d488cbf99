"""Closing a part: each step repays its share of what was owed when it fired, no more, and never lowers health."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.plain_market import DAI, USDC, WBTC, WETH, Exchange, PlainMarket, circumstances, wallet_of
from tests.support.plain_rules import asked, burn, repay, rule_of, sell
from tui.model.plan import Plan
from tui.model.position import Position
from tui.model.rule import Order, Rule, Trigger, TriggerKind, close, health_below
from tui.model.units import BPS, USD, WAD
from tui.planning.plan import build_plan
from tui.planning.sales import wanted_sales
from tui.planning.triggering import at_trigger, fires_at, is_crossed, liquidation_first
from tui.planning.validate import RuleProblem, validate
from tui.planning.waterfall import run_waterfall

MARKET = PlainMarket()
STOP = Trigger(TriggerKind.PRICE_BELOW, 1_500 * WAD, "WETH")


def closing(*steps, part: int = 5_000, trigger: Trigger = STOP, order: Order = Order.WRITTEN, **limits) -> Rule:
    return replace(rule_of(*steps, order=order, **limits), trigger=trigger, goal=close(part))


def safe(market: PlainMarket = MARKET) -> Position:
    """100 WETH against 100,000 USDC: health 1.66, liquidated at 1,204.82."""
    return market.position({WETH: 100 * WAD}, {USDC: 100_000 * 10**6})


def test_a_sale_repays_its_part_without_a_search() -> None:
    rule = closing(sell())
    fall = run_waterfall(rule, MARKET, safe(), wallet_of(), asked(rule, MARKET, safe()))
    (step,) = fall.steps
    assert step.action.amount == 50_000 * 10**6
    assert step.action.sale is not None
    assert step.action.sale.path
    assert (fall.reaches_target, fall.closed_bps) == (True, 5_000)


def test_all_of_it_leaves_no_debt() -> None:
    rule = closing(sell(), part=BPS)
    fall = run_waterfall(rule, MARKET, safe(), wallet_of(), asked(rule, MARKET, safe()))
    assert fall.position.health_factor is None
    assert (fall.reaches_target, fall.closed_bps) == (True, BPS)


def test_less_than_a_cent_that_is_left_is_a_part_closed_and_not_all_of_it() -> None:
    wallet = wallet_of(USDC=99_999_995_000)  # half a cent short of all that is owed
    fall = run_waterfall(closing(repay(), part=BPS), MARKET, safe(), wallet, circumstances())
    assert fall.position.health_factor is not None
    assert not fall.reaches_target
    assert fall.closed_bps is not None
    assert fall.closed_bps < BPS
    wallet = wallet_of(USDC=49_999_995_000)
    fall = run_waterfall(closing(repay()), MARKET, safe(), wallet, circumstances())
    assert (fall.reaches_target, fall.closed_bps) == (True, 5_000)


def test_a_part_is_rounded_up_to_a_unit() -> None:
    position = MARKET.position({WETH: 100 * WAD}, {USDC: 100_000_000_001})
    fall = run_waterfall(closing(repay()), MARKET, position, wallet_of(USDC=100_000 * 10**6), circumstances())
    assert [step.action.amount for step in fall.steps] == [50_000_000_001]


def test_steps_share_one_debt_in_their_order() -> None:
    rule = closing(repay(), sell())
    wallet = wallet_of(USDC=20_000 * 10**6)
    fall = run_waterfall(rule, MARKET, safe(), wallet, asked(rule, MARKET, safe(), wallet))
    assert [step.action.amount for step in fall.steps] == [20_000 * 10**6, 30_000 * 10**6]
    assert "the wallet holds 20,000.00 USDC" in fall.steps[0].note
    assert fall.steps[1].note == ""
    enough = wallet_of(USDC=60_000 * 10**6)
    assert [step.action.amount for step in run_waterfall(rule, MARKET, safe(), enough, circumstances()).steps] == [
        50_000 * 10**6
    ]


def test_each_debt_has_its_own_part() -> None:
    position = MARKET.position({WETH: 100 * WAD, DAI: 4_000 * WAD}, {USDC: 60_000 * 10**6, DAI: 40_000 * WAD})
    rule = closing(burn("DAI"), sell(), sell(debt="DAI"), part=2_500)
    fall = run_waterfall(rule, MARKET, position, wallet_of(), asked(rule, MARKET, position))
    assert [(step.action.asset, step.action.amount) for step in fall.steps] == [
        (DAI, 4_000 * WAD),
        (USDC, 15_000 * 10**6),
        (DAI, 6_000 * WAD),
    ]
    assert fall.reaches_target
    # A debt that no step names is left as it is.
    alone = closing(sell(), part=BPS)
    left = run_waterfall(alone, MARKET, position, wallet_of(), asked(alone, MARKET, position))
    assert left.reaches_target
    assert [one.asset for one in left.position.debt] == [DAI]


def test_a_shortfall_says_how_far_it_gets() -> None:
    rule = closing(repay(maximum="32000"))
    plan = build_plan(rule, MARKET, safe(), wallet_of(native=10 * WAD, USDC=100_000 * 10**6), circumstances())
    assert isinstance(plan, Plan)
    assert plan.shortfall == "closes 32% of 50%: the rule's maximum is 32000"
    assert (plan.closed_bps, plan.goal_words, plan.reaches_target) == (3_200, "closes 32%", False)


class Blind(PlainMarket):
    """A market that does not tell what DAI is worth."""

    def price_usd(self, position, asset):
        return None if asset == DAI else super().price_usd(position, asset)


@pytest.mark.parametrize("price", [None, 0])
@pytest.mark.parametrize("part", [2_500, BPS])
def test_a_debt_of_unknown_price_is_never_dust(price: int | None, part: int) -> None:
    market = Blind()
    known = market.position({WETH: 100 * WAD}, {USDC: 60_000 * 10**6, DAI: 40_000 * WAD})
    position = replace(
        known, debt=tuple(replace(one, price_usd=price) if one.asset == DAI else one for one in known.debt)
    )
    wallet = wallet_of(native=10 * WAD, USDC=60_000 * 10**6, DAI=40_000 * WAD)
    alone = closing(repay("DAI"), part=part)
    fall = run_waterfall(alone, market, position, wallet, circumstances())
    assert (fall.steps, fall.reaches_target, fall.closed_bps) == ((), False, 0)
    assert fall.skipped == ("repay DAI: its price is not known",)
    both = closing(repay(), repay("DAI"), part=part)
    plan = build_plan(both, market, position, wallet, circumstances())
    assert isinstance(plan, Plan)
    assert [(step.action.asset, step.action.amount) for step in plan.steps] == [(USDC, 6 * part * 10**6)]
    assert not plan.reaches_target
    assert "repay DAI: its price is not known" in (plan.shortfall or "")


def test_the_sizes_that_exchanges_are_asked_about_are_those_of_the_part() -> None:
    rule = closing(sell(), part=2_000)
    (want,) = wanted_sales(rule, MARKET, safe(), wallet_of(), circumstances())
    amounts = [request.amount_out for request in want.requests]
    assert min(amounts) < 3_000 * 10**6
    assert 20_000 * 10**6 < max(amounts) < 20_100 * 10**6
    (whole,) = wanted_sales(closing(sell(), part=BPS), MARKET, safe(), wallet_of(), circumstances())
    assert whole.requests[whole.decisive].amount_out == 100_000 * 10**6 + 50 * 10**6 + 1


def test_a_thin_exchange_bounds_what_is_closed() -> None:
    rule = closing(sell(slippage=100), part=BPS)
    around = asked(rule, MARKET, safe(), exchanges=[Exchange(depth_usd=4_000_000 * USD)])
    fall = run_waterfall(rule, MARKET, safe(), wallet_of(), around)
    assert not fall.reaches_target
    assert 0 < (fall.closed_bps or 0) < BPS
    assert "more would lose over the step's 1.00%" in fall.steps[0].note


def test_cheapest_takes_the_way_that_closes_for_less() -> None:
    rule = closing(sell(), repay(), order=Order.CHEAPEST)
    wallet = wallet_of(native=10 * WAD, USDC=100_000 * 10**6)
    plan = build_plan(rule, MARKET, safe(), wallet, asked(rule, MARKET, safe(), wallet))
    assert isinstance(plan, Plan)
    assert [step.action.sale for step in plan.steps] == [None]
    poor = wallet_of(native=10 * WAD, USDC=10_000 * 10**6)
    both = build_plan(rule, MARKET, safe(), poor, asked(rule, MARKET, safe(), poor))
    assert isinstance(both, Plan)
    assert both.reaches_target


@given(
    part=st.integers(1, BPS),
    owed=st.integers(1_000_000, 140_000 * 10**6),
    wallet_usdc=st.integers(0, 150_000 * 10**6),
    maximum=st.one_of(st.none(), st.integers(1, 100_000)),
    depth=st.sampled_from([1_000_000, 20_000_000, 100_000_000]),
    first=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_it_never_repays_more_than_its_part_and_never_lowers_health(
    part: int, owed: int, wallet_usdc: int, maximum: int | None, depth: int, first: bool
) -> None:
    position = MARKET.position({WETH: 100 * WAD, USDC: 500 * 10**6}, {USDC: owed})
    steps = [repay(maximum=None if maximum is None else str(maximum)), burn(), sell(slippage=100)]
    rule = closing(*(steps if first else reversed(steps)), part=part)
    wallet = wallet_of(native=10 * WAD, USDC=wallet_usdc)
    around = asked(rule, MARKET, position, wallet, exchanges=[Exchange(depth_usd=depth * USD)])
    fall = run_waterfall(rule, MARKET, position, wallet, around)
    repaid, wanted = sum(action.amount for action in fall.actions), -(-owed * part // BPS)
    assert repaid <= wanted
    health = position.health_factor or 0
    for step in fall.steps:
        after = 2**256 if step.health_factor_after is None else step.health_factor_after
        assert after > health
        health = after
    if part == BPS:
        assert fall.reaches_target == (repaid == wanted)
    elif repaid == wanted:
        assert fall.reaches_target
    assert (fall.closed_bps or 0) <= part


# -- where a price fires, and what is wrong with it


def found(rule: Rule, best: int | None = None, position: Position | None = None) -> dict[str, RuleProblem]:
    wallet = wallet_of(native=10 * WAD, USDC=100_000 * 10**6)
    problems = validate(rule, MARKET, position or safe(), wallet, circumstances(), best)
    return {one.code: one for one in problems}


def test_a_price_trigger_fires_at_its_level() -> None:
    at = fires_at(closing(sell()), MARKET, safe())
    assert at is not None
    assert (at.asset, at.price_usd, at.distance_bps, at.level) == (WETH, 1_500 * USD, -2_500, None)
    there = at_trigger(closing(sell()), MARKET, safe())
    assert there.collateral[0].price_usd == 1_500 * USD - 1
    assert is_crossed(closing(sell()), MARKET, there)
    assert not is_crossed(closing(sell()), MARKET, safe())


def test_a_pair_fires_at_the_price_that_the_quote_makes_of_it() -> None:
    pair = Trigger(TriggerKind.PRICE_BELOW, 3 * WAD // 100, "WETH", "WBTC")
    at = fires_at(closing(sell(), trigger=pair), MARKET, safe())
    assert at is not None
    assert (at.price_usd, at.level, at.quote) == (1_800 * USD, 3 * WAD // 100, WBTC)


def test_a_trailing_stop_fires_under_the_best_price() -> None:
    trailing = Trigger(TriggerKind.TRAILING, 0, "WETH", None, 1_000)
    rule = closing(sell(), trigger=trailing)
    from_now, from_best = fires_at(rule, MARKET, safe()), fires_at(rule, MARKET, safe(), 2_500 * WAD)
    assert from_now is not None
    assert from_best is not None
    assert (from_now.price_usd, from_best.price_usd, from_best.distance_bps) == (1_800 * USD, 2_250 * USD, 0)


@pytest.mark.parametrize(("level", "late"), [(1_500, False), (1_205, False), (1_204, True), (1_000, True), (1, True)])
def test_a_stop_that_liquidation_comes_before_is_refused(level: int, late: bool) -> None:
    rule = closing(sell(), trigger=Trigger(TriggerKind.PRICE_BELOW, level * WAD, "WETH"))
    problem = found(rule).get("stop-beyond-liquidation")
    assert (problem is not None) == late
    if problem is not None:
        assert problem.decisive
        assert f"fires at WETH {level:,}, but the position is liquidated at 1,204.81" in problem.words
    first = liquidation_first(rule, MARKET, safe())
    assert (first is not None) == late
    if first is not None:
        _, price = first
        at = MARKET.repriced(safe(), {WETH.address: price // 10**10})
        over = MARKET.repriced(safe(), {WETH.address: price // 10**10 + 1})
        assert (at.health_factor or 0) < WAD <= (over.health_factor or 0)


def test_a_debt_that_rises_liquidates_before_a_stop_above_it() -> None:
    short = MARKET.position({USDC: 100_000 * 10**6}, {WETH: 30 * WAD})
    late = closing(repay("WETH"), trigger=Trigger(TriggerKind.PRICE_ABOVE, 3_000 * WAD, "WETH"))
    assert "stop-beyond-liquidation" in found(late, position=short)
    early = closing(repay("WETH"), trigger=Trigger(TriggerKind.PRICE_ABOVE, 2_400 * WAD, "WETH"))
    assert "stop-beyond-liquidation" not in found(early, position=short)


def test_a_price_that_is_there_already_is_told() -> None:
    profit = closing(sell(), trigger=Trigger(TriggerKind.PRICE_ABOVE, 1_900 * WAD, "WETH"))
    problem = found(profit)["fires-at-once"]
    assert not problem.decisive
    assert problem.words == "WETH 2,000.00 above 1,900 already: it fires at once"
    assert "fires-at-once" not in found(closing(sell()))


def test_a_part_out_of_reach_says_how_far_it_gets() -> None:
    problem = found(closing(repay(maximum="10000")))["out-of-reach"]
    assert problem.decisive
    assert "it closes 10%, not 50%" in problem.words
    assert "close less, or write partial = true" in problem.fix
    partial = replace(closing(repay(maximum="10000")), partial=True)
    assert not found(partial)["out-of-reach"].decisive


def test_a_health_trigger_may_close_a_part() -> None:
    rule = closing(sell(), trigger=health_below(12 * WAD // 10))
    there = at_trigger(rule, MARKET, safe())
    fall = run_waterfall(rule, MARKET, there, wallet_of(), circumstances())
    assert fall.reaches_target
    assert fall.steps[0].action.amount == 50_000 * 10**6
