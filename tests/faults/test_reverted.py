"""Fault 31: reverted on chain, once and again, or out of gas."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.test_mempool import DONE, MAYBE
from tests.support.fault_rig import ADD, OpenRig
from tui.engine.budget import day_of
from tui.engine.further import time_text
from tui.engine.retrying import rest_seconds
from tui.model.intent import FiringState, IntentState
from tui.model.units import WAD
from tui.ports.journal import SpendKind

pytestmark = pytest.mark.node


async def test_31_reverted_on_chain_is_final_with_its_gas_and_planned_anew_from_a_fresh_read(
    open_faulty: OpenRig,
) -> None:
    rig = await open_faulty()
    await rig.fall()
    await rig.refuse_one_block()
    assert rig.intent_states == [IntentState.INCLUDED]
    reverted = rig.on_chain()[0]["hash"]
    while rig.firings[-1].state.is_open:
        await rig.mine()
    first = rig.firings[-1]
    assert [intent.state for intent in first.intents] == [IntentState.FINAL_REVERTED]
    assert first.state is FiringState.FAILED
    receipt = rig.chain.rpc("eth_getTransactionReceipt", reverted)
    paid = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert first.intents[0].gas_paid_wei == paid > 0
    assert rig.wired.journal is not None
    day = day_of(int(rig.chain.block()["timestamp"], 16))
    assert rig.wired.journal.spent(SpendKind.GAS, day, "guard") == paid
    # Not the same bytes again: a new firing, from a new block, with the next nonce.
    await rig.mine(5)
    second = rig.firing
    assert second.id != first.id
    assert second.state is FiringState.DONE
    assert second.block_number > first.block_number
    assert [intent.nonce for intent in second.intents] == [(first.intents[0].nonce or 0) + 1]
    assert len(rig.on_chain()) == 2
    assert "planned anew" in rig.said
    rig.check()


async def test_31_what_reverts_again_and_again_rests_longer_each_time_and_says_until_when(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await rig.fall()
    while len(rig.firings) < 3 or rig.firings[0].state.is_open:
        await (rig.refuse_one_block() if rig.intent_states == [MAYBE] else rig.mine())
    assert [firing.state for firing in rig.firings] == [FiringState.FAILED] * 3
    await rig.mine()
    until = rig.firings[0].block_timestamp + rest_seconds(3)
    assert f"its rebalance reverted 3 times in a row: it is tried again from {time_text(until)} on" in rig.said
    (shown,) = [line for line in rig.wired.engine.view.would_stop if "it is tried again" in line]
    assert "already fired" not in shown
    rest = until - int(rig.chain.block()["timestamp"], 16)
    for seconds, firings in ((rest - 1, 3), (1, 4)):
        rig.chain.advance(seconds)
        rig.clock.advance(seconds)
        await rig.head()
        assert len(rig.firings) == firings
    assert (await rig.settle()).state is FiringState.DONE
    rig.check()


async def test_31_in_an_emergency_what_reverts_does_not_rest(open_faulty: OpenRig) -> None:
    """Somebody makes it revert seven times in a row: it is tried at every block, and the eighth goes through."""
    rig = await open_faulty()
    await rig.fall("2240")
    assert rig.chain.health_factor(rig.account) < 105 * WAD // 100
    for _ in range(40):
        if len(rig.firings) == 8:
            break
        await (rig.refuse_one_block() if rig.intent_states == [MAYBE] else rig.mine())
    assert [firing.state for firing in rig.firings[1:]] == [FiringState.FAILED] * 7
    assert rig.firings[0].block_timestamp - rig.firings[-1].block_timestamp < 60
    assert (await rig.settle()).state is FiringState.DONE
    rig.check()


async def test_31_out_of_gas_on_chain_is_final_with_its_gas(open_faulty: OpenRig) -> None:
    rig = await open_faulty(steps=ADD)

    def understate(params: list[Any], told: Any) -> Any:
        for call in told[0]["calls"]:
            call["gasUsed"] = hex(max(int(call["gasUsed"], 16) // 5, 30_000))
        return told

    rig.proxies[0].lie("eth_simulateV1", understate)
    await rig.fall()
    await rig.settle()
    firing = rig.firings[-1]  # the first of them: it is planned anew, and the node still lies
    assert [intent.state for intent in firing.intents] == [DONE, IntentState.FINAL_REVERTED], rig.said
    assert firing.state is FiringState.FAILED
    failed = firing.intents[1]
    assert failed.gas_used is not None
    assert failed.gas_limit * 62 // 64 <= failed.gas_used <= failed.gas_limit
    assert rig.wired.journal is not None
    day = day_of(int(rig.chain.block()["timestamp"], 16))
    gas = [intent.gas_paid_wei or 0 for one in rig.firings for intent in one.intents]
    assert rig.wired.journal.spent(SpendKind.GAS, day, "guard") == sum(gas)
    await rig.mine(20)
    assert len(rig.firings) <= 5, "tried anew, with longer and longer rests"
    rig.check()
