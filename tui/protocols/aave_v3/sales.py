"""Sales through the helper, of all four kinds: the terms on which they can be done, and the transactions that do it.

Sans-IO: reads out, answers in. The helper takes aTokens of collateral for exactly what may be sold at most, or is given
credit for exactly what may be borrowed at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.model.calls import Call, CallResult
from tui.model.plan import Action, PlannedCall, Sale, SaleTerms
from tui.model.position import Asset
from tui.model.rule import BORROWING, ActionKind
from tui.model.signing import PermitKind, WordRule
from tui.model.units import BPS, UINT256_MAX, WAD
from tui.protocols.aave_v3.calls import Taking, amount_text, approvals, permit_need, standing
from tui.protocols.aave_v3.helper import (
    ALL_OF_IT,
    MAX_POOLS,
    Order,
    deleverage_data,
    deleverage_with_permit_data,
)
from tui.protocols.aave_v3.helper_orders import (
    Boost,
    SwitchCollateral,
    SwitchDebt,
    approve_delegation_data,
    boost_data,
    boost_with_signature_data,
    borrow_allowance_data,
    switch_collateral_data,
    switch_collateral_with_permit_data,
    switch_debt_data,
    switch_debt_with_signature_data,
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
_MOST_SOLD_WORD, _HEALTH_WORD = 3, 4
POOLS_WORD = 6
"""The place among a sale's arguments of how many pools it goes through."""


def receipt_of(kind: ActionKind, paying: Reserve) -> str:
    """The token by which the helper is let: the aToken of what is withdrawn, the debt token of what is borrowed."""
    return paying.debt_token if kind in BORROWING else paying.a_token


def shape_of(helper: str, paying: Reserve, kind: ActionKind = ActionKind.DELEVERAGE) -> SaleTerms:
    """The terms without asking anybody."""
    return SaleTerms(helper, receipt_of(kind, paying), USUAL_PREMIUM_BPS)


