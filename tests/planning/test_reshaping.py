"""Switches and boosts sized: towards the target, never past it, or not at all and why. On a market of plain numbers."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import event, given
from hypothesis import strategies as st

from tests.support.plain_market import USDC, WETH, PlainMarket, circumstances, wallet_of
from tests.support.plain_rules import asked
from tui.model.position import Position
from tui.model.rule import ActionKind, Limits, Mode, Rule, Step, health_above, health_below, restore
from tui.model.units import WAD
from tui.planning.plan import build_plan
from tui.planning.waterfall import run_waterfall

CENT = WAD // 100


def boosting(trigger: int, target: int, slippage: int = 100, maximum: str | None = None) -> Rule:
    step = Step(ActionKind.BOOST, "WETH", maximum, "USDC", slippage)
    return Rule("b", "*", Mode.AUTO, health_above(trigger), 1, restore(target), (step,), Limits(), "d")


def defending(target: int, *steps: Step) -> Rule:
    return Rule("d", "*", Mode.AUTO, health_below(target - CENT), 1, restore(target), steps, Limits(), "d")


def at(market: PlainMarket, health_percent: int) -> Position:
    """10 WETH, and USDC owed so that health is as asked, or a hair more."""
    worth = 10 * 2_000 * 83 // 100
    return market.position({WETH: 10 * WAD}, {USDC: 10**6 * worth * 100 // health_percent})


@given(st.integers(150, 600), st.integers(106, 400), st.integers(1, 500), st.integers(0, 9))
def test_a_boost_never_ends_under_its_target(health: int, target: int, slippage: int, premium: int) -> None:
    market = PlainMarket(premium_bps=premium)
    position = at(market, health)
    rule = boosting(health * CENT, target * CENT, slippage)
    fall = run_waterfall(rule, market, position, wallet_of(), circumstances())
    after = fall.position.health_factor
    assert after is not None
    if not fall.steps:
        assert after == position.health_factor
        event("nothing")
        return
    event("boosted")
    room = min(target * CENT // 200, (health - target) * CENT // 2)
    assert after >= target * CENT + room, "prices move until it is in a block"
    assert after < position.health_factor
    if fall.reaches_target:
        assert after <= target * CENT + 2 * room
    (step,) = fall.steps
    assert step.action.sale.min_health == target * CENT


@given(st.integers(101, 180), st.integers(1, 300))
def test_a_switch_raises_health_or_is_not_made(health: int, slippage: int) -> None:
    market = PlainMarket()
    position = at(market, health)
    assert position.health_factor is not None
    step = Step(ActionKind.SWITCH_COLLATERAL, "USDC", None, "WETH", slippage)
    fall = run_waterfall(
        defending(position.health_factor + 3 * CENT, step), market, position, wallet_of(), circumstances()
    )
    if fall.steps:
        event("switched")
        assert fall.position.health_factor > position.health_factor
    else:
        event("skipped")
        assert fall.skipped
        assert "health factor" in fall.skipped[0] or "liquidatable" in fall.skipped[0]


def test_a_switch_that_no_price_could_make_help_says_why_not_that_nobody_was_asked() -> None:
    market = PlainMarket()
    position = market.position({WETH: 10 * WAD, USDC: 100 * 10**6}, {USDC: 12_700 * 10**6})
    step = Step(ActionKind.SWITCH_COLLATERAL, "USDC", None, "WETH", 100)
    rule = defending(150 * CENT, step)
    around = asked(rule, market, position)
    assert around.offers == {}
    fall = run_waterfall(rule, market, position, wallet_of(), around)
    assert not fall.steps
    assert "its threshold is not higher" in fall.skipped[0]


def test_boosts_and_defences_are_rules_of_their_own() -> None:
    market = PlainMarket()
    position = at(market, 250)
    boost = boosting(2 * WAD, 15 * WAD // 10)
    mixed = replace(boost, trigger=health_below(3 * WAD), goal=restore(4 * WAD))
    fall = run_waterfall(mixed, market, position, wallet_of(), circumstances())
    assert not fall.steps
    plan = build_plan(boost, market, position, wallet_of(), circumstances())
    assert plan.floor == 15 * WAD // 10
    assert plan.health_factor_after < plan.health_factor_before


def test_a_boost_takes_no_more_than_its_maximum() -> None:
    market = PlainMarket()
    fall = run_waterfall(
        boosting(2 * WAD, 15 * WAD // 10, maximum="100"), market, at(market, 250), wallet_of(), circumstances()
    )
    (step,) = fall.steps
    assert step.action.sale.most_sold <= 100 * 10**6
    assert not fall.reaches_target
    assert "maximum is 100" in step.note
