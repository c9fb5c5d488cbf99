"""The executor on a real node with a real signer process and a real key: what a pool and a chain really do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import PASSWORD
from tests.support.clock import FakeClock
from tests.support.firings import GWEI, POOL, a_plan, with_calls
from tui.chain.client import ChainClient, open_chain
from tui.engine.executor import Executor
from tui.journal.store import SqliteJournal, open_journal
from tui.model.block import BlockRef
from tui.model.intent import AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.network import Network
from tui.model.plan import FeeQuote, PlannedCall
from tui.model.signing import AllowedCall, SigningPolicy
from tui.ports.journal import Decision, JournalFull, JournalLocked
from tui.practice.node import CHAIN_ID, Node, NodeProgram, start_node
from tui.vault.client import SignerClient, spawn_signer
from tui.vault.ledger import KILL_FILE

pytestmark = pytest.mark.node

SELECTOR = b"\x12\x34\x56\x78"
REVERTER = "0x" + "d5" * 20


@pytest.fixture(scope="module")
def node(anvil: NodeProgram) -> Iterator[Node]:
    started = start_node(anvil)
    yield started
    started.stop()


class World:
    """A node, a signer and an engine."""

    def __init__(self, node: Node, state: Path, key_file: tuple[Path, str]) -> None:
        self.node = node
        self.state = state
        self.key_path, self.account = key_file
        self.client: ChainClient
        self.signer: SignerClient
        self.journal: SqliteJournal
        self.executor: Executor
        self.killed = False
        self.lines: list[Decision] = []

    async def start(self) -> None:
        network = Network("practice", CHAIN_ID, 2.0, 2, (self.node.url,))
        self.client = open_chain(network, FakeClock())
        self.journal = open_journal(self.state)
        self.signer = spawn_signer(self.state)
        assert await self.signer.unlock(self.key_path, PASSWORD) == self.account
        await self.signer.set_policy(self.policy())
        self.executor = Executor(
            self.journal,
            self.signer,
            self.client.broadcaster,
            self.client.reader,
            FakeClock(),
            CHAIN_ID,
            2,
            lambda: self.killed,
            self.lines.append,
        )

    async def stop(self) -> None:
        self.journal.close()
        self.signer.close()
        await self.client.aclose()

    def policy(self) -> SigningPolicy:
        calls = tuple(AllowedCall(to, "0x" + SELECTOR.hex()) for to in (POOL, REVERTER))
        return SigningPolicy(
            CHAIN_ID, self.account, calls, (), (), 1_000 * GWEI, 200_000, 10**18, 10**19, 4_000_000_000
        )

    def rpc(self, method: str, *params: object) -> Any:
        return self.node.rpc.call(method, *params)

    async def head(self) -> BlockRef:
        number = int(self.rpc("eth_blockNumber"), 16)
        block = await self.client.reader.block_by_number(number)
        assert block is not None
        return block

    async def mine(self, count: int = 1) -> tuple[Firing, ...]:
        """Blocks one by one, each shown to the engine."""
        ended: tuple[Firing, ...] = ()
        for _ in range(count):
            self.rpc("evm_mine")
            ended += await self.executor.on_head(await self.head())
        return ended

    async def run(self, *to: str, episode: str = "1") -> Firing:
        head = await self.head()
        firing = self.executor.open_firing(
            rule="guard",
            rule_digest="digest",
            episode=episode,
            position=f"aave-v3/core/{self.account}",
            account=self.account,
            block=head,
            health_factor=10**18,
        )
        assert firing is not None
        calls = [
            PlannedCall(target, SELECTOR + bytes([place] * 32), 0, f"call {place}", None, gas_limit=100_000)
            for place, target in enumerate(to or (POOL, POOL))
        ]
        fees = FeeQuote(head.base_fee, 2 * head.base_fee + GWEI, GWEI, 900 * GWEI)
        plan = replace(with_calls(a_plan(firing, block=head), *calls), fees=fees)
        await self.executor.execute(firing, plan, self.verify)
        return self.firing(firing)

    async def verify(self, calls: Sequence[PlannedCall]) -> str | None:
        return None

    def firing(self, firing: Firing) -> Firing:
        found = self.journal.firing(firing.id)
        assert found is not None
        return found

    def states(self, firing: Firing) -> list[IntentState]:
        return [intent.state for intent in self.firing(firing).intents]

    def intent(self, firing: Firing) -> Intent:
        return self.firing(firing).intents[0]

    def on_chain(self) -> list[dict[str, Any]]:
        """Every mined transaction of the account, by nonce."""
        latest = int(self.rpc("eth_blockNumber"), 16)
        blocks = [self.rpc("eth_getBlockByNumber", hex(number), True) for number in range(latest + 1)]
        mine = [tx for block in blocks for tx in block["transactions"] if tx["from"].lower() == self.account]
        return sorted(mine, key=lambda tx: int(tx["nonce"], 16))

    def pooled(self) -> list[str]:
        content = self.rpc("txpool_content")
        return [
            tx["hash"]
            for part in ("pending", "queued")
            for owner, txs in content[part].items()
            if owner.lower() == self.account
            for tx in txs.values()
        ]


@pytest.fixture
async def world(node: Node, tmp_path: Path, key_file: tuple[Path, str], warm_signers: None) -> AsyncIterator[World]:
    snapshot = node.rpc.call("evm_snapshot")
    node.rpc.call("evm_setAutomine", False)
    node.rpc.call("anvil_setBalance", key_file[1], hex(10**20))
    node.rpc.call("evm_mine")
    made = World(node, tmp_path / "state", key_file)
    await made.start()
    yield made
    await made.stop()
    node.rpc.call("anvil_dropAllTransactions")
    node.rpc.call("evm_revert", snapshot)


async def test_the_journal_says_exactly_what_is_on_chain(world: World) -> None:
    firing = await world.run()
    assert world.states(firing) == [IntentState.MAYBE_SENT] * 2
    assert await world.mine() == ()
    assert world.states(firing) == [IntentState.INCLUDED] * 2
    ended = await world.mine()
    assert [one.state for one in ended] == [FiringState.DONE]

    mined, intents = world.on_chain(), world.firing(firing).intents
    assert len(mined) == len(intents) == 2
    for tx, intent in zip(mined, intents, strict=True):
        assert tx["hash"] == intent.included_hash == intent.attempts[0].hash
        assert (int(tx["nonce"], 16), tx["to"], tx["input"]) == (intent.nonce, intent.to, "0x" + intent.data.hex())
        assert int(tx["blockNumber"], 16) == intent.included_block
        receipt = world.rpc("eth_getTransactionReceipt", tx["hash"])
        paid = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
        assert (int(receipt["gasUsed"], 16), paid) == (intent.gas_used, intent.gas_paid_wei)
    before = 10**20
    spent = sum(intent.gas_paid_wei or 0 for intent in intents)
    assert int(world.rpc("eth_getBalance", world.account, "latest"), 16) == before - spent


async def test_a_revert_on_chain_is_final_with_its_gas(world: World) -> None:
    world.rpc("anvil_setCode", REVERTER, "0x60006000fd")
    firing = await world.run(REVERTER, POOL)
    ended = await world.mine(2)
    assert [one.state for one in ended] == [FiringState.FAILED]
    assert world.states(firing) == [IntentState.FINAL_REVERTED, IntentState.FINAL_OK]
    assert (world.intent(firing).gas_paid_wei or 0) > 0
    await world.mine(2)
    assert len(world.on_chain()) == 2


async def test_dropped_by_the_node_the_same_bytes_are_sent_again(world: World) -> None:
    firing = await world.run()
    hashes = sorted(world.pooled())
    world.rpc("anvil_dropAllTransactions")
    assert world.pooled() == []
    await world.mine()
    assert sorted(world.pooled()) == hashes
    await world.mine(2)
    assert world.states(firing) == [IntentState.FINAL_OK] * 2
    assert [len(intent.attempts) for intent in world.firing(firing).intents] == [1, 1]


async def test_the_fee_rises_when_the_base_fee_does(world: World) -> None:
    firing = await world.run(POOL)
    first = world.intent(firing).attempts[0]
    for _ in range(3):
        world.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * GWEI))
        await world.mine()
    intent = world.intent(firing)
    assert [attempt.kind for attempt in intent.attempts] == [AttemptKind.ORIGINAL, AttemptKind.BUMP]
    assert intent.attempts[1].max_fee >= 20 * GWEI > first.max_fee
    assert world.pooled() == [intent.attempts[1].hash]
    await world.mine(2)
    assert world.states(firing) == [IntentState.FINAL_OK]
    assert world.intent(firing).included_hash == intent.attempts[1].hash
    (mined,) = world.on_chain()
    assert (int(mined["nonce"], 16), mined["input"]) == (intent.nonce, "0x" + intent.data.hex())


async def test_a_reorg_takes_it_out_and_it_is_included_again(world: World) -> None:
    firing = await world.run()
    await world.mine()
    assert world.states(firing) == [IntentState.INCLUDED] * 2
    old = world.intent(firing).included_block_hash
    world.rpc("anvil_reorg", 1, [])
    world.rpc("anvil_dropAllTransactions")
    await world.executor.on_head(await world.head())
    assert world.states(firing) == [IntentState.MAYBE_SENT] * 2
    await world.mine(2)
    assert world.states(firing) == [IntentState.FINAL_OK] * 2
    assert world.intent(firing).included_block_hash != old
    assert len(world.on_chain()) == 2


async def test_a_foreign_transaction_takes_the_nonce_and_the_account_is_halted(world: World) -> None:
    firing = await world.run(POOL)
    world.rpc("anvil_dropAllTransactions")
    world.rpc("anvil_impersonateAccount", world.account)
    world.rpc("eth_sendTransaction", {"from": world.account, "to": world.account, "value": "0x1", "gas": hex(21_000)})
    world.rpc("anvil_stopImpersonatingAccount", world.account)
    await world.mine()
    assert world.states(firing) == [IntentState.MAYBE_SENT]
    ended = await world.mine()
    assert [one.state for one in ended] == [FiringState.HALTED]
    assert world.states(firing) == [IntentState.NONCE_LOST]
    refused = await world.run(episode="2")
    assert (refused.state, len(world.on_chain())) == (FiringState.DROPPED, 1)
    await world.executor.resume_account(world.account)
    third = await world.run(episode="3")
    await world.mine(2)
    assert world.states(third) == [IntentState.FINAL_OK] * 2


async def test_ended_between_signature_and_send_the_identical_bytes_are_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_loss(*_: object) -> None:
        raise JournalFull("the disk is full", "here", "make room")

    monkeypatch.setattr(world.journal, "save_intents", power_loss)
    with pytest.raises(JournalFull):
        await world.run()
    (firing,) = world.journal.open_firings(CHAIN_ID)
    signed = [intent.attempts[0].raw for intent in firing.intents]
    assert world.states(firing) == [IntentState.SIGNED] * 2
    assert world.pooled() == []
    await world.stop()
    await world.start()
    await world.executor.recover()
    assert sorted(world.pooled()) == sorted(intent.attempts[0].hash for intent in firing.intents)
    assert [intent.attempts[0].raw for intent in world.firing(firing).intents] == signed
    await world.executor.recover()
    await world.mine(2)
    assert world.states(firing) == [IntentState.FINAL_OK] * 2
    assert len(world.on_chain()) == 2


async def test_ended_between_signing_and_recording_the_same_meaning_is_signed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_loss(*_: object) -> None:
        raise JournalFull("the disk is full", "here", "make room")

    monkeypatch.setattr(world.journal, "record_attempts", power_loss)
    with pytest.raises(JournalFull):
        await world.run()
    await world.stop()
    await world.start()
    await world.executor.recover()
    (firing,) = world.executor.resume_planned()
    head = await world.head()
    fees = FeeQuote(head.base_fee, 3 * head.base_fee + GWEI, GWEI, 900 * GWEI)
    # The signer remembers what it bound these nonces to; it signs, since the meaning is the same.
    await world.executor.resume_reserved(firing, fees, world.verify)
    await world.mine(2)
    assert world.states(firing) == [IntentState.FINAL_OK] * 2
    assert [tx["input"] for tx in world.on_chain()] == ["0x" + intent.data.hex() for intent in firing.intents]


async def test_killed_between_signature_and_send_only_a_no_op_ever_uses_the_nonce(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = world.journal.record_attempts

    def record_and_kill(attempts: Any) -> None:
        record(attempts)
        (world.state / KILL_FILE).touch()
        world.killed = True

    monkeypatch.setattr(world.journal, "record_attempts", record_and_kill)
    firing = await world.run()
    monkeypatch.undo()
    await world.mine(2)
    assert world.states(firing) == [IntentState.SIGNED] * 2
    assert world.pooled() == world.on_chain() == []
    for intent in world.firing(firing).intents:  # still killed: a no-op only takes away
        await world.executor.cancel(intent.id)
    ended = await world.mine(2)
    assert [one.state for one in ended] == [FiringState.FAILED]
    assert world.states(firing) == [IntentState.FINAL_CANCELLED] * 2
    assert [(tx["to"], tx["input"], int(tx["value"], 16)) for tx in world.on_chain()] == [(world.account, "0x", 0)] * 2


async def test_what_the_signer_refuses_is_dropped_and_the_nonce_is_free(world: World) -> None:
    refused = await world.run("0x" + "99" * 20)
    assert refused.state is FiringState.DROPPED
    assert "nothing was signed" in world.lines[-1].text
    second = await world.run(episode="2")
    assert [intent.nonce for intent in second.intents] == [0, 1]
    await world.mine(2)
    assert world.states(second) == [IntentState.FINAL_OK] * 2


async def test_asked_but_never_signed_the_real_signer_says_so_and_the_nonce_is_free(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = world.journal.begin_signing

    def begin_and_stop(firing_id: str) -> None:
        begin(firing_id)
        raise JournalFull("the disk is full", "here", "make room")

    monkeypatch.setattr(world.journal, "begin_signing", begin_and_stop)
    with pytest.raises(JournalFull):
        await world.run()
    monkeypatch.undo()
    (firing,) = world.executor.resume_planned()
    assert world.states(firing) == [IntentState.RESERVED] * 2
    await world.executor.cancel(firing.intents[0].id, FeeQuote(GWEI, 2 * GWEI, GWEI, 900 * GWEI))
    assert world.firing(firing).state is FiringState.DROPPED
    second = await world.run(episode="2")
    assert [intent.nonce for intent in second.intents] == [0, 1]
    await world.mine(2)
    assert world.states(second) == [IntentState.FINAL_OK] * 2


async def test_a_second_engine_on_the_same_state_is_refused(world: World) -> None:
    with pytest.raises(JournalLocked):
        open_journal(world.state)
    firing = await world.run()
    await asyncio.gather(world.mine(), world.mine())
    assert world.firing(firing).state is not FiringState.DROPPED
