"""What a rule may spend in a day of chain time. Pure; the sums come from the journal's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tui.model.errand import Errand
from tui.model.intent import Intent, IntentState
from tui.model.plan import Plan
from tui.model.rule import FROM_WALLET, ActionKind, Rule
from tui.model.units import WAD, usd_text
from tui.ports.journal import SpendEntry, SpendKind

DE_RISKING = FROM_WALLET | {ActionKind.REPAY_WITH_ATOKENS}
"""What may be done on the word of fewer nodes than must agree: at worst it moves the user's own money too soon. A sale
is none of it: its limit on the price comes from the same few nodes."""

_ONLY_DE_RISKING = "too few nodes agree, so only repaying and adding collateral are allowed, and no sale"
_NO_CAP = "too few nodes agree, and the rule has no daily_spend_usd to be halved"

_HANDS_OVER_NOTHING = frozenset(map(bytes.fromhex, ("095ea7b3", "c04a8a10", "d0e30db0")))
"""approve, approveDelegation and the wrapped coin's deposit: alone they move nothing out of the account's hands."""


def degraded_rule(rule: Rule) -> Rule | str:
    """The rule as far as it may act on the word of too few nodes, for planning: what `degraded_cap` lets through of it.
    A text where that is nothing.
    """
    steps = tuple(step for step in rule.steps if step.action in DE_RISKING)
    if not steps:
        return _ONLY_DE_RISKING
    cap = rule.limits.daily_spend_usd
    if cap is None:
        return _NO_CAP
    return replace(rule, steps=steps, limits=replace(rule.limits, daily_spend_usd=cap // 2))


def degraded_cap(plan: Plan | Errand, cap: int | None) -> int | str:
    """The daily cap for a plan read from too few nodes: half of the rule's. A text where it must not be done at all."""
    if not plan.steps:
        return "too few nodes agree, and what is asked for by hand can wait until enough do"
    if any(step.action.kind not in DE_RISKING for step in plan.steps):
        return _ONLY_DE_RISKING
    if cap is None:
        return _NO_CAP
    return cap // 2


def day_of(timestamp: int) -> str:
    """The UTC day of a block's timestamp (unix seconds): `2026-01-31`. Local clocks have no say in budgets."""
    return datetime.fromtimestamp(timestamp, UTC).date().isoformat()


def refuse_spend(spent_usd: int, spend_usd: int, cap_usd: int | None, gas_usd: int = 0) -> str | None:
    """Why `spend_usd`, and `gas_usd` for gas at the most, may not be spent today, or None. Dollars with 8 decimals; no
    cap: never refused.
    """
    if cap_usd is None or spent_usd + spend_usd + gas_usd <= cap_usd:
        return None
    gas = f" and up to ${usd_text(gas_usd)} of gas" if gas_usd else ""
    return (
        f"${usd_text(spend_usd)}{gas} more would pass the daily limit of ${usd_text(cap_usd)}: "
        f"${usd_text(spent_usd)} are spent today"
    )


def gas_debits(rule: str, day: str, intents: Sequence[Intent], native_price_usd: int | None) -> list[SpendEntry]:
    """What the gas of reserved intents may cost at the most, rounded up: each at its limit and at its fee ceiling, that
    all attempts share. Empty where the native coin has no price (8 decimals): that is not zero, and has to be said.
    """
    if native_price_usd is None:
        return []
    return [
        SpendEntry(
            SpendKind.GAS_USD,
            rule,
            day,
            -(-intent.gas_limit * intent.fee_ceiling * native_price_usd // WAD),
            intent.firing_id,
            intent.id,
        )
        for intent in intents
    ]


def gas_correction(intent: Intent, rule: str, debit: tuple[str, int] | None, paid_wei: int) -> list[SpendEntry]:
    """What is taken back of an intent's gas debit, (day, dollars), once it is final and `paid_wei` is known: on the day
    and at the price of the debit, so that the day ends with what was really paid, rounded up.
    """
    if debit is None:
        return []
    day, debited = debit
    most = intent.gas_limit * intent.fee_ceiling
    paid = -(-debited * paid_wei // most) if most else 0
    return [SpendEntry(SpendKind.GAS_USD, rule, day, paid - debited, intent.firing_id, intent.id)]


def moves(intent: Intent) -> bool:
    """Whether an intent moves anything out of the account's hands by itself: an approval does not."""
    return intent.data[:4] not in _HANDS_OVER_NOTHING


def may_have_spent(intent: Intent) -> bool:
    """Whether any of a plan's dollars may have been moved by an intent that has an end: it went through, or what used
    its nonce is not known.
    """
    if intent.state is IntentState.NONCE_LOST:
        return True
    return intent.state is IntentState.FINAL_OK and moves(intent)
