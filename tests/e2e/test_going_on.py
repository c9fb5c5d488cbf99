"""A defence that meets a step that cannot be done, or that does only a part of what is wanted, goes on all the same.

Health falls from the position's 1.38 to 1.05 in one block; the wallet holds 20,000 USDC and 8 WETH unless a test says
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from tests.support.deleverage import WAD
from tests.support.fault_rig import REPAY, FaultRig
from tests.support.on_exchange import (
    SELL,
    USD_AT_105,
    Open,
    evaluation_of,
    fall,
    health,
    looked_at,
    on_target,
    plan_of,
    refusal_of,
)
from tui.engine.breaker import REFUSALS_TO_HOLD
from tui.engine.further import SPAN, time_text
from tui.engine.patience import BLOCKS
from tui.model.intent import FiringState

pytestmark = pytest.mark.node

TRIGGER = 125 * WAD // 100
USD_AT_120 = Decimal("2602.41")
SALE = SELL.format("2%")


# --- a step that cannot be done --------------------------------------------------------------------------------------


def keep_usdc(rig: FaultRig, whole: int) -> None:
    """Take all USDC out of the wallet but so many."""
    rig.chain.take("USDC", rig.account, but=rig.chain.units("USDC", whole))


async def test_a_sale_that_reverts_is_left_out_and_the_next_step_does_it_at_the_same_block(defending: Open) -> None:
    """The exchange quotes a price, and its router reverts."""
    rig = await defending(f"{SALE}\n{REPAY}")
    await fall(rig, broken=rig.chain.market.router02)
    assert len(rig.firings) == 1, "nothing waits for another block"
    plan = plan_of(rig)
    assert [step.action.kind for step in plan.steps] == ["repay"]
    (why,) = plan.left_out
    assert why.startswith("deleverage WETH for USDC: simulated, “Sell ")
    assert "left out: deleverage WETH for USDC" in rig.said
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    assert rig.wired.engine.breaker.counting == ()
    rig.check()


async def test_what_is_left_of_the_cheapest_without_a_sale_that_reverts_is_done_and_says_what_it_lacks(
    defending: Open,
) -> None:
    rig = await defending(f'order = "cheapest"\n\n{SALE}\n{REPAY}')
    keep_usdc(rig, 3_000)
    await fall(rig, broken=rig.chain.market.router02)
    plan = plan_of(rig)
    assert [step.action.kind for step in plan.steps] == ["repay"]
    assert plan.shortfall is not None
    assert plan.shortfall.startswith("reaches 1.26")
    assert "deleverage WETH for USDC: simulated, “Sell " in plan.shortfall
    (sale,) = [one for one in plan.alternatives if one.steps == (0,)]
    assert "simulated, “Sell " in (sale.why_not or "")
    assert (await rig.settle()).state is FiringState.DONE
    rig.check()


async def test_a_share_of_cost_lets_no_scrap_stand_in_for_the_defence_that_it_holds(defending: Open) -> None:
    """Repaying the five dollars that there are would be cheap, would latch the rule, and would save nothing."""
    rig = await defending(f'order = "cheapest"\n\n{REPAY}\n{SALE}', limits='max_cost_share = "0.01%"\n')
    keep_usdc(rig, 5)
    await fall(rig, usd=Decimal("2660"))
    assert refusal_of(rig).startswith("it would cost")
    await rig.mine(BLOCKS + 2)
    assert rig.firings == ()
    assert any("until" in line and "1.05" in line for line in rig.wired.engine.would_stop), rig.wired.engine.would_stop
    await fall(rig, usd=Decimal("2250"))
    assert health(rig) < 105 * WAD // 100
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()


async def test_where_every_step_reverts_the_breaker_counts_and_holds(defending: Open) -> None:
    rig = await defending(SALE)
    await fall(rig, broken=rig.chain.market.router02)
    refused = evaluation_of(rig).refused
    assert refused is not None
    assert refused.code == "simulation-reverted"
    for _ in range(REFUSALS_TO_HOLD - 2):
        rig.chain.rpc("evm_increaseTime", 4)
        await rig.mine()
    assert rig.wired.engine.why_not_act() is None
    await rig.mine()
    assert "simulation refused it 10 blocks in a row" in (rig.wired.engine.why_not_act() or "")
    assert rig.firings == ()
    assert rig.on_chain() == []


# --- an answer that does not come ------------------------------------------------------------------------------------


async def test_a_scrap_is_not_done_at_once_where_an_exchange_is_silent(defending: Open) -> None:
    """The quoter gives no answer for one block, in which the wallet's 5 USDC would be all that is done."""
    rig = await defending(f"{REPAY}\n\n{SALE}")
    keep_usdc(rig, 5)
    quoter = rig.chain.market.quoter_v2
    code = rig.chain.rpc("eth_getCode", quoter, "latest")
    await fall(rig, usd=USD_AT_120, broken=quoter)
    refused = evaluation_of(rig).refused
    assert refused is not None
    assert refused.code == "quotes-missing"
    assert "no exchange offers USDC for WETH now, and without that it only reaches 1.20" in refused.reason
    assert refused.reason in rig.said
    assert rig.firings == ()
    told = await looked_at(rig)
    assert told.plan is not None, "it can be done"
    assert told.waits is not None
    assert told.waits.startswith("no exchange offers USDC for WETH now, and without that it only reaches 1.20")
    assert told.waits.endswith("does that much once it has waited for 3 blocks")
    rig.chain.rpc("anvil_setCode", quoter, code)
    await rig.mine()
    plan = plan_of(rig)
    assert plan.reaches_target
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()


