"""What is asked of exchanges before a plan is made, and what their answers come to. Pure.

A sale's size depends on its cost and its cost on its size: it lies between the size that a free sale would have and
the one that costs all its step allows. Those two are quoted, and planning takes the chord between them; a much smaller
one tells what can be sold where the whole would be too dear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tui.model.plan import SaleTerms
from tui.model.position import Asset, Position
from tui.model.rule import SALES, SUPPLYING, ActionKind, Order, RoundsUse, Rule, Step
from tui.model.units import BPS, UINT256_MAX, parse_units, whole
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances, OfferKey, offer_key
from tui.planning.circumstances import Offer as Offer
from tui.planning.rounds import spare_of
from tui.planning.selling import SaleOrder, fair_offer
from tui.planning.waterfall import DEFAULT_SLIPPAGE_BPS, MOST_LEVERAGE, run_waterfall
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import Quote, SwapRequest
from tui.risk.deleverage import with_premium

_PART = 8
"""The smallest quote is for this part of the smallest size."""
_ROOM = 1_000
"""The largest quote is this part (0.1%) above the largest size: interest, and the oracle's next block, move sizes."""


@dataclass(frozen=True, slots=True)
class SaleWanted:
    """A sale that a rule may want now: `requests` at rising sizes, premium counted in.

    `decisive` is the number of the request at which routes are compared: the largest size that the rule's own order
    comes to (a larger one is only for telling what the step alone would cost).
    """

    collateral: Asset
    debt: Asset
    requests: tuple[SwapRequest, ...]
    decisive: int = -1
    kind: ActionKind = ActionKind.DELEVERAGE

    @property
    def key(self) -> OfferKey:
        """The key of its offer."""
        return offer_key(self.kind, self.collateral, self.debt)


def wanted_sales(
    rule: Rule, market: LendingMarket, position: Position, wallet: Wallet, circumstances: Circumstances
) -> tuple[SaleWanted, ...]:
    """What to ask exchanges about before `rule` is planned on `position`, each pair of assets once; none where the
    rule sells nothing, or where the market cannot.

    `circumstances.offers` is not looked at.
    """
    if position.unknown is not None or position.health_factor is None:
        return ()
    pairs = _pairs(rule, market, position)
    if not pairs:
        return ()
    found = _Sizes(rule, market, position, wallet, replace(circumstances, offers=None), pairs)
    wanted = (found.wanted(pair) for pair in pairs)
    return tuple(one for one in wanted if one is not None)


def offers_of(
    wanted: Sequence[SaleWanted], terms: Sequence[SaleTerms], quotes: Sequence[Sequence[Iterable[Quote]]]
) -> Mapping[OfferKey, Offer]:
    """The offers by `offer_key`, for `Circumstances.offers`.

    `terms` has one entry for each of `wanted`, `quotes` for each of them one for each request: the quotes of all
    quoters in any order. One route is taken: the cheapest at the decisive size of those quoted there and at every
    smaller size; where there is none, the same at the next smaller size. Raises ValueError where lengths differ.
    """
    offers = {}
    for want, its_terms, its_quotes in zip(wanted, terms, quotes, strict=True):
        answers = [list(one) for one in its_quotes]
        route = _best_route(want, answers)
        why_not = None if route else f"no exchange offers {want.debt.symbol} for {want.collateral.symbol} now"
        silent = its_terms.impossible is None and not any(answers)
        offers[want.key] = Offer(its_terms, route, why_not, silent)
    return offers


def _best_route(want: SaleWanted, quotes: list[list[Quote]]) -> tuple[Quote, ...]:
    """Quotes of the best route at rising sizes; none where no route has the smallest."""
    if len(quotes) != len(want.requests):
        raise ValueError(f"{len(want.requests)} sizes were asked about, {len(quotes)} were answered")
    by_size: list[dict[tuple[str, bytes], Quote]] = []
    for answers in quotes:
        best: dict[tuple[str, bytes], Quote] = {}
        for quote in answers:
            key = (quote.venue, quote.path)
            if key not in best or quote.amount_in < best[key].amount_in:
                best[key] = quote
        by_size.append(best)
    top = len(by_size) + want.decisive if want.decisive < 0 else want.decisive
    for size in range(top, -1, -1):
        # By path last: two nodes' answers in another order must not give another plan.
        through = sorted(
            (quote.amount_in, key)
            for key, quote in by_size[size].items()
            if all(key in smaller for smaller in by_size[:size])
        )
        if through:
            route = through[0][1]
            chosen = [by_size[at][route] for at in range(size + 1)]
            for larger in by_size[size + 1 :]:
                if route not in larger or larger[route].amount_in < chosen[-1].amount_in:
                    break
                chosen.append(larger[route])
            return tuple(chosen)
    return ()


_Pair = OfferKey


def _pairs(rule: Rule, market: LendingMarket, position: Position) -> dict[_Pair, tuple[Step, Asset, Asset]]:
    """The sale steps that name listed assets, by `offer_key`: step, what pays, what is bought."""
    pairs: dict[_Pair, tuple[Step, Asset, Asset]] = {}
    for step in rule.steps:
        if step.action not in SALES or step.action not in market.actions or step.collateral is None:
            continue
        debt = market.find_asset(position, step.asset)
        collateral = market.find_asset(position, step.collateral)
        if debt is not None and collateral is not None:
            pairs.setdefault(offer_key(step.action, collateral, debt), (step, collateral, debt))
    return pairs


