"""How the waterfall takes a step that is paid for by a sale: by the helper, in rounds, or from the wallet. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.model.position import Asset
from tui.model.rule import BORROWING, ActionKind, RoundsUse, Step
from tui.model.text import clean_text
from tui.model.units import value_usd, whole
from tui.planning.circumstances import Offer, offer_key
from tui.planning.own_swaps import size_swap
from tui.planning.payers import payer_wallet
from tui.planning.round_steps import RoundSteps
from tui.planning.selling import SaleOrder, SizedSale, size_close, size_sale
from tui.planning.standing import NO_ROUTER, Sized
from tui.planning.texts import amount_text, step_text
from tui.protocols.base import ActionImpossible
from tui.risk.sizing import size_action

MOST_LEVERAGE = 50
DEFAULT_SLIPPAGE_BPS = 50
"""What a sale may lose where its step does not say it."""


@dataclass(frozen=True, slots=True)
class SaleSteps(RoundSteps):
    """The sizes of sales."""

    def _sale(self, step: Step, number: int, debt: Asset) -> Sized | str:
        collateral = self.market.find_asset(self.current, step.collateral or "")
        if collateral is None:
            return f"{step_text(step)}: {self.market.key} lists no asset {clean_text(step.collateral or '')}"
        swaps, borrows = step.action is ActionKind.SWAP_TO_REPAY, step.action in BORROWING
        held = next((one for one in self.current.collateral if one.asset == collateral), None)
        if not borrows and not swaps and (held is None or held.amount <= 0):
            return f"{step_text(step)}: no {collateral.symbol} is supplied"
        price = self.market.price_usd(self.current, collateral)
        if price is None or price <= 0:
            return f"{step_text(step)}: the price of {collateral.symbol} is not known"
        maximum = self._maximum(step, collateral)
        if isinstance(maximum, str):
            return maximum
        there = self._credit(collateral, price)
        if swaps:
            funds = self._funds(step, collateral)
            if isinstance(funds, str):
                return funds
            there = funds
        elif held is not None and not borrows:
            # What earlier rounds took out and did not sell is still there to be sold.
            much = held.amount + self._left(collateral)
            there = (much, f"all that is supplied is {amount_text(held.amount, collateral)}")
        most, why = min([there, *maximum, *self._spendable(collateral, price)], key=lambda bound: bound[0])
        if most <= 0:
            return f"{step_text(step)}: {why}"
        offers, offer = self.circumstances.offers, None
        slippage = DEFAULT_SLIPPAGE_BPS if step.max_slippage_bps is None else step.max_slippage_bps
        pays = payer_wallet(step.wallet, self.wallet, self.circumstances)
        order = SaleOrder(debt, collateral, slippage, most, why, step.action, pays, self.hurried)
        if offers is not None:
            offer = offers.get(offer_key(step.action, collateral, debt))
            if offer is None:
                return self._not_offered(step, number, order, price)
        if self._by_rounds(step, collateral, offer):
            return self._round(number, step, order, offer, price)
        if swaps:
            sized = self._swap(step, order, offer)
        elif self.closing is None:
            sized = size_sale(self.market, self.current, order, offer, self._target, self.aim)
        else:
            sized = size_close(self.market, self.current, order, offer, self.closing.left_of(debt.address))
        if isinstance(sized, str):
            return f"{step.action.word}: {sized}"
        assert sized.action.sale is not None
        # What may be sold counts, not what is expected to be: a day's limit is one that holds.
        return Sized(sized.action, sized.note, value_usd(sized.action.sale.most_sold, collateral.decimals, price))

    def _not_offered(self, step: Step, number: int, order: SaleOrder, price: int) -> Sized | str:
        """Why nobody was asked what a sale costs; or the repayment that makes one needless."""
        if self._by_rounds(step, order.collateral, None):
            found = self._round(number, step, order, None, price)
            if isinstance(found, str) or found.action.sale is None:
                return found
        return f"{step_text(step)}: {self._why_not_asked(order)}"

    def _by_rounds(self, step: Step, collateral: Asset, offer: Offer | None) -> bool:
        """Whether a deleverage goes in rounds by the account itself."""
        if step.action is not ActionKind.DELEVERAGE or step.rounds is RoundsUse.NEVER:
            return False
        known = collateral.address in self.circumstances.absent if offer is None else offer.terms.absent
        return step.rounds is RoundsUse.ALWAYS or known

    def _swap(self, step: Step, order: SaleOrder, offer: Offer | None) -> SizedSale | str:
        """A swap of the wallet's own token for what is then repaid."""
        swapper = self.circumstances.swapper
        if swapper is None:
            return f"{order.words}: {NO_ROUTER}"
        wanted = self._wanted(step, order.debt)
        if isinstance(wanted, str):
            return wanted
        given = self.circumstances.given.get(offer_key(step.action, order.collateral, order.debt))
        sized = size_swap(self.market, self.current, order, offer, swapper, wanted, given)
        if isinstance(sized, str) or sized.action.sale is None:
            return sized
        wrap = max(sized.action.sale.sold - self._own(step, order.collateral), 0)
        return replace(sized, action=replace(sized.action, wrap=wrap, payer=self._payer(step)))

    def _wanted(self, step: Step, debt: Asset) -> int | str:
        """Base units of a debt whose repayment is all that is wanted, or why none can be."""
        if self.closing is not None:
            return self.closing.left_of(debt.address)
        try:
            owed = self.market.ceiling(self.current, ActionKind.REPAY, debt)
            return size_action(self.market, self.current, ActionKind.REPAY, debt, owed, self.aim)
        except ActionImpossible as refused:
            return f"{step_text(step)}: {refused}"

    def _credit(self, asset: Asset, price: int) -> tuple[int, str]:
        """More than could ever be borrowed of an asset: where credit ends the market itself says."""
        worth = (self.current.collateral_usd or 0) * MOST_LEVERAGE
        return worth * whole(asset.decimals) // price, f"no more {asset.symbol} can be borrowed"

    def _why_not_asked(self, order: SaleOrder) -> str:
        """That the market cannot, that it would add nothing whatever it costs, or else that nobody was asked."""
        try:
            self.market.sale_shape(self.current, order.collateral, order.kind)
            if self.closing is None:
                sized = size_sale(self.market, self.current, order, None, self._target, self.aim)
                if isinstance(sized, str):
                    return sized
        except ActionImpossible as refused:
            return str(refused)
        return "no exchange was asked"
