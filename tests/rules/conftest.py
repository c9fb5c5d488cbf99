"""Positions and blocks that rules are evaluated on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tui.model.block import BlockRef
from tui.model.position import MarketKey, Position, PositionKey, unknown_position

KEY = PositionKey(MarketKey("aave-v3", "core"), "0x" + "ab" * 20)


def guard(rest: str, below: str = "1.25", target: str = "1.50") -> str:
    """The text of a rule named guard: six lines, then `rest`."""
    return f"""\
[[rule]]
name = "guard"
position = "aave-v3/core"
mode = "auto"
when = {{ health_factor_below = "{below}" }}
target = {{ health_factor = "{target}" }}
{rest}"""


MakeBlock = Callable[..., BlockRef]
MakePosition = Callable[..., Position]


@pytest.fixture
def block_at() -> MakeBlock:
    """`block_at(number, fork="a", parent_fork=None)`: blocks of one fork follow each other, 12 seconds apart."""

    def make(number: int, fork: str = "a", parent_fork: str | None = None) -> BlockRef:
        parent = f"0x{parent_fork or fork}{number - 1}"
        return BlockRef(number, f"0x{fork}{number}", parent, 1_700_000_000 + 12 * number, 10**9)

    return make


@pytest.fixture
def position_at() -> MakePosition:
    """`position_at(block, health, unknown=None)`: the position at a block, health in wad or None without debt."""

    def make(block: BlockRef, health: int | None, unknown: str | None = None) -> Position:
        if unknown is not None:
            return unknown_position(KEY, block, unknown)
        return Position(KEY, block, (), (), health, 0, 0)

    return make
