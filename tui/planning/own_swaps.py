"""Swaps that an account makes by itself, without a helper: how much is repaid, exactly how much goes in for it. Pure.

What is repaid is fixed, so that the target is met exactly wherever the swap goes through at all: at least so much comes
out, or the chain undoes the swap. A little more goes in than it costs at the block of the decision, for the price may
move until it is mined, but never more than the market's own prices and the step's slippage allow. In a hurry it is all
that they allow, as in a sale by the helper: what comes out beyond the repayment stays with whoever pays.
"""

from __future__ import annotations

from tui.model.plan import Action, Sale, SwapCost
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.swap import SwapAnswer
from tui.model.units import UINT256_MAX
from tui.planning.circumstances import LIFETIME, Circumstances, Offer
from tui.planning.selling import ASSUMED_VENUE, SaleOrder, SizedSale, Sizing, sizing_of
from tui.planning.shortfalls import is_emergency
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import SwapOrder, Swapper

PRICE_ROOM = 1_000
"""The part (0.1%) by which more goes in than was asked for it, where `max_slippage` leaves so much."""


def size_swap(
    market: LendingMarket,
    position: Position,
    order: SaleOrder,
    offer: Offer | None,
    swapper: Swapper,
    wanted: int,
    given: SwapAnswer | None = None,
) -> SizedSale | str:
    """The swap that repays `wanted` base units of debt out of the wallet, the largest one below where that cannot be
    had, or why there is none. `order.most_out` is what may be sold, `given` a call that an aggregator made for it.
    """
    sizing = sizing_of(market, position, order, offer)
    if isinstance(sizing, str):
        return sizing
    wanted = min(wanted, sizing.owed)
    repaid = wanted if wanted > 0 and sizing.exchange.sold_for(wanted) is not None else min(sizing.most(), wanted)
    sold = sizing.exchange.sold_for(repaid) if repaid > 0 else None
    if sold is None:
        return f"{order.words}{sizing.why_nothing()}"
    sale = own_sale(sizing, swapper, repaid, sold, given)
    if isinstance(sale, str):
        return f"{order.words}: {sale}"
    action = Action(order.kind, order.debt, repaid, sale)
    try:
        health = market.after(position, (action,)).health_factor
    except ActionImpossible as refused:
        return f"{order.words}: {refused}"
    if not sizing.improves(UINT256_MAX if health is None else health):
        return f"{order.words} would not raise the health factor"
    return SizedSale(action, sizing.bound(repaid) if repaid < wanted else "")


def own_sale(sizing: Sizing, swapper: Swapper, repaid: int, asked: int, given: SwapAnswer | None = None) -> Sale | str:
    """The sale by which the account itself gets `repaid` base units of debt token, that cost `asked`; or why no call
    can be made for it. A `given` call is the one that is made, or none.
    """
    exchange, order = sizing.exchange, sizing.order
    amount_in = with_room(asked, exchange.limit(repaid), order) if given is None else given.order.amount_in
    quote = exchange.quote_for(repaid)
    path = b"" if quote is None else quote.path
    # What comes out is for whoever pays: the same account repays with it.
    owner = sizing.position.key.account if order.wallet is None else order.wallet.account
    swap = SwapOrder(owner, order.collateral, order.debt, amount_in, repaid, order.hurried)
    if given is not None and (given.order != swap or amount_in > exchange.limit(repaid)):
        return f"what {given.call.venue} offers is for another size, or beyond the step's limits"
    try:
        deadline = sizing.position.block.timestamp + LIFETIME
        call = swapper.call(swap, path, deadline) if given is None else given.call
    except ValueError as error:
        return str(error)
    return Sale(
        collateral=order.collateral,
        sold=amount_in,
        most_sold=amount_in,
        min_health=0,
        path=path,
        venue=ASSUMED_VENUE if quote is None else call.venue,
        terms=exchange.terms,
        cost=_of_all(exchange.cost(repaid, asked), amount_in, asked),
        price_usd=exchange.prices[order.collateral.address],
        swap=call,
        surplus=repaid * (amount_in - asked) // asked,
        bought_price_usd=exchange.prices[order.debt.address],
    )


def _of_all(cost: SwapCost, amount_in: int, asked: int) -> SwapCost:
    """The cost of selling `asked` as that of all that goes in, at the same price."""
    parts = (cost.fees_usd, cost.impact_usd, cost.gap_usd, cost.premium_usd)
    return SwapCost(*(part * amount_in // asked for part in parts))


def with_room(asked: int, limit: int, order: SaleOrder) -> int:
    """What goes in where `asked` suffices now and `limit` is the most that may."""
    return limit if order.hurried else min(asked + asked // PRICE_ROOM, limit)


def is_hurried(rule: Rule, position: Position, around: Circumstances) -> bool:
    """Whether going through at once is worth more than what a swap may lose: in an emergency, and where the chain undid
    the last firing, for the price moves by more between two blocks than the usual room then.
    """
    return around.undone or is_emergency(rule, position.health_factor)
