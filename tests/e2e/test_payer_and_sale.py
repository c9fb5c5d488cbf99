"""A second account pays its part of a defence, and the position sells the rest: each under nonces of its own.

Health falls from 1.38 to 1.05 in one block.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.test_payer import TARGET, step
from tests.support.fault_rig import FaultRig, World, open_rig
from tests.support.on_exchange import SELL, exchange_of, fall
from tests.support.payer import HOT, fund, write_keystore
from tui.model.intent import FiringState, IntentState


@pytest.fixture
async def mixed(world: World, tmp_path: Path) -> AsyncIterator[FaultRig]:
    """Armed: 500 USDC of the own wallet, 3,000 of the vault's, then a sale for the rest. The node mines when told."""
    steps = step("repay", "USDC", paid=False, maximum="500") + step("repay", "USDC", maximum="3000") + SELL.format("2%")
    both = replace(world, others={HOT: write_keystore(tmp_path)})
    async with AsyncExitStack() as stack:
        rig = await open_rig(stack, both, tmp_path, steps=steps, **exchange_of(world.chain))
        fund(world.chain, usdc=4_000)
        await rig.mine()
        await rig.arm()
        yield rig


async def test_own_wallet_then_vault_then_a_sale(mixed: FaultRig) -> None:
    await fall(mixed)
    await mixed.settle()
    assert mixed.firing.state is FiringState.DONE, mixed.said
    signed = [(intent.account, intent.nonce) for intent in mixed.firing.intents]
    owners = [account for account, _ in signed]
    assert owners == [mixed.account, HOT, mixed.account]
    assert signed[2][1] == (signed[0][1] or 0) + 1
    assert TARGET <= mixed.chain.health_factor(mixed.account) <= TARGET * 1001 // 1000


@pytest.mark.parametrize("first", ["own", "vault"])
async def test_every_order_of_mining_comes_to_the_same(mixed: FaultRig, first: str) -> None:
    """The vault's half is mined blocks before the own one, or after it: nothing reverts, and health only rises."""
    await fall(mixed)
    late = [one for one in mixed.firing.intents if (one.account == HOT) == (first == "own")]
    for intent in late:
        mixed.chain.rpc("anvil_dropTransaction", intent.attempts[0].hash)
    before = mixed.chain.health_factor(mixed.account)
    mixed.chain.mine()
    between = mixed.chain.health_factor(mixed.account)
    assert before < between < TARGET
    await mixed.head()  # what was dropped is sent again
    await mixed.settle()
    assert mixed.firing.state is FiringState.DONE, mixed.said
    assert {one.state for one in mixed.firing.intents} == {IntentState.FINAL_OK}
    assert TARGET <= mixed.chain.health_factor(mixed.account) <= TARGET * 1001 // 1000


async def test_a_restart_goes_on_with_both_accounts_where_they_were(mixed: FaultRig) -> None:
    await fall(mixed)
    hashes = [intent.attempts[0].hash for intent in mixed.firing.intents]
    for tx_hash in hashes:
        mixed.chain.rpc("anvil_dropTransaction", tx_hash)
    await mixed.restart()
    await mixed.settle()
    assert mixed.firing.state is FiringState.DONE, mixed.said
    assert [intent.included_hash for intent in mixed.firing.intents] == hashes, "the same bytes, under the same nonces"


async def test_a_kill_between_signature_and_send_withholds_both_accounts(mixed: FaultRig) -> None:
    """Nothing of either goes out, and each nonce is given back by a no-op of its own account."""
    engine = mixed.wired.engine
    assert engine.executor is not None
    journal = mixed.wired.journal
    assert journal is not None
    record, killed = journal.record_attempts, []

    def pulling(attempts: object) -> None:
        record(attempts)  # type: ignore[arg-type]
        if not killed:
            killed.append(True)
            engine.kill_switch.pull("a test")

    journal.record_attempts = pulling  # type: ignore[method-assign,assignment]
    await fall(mixed)
    assert {intent.withheld for intent in mixed.firing.intents} == {True}
    assert mixed.pooled() == []
    await mixed.wired.commands.kill(False, "a test")
    await mixed.mine()
    for intent in mixed.firing.intents:
        await mixed.wired.commands.cancel(intent.id)
    await mixed.settle()
    assert {intent.state for intent in mixed.firing.intents} == {IntentState.FINAL_CANCELLED}
    assert mixed.firing.state is FiringState.FAILED
