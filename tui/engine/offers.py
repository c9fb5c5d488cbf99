"""What the sales of a rule would cost at a block: the market's terms and the exchanges' quotes, in one extra read.

Asked for only where a plan wants a sale; what was answered last is kept for telling what would stop one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult
from tui.model.plan import SaleTerms
from tui.model.position import Asset, Position
from tui.model.rule import BORROWING, Rule
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances, Offer, OfferKey
from tui.planning.sales import SaleWanted, offers_of, wanted_sales
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import Quote, Quoter

Read = Callable[[BlockRef, Sequence[Call]], Awaitable[Sequence[CallResult]]]
Pair = tuple[str, str]


class Offers:
    """Asks `quoters` and markets through `read`, pinned to a block."""

    def __init__(self, read: Read, quoters: Sequence[Quoter]) -> None:
        self.read = read
        self._quoters = tuple(quoters)
        self._terms: dict[Pair, SaleTerms] = {}

    def known_terms(self, position: Position, collateral: Asset) -> SaleTerms | None:
        """What the market said last about selling `collateral` of a position; None where it was not asked yet."""
        return self._terms.get((position.id, collateral.address))

    def absent(self, position: Position) -> frozenset[str]:
        """The collaterals (addresses) of a position that no helper stood there to sell, when it was asked last."""
        of = position.id
        return frozenset(token for (known, token), terms in self._terms.items() if known == of and terms.absent)

    async def gather(
        self, rule: Rule, market: LendingMarket, position: Position, wallet: Wallet, circumstances: Circumstances
    ) -> Mapping[OfferKey, Offer]:
        """The offers for `Circumstances.offers`, by (collateral, debt) address; empty where no sale is wanted.

        A read that fails is no reason to leave the other steps undone: the sales alone are impossible then, and say so.
        """
        wanted = wanted_sales(rule, market, position, wallet, circumstances)
        if not wanted:
            return {}
        terms_calls = [market.sale_calls(position, one.collateral, one.debt, one.kind) for one in wanted]
        quote_calls = [
            [[quoter.calls(request) for quoter in self._quoters] for request in one.requests] for one in wanted
        ]
        calls = [call for group in terms_calls for call in group]
        calls += [call for one in quote_calls for request in one for group in request for call in group]
        try:
            answers = iter(await self.read(position.block, calls))
        except (ReadFailed, ChainUnreachable) as failed:
            return _none(wanted, market, position, f"its price could not be asked for: {failed}")
        terms = []
        for one, group in zip(wanted, terms_calls, strict=True):
            told = market.sale_terms(position, one.collateral, _taken(answers, group), one.debt, one.kind).of(wallet)
            if one.kind not in BORROWING:
                self._terms[position.id, one.collateral.address] = told
            told = told if wallet.permits else replace(told, permit=None)
            terms.append(told)
        quotes: list[list[list[Quote]]] = []
        for one, requests in zip(wanted, quote_calls, strict=True):
            quotes.append(
                [
                    [
                        quote
                        for quoter, group in zip(self._quoters, groups, strict=True)
                        for quote in quoter.decode(request, _taken(answers, group))
                    ]
                    for request, groups in zip(one.requests, requests, strict=True)
                ]
            )
        offers = offers_of(wanted, terms, quotes)
        if self._quoters:
            return offers
        return {key: replace(offer, unanswered=False) for key, offer in offers.items()}  # nobody was asked

    async def look(self, block: BlockRef, sales: Iterable[tuple[LendingMarket, Position, Asset]]) -> None:
        """Ask again for the terms of sales that rules name, so that what would stop one is known before it is due.

        Raises ReadFailed, ChainUnreachable.
        """
        asked = [(market, position, asset, market.sale_calls(position, asset)) for market, position, asset in sales]
        calls = [call for *_, group in asked for call in group]
        if not calls:
            return
        answers = iter(await self.read(block, calls))
        for market, position, asset, group in asked:
            self._terms[position.id, asset.address] = market.sale_terms(position, asset, _taken(answers, group))


def _taken(answers: Iterable[CallResult], group: Sequence[Call]) -> tuple[CallResult, ...]:
    """The next answers, one a call of `group`."""
    return tuple(answer for _, answer in zip(group, answers, strict=False))


def _none(
    wanted: Sequence[SaleWanted], market: LendingMarket, position: Position, why: str
) -> Mapping[OfferKey, Offer]:
    offers = {}
    for one in wanted:
        try:
            terms = market.sale_shape(position, one.collateral, one.kind)
        except ActionImpossible:
            continue
        offers[one.key] = Offer(replace(terms, impossible=why), (), why, unanswered=True)
    return offers
