"""Which state may follow which, for intents and firings. Every change of state goes through here, or is a defect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tui.model.intent import Firing, FiringState, Intent, IntentState

INTENT_TRANSITIONS: Mapping[IntentState, frozenset[IntentState]] = MappingProxyType(
    {
        IntentState.PLANNED: frozenset({IntentState.RESERVED, IntentState.DROPPED}),
        # Where the signer may have signed but nothing was recorded, a no-op closes the nonce.
        IntentState.RESERVED: frozenset({IntentState.SIGNED, IntentState.CANCELLING, IntentState.DROPPED}),
        # INCLUDED without having been sent from here: a copy of this journal, restored elsewhere, sent the bytes.
        IntentState.SIGNED: frozenset(
            {IntentState.MAYBE_SENT, IntentState.CANCELLING, IntentState.INCLUDED, IntentState.NONCE_LOST}
        ),
        IntentState.MAYBE_SENT: frozenset({IntentState.CANCELLING, IntentState.INCLUDED, IntentState.NONCE_LOST}),
        IntentState.CANCELLING: frozenset({IntentState.INCLUDED, IntentState.NONCE_LOST}),
        IntentState.INCLUDED: frozenset(
            {
                IntentState.INCLUDED,
                IntentState.MAYBE_SENT,
                IntentState.CANCELLING,
                IntentState.FINAL_OK,
                IntentState.FINAL_REVERTED,
                IntentState.FINAL_CANCELLED,
            }
        ),
        IntentState.FINAL_OK: frozenset(),
        IntentState.FINAL_REVERTED: frozenset(),
        IntentState.FINAL_CANCELLED: frozenset(),
        IntentState.NONCE_LOST: frozenset(),
        IntentState.DROPPED: frozenset(),
    }
)

FIRING_TRANSITIONS: Mapping[FiringState, frozenset[FiringState]] = MappingProxyType(
    {
        FiringState.TRIGGERED: frozenset({FiringState.PLANNED, FiringState.DROPPED}),
        FiringState.PLANNED: frozenset({FiringState.RUNNING, FiringState.TRIGGERED, FiringState.DROPPED}),
        # Back to TRIGGERED or DROPPED only while nothing of it was signed.
        FiringState.RUNNING: frozenset(
            {
                FiringState.DONE,
                FiringState.FAILED,
                FiringState.HALTED,
                FiringState.TRIGGERED,
                FiringState.DROPPED,
            }
        ),
        FiringState.DROPPED: frozenset({FiringState.TRIGGERED}),
        FiringState.DONE: frozenset(),
        FiringState.FAILED: frozenset(),
        FiringState.HALTED: frozenset(),
    }
)


class IllegalTransition(Exception):
    """A state may not follow another: a defect of ours, never of the chain."""


def advance(intent: Intent, to: IntentState, **changes: Any) -> Intent:
    """`intent` in state `to` with `changes`. Raises IllegalTransition."""
    if to not in INTENT_TRANSITIONS[intent.state]:
        raise IllegalTransition(f"intent {intent.id}: {intent.state} may not become {to}")
    return replace(intent, state=to, **changes)


def advance_firing(firing: Firing, to: FiringState, **changes: Any) -> Firing:
    """`firing` in state `to` with `changes`. Raises IllegalTransition."""
    if to not in FIRING_TRANSITIONS[firing.state]:
        raise IllegalTransition(f"firing {firing.id}: {firing.state} may not become {to}")
    return replace(firing, state=to, **changes)
