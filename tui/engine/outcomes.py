"""What came of a firing, beside what was expected of it: health at its own block, gas, what its sales really sold
and bought.

Figures only: nothing here decides anything, and nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tui.engine.executor import Executor
from tui.engine.prospect import Prospect
from tui.model.calls import Log
from tui.model.intent import Firing, FiringState
from tui.model.position import Position
from tui.model.snapshot import Snapshot
from tui.model.units import WAD
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import Journal
from tui.protocols.base import LendingMarket

MOST_FIRINGS = 64
MOST_BLOCKS = 256
"""Blocks of one firing whose health is kept; one that waits longer forgets the oldest."""
MOST_LOOKS = 10
"""Blocks at which is asked for what a firing left or sold, before it stays unknown."""


@dataclass(slots=True)
class _Unsold:
    """An ended firing whose receipts are to be read yet, for what they tell of what was `sold`, and `bought` by own
    swaps (tokens).
    """

    firing: Firing
    position: Position
    sold: tuple[str, ...]
    bought: tuple[str, ...]
    looks: int = MOST_LOOKS


@dataclass(slots=True)
class _Unread:
    """An ended firing whose position at the block of its last transaction is to be read yet."""

    firing_id: str
    position: Position
    block_number: int
    block_hash: str
    looks: int = MOST_LOOKS


class Outcomes:
    """Sees a firing's position at every block, and books its figures when it has ended."""

    def __init__(self, executor: Executor | None, journal: Journal | None, prospect: Prospect) -> None:
        self._executor = executor
        self._journal = journal
        self._prospect = prospect
        self._health: dict[str, dict[str, int | None]] = {}
        self._unsold: dict[str, _Unsold] = {}
        self._unread: dict[str, _Unread] = {}

    def see(self, firing: Firing, position: Position, snapshot: Snapshot) -> None:
        """Keep the health of a position while a firing of it has no end, by the block's hash."""
        if position.unknown is not None:
            return
        seen = self._health.setdefault(firing.id, {})
        seen[snapshot.block.hash] = position.health_factor
        if len(seen) > MOST_BLOCKS:
            del seen[next(iter(seen))]
        if len(self._health) > MOST_FIRINGS:
            del self._health[next(iter(self._health))]

    def book(self, firing: Firing, position: Position, snapshot: Snapshot) -> None:
        """Keep what an ended firing left: its health (wad) at the block of its last transaction and its gas. A block
        that was not seen is looked up, and so is what was sold where all of it went well. Raises JournalError.
        """
        seen = self._health.pop(firing.id, {})
        if firing.health_factor_after is not None or self._executor is None or self._journal is None:
            return
        mined = [one for one in firing.intents if one.included_block is not None and one.included_block_hash]
        last = max(mined, key=lambda one: one.included_block or 0, default=None)
        there = None if last is None else last.included_block_hash
        missed = there is not None and there not in seen
        health = position.health_factor if there is None or missed else seen[there]
        self._executor.book_outcome(firing.id, health, _cost_usd(firing, snapshot), at_its_block=not missed)
        if missed and last is not None and there is not None:
            self._unread[firing.id] = _Unread(firing.id, position, last.included_block or 0, there)
        expected = self._journal.outcome(firing.id) if firing.state is FiringState.DONE else None
        if expected is not None and any(one.token and one.actual is None for one in (*expected.sales, *expected.buys)):
            sold, bought = (tuple(one.token for one in of) for of in (expected.sales, expected.buys))
            self._unsold[firing.id] = _Unsold(firing, position, sold, bought)

    async def look(self) -> None:
        """Read what ended firings left and sold. Raises JournalError, and nothing for what nodes do."""
        await self._look_up()
        for one in tuple(self._unsold.values()):
            assert self._executor is not None
            assert self._journal is not None
            one.looks -= 1
            try:
                logs = await self._executor.logs_of(one.firing)
            except (ChainUnreachable, ReadFailed):
                logs = None
            if logs is not None:
                owners = [one.position.key.account, *(intent.account for intent in one.firing.intents)]
                market = self._prospect.market(one.position)
                for token in one.sold:
                    sold = sold_by(market, logs, owners, token)
                    if sold is not None:
                        self._journal.book_sold(one.firing.id, token, sold)
                for token in one.bought:
                    bought = bought_by(market, logs, owners, one.sold, token)
                    if bought is not None:
                        self._journal.book_bought(one.firing.id, token, bought)
            if logs is not None or one.looks <= 0:
                self._unsold.pop(one.firing.id, None)

    async def _look_up(self) -> None:
        for one in tuple(self._unread.values()):
            assert self._journal is not None
            one.looks -= 1
            try:
                there = await self._prospect.position_at(one.position, one.block_number, one.block_hash)
            except (ChainUnreachable, ReadFailed):
                there = None
            known = there is not None and there.unknown is None
            if there is not None and known:
                self._journal.book_health(one.firing_id, there.health_factor)
            if known or one.looks <= 0:
                del self._unread[one.firing_id]


def sold_by(
    market: LendingMarket, transactions: Iterable[Sequence[Log]], owners: Iterable[str], token: str
) -> int | None:
    """Base units of `token` that transactions (the events of each) sold for any of `owners`: the account of the
    position, and those that pay for it, each counted once. None where no event says so.
    """
    whose = tuple(dict.fromkeys(owners))
    told = (market.sold_in(logs, owner, token) for logs in transactions for owner in whose)
    known = [sold for sold in told if sold is not None]
    return sum(known) if known else None


def bought_by(
    market: LendingMarket,
    transactions: Iterable[Sequence[Log]],
    owners: Iterable[str],
    sold: Sequence[str],
    token: str,
) -> int | None:
    """Base units of `token` that came to `owners`, each counted once, in those transactions in which they sold any of
    the tokens `sold`. None where none of them did.
    """
    whose = tuple(dict.fromkeys(owners))
    came = [
        market.moved_in(logs, owner, token)
        for logs in transactions
        for owner in whose
        if any(market.sold_in(logs, owner, one) is not None for one in sold)
    ]
    return sum(came) if came else None


def _cost_usd(firing: Firing, snapshot: Snapshot) -> int | None:
    """What the firing's gas really cost in dollars (8 decimals). None where the native coin has no price, or something
    that was signed has no receipt: what it paid is not known.
    """
    price, paid = snapshot.native_price_usd, firing.gas_paid_wei
    return None if price is None or paid is None else paid * price // WAD