async def test_in_an_emergency_no_answer_is_waited_for(defending: Open) -> None:
    rig = await defending(f"{REPAY}\n\n{SALE}")
    keep_usdc(rig, 200)
    await fall(rig, usd=USD_AT_105 - 10, broken=rig.chain.market.quoter_v2)
    assert [step.action.kind for step in plan_of(rig).steps] == ["repay"]
    assert len(rig.firings) == 1


async def test_after_some_blocks_without_an_answer_what_can_be_done_is_done(defending: Open) -> None:
    rig = await defending(f"{REPAY}\n\n{SALE}")
    keep_usdc(rig, 200)
    await fall(rig, usd=USD_AT_120, broken=rig.chain.market.quoter_v2)
    for _ in range(BLOCKS):
        assert rig.firings == ()
        await rig.mine()
    assert len(rig.firings) == 1
    assert [step.action.kind for step in plan_of(rig).steps] == ["repay"]
    assert (await rig.settle()).state is FiringState.DONE
    rig.check()


@contextmanager
def one_bad_block(rig: FaultRig) -> Iterator[str]:
    """The router reverts whatever it is asked, until this is left."""
    router = rig.chain.market.router02
    code = rig.chain.rpc("eth_getCode", router, "latest")
    yield router
    rig.chain.rpc("anvil_setCode", router, code)


async def test_a_scrap_is_not_done_at_once_where_a_sale_is_refused(defending: Open) -> None:
    """The exchange quotes, and its router reverts for one block, in which the wallet's 5 USDC would be all."""
    rig = await defending(f"{REPAY}\n\n{SALE}", cooldown="10m")
    keep_usdc(rig, 5)
    with one_bad_block(rig) as router:
        await fall(rig, usd=USD_AT_120, broken=router)
        refused = evaluation_of(rig).refused
        assert refused is not None
        assert refused.code == "step-missing"
        assert refused.reason.startswith("deleverage WETH for USDC: simulated, “Sell ")
        assert refused.reason in rig.said
        assert rig.firings == ()
    await rig.mine()
    assert plan_of(rig).reaches_target
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()


@pytest.mark.parametrize("usd", [USD_AT_120, USD_AT_105 - 10])
async def test_what_was_done_without_a_step_that_was_refused_does_not_rest(defending: Open, usd: Decimal) -> None:
    """After three bad blocks, in an emergency after one: what is there is done, and the rest once it can be."""
    rig = await defending(f"{REPAY}\n\n{SALE}", cooldown="10m")
    keep_usdc(rig, 200)
    with one_bad_block(rig) as router:
        await fall(rig, usd=usd, broken=router)
        await rig.mine(0 if usd < USD_AT_105 else BLOCKS)
        assert len(rig.firings) == 1
        assert (await rig.settle()).state is FiringState.DONE
    await rig.mine(2)
    assert len(rig.firings) == 2, rig.said
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    await fall(rig, usd=Decimal("2000"))
    await rig.mine(2)
    assert len(rig.firings) == 2, "that was whole: it rests"
    rig.check()


