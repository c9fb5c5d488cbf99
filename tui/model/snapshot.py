"""All that one decision is made from, read at one block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tui.model.block import BlockRef
from tui.model.data_fee import DataFees
from tui.model.position import Asset, MarketKey, Position
from tui.model.wallet import Wallet


@dataclass(frozen=True, slots=True)
class Listing:
    """One asset as its market lists it: who prices it, when that last spoke, and what the token says of itself.

    `price_usd` with 8 decimals, `price_updated_at` unix seconds, `price_source` lower-case hex; None: not told.
    """

    asset: Asset
    price_source: str | None
    price_usd: int | None
    price_updated_at: int | None
    token_decimals: int | None


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """What a market said of itself: protocol version, a fingerprint of its code and oracle, the assets it lists.

    `identity` names what makes it the market that it is (`("oracle", "0x...")`). `implementations`: the code behind
    each of its proxies (lower-case hex; None: could not be read), where it was looked for.
    """

    key: MarketKey
    version: str
    fingerprint: str
    assets: tuple[Asset, ...]
    error: str | None = None
    identity: tuple[tuple[str, str], ...] = ()
    listings: tuple[Listing, ...] = ()
    implementations: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))

    def listing(self, token: str) -> Listing | None:
        """The listing of a token by lower-case address."""
        return next((one for one in self.listings if one.asset.address == token), None)

    def named(self, name: str) -> Asset | None:
        """The asset of an address (lower-case) or of a symbol that only one has."""
        found = [asset for asset in self.assets if name.lower() == asset.address]
        found = found or [asset for asset in self.assets if asset.symbol == name]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every watched position, the wallets that may defend them, the native coin's price (8 decimals; None: not known)
    and what layer 1 charges for data (None: the network names no oracle of such fees), all at `block`.
    """

    block: BlockRef
    positions: tuple[Position, ...]
    wallets: Mapping[str, Wallet] = field(default_factory=lambda: MappingProxyType({}))
    markets: tuple[MarketFacts, ...] = ()
    native_price_usd: int | None = None
    data_fees: DataFees | None = None

    def position(self, position_id: str) -> Position | None:
        """The position of an id (`protocol/market/account`)."""
        return next((position for position in self.positions if position.id == position_id), None)

    def market(self, key: MarketKey) -> MarketFacts | None:
        """What a market said of itself."""
        return next((facts for facts in self.markets if facts.key == key), None)
