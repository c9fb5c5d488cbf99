"""A pool of nodes: failover, setting aside, chain ids, and a quorum that never shrinks."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.http import BadServer, bad_server, relay
from tui.chain.broadcast import ChainBroadcaster
from tui.chain.client import open_chain
from tui.chain.evm import assemble, op
from tui.chain.provider import Provider
from tui.chain.providers import Pool, build_pool
from tui.chain.reader import ChainReader
from tui.chain.rpc import RpcUnreachable
from tui.chain.simulate import ChainSimulator
from tui.model.block import BlockRef
from tui.model.calls import Call
from tui.model.network import Network
from tui.model.plan import PlannedCall
from tui.model.wallet import WalletQuery
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.practice.node import Node

CHAIN_ID = 31337
ECHO = assemble([op("CALLDATACOPY", 0, 0, op("CALLDATASIZE")), op("RETURN", 0, op("CALLDATASIZE"))])
CALL = Call("0x" + "a1" * 20, b"hello", ECHO)
FUNDED = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"


class Relayed:
    """A node behind a server whose faults can be switched while it runs."""

    def __init__(self, node: Node) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.told: dict[str, object] = {}
        self.server: BadServer | None = None
        self._reply = relay(node.rpc, self._change)

    def _change(self, method: str, params: list[Any]) -> dict[str, Any] | None:
        return {"result": self.told[method]} if method in self.told else None

    def reply(self, request: Any) -> Any:
        return self._reply(request) if self.status == 200 else (self.status, self.headers, b"")

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url

    @property
    def methods(self) -> list[str]:
        assert self.server is not None
        return self.server.methods


@pytest.fixture
async def nodes(node: Node) -> Any:
    async with AsyncExitStack() as stack:
        relayed = [Relayed(node) for _ in range(3)]
        for one in relayed:
            one.server = await stack.enter_async_context(bad_server(one.reply))
        yield relayed


def pool_of(nodes: list[Relayed], clock: FakeClock, quorum: int = 1) -> Pool:
    return build_pool([one.url for one in nodes], CHAIN_ID, clock, quorum=quorum)


async def read(pool: Pool, block: BlockRef) -> bytes | None:
    (result,) = await ChainReader(pool, CHAIN_ID).read(block, [CALL])
    return result.data


async def test_the_first_node_answers_as_long_as_it_can(nodes: list[Relayed], head: BlockRef, clock: FakeClock) -> None:
    pool = pool_of(nodes, clock)
    assert await read(pool, head) == b"hello"
    assert nodes[1].methods == nodes[2].methods == []
    nodes[0].status = 503
    assert await read(pool, head) == b"hello"
    assert [status.state for status in pool.statuses()] == ["failing", "ok", "ok"]
    assert "HTTP 503" in pool.statuses()[0].detail
    await pool.aclose()


async def test_a_node_that_failed_must_name_its_chain_again(
    nodes: list[Relayed], head: BlockRef, clock: FakeClock
) -> None:
    pool = pool_of(nodes[:1], clock)
    await read(pool, head)
    await read(pool, head)
    assert nodes[0].methods.count("eth_chainId") == 1
    nodes[0].status = 500
    with pytest.raises(ChainUnreachable):
        await read(pool, head)
    nodes[0].status = 200
    nodes[0].told["eth_chainId"] = "0x1"
    clock.advance(60)
    with pytest.raises(ChainUnreachable, match="is on chain 1, not 31337"):
        await read(pool, head)
    assert pool.statuses()[0].state == "wrong-chain"
    asked = len(nodes[0].methods)
    with pytest.raises(ChainUnreachable, match="next attempt"):
        await read(pool, head)
    assert len(nodes[0].methods) == asked
    del nodes[0].told["eth_chainId"]
    clock.advance(61)
    assert await read(pool, head) == b"hello"
    assert pool.statuses()[0].state == "ok"
    await pool.aclose()


async def test_pauses_grow_and_a_rate_limit_is_respected(
    nodes: list[Relayed], head: BlockRef, clock: FakeClock
) -> None:
    pool = pool_of(nodes[:1], clock)
    provider = pool.providers[0]
    nodes[0].status = 500
    pauses = []
    for _ in range(7):
        with pytest.raises(ChainUnreachable):
            await read(pool, head)
        pauses.append(provider.retry_at - clock.monotonic())
        clock.advance(pauses[-1])
    assert pauses == [0.5, 1, 2, 4, 8, 8, 8]
    nodes[0].status, nodes[0].headers = 429, {"retry-after": "20"}
    with pytest.raises(ChainUnreachable, match="429"):
        await read(pool, head)
    assert provider.retry_at - clock.monotonic() == 20
    nodes[0].status = 200
    clock.advance(40)
    assert await read(pool, head) == b"hello"
    assert provider.failures == 0
    await pool.aclose()


async def latest(provider: Provider) -> object:
    """The one question that cannot wait."""
    return await provider.ask_one("eth_getBlockByNumber", "latest", False)


async def set_aside(reader: ChainReader, one: Relayed, head: BlockRef, clock: FakeClock, times: int) -> None:
    """The only node fails so often in a row that it is left alone for long."""
    for _ in range(times):
        with pytest.raises(ChainUnreachable):
            await reader.read(head, [CALL])
        clock.advance(max(0.0, reader.pool.providers[0].retry_at - clock.monotonic()))
    with pytest.raises(ChainUnreachable):
        await reader.read(head, [CALL])
    one.status = 200


@pytest.mark.parametrize(("status", "alone"), [(500, 7), (429, 30)])
async def test_a_node_that_answers_what_cannot_wait_is_read_from_again(
    nodes: list[Relayed], head: BlockRef, clock: FakeClock, status: int, alone: int
) -> None:
    """One that failed now and then was left alone for a minute: the engine was blind beside a node that was well."""
    reader = ChainReader(pool_of(nodes[:1], clock), CHAIN_ID)
    nodes[0].status = status
    await set_aside(reader, nodes[0], head, clock, times=6)
    assert reader.pool.providers[0].retry_at - clock.monotonic() > alone
    with pytest.raises(ChainUnreachable):
        await reader.read(head, [CALL])
    await reader.pool.first(latest, urgent=True)
    assert (await reader.read(head, [CALL]))[0].data == b"hello"
    assert reader.pool.providers[0].failures == 0
    await reader.pool.aclose()


async def test_a_node_that_says_how_long_to_wait_is_left_alone_so_long(
    nodes: list[Relayed], head: BlockRef, clock: FakeClock
) -> None:
    reader = ChainReader(pool_of(nodes[:1], clock), CHAIN_ID)
    nodes[0].status, nodes[0].headers = 429, {"Retry-After": "30"}
    await set_aside(reader, nodes[0], head, clock, times=0)
    await reader.pool.first(latest, urgent=True)
    with pytest.raises(ChainUnreachable):
        await reader.read(head, [CALL])
    clock.advance(31)
    assert (await reader.read(head, [CALL]))[0].data == b"hello"
    await reader.pool.aclose()


async def test_what_was_asked_before_a_node_failed_says_nothing_of_it(
    nodes: list[Relayed], head: BlockRef, clock: FakeClock
) -> None:
    pool = pool_of(nodes[:1], clock)
    await pool.first(latest)
    provider = pool.providers[0]
    before = provider.faults
    provider.failed(RpcUnreachable("rate-limited", "asks for fewer requests"))
    provider.answered(agreed=False, since=before)
    assert provider.retry_at > clock.monotonic()
    provider.accuse("told other values")
    provider.answered(agreed=True, since=provider.faults)
    assert provider.state == "lying"
    assert provider.retry_at > clock.monotonic()
    await pool.aclose()


async def test_a_quorum_compares_bytes_and_nonces(nodes: list[Relayed], head: BlockRef, clock: FakeClock) -> None:
    pool = pool_of(nodes, clock, quorum=2)
    reader = ChainReader(pool, CHAIN_ID)
    assert await read(pool, head) == b"hello"
    assert nodes[2].methods == []
    nodes[0].told["eth_getTransactionCount"] = "0x63"
    (wallet,) = await reader.read_wallets(head, [WalletQuery(FUNDED)])
    assert wallet.nonce != 0x63
    nodes[1].told["eth_getTransactionCount"] = "0x64"
    with pytest.raises(ReadFailed, match="disagree"):
        await reader.read_wallets(head, [WalletQuery(FUNDED)])
    await pool.aclose()


async def test_a_quorum_is_not_shrunk_by_dead_nodes(nodes: list[Relayed], head: BlockRef, clock: FakeClock) -> None:
    pool = pool_of(nodes, clock, quorum=2)
    nodes[0].status = 500
    assert await read(pool, head) == b"hello"
    nodes[1].status = 500
    with pytest.raises(ReadFailed, match="only 1 of the 2 nodes"):
        await read(pool, head)
    with pytest.raises(ReadFailed, match="only 1 of the 2 nodes"):
        await read(pool, head)
    nodes[2].status = 500
    with pytest.raises(ChainUnreachable):
        await read(pool, head)
    await pool.aclose()


async def test_nonsense_from_one_node_is_taken_from_the_next(
    nodes: list[Relayed], head: BlockRef, clock: FakeClock
) -> None:
    for nonsense in ("0x", "0xzz", 7, None, "0x00", {"a": 1}):
        pool = pool_of(nodes[:2], clock)
        nodes[0].told["eth_call"] = nonsense
        assert await read(pool, head) == b"hello", nonsense
        assert pool.statuses()[0].state == "failing"
        await pool.aclose()


async def test_a_quorum_must_simulate_alike(nodes: list[Relayed], head: BlockRef, clock: FakeClock) -> None:
    pool = pool_of(nodes[:2], clock, quorum=2)
    simulator = ChainSimulator(pool, 2.0)
    call = PlannedCall(FUNDED, b"", 0, "nothing", None)
    simulation = await simulator.simulate(head, FUNDED, [call], [CALL])
    assert simulation.calls[0].ok
    assert simulation.reads[0].data == b"hello"
    times = {"timestamp": hex(simulation.timestamp)}
    failed = {"returnData": "0x", "gasUsed": "0x5208", "status": "0x0"}
    nodes[1].told["eth_simulateV1"] = [{**times, "calls": [failed, failed]}]
    with pytest.raises(ReadFailed, match="disagree"):
        await simulator.simulate(head, FUNDED, [call], [CALL])
    await pool.aclose()


async def test_a_nonce_never_goes_back_with_a_lagging_node(nodes: list[Relayed], clock: FakeClock) -> None:
    pool = pool_of(nodes, clock)
    nodes[0].told["eth_getTransactionCount"] = "0x5"
    nodes[1].told["eth_getTransactionCount"] = "0x7"
    nodes[2].status = 500
    assert await ChainBroadcaster(pool).nonce(FUNDED) == 7
    await pool.aclose()


def test_a_pool_must_be_able_to_reach_its_quorum(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="--rpc"):
        build_pool([], 1, clock)
    with pytest.raises(ValueError, match="--rpc"):
        open_chain(Network("x", 1, 12.0, 2, ("ws://127.0.0.1:1",)))
    with pytest.raises(ValueError, match="quorum of 2"):
        build_pool(["http://127.0.0.1:1", "http://127.0.0.1:1"], 1, clock, quorum=2)
