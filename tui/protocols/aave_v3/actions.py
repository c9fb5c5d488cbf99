"""What a defence leaves of an account, to the contract's rounding, and the most that it may be.

Mirrors executeRepay, executeSupply, executeWithdraw and the transfer of aTokens with their validations, at the indices
of the block that was read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.model.position import Asset
from tui.model.rule import ActionKind
from tui.model.units import RAY, WAD
from tui.protocols.aave_v3.health import HealthUnknown, Line, effective_terms, figures, lines_of
from tui.protocols.aave_v3.math import ray_div, ray_div_floor, ray_mul, ray_mul_ceil, ray_mul_floor
from tui.protocols.aave_v3.position import cap_room
from tui.protocols.aave_v3.state import NOTHING, AccountState, Holding, MarketState, Reserve
from tui.protocols.base import ActionImpossible

LARGEST_AMOUNT = 2**128 - 1
"""The pool keeps balances in 128 bits."""


@dataclass(frozen=True, slots=True)
class Deleverage:
    """Collateral sold for debt in one transaction. Base units: `repaid` of `debt`, `taken` out of the position and
    `sold` of `collateral`; what is taken and not sold goes back. `delegated`: the account does it by itself (as a
    delegate's code), else through a helper that takes its aTokens.
    """

    debt: Asset
    collateral: Asset
    repaid: int
    taken: int
    sold: int
    delegated: bool = False


def after_action(
    market: MarketState, account: AccountState, kind: ActionKind, asset: Asset, amount: int
) -> tuple[MarketState, AccountState]:
    """The state after `kind` with `amount` base units. Raises ActionImpossible where the pool would revert."""
    if amount <= 0:
        raise ActionImpossible(f"{kind} has nothing to move")
    reserve = reserve_for(market, kind, asset)
    if kind is ActionKind.REPAY:
        return market, after_repayment(market, account, reserve, amount)
    if kind is ActionKind.REPAY_WITH_ATOKENS:
        return _repaid_with_a_tokens(market, account, reserve, amount)
    if kind is not ActionKind.ADD_COLLATERAL:
        raise ActionImpossible(f"{kind} is more than one step of the pool")
    return after_supply(market, account, reserve, amount)


def after_deleverage(market: MarketState, account: AccountState, deal: Deleverage) -> tuple[MarketState, AccountState]:
    """The state after `deal`, to the wei. Raises ActionImpossible where the pool would revert.

    The premium of a flash loan that the pool shares out among suppliers of the debt's asset is left out: it can only
    raise what this account may have supplied of it. Whether the pool has enough to lend is not looked at.
    """
    owing, reserve = _sides(market, account, deal.debt, deal.collateral)
    account = after_repayment(market, account, owing, deal.repaid)
    return after_sale_of(market, account, reserve, deal.taken, deal.sold, deal.delegated)


def after_sale_of(
    market: MarketState, account: AccountState, reserve: Reserve, taken: int, sold: int, delegated: bool
) -> tuple[MarketState, AccountState]:
    """The state after `taken` base units of a collateral went out, `sold` of them to an exchange and the rest back in;
    `delegated` as in Deleverage. Raises ActionImpossible where the pool would revert.
    """
    market, account, received = _taken(market, account, reserve, taken, delegated)
    if sold > received:
        raise ActionImpossible(f"more {reserve.asset.symbol} sold than taken")
    rest = received - sold
    if not rest:
        return market, account
    try:
        again = reserve_for(market, ActionKind.ADD_COLLATERAL, reserve.asset)
        return after_supply(market, account, again, rest)
    except ActionImpossible:
        return market, account  # the pool takes no more of it: the rest is in the wallet


def reserve_for(market: MarketState, kind: ActionKind, asset: Asset) -> Reserve:
    """The reserve of `asset`, if it lets `kind` be done to it at all. Raises ActionImpossible."""
    reserve = market.reserve(asset.address)
    if reserve is None:
        raise ActionImpossible(f"{asset.symbol} is not listed in this market")
    symbol, terms = reserve.asset.symbol, reserve.terms
    if reserve.fault:
        raise ActionImpossible(f"{symbol}: {reserve.fault}")
    if not terms.active:
        raise ActionImpossible(f"{symbol} is not active in this market")
    if terms.paused:
        raise ActionImpossible(f"{symbol} is paused in this market")
    if kind is ActionKind.ADD_COLLATERAL and terms.frozen:
        raise ActionImpossible(f"{symbol} is frozen in this market: nothing can be supplied")
    return reserve


def owed(market: MarketState, account: AccountState, reserve: Reserve) -> tuple[int, bool]:
    """Base units that one repayment can clear, and whether they are owed at a stable rate (only 3.0 and 3.1).

    Where both kinds are owed, the variable one comes first: a call repays one of them.
    """
    holding = account.holdings.get(reserve.id, NOTHING)
    if holding.debt or not holding.stable_debt:
        mul = ray_mul_ceil if market.rules.directed_rounding else ray_mul
        return mul(holding.debt, reserve.debt_index), False
    return holding.stable_debt, True


def ceiling(market: MarketState, account: AccountState, kind: ActionKind, asset: Asset) -> int:
    """The most base units of `asset` that `kind` could use here. Raises ActionImpossible where it can do nothing."""
    reserve = reserve_for(market, kind, asset)
    symbol = reserve.asset.symbol
    if kind in (ActionKind.REPAY, ActionKind.REPAY_WITH_ATOKENS):
        amount, _ = owed(market, account, reserve)
        if not amount:
            raise ActionImpossible(f"no {symbol} is owed")
        if kind is ActionKind.REPAY:
            return amount
        held = supplied(market, account, reserve)
        if not held:
            raise ActionImpossible(f"no {symbol} is supplied")
        return min(amount, held)
    reason = why_not_counting(market, account, reserve)
    if reason:
        raise ActionImpossible(reason)
    room = cap_room(market, reserve.id)
    if room == 0:
        raise ActionImpossible(f"{symbol} has reached its supply cap")
    return LARGEST_AMOUNT if room is None else min(room, LARGEST_AMOUNT)


def sale_ceiling(market: MarketState, account: AccountState, debt: Asset, collateral: Asset) -> int:
    """The most base units of `debt` that selling `collateral` could repay: all that is owed.

    Raises ActionImpossible where it can do nothing. Collateral with LTV 0 is in the way even of a sale that would clear
    all debt, which the pool would let through: whoever holds such collateral is asked to withdraw it first.
    """
    owing, reserve = _sides(market, account, debt, collateral)
    require_sellable(market, account, reserve)
    return owed(market, account, owing)[0]


def after_round(
    market: MarketState, account: AccountState, debt: Asset, collateral: Asset, withdrawn: int, repaid: int
) -> tuple[MarketState, AccountState]:
    """The state once the account has withdrawn so much collateral (0: none) and then repaid so much debt (0: not yet),
    in base units. Raises ActionImpossible where the pool would revert.
    """
    if withdrawn:
        reserve = reserve_for(market, ActionKind.DELEVERAGE, collateral)
        market, account, _ = _taken(market, account, reserve, withdrawn, delegated=True)
    if not repaid:
        return market, account
    return market, after_repayment(market, account, reserve_for(market, ActionKind.REPAY, debt), repaid)


def swap_ceiling(market: MarketState, account: AccountState, debt: Asset, sold: Asset | None) -> int:
    """The most base units of `debt` that a swap of `sold` out of the wallet could repay. Raises ActionImpossible."""
    if sold is not None and sold.address == debt.address:
        raise ActionImpossible(f"{debt.symbol} cannot be swapped for itself")
    return ceiling(market, account, ActionKind.REPAY, debt)


def require_sellable(market: MarketState, account: AccountState, reserve: Reserve) -> None:
    """Raises ActionImpossible where no collateral of a reserve is there to be sold, or other must go first."""
    if not supplied(market, account, reserve):
        raise ActionImpossible(f"no {reserve.asset.symbol} is supplied")
    if not account.is_collateral(reserve.id) or not reserve.terms.ltv:
        return
    try:
        lines = lines_of(market, account)
    except HealthUnknown as why:
        raise ActionImpossible(f"the position is unknown: {why}") from why
    first = next((line for line in lines if line.counts and not line.ltv), None)
    if first is not None:
        raise ActionImpossible(
            f"{first.reserve.asset.symbol} has LTV 0: it must be withdrawn before any other collateral is sold"
        )


def supplied(market: MarketState, account: AccountState, reserve: Reserve) -> int:
    """Base units that `account` has supplied of a reserve, as its aToken says."""
    scaled = account.holdings.get(reserve.id, NOTHING).supply
    return (ray_mul_floor if market.rules.directed_rounding else ray_mul)(scaled, reserve.supply_index)


def _sides(market: MarketState, account: AccountState, debt: Asset, collateral: Asset) -> tuple[Reserve, Reserve]:
    """The reserves of both sides of a deleverage, if it can be made at all. Raises ActionImpossible."""
    if debt.address == collateral.address:
        raise ActionImpossible(
            f"{debt.symbol} cannot be sold for itself: {ActionKind.REPAY_WITH_ATOKENS} does that without an exchange"
        )
    owing = owing_for(market, account, debt)
    reserve = reserve_for(market, ActionKind.DELEVERAGE, collateral)
    if not supplied(market, account, reserve):
        raise ActionImpossible(f"no {collateral.symbol} is supplied")
    return owing, reserve


def owing_for(market: MarketState, account: AccountState, debt: Asset) -> Reserve:
    """The reserve of a debt, if a flash loan can repay it. Raises ActionImpossible."""
    owing = reserve_for(market, ActionKind.REPAY, debt)
    amount, stable = owed(market, account, owing)
    if not amount:
        raise ActionImpossible(f"no {debt.symbol} is owed")
    if stable:
        raise ActionImpossible(
            f"{debt.symbol} is owed at a stable rate: only debt at the variable rate can be sold for"
        )
    require_lent(owing)
    return owing


def require_lent(reserve: Reserve) -> None:
    """Raises ActionImpossible where a reserve makes no flash loans."""
    if not reserve.terms.flash_loans:
        raise ActionImpossible(f"flash loans of {reserve.asset.symbol} are switched off in this market")


def _repaid_with_a_tokens(
    market: MarketState, account: AccountState, reserve: Reserve, amount: int
) -> tuple[MarketState, AccountState]:
    """A repayment out of what is supplied of the same asset (executeRepay with useATokens)."""
    if amount > supplied(market, account, reserve):
        raise ActionImpossible(f"more {reserve.asset.symbol} than is supplied")
    account = after_repayment(market, account, reserve, amount)
    counted = account.is_collateral(reserve.id)
    market, account = _burnt(market, account, reserve, amount)
    if counted and market.rules.emptied_collateral_off and not account.holdings[reserve.id].supply:
        account = replace(account, configuration=account.configuration & ~(1 << (2 * reserve.id + 1)))
    if counted and market.rules.directed_rounding:
        health, _ = _health(market, account)
        if health is not None and health < WAD:
            raise ActionImpossible("the position would be liquidatable after it, which the pool does not allow")
    return market, account


def _burnt(
    market: MarketState, account: AccountState, reserve: Reserve, amount: int
) -> tuple[MarketState, AccountState]:
    """`amount` of aTokens gone from `account`, which holds so many."""
    holding, index = account.holdings[reserve.id], reserve.supply_index
    scaled = -(-amount * RAY // index) if market.rules.directed_rounding else ray_div(amount, index)
    if not scaled:
        raise ActionImpossible(f"too little {reserve.asset.symbol}: it rounds to nothing")
    scaled = min(scaled, holding.supply)
    left = replace(holding, supply=holding.supply - scaled)
    total = None if reserve.scaled_supply is None else reserve.scaled_supply - scaled
    return (
        replace(market, reserves={**market.reserves, reserve.id: replace(reserve, scaled_supply=total)}),
        replace(account, holdings={**account.holdings, reserve.id: left}),
    )


def after_repayment(market: MarketState, account: AccountState, reserve: Reserve, amount: int) -> AccountState:
    """The account once `amount` of a debt is repaid. Raises ActionImpossible where the pool would revert."""
    symbol = reserve.asset.symbol
    debt, stable = owed(market, account, reserve)
    if not debt:
        raise ActionImpossible(f"no {symbol} is owed")
    if amount > debt:
        raise ActionImpossible(f"more {symbol} than is owed")
    holding = account.holdings[reserve.id]
    if stable:
        left = replace(holding, stable_debt=holding.stable_debt - amount)
        cleared = left.debt == 0 and left.stable_debt == 0
    else:
        div = ray_div_floor if market.rules.directed_rounding else ray_div
        scaled = div(amount, reserve.debt_index)
        if not scaled:
            raise ActionImpossible(f"too little {symbol}: it rounds to nothing")
        left = replace(holding, debt=holding.debt - scaled)
        if left.debt < 0:
            raise ActionImpossible(f"more {symbol} than is owed")
        if market.rules.directed_rounding:
            cleared = left.debt == 0
        else:
            cleared = amount == debt and not holding.stable_debt
    configuration = account.configuration & ~(1 << (2 * reserve.id)) if cleared else account.configuration
    return replace(account, configuration=configuration, holdings={**account.holdings, reserve.id: left})


def after_supply(
    market: MarketState, account: AccountState, reserve: Reserve, amount: int
) -> tuple[MarketState, AccountState]:
    """The state once `amount` is supplied. Raises ActionImpossible where the pool would revert."""
    symbol = reserve.asset.symbol
    room = cap_room(market, reserve.id)
    if room is not None and amount > room:
        raise ActionImpossible(f"more {symbol} than its supply cap leaves")
    if amount > LARGEST_AMOUNT:
        raise ActionImpossible(f"more {symbol} than the pool can count")
    div = ray_div_floor if market.rules.directed_rounding else ray_div
    scaled = div(amount, reserve.supply_index)
    if not scaled:
        raise ActionImpossible(f"too little {symbol}: it rounds to nothing")
    _require_swept(market, account, reserve)
    holding = account.holdings.get(reserve.id, NOTHING)
    configuration = account.configuration
    if not holding.supply and _turns_on(market, account, reserve):
        configuration |= 1 << (2 * reserve.id + 1)
    more = Holding(holding.supply + scaled, holding.debt, holding.stable_debt)
    grown = None if reserve.scaled_supply is None else reserve.scaled_supply + scaled
    reserves = {**market.reserves, reserve.id: replace(reserve, scaled_supply=grown)}
    return (
        replace(market, reserves=reserves),
        replace(account, configuration=configuration, holdings={**account.holdings, reserve.id: more}),
    )


def _taken(
    market: MarketState, account: AccountState, reserve: Reserve, taken: int, delegated: bool
) -> tuple[MarketState, AccountState, int]:
    """`taken` out of the position, with the pool's own checks; base units that arrive."""
    held = supplied(market, account, reserve)
    if taken > held:
        raise ActionImpossible(f"more {reserve.asset.symbol} than is supplied")
    counted = account.is_collateral(reserve.id)
    before = account.holdings[reserve.id].supply
    market, account = _burnt(market, account, reserve, taken)
    scaled = before - account.holdings[reserve.id].supply
    if taken == held:
        account = replace(account, configuration=account.configuration & ~(1 << (2 * reserve.id + 1)))
    if counted:
        _require_healthy(market, account, reserve)
    mul = ray_mul_floor if market.rules.directed_rounding else ray_mul
    return market, account, taken if delegated else mul(scaled, reserve.supply_index)


def _require_healthy(market: MarketState, account: AccountState, reserve: Reserve) -> None:
    """What the pool asks of an account from which collateral goes (ValidationLogic.validateHFAndLtv)."""
    health, lines = _health(market, account)
    if health is None:
        return
    if health < WAD:
        raise ActionImpossible("the position would be liquidatable after it")
    if reserve.terms.ltv and any(line.counts and not line.ltv for line in lines):
        raise ActionImpossible("collateral with LTV 0 must be withdrawn before any other")


def _health(market: MarketState, account: AccountState) -> tuple[int | None, tuple[Line, ...]]:
    """Health (wad; None without debt) and the lines that it comes from. Raises ActionImpossible where unknown."""
    try:
        lines = lines_of(market, account)
        return figures(market.rules, lines).health_factor, lines
    except HealthUnknown as why:
        raise ActionImpossible(f"what it would leave is unknown: {why}") from why


def why_not_counting(market: MarketState, account: AccountState, reserve: Reserve) -> str | None:
    """Why supplying more of a reserve would do nothing for the health of this account, or None."""
    symbol = reserve.asset.symbol
    if account.is_collateral(reserve.id):
        category = market.categories.get(account.e_mode)
        threshold = effective_terms(market.rules, reserve, category)[0]
        return None if threshold else f"{symbol} has a liquidation threshold of 0: it would not count as collateral"
    _require_swept(market, account, reserve)
    if account.holdings.get(reserve.id, NOTHING).supply:
        return f"{symbol} is switched off as collateral: more of it would not count"
    if not _turns_on(market, account, reserve):
        return f"{symbol} would not be used as collateral (its LTV is 0, or it or the position is isolated)"
    return None


def _require_swept(market: MarketState, account: AccountState, reserve: Reserve) -> None:
    """Whether a first supply becomes collateral depends on whether it is the first: that must have been looked up."""
    if not market.swept and reserve.id not in account.holdings:
        raise ActionImpossible(
            f"whether {reserve.asset.symbol} is held without being collateral was not read: "
            "watch fewer accounts at once"
        )


def _turns_on(market: MarketState, account: AccountState, reserve: Reserve) -> bool:
    """Whether the pool makes a first supply collateral by itself (ValidationLogic.validateUseAsCollateral).

    Isolated assets never: no account is taken to have the role that enables them.
    """
    rules = market.rules
    category = market.categories.get(account.e_mode)
    ltv = effective_terms(rules, reserve, category)[1] if rules.own_e_mode_terms else reserve.terms.ltv
    if not ltv:
        return False
    if not rules.isolation_mode:
        return True
    if reserve.terms.debt_ceiling:
        return False
    used = [one for one in market.reserves.values() if account.is_collateral(one.id)]
    return not (len(used) == 1 and used[0].terms.debt_ceiling)
