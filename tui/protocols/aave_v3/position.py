"""From exact state to the Position that everyone else reads: values, yields, liquidation prices, notes.

The contract's own answer is held against ours here; where they differ the position is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from tui.model.block import BlockRef
from tui.model.position import Collateral, Debt, Position, PositionKey
from tui.model.units import BPS, UINT256_MAX, WAD, format_units
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.health import Figures, HealthUnknown, Line, debt_value, figures, known_price, lines_of
from tui.protocols.aave_v3.liquidation import (
    group_liquidations,
    liquidation_penalty,
    liquidation_price,
    seconds_to_liquidation,
)
from tui.protocols.aave_v3.math import apy, ray_mul
from tui.protocols.aave_v3.rules import Rules
from tui.protocols.aave_v3.state import AccountState, MarketState, PositionState, Reserve

_BPS_TO_WAD = WAD // BPS


def unknown(key: PositionKey, block: BlockRef, reason: str, market: MarketState | None) -> Position:
    """A position of which only the reason is known; the market's assets can still be looked up."""
    state = None if market is None else PositionState(market, None)
    return Position(key, block, (), (), None, None, None, unknown=reason, state=state)


def checked_position(
    key: PositionKey, block: BlockRef, market: MarketState, account: AccountState, raw: lens.RawAccount
) -> Position:
    """The position of one account of a reading, or an unknown one with the reason.

    What was read must be whole, and collateral, debt, average threshold, average LTV and health factor computed from
    it must be the contract's own to the last digit.
    """
    if raw.flags & lens.NO_CONFIGURATION:
        return unknown(key, block, "the account's configuration cannot be read", market)
    if raw.flags & lens.NO_E_MODE:
        return unknown(key, block, "the account's e-mode cannot be read", market)
    try:
        broken = _broken_holding(market, account, raw)
        if broken:
            return unknown(key, block, broken, market)
        lines = lines_of(market, account)
        totals = figures(market.rules, lines)
        if raw.flags & lens.NO_ACCOUNT_DATA:
            return unknown(key, block, "the pool does not answer for this account", market)
        difference = _difference(totals, raw.answer)
        if difference:
            return unknown(key, block, difference, market)
        return build_position(key, block, market, account, lines, totals)
    except HealthUnknown as why:
        return unknown(key, block, str(why), market)


def build_position(
    key: PositionKey,
    block: BlockRef,
    market: MarketState,
    account: AccountState,
    lines: Sequence[Line],
    totals: Figures,
    with_prices: bool = True,
) -> Position:
    """A position from its lines. `with_prices` False leaves out all liquidation prices, which take most of the time.

    Raises HealthUnknown where a price that matters is missing.
    """
    rules = market.rules
    owing = bool(totals.debt)
    collateral, debt = [], []
    for line in lines:
        liquidation = None
        if with_prices and owing and ((line.counts and line.supplied) or (line.borrowed and line.owed)):
            liquidation = liquidation_price(rules, lines, (line,))
        if line.supplied:
            collateral.append(_collateral(line, liquidation))
        if line.owed:
            debt.append(_debt(rules, line, liquidation))
    return Position(
        key=key,
        block=block,
        collateral=tuple(collateral),
        debt=tuple(debt),
        health_factor=totals.health_factor,
        collateral_usd=totals.collateral,
        debt_usd=totals.debt,
        net_apy=_net_apy(collateral, debt),
        groups=group_liquidations(rules, lines) if with_prices and owing else (),
        seconds_to_liquidation=seconds_to_liquidation(lines, totals),
        liquidation_penalty_usd=liquidation_penalty(rules, lines, totals),
        native=_native(market, account, totals),
        notes=tuple(_notes(market, lines)),
        state=PositionState(market, account),
    )


def _broken_holding(market: MarketState, account: AccountState, raw: lens.RawAccount) -> str | None:
    """Why balances cannot be trusted: a read failed, or the bitmap names a reserve that could not be read."""
    for held in raw.holdings:
        reserve_id = market.order[held.reserve]
        if held.flags and (account.is_collateral(reserve_id) or account.is_borrowing(reserve_id)):
            return f"the balance of {market.reserves[reserve_id].asset.symbol} cannot be read"
    unreadable = [reserve.asset.symbol for reserve_id, reserve in market.reserves.items() if reserve_id < 0]
    bitmap = account.configuration
    while bitmap:
        reserve_id = (bitmap.bit_length() - 1) // 2
        if reserve_id in market.reserves:
            if reserve_id not in account.holdings:
                return f"the balance of {market.reserves[reserve_id].asset.symbol} was not read"
        elif unreadable:
            # Without any such reserve it is a gap left by one that was dropped: the contract passes over it too.
            return f"{', '.join(unreadable)} cannot be read, and this account may hold it"
        bitmap &= (1 << (2 * reserve_id)) - 1
    return None


def _difference(totals: Figures, answer: Sequence[int]) -> str | None:
    """What the contract says otherwise, in words; None where all five figures are equal."""
    health = UINT256_MAX if totals.health_factor is None else totals.health_factor
    ours = (totals.collateral, totals.debt, totals.threshold, totals.ltv, health)
    theirs = (answer[0], answer[1], answer[3], answer[4], answer[5])
    names = ("collateral", "debt", "liquidation threshold", "LTV", "health factor")
    for name, mine, other in zip(names, ours, theirs, strict=True):
        if mine != other:
            return f"the contract's {name} is {other}, computed here {mine}: the protocol may have changed"
    return None


