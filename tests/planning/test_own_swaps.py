"""Swaps out of the wallet, sized: what is repaid reaches the target, what goes in stays within every bound."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.plain_market import (
    PRICES,
    USDC,
    WBTC,
    WETH,
    PlainMarket,
    Routed,
    circumstances,
    wallet_of,
)
from tests.support.plain_rules import SWAPPER, repay, routed_fall, rule_of, supply, swap
from tui.model.plan import Sale
from tui.model.units import BPS, USD, WAD, value_usd, whole
from tui.planning.waterfall import NO_ROUTER, Waterfall, run_waterfall

TARGET = 15 * WAD // 10


def sale_of(fall: Waterfall, number: int = 0) -> Sale:
    sale = fall.steps[number].action.sale
    assert sale is not None
    assert sale.swap is not None
    return sale


def same_price(one: Sale, other: Sale) -> bool:
    """Whether two sales lose the same share of what they sell, to rounding."""
    return abs(one.cost.total_usd * other.sold - other.cost.total_usd * one.sold) <= 4 * (one.sold + other.sold)


@settings(max_examples=60, deadline=None)
@given(
    owed=st.integers(1_000, 5_000_000),
    health=st.integers(101, 140),
    held=st.integers(0, 6_000_000),
    slippage=st.integers(10, 500),
    gap=st.integers(0, 300),
    depth=st.integers(200_000, 10**9),
    maximum=st.one_of(st.none(), st.integers(1, 500)),
    daily=st.one_of(st.none(), st.integers(1_000, 10**7)),
)
def test_it_reaches_its_target_or_gives_all_that_its_bounds_leave(
    owed: int, health: int, held: int, slippage: int, gap: int, depth: int, maximum: int | None, daily: int | None
) -> None:
    market = PlainMarket()
    supplied = owed * USD * health // 100 * WAD * 100 // (83 * PRICES[WETH])
    position = market.position({WETH: supplied}, {USDC: owed * 10**6})
    weth = held * USD * WAD // PRICES[WETH]
    wallet = wallet_of(WETH=weth)
    limits = {} if daily is None else {"daily_spend_usd": daily * USD}
    step = swap(slippage=slippage, maximum=None if maximum is None else str(maximum))
    fall = routed_fall(rule_of(step, **limits), market, position, wallet, Routed(depth_usd=depth * USD, gap_bps=gap))
    assert position.health_factor is not None
    if not fall.steps:
        assert fall.skipped
        return
    (done,) = fall.steps
    sale, action = sale_of(fall), done.action
    assert action.wrap == 0
    assert sale.sold == sale.most_sold == sale.swap.amount_in
    assert sale.swap.least_out == action.amount
    assert 0 < sale.sold <= weth
    assert maximum is None or sale.sold <= maximum * WAD
    # The market's own prices bound it, whatever the exchange says.
    fair = value_usd(action.amount, 6, USD) * BPS * whole(18)
    assert sale.sold * PRICES[WETH] * (BPS - slippage) <= fair + PRICES[WETH] * BPS
    assert fall.spend_usd == value_usd(sale.sold, 18, PRICES[WETH])
    assert daily is None or fall.spend_usd <= daily * USD
    reached = fall.position.health_factor
    assert reached is None or reached > position.health_factor
    if fall.reaches_target:
        assert reached is None or TARGET <= reached <= TARGET + TARGET // 1_000
        assert not done.note or reached is None or reached < TARGET + TARGET // 2_000
    else:
        assert done.note, "what falls short says what bound it"


def test_the_wallets_own_debt_token_is_left_to_a_plain_step_before_it() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})
    wallet = wallet_of(WETH=50 * WAD, USDC=5_000 * 10**6)
    alone = routed_fall(rule_of(swap()), market, position, wallet)
    both = routed_fall(rule_of(repay(), swap()), market, position, wallet)
    assert both.steps[0].action.amount == 5_000 * 10**6
    assert alone.steps[0].action.amount == sum(step.action.amount for step in both.steps)
    assert alone.reaches_target
    assert both.reaches_target


def test_what_a_swap_sells_a_later_step_has_no_more() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})
    fall = routed_fall(rule_of(swap(maximum="5"), supply()), market, position, wallet_of(WETH=6 * WAD))
    assert not fall.reaches_target
    assert 0 < fall.steps[1].action.amount <= 6 * WAD - sale_of(fall).sold


def test_native_coin_is_wrapped_where_it_is_the_one_that_is_swapped() -> None:
    market = PlainMarket()
    position = market.position({WBTC: 10**9}, {USDC: 400_000 * 10**6})
    wallet = wallet_of(native=1_000 * WAD, WETH=2 * WAD)
    fall = routed_fall(rule_of(swap()), market, position, wallet, wrapped_native=WETH.address)
    assert fall.reaches_target
    assert fall.steps[0].action.wrap == sale_of(fall).sold - 2 * WAD
    dry = routed_fall(rule_of(swap()), market, position, wallet)
    assert sale_of(dry).sold <= 2 * WAD
    assert not dry.reaches_target


def test_less_room_is_taken_where_the_slippage_leaves_less() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})
    wallet = wallet_of(WETH=60 * WAD)
    exchange = Routed(depth_usd=10**10 * USD)
    wide = sale_of(routed_fall(rule_of(swap(slippage=50)), market, position, wallet, exchange))
    tight = sale_of(routed_fall(rule_of(swap(slippage=7)), market, position, wallet, exchange))
    assert wide.surplus > 3 * tight.surplus > 0
    assert same_price(wide, tight)


def test_in_a_hurry_all_goes_in_that_the_step_allows_for_the_same_repayment() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})
    rule, wallet = rule_of(swap(slippage=200)), wallet_of(WETH=60 * WAD)
    usual = routed_fall(rule, market, position, wallet)
    hurried = routed_fall(rule, market, position, wallet, undone=True)
    plain, wide = sale_of(usual), sale_of(hurried)
    assert hurried.steps[0].action.amount == usual.steps[0].action.amount == wide.swap.least_out
    fair = wide.swap.least_out * 10**8 * WAD * BPS // (10**6 * PRICES[WETH] * (BPS - 200))
    assert plain.sold < wide.sold == wide.most_sold == fair
    assert same_price(wide, plain), "what comes out beyond the repayment is not lost"
    assert wide.surplus * 100 > wide.swap.least_out
    little = routed_fall(rule, market, position, wallet_of(WETH=plain.sold), undone=True)
    assert little.steps[0].action.amount == wide.swap.least_out, "the room never costs any of the repayment"
    assert sale_of(little).sold == plain.sold
    below = market.position({WETH: 100 * WAD}, {USDC: 100 * PRICES[WETH] * 83 // 104 // 100})
    assert below.health_factor is not None
    emergency = rule_of(swap(slippage=200), emergency=below.health_factor + 1)
    calm = rule_of(swap(slippage=200), emergency=below.health_factor)
    there = [sale_of(routed_fall(one, market, below, wallet)) for one in (emergency, calm)]
    assert there[0].swap.least_out == there[1].swap.least_out
    assert there[0].sold > there[1].sold * 101 // 100


def test_without_a_router_it_is_passed_over_and_says_so() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})
    rule = rule_of(swap())
    fall = run_waterfall(rule, market, position, wallet_of(WETH=60 * WAD), circumstances())
    assert fall.steps == ()
    assert NO_ROUTER in fall.skipped[0]


def test_before_an_exchange_is_asked_the_worst_that_is_allowed_is_assumed() -> None:
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})
    fall = run_waterfall(rule_of(swap()), market, position, wallet_of(WETH=60 * WAD), circumstances(swapper=SWAPPER))
    sale = sale_of(fall)
    assert fall.reaches_target
    assert sale.path == b""
    assert sale.surplus == 0
    given_usd = value_usd(sale.sold, 18, PRICES[WETH])
    assert abs(sale.cost.total_usd - given_usd * 50 // BPS) < USD
