"""One Aave V3 market behind the interface that all lending protocols share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult
from tui.model.network import PRICE_HEARTBEAT, MarketConfig
from tui.model.plan import Action, PlannedCall, SaleTerms
from tui.model.position import Asset, MarketKey, Position, PositionKey
from tui.model.rule import ActionKind
from tui.model.snapshot import Listing
from tui.model.wallet import Wallet
from tui.protocols.aave_v3 import actions as pool_actions
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.calls import calls_for
from tui.protocols.aave_v3.health import HealthUnknown, figures, lines_of, with_prices
from tui.protocols.aave_v3.position import build_position, checked_position, unknown
from tui.protocols.aave_v3.rules import version_text
from tui.protocols.aave_v3.state import (
    AccountState,
    MarketState,
    PositionState,
    Reserve,
    account_state,
    market_state,
)
from tui.protocols.base import ActionImpossible, MarketReading
from tui.risk.liquidation import prices_of

PROTOCOL = "aave-v3"
CLOCK_SLACK = 15
"""Seconds by which a node may run a call ahead of the block it was asked for (some add one for the next block)."""
USD_UNIT = 10**8
TYPICAL_GAS = 450_000
USD_CURRENCY = 0


class AaveV3Market:
    """A market of Aave V3, named by its PoolAddressesProvider (lower-case hex).

    Pure but for one thing: the pool's address, which the provider names, is remembered from the last reading, so that
    `spender` can tell it. Everything else is in the positions themselves.
    """

    __slots__ = ("_heartbeat", "_key", "_pool", "_provider")

    def __init__(self, name: str, provider: str, price_heartbeat: int = PRICE_HEARTBEAT) -> None:
        self._key = MarketKey(PROTOCOL, name)
        self._provider = provider
        self._heartbeat = price_heartbeat
        self._pool: str | None = None

    @property
    def key(self) -> MarketKey:
        """`aave-v3/core`."""
        return self._key

    @property
    def actions(self) -> frozenset[ActionKind]:
        """Repaying and adding collateral."""
        return frozenset({ActionKind.REPAY, ActionKind.ADD_COLLATERAL})

    def read_calls(self, accounts: Sequence[str]) -> tuple[Call, ...]:
        """One call of the lens for each 200 accounts; one even without any, for the market alone."""
        return tuple(lens.read_call(self._provider, part) for part in _parts(accounts))

    def decode(self, block: BlockRef, accounts: Sequence[str], results: Sequence[CallResult]) -> MarketReading:
        """Positions in the order of `accounts`; see LendingMarket.decode."""
        positions: list[Position] = []
        markets: list[MarketState] = []
        errors: list[str] = []
        for index, part in enumerate(_parts(accounts)):
            result = results[index] if index < len(results) else CallResult(None, "no answer")
            read = self._read(block, part, result)
            if isinstance(read, str):
                errors.append(read)
                positions.extend(unknown(self._key_of(account), block, read, None) for account in part)
                continue
            raw, market = read
            markets.append(market)
            for account, one in zip(part, raw.accounts, strict=True):
                state = account_state(one, market)
                positions.append(checked_position(self._key_of(account), block, market, state, one))
        if not markets:
            return MarketReading(tuple(positions), (), "unknown", "", errors[0] if errors else "nothing was read")
        market = markets[0]
        self._pool = market.pool
        return MarketReading(
            positions=tuple(positions),
            assets=tuple(reserve.asset for reserve in market.reserves.values()),
            version=version_text(market.revision),
            fingerprint=_fingerprint(market),
            identity=(("pool", market.pool), ("revision", str(market.revision)), ("oracle", market.oracle)),
            listings=tuple(_listing(reserve) for reserve in market.reserves.values()),
            proxies=(market.pool,),
        )

    def find_asset(self, position: Position, name: str) -> Asset | None:
        """An asset of the market by exact symbol, if only one has it, or by address."""
        state = position.state
        if not isinstance(state, PositionState):
            return None
        reserve = state.market.reserve(name.lower())
        if reserve is not None:
            return reserve.asset
        found = [one.asset for one in state.market.reserves.values() if one.asset.symbol == name]
        return found[0] if len(found) == 1 else None

    def price_usd(self, position: Position, asset: Asset) -> int | None:
        """The oracle's price (8 decimals) as the position's health uses it; None where there is none."""
        state = position.state
        if not isinstance(state, PositionState):
            return None
        used = prices_of(position)
        if asset.address in used:
            return used[asset.address]
        reserve = state.market.reserve(asset.address)
        return None if reserve is None or reserve.fault else reserve.price

    def after(self, position: Position, actions: Sequence[Action]) -> Position:
        """The position that `actions` would leave in this very block; rates stay as they were before them."""
        market, account = _known_state(position)
        for action in actions:
            market, account = _after(market, account, action)
        left = _rebuilt(position, market, account)
        if left.unknown is not None:
            raise ActionImpossible(f"what it would leave is unknown: {left.unknown}")
        return left

    def repriced(self, position: Position, prices_usd: Mapping[str, int]) -> Position:
        """The position at other prices. Its liquidation prices are left out: they do not follow from its own price."""
        market, account = _known_state(position)
        return _rebuilt(position, with_prices(market, account, prices_usd), account, liquidation=False)

    def ceiling(self, position: Position, kind: ActionKind, asset: Asset, collateral: Asset | None = None) -> int:
        """The most base units that `kind` can use of `asset`; see LendingMarket.ceiling."""
        if collateral is not None:
            raise ActionImpossible(f"{self._key} cannot sell {collateral.symbol}")
        market, account = _known_state(position)
        return pool_actions.ceiling(market, account, kind, asset)

    def spender(self, kind: ActionKind) -> str | None:
        """The pool, as the last reading named it; None before the first."""
        return self._pool if kind in self.actions else None

    def calls_for(self, position: Position, action: Action, wallet: Wallet, deadline: int) -> tuple[PlannedCall, ...]:
        """The transactions that do `action`; see LendingMarket.calls_for. The pool is the one of the position."""
        market, account = _known_state(position)
        reserve = pool_actions.reserve_for(market, action.kind, action.asset)
        stable = action.kind is ActionKind.REPAY and pool_actions.owed(market, account, reserve)[1]
        return calls_for(market.pool, account.account, action, stable, wallet, deadline)

    def sale_calls(self, position: Position, collateral: Asset) -> tuple[Call, ...]:  # noqa: ARG002
        """None: no sale is among this market's `actions`."""
        return ()

    def sale_terms(self, position: Position, collateral: Asset, results: Sequence[CallResult]) -> SaleTerms:  # noqa: ARG002
        """See `sale_calls`."""
        return self.sale_shape(position, collateral)

    def sale_shape(self, position: Position, collateral: Asset) -> SaleTerms:  # noqa: ARG002
        """See `sale_calls`."""
        raise ActionImpossible(f"{self._key} cannot sell collateral")

    def typical_gas(self, call: PlannedCall) -> int:  # noqa: ARG002
        """What calls of this size took on a pool of 3.2, up."""
        return TYPICAL_GAS

    def _key_of(self, account: str) -> PositionKey:
        return PositionKey(self._key, account)

    def _read(
        self, block: BlockRef, accounts: Sequence[str], result: CallResult
    ) -> tuple[lens.RawReading, MarketState] | str:
        """One part of a reading, or why it cannot be used."""
        if result.data is None:
            return f"the market cannot be read: {result.error or 'no reason given'}"
        try:
            raw = lens.decode_reading(result.data)
        except lens.LensFault as fault:
            return f"the market cannot be read: {fault}"
        if [one.account for one in raw.accounts] != list(accounts):
            return "the market cannot be read: the answer is about other accounts"
        if not 0 <= raw.timestamp - block.timestamp <= CLOCK_SLACK:
            return f"the node answered as of {raw.timestamp}, the block is of {block.timestamp}"
        if raw.flags:
            return "the market cannot be read: its revision or its base currency is not told"
        if raw.base_unit != USD_UNIT or raw.base_currency != USD_CURRENCY:
            return "the market's oracle does not count in dollars with 8 decimals"
        return raw, market_state(raw, self._heartbeat)


