"""Stale and strange markets, really caused: nothing fires on bad data, and what is passed over is told."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.e2e.conftest import MakeRig, Rig
from tests.support.strange import (
    SHIM,
    answering_code,
    assert_held_back,
    assert_nothing_signed,
    price_by,
    publish_at,
    reserve,
    rule_of,
    said,
)
from tui.model.intent import FiringState
from tui.model.position import Status
from tui.model.units import WAD
from tui.model.view import Protection, RuleActivity

TARGET = 15 * WAD // 10
LATEST_ANSWER = "50d25bcd"

pytestmark = [pytest.mark.node]


def fall(rig: Rig, usd: str = "2600") -> None:
    """The price at which the rule wants to fire: health 1.199."""
    rig.chain.set_price("WETH", Decimal(usd))


def words_of(rig: Rig) -> str:
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason
    return " / ".join(intent.words for intent in firing.intents)


# --- 52: prices ----------------------------------------------------------------------------------------------------


async def test_52_price_feed_past_its_heartbeat_holds_back_until_it_speaks(make_rig: MakeRig) -> None:
    rig = await make_rig(heartbeat=3_600)
    await rig.arm()
    rig.chain.advance(2 * 3_600)
    fall(rig)  # the collateral's feed speaks, that of the debt stays silent
    await rig.mine(3)
    assert_held_back(rig, "the price of USDC is 2 h old")
    rig.chain.set_price("USDC", 1)
    await rig.mine(5)
    assert "Repay" in words_of(rig)
    assert TARGET <= rig.health(rig.trader.address) <= TARGET * 1001 // 1000


async def test_52_price_feed_past_its_heartbeat_a_configured_de_risk_repays_and_nothing_else(make_rig: MakeRig) -> None:
    rig = await make_rig(heartbeat=3_600, usdc="1000", limits='stale_price = "act"\n')
    await rig.arm()
    rig.chain.advance(2 * 3_600)
    await rig.head()
    assert "step 2 (add-collateral WETH) is out: the price of USDC is 2 h old" in rule_of(rig).detail
    fall(rig)
    await rig.mine(5)
    words = words_of(rig)
    assert "Repay 1,000 USDC" in words
    assert "WETH" not in words
    assert said(rig, "the price of USDC is 2 h old, and may be 60 min: the rule repays all the same") == 1


@pytest.mark.parametrize("answer", [0, -1])
@pytest.mark.parametrize("symbol", ["WETH", "USDC"])
async def test_52_price_of_nothing_or_less_blinds_and_never_fires(make_rig: MakeRig, symbol: str, answer: int) -> None:
    rig = await make_rig(limits='stale_price = "act"\n')
    await rig.arm()
    rig.chain.set_answer(symbol, answer)
    await rig.mine(3)
    assert_nothing_signed(rig)
    view = rig.wired.engine.view
    assert {one.position.status for one in view.positions} == {Status.UNKNOWN}
    assert rule_of(rig).activity is RuleActivity.HELD
    assert symbol in rule_of(rig).detail
    assert any("unknown" in line for line in view.would_stop)
    assert said(rig, "cannot be judged") == 1


@pytest.mark.parametrize("symbol", ["WETH", "USDC"])
async def test_52_price_from_the_future_holds_back(make_rig: MakeRig, symbol: str) -> None:
    rig = await make_rig()
    await rig.arm()
    fall(rig)
    publish_at(rig.chain, symbol, int(rig.chain.block()["timestamp"], 16) + 3_600)
    await rig.mine(3)
    assert_held_back(rig, f"the price of {symbol} says it is from the future")


async def test_52_a_source_that_tells_no_time_is_said_before_arming(make_rig: MakeRig) -> None:
    rig = await make_rig()
    rig.chain.rpc("anvil_setCode", SHIM, answering_code({LATEST_ANSWER: 10**8}, None))
    price_by(rig.chain, "USDC", SHIM)
    await rig.head()
    report = await rig.wired.commands.arming_report("guard")
    assert report.problems == ()
    assert any("who prices USDC does not tell when" in line for line in report.warnings)
    await rig.arm()
    fall(rig)
    await rig.mine(5)
    assert "Repay" in words_of(rig)


async def test_52_native_feed_too_old_leaves_costs_unknown_and_refuses(make_rig: MakeRig) -> None:
    rig = await make_rig(heartbeat=100 * 3_600)
    await rig.arm()
    rig.chain.advance(26 * 3_600)
    rig.chain.set_price("USDC", Decimal("1.15"))  # health falls although the native coin's feed is silent
    await rig.mine(3)
    assert_nothing_signed(rig)
    assert said(rig, "the price of the native coin is not known") == 1
    assert any("native coin is not known" in line for line in rig.wired.engine.view.would_stop)


# --- 53: reserves --------------------------------------------------------------------------------------------------


async def test_53_paused_reserve_moves_on_to_the_next_step(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    reserve(rig.chain, "setReservePause(address,bool)", "USDC", True)
    await rig.mine()
    words = "step 1 (repay USDC) is out: USDC is paused"
    rule = rule_of(rig)
    assert rule.activity is RuleActivity.ARMED
    assert words in rule.detail
    assert any(words in line for line in rig.wired.engine.view.would_stop)
    fall(rig)
    await rig.mine(5)
    assert "Supply" in words_of(rig)
    assert "Repay" not in words_of(rig)
    assert TARGET <= rig.health(rig.trader.address) <= TARGET * 1001 // 1000
    assert said(rig, words) == 1


@pytest.mark.parametrize(
    ("signature", "value", "why"),
    [
        ("setReserveFreeze(address,bool)", True, "WETH is frozen"),
        ("setSupplyCap(address,uint256)", 1, "WETH has reached its supply cap"),
    ],
)
async def test_53_frozen_or_full_reserve_takes_its_step_out(
    make_rig: MakeRig, signature: str, value: object, why: str
) -> None:
    rig = await make_rig(usdc="1000")
    await rig.arm()
    reserve(rig.chain, signature, "WETH", value)
    fall(rig)
    await rig.mine(5)
    assert f"step 2 (add-collateral WETH) is out: {why}" in " ".join(rig.wired.engine.view.would_stop)
    words = words_of(rig)
    assert "Repay 1,000 USDC" in words
    assert "Supply" not in words


async def test_53_all_paused_refuses_with_every_reason(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    for symbol in ("USDC", "WETH"):
        reserve(rig.chain, "setReservePause(address,bool)", symbol, True)
    fall(rig)
    await rig.mine(3)
    assert_nothing_signed(rig)
    stops = " ".join(rig.wired.engine.view.would_stop)
    assert "USDC is paused" in stops
    assert "WETH is paused" in stops
    assert said(rig, "but repay USDC: USDC is paused") == 1
    assert rig.wired.engine.view.protection is Protection.ARMED


# --- 55: utilisation -----------------------------------------------------------------------------------------------


async def test_55_utilisation_100_percent_is_noted_and_the_debt_is_paid_all_the_same(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    chain = rig.chain
    whale = chain.new_account()
    free = chain.balance("WETH", chain.token("WETH").a_token)
    chain.supply(whale, "WBTC", chain.units("WBTC", 2 * free * 3_000 // 10**18 // 60_000 + 1_000))
    chain.borrow(whale, "WETH", free)
    await rig.mine()
    trader = next(one.position for one in rig.wired.engine.view.positions if one.own_key)
    assert any("WETH is all lent out" in note for note in trader.notes)
    fall(rig)
    await rig.mine(5)
    assert "Repay" in words_of(rig)
    assert rig.health(rig.trader.address) >= TARGET


# --- 60: allowances ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbol", ["USDC", "WETH"])
async def test_60_allowance_larger_than_needed_is_not_used_and_keeps_no_other_step_from_acting(
    make_rig: MakeRig, symbol: str
) -> None:
    """USDC has permits and WETH has none: it makes no difference."""
    rig = await make_rig(usdc="1000")
    chain, trader = rig.chain, rig.trader.address
    pool = chain.market.pool
    chain.approve(trader, symbol, pool, 2**256 - 1)
    await rig.head()
    report = await rig.wired.commands.arming_report("guard")
    assert any(f"may take more of the wallet's {symbol} (without limit)" in line for line in report.problems)
    chain.approve(trader, symbol, pool, 0)
    await rig.head()
    await rig.arm()
    chain.approve(trader, symbol, pool, 2**256 - 1)
    held = chain.balance(symbol, trader)
    fall(rig)
    await rig.mine(6)
    assert said(rig, f"may take more of the wallet's {symbol} (without limit)") >= 1
    words = words_of(rig)
    assert ("Repay" in words, "Supply" in words) == (symbol == "WETH", symbol == "USDC")
    assert chain.balance(symbol, trader) == held, "what the owner allowed is neither used nor touched"


async def test_60_allowance_is_used_where_the_user_chose_it(make_rig: MakeRig) -> None:
    rig = await make_rig(limits='standing_allowance = "use"\n')
    rig.chain.approve(rig.trader.address, "USDC", rig.chain.market.pool)
    await rig.head()
    await rig.arm()
    fall(rig)
    await rig.mine(5)
    assert "with the allowance that stands (without limit)" in words_of(rig)


@pytest.mark.parametrize(("more", "repays"), [(0, True), (1, False)])
async def test_60_allowance_of_exactly_what_is_needed_is_no_hindrance(
    make_rig: MakeRig, more: int, repays: bool
) -> None:
    rig = await make_rig(usdc="1000")
    rig.chain.approve(rig.trader.address, "USDC", rig.chain.market.pool, rig.chain.units("USDC", 1_000) + more)
    await rig.head()
    await rig.arm()
    fall(rig)
    await rig.mine(6)
    assert ("Repay" in words_of(rig)) is repays
