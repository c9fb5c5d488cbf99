"""Signed bytes and their fate on a real node: sent, sent again, mined, reverted, taken back by a reorg."""

from __future__ import annotations

import pytest
from eth_hash.auto import keccak

from tests.support.clock import FakeClock
from tests.support.proxy import proxies
from tui.chain.broadcast import ChainBroadcaster
from tui.chain.client import ChainClient
from tui.chain.evm import assemble, op
from tui.chain.providers import build_pool
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.practice.node import Node

ACCOUNT = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
OTHER = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
POOR = "0x" + "d1" * 20
REFUSER = "0x" + "c2" * 20
PANICKER = assemble([op("MSTORE", 0, op("SHL", 224, 0x4E487B71)), op("MSTORE", 4, 0x11), op("REVERT", 0, 36)])
GWEI = 10**9


def signed(node: Node, **fields: object) -> tuple[bytes, str]:
    """A transaction of the node's own account, as raw bytes and hash. Fees are ample unless given."""
    nonce = node.rpc.call("eth_getTransactionCount", ACCOUNT, "latest")
    transaction: dict[str, object] = {
        "from": ACCOUNT,
        "to": OTHER,
        "nonce": nonce,
        "value": "0x1",
        "gas": hex(60_000),
        "maxFeePerGas": hex(100 * GWEI),
        "maxPriorityFeePerGas": hex(GWEI),
        "chainId": node.rpc.call("eth_chainId"),
        "type": "0x2",
    }
    raw = bytes.fromhex(node.rpc.call("eth_signTransaction", transaction | fields)[2:])
    return raw, "0x" + keccak(raw).hex()


async def test_sent_mined_and_paid(chain: ChainClient, node: Node) -> None:
    raw, tx_hash = signed(node)
    before = await chain.broadcaster.nonce(ACCOUNT)
    (outcome,) = await chain.broadcaster.send(raw, tx_hash)
    assert outcome.kind == "accepted"
    node.rpc.call("evm_mine")
    receipt = await chain.broadcaster.receipt(tx_hash)
    assert receipt is not None
    assert (receipt.ok, receipt.gas_used, receipt.hash) == (True, 21_000, tx_hash)
    block = await chain.reader.block_by_number(receipt.block_number)
    assert block is not None
    assert receipt.block_hash == block.hash
    assert receipt.gas_price == block.base_fee + GWEI
    assert await chain.broadcaster.nonce(ACCOUNT) == before + 1
    assert await chain.broadcaster.nonce(ACCOUNT, block.parent_hash) == before


async def test_waiting_in_the_pool_is_known_and_has_no_receipt(chain: ChainClient, node: Node) -> None:
    raw, tx_hash = signed(node)
    assert not await chain.broadcaster.knows(tx_hash)
    assert [outcome.kind for outcome in await chain.broadcaster.send(raw, tx_hash)] == ["accepted"]
    assert [outcome.kind for outcome in await chain.broadcaster.send(raw, tx_hash)] == ["already-known"]
    assert await chain.broadcaster.knows(tx_hash)
    assert await chain.broadcaster.receipt(tx_hash) is None
    cheaper, its_hash = signed(node, maxFeePerGas=hex(50 * GWEI))
    assert [outcome.kind for outcome in await chain.broadcaster.send(cheaper, its_hash)] == ["underpriced-replacement"]


async def test_refusals_of_a_real_node(chain: ChainClient, node: Node) -> None:
    async def kind(**fields: object) -> str:
        (outcome,) = await chain.broadcaster.send(*signed(node, **fields))
        return outcome.kind

    assert await kind() == "accepted"
    node.rpc.call("evm_mine")
    assert await kind(nonce="0x0") == "nonce-too-low"
    assert await kind(maxFeePerGas="0x1", maxPriorityFeePerGas="0x1") == "fee-too-low"
    assert await kind(value=hex(10**30)) == "insufficient-funds"


async def test_a_reverted_transaction_says_why(chain: ChainClient, node: Node) -> None:
    node.rpc.call("anvil_setCode", REFUSER, "0x" + PANICKER.hex())
    raw, tx_hash = signed(node, to=REFUSER, value="0x0")
    await chain.broadcaster.send(raw, tx_hash)
    node.rpc.call("evm_mine")
    receipt = await chain.broadcaster.receipt(tx_hash)
    assert receipt is not None
    assert (receipt.ok, receipt.revert_reason) == (False, "panic 0x11 (arithmetic overflow)")


