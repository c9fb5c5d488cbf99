"""What a rollup charges for the bytes of a transaction on layer 1, beside its gas: upper bounds at some sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from tui.model.units import WAD

ENVELOPE_BYTES = 120
"""An EIP-1559 transaction without calldata and signature, at the most: ten RLP items, of which the recipient takes 21
bytes, the value 13, the fees 10 each and the nonce 9, and the heads of the list and of the calldata.
"""
MOST_DATA_FEE = 1_000 * WAD
"""Wei for one transaction: what says more is no fee."""


class _HasData(Protocol):
    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class DataFees:
    """Fees told at one block: `known` holds (bytes of an unsigned transaction, wei), sizes rising and fees not falling.
    Empty: nobody told, and every fee is unknown.
    """

    known: tuple[tuple[int, int], ...] = ()

    def of_size(self, size: int) -> int | None:
        """Wei for one unsigned transaction of `size` bytes at the most; None where that is not known.

        Between two sizes the straight line, rounded up: what OP chains charge is the larger of a least fee and a
        linear function of the size, so but for a byte's rounding the line is never below it. Under the first size its
        fee, beyond the last None.
        """
        low_size, low = 0, 0
        for high_size, high in self.known:
            if size <= high_size:
                if not low_size:
                    return high
                return low - (low - high) * (size - low_size) // (high_size - low_size)
            low_size, low = high_size, high
        return None

    def of_calls(self, calls: Iterable[_HasData]) -> int | None:
        """Wei for transactions with the calldata of `calls`, one each; None where any of them is not known."""
        total = 0
        for call in calls:
            fee = self.of_size(ENVELOPE_BYTES + len(call.data))
            if fee is None:
                return None
            total += fee
        return total
