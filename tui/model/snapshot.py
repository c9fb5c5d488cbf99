"""All that one decision is made from, read at one block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tui.model.block import BlockRef
from tui.model.position import Asset, MarketKey, Position
from tui.model.wallet import Wallet


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """What a market said of itself: protocol version, a fingerprint of its code and oracle, the assets it lists."""

    key: MarketKey
    version: str
    fingerprint: str
    assets: tuple[Asset, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every watched position, the wallets that may defend them, and the native coin's price (8 decimals; None: not
    known), all at `block`.
    """

    block: BlockRef
    positions: tuple[Position, ...]
    wallets: Mapping[str, Wallet] = field(default_factory=lambda: MappingProxyType({}))
    markets: tuple[MarketFacts, ...] = ()
    native_price_usd: int | None = None

    def position(self, position_id: str) -> Position | None:
        """The position of an id (`protocol/market/account`)."""
        return next((position for position in self.positions if position.id == position_id), None)
