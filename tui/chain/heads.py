"""New heads by polling, hurried by a websocket where one is given; reorgs told from lagging nodes by parent hash.

Implements `tui.ports.chain.Heads`. Watching a head's age is its consumer's task.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tui.chain.blocks import parse_block
from tui.chain.hexes import Malformed
from tui.chain.provider import BlockUnknown, Provider
from tui.chain.providers import Pool
from tui.chain.ws import HeadBell
from tui.model.block import BlockRef
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.clock import Clock

SHORTEST_POLL = 0.25
"""Seconds between polls, whatever the block time."""
_REMEMBERED = 256
_READ_BACK = 32
"""Parents asked for behind one gap at most; a deeper one is told as it is."""
_STUBBORN = 3
"""Times in a row that an older known block must be told as the head before it counts as the head: a chain that was
rolled back says so for good, a lagging machine behind a shared URL only now and then."""
_LAG_TOLERANCE = 2
_MISSED_RINGS = 3
"""New heads in a row that polling found and the websocket did not tell: then it is silent, whatever its state."""


@dataclass(frozen=True, slots=True)
class Reorg:
    """Blocks that were canonical and are not any more: `depth` of them, down from `old` to the fork."""

    depth: int
    old: BlockRef
    new: BlockRef


@dataclass(slots=True)
class BlockHeads:
    """Follows the chain through a pool. `block_time` in seconds."""

    pool: Pool = field(repr=False)
    clock: Clock = field(repr=False)
    block_time: float
    bell: HeadBell | None = None
    last_reorg: Reorg | None = None
    _canonical: dict[int, BlockRef] = field(default_factory=dict, repr=False)
    _head: BlockRef | None = None
    _repeats: int = 0
    _next_survey: float = 0.0
    _polled_at: float = 0.0
    _next_urgent: float = 0.0
    _heard: int = 0
    _missed: int = 0

    @property
    def poll_interval(self) -> float:
        """Seconds between two polls: a quarter of the block time, or a whole one while the websocket rings."""
        rings = self.bell is not None and self.bell.alive
        return max(self.block_time * (1.0 if rings else 0.25), SHORTEST_POLL)

    def canonical_hash(self, number: int) -> str | None:
        """The hash of a height on the chain of the last head, where that is remembered."""
        block = self._canonical.get(number)
        return None if block is None else block.hash

    @property
    def height(self) -> int | None:
        """The height of the newest head, None before the first."""
        return None if self._head is None else self._head.number

    async def heads(self) -> AsyncIterator[BlockRef]:
        """Every new head once, newest only when several arrived meanwhile. Never ends and never raises: while no node
        answers nothing comes, and the pool's statuses say why.
        """
        if self.bell is not None:
            self.bell.start()
        try:
            while True:
                head = await self.poll()
                if head is not None:
                    yield head
                await self._wait()
        finally:
            if self.bell is not None:
                await self.bell.stop()

    async def poll(self) -> BlockRef | None:
        """Ask once: the head where it is a new one, else None."""
        if self.bell is not None:
            self.bell.clear()
        self._polled_at = self.clock.monotonic()
        try:
            told = await self._ask_latest()
            head = await self._judge(told)
        except (ChainUnreachable, ReadFailed):
            return None
        if head is not None:
            self._watch_the_bell()
        return head

    def _watch_the_bell(self) -> None:
        """A socket that stays open and tells nothing is hung up: until it is back, polling is quick again."""
        bell = self.bell
        if bell is None or not bell.alive:
            return
        self._missed = self._missed + 1 if bell.rings == self._heard else 0
        self._heard = bell.rings
        if self._missed >= _MISSED_RINGS:
            self._missed = 0
            bell.hang_up("tells no heads")

    async def _wait(self) -> None:
        """Until the next poll is due; at once where the consumer took longer than that."""
        left = self.poll_interval - (self.clock.monotonic() - self._polled_at)
        if left <= 0:
            return
        if self.bell is None:
            await self.clock.sleep(left)
            return
        sleeping = asyncio.ensure_future(self.clock.sleep(left))
        ringing = asyncio.ensure_future(self.bell.wait())
        try:
            await asyncio.wait((sleeping, ringing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in (sleeping, ringing):
                waiting.cancel()
            await asyncio.gather(sleeping, ringing, return_exceptions=True)

    async def _ask_latest(self) -> BlockRef:
        """The newest block of the first well node, or of all nodes when it is time to compare them; with a quorum
        always the newest that as many nodes know alike.
        """
        now = self.clock.monotonic()
        urgent = now >= self._next_urgent and not self.pool.usable()
        if urgent:  # all want fewer requests: the head alone, once a block, so that what was sent is still followed
            self._next_urgent = now + self.block_time
        if self.pool.quorum > 1:
            return await self._agreed_latest(urgent)
        if len(self.pool.providers) == 1 or now < self._next_survey:
            return await self.pool.first(self._latest, urgent=urgent)
        self._next_survey = now + 4 * self.block_time
        told = await self.pool.everyone(self._latest, urgent=urgent)
        newest = max(block.number for _, block in told)
        for provider, block in told:
            provider.saw_head(block.number, newest, _LAG_TOLERANCE)
        # Well nodes in the user's order; another request may have set all of them aside in the meantime.
        return next((block for provider, block in told if provider.state == "ok"), told[0][1])

    async def _agreed_latest(self, urgent: bool) -> BlockRef:
        """The newest head that the quorum has, field by field. Nodes that tell another block there are noted."""
        told = await self.pool.everyone(self._latest, urgent=urgent)
        blocks = sorted({block for _, block in told}, key=lambda block: block.number, reverse=True)
        agreed = next((b for b in blocks if sum(other == b for _, other in told) >= self.pool.quorum), None)
        if agreed is None:
            agreed = await self._known_to_the_quorum(blocks, urgent)
        for provider, block in told:
            provider.saw_head(block.number, agreed.number, _LAG_TOLERANCE)
            differs = block.number == agreed.number and block != agreed
            provider.head_differs(differs, f"tells another block {agreed.number} than the nodes that agree")
        return agreed

    async def _known_to_the_quorum(self, blocks: list[BlockRef], urgent: bool) -> BlockRef:
        """No head was told by enough nodes: the newest of them that enough nodes have. Raises as `agreed` does."""
        for place, block in enumerate(blocks):
            try:
                return await self._agreed_block(block.hash, urgent)
            except (ChainUnreachable, ReadFailed):
                if place == len(blocks) - 1:
                    raise
        raise ReadFailed("no node tells a head")

    async def _agreed_block(self, block_hash: str, urgent: bool) -> BlockRef:
        async def work(provider: Provider) -> BlockRef:
            return await _block(provider, block_hash)

        return await self.pool.agreed(work, lambda block: block, at=block_hash, urgent=urgent)

    async def _latest(self, provider: Provider) -> BlockRef:
        block = parse_block(await provider.ask_one("eth_getBlockByNumber", "latest", False))
        if block is None:
            raise Malformed("there is no latest block")
        provider.head_number = block.number
        return block

    async def _judge(self, told: BlockRef) -> BlockRef | None:
        """Take `told` as the head unless it is old news; remember the chain that leads to it."""
        head = self._head
        if head is not None and told.hash == head.hash:
            self._repeats = 0
            return None
        if self.canonical_hash(told.number) == told.hash:
            self._repeats += 1
            if self._repeats < _STUBBORN:
                return None
        self._repeats = 0
        branch, fork = await self._branch(told)
        if fork is None:
            self._canonical.clear()
        elif head is not None and fork < head.number:
            self.last_reorg = Reorg(head.number - fork, head, told)
        for number in [n for n in self._canonical if n >= branch[-1].number]:
            del self._canonical[number]
        self._canonical.update((block.number, block) for block in branch)
        for number in [n for n in self._canonical if n > told.number or n <= told.number - _REMEMBERED]:
            del self._canonical[number]
        self._head = told
        return told

    async def _branch(self, told: BlockRef) -> tuple[list[BlockRef], int | None]:
        """`told` and its parents down to the remembered chain, newest first, and the height of the last block in
        common; None for that where the memory does not reach, or the parents could not be had.
        """
        if self.canonical_hash(told.number) == told.hash:
            return [told], told.number
        branch = [told]
        lowest = min(self._canonical, default=told.number)
        while len(branch) <= _READ_BACK and branch[-1].number > lowest:
            oldest = branch[-1]
            if self.canonical_hash(oldest.number - 1) == oldest.parent_hash:
                return branch, oldest.number - 1
            parent = await self._by_hash(oldest.parent_hash)
            if parent is None or parent.number != oldest.number - 1:
                break
            branch.append(parent)
        return [told], None

    async def _by_hash(self, block_hash: str) -> BlockRef | None:
        async def work(provider: Provider) -> BlockRef:
            return await _block(provider, block_hash)

        try:
            return await self.pool.first(work)
        except (ChainUnreachable, ReadFailed):
            return None


async def _block(provider: Provider, block_hash: str) -> BlockRef:
    block = parse_block(await provider.ask_one("eth_getBlockByHash", block_hash, False))
    if block is None:
        raise BlockUnknown("the head or a parent of it is unknown there")
    if block.hash != block_hash:
        raise Malformed("asked for one block, told another")
    return block
