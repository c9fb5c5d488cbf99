"""The one rule by which a transaction's fees are raised. Pure integers, wei a unit of gas."""

from __future__ import annotations


def bump(max_fee: int, priority_fee: int, ceiling: int, next_base_fee: int) -> tuple[int, int] | None:
    """Fees of a replacement, or None where the ceiling leaves no room for one that nodes would take.

    Nodes want at least a tenth more on the tip AND on the cap (go-ethereum's `PriceBump`); both grow by an eighth,
    rounded up, and by one wei at least. The cap grows further where the coming base fee needs it, up to `ceiling`.
    """
    tip = max(_eighth_more(priority_fee), priority_fee + 1)
    least = max(_eighth_more(max_fee), max_fee + 1, tip)
    if least > ceiling:
        return None
    return min(max(least, next_base_fee + tip), ceiling), tip


def highest_next_base_fee(base_fee: int) -> int:
    """The most the base fee can be one block later: an eighth more, rounded up (EIP-1559)."""
    return max(_eighth_more(base_fee), base_fee + 1)


def _eighth_more(value: int) -> int:
    return -(-value * 9 // 8)
