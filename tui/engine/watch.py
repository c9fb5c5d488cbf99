"""Reading a block: every market, every wallet and the native coin's price in one call, into one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult
from tui.model.pinned import PinnedCode
from tui.model.position import Asset, Position, PositionKey, unknown_position
from tui.model.rule import ActionKind
from tui.model.snapshot import MarketFacts, Snapshot
from tui.model.wallet import Wallet, WalletQuery
from tui.ports.chain import Reader
from tui.protocols import chainlink, op_stack
from tui.protocols.base import LendingMarket, MarketReading
from tui.protocols.codes import hash_call, stands

IMPLEMENTATION_SLOT = 0x360894A13BA1A3210667C828492DB98DCA3E2076CC3735A920A3CA505D382BBC
"""Where a proxy keeps the address of its code (EIP-1967)."""


CLOCKS_APART_SECONDS = 24 * 60 * 60
"""A permit's deadline is chain time, the signer's permission ends by this machine's clock. Where the two are further
apart than this, no deadline can satisfy both, and exact approvals are used instead.
"""


def without_permits(snapshot: Snapshot, now: float) -> Snapshot:
    """The snapshot with no token offering permits where chain time and `now` (unix seconds) are far apart."""
    if abs(snapshot.block.timestamp - now) <= CLOCKS_APART_SECONDS:
        return snapshot
    wallets = {
        account: replace(
            wallet,
            tokens=MappingProxyType({token: replace(held, permit=None) for token, held in wallet.tokens.items()}),
            permits=False,
        )
        for account, wallet in snapshot.wallets.items()
    }
    return replace(snapshot, wallets=MappingProxyType(wallets))


class Watch:
    """What is read each block: `accounts` in all `markets`, and, for `defended` accounts, their wallets and the code
    behind the markets.

    Tokens and proxies of a market are known from its first reading on; until then they are read in a second call.
    What layer 1 charges for data is asked of `l1_fee_oracle` in the same call, in both ways that there are until the
    short one has been answered, and again where it no longer is. `spenders` take tokens of the wallets beside the
    markets.
    """

    def __init__(
        self,
        reader: Reader,
        markets: Sequence[LendingMarket],
        accounts: Sequence[str],
        native_feed: str | None,
        l1_fee_oracle: str | None = None,
        spenders: Sequence[str] = (),
    ) -> None:
        self._reader = reader
        self.markets = tuple(markets)
        self.accounts = tuple(dict.fromkeys(account.lower() for account in accounts))
        self.defended: tuple[str, ...] = ()
        self._spenders = tuple(spenders)
        self._feed_calls = () if native_feed is None else chainlink.price_calls(native_feed)
        self._data_fees = None if l1_fee_oracle is None else op_stack.DataFeeReading(l1_fee_oracle)
        self._assets: tuple[Asset, ...] = ()
        self._proxies: Mapping[str, tuple[str, ...]] = {}

    def defend(self, accounts: Iterable[str]) -> None:
        """Read the wallets of these accounts too, from the next snapshot on."""
        self.defended = tuple(dict.fromkeys(account.lower() for account in accounts))

    async def snapshot(self, block: BlockRef) -> Snapshot:
        """Everything at `block`. Raises ReadFailed, ChainUnreachable."""
        snapshot, proxies = await self._read(block)
        assets = tuple({asset.address: asset for facts in snapshot.markets for asset in facts.assets}.values())
        if assets and (assets != self._assets or proxies != self._proxies):
            self._assets = assets
            self._proxies = proxies
            if self.defended:
                snapshot, _ = await self._read(block)
        return snapshot

    async def _read(self, block: BlockRef) -> tuple[Snapshot, Mapping[str, tuple[str, ...]]]:
        groups = [market.read_calls(self.accounts) for market in self.markets]
        calls: list[Call] = [call for group in groups for call in group]
        calls.extend(self._feed_calls)
        data_calls = () if self._data_fees is None else self._data_fees.calls()
        calls.extend(data_calls)
        pinned = self._account_codes()
        code_at = len(calls)
        calls.extend(hash_call(one.address) for one in pinned)
        slots = self._slots()
        results, wallets = await self._reader.read_all(block, [*calls, *slots], self._queries())
        code = {slot.to: _address(word) for slot, word in zip(slots, results[len(calls) :], strict=True)}
        standing = {one.address: stands(one, results[code_at + at]) for at, one in enumerate(pinned)}
        positions: list[Position] = []
        facts: list[MarketFacts] = []
        proxies = dict(self._proxies)
        at = 0
        for market, group in zip(self.markets, groups, strict=True):
            reading = market.decode(block, self.accounts, results[at : at + len(group)])
            at += len(group)
            if reading.error is None:
                proxies[str(market.key)] = reading.proxies
            positions.extend(_positions(market, self.accounts, block, reading))
            facts.append(_facts(market, reading, code))
        price = None
        if self._feed_calls:
            price = chainlink.decode_price(results[at], results[at + 1], block.timestamp)
            at += len(self._feed_calls)
        snapshot = Snapshot(
            block,
            tuple(positions),
            MappingProxyType({wallet.account: by_its_code(wallet, standing) for wallet in wallets}),
            tuple(facts),
            price,
            None if self._data_fees is None else self._data_fees.decode(results[at : at + len(data_calls)]),
        )
        return snapshot, proxies

    def _slots(self) -> tuple[Call, ...]:
        """Where the code behind the markets is named; asked for only where something might be signed."""
        known = dict.fromkeys(proxy for proxies in self._proxies.values() for proxy in proxies)
        return tuple(Call(proxy, b"", slot=IMPLEMENTATION_SLOT) for proxy in known) if self.defended else ()

    def _account_codes(self) -> tuple[PinnedCode, ...]:
        """The code of ours that an account may run as its own; asked for only where something might be signed."""
        codes = (market.account_code for market in self.markets) if self.defended else ()
        return tuple(dict.fromkeys(one for one in codes if one is not None))

    def _queries(self) -> tuple[WalletQuery, ...]:
        spenders = {market.spender(kind) for market in self.markets for kind in ActionKind if kind in market.actions}
        known = tuple(sorted({*self._spenders, *(spender for spender in spenders if spender is not None)}))
        return tuple(WalletQuery(account, self._assets, known, permits=True) for account in self.defended)


def by_its_code(wallet: Wallet, standing: Mapping[str, bool | None]) -> Wallet:
    """The wallet, told whether what it is delegated to is our code. Where that cannot be told, nothing is known."""
    if wallet.delegate is None or wallet.delegate not in standing:
        return wallet
    found = standing[wallet.delegate]
    return replace(wallet, own_code=found is True, code_read=wallet.code_read and found is not None)


def _positions(
    market: LendingMarket, accounts: Sequence[str], block: BlockRef, reading: MarketReading
) -> tuple[Position, ...]:
    if reading.error is None:
        return reading.positions
    return tuple(unknown_position(PositionKey(market.key, account), block, reading.error) for account in accounts)


def _facts(market: LendingMarket, reading: MarketReading, code: Mapping[str, str | None]) -> MarketFacts:
    return MarketFacts(
        market.key,
        reading.version,
        reading.fingerprint,
        reading.assets,
        reading.error,
        reading.identity,
        reading.listings,
        MappingProxyType({proxy: code[proxy] for proxy in reading.proxies if proxy in code}),
    )


def _address(word: CallResult) -> str | None:
    """The address in a word of storage; None where it could not be read."""
    return None if word.data is None else "0x" + word.data[-20:].hex()
