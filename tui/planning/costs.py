"""What a plan costs: gas as expected and at the most, every part of its sales, and the yield that it gives up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tui.model.plan import Action, FeeQuote, PlanCost, PlannedCall, SwapCost
from tui.model.position import Position
from tui.model.rule import BORROWING, FROM_WALLET, SUPPLYING, ActionKind
from tui.model.units import WAD, value_usd, whole
from tui.planning.circumstances import Circumstances
from tui.protocols.base import LendingMarket


def gas_of(market: LendingMarket, calls: Iterable[PlannedCall]) -> int:
    """Units of gas that calls are expected to take: as simulated where they were, else what such calls usually take."""
    return sum(call.gas_used or market.typical_gas(call) for call in calls)


GasBySender = Mapping[str | None, int]
"""Units of gas by `PlannedCall.sender`."""


def gas_by_sender(market: LendingMarket, calls: Iterable[PlannedCall]) -> GasBySender:
    """The same by who signs the calls."""
    found: dict[str | None, int] = {}
    for call in calls:
        found[call.sender] = found.get(call.sender, 0) + gas_of(market, (call,))
    return found


def plan_cost(
    gas: int,
    calls: Iterable[PlannedCall],
    swap: SwapCost,
    lost_yield_usd_year: int | None,
    circumstances: Circumstances,
    gas_limit: int | None = None,
) -> PlanCost:
    """The cost of `calls` at the fees quoted: `gas` units are expected, `gas_limit` at the most (None: no more). A
    rollup's charge for their data is in both sums of gas, and where it is not known, neither is what they come to in
    dollars.

    What is likely to be paid is the gas expected at the next base fee and the tip; the margin over it that each gas
    limit has is in what may be paid at the most alone.
    """
    fees, price = circumstances.fees, circumstances.native_price_usd
    l1_fee = circumstances.l1_fee_wei(calls)
    wei = gas * (fees.base_fee + fees.priority_fee) + (l1_fee or 0)
    most = (gas if gas_limit is None else gas_limit) * fees.ceiling + (l1_fee or 0)
    if l1_fee is None:
        price = None
    return PlanCost(
        gas_units=gas,
        gas_wei=wei,
        gas_usd=None if price is None else wei * price // WAD,
        swap=swap,
        gas_ceiling_usd=None if price is None else most * price // WAD,
        lost_yield_usd_year=lost_yield_usd_year,
        l1_fee_wei=l1_fee,
        l1_data_usd=0 if l1_fee == 0 else None if l1_fee is None or price is None else l1_fee * price // WAD,
        gas_limit=gas_limit,
    )


def gas_ceiling_wei(budget_usd: int, gas: int, l1_fee_wei: int, circumstances: Circumstances) -> int:
    """The most wei a unit of gas that keeps all gas, and the fee for data, within `budget_usd` (8 decimals). Needs a
    native price above 0.
    """
    price = circumstances.native_price_usd
    if price is None or price <= 0 or gas <= 0:
        raise ValueError("without a price of the native coin there is no ceiling")
    return max(budget_usd * WAD // price - l1_fee_wei, 0) // gas


def with_ceiling(fees: FeeQuote, ceiling: int) -> FeeQuote:
    """Fees that never pass `ceiling`."""
    return FeeQuote(fees.base_fee, min(fees.max_fee, ceiling), min(fees.priority_fee, ceiling), max(ceiling, 1))


def offering(fees: FeeQuote, most: int) -> FeeQuote:
    """Fees whose first attempt offers no more than `most`; what raised ones may come to stays."""
    return FeeQuote(fees.base_fee, min(fees.max_fee, most), min(fees.priority_fee, most), fees.ceiling)


def least_fee(fees: FeeQuote) -> int:
    """Wei a unit of gas that a transaction has to offer to be taken into the next block, and into the one after it if
    the base fee rises by an eighth, as much as it can.
    """
    return min(fees.base_fee + -(-fees.base_fee // 8) + fees.priority_fee, fees.max_fee)


@dataclass(frozen=True, slots=True)
class _Moved:
    usd: int
    rate: int | None


def lost_yield(position: Position, actions: Iterable[Action]) -> int | None:
    """Dollars (8 decimals) a year at present rates: what the collateral sold or burnt earned, less the interest that
    the debt repaid no longer costs. Negative where the plan saves more than it gives up; None where a rate is unknown.

    What comes out of the wallet earned nothing that is known here, and what is supplied gains a yield.
    """
    held = {one.asset.address: one for one in position.collateral}
    owed = {one.asset.address: one for one in position.debt}
    lost = 0
    for action in actions:
        moved: list[_Moved] = []
        if action.kind is not ActionKind.ADD_COLLATERAL and action.kind not in SUPPLYING:
            debt = owed.get(action.asset.address)
            if debt is None or debt.price_usd is None:
                return None
            usd = value_usd(action.amount, action.asset.decimals, debt.price_usd)
            moved.append(_Moved(-usd, debt.borrow_apy))
        if action.kind in BORROWING and action.sale is not None:
            new = owed.get(action.sale.collateral.address)
            if new is None or new.price_usd is None:
                return None
            usd = value_usd(action.sale.sold, action.sale.collateral.decimals, new.price_usd)
            moved.append(_Moved(usd, new.borrow_apy))
        if action.kind in SUPPLYING:
            gained = held.get(action.asset.address)
            if gained is None or gained.price_usd is None:
                return None
            usd = value_usd(action.amount, action.asset.decimals, gained.price_usd)
            moved.append(_Moved(-usd, gained.supply_apy))
        if action.kind not in FROM_WALLET | BORROWING | {ActionKind.SWAP_TO_REPAY}:
            asset, amount = action.asset, action.amount
            if action.sale is not None:
                asset, amount = action.sale.collateral, action.sale.sold
            supply = held.get(asset.address)
            if supply is None or supply.price_usd is None:
                return None
            moved.append(_Moved(amount * supply.price_usd // whole(asset.decimals), supply.supply_apy))
        for one in moved:
            if one.rate is None:
                return None
            lost += one.usd * one.rate // WAD
    return lost
