"""A transaction that sets the account's code, followed through crashes, raised fees and its no-op, on a real node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.datastructures import SignedSetCodeAuthorization
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.datatypes import Signature
from hexbytes import HexBytes

from tests.engine.conftest import PASSWORD
from tests.engine.test_byhand import TAKER, World, node, world
from tests.support.chain import Chain, keyed_account
from tests.support.deleverage import the_helper
from tests.support.firings import GWEI
from tui.engine.byhand import CannotDo, NotFinal, Wish
from tui.model.block import BlockRef
from tui.model.intent import AttemptKind, FiringState, IntentState
from tui.model.pinned import NO_CODE, PinnedCode
from tui.model.plan import PlannedCall
from tui.model.position import MarketKey, PositionKey
from tui.model.wallet import WalletQuery
from tui.practice.node import CHAIN_ID
from tui.protocols.aave_v3.helper import DEPLOYER, Helper
from tui.protocols.aave_v3.sales import HELPER as HELPER_OF_ITSELF

__all__ = ["node", "world"]

pytestmark = pytest.mark.node
HELPER = Helper("0x" + "11" * 20, "0x" + "22" * 20)


@pytest.fixture
def placed(world: World) -> World:
    """The helper's code stands where it must."""
    sender = world.rpc("eth_accounts")[0]
    world.rpc(
        "eth_sendTransaction",
        {"from": sender, "to": DEPLOYER, "data": "0x" + HELPER.deploy_data.hex(), "gas": hex(5_000_000)},
    )
    world.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    world.rpc("evm_mine")
    assert world.rpc("eth_getCode", HELPER.address, "latest") == "0x" + HELPER.code.hex()
    return world


def setting(world: World, delegate: PinnedCode = HELPER.pinned) -> Wish:
    call = PlannedCall(world.account, b"", 0, "set the account's code", None, delegate=delegate)
    key = PositionKey(MarketKey("aave-v3", "core"), world.account)
    return Wish("set code", key, (call,), (), world.judge)


def code_of(world: World) -> str:
    return str(world.rpc("eth_getCode", world.account, "latest"))


def authorizations(raw: bytes) -> Any:
    return TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["authorizationList"]


async def test_it_is_done_once_and_uses_two_nonces(placed: World) -> None:
    firing = await placed.carry_out(setting(placed))
    assert firing.state is FiringState.DONE
    assert code_of(placed) == "0x" + HELPER.delegation.hex()
    assert placed.journal.next_nonce(CHAIN_ID, placed.account) == 2
    assert (await placed.carry_out(placed.wish(3))).state is FiringState.DONE
    assert [int(tx["nonce"], 16) for tx in placed.on_chain()] == [0, 2]
    assert (await placed.carry_out(setting(placed, NO_CODE))).state is FiringState.DONE
    assert code_of(placed) == "0x"
    assert placed.journal.next_nonce(CHAIN_ID, placed.account) == 5


async def test_what_is_not_pinned_is_not_signed_and_frees_its_nonce(placed: World) -> None:
    elsewhere = replace(HELPER.pinned, address=TAKER)
    with pytest.raises(CannotDo, match="not where its code would stand"):
        await placed.carry_out(setting(placed, elsewhere))
    assert placed.on_chain() == []
    assert (await placed.carry_out(placed.wish())).state is FiringState.DONE


async def test_it_comes_last_in_what_is_asked_for(placed: World) -> None:
    wish = setting(placed)
    with pytest.raises(CannotDo, match="comes last"):
        await placed.carry_out(replace(wish, calls=(*wish.calls, *placed.wish().calls)))
    both = await placed.carry_out(replace(wish, calls=(*placed.wish().calls, *wish.calls)))
    assert both.state is FiringState.DONE
    assert placed.journal.next_nonce(CHAIN_ID, placed.account) == 3


