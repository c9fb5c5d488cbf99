"""Faults 32, 33, 35, 38 and 39: chains that take blocks back, pause and come back, or speak of what nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fault_rig import FaultRig, OpenRig
from tests.support.pool_rules import SEND, hash_of
from tui.model.intent import FiringState, IntentState
from tui.model.units import WAD
from tui.model.view import Protection
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.practice.tokens import FEED_UNIT

pytestmark = pytest.mark.node


def reorg(rig: FaultRig, depth: int, *raws: str) -> None:
    """Other blocks in place of the last `depth`, with `raws` in the first; the pool has forgotten everything."""
    rig.chain.rpc("anvil_dropAllTransactions")
    rig.chain.rpc("anvil_reorg", depth, [[raw, 0] for raw in raws])


def paid(rig: FaultRig, tx_hash: str) -> int:
    """Wei that a transaction cost, as the node says."""
    receipt = rig.chain.rpc("eth_getTransactionReceipt", tx_hash)
    return int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)


def raws(rig: FaultRig) -> list[str]:
    return ["0x" + attempt.raw.hex() for attempt in rig.intent.attempts]


# --- 32, 33: a block is taken back ------------------------------------------------------------------------------------


async def test_32_a_reorg_drops_the_transaction_and_the_same_bytes_are_sent_again(open_faulty: OpenRig) -> None:
    """anvil_reorg of the block it was in, and a pool that forgot it."""
    rig = await open_faulty(confirmations=3)
    await rig.fall()
    await rig.mine()
    assert rig.intent_states == [IntentState.INCLUDED]
    (sent,) = raws(rig)
    was = rig.intent.included_block_hash
    reorg(rig, 1)
    assert (rig.on_chain(), rig.pooled()) == ([], [])
    await rig.head()
    assert rig.intent_states == [IntentState.MAYBE_SENT]
    assert rig.intent.included_hash is None
    assert "is gone; it is sent again" in rig.said
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    assert (await rig.settle()).state is FiringState.DONE
    assert raws(rig) == [sent]
    assert rig.intent.included_block_hash != was
    assert len(rig.on_chain()) == 1
    rig.check()


async def test_33_a_reorg_includes_another_attempt_and_it_is_settled_on_the_actual_hash(open_faulty: OpenRig) -> None:
    """The raised fee is mined; then anvil_reorg puts the original into the block instead."""
    rig = await open_faulty(confirmations=3)
    lost = rig.proxies[0].swallow(SEND, hash_of)
    await rig.fall()
    while len(rig.intent.attempts) < 2:
        await rig.mine()
    lost.lift()
    await rig.mine(2)
    assert rig.intent_states == [IntentState.INCLUDED]
    original, raised = rig.intent.attempts[0], rig.intent.attempts[-1]
    assert rig.intent.included_hash == raised.hash
    depth = rig.chain.block_number() - (rig.intent.included_block or 0) + 1
    reorg(rig, depth, raws(rig)[0])
    assert [tx["hash"] for tx in rig.on_chain()] == [original.hash]
    await rig.head()
    assert rig.intent.included_hash == original.hash
    firing = await rig.settle()
    assert (firing.state, rig.intent.included_hash) == (FiringState.DONE, original.hash)
    assert rig.intent.gas_paid_wei == paid(rig, original.hash)
    rig.check()


# --- 35: deeper than what counts as final -----------------------------------------------------------------------------


@pytest.mark.parametrize("while_down", [False, True])
async def test_35_a_reorg_deeper_than_the_limit_halts_until_a_person_has_looked(
    open_faulty: OpenRig, while_down: bool
) -> None:
    """anvil_reorg past a transaction that was final, under the engine's eyes or while it was not running."""
    rig = await open_faulty(confirmations=2)
    await rig.fall()
    firing = await rig.settle()
    assert firing.state is FiringState.DONE
    await rig.mine()
    (sent,) = raws(rig)
    depth = rig.chain.block_number() - (rig.intent.included_block or 0) + 1
    assert depth > rig.network.confirmations
    reorg(rig, depth)
    assert rig.on_chain() == []
    if while_down:
        await rig.restart()
        await rig.arm()
    else:
        await rig.head()
    ((account, why),) = rig.wired.engine.executor.halted_accounts()  # type: ignore[union-attr]
    assert account == rig.account
    assert "a reorg deeper than what counts as final took back block" in why
    assert "is halted" in rig.said
    await rig.mine()
    assert protection(rig) is Protection.HELD
    assert "is halted: a reorg deeper than what counts as final" in rig.view.protection_why
    assert rig.chain.health_factor(rig.account) < 125 * WAD // 100
    rig.chain.set_price("WETH", "2900")
    await rig.mine(2)
    await rig.fall("2500")
    await rig.mine(3)
    assert len(rig.attempts()) == 1, "nothing more was signed"
    assert (rig.on_chain(), rig.pooled()) == ([], [])
    # A person goes on: the same bytes, and only then the rule again.
    await rig.wired.commands.resume()
    assert rig.pooled() == [firing.intents[0].included_hash]
    await rig.mine(3)
    assert [tx["hash"] for tx in rig.on_chain()] == [firing.intents[0].included_hash]
    assert raws_of(rig) == [sent]
    assert rig.wired.engine.executor.halted_accounts() == ()  # type: ignore[union-attr]


