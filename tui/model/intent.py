"""The life of a firing and of its transactions, as recorded: states, intents, attempts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tui.model.pinned import PinnedCode


class FiringState(StrEnum):
    """A rule that fired, from the latch to the end."""

    TRIGGERED = "TRIGGERED"
    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    DROPPED = "DROPPED"
    HALTED = "HALTED"

    @property
    def is_open(self) -> bool:
        """Whether something may still happen on chain because of it."""
        return self in (FiringState.TRIGGERED, FiringState.PLANNED, FiringState.RUNNING)


class IntentState(StrEnum):
    """One transaction, from the plan to a final block."""

    PLANNED = "PLANNED"
    RESERVED = "RESERVED"
    SIGNED = "SIGNED"
    MAYBE_SENT = "MAYBE_SENT"
    CANCELLING = "CANCELLING"
    INCLUDED = "INCLUDED"
    FINAL_OK = "FINAL_OK"
    FINAL_REVERTED = "FINAL_REVERTED"
    FINAL_CANCELLED = "FINAL_CANCELLED"
    NONCE_LOST = "NONCE_LOST"
    DROPPED = "DROPPED"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self in (
            IntentState.FINAL_OK,
            IntentState.FINAL_REVERTED,
            IntentState.FINAL_CANCELLED,
            IntentState.NONCE_LOST,
            IntentState.DROPPED,
        )


class AttemptKind(StrEnum):
    """Why these bytes were signed."""

    ORIGINAL = "original"
    BUMP = "bump"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Attempt:
    """Signed bytes under an intent's nonce. Fees in wei a unit of gas, times in unix seconds.

    `block` is the height of the head when it was signed: waiting is counted in blocks, never by a local clock.
    """

    number: int
    kind: AttemptKind
    hash: str
    raw: bytes
    max_fee: int
    priority_fee: int
    signed_at: float
    sent_at: float | None = None
    answer: str = ""
    block: int = 0


@dataclass(frozen=True, slots=True)
class Intent:
    """One transaction to be. `nonce` is bound from RESERVED on, forever. `fee_ceiling` in wei a unit of gas.

    `signing_began` says that the signer was asked, so that the nonce keeps its meaning even where no signature is
    recorded; `withheld` that it must not be sent any more (the kill switch): then only a no-op may use the nonce.
    After inclusion: the block, the winning attempt's hash, the gas it used and what it really paid, in wei. `delegate`:
    the code that it sets the account to run, and nothing else; None in all other transactions. `step`: the number, from
    0, of the step of its rule as it is written that it is for, `takes` the most that it takes of that step's `max`;
    None where it is for none, or an earlier version did not note it.
    """

    id: str
    firing_id: str
    sequence: int
    chain_id: int
    account: str
    to: str
    data: bytes
    value: int
    words: str
    gas_limit: int
    fee_ceiling: int
    state: IntentState
    nonce: int | None = None
    attempts: tuple[Attempt, ...] = ()
    included_hash: str | None = None
    included_block: int | None = None
    included_block_hash: str | None = None
    gas_used: int | None = None
    gas_paid_wei: int | None = None
    reason: str = ""
    signing_began: bool = False
    withheld: bool = False
    delegate: PinnedCode | None = None
    step: int | None = None
    takes: int | None = None


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule that fired on a position in one episode (derived from canonical chain data only)."""

    id: str
    rule: str
    rule_digest: str
    episode: str
    position: str
    account: str
    chain_id: int
    state: FiringState
    block_number: int
    block_hash: str
    block_timestamp: int
    health_factor_before: int | None
    health_factor_expected: int | None = None
    health_factor_after: int | None = None
    summary: str = ""
    reason: str = ""
    spend_usd: int = 0
    cost_usd: int | None = None
    intents: tuple[Intent, ...] = ()

    @property
    def gas_paid_wei(self) -> int | None:
        """Wei that its transactions paid for gas. None where one that may have been sent has no receipt."""
        sent = [one for one in self.intents if one.attempts and one.state is not IntentState.DROPPED]
        paid = [one.gas_paid_wei for one in sent if one.gas_paid_wei is not None]
        return sum(paid) if len(paid) == len(sent) else None
