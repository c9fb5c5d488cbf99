"""From a plan to intents and back: which belong to a firing, which are unsigned, which may not be carried out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tui.model.errand import Errand
from tui.model.intent import AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.outcome import Outcome, SoldAsset
from tui.model.plan import Action, Plan, PlannedCall, Sale
from tui.model.text import short_address
from tui.planning.payers import sender_of, senders_of

HOW_TO_CANCEL = "cancel it (`trimtab cancel`, or key z in the app, with a rule of that account armed)"
"""What a person does about a withheld transaction."""


def unsigned(firing: Firing) -> list[Intent]:
    """What owns a nonce and has no recorded signature."""
    return [intent for intent in firing.intents if intent.state is IntentState.RESERVED]


def may_still_be_sent(intent: Intent) -> bool:
    """Signed, never sent, and not stopped by the kill switch."""
    return intent.state is IntentState.SIGNED and not intent.withheld


def awaits_signature(firing: Firing) -> bool:
    """Whether the signer may have been asked for it, and nothing was recorded."""
    return firing.state is FiringState.RUNNING and any(
        intent.state is IntentState.RESERVED and intent.signing_began and not intent.withheld
        for intent in firing.intents
    )


def senders(intents: Iterable[Intent]) -> tuple[str, ...]:
    """The accounts that sign these, each once, in order."""
    return tuple(dict.fromkeys(intent.account for intent in intents))


def plan_senders(firing: Firing, plan: Plan | Errand) -> tuple[str, ...]:
    """The accounts that sign the calls of a firing's plan, each once, in order."""
    return senders_of(plan.calls, firing.account)


def living(firing: Firing) -> list[Intent]:
    """What of a firing has no end yet: its accounts can do nothing else until it has."""
    return [intent for intent in firing.intents if not intent.state.is_final]


def intents_of(firing: Firing, plan: Plan | Errand, nonces: Mapping[str, int]) -> list[Intent]:
    """A plan's calls as RESERVED intents, numbered after earlier tries, each account's with consecutive nonces from
    its own of `nonces` on.
    """
    taken = len(firing.intents)
    signers = [sender_of(call, firing.account) for call in plan.calls]
    return [
        Intent(
            id=f"{firing.id}-{taken + place}",
            firing_id=firing.id,
            sequence=taken + place,
            chain_id=firing.chain_id,
            account=signers[place],
            to=call.to,
            data=call.data,
            value=call.value,
            words=call.words,
            gas_limit=call.gas_limit,
            fee_ceiling=plan.fees.ceiling,
            state=IntentState.RESERVED,
            nonce=nonces[signers[place]] + signers[:place].count(signers[place]),
            delegate=call.delegate,
            step=call.step,
            takes=call.takes,
        )
        for place, call in enumerate(plan.calls)
    ]


def expected_of(firing: Firing, plan: Plan | Errand) -> Outcome:
    """What a plan promises, to be held against what comes of it."""
    actions = [step.action for step in plan.steps]
    sales = [one.sale for one in actions if one.sale is not None]
    first: dict[str, Sale] = {}
    for one in sales:
        first.setdefault(one.collateral.address, one)
    return Outcome(
        firing.id,
        health_expected=plan.steps[-1].health_factor_after if plan.steps else None,
        health_simulated=plan.health_factor_after,
        gas_expected_usd=plan.cost.gas_usd,
        swap_expected_usd=plan.cost.swap_usd if sales else None,
        sales=tuple(
            SoldAsset(
                of.collateral.symbol,
                sum(one.sold for one in sales if one.collateral.address == token),
                None,
                token,
                of.collateral.decimals,
                of.price_usd,
            )
            for token, of in first.items()
        ),
        buys=_bought_by(actions),
    )


def _bought_by(actions: Iterable[Action]) -> tuple[SoldAsset, ...]:
    """What the account's own swaps are expected to bring in, each asset once."""
    found: dict[str, SoldAsset] = {}
    for action in actions:
        asset, sale = action.asset, action.sale
        if sale is None or sale.swap is None:
            continue
        before = found.get(asset.address)
        expected = (before.expected or 0 if before is not None else 0) + sale.swap.least_out + sale.surplus
        found[asset.address] = SoldAsset(
            asset.symbol, expected, None, asset.address, asset.decimals, sale.bought_price_usd
        )
    return tuple(found.values())


def call_of(intent: Intent) -> PlannedCall:
    """An intent as the call that was planned, with its final calldata and whoever signs it."""
    return PlannedCall(
        intent.to,
        intent.data,
        intent.value,
        intent.words,
        None,
        gas_limit=intent.gas_limit,
        delegate=intent.delegate,
        sender=intent.account,
    )


def fault_of(firing: Firing, plan: Plan | Errand) -> str | None:
    """Why a plan may not be carried out for a firing at all: they are not of one piece, or it is not finished."""
    if (plan.rule, plan.rule_digest, str(plan.position)) != (firing.rule, firing.rule_digest, firing.position):
        return "the rule or the position changed since it fired"
    if plan.position.account != firing.account:
        return "the plan is for another account"
    if not plan.calls or any(call.gas_limit <= 0 for call in plan.calls):
        return "the plan has no transactions, or one without a gas limit"
    if not 0 <= plan.fees.priority_fee <= plan.fees.max_fee <= plan.fees.ceiling:
        return "the fees are above the ceiling of the rule"
    if any(call.delegate is not None for call in plan.calls[:-1]):
        return "setting the account's code comes last in a plan: it uses up the nonce after its own, too"
    if any(call.permit is not None and len(call.data) < 4 + 3 * 32 for call in plan.calls):
        return "a call that wants a permit has no room for it"
    return None


def left_authorization(firings: Iterable[Firing], account: str, nonce: int) -> bool:
    """Whether a transaction that was to set the account's code was cancelled under `nonce`: whoever saw it may use its
    authorization (EIP-7702) as long as the account has sent nothing since, and that uses up a nonce as well.
    """
    return any(
        intent.delegate is not None and intent.state is IntentState.FINAL_CANCELLED and intent.nonce == nonce
        for firing in firings
        if firing.account == account
        for intent in firing.intents
    )


def to_withhold(firing: Firing) -> list[Intent]:
    """What was signed, or may have been, and was never sent."""
    return [
        intent
        for intent in firing.intents
        if not intent.withheld
        and (intent.state is IntentState.SIGNED or (intent.state is IntentState.RESERVED and intent.signing_began))
    ]


def why_withheld(intent: Intent) -> str:
    """What the kill switch came between."""
    if intent.attempts:
        return "kill switch between signature and send"
    return "kill switch while the signer was asked; it may have signed"


def is_stuck(intent: Intent) -> bool:
    """Whether it is withheld and no no-op for its nonce is on the way: until then its account can do nothing else."""
    return (
        intent.withheld
        and not intent.state.is_final
        and intent.state is not IntentState.INCLUDED
        and not any(attempt.kind is AttemptKind.CANCEL for attempt in intent.attempts)
    )


def stuck_words(intent: Intent) -> str:
    """A stuck intent for whoever has to cancel it, as a full sentence."""
    return (
        f"Nonce {intent.nonce} of {short_address(intent.account)} is withheld ({intent.reason}): nothing else of that "
        f"account can be signed until you {HOW_TO_CANCEL}."
    )
