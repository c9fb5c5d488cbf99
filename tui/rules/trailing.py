"""What a trailing trigger follows: the best price that stood for as many blocks in a row as the rule asks for. Pure.

A price counts as reached once it was not undercut for `for_blocks` evaluated blocks: the best is the highest of the
lowest prices of that many. One block of an oracle gone wrong is then no best, as it is no fall either.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_BESTS = 16
"""So many rises of the best price are remembered, for the case that a reorganisation takes the last of them back."""

Bests = tuple[tuple[int, int], ...]
"""(Block number, price in wad) at which the price rose to a new best, the best last."""


@dataclass(frozen=True, slots=True)
class PriceRow:
    """The last prices (wad) of blocks in a row: how many blocks there were, and the prices that none later undercuts,
    each with its place, rising. The first of them is the lowest of all.
    """

    blocks: int = 0
    lows: tuple[tuple[int, int], ...] = ()

    @property
    def lowest(self) -> int | None:
        """The lowest price of the row; None where it is empty."""
        return self.lows[0][1] if self.lows else None


NO_ROW = PriceRow()


def longer(row: PriceRow, price: int, most: int) -> PriceRow:
    """The row with one more block at its end, `most` blocks long at the most."""
    blocks = row.blocks + 1
    lows = (*(low for low in row.lows if low[1] < price), (blocks, price))
    return PriceRow(blocks, tuple(low for low in lows if low[0] > blocks - most))


def risen(bests: Bests, row: PriceRow, number: int, most: int) -> Bests:
    """The bests with what the row that ends at block `number` has reached, where it is as long as it must be."""
    best = bests[-1][1] if bests else 0
    if row.blocks < most or row.lowest is None or row.lowest <= best:
        return bests
    kept = tuple(one for one in bests if one[0] < number)[1 - MOST_BESTS :]
    return (*kept, (number, row.lowest))
