"""A small lending market in exact integers, with an exchange beside it: for planning without a node.

Health is the sum of value times threshold over the sum of debts, floored once; nothing else is rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult
from tui.model.pinned import PinnedCode
from tui.model.plan import Action, FeeQuote, PermitNeed, PlannedCall, SaleTerms
from tui.model.position import Asset, Collateral, Debt, Held, MarketKey, Position, PositionKey
from tui.model.rule import BORROWING, SUPPLYING, ActionKind
from tui.model.signing import WordRule
from tui.model.units import USD, WAD, mul_div_up, value_usd, whole
from tui.model.wallet import TokenHolding, Wallet
from tui.planning.circumstances import Circumstances
from tui.protocols.base import ActionImpossible, MarketReading
from tui.protocols.erc20 import approve_data, word
from tui.quotes.base import Quote, SwapRequest, fair_ratio
from tui.quotes.uniswap_v3 import Route, encode_path

ACCOUNT = "0x" + "ab" * 20
POOL = "0x" + "90" * 20
HELPER = "0x" + "9e" * 20
GWEI = 10**9
SALE = bytes.fromhex("03b65d76")
REPAY, SUPPLY, BURN = (bytes([one] * 4) for one in (1, 2, 3))
GAS = {REPAY: 200_000, SUPPLY: 250_000, BURN: 220_000, SALE: 900_000}


def token(number: int, symbol: str, decimals: int) -> Asset:
    return Asset(f"0x{number:040x}", symbol, decimals)


WETH, WBTC, USDC, DAI = token(1, "WETH", 18), token(2, "WBTC", 8), token(3, "USDC", 6), token(4, "DAI", 18)
ASSETS = (WETH, WBTC, USDC, DAI)
THRESHOLDS = {WETH: 83 * WAD // 100, WBTC: 78 * WAD // 100, USDC: 78 * WAD // 100, DAI: 77 * WAD // 100}
PRICES = {WETH: 2_000 * USD, WBTC: 60_000 * USD, USDC: USD, DAI: USD}


def receipt_of(asset: Asset) -> str:
    return "0x" + "a7" * 16 + asset.address[-8:]


@dataclass(frozen=True)
class Book:
    """What an account has, in base units."""

    supplied: Mapping[Asset, int]
    owed: Mapping[Asset, int]
    prices: Mapping[Asset, int]


@dataclass
class PlainMarket:
    """The market. `room` is what a supply cap leaves of an asset; `frozen` assets take no supply."""

    actions: frozenset[ActionKind] = frozenset(ActionKind)
    room: Mapping[Asset, int] = field(default_factory=dict)
    frozen: frozenset[Asset] = frozenset()
    premium_bps: int = 5
    withdrawable: int | None = None
    available: int | None = None
    sells: bool = True
    asked: int = 0

    @property
    def key(self) -> MarketKey:
        return MarketKey("plain", "market")

    def position(
        self,
        supplied: Mapping[Asset, int],
        owed: Mapping[Asset, int],
        prices: Mapping[Asset, int] | None = None,
    ) -> Position:
        """A position with so much supplied and owed."""
        return self._built(Book(supplied, owed, dict(PRICES) | dict(prices or {})))

    def _built(self, book: Book) -> Position:
        collateral = tuple(
            Collateral(one, amount, book.prices[one], value_usd(amount, one.decimals, book.prices[one]),
                       THRESHOLDS[one], counts=True, supply_apy=WAD // 50)
            for one, amount in book.supplied.items() if amount
        )  # fmt: skip
        debt = tuple(
            Debt(one, amount, book.prices[one], value_usd(amount, one.decimals, book.prices[one]), WAD // 20)
            for one, amount in book.owed.items()
            if amount
        )
        scale = 10**18
        cover = sum(
            amount * book.prices[one] * THRESHOLDS[one] * scale // (whole(one.decimals) * WAD)
            for one, amount in book.supplied.items()
        )
        owed = sum(amount * book.prices[one] * scale // whole(one.decimals) for one, amount in book.owed.items())
        return Position(
            key=PositionKey(self.key, ACCOUNT),
            block=BlockRef(100, "0x64", "0x63", 1_700_000_000, 10 * GWEI),
            collateral=collateral,
            debt=debt,
            health_factor=cover * WAD // owed if owed else None,
            collateral_usd=sum(one.value_usd or 0 for one in collateral),
            debt_usd=sum(one.value_usd or 0 for one in debt),
            liquidation_penalty_usd=sum(one.value_usd or 0 for one in debt) // 20,
            state=book,
        )

    # -- reads

    def read_calls(self, accounts: Sequence[str]) -> tuple[Call, ...]:
        return tuple(Call(POOL, bytes.fromhex(account[2:])) for account in accounts)

    def decode(self, block: BlockRef, accounts: Sequence[str], results: Sequence[CallResult]) -> MarketReading:
        """A result's data is `repr` of nothing: the tests put the position in by `reading`."""
        return MarketReading(tuple(self.reading for _ in accounts), ASSETS, "1", "")

    reading: Position = None  # type: ignore[assignment]

    def find_asset(self, position: Position, name: str) -> Asset | None:
        return next((one for one in ASSETS if name in (one.symbol, one.address)), None)

    def price_usd(self, position: Position, asset: Asset) -> int | None:
        return _book(position).prices.get(asset)

    def held(self, position: Position) -> Held | None:
        book = _book(position)
        assets = dict.fromkeys((*book.supplied, *book.owed))
        return tuple((one.address, book.supplied.get(one, 0), book.owed.get(one, 0)) for one in assets)

    def repriced(self, position: Position, prices_usd: Mapping[str, int]) -> Position:
        book = _book(position)
        prices = {one: prices_usd.get(one.address, price) for one, price in book.prices.items()}
        return self._built(replace(book, prices=prices))

    # -- actions

    def after(self, position: Position, actions: Sequence[Action]) -> Position:
        self.asked += 1
        book = _book(position)
        for action in actions:
            book = self._done(book, action)
        return self._built(book)

    def _done(self, book: Book, action: Action) -> Book:
        supplied, owed, asset = dict(book.supplied), dict(book.owed), action.asset
        if action.sale is not None and action.sale.withdrawn is not None:
            self._take(supplied, action.sale.collateral, action.sale.withdrawn)
            book, action = replace(book, supplied=supplied), replace(action, kind=ActionKind.REPAY, sale=None)
            between = self._built(book).health_factor
            if between is not None and between < WAD:
                raise ActionImpossible("the position would be liquidatable after it")
            if not action.amount:
                return book
        if action.amount <= 0:
            raise ActionImpossible("nothing to do")
        if action.kind is ActionKind.ADD_COLLATERAL:
            if action.amount > self.room.get(asset, 2**128):
                raise ActionImpossible("over the cap")
            supplied[asset] = supplied.get(asset, 0) + action.amount
            return replace(book, supplied=supplied)
        if action.kind is ActionKind.SWAP_TO_REPAY:
            action = replace(action, kind=ActionKind.REPAY, sale=None)
        if action.sale is not None and action.kind is not ActionKind.DELEVERAGE:
            return self._reshaped(replace(book, supplied=supplied, owed=owed), action)
        if action.amount > owed.get(asset, 0):
            raise ActionImpossible(f"more {asset.symbol} than is owed")
        owed[asset] -= action.amount
        if action.kind is ActionKind.REPAY_WITH_ATOKENS:
            self._take(supplied, asset, action.amount)
        if action.sale is not None:
            one = action.sale.collateral
            self._take(supplied, one, action.sale.most_sold)
            between = self._built(replace(book, supplied=supplied, owed=owed)).health_factor
            if between is not None and between < WAD:
                raise ActionImpossible("the position would be liquidatable after it")
            supplied[one] += action.sale.most_sold - action.sale.sold
            if action.sale.sold > action.sale.most_sold:
                raise ActionImpossible("more sold than taken")
        return replace(book, supplied=supplied, owed=owed)

    def _reshaped(self, book: Book, action: Action) -> Book:
        """A switch or a boost; credit ends at nine tenths of the threshold."""
        supplied, owed, sale = dict(book.supplied), dict(book.owed), action.sale
        if action.kind in SUPPLYING:
            supplied[action.asset] = supplied.get(action.asset, 0) + action.amount
        elif action.amount > owed.get(action.asset, 0):
            raise ActionImpossible(f"more {action.asset.symbol} than is owed")
        else:
            owed[action.asset] -= action.amount
        if action.kind in BORROWING:
            owed[sale.collateral] = owed.get(sale.collateral, 0) + sale.sold
            left = replace(book, supplied=supplied, owed=owed)
            if (self._built(left).health_factor or WAD * 2) < WAD * 10 // 9:
                raise ActionImpossible(f"more {sale.collateral.symbol} than the loan to value leaves")
            return left
        self._take(supplied, sale.collateral, sale.most_sold)
        if (self._built(replace(book, supplied=supplied)).health_factor or WAD) < WAD:
            raise ActionImpossible("the position would be liquidatable after it")
        supplied[sale.collateral] += sale.most_sold - sale.sold
        return replace(book, supplied=supplied, owed=owed)

    def _take(self, supplied: dict[Asset, int], asset: Asset, amount: int) -> None:
        if amount > supplied.get(asset, 0):
            raise ActionImpossible(f"more {asset.symbol} than is supplied")
        supplied[asset] -= amount

    def ceiling(self, position: Position, kind: ActionKind, asset: Asset, collateral: Asset | None = None) -> int:
        book = _book(position)
        if kind is ActionKind.ADD_COLLATERAL or kind in SUPPLYING:
            if asset in self.frozen:
                raise ActionImpossible(f"{asset.symbol} is frozen in this market")
            return self.room.get(asset, 2**128)
        owed = book.owed.get(asset, 0)
        if not owed:
            raise ActionImpossible(f"no {asset.symbol} is owed")
        if kind is ActionKind.REPAY_WITH_ATOKENS:
            if not book.supplied.get(asset, 0):
                raise ActionImpossible(f"no {asset.symbol} is supplied")
            return min(owed, book.supplied[asset])
        return owed

    def spender(self, kind: ActionKind) -> str | None:
        if kind is ActionKind.DELEVERAGE:
            return HELPER
        return POOL if kind in (ActionKind.REPAY, ActionKind.ADD_COLLATERAL) else None

    def calls_for(self, position: Position, action: Action, wallet: Wallet, deadline: int) -> tuple[PlannedCall, ...]:
        asset, wraps = action.asset, ()
        if action.wrap:
            wraps = (PlannedCall(asset.address, bytes.fromhex("d0e30db0"), action.wrap, "Wrap", None),)
        if action.sale is not None:
            sale = action.sale
            floor = sale.min_health if action.kind is ActionKind.BOOST else WAD
            words = (int(asset.address, 16), int(sale.collateral.address, 16), action.amount, sale.most_sold,
                     sale.min_health)  # fmt: skip
            rules = (WordRule(0, words[0]), WordRule(1, words[1]), WordRule(3, maximum=sale.most_sold),
                     WordRule(4, minimum=floor), WordRule(6, maximum=3))  # fmt: skip
            call = PlannedCall(HELPER, SALE + b"".join(word(one) for one in words), 0, "Sell", action, rules,
                               spend_token=sale.collateral.address, spend_word=3)  # fmt: skip
            return self._allowed(sale.terms.receipt, HELPER, sale.most_sold, sale.terms.allowed, sale.terms.permit,
                                 call)  # fmt: skip
        selector = {ActionKind.REPAY: REPAY, ActionKind.ADD_COLLATERAL: SUPPLY}.get(action.kind, BURN)
        call = PlannedCall(
            POOL, selector + word(int(asset.address, 16)) + word(action.amount), 0, str(action.kind), action,
            (WordRule(0, int(asset.address, 16)), WordRule(1, maximum=action.amount)),
            spend_token=asset.address, spend_word=1,
        )  # fmt: skip
        if action.kind is ActionKind.REPAY_WITH_ATOKENS:
            return (call,)
        holding = wallet.holding(asset.address)
        allowed = None if holding is None else holding.allowances.get(POOL)
        if allowed is None:
            raise ActionImpossible(f"what the pool may take of {asset.symbol} could not be read")
        permit = None if holding is None else holding.permit
        return (*wraps, *self._allowed(asset.address, POOL, action.amount, allowed, permit, call))

    def _allowed(self, of: str, spender: str, amount: int, allowed: int, permit, call: PlannedCall):
        if allowed >= amount:
            return (call,)
        approve = PlannedCall(of, approve_data(spender, amount), 0, "Approve", None,
                              (WordRule(0, int(spender, 16)), WordRule(1, maximum=amount)))  # fmt: skip
        if permit is None:
            return (approve, call)
        need = PermitNeed(of, permit.name, permit.version, permit.domain_separator, spender, amount, permit.nonce, 0)
        return (replace(call, permit=need, stand_in=(approve, call), data=b"\xfe" + call.data[1:] + bytes(96)),)

    def sale_calls(
        self,
        position: Position,
        collateral: Asset,
        debt: Asset | None = None,
        kind: ActionKind = ActionKind.DELEVERAGE,
    ) -> tuple[Call, ...]:
        return ()

    def sale_terms(
        self,
        position: Position,
        collateral: Asset,
        results: Sequence[CallResult],
        debt: Asset | None = None,
        kind: ActionKind = ActionKind.DELEVERAGE,
    ) -> SaleTerms:
        return replace(
            self.sale_shape(position, collateral, kind), withdrawable=self.withdrawable, available=self.available
        )

    def sale_shape(self, position: Position, collateral: Asset, kind: ActionKind = ActionKind.DELEVERAGE) -> SaleTerms:
        if not self.sells:
            raise ActionImpossible("nothing can be sold here")
        if kind is ActionKind.SWAP_TO_REPAY:
            return SaleTerms("", "", 0)
        return SaleTerms(HELPER, receipt_of(collateral), self.premium_bps)

    @property
    def account_code(self) -> PinnedCode | None:
        return None

    def typical_gas(self, call: PlannedCall) -> int:
        return GAS.get(call.selector, 60_000)