async def test_raised_fees_carry_the_same_authorization_under_the_same_nonce(placed: World) -> None:
    wish = setting(placed)
    errand = await placed.hand.draft(wish, await placed.head())
    placed.base_fees = [GWEI, *[errand.fees.max_fee + GWEI // 10] * 8]
    firing = await placed.hand.carry_out(wish, errand, placed.key_path, PASSWORD)
    assert firing.state is FiringState.DONE
    (intent,) = firing.intents
    assert {attempt.kind for attempt in intent.attempts[1:]} == {AttemptKind.BUMP}
    assert {attempt.raw[0] for attempt in intent.attempts} == {4}
    first = authorizations(intent.attempts[0].raw)
    assert all(authorizations(attempt.raw) == first for attempt in intent.attempts)
    assert len(placed.on_chain()) == 1
    assert code_of(placed) == "0x" + HELPER.delegation.hex()


async def test_a_crash_after_sending_is_followed_to_its_end(placed: World) -> None:
    class Crash(BaseException):
        pass

    async def dies() -> AsyncIterator[BlockRef]:
        async for head in placed.heads():
            yield head
            break
        raise Crash

    placed.hand._hands = replace(placed.hand._hands, heads=dies())
    with pytest.raises(Crash):
        await placed.carry_out(setting(placed))
    await placed.restart()
    (ended,) = await placed.hand.finish(placed.account, placed.key_path, PASSWORD)
    assert ended.state is FiringState.DONE
    (mined,) = placed.on_chain()
    assert int(mined["type"], 16) == 4
    assert code_of(placed) == "0x" + HELPER.delegation.hex()
    assert ended.intents[0].delegate == HELPER.pinned


async def test_killed_between_signature_and_send_its_no_op_sets_no_code(placed: World) -> None:
    placed.signer.after = lambda: placed.kill.pull("test")
    with pytest.raises(NotFinal, match="run the same command again to cancel it"):
        await placed.carry_out(setting(placed))
    placed.kill.release()
    await placed.restart()
    (ended,) = await placed.hand.finish(placed.account, placed.key_path, PASSWORD)
    assert [intent.state for intent in ended.intents] == [IntentState.FINAL_CANCELLED]
    (noop,) = placed.on_chain()
    assert (int(noop["type"], 16), noop["to"], noop["input"]) == (2, placed.account, "0x")
    assert code_of(placed) == "0x"
    assert placed.journal.next_nonce(CHAIN_ID, placed.account) == 1
    assert (await placed.carry_out(placed.wish())).state is FiringState.DONE


async def test_the_no_op_of_one_that_was_sent_says_what_it_does_not_take_back(placed: World) -> None:
    placed.base_fees = [GWEI] * 2
    errand = await placed.hand.draft(setting(placed), await placed.head())
    placed.base_fees = [GWEI, *[errand.fees.ceiling * 2] * 3]

    class Enough(BaseException):
        pass

    async def few() -> AsyncIterator[BlockRef]:
        heads = placed.heads()
        for _ in range(3):
            yield await anext(heads)
        raise Enough

    placed.hand._hands = replace(placed.hand._hands, heads=few())
    with pytest.raises(Enough):
        await placed.hand.carry_out(setting(placed), errand, placed.key_path, PASSWORD)
    (left,) = placed.hand.left_over(placed.account)
    await placed.hand._executor.cancel(left.intents[0].id)
    assert any("until the account sends something else" in line for line in placed.lines)


async def test_the_authorization_of_what_was_cancelled_may_be_used_by_others_and_is_noticed(placed: World) -> None:
    placed.signer.after = lambda: placed.kill.pull("test")
    with pytest.raises(NotFinal):
        await placed.carry_out(setting(placed))
    placed.kill.release()
    (left,) = placed.hand.left_over(placed.account)
    (ended,) = await placed.hand.finish(placed.account, placed.key_path, PASSWORD)
    assert ended.intents[0].state is IntentState.FINAL_CANCELLED
    stranger, key = keyed_account(79)
    placed.rpc("anvil_setBalance", stranger, hex(10**18))
    (told,) = authorizations(left.intents[0].attempts[0].raw)
    taken = SignedSetCodeAuthorization(
        chain_id=told["chainId"],
        address=bytes(told["address"]),
        nonce=told["nonce"],
        y_parity=told["yParity"],
        r=told["r"],
        s=told["s"],
        signature=Signature(vrs=(told["yParity"], told["r"], told["s"])),
        authorization_hash=HexBytes(b""),
    )
    fields = {
        "type": 4, "chainId": CHAIN_ID, "nonce": 0, "to": stranger, "value": 0, "data": b"", "gas": 100_000,
        "maxFeePerGas": 10 * GWEI, "maxPriorityFeePerGas": GWEI, "authorizationList": [taken],
    }  # fmt: skip
    placed.rpc("eth_sendRawTransaction", "0x" + Account.sign_transaction(fields, key).raw_transaction.hex())
    await placed.hand.head()
    assert code_of(placed) == "0x" + HELPER.delegation.hex()
    with pytest.raises(CannotDo, match=r"chain counts 2 .* explains 1: the delegation that was cancelled"):
        await placed.carry_out(placed.wish())
    assert placed.journal.halted(CHAIN_ID, placed.account) is not None


@pytest.mark.parametrize("code", [HELPER.delegation.hex(), "ef0100" + TAKER[2:]])
async def test_the_no_op_runs_no_code_whatever_the_account_is_delegated_to(placed: World, code: str) -> None:
    """It has gas for itself alone: the chain calls it failed, its nonce is used up, and nothing else happened."""
    writes = "602a600055"  # what TAKER does when it is let: a word into the account's own storage
    placed.rpc("anvil_setCode", TAKER, "0x" + writes)
    placed.rpc("anvil_setCode", placed.account, "0x" + code)
    placed.signer.after = lambda: placed.kill.pull("test")
    with pytest.raises(NotFinal):
        await placed.carry_out(placed.wish())
    placed.kill.release()
    (ended,) = await placed.hand.finish(placed.account, placed.key_path, PASSWORD)
    (intent,) = ended.intents
    assert intent.state is IntentState.FINAL_CANCELLED
    receipt = placed.rpc("eth_getTransactionReceipt", intent.included_hash)
    assert (receipt["gasUsed"], receipt["logs"]) == (hex(21_000), [])
    assert int(placed.rpc("eth_getStorageAt", placed.account, "0x0", "latest"), 16) == 0
    assert code_of(placed) == "0x" + code
    assert placed.journal.next_nonce(CHAIN_ID, placed.account) == 1
    placed.rpc("anvil_setCode", TAKER, "0x00")


@pytest.mark.pyevm
async def test_the_python_node_takes_it_as_well(
    pyevm_market: Chain, tmp_path: Path, key_file: tuple[Path, str]
) -> None:
    helper = the_helper(pyevm_market)
    python = World(pyevm_market.node, tmp_path / "state", key_file)
    python.rpc("anvil_setBalance", python.account, hex(10**19))
    python.rpc("anvil_setCode", helper.address, "0x" + helper.code.hex())
    python.rpc("evm_setAutomine", False)
    python.rpc("evm_mine")
    python.start()
    try:
        done = await python.carry_out(setting(python, helper.pinned))
        assert done.state is FiringState.DONE
        assert code_of(python) == "0x" + helper.delegation.hex()
        block = await python.head()
        (wallet,) = await python.client.reader.read_wallets(block, [WalletQuery(python.account)])
        assert (wallet.delegate, wallet.nonce) == (helper.address, 2)
        asks = PlannedCall(python.account, HELPER_OF_ITSELF, 0, "who are you", None)
        told = await python.client.simulator.simulate(block, python.account, [asks], [])
        assert told.calls[0].return_data == bytes.fromhex(helper.address[2:]).rjust(32, b"\0")
        gone = await python.carry_out(setting(python, NO_CODE))
        assert gone.state is FiringState.DONE
        assert code_of(python) == "0x"
        assert python.journal.next_nonce(CHAIN_ID, python.account) == 4
    finally:
        await python.stop()