def raws_of(rig: FaultRig) -> list[str]:
    return ["0x" + a.raw.hex() for f in rig.firings for i in f.intents for a in i.attempts]


def protection(rig: FaultRig) -> Protection:
    """What the screen says above all."""
    return rig.view.protection


# --- 38: the chain is back --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "fires"), [(("1900", "2900", "2600"), True), (("1900", "2500", "3000"), False)], ids=["low", "high"]
)
async def test_38_the_sequencer_is_back_with_many_prices_in_one_block(
    open_faulty: OpenRig, prices: tuple[str, ...], fires: bool
) -> None:
    """No block for an hour, then one with every price of that hour: the last one counts, once, on a fresh read."""
    rig = await open_faulty()
    await rig.mine()
    assert protection(rig) is Protection.ARMED
    feed = rig.chain.token("WETH").feed
    for price in prices:
        data = calldata("setAnswer(int256)", int(price) * FEED_UNIT)
        rig.chain.rpc("eth_sendTransaction", {"from": OWNER, "to": feed, "data": data, "gas": hex(500_000)})
    rig.clock.advance(3_600)
    rig.wired.engine.publish()
    assert protection(rig) is Protection.HELD, "blind is not safe"
    assert "no new block for 36" in rig.view.protection_why
    assert not await rig.head()
    assert rig.firings == ()
    rig.chain.advance(3_600)
    await rig.head()
    assert protection(rig) is Protection.ARMED
    if not fires:
        await rig.mine(3)
        assert rig.firings == ()
        return
    firing = await rig.settle()
    assert firing.state is FiringState.DONE
    assert len(rig.on_chain()) == 1
    # Sized for the last price, not for the lowest of the batch.
    assert firing.health_factor_before is not None
    assert 119 * WAD // 100 < firing.health_factor_before < 120 * WAD // 100
    assert 15 * WAD // 10 <= rig.chain.health_factor(rig.account) <= 1502 * WAD // 1000
    rig.check()


# --- 39: what nobody knows --------------------------------------------------------------------------------------------


def renamed(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {("x" + key if key == name else key): value for key, value in fields.items()}


@pytest.mark.parametrize(
    "strange",
    [
        lambda block: {**block, "number": {"type": "0x7f"}},
        lambda block: {**block, "hash": block["hash"] + "00"},
        lambda block: renamed(block, "parentHash"),
        lambda block: [block],
    ],
)
async def test_39_a_block_with_fields_of_unknown_shape_is_no_head(
    open_faulty: OpenRig, strange: Callable[[dict[str, Any]], object]
) -> None:
    """Blocks whose known fields have another type, length or name than they may have: blind, and nothing is signed."""
    rig = await open_faulty()
    await rig.mine()
    lies = [
        rig.proxies[0].lie(method, lambda params, true: strange(true) if true else true)
        for method in ("eth_getBlockByNumber", "eth_getBlockByHash")
    ]
    rig.chain.set_price("WETH", "2600")
    for _ in range(4):
        rig.chain.mine()
        rig.clock.advance(2)
        assert not await rig.head()
    rig.wired.engine.publish()
    assert rig.view.protection is Protection.HELD
    assert rig.view.chain.blind is not None
    assert (rig.firings, rig.pooled()) == ((), [])
    for lie in lies:
        lie.lift()
    rig.clock.advance(120)
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE
    rig.check()


async def test_39_more_fields_than_are_known_change_nothing(open_faulty: OpenRig) -> None:
    """A block header and a transaction in it of a type that does not exist yet: only what is known is read."""
    rig = await open_faulty()

    def with_more(params: list[Any], block: dict[str, Any] | None) -> object:
        if block is None:
            return None
        odd = {"type": "0x7f", "hash": "0x" + "7f" * 32, "somethingNew": [1, {"deep": None}]}
        listed = [*block["transactions"], odd if params[1] else odd["hash"]]
        return {**block, "transactions": listed, "quantumRoot": "0x" + "11" * 32, "lanes": [[]]}

    for method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
        rig.proxies[0].lie(method, with_more)
    await rig.fall()
    assert (await rig.settle()).state is FiringState.DONE
    assert len(rig.on_chain()) == 1
    rig.check()


@pytest.mark.parametrize("change", [{"type": "0x7f"}, {"status": "0x2"}, {"status": None}])
async def test_39_a_receipt_of_an_unknown_type_or_status_proves_nothing(
    open_faulty: OpenRig, change: dict[str, object]
) -> None:
    """Receipts that are not of what was sent, or that neither succeed nor fail: still maybe sent, and followed."""
    rig = await open_faulty()
    lie = rig.proxies[0].lie(
        "eth_getTransactionReceipt", lambda params, true: None if true is None else {**true, **change}
    )
    await rig.fall()
    for _ in range(4):
        await rig.mine()
        rig.clock.advance(60)
    assert rig.intent_states == [IntentState.MAYBE_SENT]
    assert len(rig.on_chain()) == 1
    assert "cannot be followed now" in rig.said
    lie.lift()
    rig.clock.advance(120)
    assert (await rig.settle()).state is FiringState.DONE
    rig.check()
