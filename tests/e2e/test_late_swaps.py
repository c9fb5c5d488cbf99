"""A swap that lay in a pool for an hour does not happen at the price of an hour ago: the whole engine on a real node.

Its transactions are taken back from the node, the chain's time moves on, and they come back.
"""

from __future__ import annotations

import pytest

from tests.support.fault_rig import FaultRig
from tests.support.on_exchange import (
    SELL,
    TARGET,
    Open,
    allowed,
    fall,
    health,
    on_target,
    plan_of,
    resend,
    wallet,
)
from tests.support.pool_rules import read_raw
from tui.model.intent import FiringState, Intent, IntentState
from tui.planning.circumstances import LIFETIME
from tui.quotes.router02 import EXACT_INPUT_SINGLE, MULTICALL, within

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]

TOO_OLD = "Transaction too old"
"""What the router says."""


async def empty_of_usdc(rig: FaultRig) -> None:
    """With nothing of the debt's token in hand, a repayment behind a swap that reverts does so as well."""
    rig.chain.take("USDC", rig.account)
    await rig.mine()


async def held_up(rig: FaultRig, seconds: int) -> None:
    """The firing's transactions lie somewhere for so long, while the chain goes on, and come back then."""
    rig.chain.rpc("anvil_dropAllTransactions")
    rig.chain.rpc("evm_increaseTime", hex(seconds))
    rig.clock.advance(seconds)
    resend(rig)


def swap_of(rig: FaultRig, at: int = -1) -> Intent:
    (swap,) = [one for one in rig.firings[at].intents if one.data[:4] == MULTICALL]
    return swap


async def test_a_deadline_is_half_an_hour_after_the_block_of_the_decision(swapping: Open) -> None:
    rig = await swapping()
    await fall(rig)
    data = swap_of(rig).data
    assert int.from_bytes(data[4:36], "big") == plan_of(rig).block.timestamp + LIFETIME
    assert within(data)[:4] == EXACT_INPUT_SINGLE


@pytest.mark.parametrize("late", [False, True], ids=["in time", "too late"])
async def test_a_swap_happens_in_time_or_not_at_all_and_the_rule_goes_on(swapping: Open, late: bool) -> None:
    rig = await swapping()
    await empty_of_usdc(rig)
    before = wallet(rig)
    await fall(rig)
    await held_up(rig, LIFETIME + 60 if late else LIFETIME - 60)
    await rig.mine(1)
    assert (wallet(rig) == before) is late
    await rig.mine(3)
    end = IntentState.FINAL_REVERTED if late else IntentState.FINAL_OK
    assert [one.state for one in rig.firings[-1].intents] == [IntentState.FINAL_OK, end, end]
    assert ("its rebalance reverted on chain: it is planned anew" in rig.said) is late
    assert len(rig.firings) == 1 + late, "it goes on at once, at the prices of now"
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    on_target(rig)
    assert allowed(rig) == {}
    rig.check()


async def test_it_is_the_deadline_for_which_a_late_one_reverts(swapping: Open) -> None:
    rig = await swapping()
    chain = rig.chain
    await fall(rig)
    await held_up(rig, LIFETIME + 60)
    chain.rpc("anvil_dropAllTransactions")
    chain.mine()
    swap = swap_of(rig)
    chain.approve(rig.account, "WETH", chain.market.router02)
    call = {"from": rig.account, "to": swap.to, "data": "0x" + swap.data.hex()}
    with pytest.raises(Exception, match=TOO_OLD):
        chain.rpc("eth_call", call, "latest")
    inner = {**call, "data": "0x" + within(swap.data).hex()}
    assert int(chain.rpc("eth_call", inner, "latest"), 16) > 0, "only the deadline keeps it from happening"


async def test_a_dearer_attempt_of_a_late_swap_has_the_same_deadline_and_ends_in_the_same_way(swapping: Open) -> None:
    rig = await swapping()
    await empty_of_usdc(rig)
    await fall(rig)
    first = swap_of(rig).attempts[0]
    for _ in range(6):
        # The base fee is over what was offered: the attempts are replaced by dearer ones.
        rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(first.max_fee + 10**9))
        await rig.mine()
        attempts = swap_of(rig).attempts
        if len(attempts) > 1:
            break
    assert len(attempts) > 1
    assert {read_raw("0x" + one.raw.hex()).data for one in attempts} == {swap_of(rig).data}
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    await held_up(rig, LIFETIME + 60)
    await rig.mine(4)
    assert swap_of(rig).state is IntentState.FINAL_REVERTED
    assert "its rebalance reverted on chain: it is planned anew" in rig.said
    rig.check()


async def test_a_round_whose_swap_came_too_late_is_planned_anew_and_sells_what_it_took_out(defending: Open) -> None:
    rig = await defending(f'{SELL.format("2%")}rounds = "always"\n')
    await empty_of_usdc(rig)
    before = wallet(rig)
    await fall(rig)
    await held_up(rig, LIFETIME + 60)
    await rig.mine(1)
    assert wallet(rig)["WETH"] > before["WETH"], "withdrawn, and not sold at the price of an hour ago"
    await rig.mine(3)
    assert [one.state for one in rig.firings[-1].intents][-2:] == [IntentState.FINAL_REVERTED] * 2
    assert "round 1 reverted on chain: it is planned anew; " in rig.said
    for _ in range(80):
        if health(rig) >= TARGET and not rig.firing.state.is_open:
            break
        await rig.mine()
    on_target(rig)
    assert wallet(rig)["WETH"] == before["WETH"]
    assert allowed(rig) == {}
    rig.check()


async def test_what_the_deadline_costs(swapping: Open) -> None:
    """The same swap by itself and in its batch, from the same state: less than a tenth of the swap."""
    rig = await swapping()
    chain = rig.chain
    await fall(rig)
    swap = swap_of(rig)
    chain.rpc("anvil_dropAllTransactions")
    chain.approve(rig.account, "WETH", chain.market.router02)
    taken = {}
    for name, data in (("plain", within(swap.data)), ("batch", swap.data)):
        call = {"from": rig.account, "to": swap.to, "data": "0x" + data.hex(), "gas": hex(10**6)}
        snapshot = chain.snapshot()
        chain.rpc("anvil_impersonateAccount", rig.account)
        sent = chain.rpc("eth_sendTransaction", call)
        chain.mine()
        receipt = chain.rpc("eth_getTransactionReceipt", sent)
        assert receipt["status"] == "0x1"
        taken[name] = int(receipt["gasUsed"], 16)
        chain.revert(snapshot)
    print(taken)
    assert taken["plain"] < taken["batch"] < taken["plain"] * 11 // 10
