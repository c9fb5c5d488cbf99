"""What a rule may spend in a day of chain time. Pure; the sums come from the journal's rows."""

from __future__ import annotations

from datetime import UTC, datetime

from tui.model.errand import Errand
from tui.model.plan import Plan
from tui.model.rule import FROM_WALLET, ActionKind
from tui.model.units import usd_text

DE_RISKING = FROM_WALLET | {ActionKind.REPAY_WITH_ATOKENS}
"""What may be done on the word of fewer nodes than must agree: at worst it moves the user's own money too soon. A sale
is none of it: its limit on the price comes from the same few nodes."""


def degraded_cap(plan: Plan | Errand, cap: int | None) -> int | str:
    """The daily cap for a plan read from too few nodes: half of the rule's. A text where it must not be done at all."""
    if not plan.steps:
        return "too few nodes agree, and what is asked for by hand can wait until enough do"
    if any(step.action.kind not in DE_RISKING for step in plan.steps):
        return "too few nodes agree, so only repaying and adding collateral are allowed, and no sale"
    if cap is None:
        return "too few nodes agree, and the rule has no daily_spend_usd to be halved"
    return cap // 2


def day_of(timestamp: int) -> str:
    """The UTC day of a block's timestamp (unix seconds): `2026-01-31`. Local clocks have no say in budgets."""
    return datetime.fromtimestamp(timestamp, UTC).date().isoformat()


def refuse_spend(spent_usd: int, spend_usd: int, cap_usd: int | None) -> str | None:
    """Why `spend_usd` more may not be spent today, or None. Dollars with 8 decimals; no cap: never refused."""
    if cap_usd is None or spent_usd + spend_usd <= cap_usd:
        return None
    return (
        f"${usd_text(spend_usd)} more would pass the daily limit of ${usd_text(cap_usd)}: "
        f"${usd_text(spent_usd)} are spent today"
    )
