"""Sizes of every kind of step: exact, within every limit, on the state that the earlier steps leave."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.plain_market import (
    DAI,
    GWEI,
    PRICES,
    USDC,
    WBTC,
    WETH,
    Exchange,
    PlainMarket,
    circumstances,
    wallet_of,
)
from tests.support.plain_rules import asked, burn, repay, rule_of, sell, supply
from tui.model.data_fee import DataFees
from tui.model.plan import Action, SwapCost
from tui.model.position import Position
from tui.model.rule import FROM_WALLET, ActionKind, Rule, Step, restore
from tui.model.units import USD, WAD, value_usd
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances, Offer
from tui.planning.waterfall import LEAST_USD, Waterfall, run_waterfall

TARGET = 15 * WAD // 10


def at_106(market: PlainMarket) -> Position:
    """100 WETH against 156,000 USDC: health 1.064."""
    return market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})


def reached(fall: Waterfall) -> int:
    assert fall.position.health_factor is not None
    return fall.position.health_factor


def test_a_sale_alone_reaches_the_target() -> None:
    market = PlainMarket()
    position, rule = at_106(market), rule_of(sell())
    around = asked(rule, market, position)
    fall = run_waterfall(rule, market, position, wallet_of(), around)
    (step,) = fall.steps
    assert fall.reaches_target
    assert TARGET <= reached(fall) <= TARGET + TARGET // 1_000
    sale = step.action.sale
    assert sale is not None
    assert sale.path
    assert sale.sold <= sale.most_sold
    assert sale.min_health == (position.health_factor + reached(fall)) // 2
    # It aims a little above the target, and comes near what it aims at.
    assert TARGET + TARGET // 10_000 <= reached(fall) <= TARGET + TARGET * 3 // 10_000


def test_what_a_sale_costs_adds_up() -> None:
    market = PlainMarket()
    position, rule = at_106(market), rule_of(sell(slippage=300))
    around = asked(rule, market, position, exchanges=[Exchange(gap_bps=20, fee_bps=30)])
    (step,) = run_waterfall(rule, market, position, wallet_of(), around).steps
    sale, cost = step.action.sale, step.action.sale.cost
    assert sale is not None
    given_up = value_usd(sale.sold, 18, PRICES[WETH]) - value_usd(step.action.amount, 6, PRICES[USDC])
    assert cost.total_usd == given_up
    assert cost.fees_usd == value_usd(sale.sold, 18, PRICES[WETH]) * 30 // 10_000
    assert cost.premium_usd == pytest.approx(value_usd(step.action.amount, 6, USD) * 5 // 10_000, abs=1_000)
    assert cost.gap_usd > 0
    assert cost.impact_usd > 0


def test_a_maximum_is_of_the_collateral_and_bounds_what_the_chain_may_take() -> None:
    market = PlainMarket()
    position, rule = at_106(market), rule_of(sell(maximum="3.5"), repay())
    wallet = wallet_of(USDC=1_000_000 * 10**6)
    fall = run_waterfall(rule, market, position, wallet, asked(rule, market, position, wallet))
    first, second = fall.steps
    assert first.action.sale is not None
    assert first.action.sale.most_sold <= 35 * 10**17
    assert first.note == "the rule's maximum is 3.5"
    assert second.action.kind is ActionKind.REPAY
    assert fall.reaches_target


@pytest.mark.parametrize(
    ("exchange", "slippage", "words"),
    [
        (Exchange(gap_bps=80), 50, "selling WETH for USDC would lose 0.86%"),
        (Exchange(fee_bps=100), 50, "over the step's 0.50%"),
    ],
)
def test_a_quote_over_the_slippage_is_passed_over_in_words(exchange: Exchange, slippage: int, words: str) -> None:
    market = PlainMarket()
    position, rule = at_106(market), rule_of(sell(slippage=slippage))
    fall = run_waterfall(rule, market, position, wallet_of(), asked(rule, market, position, exchanges=[exchange]))
    assert fall.steps == ()
    assert words in fall.skipped[0]


def test_where_only_a_part_is_cheap_enough_the_part_is_sold() -> None:
    market = PlainMarket()
    position, rule = at_106(market), rule_of(sell(slippage=50), supply())
    shallow = Exchange(depth_usd=6_000_000 * USD)
    wallet = wallet_of(WETH=100 * WAD)
    fall = run_waterfall(rule, market, position, wallet, asked(rule, market, position, wallet, [shallow]))
    first, second = fall.steps
    assert "over the step's 0.50%" in first.note or "not quoted" in first.note
    assert first.health_factor_after > position.health_factor
    assert second.action.kind is ActionKind.ADD_COLLATERAL
    assert fall.reaches_target


def test_without_offers_the_worst_allowed_is_assumed() -> None:
    market = PlainMarket()
    position, rule = at_106(market), rule_of(sell(slippage=100))
    (step,) = run_waterfall(rule, market, position, wallet_of(), circumstances()).steps
    sale = step.action.sale
    assert sale is not None
    assert sale.path == b""
    assert sale.sold == sale.most_sold
    given_up = value_usd(sale.sold, 18, PRICES[WETH]) - value_usd(step.action.amount, 6, USD)
    assert given_up * 10_000 // value_usd(sale.sold, 18, PRICES[WETH]) in (104, 105)
    real = run_waterfall(rule, market, position, wallet_of(), asked(rule, market, position)).steps[0].action.sale
    assert real is not None
    assert real.sold < sale.sold


@pytest.mark.parametrize(
    ("market", "words"),
    [
        (PlainMarket(sells=False), "nothing can be sold here"),
        (PlainMarket(available=0), "no USDC can be lent for it now"),
        (PlainMarket(withdrawable=0), "the market can give out 0"),
        (PlainMarket(actions=frozenset({ActionKind.REPAY})), "cannot do it"),
    ],
)
def test_a_market_that_cannot_sell_says_so(market: PlainMarket, words: str) -> None:
    position, rule = at_106(market), rule_of(sell())
    fall = run_waterfall(rule, market, position, wallet_of(), asked(rule, market, position))
    assert fall.steps == ()
    assert words in fall.skipped[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"withdrawable": 2 * WAD}, "give out 2.0"), ({"available": 5_000 * 10**6}, "no more than 5,000.00 USDC")],
)
def test_what_the_market_has_bounds_a_sale(changes: dict[str, int], words: str) -> None:
    market = PlainMarket(**changes)
    position, rule = at_106(market), rule_of(sell())
    (step,) = run_waterfall(rule, market, position, wallet_of(), asked(rule, market, position)).steps
    assert words in step.note
    assert step.action.sale is not None
    assert step.action.sale.most_sold <= 2 * WAD or step.action.amount <= 5_000 * 10**6


def test_an_offer_that_is_none_says_why() -> None:
    market = PlainMarket()
    position, rule = at_106(market), rule_of(sell())
    terms = market.sale_shape(position, WETH)
    key = (WETH.address, USDC.address)
    for offer, words in (
        (Offer(terms, (), "no exchange offers USDC"), "no exchange offers USDC"),
        (Offer(replace(terms, impossible="the helper is not there"), ()), "the helper is not there"),
    ):
        fall = run_waterfall(rule, market, position, wallet_of(), circumstances(offers={key: offer}))
        assert words in fall.skipped[0]
    fall = run_waterfall(rule, market, position, wallet_of(), circumstances(offers={}))
    assert "no exchange was asked" in fall.skipped[0]


def test_where_selling_cannot_help_it_says_so() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD}, {USDC: 165_900 * 10**6})
    rule = rule_of(sell(slippage=2_500), target=101 * WAD // 100)
    fall = run_waterfall(rule, market, position, wallet_of(), circumstances())
    assert "cannot lift the health factor to 1.01: 74.96% of what is sold repays debt" in fall.skipped[0]


def test_supply_of_what_is_owed_repays_it() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD, USDC: 40_000 * 10**6}, {USDC: 180_000 * 10**6})
    rule = rule_of(burn(), target=13 * WAD // 10)
    fall = run_waterfall(rule, market, position, wallet_of(), circumstances())
    (step,) = fall.steps
    assert fall.reaches_target is False
    assert step.action == Action(ActionKind.REPAY_WITH_ATOKENS, USDC, 40_000 * 10**6)
    assert "all that is owed and supplied is 40,000.00 USDC" in step.note
    some = run_waterfall(replace(rule, goal=restore(112 * WAD // 100)), market, position, wallet_of(), circumstances())
    assert some.reaches_target
    aim = 112 * WAD // 100
    assert aim <= reached(some) <= aim + aim // 1_000
    assert 0 < some.steps[0].action.amount < 40_000 * 10**6


@pytest.mark.parametrize("limit", [0, 900, 30_000])
def test_the_daily_spend_holds_over_all_steps(limit: int) -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD, USDC: 4_000 * 10**6}, {USDC: 160_000 * 10**6})
    rule = rule_of(repay(maximum="500"), burn(), sell(), daily_spend_usd=(limit + 100) * USD)
    wallet = wallet_of(USDC=10_000 * 10**6)
    around = asked(rule, market, position, wallet, around=circumstances(spent_today_usd=100 * USD))
    fall = run_waterfall(rule, market, position, wallet, around)
    spent = sum(_most_moved(step.action) for step in fall.steps)
    assert spent == fall.spend_usd <= limit * USD
    assert limit * USD - spent < USD or fall.reaches_target


def _most_moved(action: Action) -> int:
    if action.sale is not None:
        return value_usd(action.sale.most_sold, action.sale.collateral.decimals, PRICES[action.sale.collateral])
    return value_usd(action.amount, action.asset.decimals, PRICES[action.asset])


def test_native_coin_is_wrapped_for_what_is_missing_and_gas_is_left() -> None:
    market = PlainMarket()
    position, rule = at_106(market), rule_of(supply())
    around = circumstances(wrapped_native=WETH.address)
    wallet = wallet_of(native=200 * WAD, WETH=2 * WAD)
    (step,) = run_waterfall(rule, market, position, wallet, around).steps
    assert step.action.wrap == step.action.amount - 2 * WAD > 0
    poor = replace(wallet, native=around.gas_reserve + 3 * WAD)
    (step,) = run_waterfall(rule, market, position, poor, around).steps
    assert (step.action.amount, step.action.wrap) == (5 * WAD, 3 * WAD)
    assert "and 3.000000 of the native coin that gas does not need" in step.note
    rich = replace(wallet, tokens=wallet_of(WETH=500 * WAD).tokens)
    assert run_waterfall(rule, market, position, rich, around).steps[0].action.wrap == 0
    for other in (circumstances(), circumstances(wrapped_native=WBTC.address)):
        assert run_waterfall(rule, market, position, wallet, other).steps[0].action.amount == 2 * WAD
    unread = replace(wallet, native=None)
    assert run_waterfall(rule, market, position, unread, around).steps[0].action.amount == 2 * WAD


def test_what_was_wrapped_is_not_wrapped_twice() -> None:
    market = PlainMarket()
    position = market.position({WBTC: 5 * 10**8, DAI: WAD}, {WETH: 110 * WAD})
    rule = rule_of(repay("WETH", "3"), supply("WETH"), target=3 * WAD)
    around = circumstances(wrapped_native=WETH.address)
    wallet = wallet_of(native=around.gas_reserve + 5 * WAD, WETH=WAD)
    fall = run_waterfall(rule, market, position, wallet, around)
    assert [(step.action.amount, step.action.wrap) for step in fall.steps] == [(3 * WAD, 2 * WAD), (3 * WAD, 3 * WAD)]


def test_the_reserve_pays_a_plan_and_three_raised_attempts() -> None:
    around = circumstances(data_fees=DataFees(((10_000, GWEI),)))
    fee = around.fees.max_fee
    for _ in range(3):
        fee = -(-fee * 9 // 8)
    assert around.gas_reserve > 2_000_000 * fee + 4 * GWEI
    assert circumstances(data_fees=DataFees()).gas_reserve > around.gas_reserve


# -- whatever the state

wads = st.integers(0, 200 * 10**6).map(lambda micro: micro * 10**12)
dollars = st.integers(0, 400_000 * 10**6)
steps = st.lists(
    st.one_of(
        st.builds(repay, st.sampled_from(["USDC", "DAI", "WETH"]), st.sampled_from([None, "250", "90000"])),
        st.builds(supply, st.sampled_from(["WETH", "WBTC", "DAI"]), st.sampled_from([None, "0.5", "40"])),
        st.builds(burn, st.sampled_from(["USDC", "DAI"]), st.sampled_from([None, "1000"])),
        st.builds(
            sell,
            st.sampled_from(["WETH", "WBTC", "USDC"]),
            st.sampled_from(["USDC", "DAI"]),
            st.sampled_from([None, "1", "30"]),
            st.sampled_from([10, 50, 300]),
        ),
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[PlainMarket, Position, Wallet, Rule, Circumstances]:
    """A market, a position with debt, a wallet, a rule, and what exchanges said (or were not asked)."""
    market = PlainMarket(
        room=draw(st.sampled_from([{}, {WETH: 5 * WAD}])),
        withdrawable=draw(st.sampled_from([None, 10**8, 7 * WAD])),
        available=draw(st.sampled_from([None, 10**6, 9_000 * 10**6])),
        premium_bps=draw(st.sampled_from([0, 5, 9])),
    )
    supplied = {WETH: draw(wads), WBTC: draw(st.integers(0, 5 * 10**8)), USDC: draw(dollars)}
    owed = {USDC: draw(dollars), DAI: draw(st.integers(0, 100_000)) * WAD}
    if not any(owed.values()):
        owed[USDC] = 10**9
    position = market.position(supplied, owed)
    wallet = wallet_of(
        native=draw(wads), WETH=draw(wads), WBTC=draw(st.integers(0, 10**8)), USDC=draw(dollars), DAI=draw(wads)
    )
    rule = rule_of(
        *draw(steps),
        target=draw(st.integers(101, 250)) * WAD // 100,
        daily_spend_usd=draw(st.sampled_from([None, 10 * USD, 20_000 * USD])),
    )
    around = circumstances(wrapped_native=draw(st.sampled_from([None, WETH.address])))
    if draw(st.booleans()):
        exchange = Exchange(
            depth_usd=draw(st.sampled_from([200_000, 5_000_000, 10**9])) * USD,
            fee_bps=draw(st.sampled_from([1, 5, 30])),
            gap_bps=draw(st.sampled_from([0, 0, 10, -10])),
        )
        around = asked(rule, market, position, wallet, [exchange], around)
    return market, position, wallet, rule, around


@settings(max_examples=250, deadline=None)
@given(scenes())
def test_no_step_lowers_health_or_passes_a_limit(
    scene: tuple[PlainMarket, Position, Wallet, Rule, Circumstances],
) -> None:
    market, position, wallet, rule, around = scene
    market.asked = 0
    fall = run_waterfall(rule, market, position, wallet, around)
    assert market.asked < 120 * len(rule.steps)
    health, state = position.health_factor, position
    spent_native, used = 0, {}
    assert health is not None
    for number, step in zip(fall.taken, fall.steps, strict=True):
        asked_for, action = rule.steps[number], step.action
        state = market.after(state, (action,))
        assert state.health_factor == step.health_factor_after
        assert state.health_factor is None or state.health_factor > health
        health = state.health_factor or 2**256
        _within_maximum(asked_for, action)
        if action.kind in FROM_WALLET:
            token = action.asset.address
            used[token] = used.get(token, 0) + action.amount - action.wrap
            spent_native += action.wrap
            assert not action.wrap or token == around.wrapped_native
        if action.sale is not None:
            assert action.sale.sold <= action.sale.most_sold
            assert max(WAD, position.health_factor or 0) <= action.sale.min_health
            assert action.sale.min_health <= health
            _within_slippage(asked_for, action, market.premium_bps)
            assert market.available is None or around.offers is None or action.amount <= market.available
            assert market.withdrawable is None or around.offers is None or action.sale.most_sold <= market.withdrawable
    assert all(amount <= (wallet.tokens[token].balance or 0) for token, amount in used.items())
    assert spent_native == 0 or spent_native <= (wallet.native or 0) - around.gas_reserve
    daily = rule.limits.daily_spend_usd
    assert daily is None or sum(_most_moved(action) for action in fall.actions) <= daily
    assert state.state == fall.position.state
    assert fall.reaches_target == (health >= rule.target_health_factor)
    assert all(_most_moved(action) >= LEAST_USD for action in fall.actions)
    _no_further_than_needed(rule, position, fall)


def _no_further_than_needed(rule: Rule, position: Position, fall: Waterfall) -> None:
    """What reaches a target does not pass it by a tenth of a percent; where positions are tiny a unit may."""
    if fall.steps and fall.reaches_target and fall.position.health_factor and (position.debt_usd or 0) > 10_000 * USD:
        left = (fall.position.debt_usd or 0) > 1_000 * USD
        assert not left or fall.position.health_factor <= rule.target_health_factor * 1_001 // 1_000


def _within_maximum(step: Step, action: Action) -> None:
    if step.maximum is None:
        return
    moved, asset = action.amount, action.asset
    if action.sale is not None:
        moved, asset = action.sale.most_sold, action.sale.collateral
    assert moved <= float(step.maximum) * 10**asset.decimals


def _within_slippage(step: Step, action: Action, premium_bps: int) -> None:
    sale = action.sale
    assert sale is not None
    assert step.max_slippage_bps is not None
    sold = sale.most_sold * PRICES[sale.collateral] * 10**action.asset.decimals
    bought = action.amount * PRICES[action.asset] * 10**sale.collateral.decimals
    # To the unit: what arrives also pays the premium, and a base unit rounds.
    room = PRICES[sale.collateral] * 10**action.asset.decimals + 4 * PRICES[action.asset] * 10**sale.collateral.decimals
    assert (sold - room) * (10_000 - step.max_slippage_bps) <= bought * (10_000 + premium_bps) + room * 10_000
    assert (
        sale.cost == SwapCost()
        or sale.cost.total_usd * 10_000
        <= value_usd(sale.most_sold, sale.collateral.decimals, PRICES[sale.collateral])
        * (step.max_slippage_bps + premium_bps + 1)
        + 10_000 * 10_000
    )