def make_market(config: MarketConfig) -> AaveV3Market:
    """The market of a `[[market]]` table. Raises ValueError that names the key to mend."""
    provider = config.options.get("pool_addresses_provider")
    if not isinstance(provider, str) or not _is_address(provider):
        raise ValueError(
            f"market {config.protocol}/{config.name}: pool_addresses_provider must be an address (0x and 40 hex digits)"
        )
    return AaveV3Market(config.name, provider.lower(), config.price_heartbeat)


def _is_address(text: str) -> bool:
    if len(text) != 42 or not text.startswith("0x"):
        return False
    return all(digit in "0123456789abcdefABCDEF" for digit in text[2:])


def _parts(accounts: Sequence[str]) -> tuple[Sequence[str], ...]:
    if not accounts:
        return ((),)
    return tuple(accounts[start : start + lens.MAX_ACCOUNTS] for start in range(0, len(accounts), lens.MAX_ACCOUNTS))


def _known_state(position: Position) -> tuple[MarketState, AccountState]:
    state = position.state
    if position.unknown is not None:
        raise ActionImpossible(f"the position is unknown: {position.unknown}")
    if not isinstance(state, PositionState) or state.account is None:
        raise ActionImpossible("the position is not of this market")
    return state.market, state.account


def _after(market: MarketState, account: AccountState, action: Action) -> tuple[MarketState, AccountState]:
    return pool_actions.after_action(market, account, action.kind, action.asset, action.amount)


def _rebuilt(position: Position, market: MarketState, account: AccountState, liquidation: bool = True) -> Position:
    try:
        lines = lines_of(market, account)
        totals = figures(market.rules, lines)
        return build_position(position.key, position.block, market, account, lines, totals, liquidation)
    except HealthUnknown as why:
        return unknown(position.key, position.block, str(why), market)


def _listing(reserve: Reserve) -> Listing:
    source = reserve.source if int(reserve.source, 16) else None
    return Listing(reserve.asset, source, reserve.price, reserve.price_updated_at, reserve.token_decimals)


def _fingerprint(market: MarketState) -> str:
    """Pool, revision, oracle and every price source, as one text: a change of any is a change under us."""
    sources = ",".join(f"{reserve.asset.address}={reserve.source}" for reserve in market.reserves.values())
    return f"pool={market.pool};revision={market.revision};oracle={market.oracle};sources={sources}"
