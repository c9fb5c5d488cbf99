"""What the engine needs of a durable record. Every method that writes returns only when the write is on the disk.

All methods are synchronous and belong to the loop's thread: what stands above a line in the engine's code is durable
before that line runs, without a reader having to know about threads. Commits are rare (a handful a firing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tui.model.intent import Attempt, Firing, FiringState, Intent, IntentState
from tui.model.outcome import Outcome
from tui.model.signing import TransactionRequest
from tui.model.view import Severity


class JournalError(Exception):
    """The record cannot be used. `what` is wrong, `where`, and how to `mend` it."""

    def __init__(self, what: str, where: str, mend: str) -> None:
        super().__init__(f"{where}: {what}. {mend}")
        self.what = what
        self.where = where
        self.mend = mend


class JournalLocked(JournalError):
    """Another engine holds this state directory. `pid` is its process, None where it did not say."""

    def __init__(self, what: str, where: str, mend: str, pid: int | None) -> None:
        super().__init__(what, where, mend)
        self.pid = pid


class JournalMissing(JournalError):
    """There is no journal to read yet."""


class JournalCorrupt(JournalError):
    """The file is damaged or is none of ours."""


class JournalReadOnly(JournalError):
    """The file or its directory cannot be written."""


class JournalFull(JournalError):
    """The disk is full."""


class JournalNewer(JournalError):
    """A newer version of the program wrote it."""


class JournalUnsafe(JournalError):
    """Others can read or swap it."""


class JournalOtherChain(JournalError):
    """It belongs to another chain with the same id."""


class JournalConflict(JournalError):
    """A write would break an invariant (a nonce with two meanings, two live plans, a stale state): refused whole."""


class SpendKind(StrEnum):
    """What a budget entry counts."""

    USD = "usd"
    """Dollars with 8 decimals, debited when a plan is reserved."""
    GAS = "gas-wei"
    """Wei of gas really paid, booked when an intent is final."""
    GAS_USD = "gas-usd"
    """Dollars with 8 decimals for gas: the most that any attempt may pay when a plan is reserved, what was really paid
    once an intent is final, at the price of the reservation. None where the native coin had no price then.
    """


@dataclass(frozen=True, slots=True)
class SpendEntry:
    """One line of the budget. `day` is the UTC day of chain time, `2026-01-31`; a release has a negative `amount`.
    `intent_id` names the transaction that gas is for.
    """

    kind: SpendKind
    rule: str
    day: str
    amount: int
    firing_id: str
    intent_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """Signed bytes to be recorded: the intent as it stands, the state it enters with them, what was asked for."""

    before: Intent
    to: IntentState
    attempt: Attempt
    request: TransactionRequest


@dataclass(frozen=True, slots=True)
class Decision:
    """Something decided or seen, worth a line. `at` unix seconds; `detail` is JSON text or empty."""

    number: int
    at: float
    block: int | None
    kind: str
    severity: Severity
    text: str
    rule: str | None = None
    position: str | None = None
    firing_id: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class HealthPoint:
    """A health factor (wad; None without debt) of a position at a block's timestamp."""

    position: str
    timestamp: int
    health_factor: int | None


class JournalReader(Protocol):
    """What can be asked of the record, also while another process writes it. All raise JournalError."""

    def firing(self, firing_id: str) -> Firing | None:
        """One firing with its intents and their attempts."""

    def firing_of(self, rule: str, episode: str) -> Firing | None:
        """The firing of a rule in an episode: at most one exists, ever."""

    def firings(self, limit: int = 50, since: float = 0.0) -> tuple[Firing, ...]:
        """The latest firings opened at or after `since` (unix seconds), newest first."""

    def signed_firings(self, chain_id: int, since: float = 0.0, limit: int | None = None) -> tuple[Firing, ...]:
        """The latest firings opened at or after `since` (unix seconds) of which anything was ever signed, newest first.
        What is about transactions asks for these: any number of firings may have been dropped since.
        """

    def open_firings(self, chain_id: int) -> tuple[Firing, ...]:
        """Firings of which something may still come, oldest first."""

    def intent(self, intent_id: str) -> Intent | None:
        """One intent with its attempts."""

    def unsettled(self, chain_id: int) -> tuple[Intent, ...]:
        """Intents that own a nonce and are not final, by account and nonce."""

    def next_nonce(self, chain_id: int, account: str) -> int | None:
        """The first nonce that this record does not explain; None where it knows of none."""

    def halted(self, chain_id: int, account: str) -> str | None:
        """Why an account is halted, or None."""

    def halted_accounts(self, chain_id: int) -> tuple[tuple[str, str], ...]:
        """(account, why) of all halted ones."""

    def spent(self, kind: SpendKind, day: str, rule: str | None = None) -> int:
        """The sum of a day's budget entries, of one rule or of all."""

    def gas_debit(self, intent_id: str) -> tuple[str, int] | None:
        """(day, dollars with 8 decimals) that the budget holds for an intent's gas now; None where nothing was debited:
        its price was not known.
        """

    def budget_of(self, firing_id: str) -> tuple[SpendEntry, ...]:
        """Every entry of a firing, oldest first."""

    def decisions(self, since: float = 0.0, limit: int = 500) -> tuple[Decision, ...]:
        """The latest decisions at or after `since` (unix seconds), oldest first."""

    def outcomes(self, limit: int = 50, since: float = 0.0) -> tuple[tuple[Firing, Outcome], ...]:
        """The latest firings opened at or after `since` (unix seconds) and not dropped, with what was expected of them,
        oldest first: what was dropped came to nothing, and was to.
        """

    def outcome(self, firing_id: str) -> Outcome | None:
        """What was expected of one firing and what came of it; None where nothing was."""

    def rule_state(self, rule_digest: str, position: str) -> str | None:
        """What `save_rule_state` kept."""

    def health_history(self, position: str, since: int = 0) -> tuple[tuple[int, int | None], ...]:
        """(block timestamp, health factor) of a position, oldest first."""

    def meta(self, key: str) -> str | None:
        """A named text."""

    def close(self) -> None:
        """Let the file go. May be called again."""


