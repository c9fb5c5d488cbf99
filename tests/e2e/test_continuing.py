"""On a real node: a firing that did not do all of its own is gone on with, and no `max` is passed and no cooldown cut
short for that; in an emergency neither holds anything back.

Health is 1.38 before the price falls; the wallet holds 20,000 USDC and 8 WETH.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from tests.support.fault_rig import ADD, REPAY, FaultRig
from tests.support.on_exchange import (
    REVERTS,
    SELL,
    SWAP,
    Open,
    evaluation_of,
    fall,
    health,
    looked_at,
    plan_of,
    refusal_of,
    wallet,
)
from tui.engine.further import time_text
from tui.engine.patience import BLOCKS
from tui.model.intent import FiringState, IntentState
from tui.model.units import WAD

pytestmark = pytest.mark.node

FEW = REPAY.replace("20000", "1000")
LITTLE = ADD.replace('"10"', '"0.3"')
USD_AT_110 = Decimal("2400")
USD_AT_104 = Decimal("2250")
HOUR = 3_600


def kinds(rig: FaultRig) -> list[str]:
    return [step.action.kind.word for step in plan_of(rig).steps]


def spent(rig: FaultRig, symbol: str = "USDC") -> Decimal:
    """What left the wallet of 20,000 USDC and 8 WETH."""
    whole = {"USDC": 20_000, "WETH": 8}[symbol]
    return Decimal(rig.chain.units(symbol, whole) - wallet(rig)[symbol]) / rig.chain.units(symbol, 1)


async def until(rig: FaultRig, reached: Callable[[], bool], blocks: int = 12) -> None:
    """Mine until something is so."""
    for _ in range(blocks):
        if reached():
            return
        await rig.mine()
    assert reached(), rig.said


async def rest_is_over(rig: FaultRig) -> None:
    rig.chain.advance(HOUR)
    rig.clock.advance(HOUR)
    for symbol in rig.chain.market.tokens:
        rig.chain.set_price(symbol, Decimal(rig.chain.price(symbol)) / 10**8)
    await rig.head()


# --- a step that stays passed over -----------------------------------------------------------------------------------


@pytest.fixture
async def passing_over(defending: Open) -> FaultRig:
    """Fired with a thousand USDC, below its trigger; the collateral was passed over, because its owner lets the market
    take more of it than needed.
    """
    rig = await defending(f"{FEW}\n\n{ADD}", cooldown="1h", partial=True)
    rig.chain.approve(rig.account, "WETH", rig.chain.market.pool)
    await rig.mine()
    await fall(rig, usd=USD_AT_110)
    await until(rig, lambda: bool(rig.firings), BLOCKS + 1)
    assert kinds(rig) == ["repay"]
    assert "(without limit)" in plan_of(rig).left_out[0]
    assert (await rig.settle()).state is FiringState.DONE
    assert health(rig) < 125 * WAD // 100
    return rig


async def test_a_step_that_stays_passed_over_takes_no_cooldown_away(passing_over: FaultRig) -> None:
    rig = passing_over
    await rig.mine(6)
    assert len(rig.firings) == 1, "nothing changed since"
    assert spent(rig) == 1_000
    again = time_text(rig.firing.block_timestamp + HOUR)
    assert refusal_of(rig).endswith(f"it rests until {again}")
    assert any(f"it rests until {again}" in line for line in rig.view.would_stop), rig.view.would_stop
    told = await looked_at(rig)
    assert told.refused is not None
    assert told.refused.reason == refusal_of(rig), "the command says what the engine says"
    assert rig.wired.engine.breaker.counting == ()
    await rest_is_over(rig)
    await until(rig, lambda: len(rig.firings) == 2, BLOCKS + 1)
    assert kinds(rig) == ["repay"]
    assert (await rig.settle()).state is FiringState.DONE
    assert spent(rig) == 2_000, "all of its maximum anew"
    rig.check()


@pytest.mark.parametrize("restarts", [False, True], ids=["one run", "a restart"])
async def test_once_what_was_passed_over_can_be_done_it_is_and_nothing_else_again(
    defending: Open, restarts: bool
) -> None:
    rig = await defending(f"{FEW}\n\n{SELL.format('2%')}", cooldown="1h", partial=True)
    router = rig.chain.market.router02
    code = rig.chain.rpc("eth_getCode", router, "latest")
    await fall(rig, usd=USD_AT_110, broken=router)
    await until(rig, lambda: bool(rig.firings), BLOCKS + 1)
    assert (await rig.settle()).state is FiringState.DONE
    if restarts:
        await rig.restart()
        await rig.arm()
    await rig.mine(2)
    assert len(rig.firings) == 1
    rig.chain.rpc("anvil_setCode", router, code)
    await rig.mine()
    assert len(rig.firings) == 2, rig.said
    assert kinds(rig) == ["deleverage"]
    assert (await rig.settle()).state is FiringState.DONE
    assert spent(rig) == 1_000
    assert health(rig) > 149 * WAD // 100
    rig.check()


async def test_in_an_emergency_it_rests_from_nothing(passing_over: FaultRig) -> None:
    rig = passing_over
    usd = Decimal("2130")
    await fall(rig, usd=usd)
    assert WAD < health(rig) < 105 * WAD // 100
    assert len(rig.firings) == 2
    assert kinds(rig) == ["repay"]
    assert (await rig.settle()).state is FiringState.DONE
    assert spent(rig) == 2_000
    rig.check()


async def test_new_means_for_a_step_without_a_maximum_are_used_once_they_get_there(defending: Open) -> None:
    """Two hundred dollars come in and are left; then enough does."""
    rig = await defending(f"{REPAY}\n\n{ADD}", cooldown="1h", partial=True)
    usdc = rig.chain.token("USDC").address
    surplus = rig.chain.balance("USDC", rig.account) - rig.chain.units("USDC", 500)
    rig.chain.send(rig.account, usdc, "transfer(address,uint256)", rig.chain.market.pool, surplus)
    rig.chain.approve(rig.account, "WETH", rig.chain.market.pool)
    await rig.mine()
    await fall(rig, usd=USD_AT_110)
    await until(rig, lambda: bool(rig.firings), BLOCKS + 1)
    assert (await rig.settle()).state is FiringState.DONE
    rig.chain.give("USDC", rig.chain.units("USDC", 200), rig.account)
    await rig.mine(3)
    assert len(rig.firings) == 1
    rig.chain.give("USDC", rig.chain.units("USDC", 9_000), rig.account)
    await rig.mine()
    assert len(rig.firings) == 2
    assert kinds(rig) == ["repay"]
    assert (await rig.settle()).state is FiringState.DONE
    assert health(rig) > 149 * WAD // 100
    rig.check()


async def test_a_sale_that_is_refused_on_and_on_while_the_rule_rests_holds_nobody(defending: Open) -> None:
    """Its router is broken for good; what is left of the rule is used up. The breaker would hold the whole engine."""
    rig = await defending(f"{FEW}\n\n{SELL.format('2%')}", cooldown="1h", partial=True)
    await fall(rig, usd=USD_AT_110, broken=rig.chain.market.router02)
    await until(rig, lambda: bool(rig.firings), BLOCKS + 1)
    assert (await rig.settle()).state is FiringState.DONE
    for _ in range(12):
        rig.chain.rpc("evm_increaseTime", 4)
        await rig.mine()
    assert len(rig.firings) == 1
    refused = evaluation_of(rig).refused
    assert refused is not None
    assert refused.code == "cooldown"
    assert rig.wired.engine.why_not_act() is None
    await rig.fall("2130")
    assert len(rig.firings) == 2, "in an emergency what there is, is done"
    rig.check()


# --- a firing of which a part was undone -----------------------------------------------------------------------------


async def partly_undone(rig: FaultRig) -> None:
    """What is repaid in USDC goes through alone."""
    await undone_by(rig, rig.chain.token("WETH").address)


async def undone_by(rig: FaultRig, contract: str) -> None:
    """What was sent is mined while a contract reverts whatever it is asked."""
    chain = rig.chain
    raws = [intent.attempts[-1].raw for intent in rig.firing.intents]
    chain.rpc("anvil_dropAllTransactions")
    with chain.code_as(REVERTS, contract):
        chain.send_raw(raws)
        chain.mine()
    rig.clock.advance(2)
    await rig.head()
    assert {one.state for one in rig.firing.intents} == {IntentState.INCLUDED}


@pytest.mark.parametrize("cooldown", ["1h", "0s"])
@pytest.mark.parametrize("restarts", [False, True], ids=["one run", "a restart"])
async def test_what_went_through_is_taken_off_the_maximum_of_what_follows(
    defending: Open, cooldown: str, restarts: bool
) -> None:
    rig = await defending(f"{FEW}\n\n{LITTLE}", cooldown=cooldown, partial=True)
    await fall(rig, usd=USD_AT_110)
    assert kinds(rig) == ["repay", "add-collateral"]
    await partly_undone(rig)
    assert spent(rig) == 1_000
    if restarts:
        await rig.restart()
        await rig.arm()
    await until(rig, lambda: len(rig.firings) == 2)
    assert rig.firings[1].state is FiringState.FAILED
    assert kinds(rig) == ["add-collateral"]
    if cooldown == "1h":
        assert (await rig.settle()).state is FiringState.DONE
        await rig.mine(3)
        assert len(rig.firings) == 2
        assert "it rests until" in refusal_of(rig)
        await rest_is_over(rig)
    await until(rig, lambda: len(rig.firings) == 3)
    assert (spent(rig), spent(rig, "WETH")) == (1_000, Decimal("0.3"))
    assert rig.firings[1].state is FiringState.DONE
    # Another firing, with all of its maxima.
    assert kinds(rig) == ["repay", "add-collateral"]
    rig.check()


async def test_of_a_maximum_that_is_not_used_up_the_rest_is_there(defending: Open) -> None:
    """Three hundred of the thousand were in the wallet when it fired."""
    rig = await defending(f"{FEW}\n\n{LITTLE}", cooldown="1h", partial=True)
    usdc = rig.chain.token("USDC").address
    surplus = rig.chain.balance("USDC", rig.account) - rig.chain.units("USDC", 300)
    rig.chain.send(rig.account, usdc, "transfer(address,uint256)", rig.chain.market.pool, surplus)
    await fall(rig, usd=USD_AT_110)
    await partly_undone(rig)
    rig.chain.give("USDC", rig.chain.units("USDC", 5_000), rig.account)
    await until(rig, lambda: len(rig.firings) == 2)
    assert kinds(rig) == ["repay", "add-collateral"]
    assert plan_of(rig).steps[0].action.amount == rig.chain.units("USDC", 700)
    assert plan_of(rig).steps[0].note == "its firing has left 700.00 USDC of the rule's maximum"
    rig.check()


async def test_in_an_emergency_what_follows_has_all_of_its_maximum(defending: Open) -> None:
    rig = await defending(f"{FEW}\n\n{LITTLE}", cooldown="1h", partial=True)
    await fall(rig, usd=USD_AT_104)
    await partly_undone(rig)
    rig.chain.set_price("WETH", Decimal("2130"))
    await until(rig, lambda: len(rig.firings) == 2)
    assert kinds(rig) == ["repay", "add-collateral"]
    rig.check()


async def test_what_was_gone_on_with_is_not_rested_from_in_an_emergency(defending: Open) -> None:
    """What went on did less than a whole firing would have."""
    rig = await defending(f"{FEW}\n\n{LITTLE}", cooldown="1h", partial=True)
    await fall(rig, usd=USD_AT_110)
    await partly_undone(rig)
    await until(rig, lambda: len(rig.firings) == 2)
    assert (await rig.settle()).state is FiringState.DONE
    await rig.mine(2)
    assert len(rig.firings) == 2
    await fall(rig, usd=Decimal("2080"))
    assert WAD < health(rig) < 105 * WAD // 100
    assert len(rig.firings) == 3
    assert kinds(rig) == ["repay", "add-collateral"]
    rig.check()


async def test_what_is_undone_again_and_again_keeps_a_rule_without_a_cooldown_from_nothing(defending: Open) -> None:
    rig = await defending(f"{FEW}\n\n{LITTLE}", partial=True)
    await fall(rig, usd=USD_AT_110)
    await partly_undone(rig)
    await until(rig, lambda: len(rig.firings) == 2)
    assert kinds(rig) == ["add-collateral"]
    await partly_undone(rig)
    rig.chain.advance(10)
    rig.clock.advance(10)
    await rig.head()
    await until(rig, lambda: len(rig.firings) == 3)
    assert kinds(rig) == ["repay", "add-collateral"], "another firing: its cooldown is over, and the rest led nowhere"
    rig.check()


async def test_what_was_undone_whole_has_all_of_its_maximum(defending: Open) -> None:
    rig = await defending(FEW, cooldown="1h", partial=True)
    await fall(rig, usd=USD_AT_110)
    await undone_by(rig, rig.chain.token("USDC").address)
    await until(rig, lambda: len(rig.firings) == 2)
    assert plan_of(rig).steps[0].action.amount == rig.chain.units("USDC", 1_000)
    assert (await rig.settle()).state is FiringState.DONE
    assert spent(rig) == 1_000
    rig.check()


async def test_what_was_swapped_is_taken_off_the_maximum_though_its_repayment_was_undone(defending: Open) -> None:
    """Two of the eight WETH went for USDC, which the pool would not take in that block."""
    steps = f'{SWAP.format("2%")}max = "2"\n'
    rig = await defending(steps, cooldown="1h", partial=True)
    await fall(rig, usd=USD_AT_110)
    await undone_by(rig, rig.chain.market.pool)
    assert 19 < 10 * spent(rig, "WETH") <= 20
    await rig.mine(10)
    assert rig.firings[-1].state is FiringState.FAILED
    assert 19 < 10 * spent(rig, "WETH") <= 20
    assert evaluation_of(rig).refused is not None
    assert "it rests until" in refusal_of(rig)
    fired = len(rig.firings)
    await fall(rig, usd=Decimal("2200"))
    assert len(rig.firings) == fired + 1, "in an emergency"
    rig.check()


async def test_what_is_gone_on_with_in_rounds_is_held_to_the_same_maximum(defending: Open) -> None:
    """The router is broken until a thousand are repaid: the rounds repay none of it again."""
    steps = f'{FEW}\n\n{SELL.format("2%")}rounds = "always"\n'
    rig = await defending(steps, cooldown="1h", partial=True)
    router = rig.chain.market.router02
    code = rig.chain.rpc("eth_getCode", router, "latest")
    await fall(rig, usd=USD_AT_110, broken=router)
    await until(rig, lambda: bool(rig.firings), BLOCKS + 1)
    assert (await rig.settle()).state is FiringState.DONE
    rig.chain.rpc("anvil_setCode", router, code)
    await until(rig, lambda: "its rounds have met their target" in rig.said, 60)
    assert len(rig.firings) > 3
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    own = [intent.takes for one in rig.firings for intent in one.intents if intent.step == 0]
    assert own == [rig.chain.units("USDC", 1_000)]
    rig.check()
