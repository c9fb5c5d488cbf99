"""The transactions of a defence with the market itself: calldata of the pool, approvals, permits, wrapping.

Every argument word is bound: asset and beneficiary to one value, the amount to the amount, mode and code to theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.plan import Action, PermitNeed, PlannedCall
from tui.model.position import Asset
from tui.model.rule import ActionKind
from tui.model.signing import WordRule
from tui.model.text import short_address
from tui.model.units import format_units, group_digits
from tui.model.wallet import PermitFacts, TokenHolding, Wallet
from tui.protocols.base import ActionImpossible
from tui.protocols.erc20 import address_word, approve_data, word

REPAY = bytes.fromhex("573ade81")
"""repay(address,uint256,uint256,address)"""
REPAY_WITH_PERMIT = bytes.fromhex("ee3e210b")
"""repayWithPermit(address,uint256,uint256,address,uint256,uint8,bytes32,bytes32)"""
REPAY_WITH_ATOKENS = bytes.fromhex("2dad97d4")
"""repayWithATokens(address,uint256,uint256)"""
SUPPLY = bytes.fromhex("617ba037")
"""supply(address,uint256,address,uint16)"""
SUPPLY_WITH_PERMIT = bytes.fromhex("02c205f0")
"""supplyWithPermit(address,uint256,address,uint16,uint256,uint8,bytes32,bytes32)"""
DEPOSIT = bytes.fromhex("d0e30db0")
"""deposit() of the wrapped native coin"""
STABLE, VARIABLE = 1, 2
REFERRAL_CODE = 0
_AMOUNT_WORD = 1
"""The amount's place among the arguments, the same in every call of the pool made here."""


@dataclass(frozen=True, slots=True)
class Taking:
    """A `spender` who is to take exactly `amount` base units of `token`; `asset` is what people know it by, `whose`
    names the spender and `what` goes behind the amount ("" or " of what is supplied").
    """

    token: str
    asset: Asset
    spender: str
    amount: int
    whose: str
    what: str = ""


def calls_for(
    pool: str, account: str, action: Action, stable: bool, wallet: Wallet, deadline: int
) -> tuple[PlannedCall, ...]:
    """The calls that do `action` for `account` out of `wallet`, in order; `deadline` in unix seconds.

    With enough allowance: the call alone. Else, with a permit: the call that carries it. Else an approval of exactly
    the amount (after one of zero where something smaller stands, as some tokens insist), then the call. Native coin
    is wrapped before anything else. What may be taken for interest and was not (`action.spare`) is taken back at last.

    Raises ActionImpossible where the allowance that stands is not known.
    """
    asset = action.asset
    wraps = (wrap_call(asset, action.wrap),) if action.wrap > 0 else ()
    holding = wallet.holding(asset.address) or TokenHolding(asset, None)
    allowed = holding.allowances.get(pool)
    if allowed is None:
        raise ActionImpossible(f"what the pool may take of {asset.symbol} could not be read")
    taking = Taking(asset.address, asset, pool, action.amount + action.spare, "the pool")
    plain = _plain_call(pool, account, action, stable, standing(allowed, taking))
    if allowed >= taking.amount:
        return (*wraps, plain)
    back = (_taken_back(taking, action.spare),) if action.spare else ()
    if holding.permit is None:
        return (*wraps, *approvals(taking, allowed), plain, *back)
    need = permit_need(taking, holding.permit, deadline)
    return (*wraps, _permit_call(plain, action, need, approvals(taking, allowed)), *back)


def repay_with_a_tokens(pool: str, action: Action, stable: bool) -> PlannedCall:
    """The call that burns what is supplied of an asset against what is owed of it; nobody needs to be allowed
    anything.
    """
    asset, mode = int(action.asset.address, 16), STABLE if stable else VARIABLE
    return PlannedCall(
        to=pool,
        data=REPAY_WITH_ATOKENS + word(asset) + word(action.amount) + word(mode),
        value=0,
        words=f"Repay {amount_text(action.amount, action.asset)} of the debt out of what is supplied of it",
        action=action,
        rules=(WordRule(0, asset), WordRule(_AMOUNT_WORD, maximum=action.amount), WordRule(2, mode)),
        spend_token=action.asset.address,
        spend_word=_AMOUNT_WORD,
    )