async def test_a_stop_is_not_used_up_by_what_was_left_without_its_sale(defending: Open) -> None:
    rig = await defending(f"{REPAY}\n\n{SALE}")
    keep_usdc(rig, 5)
    text = rig.rules.read_text().replace(
        '{ health_factor_below = "1.25", for_blocks = 1 }', '{ price_of = "WETH", below = "2700" }'
    )
    rig.rules.write_text(text.replace('{ health_factor = "1.50" }', '{ close = "50%" }'))
    await rig.mine()
    await rig.arm()
    with one_bad_block(rig) as router:
        await fall(rig, usd=Decimal("2650"), broken=router)
        assert rig.firings == ()
        await rig.mine(BLOCKS + 4)
        assert done(rig) == [FiringState.DONE]
        assert "has closed 0.02% of 50%" in rig.said
    await rig.mine(6)
    assert done(rig) == [FiringState.DONE] * 2, rig.said
    owed = rig.chain.call(rig.chain.token("USDC").v_token, "balanceOf(address)", ["uint256"], rig.account)
    assert abs(owed - rig.chain.units("USDC", 9_000)) < rig.chain.units("USDC", 1)
    await rig.mine(3)
    assert len(rig.firings) == 2
    rig.check()


# --- a part of what is wanted ----------------------------------------------------------------------------------------


def done(rig: FaultRig) -> list[FiringState]:
    """The states of all firings, the oldest first."""
    return [one.state for one in reversed(rig.firings)]


async def test_parts_follow_each_other_until_health_is_over_the_trigger(defending: Open) -> None:
    """`max` lets each firing sell one WETH only; a restart comes after the first."""
    rig = await defending(SALE + 'max = "1"\n', partial=True)
    await fall(rig)
    while len(rig.firings) == 1:
        await rig.mine()
    assert health(rig) < TRIGGER
    await rig.restart()
    await rig.arm()
    for _ in range(30):
        if health(rig) >= TRIGGER and not rig.firing.state.is_open:
            break
        await rig.mine()
    assert health(rig) >= TRIGGER
    assert done(rig) == [FiringState.DONE] * 4
    assert "is still below its trigger 1.25 after its rebalance (health factor 1.08" in rig.said
    await rig.mine(3)
    assert len(rig.firings) == 4, "over the trigger it rests"
    rig.check()


async def test_once_an_exchange_answers_again_the_rest_is_done(defending: Open) -> None:
    rig = await defending(f"{REPAY}\n\n{SALE}")
    keep_usdc(rig, 5)
    quoter = rig.chain.market.quoter_v2
    code = rig.chain.rpc("eth_getCode", quoter, "latest")
    await fall(rig, usd=USD_AT_120, broken=quoter)
    await rig.mine(BLOCKS)
    assert (await rig.settle()).state is FiringState.DONE
    assert health(rig) < TRIGGER
    await rig.mine(2)
    assert len(rig.firings) == 1, "nothing is left to be done"
    rig.chain.rpc("anvil_setCode", quoter, code)
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE
    assert len(rig.firings) == 2
    on_target(rig)
    rig.check()


async def test_scraps_do_not_follow_each_other_and_say_when_they_are_tried_again(defending: Open) -> None:
    """A dollar comes into the wallet after each firing; then enough does."""
    rig = await defending(REPAY)
    keep_usdc(rig, 1)
    await fall(rig, usd=USD_AT_120)
    assert (await rig.settle()).state is FiringState.DONE
    rig.chain.give("USDC", rig.chain.units("USDC", 1), rig.account)
    await rig.mine(3)
    refused = evaluation_of(rig).refused
    assert refused is not None
    assert refused.code == "adds-too-little"
    again = time_text(rig.firing.block_timestamp + SPAN)
    assert f"else it is tried again from {again} on" in refused.reason
    assert again in rig.said
    assert len(rig.firings) == 1
    told = await looked_at(rig)
    assert told.plan is not None
    assert told.waits == refused.reason, "the command says what the engine says"
    rig.chain.give("USDC", rig.chain.units("USDC", 9_000), rig.account)
    await rig.mine()
    assert len(rig.firings) == 2
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()


async def test_the_cooldown_is_kept_between_parts(defending: Open) -> None:
    rig = await defending(SALE + 'max = "1"\n', cooldown="40s", partial=True)
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE
    first = rig.firing
    await rig.mine(3)
    assert len(rig.firings) == 1
    assert "it goes on once its cooldown is over (" in rig.said
    rig.chain.advance(40)
    rig.clock.advance(40)
    await rig.head()
    assert len(rig.firings) == 2
    assert rig.firing.block_timestamp >= first.block_timestamp + 40
    rig.check()
