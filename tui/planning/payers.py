"""Whose wallets pay for the steps of a rule, and which of those accounts cannot sign anything now. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tui.model.plan import Action, PlannedCall, Refusal
from tui.model.rule import Rule
from tui.model.text import short_address
from tui.model.units import format_units
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances
from tui.planning.costs import least_fee

LEAST_GAS_UNITS = 450_000
"""Gas that an account must be able to pay for before anything is planned out of its wallet, where others can act
instead: about one repayment at its limit."""


def payer_wallet(payer: str | None, own: Wallet, circumstances: Circumstances) -> Wallet | None:
    """The wallet of an `Action.payer`: `own`, that of the position's account, for None. None: it was not read."""
    return own if payer in (None, own.account) else circumstances.payers.get(payer or "")


def wallets_by_payer(own: Wallet, payers: Mapping[str, Wallet]) -> dict[str | None, Wallet]:
    """Wallets by `Action.payer`."""
    wallets: dict[str | None, Wallet] = {None: own}
    wallets.update(payers)
    return wallets


def sender_of(call: PlannedCall, account: str) -> str:
    """Who signs a call of a plan for a position of `account`."""
    return account if call.sender is None else call.sender


def senders_of(calls: Iterable[PlannedCall], account: str) -> tuple[str, ...]:
    """Who signs the calls of a plan for a position of `account`, each once, in order."""
    return tuple(dict.fromkeys(sender_of(call, account) for call in calls))


def paid_by(action: Action, account: str) -> str:
    """Whose wallet an action of a plan for a position of `account` is paid from."""
    return account if action.payer is None else action.payer


def unfit(signer: str, own: Wallet, circumstances: Circumstances) -> Refusal | None:
    """Why nothing can be signed for an account now; None where something can. `own`: the wallet of the position's."""
    is_own = signer == own.account
    called = "the account" if is_own else f"{short_address(signer)}, which pays,"
    barred = circumstances.barred.get(signer)
    if barred is not None:
        return Refusal("account-barred", barred)
    wallet = payer_wallet(signer, own, circumstances)
    if wallet is None:
        return Refusal("wallet-unknown", f"the wallet of {short_address(signer)}, which pays, was not read")
    if wallet.is_foreign:
        what = "carries code or a delegation that is not Trimtab's: others may act for it"
        return Refusal("account-has-code", f"{called} {what}")
    if wallet.nonce is None:
        whose = "the account's" if is_own else f"{short_address(signer)}'s"
        return Refusal("nonce-unknown", f"{whose} nonce could not be read")
    return None


def refuse_signers(rule: Rule, own: Wallet, circumstances: Circumstances) -> Refusal | None:
    """Why no account that the rule's steps need can sign, None where one of them can: the others' steps are passed
    over.
    """
    found = [unfit(signer, own, circumstances) for signer in rule.signers(own.account) or (own.account,)]
    return found[0] if all(one is not None for one in found) else None


def why_passed_over(signer: str, rule: Rule, own: Wallet, circumstances: Circumstances) -> str | None:
    """Why a step is passed over because of who would sign it, where other accounts can act instead; else None."""
    if len(rule.signers(own.account)) < 2:
        return None
    refusal = unfit(signer, own, circumstances)
    if refusal is not None:
        return refusal.reason
    wallet = payer_wallet(signer, own, circumstances)
    native = None if wallet is None else wallet.native
    if native is None:
        return f"what {short_address(signer)} has for gas could not be read"
    least = LEAST_GAS_UNITS * least_fee(circumstances.fees)
    if native < least:
        return (
            f"{short_address(signer)} has {format_units(native, 18, 6)} of the native coin for gas, which may take "
            f"{format_units(least, 18, 6)}"
        )
    return None
