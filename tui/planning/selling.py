"""One sale of collateral sized: how much debt it repays, what it may sell at most, what that costs. Pure.

Where exchanges were not asked the worst that the step allows is assumed: the whole of its slippage, the dearest loan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tui.model.plan import Action, Sale, SaleTerms, SwapCost
from tui.model.position import Asset, Position
from tui.model.rule import BORROWING, SUPPLYING, ActionKind
from tui.model.units import BPS, UINT256_MAX, USD, WAD, mul_div_up, value_usd, whole
from tui.model.wallet import Wallet
from tui.planning.circumstances import Offer
from tui.planning.texts import amount_text, health_text, percent_text
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import Quote, SwapRequest, most_sold
from tui.risk.deleverage import (
    SaleCurve,
    feasible,
    kept_share,
    sale_value,
    size_deleverage,
    weighted_collateral,
    with_premium,
)
from tui.risk.search import last_true

ASSUMED_VENUE = "an exchange, at the worst allowed"
_PROBE = 100 * USD
"""A sale of this size (or of all that may be sold, where that is less) tells a price that is too bad from an amount
that is too large: rounding to a base unit does not count in it.
"""


@dataclass(frozen=True, slots=True)
class SaleOrder:
    """What a step asks for, in base units: at most `most_out` of `collateral`, which pays, for the reason in `bound`.
    `debt` is what is bought: repaid, or supplied where the kind is one that supplies. `wallet`: of whom, for sales that
    are sized before any terms were asked for. `hurried`: an own swap has all the room that its limits leave.
    """

    debt: Asset
    collateral: Asset
    slippage_bps: int
    most_out: int
    bound: str
    kind: ActionKind = ActionKind.DELEVERAGE
    wallet: Wallet | None = None
    hurried: bool = False

    @property
    def words(self) -> str:
        """`selling WETH for USDC`."""
        bought, pays = self.debt.symbol, self.collateral.symbol
        if self.kind is ActionKind.SWITCH_COLLATERAL:
            return f"switching {pays} into {bought}"
        if self.kind is ActionKind.SWITCH_DEBT:
            return f"switching the debt of {bought} into {pays}"
        if self.kind is ActionKind.BOOST:
            return f"borrowing {pays} for {bought}"
        if self.kind is ActionKind.SWAP_TO_REPAY:
            return f"swapping {pays} of the wallet for {bought}"
        return f"selling {pays} for {bought}"


@dataclass(frozen=True, slots=True)
class SizedSale:
    """The action, and what keeps it from its target in words ("" where nothing does)."""

    action: Action
    note: str


def size_sale(
    market: LendingMarket, position: Position, order: SaleOrder, offer: Offer | None, target: int, aim: int
) -> SizedSale | str:
    """A sale that brings `position` to `aim` (wad, give or take half its distance from `target`), the best one where
    none does, or why there is none.

    `offer` None: nothing is known, the worst allowed is assumed.
    """
    sizing = sizing_of(market, position, order, offer)
    if isinstance(sizing, str):
        return sizing
    return sizing.boost(target, aim) if order.kind is ActionKind.BOOST else sizing.run(target, aim)


def size_close(
    market: LendingMarket, position: Position, order: SaleOrder, offer: Offer | None, wanted: int
) -> SizedSale | str:
    """The sale that repays `wanted` base units of debt, the largest one below where that cannot be had, or why there is
    none. As `size_sale`, without a search: how much is known.
    """
    sizing = sizing_of(market, position, order, offer)
    return sizing if isinstance(sizing, str) else sizing.close(wanted)


def sizing_of(market: LendingMarket, position: Position, order: SaleOrder, offer: Offer | None) -> Sizing | str:
    """The search for one sale, or why there is nothing to search for."""
    try:
        terms = offer.terms if offer is not None else market.sale_shape(position, order.collateral, order.kind)
        terms = terms if offer is not None or order.wallet is None else terms.of(order.wallet)
        owed = market.ceiling(position, order.kind, order.debt, order.collateral)
    except ActionImpossible as refused:
        return f"{order.words}: {refused}"
    why_not = (offer.why_not if offer is not None else None) or terms.impossible
    if why_not is not None:
        return f"{order.words}: {why_not}"
    prices = {one.address: market.price_usd(position, one) for one in (order.debt, order.collateral)}
    known = {address: price for address, price in prices.items() if price is not None and price > 0}
    if len(known) < 2:
        return f"{order.words}: a price is not known"
    try:
        market_of = Exchange(order, terms, known, offer)
    except ValueError as wrong:
        return f"{order.words}: {wrong}"
    return Sizing(market, position, order, market_of, owed)


class Exchange:
    """What buying costs and what it may cost, in base units."""

    def __init__(self, order: SaleOrder, terms: SaleTerms, prices: Mapping[str, int], offer: Offer | None) -> None:
        self.order, self.terms, self.prices = order, terms, prices
        self.quotes: tuple[Quote, ...] = () if offer is None else offer.quotes
        self.assumed = offer is None
        self.curve = SaleCurve.through((one.request.amount_out, one.amount_in) for one in self.quotes)
        most_out, self.bound = order.most_out, order.bound
        if terms.withdrawable is not None and terms.withdrawable < most_out:
            most_out = max(terms.withdrawable, 0)
            self.bound = f"the market can give out {amount_text(most_out, order.collateral)} now"
        self.most_out = most_out

    def bought(self, repaid: int) -> int:
        """What must come out of the exchange: the loan and its premium."""
        return with_premium(repaid, self.terms.premium_bps)

    def limit(self, repaid: int) -> int:
        """The most that may be sold for it by the market's own prices, and by what there is."""
        return min(self.fair_limit(repaid), self.most_out)

    def fair_limit(self, repaid: int) -> int:
        request = SwapRequest(self.order.collateral, self.order.debt, self.bought(repaid), self.prices)
        return most_sold(request, self.order.slippage_bps) or 0

    def asked(self, repaid: int) -> int | None:
        """What it is expected to cost; None where nobody quoted so much."""
        return self.fair_limit(repaid) if self.assumed else self.curve.sold_for(self.bought(repaid))

    def sold_for(self, repaid: int) -> int | None:
        """What it is expected to cost, where that is within the limits."""
        sold = self.asked(repaid)
        return None if sold is None or sold > self.limit(repaid) else sold

    def loss(self, repaid: int) -> int:
        """The part of what is sold (wad, up) that does not arrive as debt token, before the premium."""
        sold = self.asked(repaid)
        if not sold:
            return self.order.slippage_bps * WAD // BPS
        fair = self.bought(repaid) * self.prices[self.order.debt.address] * whole(self.order.collateral.decimals)
        had = sold * self.prices[self.order.collateral.address] * whole(self.order.debt.decimals)
        return WAD - fair * WAD // had

    def quote_for(self, repaid: int) -> Quote | None:
        """The quote at or above a size: its shares are the nearest that are not too small."""
        bought = self.bought(repaid)
        return next((one for one in self.quotes if one.request.amount_out >= bought), None)

    def cost(self, repaid: int, sold: int) -> SwapCost:
        """Where the money goes. The three shares of a swap add up to what is lost by the market's own prices."""
        order, prices = self.order, self.prices
        given = value_usd(sold, order.collateral.decimals, prices[order.collateral.address])
        arrives = value_usd(self.bought(repaid), order.debt.decimals, prices[order.debt.address])
        kept = value_usd(repaid, order.debt.decimals, prices[order.debt.address])
        lost, premium = given - arrives, arrives - kept
        quote = self.quote_for(repaid)
        if quote is None:
            # Nobody was asked: all of it is told as the distance between the exchange and the market.
            return SwapCost(gap_usd=lost, premium_usd=premium)
        fees = given * quote.fees // WAD
        impact = max(min(given * quote.impact // WAD, lost - fees), 0)
        return SwapCost(fees_usd=fees, impact_usd=impact, gap_usd=lost - fees - impact, premium_usd=premium)


class Sizing:
    """The search for one sale."""

    def __init__(
        self, market: LendingMarket, position: Position, order: SaleOrder, exchange: Exchange, owed: int
    ) -> None:
        self.market, self.position, self.order, self.exchange = market, position, order, exchange
        available = exchange.terms.available
        self.owed = owed
        self.lendable = owed if available is None else min(owed, max(available, 0))
        held = next((one for one in position.collateral if one.asset.address == order.collateral.address), None)
        self.threshold = held.liquidation_threshold if held is not None and held.counts else 0
        self.refused = ""

    def run(self, target: int, aim: int) -> SizedSale | str:
        """See size_sale."""
        exchange, order = self.exchange, self.order
        most = self.most()
        if most <= 0:
            return f"{order.words}{self.why_nothing()}"
        guess = self._guess(most, aim)
        room = (aim - target) // 2
        found = size_deleverage(self._health_after, exchange.sold_for, most, aim - room, guess, 2 * room)
        if found.repaid <= 0 or not self.improves(found.health):
            return f"{order.words}{self._why_useless(most, target)}"
        action = self._action(found.repaid, found.sold, found.health)
        note = ""
        if not found.reaches:
            note = self.bound(found.repaid) if found.repaid == most else f"{order.words}: more would not help"
        return SizedSale(action, note)

    def boost(self, floor: int, aim: int) -> SizedSale | str:
        """The largest loan that leaves health (wad) at `aim`, never under `floor`."""
        exchange, order = self.exchange, self.order
        most = self.most()
        if most <= 0:
            return f"{order.words}{self.why_nothing()}"

        def keeps(bought: int) -> bool:
            sold = exchange.sold_for(bought)
            try:
                health = None if sold is None else self._health_after(bought, sold)
            except ActionImpossible:
                return False
            return health is not None and health >= aim

        before, lowest = self.position.health_factor or 0, self._health_at(most)
        guess = most
        if lowest is not None and before > lowest:
            guess = min(max(most * (before - aim) // (before - lowest), 1), most)
        bought = last_true(keeps, 1, most, guess) or 0
        sold = exchange.sold_for(bought) if bought else None
        health = self._health_at(bought) if bought else None
        if sold is None or health is None or health < floor:
            return f"{order.words} would bring the health factor under {health_text(floor)}"
        action = self._action(bought, sold, health, floor)
        return SizedSale(action, self.bound(bought) if bought == most else "")

    def _health_at(self, bought: int) -> int | None:
        sold = self.exchange.sold_for(bought)
        try:
            return None if sold is None else self._health_after(bought, sold)
        except ActionImpossible:
            return None

    def close(self, wanted: int) -> SizedSale | str:
        """See size_close."""
        exchange, order = self.exchange, self.order
        repaid = wanted if 0 < wanted <= self.lendable and exchange.sold_for(wanted) is not None else 0
        most = 0
        if repaid <= 0:
            most = min(self.most(), wanted)
            repaid = most
        sold = exchange.sold_for(repaid) if repaid > 0 else None
        if sold is None:
            return f"{order.words}{self.why_nothing()}"
        try:
            health = self._health_after(repaid, sold)
        except ActionImpossible as refused:
            return f"{order.words}: {refused}"
        expected = UINT256_MAX if health is None else health
        if not self.improves(expected):
            return f"{order.words} would not raise the health factor"
        return SizedSale(self._action(repaid, sold, expected), self.bound(repaid) if repaid < wanted else "")

    def most(self) -> int:
        """The most debt that may be repaid within price and limits."""
        exchange = self.exchange
        price = exchange.prices[self.order.debt.address]
        low: int = min(max(_PROBE * whole(self.order.debt.decimals) // price, 1), self.lendable)
        if low <= 0:
            return 0
        fair = exchange.most_out * exchange.prices[self.order.collateral.address]
        # What all that may be sold is worth: nothing above it needs to be looked at.
        high = fair * whole(self.order.debt.decimals) // (price * whole(self.order.collateral.decimals))
        high = min(self.lendable, max(high + high // 100, low))

        def can(repaid: int) -> bool:
            sold = exchange.sold_for(repaid)
            if sold is None or self.order.kind not in BORROWING:
                return sold is not None
            # What can be borrowed depends on what is supplied or repaid with it.
            try:
                self._health_after(repaid, sold)
            except ActionImpossible as refused:
                self.refused = str(refused)
                return False
            return True

        if can(high):
            return high
        if not can(low):
            # Less than the probe may be all that the step's limits leave.
            return last_true(can, 1, low, low // 2) or 0
        return last_true(can, low, high, (low + high) // 2) or 0

    def _guess(self, most: int, aim: int) -> int:
        """The closed form, with the loss at the size that it gives; of a switch the line to what the most would do."""
        if self.order.kind is not ActionKind.DELEVERAGE:
            before, there = self.position.health_factor or 0, self._health_at(most)
            if there is None or there <= before:
                return most
            return min(max(most * (aim - before) // (there - before), 1), most)
        weighted, owed = weighted_collateral(self.position), self.position.debt_usd
        guess = most
        if weighted is None or owed is None:
            return guess
        for _ in range(2):
            kept = kept_share(self.exchange.loss(guess), self.exchange.terms.premium_bps)
            value = sale_value(weighted, owed, aim, self.threshold, kept)
            if value is None:
                return most
            units = value * kept * whole(self.order.debt.decimals)
            guess = min(max(units // (WAD * self.exchange.prices[self.order.debt.address]), 1), most)
        return guess

    def _action(self, repaid: int, sold: int, health: int, at_least: int | None = None) -> Action:
        exchange = self.exchange
        quote = exchange.quote_for(repaid)
        before = self.position.health_factor or 0
        # Half way to what is expected: a price may move a little meanwhile, but the sale must be worth it.
        floor = before if health >= UINT256_MAX else (before + health) // 2
        if at_least is not None:
            floor = at_least
        sale = Sale(
            collateral=self.order.collateral,
            sold=sold,
            most_sold=exchange.limit(repaid),
            min_health=max(floor, WAD),
            path=quote.path if quote is not None else b"",
            venue=quote.venue if quote is not None else ASSUMED_VENUE,
            terms=exchange.terms,
            cost=exchange.cost(repaid, sold),
            price_usd=exchange.prices[self.order.collateral.address],
        )
        return Action(self.order.kind, self.order.debt, repaid, sale)

    def _health_after(self, repaid: int, sold: int) -> int | None:
        if not repaid:
            return self.position.health_factor
        sale = Sale(self.order.collateral, sold, self.exchange.limit(repaid), WAD, b"", "", self.exchange.terms)
        return self.market.after(self.position, (Action(self.order.kind, self.order.debt, repaid, sale),)).health_factor

    def improves(self, health: int) -> bool:
        """Whether health (wad) afterwards is higher than now, and not that of a liquidation."""
        before = self.position.health_factor
        return before is not None and health > before and health >= WAD

    def bound(self, most: int) -> str:
        """What keeps a sale from being larger than `most` of debt."""
        exchange, order = self.exchange, self.order
        if most >= self.owed:
            left = "all that the market takes" if order.kind in SUPPLYING else "all that is owed"
            return f"{left} is {amount_text(self.owed, order.debt)}"
        if most >= self.lendable:
            return f"no more than {amount_text(self.lendable, order.debt)} can be lent for it now"
        # A hair more, so that rounding to a unit does not pass for a limit.
        more = most + max(most // 10_000, 1)
        sold = exchange.asked(more)
        if sold is None:
            return f"more than {amount_text(most, order.debt)} was not quoted"
        if sold > exchange.most_out:
            return exchange.bound
        if self.refused:
            return f"{order.words}: {self.refused}"
        return f"{order.words}: more would lose over the step's {percent_text(order.slippage_bps, BPS)}"

    def why_nothing(self) -> str:
        exchange, order = self.exchange, self.order
        if exchange.most_out <= 0:
            return f": {exchange.bound}"
        if self.lendable <= 0:
            return f": no {order.debt.symbol} can be lent for it now"
        if self.refused:
            return f": {self.refused}"
        losses = [quote.loss for quote in exchange.quotes if quote.loss is not None]
        if losses:
            worst = percent_text(order.slippage_bps, BPS)
            return f" would lose {percent_text(min(losses))} now, over the step's {worst}"
        return ": nobody quotes it now" if not exchange.assumed else ": its limits leave nothing"

    def _why_useless(self, most: int, target: int) -> str:
        if self.order.kind is not ActionKind.DELEVERAGE:
            return self._why_lower(most)
        kept = kept_share(self.exchange.loss(most), self.exchange.terms.premium_bps)
        if not feasible(target, self.threshold, kept):
            return (
                f" cannot lift the health factor to {health_text(target)}: {percent_text(kept)} of what is sold repays "
                f"debt, while {percent_text(self.threshold)} of it counted as cover"
            )
        return " would not raise the health factor"

    def _why_lower(self, most: int) -> str:
        """Why a switch does not raise health: the other threshold, or what the swap takes."""
        health, before = self._health_at(most), self.position.health_factor
        same = health is not None and before is not None and health >= before
        said = " would not raise the health factor" if same else " would lower the health factor"
        if self.order.kind is ActionKind.SWITCH_DEBT:
            return f"{said}: the new debt is larger by what the swap costs"
        bought = next((one for one in self.position.collateral if one.asset.address == self.order.debt.address), None)
        if bought is not None and bought.liquidation_threshold <= self.threshold:
            return f"{said}: its threshold is not higher"
        lower = health is not None and before is not None and health < before
        return f"{said}: its threshold is too low for what the swap takes" if lower else said


def fair_offer(order: SaleOrder, terms: SaleTerms, owed: int, prices: Mapping[str, int]) -> Offer | None:
    """An offer as if selling cost nothing: how little a sale may come to. None where a price is not known."""
    free = SaleTerms(terms.helper, terms.receipt, 0, delegated=terms.delegated)
    request = SwapRequest(order.collateral, order.debt, owed, prices)
    sold, bought = prices.get(order.collateral.address), prices.get(order.debt.address)
    if not sold or not bought or owed <= 0:
        return None
    cost = mul_div_up(owed, bought * whole(order.collateral.decimals), sold * whole(order.debt.decimals))
    return Offer(free, (Quote(request, "", b"", cost, 0, 0, 0, 0, 0),))
