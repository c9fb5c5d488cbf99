"""Noticing that a watched position was liquidated: both sides of it shrank between two blocks, under health 1, by more
than our own transactions account for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tui.engine.own_work import own_work
from tui.model.intent import Firing
from tui.model.position import Position
from tui.model.snapshot import Snapshot
from tui.model.units import BPS, WAD, format_units, group_digits, value_usd

LIQUIDATED = "liquidated"
"""The kind of decision that tells a liquidation."""
LEAST_SHARE = 1_000
"""A side that shrank by less than a thousandth of itself is interest or rounding."""
OWN_ROOM_BPS = 500
"""Debt that went may be more by this than what our own transactions were to move: prices move on, interest accrues."""
MOST_WAIT_BLOCKS = 100
"""So long is waited for a transaction of ours to be final that may be what a position shrank by."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What a reading tells beside the ones before. `liquidated`: positions with what it took, in words.

    `unclear_since`: the block of the earlier reading where a position shrank on both sides at good health: its owner
    may have done that, or a price fell and rose again between the two. None where there is no such.
    """

    liquidated: tuple[tuple[Position, str], ...]
    unclear_since: int | None = None


class Losses:
    """Remembers the last known reading of each position. `firings` tells our own of late, where there is a record."""

    def __init__(self, firings: Callable[[], Sequence[Firing]] = lambda: ()) -> None:
        self._last: dict[str, Position] = {}
        self._firings = firings

    def see(self, snapshot: Snapshot) -> Lost:
        """The positions that were liquidated since they were last known.

        What shrank by no more than what our own transactions were to move is no liquidation once they are final; until
        then the reading before them is kept. Raises JournalError.
        """
        found: list[tuple[Position, str]] = []
        unclear: list[int] = []
        for position in snapshot.positions:
            if position.unknown is not None:
                continue
            before = self._last.get(position.id)
            text = None if before is None else liquidation_between(before, position)
            if before is not None and shrank(before, position):
                own = own_work(self._firings(), position.id, before.block.number, position.block.number)
                waited = position.block.number - before.block.number
                if own.done and _accounts_for(own.done, before, position):
                    text = None
                elif waited < MOST_WAIT_BLOCKS and own.possible and _accounts_for(own.possible, before, position):
                    continue
                elif text is None:
                    unclear.append(before.block.number)
            self._last[position.id] = position
            if text is not None:
                found.append((position, text))
        return Lost(tuple(found), min(unclear, default=None))


def _accounts_for(moved_usd: int, before: Position, after: Position) -> bool:
    """Whether so many dollars (8 decimals) that were ours to move are all the debt that went."""
    prices = {held.asset.address: held.price_usd for held in (*before.debt, *after.debt)}
    cleared = 0
    for address, _, less, decimals in _less(before, after, debts=True):
        price = prices.get(address)
        if price is None:
            return False
        cleared += value_usd(less, decimals, price)
    return cleared * BPS <= moved_usd * (BPS + OWN_ROOM_BPS)


def liquidation_between(before: Position, after: Position) -> str | None:
    """What a liquidation between two readings of one position took, or None where there was none.

    A liquidation takes collateral and clears debt in one go, below a health factor of 1: one of the readings, or the
    later prices on what was held before, must show that. Who closes a position at good health is not called liquidated.
    """
    seized = _shrunk(before, after, debts=False)
    cleared = _shrunk(before, after, debts=True)
    if not seized or not cleared:
        return None
    healths = [one.health_factor for one in (before, after) if one.health_factor is not None]
    if not any(health < WAD for health in healths) and not _would_have_been_unsafe(before, after):
        return None
    return f"LIQUIDATED: {_list(seized)} taken for {_list(cleared)} of debt"


def shrank(before: Position, after: Position) -> bool:
    """Whether both sides of a position did, as a liquidation makes them."""
    return bool(_shrunk(before, after, debts=False) and _shrunk(before, after, debts=True))


def _shrunk(before: Position, after: Position, *, debts: bool) -> list[tuple[str, int, int]]:
    """(symbol, base units less, decimals) of each holding that shrank by more than a thousandth."""
    return [one[1:] for one in _less(before, after, debts=debts)]


def _less(before: Position, after: Position, *, debts: bool) -> list[tuple[str, str, int, int]]:
    """The same, each with the asset's address first."""
    earlier = before.debt if debts else before.collateral
    later = {held.asset.address: held.amount for held in (after.debt if debts else after.collateral)}
    found = []
    for held in earlier:
        less = held.amount - later.get(held.asset.address, 0)
        if less > held.amount // LEAST_SHARE:
            found.append((held.asset.address, held.asset.symbol, less, held.asset.decimals))
    return found


def _would_have_been_unsafe(before: Position, after: Position) -> bool:
    """Whether what was held before is under 1 at the later prices: the fall and the liquidation were in one block."""
    prices = {held.asset.address: held.price_usd for held in after.holdings if held.price_usd}
    weighted = owed = 0
    for held in before.collateral:
        price = prices.get(held.asset.address, held.price_usd)
        if held.counts and price:
            weighted += held.amount * price // 10**held.asset.decimals * held.liquidation_threshold // WAD
    for debt in before.debt:
        owed += debt.amount * (prices.get(debt.asset.address, debt.price_usd) or 0) // 10**debt.asset.decimals
    return owed > 0 and weighted < owed


def _list(parts: list[tuple[str, int, int]]) -> str:
    return " and ".join(
        f"{group_digits(format_units(amount, decimals, min(4, decimals)))} {symbol}"
        for symbol, amount, decimals in parts
    )