async def test_a_reorg_takes_the_receipt_back(chain: ChainClient, node: Node) -> None:
    raw, tx_hash = signed(node)
    await chain.broadcaster.send(raw, tx_hash)
    node.rpc.call("evm_mine")
    assert await chain.broadcaster.receipt(tx_hash) is not None
    node.rpc.call("anvil_reorg", 1, [])
    assert await chain.broadcaster.receipt(tx_hash) is None


async def test_a_node_that_names_another_hash_is_set_aside(chain: ChainClient, node: Node) -> None:
    raw, _ = signed(node)
    (outcome,) = await chain.broadcaster.send(raw, "0x" + "12" * 32)
    assert outcome.kind == "other-error"
    (status,) = chain.reader.providers()
    assert status.state == "lying"
    assert "another transaction" in status.detail


async def test_every_node_gets_the_bytes_and_a_dead_one_stops_none(node: Node, clock: FakeClock) -> None:
    chain_id = int(node.rpc.call("eth_chainId"), 16)
    pool = build_pool(["http://127.0.0.1:9", node.url], chain_id, clock)
    broadcaster = ChainBroadcaster(pool)
    raw, tx_hash = signed(node)
    outcomes = await broadcaster.send(raw, tx_hash)
    assert [outcome.kind for outcome in outcomes] == ["no-answer", "accepted"]
    node.rpc.call("evm_mine")
    assert await broadcaster.receipt(tx_hash) is not None
    await pool.aclose()


async def test_a_nonce_is_given_up_on_the_word_of_two_nodes_where_there_are_two(node: Node, clock: FakeClock) -> None:
    """Also where one node's word is enough for everything else."""
    chain_id = int(node.rpc.call("eth_chainId"), 16)
    block_hash = node.rpc.call("eth_getBlockByNumber", "latest", False)["hash"]
    alone = build_pool([node.url], chain_id, clock)
    counted = await ChainBroadcaster(alone).final_nonce(ACCOUNT, block_hash)
    assert counted == int(node.rpc.call("eth_getTransactionCount", ACCOUNT, "latest"), 16)
    await alone.aclose()
    one_down = build_pool([node.url, "http://127.0.0.1:9"], chain_id, clock)
    assert one_down.quorum == 1
    assert await ChainBroadcaster(one_down).nonce(ACCOUNT, block_hash) == counted
    with pytest.raises(ReadFailed, match="only 1 of the 2 nodes that must agree"):
        await ChainBroadcaster(one_down).final_nonce(ACCOUNT, block_hash)
    await one_down.aclose()


@pytest.mark.parametrize(("quorum", "low", "high"), [(1, True, False), (2, False, False), (2, False, True)])
async def test_money_is_what_as_many_nodes_as_must_agree_say_at_least(
    node: Node, clock: FakeClock, quorum: int, low: bool, high: bool
) -> None:
    """One of two nodes lags behind a top-up, or tells of money that is not there; then none answers at all."""
    chain_id = int(node.rpc.call("eth_chainId"), 16)
    true = int(node.rpc.call("eth_getBalance", ACCOUNT, "latest"), 16)
    async with proxies(node.url, 2) as (first, second):
        pool = build_pool([first.url, second.url], chain_id, clock, quorum=quorum)
        broadcaster = ChainBroadcaster(pool)
        if low:
            second.lie("eth_getBalance", "0x0")
        if high:
            second.lie("eth_getBalance", hex(10**30))
        assert await broadcaster.balance(ACCOUNT) == true
        first.down()
        second.down()
        with pytest.raises((ChainUnreachable, ReadFailed)):
            await broadcaster.balance(ACCOUNT)
        await pool.aclose()


async def test_nothing_is_sent_to_another_chain(node: Node, clock: FakeClock) -> None:
    pool = build_pool([node.url], 1, clock)
    raw, tx_hash = signed(node)
    (outcome,) = await ChainBroadcaster(pool).send(raw, tx_hash)
    assert outcome.kind == "no-answer"
    assert node.rpc.call("eth_getTransactionByHash", tx_hash) is None
    assert pool.statuses()[0].state == "wrong-chain"
    await pool.aclose()


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\xff" * 100])
async def test_bytes_that_are_no_transaction(chain: ChainClient, node: Node, raw: bytes) -> None:
    (outcome,) = await chain.broadcaster.send(raw, "0x" + "12" * 32)
    assert outcome.kind == "other-error"