def terms_calls(
    pool: str, helper: str, account: str, paying: Reserve, loaned: Reserve | None, kind: ActionKind
) -> tuple[Call, ...]:
    """The reads that tell the terms; decode with `terms_of`."""
    token = receipt_of(kind, paying)
    sides = (paying,) if loaned is None else (paying, loaned)
    credit = Call(token, borrow_allowance_data(account, helper))
    return (
        Call(pool, PREMIUM_TOTAL),
        Call(helper, HELPER),
        credit if kind in BORROWING else allowance(token, account, helper),
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


def terms_of(
    shape: SaleTerms,
    asset: Asset,
    chain_id: int | None,
    results: Sequence[CallResult],
    kind: ActionKind = ActionKind.DELEVERAGE,
) -> SaleTerms:
    """The terms from the answers of `terms_calls`; what keeps a sale from being made is in `impossible`.

    `shape` is that of the helper that was asked about, `asset` what pays. Without a `chain_id` no permit can be
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
        why = "the helper contract is not deployed on this chain: run `trimtab helper deploy`"
        liquid = results[_FIXED + _PERMIT :]
        return replace(shape, impossible=why, absent=True, withdrawable=_liquid(liquid[:_LIQUID]))
    if allowed is None:
        does = "borrow of" if kind in BORROWING else "take of the"
        what = asset.symbol if kind in BORROWING else f"{asset.symbol} supplied"
        return replace(shape, impossible=f"what the helper may {does} {what} could not be read")
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


def sale_calls_for(
    action: Action, sale: Sale, everything: bool, deadline: int, account: str
) -> tuple[PlannedCall, ...]:
    """The calls that do a sale for whoever sends them; `deadline` (unix seconds) holds for a signature and the sale.

    Where `account` runs the helper's code as its own: the call alone, to itself. Else, with enough allowance: the call
    alone. Else, with a permit of the aToken or a delegation by the debt token: the call that carries it. Else an
    approval of exactly what may be sold or borrowed (of a token after one of zero where something smaller stands), then
    the call. `everything`: all that is owed when the transaction runs is repaid, interest to then included.

    Raises ActionImpossible for terms under which nothing can be sold, and for a route that is none.
    """
    terms = sale.terms
    if terms.impossible is not None:
        raise ActionImpossible(terms.impossible)
    # Without a route it is only a shape; the helper takes none without a limit, so neither does the packing.
    most = sale.most_sold if sale.path else min(sale.most_sold, UINT256_MAX - 1)
    borrows = action.kind in BORROWING
    what = "" if borrows else " of what is supplied"
    taking = Taking(terms.receipt, sale.collateral, terms.helper, most, "the helper", what)
    amount = ALL_OF_IT if everything else action.amount
    try:
        data, carrying = _packed(action.kind, action.asset.address, sale, amount, most, deadline)
    except ValueError as error:
        raise ActionImpossible(f"{sale.venue or 'the route'}: {error}") from error
    if terms.delegated:
        itself = _plain(data, action, sale, taking, everything, ", by the account's own code: nothing is approved")
        return (replace(itself, to=account),)
    suffix = _credit_standing(terms.allowed, taking) if borrows else standing(terms.allowed, taking)
    plain = _plain(data, action, sale, taking, everything, suffix)
    if terms.allowed >= most:
        return (plain,)
    kept = ""
    if borrows:
        rest = amount_text(max(most - sale.sold, 0), sale.collateral)
        kept = f"what is not borrowed of it (some {rest}) stays delegated to the helper, which acts for you alone"
    let = (_delegation(taking, kept),) if borrows else approvals(taking, terms.allowed)
    if terms.permit is None:
        return (*let, plain)
    with_one = f"a signed delegation of exactly that amount: {kept}" if borrows else "a permit for exactly that amount"
    need = permit_need(taking, terms.permit, deadline)
    call = replace(
        plain,
        data=carrying,
        words=f"{plain.words}, with {with_one}",
        permit=replace(need, kind=PermitKind.DELEGATION) if borrows else need,
        stand_in=(*let, plain),
    )
    return (call,)


def _packed(kind: ActionKind, loaned: str, sale: Sale, amount: int, most: int, deadline: int) -> tuple[bytes, bytes]:
    """Calldata without a signature and with room for one. Raises ValueError where the helper could not take it."""
    paying, floor, path = sale.collateral.address, sale.min_health, sale.path
    if kind is ActionKind.DELEVERAGE:
        order = Order(loaned, paying, amount, most, floor, deadline, path)
        return deleverage_data(order), deleverage_with_permit_data(order)
    if kind is ActionKind.SWITCH_COLLATERAL:
        switch = SwitchCollateral(loaned, paying, amount, most, floor, deadline, path)
        return switch_collateral_data(switch), switch_collateral_with_permit_data(switch)
    if kind is ActionKind.SWITCH_DEBT:
        debts = SwitchDebt(loaned, paying, amount, most, floor, deadline, path)
        return switch_debt_data(debts), switch_debt_with_signature_data(debts)
    boost = Boost(paying, loaned, amount, most, floor, deadline, path)
    return boost_data(boost), boost_with_signature_data(boost)


def _delegation(taking: Taking, kept: str) -> PlannedCall:
    """Credit for exactly the amount, in place of whatever was delegated before."""
    return PlannedCall(
        to=taking.token,
        data=approve_delegation_data(taking.spender, taking.amount),
        value=0,
        words=f"Let {taking.whose} borrow exactly {amount_text(taking.amount, taking.asset)} for you: {kept}",
        action=None,
        rules=(WordRule(0, equals=int(taking.spender, 16)), WordRule(1, maximum=taking.amount)),
    )


def _credit_standing(allowed: int, taking: Taking) -> str:
    """Said where credit that was delegated before is used."""
    if allowed < taking.amount:
        return ""
    kept = "without limit" if allowed >= 2**255 else amount_text(allowed, taking.asset)
    return f", with the credit that stands delegated ({kept})"


def _plain(data: bytes, action: Action, sale: Sale, taking: Taking, everything: bool, suffix: str) -> PlannedCall:
    now = amount_text(action.amount, action.asset)
    owed = f"all the {action.asset.symbol} owed by then ({now} now)" if everything else now
    through = f" through {sale.venue}" if sale.venue else ""
    most = amount_text(taking.amount, sale.collateral)
    words = {
        ActionKind.DELEVERAGE: f"Sell at most {most} of the collateral{through} and repay {owed}",
        ActionKind.SWITCH_COLLATERAL: f"Sell at most {most} of the collateral{through} and supply {now} in its place",
        ActionKind.SWITCH_DEBT: f"Borrow and sell at most {most}{through} and repay {owed}",
        ActionKind.BOOST: f"Borrow and sell at most {most}{through} and supply {now} as collateral",
    }[action.kind]
    loaned, paying = int(action.asset.address, 16), int(sale.collateral.address, 16)
    # Never past the target: a boost's floor is part of what is agreed to, the others' is at least not to be liquidated.
    floor = max(sale.min_health, WAD) if action.kind is ActionKind.BOOST else WAD
    first, second = (paying, loaned) if action.kind is ActionKind.BOOST else (loaned, paying)
    return PlannedCall(
        to=sale.terms.helper,
        data=data,
        value=0,
        words=f"{words}{suffix}",
        action=action,
        rules=(
            WordRule(0, equals=first),
            WordRule(1, equals=second),
            WordRule(_MOST_SOLD_WORD, maximum=taking.amount),
            WordRule(_HEALTH_WORD, minimum=floor),
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
