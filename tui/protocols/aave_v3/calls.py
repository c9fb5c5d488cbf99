"""The transactions of a defence: calldata of the pool, approvals and permits, and what a signer must insist on.

Every argument word is bound: asset and beneficiary to one value, the amount to the amount, mode and code to theirs.
"""

from __future__ import annotations

from tui.model.plan import Action, PermitNeed, PlannedCall
from tui.model.rule import ActionKind
from tui.model.signing import WordRule
from tui.model.text import short_address
from tui.model.units import format_units, group_digits
from tui.model.wallet import TokenHolding, Wallet
from tui.protocols.base import ActionImpossible
from tui.protocols.erc20 import address_word, approve_data, word

REPAY = bytes.fromhex("573ade81")
"""repay(address,uint256,uint256,address)"""
REPAY_WITH_PERMIT = bytes.fromhex("ee3e210b")
"""repayWithPermit(address,uint256,uint256,address,uint256,uint8,bytes32,bytes32)"""
SUPPLY = bytes.fromhex("617ba037")
"""supply(address,uint256,address,uint16)"""
SUPPLY_WITH_PERMIT = bytes.fromhex("02c205f0")
"""supplyWithPermit(address,uint256,address,uint16,uint256,uint8,bytes32,bytes32)"""
STABLE, VARIABLE = 1, 2
REFERRAL_CODE = 0


def calls_for(
    pool: str, account: str, action: Action, stable: bool, wallet: Wallet, deadline: int
) -> tuple[PlannedCall, ...]:
    """The calls that do `action` for `account` out of `wallet`, in order; `deadline` in unix seconds.

    With enough allowance: the call alone. Else, with a permit: the call that carries it. Else an approval of exactly
    the amount (after one of zero where something smaller stands, as some tokens insist), then the call.

    Raises ActionImpossible where the allowance that stands is not known.
    """
    asset = action.asset
    holding = wallet.holding(asset.address) or TokenHolding(asset, None)
    allowed = holding.allowances.get(pool)
    if allowed is None:
        raise ActionImpossible(f"what the pool may take of {asset.symbol} could not be read")
    plain = _plain_call(pool, account, action, stable, _standing(allowed, action))
    if allowed >= action.amount:
        return (plain,)
    approvals = _approvals(pool, action, allowed)
    if holding.permit is None:
        return (*approvals, plain)
    permit = PermitNeed(
        token=asset.address,
        name=holding.permit.name,
        version=holding.permit.version,
        domain_separator=holding.permit.domain_separator,
        spender=pool,
        value=action.amount,
        nonce=holding.permit.nonce,
        deadline=deadline,
    )
    return (_permit_call(plain, action, permit, approvals),)


def _plain_call(pool: str, account: str, action: Action, stable: bool, standing: str) -> PlannedCall:
    asset, amount = int(action.asset.address, 16), action.amount
    beneficiary = int(account, 16)
    if action.kind is ActionKind.REPAY:
        mode = STABLE if stable else VARIABLE
        words = (asset, amount, mode, beneficiary)
        rules = (WordRule(0, asset), WordRule(1, maximum=amount), WordRule(2, mode), WordRule(3, beneficiary))
        selector, text = REPAY, f"Repay {_amount(action)} of the debt of {short_address(account)}{standing}"
    else:
        words = (asset, amount, beneficiary, REFERRAL_CODE)
        rules = (
            WordRule(0, asset),
            WordRule(1, maximum=amount),
            WordRule(2, beneficiary),
            WordRule(3, REFERRAL_CODE),
        )
        selector, text = SUPPLY, f"Supply {_amount(action)} as collateral of {short_address(account)}{standing}"
    return PlannedCall(
        to=pool,
        data=selector + b"".join(word(one) for one in words),
        value=0,
        words=text,
        action=action,
        rules=rules,
    )


def _permit_call(
    plain: PlannedCall, action: Action, permit: PermitNeed, approvals: tuple[PlannedCall, ...]
) -> PlannedCall:
    selector = REPAY_WITH_PERMIT if action.kind is ActionKind.REPAY else SUPPLY_WITH_PERMIT
    return PlannedCall(
        to=plain.to,
        data=selector + plain.data[4:] + word(permit.deadline) + bytes(96),
        value=0,
        words=f"{plain.words}, with a permit for exactly that amount",
        action=action,
        rules=plain.rules,
        permit=permit,
        stand_in=(*approvals, plain),
    )


def _approvals(pool: str, action: Action, allowed: int) -> tuple[PlannedCall, ...]:
    token, symbol = action.asset.address, action.asset.symbol
    spender = WordRule(0, int.from_bytes(address_word(pool), "big"))
    approve = PlannedCall(
        to=token,
        data=approve_data(pool, action.amount),
        value=0,
        words=f"Let the pool take exactly {_amount(action)}",
        action=None,
        rules=(spender, WordRule(1, maximum=action.amount)),
    )
    if not allowed:
        return (approve,)
    reset = PlannedCall(
        to=token,
        data=approve_data(pool, 0),
        value=0,
        words=f"Take back the pool's allowance of {_units(allowed, action)} {symbol}",
        action=None,
        rules=(spender, WordRule(1, equals=0)),
    )
    return (reset, approve)


def _standing(allowed: int, action: Action) -> str:
    """Said where an allowance that the holder gave before is used, and how much of it stays."""
    if allowed < action.amount:
        return ""
    left = allowed - action.amount
    if not left:
        return ", with the allowance that stands"
    kept = "without limit" if allowed >= 2**255 else f"{_units(allowed, action)} {action.asset.symbol}"
    return f", with the allowance that stands ({kept})"


def _amount(action: Action) -> str:
    return f"{_units(action.amount, action)} {action.asset.symbol}"


def _units(amount: int, action: Action) -> str:
    text = format_units(amount, action.asset.decimals)
    return group_digits(text.rstrip("0").rstrip(".") if "." in text else text)
