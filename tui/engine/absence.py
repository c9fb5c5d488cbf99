"""What happened to watched positions in blocks that nothing read: liquidations, looked up in the market's own events.

Readings from before and after do not suffice for that: a price that fell and rose again leaves both at good health.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tui.engine.losses import LIQUIDATED, Lost
from tui.engine.sending import Teller
from tui.model.block import BlockRef
from tui.model.calls import EventQuery
from tui.model.position import Position
from tui.model.snapshot import Snapshot
from tui.model.text import clean_text, short_address
from tui.model.units import format_units, group_digits
from tui.model.view import Severity
from tui.ports.chain import ChainUnreachable, Events, ReadFailed
from tui.ports.journal import Journal
from tui.protocols.base import LendingMarket, Liquidation

SHORT_BLOCKS = 25
"""Of so few blocks that were missed while it ran the readings around them tell enough, or that they do not."""
WIDEST = 10_000
"""Blocks in one request at first. What a node does not look through at a time is halved."""
MOST_FAILURES = 24
"""So often nodes may fail at one stretch in a row, halvings among them, before it is given up, and told."""
_LEAST_UNANSWERED = 500
_KEEP_SECONDS = 60

NOTHING = Lost(())

FindBlock = Callable[[int], Awaitable[BlockRef | None]]


@dataclass(slots=True)
class _Stretch:
    """Blocks `first` to `last` of a market that nothing read. `told`: the positions of which the readings around it
    told already.
    """

    market: LendingMarket
    first: int
    last: int
    told: frozenset[str]
    failures: int = 0


class Absence:
    """Keeps up to which block everything was read, and looks through what was missed, a part at each block.

    `journal` None: another engine keeps the record, and tells of this. `events` None: nobody can be asked.
    """

    def __init__(
        self,
        journal: Journal | None,
        events: Events | None,
        find_block: FindBlock,
        markets: Sequence[LendingMarket],
        chain_id: int,
        teller: Teller,
    ) -> None:
        self._journal = journal
        self._events = events
        self._find_block = find_block
        self._markets = markets
        self._key = f"read-up-to/{chain_id}"
        self._teller = teller
        self._seen: int | None = None
        self._kept_at: int | None = None
        self._stretches: list[_Stretch] = []
        self._widest = WIDEST
        self._why = ""
        self._looking: asyncio.Task[None] | None = None

    def see(self, block: BlockRef, lost: Lost = NOTHING) -> None:
        """Note that a block was read, and what its readings told beside the ones before. Raises JournalError."""
        if self._journal is None or self._events is None:
            return
        running = self._seen is not None
        before = self._seen if running else self._recalled()
        if running and lost.unclear_since is not None:
            before = min(before or 0, lost.unclear_since)
        elif running and before is not None and block.number - before <= SHORT_BLOCKS:
            before = None
        if before is not None and before < block.number:
            told = frozenset(position.id for position, _ in lost.liquidated)
            self._stretches += [_Stretch(market, before + 1, block.number, told) for market in self._markets]
        self._seen = block.number
        due = self._kept_at is None or abs(block.timestamp - self._kept_at) >= _KEEP_SECONDS
        if not self._stretches and (due or lost.liquidated):
            self._keep()
            self._kept_at = block.timestamp

    def look(self, snapshot: Snapshot, label: Callable[[Position], str]) -> None:
        """Look through a part of what was missed, and tell what happened to the positions of `snapshot` there.

        It is done beside the blocks, which it must not hold up. Raises what the part before met: JournalError.
        """
        if self._looking is not None and self._looking.done():
            looked, self._looking = self._looking, None
            looked.result()
        if self._stretches and self._looking is None:
            self._looking = asyncio.create_task(self._look(snapshot, label))

    async def looked(self) -> None:
        """Wait for the part that is being looked through."""
        if self._looking is not None:
            await asyncio.wait((self._looking,))

    async def aclose(self) -> None:
        """Let go of the part that is being looked through: it is looked through again after the next start."""
        if self._looking is not None:
            self._looking.cancel()
            await self.looked()

    async def _look(self, snapshot: Snapshot, label: Callable[[Position], str]) -> None:
        for stretch in tuple(self._stretches):
            of_market = {one.key.account: one for one in snapshot.positions if one.key.market == stretch.market.key}
            query = stretch.market.liquidation_query(tuple(of_market))
            if query is None:
                continue  # the market could not be read yet
            for number, liquidation in await self._part(stretch, query):
                position = of_market.get(liquidation.account)
                if position is not None and position.id not in stretch.told:
                    await self._tell(stretch.market, position, number, liquidation, label(position))
            if stretch.failures > MOST_FAILURES:
                self._give_up(stretch, [label(one) for one in of_market.values()])
        if not self._stretches:
            self._keep()

    async def _part(self, stretch: _Stretch, query: EventQuery) -> list[tuple[int, Liquidation]]:
        """The next part of a stretch: the liquidations in it with their blocks. One that fails is asked for again."""
        last = min(stretch.last, stretch.first + self._widest - 1)
        if self._events is None:
            return []
        try:
            found = await self._events.between(stretch.first, last, query)
        except (ReadFailed, ChainUnreachable) as error:
            stretch.failures += 1
            self._why = clean_text(str(error), 160)
            # A node that does not answer at all need not have found it too much.
            least = 1 if isinstance(error, ReadFailed) else min(self._widest, _LEAST_UNANSWERED)
            self._widest = max(least, self._widest // 2)
            return []
        stretch.first, stretch.failures = last + 1, 0
        if stretch.first > stretch.last:
            self._stretches.remove(stretch)
            self._widest = WIDEST
        told = [(event.block_number, stretch.market.liquidation_told(event.log)) for event in found]
        return [(number, one) for number, one in told if one is not None]

    async def _tell(
        self, market: LendingMarket, position: Position, number: int, liquidation: Liquidation, label: str
    ) -> None:
        taken = _amount(market, position, liquidation.collateral, liquidation.taken)
        cleared = _amount(market, position, liquidation.debt, liquidation.cleared)
        self._teller.say(
            Severity.ALARM,
            f"{label}: LIQUIDATED while nothing watched, in block {number}{await self._time_of(number)}: "
            f"{taken} taken for {cleared} of debt",
            kind=LIQUIDATED,
            block=number,
            position=position.id,
        )

    async def _time_of(self, number: int) -> str:
        """When a block was, in words; nothing where that cannot be had."""
        try:
            block = await self._find_block(number)
        except (ReadFailed, ChainUnreachable):
            return ""
        return "" if block is None else f" ({datetime.fromtimestamp(block.timestamp, UTC):%Y-%m-%d %H:%M} UTC)"

    def _give_up(self, stretch: _Stretch, labels: Sequence[str]) -> None:
        self._stretches.remove(stretch)
        self._teller.say(
            Severity.WARNING,
            f"whether {', '.join(labels)} was liquidated in blocks {stretch.first} to {stretch.last}, while nothing "
            f"watched, is not known: {self._why}; give a node that looks up past events (eth_getLogs)",
            kind="absence",
        )

    def _recalled(self) -> int | None:
        text = None if self._journal is None else self._journal.meta(self._key)
        return int(text) if text is not None and text.isdecimal() else None

    def _keep(self) -> None:
        if self._journal is not None and self._seen is not None:
            self._journal.set_meta(self._key, str(self._seen))


def _amount(market: LendingMarket, position: Position, token: str, amount: int) -> str:
    asset = market.find_asset(position, token)
    if asset is None:
        return f"{amount} base units of {short_address(token)}"
    return (
        f"{group_digits(format_units(amount, asset.decimals, min(4, asset.decimals)))} {clean_text(asset.symbol, 20)}"
    )
