"""An account's collateral, debt and health factor in the contract's own integers (GenericLogic, 3.0 to 3.7).

A line is one reserve that an account holds or owes, valued; figures are the contract's totals over all lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tui.model.units import BPS
from tui.protocols.aave_v3.math import percent_mul, ray_mul, ray_mul_ceil, ray_mul_floor, wad_div
from tui.protocols.aave_v3.rules import Rules
from tui.protocols.aave_v3.state import AccountState, Category, MarketState, Reserve


class HealthUnknown(Exception):
    """Health cannot be computed; the text says which reserve or category is in the way."""


@dataclass(frozen=True, slots=True)
class Line:
    """One reserve of an account.

    `supplied`, `owed` and `owed_stable` (part of `owed`) in base units with interest; `threshold`, `ltv` and `bonus`
    in basis points as they apply to this holder; `counts` as collateral; `borrowed`: the debt is part of health.
    `price_key` is what the oracle is asked for: the asset, or the category's own price source (3.0), of which it is
    not known when it last spoke (`price_updated_at`).
    """

    reserve: Reserve
    price: int | None
    price_key: str
    price_updated_at: int | None
    supplied: int
    owed: int
    owed_stable: int
    threshold: int
    ltv: int
    bonus: int
    counts: bool
    borrowed: bool

    @property
    def supplied_value(self) -> int:
        """Dollars (8 decimals) of what is supplied, down. Raises HealthUnknown without a price."""
        return self.supplied * known_price(self) // self.reserve.unit


@dataclass(frozen=True, slots=True)
class Figures:
    """The contract's totals: dollars with 8 decimals, averages in basis points, health in wad (None: no debt)."""

    collateral: int
    debt: int
    threshold: int
    ltv: int
    health_factor: int | None


def known_price(line: Line) -> int:
    """The price of a line, or HealthUnknown."""
    if line.price is None:
        raise HealthUnknown(f"the oracle has no price for {line.reserve.asset.symbol}")
    return line.price


def debt_value(rules: Rules, owed: int, price: int, unit: int) -> int:
    """Dollars (8 decimals) of a debt: up since 3.5, before that down."""
    return -(-owed * price // unit) if rules.directed_rounding else owed * price // unit


def effective_terms(rules: Rules, reserve: Reserve, category: Category | None) -> tuple[int, int, int, bool]:
    """Threshold, LTV and bonus (basis points) of a reserve for a holder in `category`, and whether it is of it."""
    terms = reserve.terms
    if category is None:
        return terms.threshold, terms.ltv, terms.bonus, False
    if rules.liquid_e_modes:
        member = bool(category.collateral_bitmap >> reserve.id & 1)
    else:
        member = terms.e_mode == category.id
    if rules.own_e_mode_terms:
        if member:
            ltv = 0 if category.ltvzero_bitmap >> reserve.id & 1 else category.ltv
            return category.threshold, ltv, category.bonus, True
        return terms.threshold, 0 if category.isolated else terms.ltv, terms.bonus, False
    if member and terms.threshold:
        return category.threshold, category.ltv if terms.ltv else 0, category.bonus, True
    return terms.threshold, terms.ltv, terms.bonus, member


def lines_of(market: MarketState, account: AccountState) -> tuple[Line, ...]:
    """Every reserve that `account` holds, owes or has a bit for, in the order of reserve ids.

    Raises HealthUnknown where the e-mode category, or a reserve that health depends on, could not be read.
    """
    rules = market.rules
    category = None
    if account.e_mode:
        category = market.categories.get(account.e_mode)
        if category is None or category.fault:
            raise HealthUnknown(category.fault or "?" if category else f"e-mode {account.e_mode} cannot be read")
    supply_mul = ray_mul_floor if rules.directed_rounding else ray_mul
    debt_mul = ray_mul_ceil if rules.directed_rounding else ray_mul
    lines = []
    for reserve_id in sorted(account.holdings):
        reserve = market.reserves[reserve_id]
        holding = account.holdings[reserve_id]
        flagged, borrowed = account.is_collateral(reserve_id), account.is_borrowing(reserve_id)
        if reserve.fault:
            if flagged or borrowed:
                raise HealthUnknown(f"{reserve.asset.symbol}: {reserve.fault}")
            continue
        threshold, ltv, bonus, member = effective_terms(rules, reserve, category)
        price, price_key, updated_at = reserve.price, reserve.asset.address, reserve.price_updated_at
        if category is not None and category.price and member:
            price, price_key, updated_at = category.price, category.price_source, None
        lines.append(
            Line(
                reserve=reserve,
                price=price,
                price_key=price_key,
                price_updated_at=updated_at,
                supplied=supply_mul(holding.supply, reserve.supply_index),
                owed=debt_mul(holding.debt, reserve.debt_index) + holding.stable_debt,
                owed_stable=holding.stable_debt,
                threshold=threshold,
                ltv=ltv,
                bonus=bonus,
                counts=flagged and threshold != 0,
                borrowed=borrowed,
            )
        )
    return tuple(lines)


def figures(rules: Rules, lines: Iterable[Line]) -> Figures:
    """What getUserAccountData answers for these lines. Raises HealthUnknown where a price is missing."""
    collateral = debt = weighted_threshold = weighted_ltv = 0
    for line in lines:
        if line.counts:
            value = line.supplied_value
            collateral += value
            weighted_ltv += value * line.ltv
            weighted_threshold += value * line.threshold
        if line.borrowed:
            debt += debt_value(rules, line.owed, known_price(line), line.reserve.unit)
    threshold = weighted_threshold // collateral if collateral else 0
    return Figures(
        collateral=collateral,
        debt=debt,
        threshold=threshold,
        ltv=weighted_ltv // collateral if collateral else 0,
        health_factor=health_factor(rules, collateral, weighted_threshold, debt) if debt else None,
    )


def health_factor(rules: Rules, collateral: int, weighted: int, debt: int) -> int:
    """Health (wad) of dollars of collateral, the same times their thresholds, and a debt that is not zero.

    Until 3.4 the average threshold is cut to a whole basis point first; since 3.5 it is not.
    """
    if rules.directed_rounding:
        return wad_div(weighted, debt) // BPS
    return wad_div(percent_mul(collateral, weighted // collateral), debt) if collateral else 0


def with_prices(market: MarketState, account: AccountState, prices_usd: Mapping[str, int]) -> MarketState:
    """The market with other prices (8 decimals, by asset address), as this account's health would see them.

    An asset that the holder's e-mode prices by a source of its own moves that source.
    """
    reserves = dict(market.reserves)
    categories = dict(market.categories)
    category = categories.get(account.e_mode)
    for address, price in prices_usd.items():
        if address not in market.ids:
            continue
        reserve = reserves[market.ids[address]]
        if category is not None and category.price and effective_terms(market.rules, reserve, category)[3]:
            category = categories[category.id] = replace(category, price=price)
        reserves[reserve.id] = replace(reserve, price=price)
    return replace(market, reserves=reserves, categories=categories)
