"""Reading a block: every market, every wallet and the native coin's price in one call, into one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult
from tui.model.position import Asset, Position, PositionKey, unknown_position
from tui.model.rule import ActionKind
from tui.model.snapshot import MarketFacts, Snapshot
from tui.model.wallet import WalletQuery
from tui.ports.chain import Reader
from tui.protocols import chainlink
from tui.protocols.base import LendingMarket


class Watch:
    """What is read each block: `accounts` in all `markets`, and the wallets of `defended` accounts.

    Tokens of a market are known from its first reading on; until then wallets are read in a second call.
    """

    def __init__(
        self, reader: Reader, markets: Sequence[LendingMarket], accounts: Sequence[str], native_feed: str | None
    ) -> None:
        self._reader = reader
        self.markets = tuple(markets)
        self.accounts = tuple(dict.fromkeys(account.lower() for account in accounts))
        self.defended: tuple[str, ...] = ()
        self._feed_calls = () if native_feed is None else chainlink.price_calls(native_feed)
        self._assets: tuple[Asset, ...] = ()

    def defend(self, accounts: Iterable[str]) -> None:
        """Read the wallets of these accounts too, from the next snapshot on."""
        self.defended = tuple(dict.fromkeys(account.lower() for account in accounts))

    async def snapshot(self, block: BlockRef) -> Snapshot:
        """Everything at `block`. Raises ReadFailed, ChainUnreachable."""
        snapshot = await self._read(block)
        assets = tuple({asset.address: asset for facts in snapshot.markets for asset in facts.assets}.values())
        if assets and assets != self._assets:
            self._assets = assets
            if self.defended:
                snapshot = await self._read(block)
        return snapshot

    async def _read(self, block: BlockRef) -> Snapshot:
        groups = [market.read_calls(self.accounts) for market in self.markets]
        calls: list[Call] = [call for group in groups for call in group]
        calls.extend(self._feed_calls)
        results, wallets = await self._reader.read_all(block, calls, self._queries())
        positions: list[Position] = []
        facts: list[MarketFacts] = []
        at = 0
        for market, group in zip(self.markets, groups, strict=True):
            found, fact = self._decode(market, block, results[at : at + len(group)])
            at += len(group)
            positions.extend(found)
            facts.append(fact)
        price = None
        if self._feed_calls:
            price = chainlink.decode_price(results[at], results[at + 1], block.timestamp)
        return Snapshot(
            block,
            tuple(positions),
            MappingProxyType({wallet.account: wallet for wallet in wallets}),
            tuple(facts),
            price,
        )

    def _decode(
        self, market: LendingMarket, block: BlockRef, results: Sequence[CallResult]
    ) -> tuple[tuple[Position, ...], MarketFacts]:
        reading = market.decode(block, self.accounts, results)
        positions = reading.positions
        if reading.error is not None:
            positions = tuple(
                unknown_position(PositionKey(market.key, account), block, reading.error) for account in self.accounts
            )
        return positions, MarketFacts(market.key, reading.version, reading.fingerprint, reading.assets, reading.error)

    def _queries(self) -> tuple[WalletQuery, ...]:
        spenders = {market.spender(kind) for market in self.markets for kind in ActionKind if kind in market.actions}
        known = tuple(sorted(spender for spender in spenders if spender is not None))
        return tuple(WalletQuery(account, self._assets, known, permits=True) for account in self.defended)
