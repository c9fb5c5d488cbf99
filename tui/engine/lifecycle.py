"""What to do about one transaction, given what the chain shows. Pure: facts in, effects out; no clock, no IO.

Time is counted in blocks only: once signed, nothing here ever expires.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.model.block import BlockRef
from tui.model.fees import bump, highest_next_base_fee
from tui.model.intent import Attempt, AttemptKind, FiringState, Intent, IntentState
from tui.model.transitions import advance
from tui.ports.chain import Receipt

BUMP_AFTER_BLOCKS = 3
"""Blocks that a signed attempt may wait before its fees are raised."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known about one intent at one head.

    `receipt` is that of any of its attempts, on a block that is canonical. `nonce_latest` and `nonce_final` count the
    account's mined transactions at the head and at the block that is final there; None: not known. `may_send` is
    False under the kill switch or where the account is halted. `settles`: the receipt is more than one node's word.
    `affordable` is the most wei a unit of gas that the account can pay for its next attempt (None: not known), `unpaid`
    that nodes refused its newest one because the account cannot pay for it.
    """

    head: BlockRef
    confirmations: int
    receipt: Receipt | None
    nonce_latest: int | None
    nonce_final: int | None
    may_send: bool
    bump_after: int = BUMP_AFTER_BLOCKS
    settles: bool = True
    affordable: int | None = None
    unpaid: bool = False


@dataclass(frozen=True, slots=True)
class Include:
    """It is in a block."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Settle:
    """Its block is final."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Unmine:
    """The block it was in is gone, or it is not in that block any more."""


@dataclass(frozen=True, slots=True)
class Lose:
    """Somebody else's transaction has its nonce, finally."""


