"""One chain, put together from a Network: pool, heads, reader, simulator, fees, broadcaster, events."""

from __future__ import annotations

from dataclasses import dataclass

from tui.chain.broadcast import ChainBroadcaster, Relay
from tui.chain.clock import SystemClock
from tui.chain.events import ChainEvents
from tui.chain.fees import ChainFees, limits_for
from tui.chain.heads import BlockHeads
from tui.chain.provider import Provider
from tui.chain.providers import Pool, build_pool
from tui.chain.reader import ChainReader
from tui.chain.rpc import RpcClient, Stats
from tui.chain.simulate import ChainSimulator
from tui.chain.ws import HeadBell
from tui.model.network import DE_RISK, Network
from tui.ports.clock import Clock

_LEAST_TIMEOUT = 3.0
_MOST_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class ChainClient:
    """Everything that speaks to one chain, over one pool of nodes."""

    network: Network
    pool: Pool
    heads: BlockHeads
    reader: ChainReader
    simulator: ChainSimulator
    fees: ChainFees
    broadcaster: ChainBroadcaster
    events: ChainEvents

    @property
    def stats(self) -> Stats:
        """What was asked of all nodes so far."""
        return self.pool.stats()

    async def aclose(self) -> None:
        """Close all connections."""
        await self.broadcaster.aclose()
        await self.pool.aclose()


def open_chain(network: Network, clock: Clock | None = None) -> ChainClient:
    """The parts for `network`; nothing is asked of a node before the first use. Raises ValueError where the network has
    no http(s) URL, or fewer than its quorum.
    """
    clock = clock or SystemClock()
    timeout = min(max(2 * network.block_time, _LEAST_TIMEOUT), _MOST_TIMEOUT)
    pool = build_pool(
        network.rpc,
        network.chain_id,
        clock,
        quorum=network.quorum,
        timeout=timeout,
        degraded=network.degraded == DE_RISK,
        budget=network.rpc_budget,
    )
    socket = next((url for url in network.rpc if url.startswith(("ws://", "wss://"))), None)
    bell = None if socket is None else HeadBell(socket, clock)
    heads = BlockHeads(pool, clock, network.block_time, bell)
    relay = None
    if network.relay is not None:
        private = Provider(RpcClient(network.relay.url, timeout), network.chain_id, clock)
        relay = Relay(private, network.relay.public_after, lambda: heads.height)
    return ChainClient(
        network,
        pool,
        heads,
        ChainReader(pool, network.chain_id, tuple if relay is None else lambda: (relay.status(),)),
        ChainSimulator(pool, network.block_time),
        ChainFees(pool, limits_for(network.chain_id)),
        ChainBroadcaster(pool, relay),
        ChainEvents(pool),
    )
