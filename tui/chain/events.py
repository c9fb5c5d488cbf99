"""Events of blocks that are past. Implements `tui.ports.chain.Events`."""

from __future__ import annotations

from dataclasses import dataclass, field

from tui.chain.hexes import to_hex
from tui.chain.logs import past_events
from tui.chain.provider import Provider
from tui.chain.providers import Pool
from tui.model.calls import EventQuery, PastEvent


@dataclass(slots=True)
class ChainEvents:
    """Asks a pool of nodes; where the pool has a quorum, that many must answer alike."""

    pool: Pool = field(repr=False)

    async def between(self, first: int, last: int, query: EventQuery) -> tuple[PastEvent, ...]:
        """The events of the blocks `first` to `last`, in order, asked for in one request. Raises ReadFailed (also where
        that is more than the node looks through at a time), ChainUnreachable.
        """
        wanted = {
            "address": query.address,
            "topics": [None if one is None else [to_hex(topic) for topic in one] for one in query.topics],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }

        async def work(provider: Provider) -> tuple[PastEvent, ...]:
            return past_events(await provider.ask_one("eth_getLogs", wanted), first, last, query)

        return await self.pool.agreed(work, lambda told: told)