def _collateral(line: Line, liquidation: int | None) -> Collateral:
    reserve = line.reserve
    return Collateral(
        asset=reserve.asset,
        amount=line.supplied,
        price_usd=line.price,
        value_usd=None if line.price is None else line.supplied_value,
        liquidation_threshold=line.threshold * _BPS_TO_WAD,
        counts=line.counts,
        supply_apy=apy(reserve.supply_rate),
        liquidation_price_usd=liquidation if line.counts else None,
        price_updated_at=line.price_updated_at,
    )


def _debt(rules: Rules, line: Line, liquidation: int | None) -> Debt:
    reserve = line.reserve
    return Debt(
        asset=reserve.asset,
        amount=line.owed,
        price_usd=line.price,
        value_usd=debt_value(rules, line.owed, known_price(line), reserve.unit),
        borrow_apy=None if line.owed_stable else apy(reserve.borrow_rate),
        liquidation_price_usd=liquidation,
        price_updated_at=line.price_updated_at,
    )


def _net_apy(collateral: Iterable[Collateral], debt: Iterable[Debt]) -> int | None:
    """Yearly gain (wad) on what is one's own: (supplied * APY - owed * APY) / (supplied - owed), in dollars.

    None where nothing is one's own, or a rate or a price is not known.
    """
    gain = own = 0
    for one in collateral:
        if one.value_usd is None or one.supply_apy is None:
            return None
        gain += one.value_usd * one.supply_apy
        own += one.value_usd
    for owed in debt:
        if owed.value_usd is None or owed.borrow_apy is None:
            return None
        gain -= owed.value_usd * owed.borrow_apy
        own -= owed.value_usd
    return None if own <= 0 else gain // own


def _native(market: MarketState, account: AccountState, totals: Figures) -> MappingProxyType[str, str]:
    """Aave's own ratios as texts: loan to value, the most it may be when borrowing, the average threshold, e-mode."""
    texts = {}
    if totals.collateral:
        ratio = (totals.debt * BPS + totals.collateral // 2) // totals.collateral
        texts["ltv"] = format_units(ratio, 4)
        texts["max_ltv"] = format_units(totals.ltv, 4)
        texts["liquidation_threshold"] = format_units(totals.threshold, 4)
    if account.e_mode:
        texts["e_mode"] = market.categories[account.e_mode].label
    return MappingProxyType(texts)


def _notes(market: MarketState, lines: Iterable[Line]) -> Iterable[str]:
    """What is strange about the reserves that this account has to do with."""
    for line in lines:
        if not line.supplied and not line.owed:
            continue
        reserve = line.reserve
        symbol, terms = reserve.asset.symbol, reserve.terms
        if not terms.active:
            yield f"{symbol} is not active"
        if terms.paused:
            yield f"{symbol} is paused: nothing can be repaid, supplied or withdrawn"
        elif terms.frozen:
            yield f"{symbol} is frozen: nothing can be supplied or borrowed"
        if line.counts and line.supplied and not line.ltv:
            yield f"{symbol} has LTV 0: it must be withdrawn before any other collateral"
        if line.supplied and cap_room(market, reserve.id) == 0:
            yield f"{symbol} has reached its supply cap"
        if line.supplied and _lent_out(reserve):
            yield f"{symbol} is all lent out: it cannot be withdrawn until some is paid back"
        updated = line.price_updated_at
        if updated is not None and updated > market.timestamp:
            yield f"the price of {symbol} says it is from the future"
        elif updated is not None and market.timestamp - updated > market.price_heartbeat:
            yield f"the price of {symbol} is {_age(market.timestamp - updated)} old"
        if line.price is None:
            yield f"the oracle has no price for {symbol}"


def _age(seconds: int) -> str:
    return f"{seconds // 3600} hours" if seconds >= 7_200 else f"{seconds // 60} minutes"


def _lent_out(reserve: Reserve) -> bool:
    """Whether less than a thousandth of what was supplied is left to withdraw (utilisation 100%)."""
    if reserve.scaled_supply is None or reserve.scaled_debt is None:
        return False
    supplied = ray_mul(reserve.scaled_supply + reserve.accrued, reserve.supply_index)
    owed = ray_mul(reserve.scaled_debt, reserve.debt_index)
    return owed > 0 and (supplied - owed) * 1000 < supplied


def cap_room(market: MarketState, reserve_id: int) -> int | None:
    """Base units that the supply cap leaves, grown to the block; None where there is no cap or it is not known."""
    reserve = market.reserves[reserve_id]
    if not reserve.terms.supply_cap or reserve.scaled_supply is None:
        return None
    scaled = reserve.scaled_supply + reserve.accrued
    cap = reserve.terms.supply_cap * reserve.unit
    if market.rules.directed_rounding:
        # The cap is held against (scaled + amount / index) * index, each rounded down.
        most = ((cap + 1) * 10**27 - 1) // reserve.supply_index - scaled
        return max(((most + 1) * reserve.supply_index - 1) // 10**27, 0) if most >= 0 else 0
    return max(cap - ray_mul(scaled, reserve.supply_index), 0)