class _Sizes:
    """The amounts that the sales of a rule come to, at no cost and at the highest."""

    def __init__(
        self,
        rule: Rule,
        market: LendingMarket,
        position: Position,
        wallet: Wallet,
        circumstances: Circumstances,
        pairs: Mapping[_Pair, tuple[Step, Asset, Asset]],
    ) -> None:
        self._rule, self._market, self._position, self._wallet = rule, market, position, wallet
        self._pairs = pairs
        self._prices: dict[str, int] = {}
        self._terms: dict[_Pair, SaleTerms] = {}
        self._owed: dict[_Pair, int] = {}
        free: dict[_Pair, Offer] = {}
        for pair, (step, collateral, debt) in pairs.items():
            try:
                self._terms[pair] = market.sale_shape(position, collateral, step.action).of(wallet)
                self._owed[pair] = self._usable(step, collateral, debt, circumstances.swapper is not None)
            except ActionImpossible:
                continue
            for asset in (collateral, debt):
                price = market.price_usd(position, asset)
                if price:
                    self._prices[asset.address] = price
            slippage = DEFAULT_SLIPPAGE_BPS if step.max_slippage_bps is None else step.max_slippage_bps
            order = SaleOrder(debt, collateral, slippage, UINT256_MAX, "", step.action)
            offer = fair_offer(order, self._terms[pair], self._owed[pair], self._prices)
            if offer is not None:
                free[pair] = offer
        both = (circumstances, replace(circumstances, offers=free))
        alone = [(number,) for number, step in enumerate(rule.steps) if step.action in SALES]
        self._written = self._amounts(both, [None])
        self._alone = self._amounts(both, alone)

    def _usable(self, step: Step, paying: Asset, bought: Asset, by_itself: bool) -> int:
        """What a sale could buy at most. What a market takes in has hardly a limit: there what the position is worth
        many times over is. To close all of a debt in rounds, which an account does `by_itself`, a little more is bought
        than is owed: interest runs on. Raises ActionImpossible.
        """
        most = self._market.ceiling(self._position, step.action, bought, paying)
        price = self._market.price_usd(self._position, bought)
        if step.action is ActionKind.DELEVERAGE and self._rule.close_bps == BPS:
            return most + (spare_of(most) if by_itself and step.rounds is not RoundsUse.NEVER else 0)
        if step.action not in SUPPLYING or not price:
            return most
        worth = (self._position.collateral_usd or 0) * MOST_LEVERAGE
        return min(most, worth * whole(bought.decimals) // price)

    def _amounts(
        self, both: Sequence[Circumstances], orders: Sequence[tuple[int, ...] | None]
    ) -> dict[_Pair, list[int]]:
        found: dict[_Pair, list[int]] = {}
        for circumstances in both:
            for order in orders:
                fall = run_waterfall(self._rule, self._market, self._position, self._wallet, circumstances, order)
                for action in fall.actions:
                    if action.sale is not None:
                        pair = offer_key(action.kind, action.sale.collateral, action.asset)
                        found.setdefault(pair, []).append(action.amount)
        return found

    def _switched(self, pair: _Pair, owed: int) -> int:
        """The most of a debt that a switch may repay: what is owed, or what the step's maximum is worth."""
        step, paying, bought = self._pairs[pair]
        prices = self._prices.get(paying.address), self._prices.get(bought.address)
        if step.maximum is None or not prices[0] or not prices[1]:
            return owed
        try:
            maximum = parse_units(step.maximum, paying.decimals)
        except ValueError:
            return owed
        worth = maximum * prices[0] * whole(bought.decimals) // (prices[1] * whole(paying.decimals))
        return max(min(owed, worth + worth // 50), 1)

    def wanted(self, pair: _Pair) -> SaleWanted | None:
        """The requests for a pair, or None where it would sell nothing however cheap."""
        terms, owed = self._terms.get(pair), self._owed.get(pair)
        written, alone = self._written.get(pair, []), self._alone.get(pair, [])
        every = written + alone
        if owed and self._pairs[pair][0].action is ActionKind.SWITCH_DEBT:
            # By the market's own prices it never helps: only quotes can tell where it does.
            most = self._switched(pair, owed)
            every += [max(most // 4, 1), most]
        if terms is None or owed is None or not every:
            return None
        if len(alone) == 1 and self._rule.close_bps is None:
            # It helps only where it costs less than the step allows: how much less, only quotes can tell.
            every.append(min(owed, 2 * alone[0]))
        decisive = max(written) if written and self._rule.order is Order.WRITTEN else max(every)
        small = max(min(every) // _PART, 1)
        step, collateral, debt = self._pairs[pair]
        sizes = sorted({small, min(every), _roomy(decisive, owed), _roomy(max(every), owed)})
        requests = tuple(
            SwapRequest(collateral, debt, with_premium(size, terms.premium_bps), self._prices) for size in sizes
        )
        return SaleWanted(collateral, debt, requests, sizes.index(_roomy(decisive, owed)), step.action)


def _roomy(amount: int, owed: int) -> int:
    return min(amount + amount // _ROOM + 1, owed)
