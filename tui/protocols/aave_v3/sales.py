"""Selling collateral for debt through the helper: the terms on which it can be done, and the transactions that do it.

Sans-IO: reads out, answers in. The helper takes aTokens of the collateral for exactly what may be sold at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.model.calls import Call, CallResult
from tui.model.plan import Action, PlannedCall, Sale, SaleTerms
from tui.model.position import Asset
from tui.model.signing import WordRule
from tui.model.units import BPS, UINT256_MAX, WAD
from tui.protocols.aave_v3.calls import Taking, amount_text, approvals, permit_need, standing
from tui.protocols.aave_v3.helper import (
    ALL_OF_IT,
    MAX_POOLS,
    Order,
    deleverage_data,
    deleverage_with_permit_data,
)
from tui.protocols.aave_v3.state import Reserve
from tui.protocols.base import ActionImpossible
from tui.protocols.erc20 import address_word, allowance, balance_of, decode_permit, decode_uint, permit_calls

PREMIUM_TOTAL = bytes.fromhex("074b2e43")
"""FLASHLOAN_PREMIUM_TOTAL()"""
HELPER = bytes.fromhex("f551bf20")
"""HELPER()"""
VIRTUAL_BALANCE = bytes.fromhex("6fb07f96")
"""getVirtualUnderlyingBalance(address), since 3.1: what the pool counts as its own, whatever was sent to it besides."""
USUAL_PREMIUM_BPS = 9
"""The dearest that a flash loan of Aave V3 has been (it is 5 on most markets)."""

_FIXED = 3
_PERMIT = 5
_LIQUID = 2
_COLLATERAL_WORD, _MOST_SOLD_WORD, _HEALTH_WORD = 1, 3, 4
POOLS_WORD = 6
"""The place among a sale's arguments of how many pools it goes through."""


def shape_of(helper: str, collateral: Reserve) -> SaleTerms:
    """The terms without asking anybody."""
    return SaleTerms(helper, collateral.a_token, USUAL_PREMIUM_BPS)


def terms_calls(pool: str, helper: str, account: str, collateral: Reserve, debt: Reserve | None) -> tuple[Call, ...]:
    """The reads that tell the terms; decode with `terms_of`."""
    token = collateral.a_token
    sides = (collateral,) if debt is None else (collateral, debt)
    return (
        Call(pool, PREMIUM_TOTAL),
        Call(helper, HELPER),
        allowance(token, account, helper),
        *permit_calls(token, account),
        *(
            call
            for side in sides
            for call in (
                balance_of(side.asset.address, side.a_token),
                Call(pool, VIRTUAL_BALANCE + address_word(side.asset.address)),
            )
        ),
    )


def terms_of(shape: SaleTerms, asset: Asset, chain_id: int | None, results: Sequence[CallResult]) -> SaleTerms:
    """The terms from the answers of `terms_calls`; what keeps a sale from being made is in `impossible`.

    `shape` is that of the helper that was asked about, `asset` the collateral. Without a `chain_id` no permit can be
    signed, and an approval is taken instead.
    """
    if len(results) < _FIXED + _PERMIT + _LIQUID:
        return replace(shape, impossible="the terms of a sale could not be read: answers are missing")
    premium, itself, allowed = (decode_uint(result.data) for result in results[:_FIXED])
    if premium is None or premium >= BPS:
        why = results[0].error or "its answer makes no sense"
        return replace(shape, impossible=f"the pool does not say what a flash loan costs: {why}")
    # Where the helper stands it always answers this, with its own address.
    if itself != int(shape.helper, 16):
        return replace(
            shape, impossible="the helper contract is not deployed on this chain: run `trimtab helper deploy`"
        )
    if allowed is None:
        return replace(shape, impossible=f"what the helper may take of the {asset.symbol} supplied could not be read")
    permit = None
    if chain_id is not None:
        permit = decode_permit(results[_FIXED : _FIXED + _PERMIT], shape.receipt, chain_id)
    liquid = results[_FIXED + _PERMIT :]
    return replace(
        shape,
        premium_bps=premium,
        allowed=allowed,
        permit=permit,
        withdrawable=_liquid(liquid[:_LIQUID]),
        available=_liquid(liquid[_LIQUID : 2 * _LIQUID]),
    )


def sale_calls_for(action: Action, sale: Sale, everything: bool, deadline: int) -> tuple[PlannedCall, ...]:
    """The calls that do a sale for whoever sends them; `deadline` (unix seconds) holds for a permit and for the sale.

    With enough allowance: the call alone. Else, with a permit of the aToken: the call that carries it. Else an
    approval of exactly what may be sold (after one of zero where something smaller stands), then the call.
    `everything`: all that is owed when the transaction runs is repaid, interest to then included.

    Raises ActionImpossible for terms under which nothing can be sold, and for a route that is none.
    """
    terms = sale.terms
    if terms.impossible is not None:
        raise ActionImpossible(terms.impossible)
    # Without a route it is only a shape; the helper takes none without a limit, so neither does the packing.
    most = sale.most_sold if sale.path else min(sale.most_sold, UINT256_MAX - 1)
    taking = Taking(terms.receipt, sale.collateral, terms.helper, most, "the helper", " of what is supplied")
    order = Order(
        debt=action.asset.address,
        collateral=sale.collateral.address,
        amount=ALL_OF_IT if everything else action.amount,
        max_sold=most,
        min_health=sale.min_health,
        deadline=deadline,
        path=sale.path,
    )
    try:
        plain = _plain(order, action, sale, taking, everything, standing(terms.allowed, taking))
    except ValueError as error:
        raise ActionImpossible(f"{sale.venue or 'the route'}: {error}") from error
    if terms.allowed >= most:
        return (plain,)
    approve = approvals(taking, terms.allowed)
    if terms.permit is None:
        return (*approve, plain)
    carrying = replace(
        plain,
        data=deleverage_with_permit_data(order),
        words=f"{plain.words}, with a permit for exactly that amount",
        permit=permit_need(taking, terms.permit, deadline),
        stand_in=(*approve, plain),
    )
    return (carrying,)


def _plain(order: Order, action: Action, sale: Sale, taking: Taking, everything: bool, suffix: str) -> PlannedCall:
    now = amount_text(action.amount, action.asset)
    what = f"all the {action.asset.symbol} owed by then ({now} now)" if everything else now
    through = f" through {sale.venue}" if sale.venue else ""
    return PlannedCall(
        to=sale.terms.helper,
        data=deleverage_data(order),
        value=0,
        words=f"Sell at most {amount_text(taking.amount, sale.collateral)} of the collateral{through} and repay "
        f"{what}{suffix}",
        action=action,
        rules=(
            WordRule(0, equals=int(order.debt, 16)),
            WordRule(_COLLATERAL_WORD, equals=int(order.collateral, 16)),
            WordRule(_MOST_SOLD_WORD, maximum=taking.amount),
            WordRule(_HEALTH_WORD, minimum=WAD),
            WordRule(POOLS_WORD, maximum=MAX_POOLS),
        ),
        spend_token=sale.collateral.address,
        spend_word=_MOST_SOLD_WORD,
    )


def _liquid(results: Sequence[CallResult]) -> int | None:
    """What a pool can hand out of an asset: what its aToken holds, and no more than the pool counts as its own where
    it counts; None where nobody tells.
    """
    if len(results) != _LIQUID:
        return None
    held, counted = (decode_uint(result.data) for result in results)
    if held is None or counted is None:
        return held
    return min(held, counted)
