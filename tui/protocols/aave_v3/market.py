"""One Aave V3 market behind the interface that all lending protocols share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult, EventQuery, Log
from tui.model.network import PRICE_HEARTBEAT
from tui.model.pinned import PinnedCode
from tui.model.plan import Action, PlannedCall, Sale, SaleTerms
from tui.model.position import Asset, Held, MarketKey, Position, PositionKey
from tui.model.rule import FROM_WALLET, SALES, SUPPLYING, ActionKind
from tui.model.snapshot import Listing
from tui.model.wallet import Wallet
from tui.protocols.aave_v3 import actions as pool_actions
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.calls import calls_for, repay_with_a_tokens
from tui.protocols.aave_v3.gas import typical_gas
from tui.protocols.aave_v3.health import HealthUnknown, figures, lines_of, with_prices
from tui.protocols.aave_v3.helper import Helper
from tui.protocols.aave_v3.helper_orders import sold_in
from tui.protocols.aave_v3.liquidated import liquidation_query, liquidation_told
from tui.protocols.aave_v3.own_swaps import moved_in, repaid_in, swap_calls, swapped_in, withdrawal
from tui.protocols.aave_v3.position import build_position, checked_position, unknown
from tui.protocols.aave_v3.reshape import Reshaping, after_reshaping, reshaping_ceiling
from tui.protocols.aave_v3.rules import version_text
from tui.protocols.aave_v3.sales import sale_calls_for, shape_of, terms_calls, terms_of
from tui.protocols.aave_v3.state import (
    AccountState,
    MarketState,
    PositionState,
    Reserve,
    account_state,
    held_by,
    market_state,
)
from tui.protocols.base import ActionImpossible, Liquidation, MarketReading
from tui.risk.liquidation import prices_of

PROTOCOL = "aave-v3"
CLOCK_SLACK = 15
"""Seconds by which a node may run a call ahead of the block it was asked for (some add one for the next block)."""
USD_UNIT = 10**8
USD_CURRENCY = 0
UNISWAP, ROUTER_KEY, HELPER_KEY = "uniswap-v3", "router02", "deleverage"
"""How a network file names the exchange, its router and the helper."""


class AaveV3Market:
    """A market of Aave V3, named by its PoolAddressesProvider (lower-case hex).

    Pure but for one thing: the pool's address, which the provider names, is remembered from the last reading, so that
    `spender` can tell it. Everything else is in the positions themselves.

    `router` is Uniswap's SwapRouter02 (lower-case hex), through which collateral is sold; without it nothing is.
    `named_helper`: where the network file says that the deleverage helper stands; it must be where it follows to be.
    """

    __slots__ = ("_chain_id", "_heartbeat", "_key", "_named", "_pool", "_provider", "_router", "_wrapped")

    def __init__(
        self,
        name: str,
        provider: str,
        price_heartbeat: int = PRICE_HEARTBEAT,
        *,
        router: str | None = None,
        named_helper: str | None = None,
        chain_id: int | None = None,
        wrapped_native: str | None = None,
    ) -> None:
        self._key = MarketKey(PROTOCOL, name)
        self._provider = provider
        self._heartbeat = price_heartbeat
        self._router = router
        self._named = named_helper
        self._chain_id = chain_id
        self._wrapped = wrapped_native
        self._pool: str | None = None

    @property
    def key(self) -> MarketKey:
        """`aave-v3/core`."""
        return self._key

    @property
    def actions(self) -> frozenset[ActionKind]:
        """What goes with the pool alone, swapping tokens of the wallet where a router is configured, and selling
        collateral where the helper is not said to stand elsewhere than it can.
        """
        with_pool = {ActionKind.REPAY, ActionKind.ADD_COLLATERAL, ActionKind.REPAY_WITH_ATOKENS}
        if self._router is not None:
            with_pool.add(ActionKind.SWAP_TO_REPAY)
        if self._router is None or (self._pool is not None and isinstance(self._helper(self._pool), str)):
            return frozenset(with_pool)
        return frozenset(with_pool | SALES)

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

    def held(self, position: Position) -> Held | None:
        """Scaled balances and the e-mode; see LendingMarket.held."""
        state = position.state
        return held_by(state) if isinstance(state, PositionState) else None

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
        market, account = _known_state(position)
        if kind is ActionKind.SWAP_TO_REPAY:
            return pool_actions.swap_ceiling(market, account, asset, collateral)
        if kind in SALES:
            self._seller(market.pool)
            if collateral is None:
                raise ActionImpossible(f"{kind} needs the collateral that is to be sold, or what is to be borrowed")
            return reshaping_ceiling(market, account, kind, asset, collateral)
        return pool_actions.ceiling(market, account, kind, asset)

    def spender(self, kind: ActionKind) -> str | None:
        """The pool, as the last reading named it; None before the first, and for what the wallet does not pay."""
        return self._pool if kind in FROM_WALLET or kind is ActionKind.SWAP_TO_REPAY else None

    def calls_for(self, position: Position, action: Action, wallet: Wallet, deadline: int) -> tuple[PlannedCall, ...]:
        """The transactions that do `action`; see LendingMarket.calls_for. The pool is the one of the position."""
        market, account = _known_state(position)
        reserve = pool_actions.reserve_for(market, action.kind, action.asset)
        owed, stable = pool_actions.owed(market, account, reserve)
        if action.sale is not None and action.sale.swap is not None:
            sale, swap = action.sale, action.sale.swap
            self._require_wrappable(action, sale.collateral)
            paying = pool_actions.reserve_for(market, action.kind, sale.collateral)
            out = withdrawal(market.pool, account.account, paying, sale.withdrawn) if sale.withdrawn else ()
            plain = replace(action, kind=ActionKind.REPAY, sale=None, wrap=0)
            repaid = calls_for(market.pool, account.account, plain, stable, wallet, deadline)
            return (*out, *swap_calls(action, sale, swap, wallet), *(_doing(call, action) for call in repaid))
        if action.kind in SALES:
            sale = _sale_of(action)
            shape = self._shape(market, sale.collateral, action.kind)
            if (sale.terms.helper, sale.terms.receipt) != (shape.helper, shape.receipt):
                raise ActionImpossible(f"the terms of the sale of {sale.collateral.symbol} are not this market's")
            everything = action.kind not in SUPPLYING and action.amount == owed
            if sale.terms.delegated and not wallet.acts_by(shape.helper):
                raise ActionImpossible("the account does not run the helper's code (any more)")
            return sale_calls_for(action, sale, everything, deadline, account.account)
        if action.kind is ActionKind.REPAY_WITH_ATOKENS:
            return (repay_with_a_tokens(market.pool, action, stable),)
        self._require_wrappable(action, action.asset)
        repaying = action.kind is ActionKind.REPAY
        return calls_for(market.pool, account.account, action, repaying and stable, wallet, deadline)

    def _require_wrappable(self, action: Action, asset: Asset) -> None:
        if action.wrap > 0 and self._wrapped not in (None, asset.address):
            raise ActionImpossible(f"{asset.symbol} is not this network's wrapped native coin")

    def sale_calls(
        self,
        position: Position,
        collateral: Asset,
        debt: Asset | None = None,
        kind: ActionKind = ActionKind.DELEVERAGE,
    ) -> tuple[Call, ...]:
        """The reads that tell the terms of a sale; none where `sale_shape` says that there are none, or where the
        wallet sells by itself.
        """
        if kind is ActionKind.SWAP_TO_REPAY:
            return ()
        try:
            market, account = _known_state(position)
            shape = self._shape(market, collateral, kind)
            reserve = pool_actions.reserve_for(market, kind, collateral)
        except ActionImpossible:
            return ()
        lent = _lent_one(market, position, kind, debt)
        return terms_calls(market.pool, shape.helper, account.account, reserve, lent, kind)

    def sale_terms(
        self,
        position: Position,
        collateral: Asset,
        results: Sequence[CallResult],
        debt: Asset | None = None,  # noqa: ARG002
        kind: ActionKind = ActionKind.DELEVERAGE,
    ) -> SaleTerms:
        """The terms from the answers of `sale_calls`; see LendingMarket.sale_terms."""
        try:
            shape = self.sale_shape(position, collateral, kind)
        except ActionImpossible as impossible:
            return SaleTerms("", "", 0, impossible=str(impossible))
        if kind is ActionKind.SWAP_TO_REPAY:
            return shape
        return terms_of(shape, collateral, self._chain_id, results, kind)

    def sale_shape(self, position: Position, collateral: Asset, kind: ActionKind = ActionKind.DELEVERAGE) -> SaleTerms:
        """Helper, token by which it is let and the usual premium. Raises ActionImpossible where nothing can be sold."""
        market, _ = _known_state(position)
        if kind is ActionKind.SWAP_TO_REPAY:
            return SaleTerms("", "", 0)
        return self._shape(market, collateral, kind)

    def sold_in(self, logs: Sequence[Log], owner: str, token: str) -> int | None:
        """What the helper of this market says it sold, else what the account itself swapped: one that runs the helper's
        code as its own does both with the same tokens; see LendingMarket.
        """
        if self._pool is None:
            return None
        helper = self._helper(self._pool)
        told = None if isinstance(helper, str) else sold_in(logs, helper.address, owner, token)
        return swapped_in(logs, self._pool, owner, token) if told is None else told

    @property
    def account_code(self) -> PinnedCode | None:
        """The helper of the pool that the last reading named; see LendingMarket.account_code."""
        helper = None if self._pool is None else self._helper(self._pool)
        return helper.pinned if isinstance(helper, Helper) else None

    def liquidation_query(self, accounts: Sequence[str]) -> EventQuery | None:
        """The pool's liquidations of `accounts`; None before a reading has told the pool."""
        return None if self._pool is None else liquidation_query(self._pool, accounts)

    def liquidation_told(self, log: Log) -> Liquidation | None:
        """What an event of the pool says of a liquidation; None for any other."""
        return None if self._pool is None else liquidation_told(self._pool, log)

    def moved_in(self, logs: Sequence[Log], owner: str, token: str) -> int:
        """What the account's own transactions left of a token in its wallet; see LendingMarket.moved_in."""
        return moved_in(logs, owner, token)

    def repaid_in(self, logs: Sequence[Log], owner: str, token: str) -> int:
        """What was repaid of a debt of the account; see LendingMarket.repaid_in."""
        return 0 if self._pool is None else repaid_in(logs, self._pool, owner, token)

    def typical_gas(self, call: PlannedCall) -> int:
        """What a call of this kind took on a pool of 3.2, up; see `gas`."""
        return typical_gas(call)

    def _shape(self, market: MarketState, paying: Asset, kind: ActionKind) -> SaleTerms:
        helper = self._seller(market.pool)
        return shape_of(helper.address, pool_actions.reserve_for(market, kind, paying), kind)

    def _seller(self, pool: str) -> Helper:
        """The helper of a pool. Raises ActionImpossible, with how to mend it, where there is none."""
        helper = self._helper(pool)
        if isinstance(helper, str):
            raise ActionImpossible(helper)
        return helper

    def _helper(self, pool: str) -> Helper | str:
        """The helper that sells for positions in `pool`, or why there is none."""
        if self._router is None:
            return (
                f"{self._key} cannot sell collateral: the network file has no [[swap]] table of kind "
                f'"{UNISWAP}" with {ROUTER_KEY}; add one'
            )
        helper = _helper_of(pool, self._router)
        if self._named is not None and self._named != helper.address:
            return (
                f"{self._key} cannot sell collateral: [helpers] {HELPER_KEY} names {self._named}, but the helper of "
                f"this pool and router stands at {helper.address}; take the line out, or write that address"
            )
        return helper

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
    if action.kind is ActionKind.SWAP_TO_REPAY:
        return pool_actions.after_action(market, account, ActionKind.REPAY, action.asset, action.amount)
    if action.sale is not None and action.sale.withdrawn is not None:
        out = action.sale.withdrawn
        return pool_actions.after_round(market, account, action.asset, action.sale.collateral, out, action.amount)
    if action.kind in SALES:
        sale = _sale_of(action)
        deal = Reshaping(
            action.kind,
            action.asset,
            sale.collateral,
            action.amount,
            sale.most_sold,
            sale.sold,
            sale.terms.delegated,
        )
        return after_reshaping(market, account, deal)
    return pool_actions.after_action(market, account, action.kind, action.asset, action.amount)


def _sale_of(action: Action) -> Sale:
    if action.sale is None:
        raise ActionImpossible(f"{action.kind} of nothing: what is to be sold is not said")
    return action.sale


def _doing(call: PlannedCall, action: Action) -> PlannedCall:
    """The call as one that does `action`, where it does anything by itself."""
    stand_in = tuple(_doing(one, action) for one in call.stand_in)
    return call if call.action is None else replace(call, action=action, stand_in=stand_in)


def _lent_one(market: MarketState, position: Position, kind: ActionKind, loaned: Asset | None) -> Reserve | None:
    """The reserve of what is lent for a sale: `loaned`, else, where debt is repaid, the only one that is owed."""
    if loaned is None and kind not in SUPPLYING and len(position.debt) == 1:
        loaned = position.debt[0].asset
    return None if loaned is None else market.reserve(loaned.address)


@lru_cache(maxsize=64)
def _helper_of(pool: str, router: str) -> Helper:
    return Helper(pool, router)


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
