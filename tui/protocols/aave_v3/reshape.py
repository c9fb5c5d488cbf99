"""Switching a collateral, switching a debt and boosting: what each leaves of an account, to the contract's rounding.

Beside `actions`, which has what needs no borrowing. Mirrors executeBorrow with validateBorrow at the indices that were
read, and the order in which the helper does things: the loan is used first, then it is paid for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.model.position import Asset
from tui.model.rule import BORROWING, SUPPLYING, ActionKind
from tui.model.units import RAY, WAD
from tui.protocols.aave_v3 import actions
from tui.protocols.aave_v3.health import HealthUnknown, debt_value, effective_terms, figures, lines_of
from tui.protocols.aave_v3.math import percent_div, ray_div, ray_mul, ray_mul_ceil
from tui.protocols.aave_v3.state import NOTHING, AccountState, MarketState, Reserve
from tui.protocols.base import ActionImpossible


@dataclass(frozen=True, slots=True)
class Reshaping:
    """One sale through the helper, whatever its kind. Base units: `amount` of `loaned` is repaid or supplied; of
    `paying` `sold` goes to the exchange, out of `most` that is withdrawn, or of which as much may be borrowed.
    `delegated` as in Deleverage.
    """

    kind: ActionKind
    loaned: Asset
    paying: Asset
    amount: int
    most: int
    sold: int
    delegated: bool = False


def after_reshaping(market: MarketState, account: AccountState, deal: Reshaping) -> tuple[MarketState, AccountState]:
    """The state after `deal`, to the wei. Raises ActionImpossible where the pool would revert.

    As in `actions.after_deleverage` the premium that suppliers share is left out, and nobody asks whether the pool has
    so much to lend.
    """
    if deal.kind is ActionKind.DELEVERAGE:
        sale = actions.Deleverage(deal.loaned, deal.paying, deal.amount, deal.most, deal.sold, deal.delegated)
        return actions.after_deleverage(market, account, sale)
    if deal.amount <= 0 or deal.sold <= 0:
        raise ActionImpossible(f"{deal.kind} has nothing to move")
    if deal.sold > deal.most:
        raise ActionImpossible(f"more {deal.paying.symbol} sold than may be")
    loaned, paying = _sides(market, account, deal.kind, deal.loaned, deal.paying)
    if deal.kind in SUPPLYING:
        market, account = actions.after_supply(market, account, loaned, deal.amount)
    else:
        account = actions.after_repayment(market, account, loaned, deal.amount)
    if deal.kind in BORROWING:
        return after_borrow(market, account, paying, deal.sold)
    return actions.after_sale_of(market, account, paying, deal.most, deal.sold, deal.delegated)


def reshaping_ceiling(
    market: MarketState, account: AccountState, kind: ActionKind, loaned: Asset, paying: Asset
) -> int:
    """The most base units of `loaned` that a sale of this kind could use: what is owed, or what a supply cap leaves.

    How much can be borrowed or sold for it is another question. Raises ActionImpossible where it can do nothing.
    """
    if kind is ActionKind.DELEVERAGE:
        return actions.sale_ceiling(market, account, loaned, paying)
    first, second = _sides(market, account, kind, loaned, paying)
    if kind in BORROWING:
        if kind is ActionKind.BOOST and not figures_of(market, account)[0]:
            raise ActionImpossible("nothing is supplied that could be borrowed against")
    else:
        actions.require_sellable(market, account, second)
    if kind in SUPPLYING:
        return actions.ceiling(market, account, ActionKind.ADD_COLLATERAL, loaned)
    return actions.owed(market, account, first)[0]


def after_borrow(
    market: MarketState, account: AccountState, reserve: Reserve, amount: int
) -> tuple[MarketState, AccountState]:
    """The state once `amount` is borrowed at the variable rate (executeBorrow). Raises ActionImpossible where
    validateBorrow would revert. What is owed at a stable rate is not in the total held against the cap.
    """
    symbol = reserve.asset.symbol
    require_borrowable(market, account, reserve)
    _require_cap(market, reserve, amount)
    _require_ltv(market, account, reserve, amount)
    index = reserve.debt_index
    scaled = -(-amount * RAY // index) if market.rules.directed_rounding else ray_div(amount, index)
    if not scaled:
        raise ActionImpossible(f"too little {symbol}: it rounds to nothing")
    holding = account.holdings.get(reserve.id, NOTHING)
    more = replace(holding, debt=holding.debt + scaled)
    grown = None if reserve.scaled_debt is None else reserve.scaled_debt + scaled
    return (
        replace(market, reserves={**market.reserves, reserve.id: replace(reserve, scaled_debt=grown)}),
        replace(
            account,
            configuration=account.configuration | 1 << (2 * reserve.id),
            holdings={**account.holdings, reserve.id: more},
        ),
    )


def require_borrowable(market: MarketState, account: AccountState, reserve: Reserve) -> None:
    """Raises ActionImpossible where no amount of a reserve could be borrowed by this account."""
    symbol, terms, rules = reserve.asset.symbol, reserve.terms, market.rules
    if terms.frozen:
        raise ActionImpossible(f"{symbol} is frozen in this market: nothing can be borrowed")
    if not terms.borrowing:
        raise ActionImpossible(f"borrowing of {symbol} is switched off in this market")
    if not reserve.debt_token or not int(reserve.debt_token, 16):
        raise ActionImpossible(f"the debt token of {symbol} is not known")
    if account.e_mode:
        category = market.categories.get(account.e_mode)
        label = category.label if category else f"e-mode {account.e_mode}"
        if rules.liquid_e_modes:
            if category is None or category.borrowable_bitmap is None:
                raise ActionImpossible(f"what can be borrowed in {label} could not be read")
            allowed = bool(category.borrowable_bitmap >> reserve.id & 1)
        else:
            allowed = terms.e_mode == account.e_mode
        if not allowed:
            raise ActionImpossible(f"{symbol} cannot be borrowed in {label}")
    _require_alone(market, account, reserve)
    if rules.isolation_mode:
        used = [one for one in market.reserves.values() if account.is_collateral(one.id)]
        if len(used) == 1 and used[0].terms.debt_ceiling:
            isolated = used[0].asset.symbol
            raise ActionImpossible(
                f"{isolated} is isolated: what is left of its debt ceiling is not read, so nothing is borrowed"
            )


def _require_alone(market: MarketState, account: AccountState, reserve: Reserve) -> None:
    """Siloed borrowing: such an asset is the only one that an account owes."""
    owes = [one for one in market.reserves.values() if account.is_borrowing(one.id)]
    others = [one for one in owes if one.id != reserve.id]
    siloed = next((one for one in owes if one.terms.siloed), None)
    if siloed is not None and siloed.id != reserve.id and len(owes) == 1:
        raise ActionImpossible(f"{siloed.asset.symbol} is owed, beside which nothing else can be borrowed")
    if reserve.terms.siloed and others:
        raise ActionImpossible(f"{reserve.asset.symbol} can only be borrowed where nothing else is owed")


def _require_cap(market: MarketState, reserve: Reserve, amount: int) -> None:
    cap = reserve.terms.borrow_cap
    if not cap or reserve.scaled_debt is None:
        return
    mul = ray_mul_ceil if market.rules.directed_rounding else ray_mul
    if mul(reserve.scaled_debt, reserve.debt_index) + amount > cap * reserve.unit:
        raise ActionImpossible(f"more {reserve.asset.symbol} than its borrow cap leaves")


def _require_ltv(market: MarketState, account: AccountState, reserve: Reserve, amount: int) -> None:
    """Borrowing is bound by the average LTV, which is lower than the threshold (ValidationLogic.validateBorrow)."""
    symbol = reserve.asset.symbol
    collateral, debt, ltv, health = figures_of(market, account)
    price = reserve.price
    category = market.categories.get(account.e_mode) if account.e_mode else None
    if category is not None and category.price and effective_terms(market.rules, reserve, category)[3]:
        price = category.price
    if price is None:
        raise ActionImpossible(f"the oracle has no price for {symbol}")
    if not collateral or not ltv:
        raise ActionImpossible(f"no {symbol} can be borrowed: the collateral has no loan to value")
    if health is not None and health <= WAD:
        raise ActionImpossible(f"no {symbol} can be borrowed: the position is liquidatable")
    wanted = debt_value(market.rules, amount, price, reserve.unit)
    if percent_div(debt + wanted, ltv) > collateral:
        raise ActionImpossible(f"more {symbol} than the collateral's loan to value ({ltv / 100:g}%) leaves")


def figures_of(market: MarketState, account: AccountState) -> tuple[int, int, int, int | None]:
    """Collateral and debt (dollars, 8 decimals), average LTV (basis points), health (wad; None: no debt).

    Raises ActionImpossible where they are unknown.
    """
    try:
        totals = figures(market.rules, lines_of(market, account))
    except HealthUnknown as why:
        raise ActionImpossible(f"the position is unknown: {why}") from why
    return totals.collateral, totals.debt, totals.ltv, totals.health_factor


def _sides(
    market: MarketState, account: AccountState, kind: ActionKind, loaned: Asset, paying: Asset
) -> tuple[Reserve, Reserve]:
    """The reserves of what is lent and of what pays, if such a sale can be made at all. Raises ActionImpossible."""
    if loaned.address == paying.address:
        raise ActionImpossible(f"{loaned.symbol} cannot be swapped for itself")
    if kind in SUPPLYING:
        first = actions.reserve_for(market, ActionKind.ADD_COLLATERAL, loaned)
        reason = actions.why_not_counting(market, account, first)
        if reason:
            raise ActionImpossible(reason)
        actions.require_lent(first)
    else:
        first = actions.owing_for(market, account, loaned)
    second = actions.reserve_for(market, kind, paying)
    if kind in BORROWING:
        # Whether another debt stands in the way shows once the old one is repaid.
        if kind is ActionKind.BOOST:
            require_borrowable(market, account, second)
    elif not actions.supplied(market, account, second):
        raise ActionImpossible(f"no {paying.symbol} is supplied")
    return first, second
