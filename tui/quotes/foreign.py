"""Reading the calldata that an aggregator made: word by word, everything bounded, nothing believed."""

from __future__ import annotations

from tui.model.swap import SwapOrder
from tui.model.units import UINT256_MAX

MOST_BYTES = 32 * 1024
"""Calldata of one swap that is looked at; the longest routes of aggregators take about ten thousand bytes."""


class Unbound(ValueError):
    """A call that binds nothing that comes out: of no use here, but no lie."""


def words_of(data: bytes, selector: bytes, count: int) -> list[int]:
    """The first `count` argument words. Raises ValueError for another function, or for more or less than can be."""
    if data[:4] != selector:
        raise ValueError(f"its call is 0x{data[:4].hex()}, and only 0x{selector.hex()} is taken")
    if not 4 + 32 * count <= len(data) <= MOST_BYTES:
        raise ValueError(f"its call has {len(data)} bytes, which cannot be right")
    return [int.from_bytes(data[4 + 32 * at : 36 + 32 * at], "big") for at in range(count)]


def hold(called: str, found: int, wanted: int) -> None:
    """Raises ValueError where a word is not the one that was ordered."""
    if found != wanted:
        raise ValueError(f"its call names another {called} than was ordered")


def an_address(called: str, word: int) -> str:
    """A word as an address that somebody can stand at. Raises ValueError."""
    if not 0 < word < 2**160:
        raise ValueError(f"its call names no {called}")
    return "0x" + word.to_bytes(20, "big").hex()


def tail(data: bytes, at: int) -> bytes:
    """The bytes whose length stands in word `at`, and begin after it. Raises ValueError where they are cut short."""
    start = 36 + 32 * at
    length = int.from_bytes(data[start - 32 : start], "big")
    if length > len(data) - start:
        raise ValueError("its call is cut short")
    return data[start : start + length]


def written(data: bytes, start: int, word: int) -> bytes:
    """The same bytes with 32 of them, from `start`, replaced by a word."""
    return data[:start] + word.to_bytes(32, "big") + data[start + 32 :]


def check_order(order: SwapOrder) -> None:
    """Raises ValueError for an order of nothing, or for nothing."""
    if not 0 < order.amount_in <= UINT256_MAX or not 0 < order.least_out <= UINT256_MAX:
        raise ValueError("a swap of nothing, or for nothing")
