"""A block that everything of one decision is read at, named by hash."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block. `timestamp` in unix seconds, `base_fee` in wei (0 before EIP-1559)."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee: int
    gas_limit: int = 30_000_000
