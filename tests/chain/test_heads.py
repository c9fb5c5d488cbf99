"""Heads of a real node: each once, newest only, past reorgs, rollbacks and gaps; and what a lagging node changes."""

from __future__ import annotations

import asyncio

from tests.support.clock import FakeClock
from tests.support.nodes import mined
from tui.chain.client import ChainClient, open_chain
from tui.chain.clock import SystemClock
from tui.chain.heads import BlockHeads
from tui.chain.providers import build_pool
from tui.chain.ws import HeadBell
from tui.model.network import Network
from tui.practice.node import Node, NodeProgram, start_node


def mine(node: Node, blocks: int = 1) -> None:
    for _ in range(blocks):
        node.rpc.call("evm_mine")


def spend(node: Node) -> None:
    """A block with a transaction, which no reorg without it can have again."""
    account = node.rpc.call("eth_accounts")[0]
    mined(node, {"from": account, "to": account})


def tip(node: Node) -> str:
    return str(node.rpc.call("eth_getBlockByNumber", "latest", False)["hash"])


async def test_every_head_once_and_the_newest_of_many(chain: ChainClient, node: Node) -> None:
    mine(node)
    first = await chain.heads.poll()
    assert first is not None
    assert first.hash == tip(node)
    assert await chain.heads.poll() is None
    mine(node, 3)
    second = await chain.heads.poll()
    assert second is not None
    assert second.number == first.number + 3
    assert chain.heads.last_reorg is None
    assert chain.heads.canonical_hash(first.number + 1) is not None


async def test_the_stream_polls_at_a_quarter_of_the_block_time(
    chain: ChainClient, node: Node, clock: FakeClock
) -> None:
    stream = chain.heads.heads()
    mine(node)
    first = await anext(stream)
    clock.on_sleep = lambda: mine(node) if len(clock.slept) == 4 else None
    second = await anext(stream)
    await stream.aclose()
    assert second.parent_hash == first.hash
    assert set(clock.slept) == {0.5}


async def test_a_reorg_gives_the_new_head_and_its_depth(chain: ChainClient, node: Node) -> None:
    mine(node, 2)
    spend(node)
    mine(node, 2)
    old = await chain.heads.poll()
    assert old is not None
    stale = chain.heads.canonical_hash(old.number)
    node.rpc.call("anvil_reorg", 3, [])
    new = await chain.heads.poll()
    assert new is not None
    assert new.number == old.number
    assert new.hash != old.hash
    assert chain.heads.canonical_hash(new.number) == new.hash != stale


async def test_a_reorg_of_remembered_blocks_is_measured(chain: ChainClient, node: Node) -> None:
    for _ in range(2):
        mine(node)
        await chain.heads.poll()
    spend(node)
    for _ in range(2):
        mine(node)
        await chain.heads.poll()
    node.rpc.call("anvil_reorg", 3, [])
    new = await chain.heads.poll()
    reorg = chain.heads.last_reorg
    assert reorg is not None
    assert reorg.depth == 3
    assert reorg.new == new


async def test_a_rollback_counts_only_when_the_node_insists(chain: ChainClient, node: Node) -> None:
    for _ in range(4):
        mine(node)
        last = await chain.heads.poll()
    assert last is not None
    node.rpc.call("anvil_rollback", 2)
    assert await chain.heads.poll() is None
    assert await chain.heads.poll() is None
    back = await chain.heads.poll()
    assert back is not None
    assert back.number == last.number - 2
    mine(node)
    again = await chain.heads.poll()
    assert again is not None
    assert (again.number, again.parent_hash) == (back.number + 1, back.hash)


async def test_a_gap_is_closed_by_parents_and_a_long_one_is_left(chain: ChainClient, node: Node) -> None:
    mine(node)
    await chain.heads.poll()
    mine(node, 6)
    before = chain.stats.methods
    await chain.heads.poll()
    assert chain.stats.methods - before == 1 + 5
    node.rpc.call("anvil_mine", hex(100))
    before = chain.stats.methods
    head = await chain.heads.poll()
    assert head is not None
    assert head.hash == tip(node)
    assert chain.stats.methods - before < 40


async def test_a_node_that_lags_is_told_and_not_followed(anvil: NodeProgram, node: Node, clock: FakeClock) -> None:
    behind = start_node(anvil)
    try:
        mine(node, 9)
        pool = build_pool([behind.url, node.url], int(node.rpc.call("eth_chainId"), 16), clock)
        heads = BlockHeads(pool, clock, 2.0)
        head = await heads.poll()
        assert head is not None
        assert head.hash == tip(node)
        assert [status.state for status in pool.statuses()] == ["lagging", "ok"]
        assert pool.statuses()[0].head_number == 0
        mine(node)
        following = await heads.poll()
        assert following is not None
        assert following.parent_hash == head.hash
        await pool.aclose()
    finally:
        behind.stop()


async def test_no_node_gives_no_head_and_a_reason(clock: FakeClock) -> None:
    client = open_chain(Network("none", 1, 2.0, 2, ("http://127.0.0.1:9/v2/0123456789abcdef",)), clock)
    assert await client.heads.poll() is None
    (status,) = client.reader.providers()
    assert status.state == "failing"
    assert "0123456789abcdef" not in status.detail + status.url
    await client.aclose()


async def test_a_websocket_rings_before_the_poll_is_due(node: Node) -> None:
    socket = node.url.replace("http://", "ws://")
    network = Network("slow", int(node.rpc.call("eth_chainId"), 16), 3600.0, 2, (node.url, socket))
    client = open_chain(network, SystemClock())
    stream = client.heads.heads()
    try:
        async with asyncio.timeout(60):
            first = await anext(stream)
            waiting = asyncio.ensure_future(anext(stream))
            assert client.heads.bell is not None
            await client.heads.bell.listening.wait()
            mine(node)
            second = await waiting
        assert second.parent_hash == first.hash
        assert client.heads.bell.rings >= 1
    finally:
        await stream.aclose()
        await client.aclose()


async def test_a_dead_websocket_costs_pauses_and_nothing_else(clock: FakeClock) -> None:
    bell = HeadBell("ws://127.0.0.1:9/v2/0123456789abcdef", clock)
    tried = asyncio.Event()
    clock.on_sleep = lambda: tried.set() if len(clock.slept) == 7 else None
    bell.start()
    bell.start()
    await tried.wait()
    await bell.stop()
    assert clock.slept[:7] == [2, 4, 8, 16, 30, 30, 30]
    assert not bell.alive
    assert "0123456789abcdef" not in bell.detail