def approvals(taking: Taking, allowed: int) -> tuple[PlannedCall, ...]:
    """An approval of exactly the amount, after one of zero where `allowed` stands."""
    asset = taking.asset
    spender = WordRule(0, int.from_bytes(address_word(taking.spender), "big"))
    approve = PlannedCall(
        to=taking.token,
        data=approve_data(taking.spender, taking.amount),
        value=0,
        words=f"Let {taking.whose} take exactly {amount_text(taking.amount, asset)}{taking.what}",
        action=None,
        rules=(spender, WordRule(1, maximum=taking.amount)),
    )
    return (_taken_back(taking, allowed), approve) if allowed else (approve,)


def _taken_back(taking: Taking, allowed: int) -> PlannedCall:
    """An approval of nothing, where up to `allowed` stands."""
    return PlannedCall(
        to=taking.token,
        data=approve_data(taking.spender, 0),
        value=0,
        words=f"Take back {taking.whose}'s allowance of {amount_text(allowed, taking.asset)}{taking.what}",
        action=None,
        rules=(WordRule(0, int.from_bytes(address_word(taking.spender), "big")), WordRule(1, equals=0)),
    )


def permit_need(taking: Taking, facts: PermitFacts, deadline: int) -> PermitNeed:
    """The permit that lets the spender take the amount."""
    return PermitNeed(
        token=taking.token,
        name=facts.name,
        version=facts.version,
        domain_separator=facts.domain_separator,
        spender=taking.spender,
        value=taking.amount,
        nonce=facts.nonce,
        deadline=deadline,
    )


def standing(allowed: int, taking: Taking) -> str:
    """Said where an allowance that the holder gave before is used, and how much of it stays."""
    if allowed < taking.amount:
        return ""
    if allowed == taking.amount:
        return ", with the allowance that stands"
    kept = "without limit" if allowed >= 2**255 else amount_text(allowed, taking.asset)
    return f", with the allowance that stands ({kept})"


def amount_text(amount: int, asset: Asset) -> str:
    """`1,234.5 USDC`, every digit of it."""
    return f"{_units(amount, asset.decimals)} {asset.symbol}"


def _plain_call(pool: str, account: str, action: Action, stable: bool, suffix: str) -> PlannedCall:
    asset, amount = int(action.asset.address, 16), action.amount + action.spare
    text, beneficiary = amount_text(amount, action.asset), int(account, 16)
    if action.kind is ActionKind.REPAY:
        mode = STABLE if stable else VARIABLE
        words = (asset, amount, mode, beneficiary)
        rules = (WordRule(0, asset), WordRule(1, maximum=amount), WordRule(2, mode), WordRule(3, beneficiary))
        whose = f"the debt of {short_address(account)}"
        text = f"all of {whose}, up to {text}" if action.spare else f"{text} of {whose}"
        selector, text = REPAY, f"Repay {text}{suffix}"
    else:
        words = (asset, amount, beneficiary, REFERRAL_CODE)
        rules = (
            WordRule(0, asset),
            WordRule(1, maximum=amount),
            WordRule(2, beneficiary),
            WordRule(3, REFERRAL_CODE),
        )
        selector, text = SUPPLY, f"Supply {text} as collateral of {short_address(account)}{suffix}"
    return PlannedCall(
        to=pool,
        data=selector + b"".join(word(one) for one in words),
        value=0,
        words=text,
        action=action,
        rules=rules,
        spend_token=action.asset.address,
        spend_word=_AMOUNT_WORD,
    )


def _permit_call(
    plain: PlannedCall, action: Action, permit: PermitNeed, instead: tuple[PlannedCall, ...]
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
        stand_in=(*instead, plain),
        spend_token=plain.spend_token,
        spend_word=plain.spend_word,
    )


def wrap_call(asset: Asset, wei: int) -> PlannedCall:
    """The deposit that turns native coin into the asset, wei for wei."""
    return PlannedCall(
        to=asset.address,
        data=DEPOSIT,
        value=wei,
        words=f"Wrap {_units(wei, asset.decimals)} of the native coin",
        action=None,
    )


def _units(amount: int, decimals: int) -> str:
    text = format_units(amount, decimals)
    return group_digits(text.rstrip("0").rstrip(".") if "." in text else text)
