"""How much of what a position lost between two readings our own transactions account for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tui.engine.budget import moves
from tui.model.intent import Firing, Intent, IntentState

_NEVER = frozenset(
    {IntentState.FINAL_REVERTED, IntentState.FINAL_CANCELLED, IntentState.NONCE_LOST, IntentState.DROPPED}
)
"""What moved nothing, and never will."""


@dataclass(frozen=True, slots=True)
class OwnWork:
    """Dollars (8 decimals) that own firings moved in a position: `done` is final, `possible` counts as well what is on
    its way or not final yet.
    """

    done: int = 0
    possible: int = 0


def own_work(firings: Iterable[Firing], position: str, after: int, until: int) -> OwnWork:
    """What own firings moved in a position after block `after`, up to block `until`."""
    done = possible = 0
    for firing in firings:
        if firing.position != position:
            continue
        states = {one.state for one in firing.intents if moves(one) and _within(one, after, until)}
        if IntentState.FINAL_OK in states:
            done += firing.spend_usd
        if states:
            possible += firing.spend_usd
    return OwnWork(done, possible)


def _within(intent: Intent, after: int, until: int) -> bool:
    """Whether a transaction moved something between two blocks, or may have."""
    if intent.state in _NEVER or not intent.attempts:
        return False
    return intent.included_block is None or after < intent.included_block <= until
