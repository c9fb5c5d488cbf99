"""What a person asks for outright, on a real node with a real signer: done once and recorded whole, or not at all."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import PASSWORD
from tests.support.clock import FakeClock
from tests.support.firings import GWEI
from tui.chain.client import ChainClient, open_chain
from tui.engine.budget import degraded_cap
from tui.engine.byhand import BY_HAND, ByHand, CannotDo, Hands, NotFinal, Wish, policy_for
from tui.engine.engine import HELD_KEY
from tui.engine.killswitch import KillSwitch
from tui.journal.store import SqliteJournal, open_journal
from tui.model.block import BlockRef
from tui.model.calls import Simulation
from tui.model.errand import Errand
from tui.model.intent import AttemptKind, FiringState, IntentState
from tui.model.network import Network
from tui.model.plan import PlannedCall
from tui.model.position import MarketKey, PositionKey
from tui.model.signing import SignedTransaction, SignerRefused, SignerUnavailable, TransactionRequest
from tui.practice.node import CHAIN_ID, Node, NodeProgram, start_node
from tui.vault.client import SignerClient, spawn_signer

pytestmark = pytest.mark.node

TAKER = "0x" + "b2" * 20
SELECTOR = b"\x12\x34\x56\x78"
ETHER = 10**18


@pytest.fixture(scope="module")
def node(anvil: NodeProgram) -> Iterator[Node]:
    started = start_node(anvil)
    started.rpc.call("anvil_setCode", TAKER, "0x00")
    yield started
    started.stop()


class Meddler:
    """The real signer; `after` runs once a signature was made and before anybody has it."""

    def __init__(self, client: SignerClient) -> None:
        self._client = client
        self.after: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def sign_transaction(self, request: TransactionRequest) -> SignedTransaction:
        signed = await self._client.sign_transaction(request)
        if self.after is not None:
            after, self.after = self.after, None
            after()
        return signed


class World:
    """A node whose blocks come when the engine waits for one, and everything that works by hand."""

    def __init__(self, node: Node, state: Path, key_file: tuple[Path, str]) -> None:
        self.node, self.state = node, state
        self.key_path, self.account = key_file
        self.base_fees: list[int] = []
        self.judged = 0
        self.verdicts: list[str | None] = []
        self.kill = KillSwitch(state)
        self.lines: list[str] = []
        self.l1_fee_oracle: str | None = None
        self.client: ChainClient
        self.signer: Meddler
        self.journal: SqliteJournal
        self.hand: ByHand

    def start(self) -> None:
        network = Network("practice", CHAIN_ID, 2.0, 2, (self.node.url,), l1_fee_oracle=self.l1_fee_oracle)
        self.client = open_chain(network, FakeClock(time.time()))
        self.journal = open_journal(self.state)
        self.signer = Meddler(spawn_signer(self.state))
        hands = Hands(
            self.heads(),
            self.client.reader,
            self.client.simulator,
            self.client.fees,
            self.client.broadcaster,
            FakeClock(time.time()),
            self.journal,
            self.signer,
        )
        self.hand = ByHand(hands, network, self.kill.is_on, lambda line: self.lines.append(line.text))

    async def stop(self) -> None:
        self.journal.close()
        self.signer.close()
        await self.client.aclose()

    async def restart(self) -> None:
        await self.stop()
        self.start()

    def rpc(self, method: str, *params: object) -> Any:
        return self.node.rpc.call(method, *params)

    async def heads(self) -> AsyncIterator[BlockRef]:
        while True:
            self.rpc("anvil_setNextBlockBaseFeePerGas", hex(self.base_fees.pop(0) if self.base_fees else GWEI))
            self.rpc("evm_mine")
            yield await self.head()

    async def head(self) -> BlockRef:
        block = await self.client.reader.block_by_number(int(self.rpc("eth_blockNumber"), 16))
        assert block is not None
        return block

    def judge(self, _simulation: Simulation) -> str | None:
        self.judged += 1
        return self.verdicts.pop(0) if self.verdicts else None

    def wish(self, *words: int, value: int = 0) -> Wish:
        calls = tuple(
            PlannedCall(TAKER, SELECTOR + word.to_bytes(32, "big"), value, f"call {word}", None)
            for word in words or (1,)
        )
        key = PositionKey(MarketKey("aave-v3", "core"), self.account)
        return Wish("try it", key, calls, (), self.judge)

    async def carry_out(self, wish: Wish) -> Any:
        errand = await self.hand.draft(wish, await self.head())
        return await self.hand.carry_out(wish, errand, self.key_path, PASSWORD)

    def on_chain(self) -> list[dict[str, Any]]:
        """Every mined transaction of the account, by nonce."""
        latest = int(self.rpc("eth_blockNumber"), 16)
        blocks = [self.rpc("eth_getBlockByNumber", hex(number), True) for number in range(latest + 1)]
        mine = [tx for block in blocks for tx in block["transactions"] if tx["from"].lower() == self.account]
        return sorted(mine, key=lambda tx: int(tx["nonce"], 16))


@pytest.fixture
async def world(node: Node, tmp_path: Path, key_file: tuple[Path, str], warm_signers: None) -> AsyncIterator[World]:
    snapshot = node.rpc.call("evm_snapshot")
    node.rpc.call("evm_setAutomine", False)
    node.rpc.call("anvil_setBalance", key_file[1], hex(10 * ETHER))
    node.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    node.rpc.call("evm_mine")
    made = World(node, tmp_path / "state", key_file)
    made.start()
    yield made
    await made.stop()
    node.rpc.call("anvil_dropAllTransactions")
    node.rpc.call("evm_revert", snapshot)


async def test_what_was_agreed_to_is_done_and_recorded_whole(world: World) -> None:
    wish = world.wish(1, 2, value=5)
    errand = await world.hand.draft(wish, await world.head())
    assert [call.gas_limit > 21_000 for call in errand.calls] == [True, True]
    assert errand.cost.gas_units == sum(call.gas_used for call in errand.calls)
    assert errand.cost.most_gas == sum(call.gas_limit for call in errand.calls) > errand.cost.gas_units + 50_000
    firing = await world.hand.carry_out(wish, errand, world.key_path, PASSWORD)
    assert (firing.state, firing.rule) == (FiringState.DONE, BY_HAND + "try it")
    mined = world.on_chain()
    assert [(tx["to"], tx["input"], int(tx["value"], 16)) for tx in mined] == [
        (call.to, "0x" + call.data.hex(), 5) for call in wish.calls
    ]
    assert [intent.included_hash for intent in firing.intents] == [tx["hash"] for tx in mined]
    assert [intent.nonce for intent in firing.intents] == [0, 1]
    assert world.judged == 2  # once to show it, once before it is signed
    assert world.journal.next_nonce(CHAIN_ID, world.account) == 2
    assert world.hand.left_over(world.account) == ()


async def test_what_layer_1_charges_for_data_is_in_the_cost_and_in_what_the_account_must_hold(world: World) -> None:
    world.l1_fee_oracle = "0x42" + "00" * 18 + "0f"
    await world.restart()
    plain = await world.hand.draft(world.wish(1, 2), await world.head())
    assert (plain.cost.l1_fee_wei, plain.cost.gas_usd) == (None, None), "nothing is there to tell it"
    world.rpc("anvil_setCode", world.l1_fee_oracle, f"0x7f{ETHER:064x}60005260206000f3")
    errand = await world.hand.draft(world.wish(1, 2), await world.head())
    assert errand.cost.l1_fee_wei == 2 * ETHER
    assert errand.cost.gas_wei == 2 * ETHER + errand.cost.gas_units * (errand.fees.base_fee + errand.fees.priority_fee)
    world.rpc("anvil_setBalance", world.account, hex(2 * ETHER))
    with pytest.raises(CannotDo, match=r"it may take 2\.\d+ of the native coin"):
        await world.hand.draft(world.wish(1, 2), await world.head())


async def test_the_signer_signs_those_bytes_and_nothing_else(world: World) -> None:
    await world.carry_out(world.wish(1))
    asked = TransactionRequest("x", CHAIN_ID, world.account, 1, TAKER, 0, world.wish(2).calls[0].data, 30_000, 1, 1)
    with pytest.raises(SignerRefused, match="not exactly what was agreed to"):
        await world.signer.sign_transaction(asked)
    with pytest.raises(SignerRefused, match="value 1 wei"):
        await world.signer.sign_transaction(replace(asked, data=world.wish(1).calls[0].data, value=1))


async def test_what_simulation_shows_to_be_wrong_is_not_even_begun(world: World) -> None:
    world.verdicts = ["it would not be the helper"]
    with pytest.raises(CannotDo, match="would not be the helper"):
        await world.carry_out(world.wish())
    reverting = "0x" + "d5" * 20
    world.rpc("anvil_setCode", reverting, "0x60006000fd")
    world.rpc("evm_mine")
    wish = world.wish()
    wish = replace(wish, calls=(replace(wish.calls[0], to=reverting),))
    with pytest.raises(CannotDo, match="simulated, “call 1” fails"):
        await world.carry_out(wish)
    assert world.journal.firings() == ()
    assert world.on_chain() == []


async def test_what_went_wrong_meanwhile_is_dropped_and_may_be_asked_for_again(world: World) -> None:
    world.verdicts = [None, "somebody was quicker"]
    with pytest.raises(CannotDo, match="somebody was quicker"):
        await world.carry_out(world.wish())
    (dropped,) = world.journal.firings()
    assert dropped.state is FiringState.DROPPED
    firing = await world.carry_out(world.wish())
    assert (firing.id, firing.state) == (dropped.id, FiringState.DONE)
    assert len(world.on_chain()) == 1
    again = await world.carry_out(world.wish())
    assert again.id != firing.id


async def test_kill_switch_hold_halt_and_an_empty_purse_each_refuse(world: World) -> None:
    errand = await world.hand.draft(world.wish(), await world.head())
    world.kill.pull("test")
    for attempt in (
        world.carry_out(world.wish()),
        world.hand.carry_out(world.wish(), errand, world.key_path, PASSWORD),
    ):
        with pytest.raises(CannotDo, match="kill switch is on"):
            await attempt
    world.kill.release()
    world.journal.set_meta(HELD_KEY, "too many faults")
    with pytest.raises(CannotDo, match=r"holds itself: too many faults.*trimtab resume"):
        await world.carry_out(world.wish())
    world.journal.set_meta(HELD_KEY, "")
    with pytest.raises(CannotDo, match="wrong"):
        await world.hand.carry_out(world.wish(), errand, world.key_path, "another password")
    world.rpc("anvil_setBalance", world.account, hex(10**12))
    world.rpc("evm_mine")
    with pytest.raises(CannotDo, match=r"may take .* of the native coin.*add some"):
        await world.carry_out(world.wish())
    world.journal.halt(CHAIN_ID, world.account, "a nonce is not ours", 1.0)
    with pytest.raises(CannotDo, match="halted: a nonce is not ours"):
        await world.carry_out(world.wish())
    assert world.on_chain() == []


async def test_a_key_used_elsewhere_halts_the_account_instead_of_guessing(world: World) -> None:
    await world.carry_out(world.wish())
    world.rpc("anvil_setNonce", world.account, "0x5")
    with pytest.raises(CannotDo, match=r"halted: the chain counts 5 .* explains 1.*trimtab resume"):
        await world.carry_out(world.wish(2))


async def test_killed_between_signature_and_send_it_is_never_sent_and_gives_its_nonce_back(world: World) -> None:
    world.signer.after = lambda: world.kill.pull("test")
    with pytest.raises(NotFinal, match="run the same command again to cancel it"):
        await world.carry_out(world.wish())
    world.kill.release()
    await world.restart()
    (left,) = world.hand.left_over(world.account)
    (ended,) = await world.hand.finish(world.account, world.key_path, PASSWORD)
    assert ended.id == left.id
    assert [intent.state for intent in ended.intents] == [IntentState.FINAL_CANCELLED]
    (noop,) = world.on_chain()
    assert (noop["to"], noop["input"], noop["value"]) == (world.account, "0x", "0x0")
    assert (await world.carry_out(world.wish())).state is FiringState.DONE


async def test_stopped_while_signing_the_same_bytes_go_out_after_a_restart_once(world: World) -> None:
    def gone() -> None:
        raise SignerUnavailable("the signer process is gone")

    world.signer.after = gone
    with pytest.raises(NotFinal, match="run the same command again"):
        await world.carry_out(world.wish(7))
    await world.restart()
    (ended,) = await world.hand.finish(world.account, world.key_path, PASSWORD)
    assert ended.state is FiringState.DONE
    assert [tx["input"] for tx in world.on_chain()] == ["0x" + world.wish(7).calls[0].data.hex()]
    assert world.hand.left_over(world.account) == ()


async def test_a_crash_after_sending_is_followed_to_its_end(world: World) -> None:
    class Crash(BaseException):
        pass

    async def dies() -> AsyncIterator[BlockRef]:
        async for head in world.heads():
            yield head
            break
        raise Crash

    world.hand._hands = replace(world.hand._hands, heads=dies())
    with pytest.raises(Crash):
        await world.carry_out(world.wish())
    await world.restart()
    (ended,) = await world.hand.finish(world.account, world.key_path, PASSWORD)
    assert ended.state is FiringState.DONE
    assert len(world.on_chain()) == 1


async def test_fees_are_raised_but_never_above_what_was_agreed_to(world: World) -> None:
    wish = world.wish()
    errand = await world.hand.draft(wish, await world.head())
    world.base_fees = [GWEI, *[errand.fees.max_fee + GWEI // 10] * 8]
    firing = await world.hand.carry_out(wish, errand, world.key_path, PASSWORD)
    assert firing.state is FiringState.DONE
    (intent,) = firing.intents
    assert len(intent.attempts) > 1
    assert {attempt.kind for attempt in intent.attempts[1:]} == {AttemptKind.BUMP}
    assert max(attempt.max_fee for attempt in intent.attempts) <= errand.fees.ceiling == intent.fee_ceiling
    assert len(world.on_chain()) == 1


async def test_above_the_agreed_ceiling_nothing_is_begun(world: World) -> None:
    wish = world.wish()
    errand = await world.hand.draft(wish, await world.head())
    world.base_fees = [errand.fees.ceiling * 2] * 2
    with pytest.raises(CannotDo, match="rose above the most that was agreed to"):
        await world.hand.carry_out(wish, errand, world.key_path, PASSWORD)
    assert world.journal.firings() == ()


@pytest.mark.parametrize("rule", ["guard", BY_HAND + "guard"])
async def test_a_rules_transactions_come_first(world: World, rule: str) -> None:
    errand = await world.hand.draft(world.wish(), await world.head())
    firing = world.hand._executor.open_firing(
        rule=rule, rule_digest="d", episode="1", position=str(errand.position), account=world.account,
        block=errand.block, health_factor=1,
    )  # fmt: skip
    assert firing is not None

    async def stays(_calls: object) -> str | None:
        return None

    await world.hand._unlock(world.account, world.key_path, PASSWORD, errand.calls, errand.fees.ceiling)
    as_rule = replace(errand, rule=rule, rule_digest="d")
    await world.hand._executor.execute(firing, as_rule, stays)
    with pytest.raises(CannotDo, match=f"rule {rule} are not final yet"):
        world.hand.left_over(world.account)
    with pytest.raises(CannotDo, match="another plan of the account is under way"):
        await world.carry_out(world.wish(2))


def test_a_policy_by_hand_holds_each_call_byte_for_byte() -> None:
    calls = [PlannedCall(TAKER, SELECTOR + bytes([one]) * 40, one, "x", None, gas_limit=50_000 * one) for one in (1, 2)]
    policy = policy_for(1, "0x" + "aa" * 20, calls, 7, 100.0)
    assert [(one.to, one.max_value, one.rules, one.spend_token) for one in policy.calls] == [
        (TAKER, 1, (), None),
        (TAKER, 2, (), None),
    ]
    assert all(one.data_hash is not None for one in policy.calls)
    assert len({one.data_hash for one in policy.calls}) == 2
    assert (policy.max_value, policy.max_gas, policy.max_fee_per_gas, policy.max_fee_wei) == (2, 100_000, 7, 700_000)
    assert (policy.permits, policy.daily_caps) == ((), ())


async def test_while_too_few_nodes_agree_it_waits(world: World) -> None:
    errand = await world.hand.draft(world.wish(), await world.head())
    assert isinstance(errand, Errand)
    assert "can wait" in str(degraded_cap(errand, None))