def _book(position: Position) -> Book:
    assert isinstance(position.state, Book)
    return position.state


@dataclass(frozen=True)
class Exchange:
    """One pool of x*y=k for every pair, `depth_usd` deep on each side, at the market's prices less `gap_bps`."""

    depth_usd: int = 100_000_000 * USD
    fee_bps: int = 5
    gap_bps: int = 0
    venue: str = "Pool 0.05%"
    path: bytes = b"\x01" * 43

    def quote(self, request: SwapRequest) -> Quote | None:
        """An exact-output quote, None where the pool has too little."""
        fair = fair_ratio(request)
        assert fair is not None
        price = request.prices_usd[request.bought.address]
        depth_out = self.depth_usd * whole(request.bought.decimals) // price
        if request.amount_out >= depth_out:
            return None
        depth_in = mul_div_up(depth_out, fair[0], fair[1])
        depth_in = depth_in * 10_000 // (10_000 - self.gap_bps)
        net = mul_div_up(depth_in, request.amount_out, depth_out - request.amount_out)
        paid = mul_div_up(net, 10_000, 10_000 - self.fee_bps)
        loss = WAD - request.amount_out * fair[0] * WAD // (fair[1] * paid)
        fees, gap = self.fee_bps * WAD // 10_000, self.gap_bps * WAD // 10_000
        return Quote(request, self.venue, self.path, paid, fees, max(loss - fees - gap, 0), gap, loss, 150_000)


FEES = FeeQuote(10 * GWEI, 21 * GWEI, GWEI, 80 * GWEI)


def circumstances(**changes) -> Circumstances:
    """Ten gwei, a coin of $2,000, nothing spent."""
    return replace(Circumstances(FEES, 2_000 * USD, 0), **changes)


def wallet_of(native: int = WAD, **balances: int) -> Wallet:
    """A wallet with balances by symbol in base units; every token's allowance to the pool is zero."""
    tokens = {one.address: TokenHolding(one, balances.get(one.symbol, 0), {POOL: 0}) for one in ASSETS}
    return Wallet(ACCOUNT, native, 0, tokens)


ROUTER = "0x" + "4e" * 20


@dataclass(frozen=True)
class Routed(Exchange):
    """An exchange whose path a real router can follow."""

    def quote(self, request: SwapRequest) -> Quote | None:
        quote = super().quote(request)
        route = Route((request.sold.address, request.bought.address), (500,))
        return None if quote is None else replace(quote, path=encode_path(route))