class Journal(JournalReader, Protocol):
    """The one writer of the record."""

    def bind_chain(self, chain_id: int, genesis_hash: str) -> None:
        """Tie the record of a chain id to one genesis block. Raises JournalOtherChain where it is tied to another."""

    def open_firing(self, firing: Firing) -> bool:
        """Insert a TRIGGERED firing: the latch. False where its rule has fired in this episode before."""

    def save_firing(self, before: Firing, after: Firing, *, unspent: bool = False) -> None:
        """Replace a firing's own fields; `unspent`: it moved nothing in the end, and with that its debit of dollars is
        taken back. Raises JournalConflict where `before` is not what is recorded.
        """

    def save_intents(self, changes: Sequence[tuple[Intent, Intent]], booked: Sequence[SpendEntry] = ()) -> None:
        """Replace intents' states and outcomes, and book entries, in one transaction."""

    def reserve(
        self,
        before: Firing,
        after: Firing,
        intents: Sequence[Intent],
        debit: SpendEntry,
        daily_cap: int | None,
        gas: Sequence[SpendEntry] = (),
    ) -> None:
        """One transaction: the firing runs, its intents own their nonces, the budget is debited, also for `gas`. They
        may be of several accounts; each account's nonces are consecutive.

        Raises JournalConflict where a nonce is taken, another plan of any of the accounts lives, any of them is halted,
        or the day's cap (dollars with 8 decimals) would be passed.
        """

    def bind_data(self, intent_id: str, data: bytes) -> None:
        """The final calldata of a RESERVED intent, before anything of it is signed."""

    def begin_signing(self, firing_id: str) -> None:
        """Note that the signer is about to be asked: from here on the nonces keep their meaning."""

    def record_attempts(self, attempts: Sequence[NewAttempt]) -> None:
        """Signed bytes and the states they bring, in one transaction.

        Raises JournalConflict where a request means anything else than its intent or a no-op under the same nonce.
        """

    def record_answer(self, intent_id: str, number: int, sent_at: float, answer: str) -> None:
        """What nodes said to an attempt. It proves nothing and changes no state."""

    def release(self, firing: Firing, to: FiringState, reason: str, *, nothing_signed: bool = False) -> Firing:
        """One transaction: unsigned intents DROPPED and their nonces free, the debit taken back, the firing `to`.

        Raises JournalConflict where anything of the firing was signed, or where the signer was asked and the caller
        does not know that `nothing_signed` came of it.
        """

    def free(self, intents: Sequence[Intent], reason: str) -> Firing:
        """One transaction: intents of one firing that the signer says it never signed for are DROPPED, their nonces
        free and their gas debits taken back. Where nothing else is left of the firing, it is DROPPED and its debit
        taken back with them.

        Raises JournalConflict where any of them was signed or is not what is recorded.
        """

    def halt(self, chain_id: int, account: str, reason: str, at: float) -> None:
        """Nothing more is signed for an account until a person resumes it. The first reason stays."""

    def resume(self, chain_id: int, account: str, known_nonce: int) -> None:
        """A person says that all nonces below `known_nonce` are explained."""

    def record_decision(
        self,
        *,
        at: float,
        kind: str,
        severity: Severity,
        text: str,
        block: int | None = None,
        rule: str | None = None,
        position: str | None = None,
        firing_id: str | None = None,
        detail: str = "",
    ) -> Decision:
        """Keep a line."""

    def save_outcome(self, outcome: Outcome) -> None:
        """What is expected of a firing, in place of what was expected before: what came of it is known later."""

    def book_outcome(self, firing_id: str, health_actual: int | None, gas_actual_usd: int | None) -> None:
        """What came of a firing that something was expected of."""

    def book_health(self, firing_id: str, health_actual: int | None) -> None:
        """The health that a firing left (wad; None: no debt), where it is known later than the rest."""

    def book_sold(self, firing_id: str, token: str, sold_actual: int) -> None:
        """What the sales of a firing really sold of one token that was expected to be sold, in base units."""

    def book_bought(self, firing_id: str, token: str, bought_actual: int) -> None:
        """What own swaps of a firing really brought in of one token that was expected to come in, in base units."""

    def save_rule_state(self, rule_digest: str, position: str, state: str, at: float) -> None:
        """Keep a rule's latch and counters for a position, as opaque JSON text."""

    def record_health(self, points: Sequence[HealthPoint]) -> None:
        """Keep health factors, thinned to one a position and minute; commits only where something is kept."""

    def set_meta(self, key: str, value: str) -> None:
        """Keep a named text."""
