"""Closing a part where health is high: exactly that part, never lower health; where it fires, and what is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.plain_market import DAI, USDC, WBTC, WETH, Exchange, PlainMarket, circumstances, wallet_of
from tests.support.plain_rules import asked, burn, repay, rule_of, sell
from tui.model.plan import Plan
from tui.model.position import Position
from tui.model.rule import ActionKind, Rule, Step, close, health_above, restore
from tui.model.units import BPS, USD, WAD
from tui.planning.plan import build_plan
from tui.planning.shortfalls import suffices
from tui.planning.triggering import at_trigger, beyond_words, fires_at, is_crossed
from tui.planning.validate import FIRES_AT_ONCE, validate
from tui.planning.waterfall import run_waterfall

MARKET = PlainMarket()


def profit(*steps: Step, level: int = 22 * WAD // 10, part: int = 5_000, **limits) -> Rule:
    return replace(rule_of(*steps, **limits), trigger=health_above(level), goal=close(part))


def position_of(owed: int = 70_000, weth: int = 100) -> Position:
    """Against 100 WETH: 70,000 USDC are health 2.37, 100,000 are 1.66."""
    return MARKET.position({WETH: weth * WAD}, {USDC: owed * 10**6})


@given(
    part=st.integers(1, BPS),
    owed=st.integers(1_000_000, 75_000 * 10**6),
    wallet_usdc=st.integers(0, 80_000 * 10**6),
    maximum=st.one_of(st.none(), st.integers(1, 50_000)),
    depth=st.sampled_from([1_000_000, 20_000_000, 100_000_000]),
    boosts=st.booleans(),
    order=st.permutations(range(4)),
)
@settings(max_examples=200, deadline=None)
def test_it_repays_exactly_its_part_and_never_lowers_health(
    part: int, owed: int, wallet_usdc: int, maximum: int | None, depth: int, boosts: bool, order: list[int]
) -> None:
    """Whatever the steps are, in whatever order: even a boost that stood among them would do nothing."""
    position = MARKET.position({WETH: 100 * WAD, USDC: 500 * 10**6}, {USDC: owed})
    steps = [repay(maximum=None if maximum is None else str(maximum)), burn(), sell(slippage=100)]
    if boosts:
        steps.append(Step(ActionKind.BOOST, "WETH", "5000", "USDC", 100))
    rule = profit(*(steps[at] for at in order if at < len(steps)), part=part)
    assert is_crossed(rule, MARKET, position)
    wallet = wallet_of(native=10 * WAD, USDC=wallet_usdc)
    around = asked(rule, MARKET, position, wallet, exchanges=[Exchange(depth_usd=depth * USD)])
    fall = run_waterfall(rule, MARKET, position, wallet, around)
    repaid, wanted = sum(action.amount for action in fall.actions), -(-owed * part // BPS)
    assert repaid <= wanted
    assert not any(action.kind is ActionKind.BOOST for action in fall.actions)
    health = position.health_factor or 0
    for step in fall.steps:
        after = 2**256 if step.health_factor_after is None else step.health_factor_after
        assert after > health
        health = after
    if part == BPS:
        assert fall.reaches_target == (repaid == wanted)
    elif fall.reaches_target:
        assert (wanted - repaid) * USD < 10**6 * USD // 100
    assert (fall.closed_bps or 0) <= part
    if wallet_usdc >= wanted and maximum is None:
        assert repaid == wanted or (wanted - repaid) * 100 < 10**6


def test_a_plan_of_it_holds_no_floor_of_a_boost_and_waits_for_all_of_its_part() -> None:
    rule, wallet = profit(repay(maximum="10000")), wallet_of(native=10 * WAD, USDC=100_000 * 10**6)
    plan = build_plan(rule, MARKET, position_of(), wallet, circumstances())
    assert isinstance(plan, Plan)
    assert (plan.floor, plan.closed_bps, plan.reaches_target) == (None, 1_428, False)
    assert plan.shortfall == "closes 14.28% of 50%: the rule's maximum is 10000"
    assert not suffices(rule, plan.health_factor_after)
    assert suffices(rule, None)


@example(83_000, 200)  # at its level to a hair
@given(st.integers(20_000, 160_000), st.integers(101, 900))
@settings(max_examples=100, deadline=None)
def test_it_fires_at_the_first_price_that_takes_health_over_its_level(owed: int, percent: int) -> None:
    rule, position = profit(repay(), level=percent * WAD // 100), position_of(owed)
    found = fires_at(rule, MARKET, position)
    assert found is not None
    assert found.asset == WETH
    for price, crossed in ((found.price_usd, True), (found.price_usd - 1, False)):
        assert is_crossed(rule, MARKET, MARKET.repriced(position, {WETH.address: price})) is crossed
    now = position.collateral[0].price_usd or 0
    if is_crossed(rule, MARKET, position):
        assert found.distance_bps == 0
        assert found.price_usd <= now
        assert at_trigger(rule, MARKET, position) is position
    else:
        assert found.distance_bps == (found.price_usd - now) * BPS // now >= 0
        assert is_crossed(rule, MARKET, at_trigger(rule, MARKET, position)) or found.distance_bps == 0


def test_no_price_fires_it_without_debt_or_where_none_brings_it_there() -> None:
    rule = profit(repay())
    assert fires_at(rule, MARKET, MARKET.position({WETH: WAD}, {})) is None
    same = MARKET.position({WETH: 100 * WAD}, {WETH: 50 * WAD})  # health 1.66 at any price of ether alone but one's own
    at = fires_at(rule, MARKET, same)
    assert at is None
    assert fires_at(replace(rule, goal=restore(19 * WAD // 10)), MARKET, position_of()) is None, "a boost has no price"


def test_collateral_that_rises_together_is_moved_together() -> None:
    mixed = MARKET.position({WETH: 50 * WAD, WBTC: 10**8, DAI: 10_000 * WAD}, {USDC: 100_000 * 10**6})
    found = fires_at(profit(repay()), MARKET, mixed)
    assert found is not None
    assert (found.asset, found.distance_bps > 0) == (WETH, True)


@pytest.mark.parametrize(("owed", "told"), [(70_000, True), (75_455, False), (100_000, False)])
def test_that_it_fires_at_once_is_told_before_it_is_armed(owed: int, told: bool) -> None:
    rule, wallet = profit(repay()), wallet_of(native=10 * WAD, USDC=100_000 * 10**6)
    position = position_of(owed)
    problems = {one.code: one for one in validate(rule, MARKET, position, wallet, circumstances())}
    assert (FIRES_AT_ONCE in problems) is told
    assert (beyond_words(rule, MARKET, position) is not None) is told
    if told:
        problem = problems[FIRES_AT_ONCE]
        assert not problem.decisive
        assert problem.words == "health factor 2.3714 above 2.20 already: it fires at once"
        assert problem.fix == "write another health factor if that is not meant"
    boost = replace(rule, goal=restore(19 * WAD // 10), steps=(Step(ActionKind.BOOST, "WETH", "500", "USDC", 100),))
    assert beyond_words(boost, MARKET, position) is None


def test_what_it_cannot_reach_is_told_and_how_far_it_gets() -> None:
    wallet = wallet_of(native=10 * WAD, USDC=40_000 * 10**6)
    found = validate(profit(repay()), MARKET, position_of(100_000), wallet, circumstances())
    (problem,) = (one for one in found if one.decisive)
    assert problem.code == "out-of-reach"
    assert "where it fires, with what is there now, it closes 40%, not 50%" in problem.words
