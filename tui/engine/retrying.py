"""Trying again what the chain refused: whether a firing ended by that alone, and how long its rule rests then. Pure.

A transaction that is simulated well may revert in its block: the price moved on, somebody came first, or somebody moves
a pool there and back again so that it does. What reverts costs gas, so the rest grows. It never ends the trying, and in
an emergency there is none before what reverted has cost as much as a liquidation would take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from tui.engine.further import time_text
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.plan import Plan, Refusal
from tui.model.rule import Rule
from tui.model.units import WAD
from tui.planning.shortfalls import is_emergency

FIRST_REST, REST_GROWS, LONGEST_REST = 10, 3, 10 * 60
"""Seconds of chain time, from the block of its decision, that a rule rests after the second revert in a row: so many
times as long after each further one, up to the longest. After the first it is planned anew at once.
"""

REVERTS_SPAN = 24 * 60 * 60
"""Seconds of chain time in which reverts count: what they cost is held against one loss, not against one an hour."""
MOST_UNKNOWN = 6
"""So many in a row are tried without a rest in an emergency where what they cost, or the loss, is not known."""

RESTS = "reverted"
"""How the codes of refusals for a rest begin: each rest has its own, and is told once with its own end."""


def has_reverted(firing: Firing) -> bool:
    """Whether a firing ended by a transaction that the chain refused, and by nothing else. What was planned in it
    before and given up unsigned (it was opened again in its block) says nothing of that.
    """
    states = {intent.state for intent in firing.intents} - {IntentState.DROPPED}
    refused = IntentState.FINAL_REVERTED in states
    return (
        firing.state is FiringState.FAILED and refused and states <= {IntentState.FINAL_OK, IntentState.FINAL_REVERTED}
    )


def reverts_in_row(rule: Rule, position: str, firings: Iterable[Firing], now: int) -> tuple[Firing, ...]:
    """The last firings of a rule on a position that reverted one after the other within `REVERTS_SPAN` before `now`
    (chain time), the newest first, as `firings` are.
    """
    own = (
        one
        for one in firings
        if (one.rule_digest, one.position) == (rule.digest, position) and one.block_timestamp > now - REVERTS_SPAN
    )
    return tuple(takewhile(has_reverted, own))


def rest_seconds(reverts: int) -> int:
    """How long a rule rests after so many reverts in a row."""
    rest = FIRST_REST if reverts > 1 else 0
    for _ in range(2, reverts):
        rest = min(rest * REST_GROWS, LONGEST_REST)
    return rest


def refuse_retry(
    rule: Rule, position: str, plan: Plan, firings: Iterable[Firing], native_price_usd: int | None
) -> Refusal | None:
    """Why a plan rests after what `firings` (the newest first) came to, and until when; None where it is carried out.
    `native_price_usd`: dollars (8 decimals) of the native coin, None where it is not known.
    """
    row = reverts_in_row(rule, position, firings, plan.block.timestamp)
    if not row:
        return None
    until = row[0].block_timestamp + rest_seconds(len(row))
    if plan.block.timestamp >= until:
        return None
    is_worth = _is_worth_it(row, plan, native_price_usd)
    if is_emergency(rule, plan.health_factor_before) and is_worth:
        return None
    cost = "" if is_worth else ", and what reverted has cost more gas than a liquidation would take"
    return Refusal(
        f"{RESTS}-{len(row)}",
        f"its rebalance reverted {len(row)} times in a row{cost}: it is tried again from {time_text(until)} on",
    )


def _is_worth_it(row: Sequence[Firing], plan: Plan, native_price_usd: int | None) -> bool:
    """Whether the gas of what reverted comes to less than a liquidation would take; a few are, where one is unknown."""
    loss = plan.avoided_loss_usd
    if loss is None or native_price_usd is None:
        return len(row) < MOST_UNKNOWN
    paid = sum(intent.gas_paid_wei or 0 for firing in row for intent in firing.intents)
    return paid * native_price_usd // WAD < loss