@dataclass(frozen=True, slots=True)
class Send:
    """Hand these bytes out (again)."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Replace:
    """Sign the same meaning with higher fees (wei a unit of gas), and send it."""

    max_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class AtCeiling:
    """It waits, and its fees may not be raised any more."""


@dataclass(frozen=True, slots=True)
class Short:
    """It waits, and the account has no money for the fees that the rule would let it pay."""


Effect = Include | Settle | Unmine | Lose | Send | Replace | AtCeiling | Short


def decide(intent: Intent, sight: Sight) -> tuple[Effect, ...]:
    """The effects, in order, for an intent whose nonce was signed for. Final and unsigned ones need nothing."""
    if intent.state.is_final or not intent.attempts:
        return ()
    if sight.receipt is not None:
        return _mined(intent, sight, sight.receipt)
    gone: tuple[Effect, ...] = (Unmine(),) if intent.state is IntentState.INCLUDED else ()
    assert intent.nonce is not None
    if sight.nonce_latest is None:
        return gone
    if sight.nonce_latest > intent.nonce:
        # The nonce is used and no receipt says by what: wait until that is final, send nothing meanwhile.
        return (*gone, Lose()) if sight.nonce_final is not None and sight.nonce_final > intent.nonce else gone
    if intent.withheld and not is_cancelling(intent):
        return gone
    if not sight.may_send and not is_cancelling(intent):
        return gone
    return (*gone, *_push(intent, sight))


def _mined(intent: Intent, sight: Sight, receipt: Receipt) -> tuple[Effect, ...]:
    known = intent.state is IntentState.INCLUDED and (
        (intent.included_hash, intent.included_block_hash) == (receipt.hash, receipt.block_hash)
    )
    effects: tuple[Effect, ...] = () if known else (Include(receipt),)
    depth = sight.head.number - receipt.block_number + 1
    return (*effects, Settle(receipt)) if depth >= sight.confirmations and sight.settles else effects


def _push(intent: Intent, sight: Sight) -> tuple[Effect, ...]:
    """Raise the fees where it has waited long enough; else, and where they cannot be raised, send again. What is not
    paid for is not raised further: each signature counts in the signer, and none of them could go out.
    """
    latest = intent.attempts[-1]
    if not has_waited(intent, sight.head, sight.bump_after) or sight.unpaid:
        return (Send(latest),)
    return raise_fees(intent, sight.head, sight.affordable)


def has_waited(intent: Intent, head: BlockRef, bump_after: int) -> bool:
    """Whether the newest attempt was out for as many blocks as one may wait."""
    return intent.state is not IntentState.SIGNED and head.number - intent.attempts[-1].block >= bump_after


def raise_fees(intent: Intent, head: BlockRef, affordable: int | None = None) -> tuple[Effect, ...]:
    """A replacement within the ceiling and within what the account can pay (None: not known, then nodes have to say),
    or the same bytes again and a word about what is in the way.
    """
    latest, following = intent.attempts[-1], highest_next_base_fee(head.base_fee)
    fees = bump(latest.max_fee, latest.priority_fee, intent.fee_ceiling, following)
    if fees is None:
        return (AtCeiling(), Send(latest))
    if affordable is None or fees[0] <= affordable:
        return (Replace(*fees),)
    # Less than is wanted may do as well: enough of a raise for nodes to take it, and over the base fee of now.
    less = bump(latest.max_fee, latest.priority_fee, min(intent.fee_ceiling, affordable), following)
    if less is None or less[0] <= head.base_fee:
        return (Short(), Send(latest))
    return (Short(), Replace(*less))


def is_cancelling(intent: Intent) -> bool:
    """Whether a no-op was signed for its nonce: then that is what is sent, whatever happened to the original."""
    return any(attempt.kind is AttemptKind.CANCEL for attempt in intent.attempts)


def included(intent: Intent, receipt: Receipt) -> Intent:
    """The intent, seen in a block. From INCLUDED too, where another block or attempt took over."""
    return advance(
        intent,
        IntentState.INCLUDED,
        included_hash=receipt.hash,
        included_block=receipt.block_number,
        included_block_hash=receipt.block_hash,
        gas_used=receipt.gas_used,
        gas_paid_wei=receipt.paid_wei,
        reason="" if receipt.ok else (receipt.revert_reason or "reverted on chain"),
    )


def unmined(intent: Intent) -> Intent:
    """The intent after its block is gone: all that was known of the outcome is forgotten."""
    return advance(
        intent,
        IntentState.CANCELLING if is_cancelling(intent) else IntentState.MAYBE_SENT,
        included_hash=None,
        included_block=None,
        included_block_hash=None,
        gas_used=None,
        gas_paid_wei=None,
        reason="",
    )


def settled(intent: Intent, receipt: Receipt) -> Intent:
    """The intent at depth. What won decides, not what was wanted: an original may beat its cancel."""
    winner = next(attempt for attempt in intent.attempts if attempt.hash == receipt.hash)
    if winner.kind is AttemptKind.CANCEL:
        return advance(intent, IntentState.FINAL_CANCELLED)
    return advance(intent, IntentState.FINAL_OK if receipt.ok else IntentState.FINAL_REVERTED)


def lost(intent: Intent) -> Intent:
    """The intent whose nonce another transaction has taken for good."""
    return advance(
        intent,
        IntentState.NONCE_LOST,
        reason=f"nonce {intent.nonce} was used by a transaction that is not in this journal",
    )


def firing_outcome(intents: Sequence[Intent]) -> FiringState | None:
    """The end of a firing, None while something may still come of its intents.

    Intents DROPPED before anything was signed say nothing. A lost nonce ends it at once as far as its account goes,
    which is halted; what other accounts signed is waited for.
    """
    states = [intent.state for intent in intents if intent.state is not IntentState.DROPPED]
    if IntentState.NONCE_LOST in states:
        lost_by = {intent.account for intent in intents if intent.state is IntentState.NONCE_LOST}
        others = [intent.state for intent in intents if intent.account not in lost_by]
        return FiringState.HALTED if all(state.is_final for state in others) else None
    if not states or not all(state.is_final for state in states):
        return None
    return FiringState.DONE if all(state is IntentState.FINAL_OK for state in states) else FiringState.FAILED
