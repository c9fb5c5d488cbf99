"""Faults 44 and 47: nodes that disagree or lie, in front of a whole engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.test_rpc import ended_well, nothing_signed
from tests.support.fault_rig import ADD, GWEI, FaultRig, OpenRig
from tests.support.pool_rules import SEND
from tui.model.intent import IntentState
from tui.model.view import Protection

pytestmark = pytest.mark.node


def swapped(old: int, new: int) -> Callable[[list[Any], Any], Any]:
    """A lie about every 32-byte word of an answer that is `old`."""

    def change(params: list[Any], told: Any) -> Any:
        return told.replace(f"{old:064x}", f"{new:064x}") if isinstance(told, str) else told

    return change


@pytest.mark.parametrize("what", ["price", "debt", "balance", "nonce"])
async def test_44_two_providers_that_disagree_sign_nothing(open_faulty: OpenRig, what: str) -> None:
    rig = await open_faulty(providers=2, quorum=2)
    price = 2600 * 10**8
    debt_token = rig.chain.token("USDC").v_token
    if what == "price":
        rig.proxies[1].lie("eth_call", swapped(price, 2700 * 10**8))
    elif what == "debt":
        scaled = rig.chain.call(debt_token, "scaledBalanceOf(address)", ["uint256"], rig.account)
        rig.proxies[1].lie("eth_call", swapped(scaled, scaled // 2))
    elif what == "balance":
        rig.proxies[1].lie("eth_call", swapped(rig.chain.balance("USDC", rig.account), 10**12))
    else:
        rig.proxies[1].lie("eth_getTransactionCount", "0x63")
    await rig.fall()
    await nothing_signed(rig, 2)
    assert "disagree" in (rig.view.chain.blind or "")
    assert rig.view.protection is Protection.HELD
    assert rig.states == ["ok", "ok"], "which of two is wrong cannot be known"
    rig.proxies[1].heal()
    await rig.mine()
    await ended_well(rig)


async def test_44_the_one_that_disagrees_with_a_majority_is_lying_and_the_others_go_on(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=3, quorum=2)
    rig.proxies[0].lie("eth_call", swapped(2600 * 10**8, 2900 * 10**8))
    await rig.fall()
    assert rig.states == ["lying", "ok", "ok"]
    assert "2 nodes that agree" in rig.statuses[0].detail
    asked = rig.proxies[0].count("eth_call")
    await ended_well(rig)
    assert rig.proxies[0].count("eth_call") == asked
    rig.proxies[0].heal()
    rig.clock.advance(301)
    await rig.mine(2)
    assert rig.states[0] == "lying", "asked last, and not trusted before it has agreed with others"
    rig.proxies[2].down()
    await rig.mine(2)
    assert rig.states == ["ok", "ok", "failing"]


async def test_44_a_head_that_nobody_else_has_is_not_followed(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=3, quorum=2)

    def other_block(params: list[Any], told: Any) -> Any:
        return {**told, "hash": "0x" + "ab" * 32, "baseFeePerGas": "0x1"} if params[0] == "latest" else told

    rig.proxies[0].lie("eth_getBlockByNumber", other_block)
    await rig.fall()
    assert rig.view.chain.block is not None
    assert rig.view.chain.block.hash == rig.chain.block()["hash"]
    await rig.mine(3)
    assert rig.states[0] == "lying"
    await ended_well(rig)


async def swallowed_with_a_receipt(rig: FaultRig, liars: int = 1) -> None:
    """What is signed reaches nobody, and the first nodes tell of a receipt in a block that there is."""
    await rig.fall()
    rig.chain.rpc("anvil_dropAllTransactions")
    for proxy in rig.proxies:
        proxy.swallow(SEND, lambda params: rig.intent.attempts[-1].hash)
    block = rig.chain.block()

    def forged(params: list[Any], told: Any) -> Any:
        number, block_hash = block["number"], block["hash"]
        return {
            "transactionHash": params[0], "blockNumber": number, "blockHash": block_hash, "status": "0x1",
            "gasUsed": "0x5208", "effectiveGasPrice": "0x1", "from": rig.account, "to": rig.chain.market.pool,
        }  # fmt: skip

    for proxy in rig.proxies[:liars]:
        proxy.lie("eth_getTransactionReceipt", forged)


async def test_44_a_receipt_that_only_one_node_has_ends_nothing(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=3, quorum=2)
    await swallowed_with_a_receipt(rig)
    await rig.mine(4)
    assert rig.intent_states == [IntentState.MAYBE_SENT]
    for proxy in rig.proxies:
        proxy.heal()
    await ended_well(rig)


async def test_44_a_receipt_that_only_one_node_has_is_outvoted_where_one_would_do(open_faulty: OpenRig) -> None:
    """A quorum of one, and a forged receipt: the others count its nonce as free at a final block."""
    rig = await open_faulty(providers=3)
    await swallowed_with_a_receipt(rig)
    await rig.mine(4)
    assert rig.intent_states == [IntentState.MAYBE_SENT]
    assert "a node told of a receipt that is none: it was not mined, and is sent again" in rig.said
    assert "lying" in rig.states
    for proxy in rig.proxies:
        proxy.heal()
    await ended_well(rig)


async def test_44_nodes_that_differ_on_what_was_mined_settle_nothing(open_faulty: OpenRig) -> None:
    """Two nodes, of which one has the receipt and counts the nonce, and the other has not and does not."""
    rig = await open_faulty(providers=2)
    await swallowed_with_a_receipt(rig)
    nonce = rig.intent.nonce
    assert nonce is not None
    rig.proxies[0].lie("eth_getTransactionCount", hex(nonce + 1))
    await rig.mine(4)
    assert rig.intent_states == [IntentState.INCLUDED]
    assert "mined as it seems, but not settled, since nodes do not agree on it: 1 of 2 nodes" in rig.said
    assert [key for key, _ in rig.view.troubles] == [f"unsettled/{rig.intent.id}"]
    for proxy in rig.proxies:
        proxy.heal()
    await ended_well(rig)


async def test_47_a_lie_about_fees_is_clamped(open_faulty: OpenRig) -> None:
    rig = await open_faulty()

    def absurd(params: list[Any], told: Any) -> Any:
        rewards = [[hex(10**6 * GWEI)] for _ in told["gasUsedRatio"]]
        fees = [hex(10**6 * GWEI) for _ in told["baseFeePerGas"]]
        return {**told, "reward": rewards, "baseFeePerGas": fees, "gasUsedRatio": [0.5] * len(rewards)}

    rig.proxies[0].lie("eth_feeHistory", absurd)
    await rig.fall()
    base = int(rig.chain.block()["baseFeePerGas"], 16)
    most_base = base + base // 8 + 1
    (sent,) = rig.attempts()
    assert sent.tip <= 2 * most_base + 5 * GWEI
    assert sent.cap <= 2 * most_base + sent.tip
    assert rig.intent.fee_ceiling * rig.intent.gas_limit * 2600 <= 200 * 10**18
    await ended_well(rig)


def understated(factor: int, least: int) -> Callable[[list[Any], Any], Any]:
    """A lie about the gas of simulated calls."""

    def change(params: list[Any], told: Any) -> Any:
        for call in told[0]["calls"]:
            call["gasUsed"] = hex(max(int(call["gasUsed"], 16) // factor, least))
        return told

    return change


async def test_47_gas_too_little_for_the_work_fails_the_second_simulation(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    lie = rig.proxies[0].lie("eth_simulateV1", understated(5, 30_000))
    await rig.fall()
    await nothing_signed(rig, 2)
    assert "nothing was signed: simulated," in rig.said
    lie.lift()


async def test_47_gas_less_than_any_transaction_costs_is_not_believed(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    rig.proxies[0].lie("eth_simulateV1", understated(100, 0))
    await rig.fall()
    assert rig.intent.gas_limit > 200_000, "measured in the other way"
    await ended_well(rig)


async def test_47_a_node_that_understates_gas_is_outvoted(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=2, quorum=2, steps=ADD)

    rig.proxies[0].lie("eth_simulateV1", understated(3, 30_000))
    await rig.fall()
    await ended_well(rig, transactions=2)
