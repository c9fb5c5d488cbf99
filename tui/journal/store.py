"""The one writer of the journal. Every method returns when its transaction is on the disk, or raises and wrote nothing.

Synchronous, in the loop's thread: a commit takes a fraction of a millisecond, a firing makes a handful, and the order
of durability is the order of the lines in the engine's code. A worker thread would hide exactly that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tui.journal.faults import guard
from tui.journal.file import make_directory, make_file, prepare
from tui.journal.lock import EngineLock
from tui.journal.notes import SqliteNotes
from tui.journal.reading import JOURNAL_FILE
from tui.journal.rows import attempt_row, firing_row, intent_row
from tui.model.intent import AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.transitions import FIRING_TRANSITIONS, INTENT_TRANSITIONS, advance, advance_firing
from tui.ports.journal import (
    JournalOtherChain,
    NewAttempt,
    SpendEntry,
    SpendKind,
)

KEEP_DECISIONS = 100_000

_OUTCOME = (
    "state",
    "nonce",
    "included_hash",
    "included_block",
    "included_block_hash",
    "gas_used",
    "gas_paid_wei",
    "reason",
    "withheld",
)


def open_journal(state_directory: Path) -> SqliteJournal:
    """Open the journal of a state directory for writing, making both where missing, alone.

    Raises JournalLocked where another engine has it, JournalUnsafe, JournalCorrupt, JournalNewer, JournalReadOnly,
    JournalFull.
    """
    make_directory(state_directory)
    lock = EngineLock(state_directory)
    path = state_directory / JOURNAL_FILE
    try:
        make_file(path)
        with guard(path):
            connection = sqlite3.connect(path, isolation_level=None, timeout=2.0)
        try:
            with guard(path):
                prepare(connection, path)
            return SqliteJournal(connection, path, lock)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        lock.release()
        raise


class SqliteJournal(SqliteNotes):
    """The `Journal` port on a SQLite file. Used from the thread that opened it."""

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: EngineLock) -> None:
        super().__init__(connection, path)
        self._lock = lock
        self.incarnation = int(self.meta("incarnation") or 0) + 1
        with self._transaction():
            self._put_meta("incarnation", str(self.incarnation))
            self._write("DELETE FROM decisions WHERE number <= (SELECT max(number) FROM decisions) - ?", KEEP_DECISIONS)

    # --- firings -------------------------------------------------------------------------------------------------

    def open_firing(self, firing: Firing) -> bool:
        """Insert a TRIGGERED firing: the latch. False where its rule has fired in this episode before."""
        if firing.state is not FiringState.TRIGGERED or firing.intents:
            raise self._conflict(f"firing {firing.id} does not begin as {firing.state}")
        with self._transaction():
            if self.firing_of(firing.rule, firing.episode) is not None:
                return False
            self._insert("firings", firing_row(firing))
        return True

    def save_firing(self, before: Firing, after: Firing, *, unspent: bool = False) -> None:
        """Replace a firing's own fields; `unspent`: it moved nothing in the end, and with that its debit of dollars is
        taken back. Raises JournalConflict where `before` is not what is recorded.
        """
        with self._transaction():
            self._save_firing(before, after)
            if unspent:
                self._take_back(after)

    def _save_firing(self, before: Firing, after: Firing) -> None:
        stored = self.firing(before.id)
        if stored is None or firing_row(stored) != firing_row(before):
            raise self._conflict(f"firing {before.id} is not what it was")
        if after.state is not before.state and after.state not in FIRING_TRANSITIONS[before.state]:
            raise self._conflict(f"firing {before.id}: {before.state} may not become {after.state}")
        bound = any(intent.attempts or intent.nonce is not None for intent in stored.intents)
        if bound and after.state in (FiringState.TRIGGERED, FiringState.PLANNED, FiringState.DROPPED):
            raise self._conflict(f"firing {before.id} has nonces or signatures and may not become {after.state}")
        fixed = ("id", "rule", "rule_digest", "episode", "position", "account", "chain_id", "block_hash")
        if any(getattr(before, name) != getattr(after, name) for name in fixed):
            raise self._conflict(f"firing {before.id} may not become another one")
        self._update("firings", before.id, firing_row(after))

    # --- intents -------------------------------------------------------------------------------------------------

    def _stored_intent(self, before: Intent) -> Intent:
        """The recorded intent, which must be what the caller saw (what nodes answered to attempts aside)."""
        stored = self.intent(before.id)
        if stored is None or intent_row(stored) != intent_row(before) or len(stored.attempts) != len(before.attempts):
            raise self._conflict(f"intent {before.id} is not what it was")
        return stored

    def save_intents(self, changes: Sequence[tuple[Intent, Intent]], booked: Sequence[SpendEntry] = ()) -> None:
        """Replace intents' states and outcomes, and book entries, in one transaction."""
        with self._transaction():
            for before, after in changes:
                self._save_intent(before, after)
            self._book(booked)

    def _save_intent(self, before: Intent, after: Intent) -> None:
        self._stored_intent(before)
        if after.state is not before.state and after.state not in INTENT_TRANSITIONS[before.state]:
            raise self._conflict(f"intent {before.id}: {before.state} may not become {after.state}")
        old, new = intent_row(before), intent_row(after)
        if any(old[column] != new[column] for column in old if column not in _OUTCOME):
            raise self._conflict(f"intent {before.id} may not mean something else")
        if before.withheld and not after.withheld:
            raise self._conflict(f"intent {before.id} is withheld for good")
        self._update("intents", before.id, {column: new[column] for column in _OUTCOME})

    def reserve(
        self,
        before: Firing,
        after: Firing,
        intents: Sequence[Intent],
        debit: SpendEntry,
        daily_cap: int | None,
        gas: Sequence[SpendEntry] = (),
    ) -> None:
        """One transaction: the firing runs, its intents own their nonces, the budget is debited, also for `gas`."""
        nonces: dict[str, list[int | None]] = {}
        for intent in intents:
            nonces.setdefault(intent.account, []).append(intent.nonce)
        if not nonces:
            raise self._conflict(f"firing {before.id} needs nonces")
        firsts = {account: _first_of(found) for account, found in nonces.items()}
        for account, first in firsts.items():
            if first is None:
                raise self._conflict(f"firing {before.id} needs consecutive nonces of {account}, not {nonces[account]}")
        if debit.amount < 0 or debit.kind is not SpendKind.USD or debit.firing_id != before.id:
            raise self._conflict(f"firing {before.id} debits {debit.amount}")
        ids = {intent.id for intent in intents}
        if any(
            (one.kind, one.rule, one.day, one.firing_id) != (SpendKind.GAS_USD, debit.rule, debit.day, before.id)
            or one.amount < 0
            or one.intent_id not in ids
            for one in gas
        ):
            raise self._conflict(f"firing {before.id} debits gas that is not its own")
        with self._transaction():
            spent = sum(self.spent(kind, debit.day, debit.rule) for kind in (SpendKind.USD, SpendKind.GAS_USD))
            if daily_cap is not None and spent + debit.amount + sum(one.amount for one in gas) > daily_cap:
                raise self._conflict(f"the daily limit of rule {debit.rule} would be passed")
            for account, first in firsts.items():
                known = self.next_nonce(before.chain_id, account)
                if known is not None and first is not None and first < known:
                    raise self._conflict(f"nonce {first} of {account} was used before; {known} is the next one")
            self._save_firing(before, after)
            for intent in intents:
                if intent.state is not IntentState.RESERVED or intent.attempts or intent.signing_began:
                    raise self._conflict(f"intent {intent.id} does not begin as {intent.state}")
                if (intent.chain_id, intent.firing_id) != (before.chain_id, before.id):
                    raise self._conflict(f"intent {intent.id} is of another chain or firing")
                self._insert("intents", intent_row(intent))
            self._book([debit, *gas])

    def bind_data(self, intent_id: str, data: bytes) -> None:
        """The final calldata of a RESERVED intent, before anything of it is signed."""
        with self._transaction():
            intent = self.intent(intent_id)
            if intent is None or intent.state is not IntentState.RESERVED or intent.signing_began:
                raise self._conflict(f"intent {intent_id} takes no calldata any more")
            self._update("intents", intent_id, {"data": data})

    def begin_signing(self, firing_id: str) -> None:
        """Note that the signer is about to be asked: from here on the nonces keep their meaning."""
        with self._transaction():
            changed = self._write(
                "UPDATE intents SET signing_began = 1 WHERE firing_id = ? AND state = 'RESERVED'", firing_id
            )
            if not changed:
                raise self._conflict(f"firing {firing_id} has nothing to sign")

    def record_attempts(self, attempts: Sequence[NewAttempt]) -> None:
        """Signed bytes and the states they bring, in one transaction."""
        with self._transaction():
            for new in attempts:
                self._record_attempt(new)

    def _record_attempt(self, new: NewAttempt) -> None:
        before, request, attempt = self._stored_intent(new.before), new.request, new.attempt
        meant = (request.intent_id, request.chain_id, request.account, request.nonce)
        if meant != (before.id, before.chain_id, before.account, before.nonce):
            raise self._conflict(f"the bytes for {before.id} are not under its own nonce")
        if attempt.number != len(before.attempts):
            raise self._conflict(f"{before.id} has {len(before.attempts)} attempts, not {attempt.number}")
        if (attempt.max_fee, attempt.priority_fee) != (
            request.max_fee_per_gas,
            request.max_priority_fee_per_gas,
        ):
            raise self._conflict(f"the fees of {before.id}'s attempt are not those that were asked for")
        if (attempt.kind is AttemptKind.ORIGINAL) != (not before.attempts and attempt.kind is not AttemptKind.CANCEL):
            raise self._conflict(f"{before.id} cannot have a first attempt now")
        cancels = attempt.kind is AttemptKind.CANCEL
        allowed = {IntentState.CANCELLING} if cancels else {IntentState.SIGNED, IntentState.MAYBE_SENT}
        if new.to not in allowed:
            raise self._conflict(f"{before.id} cannot become {new.to} by a {attempt.kind}")
        after = before if new.to is before.state else advance(before, new.to)
        # The row with the meaning first: the trigger holds it against the intent; then the state it brings.
        self._insert("attempts", attempt_row(new))
        self._update("intents", before.id, {"state": after.state.value})

    def record_answer(self, intent_id: str, number: int, sent_at: float, answer: str) -> None:
        """What nodes said to an attempt. It proves nothing and changes no state."""
        with self._transaction():
            self._write(
                "UPDATE attempts SET sent_at = ?, answer = ? WHERE intent_id = ? AND number = ?",
                sent_at,
                answer,
                intent_id,
                number,
            )

    def release(self, firing: Firing, to: FiringState, reason: str, *, nothing_signed: bool = False) -> Firing:
        """One transaction: unsigned intents DROPPED and their nonces free, the debit taken back, the firing `to`."""
        with self._transaction():
            stored = self.firing(firing.id)
            if stored is None or stored.state is not FiringState.RUNNING:
                raise self._conflict(f"firing {firing.id} is not running")
            # What an earlier try left DROPPED owns no nonce, whether or not the signer was asked for it then.
            live = [intent for intent in stored.intents if intent.state is not IntentState.DROPPED]
            for intent in live:
                if intent.attempts or (intent.signing_began and not nothing_signed):
                    raise self._conflict(f"{intent.id} was signed for; its nonce stays")
            self._drop(live, stored.rule, reason)
            self._end_unspent(stored, to, reason)
        return self._known_firing(firing.id)

    def free(self, intents: Sequence[Intent], reason: str) -> Firing:
        """One transaction: intents that were never signed for DROPPED, and with the last of them their firing."""
        ids = {intent.firing_id for intent in intents}
        if len(ids) != 1:
            raise self._conflict(f"intents of {len(ids)} firings cannot be freed together")
        (firing_id,) = ids
        with self._transaction():
            for intent in intents:
                if intent.state is not IntentState.RESERVED or self._stored_intent(intent).attempts:
                    raise self._conflict(f"{intent.id} is {intent.state}; its nonce stays")
            self._drop(intents, self._known_firing(firing_id).rule, reason)
            stored = self._known_firing(firing_id)
            if all(intent.state is IntentState.DROPPED for intent in stored.intents):
                self._end_unspent(stored, FiringState.DROPPED, reason)
        return self._known_firing(firing_id)

    def _drop(self, intents: Sequence[Intent], rule: str, reason: str) -> None:
        """Nothing under their nonces exists: these are free, and no gas will be paid."""
        for intent in intents:
            self._save_intent(intent, advance(intent, IntentState.DROPPED, nonce=None, reason=reason))
        self._take_gas_back(intents, rule)

    def _take_gas_back(self, intents: Sequence[Intent], rule: str) -> None:
        for intent in intents:
            gas = self.gas_debit(intent.id)
            if gas is not None and gas[1]:
                self._book([SpendEntry(SpendKind.GAS_USD, rule, gas[0], -gas[1], intent.firing_id, intent.id)])

    def _end_unspent(self, firing: Firing, to: FiringState, reason: str) -> None:
        """None of its intents lives: the firing is `to`, and all that it debited is taken back."""
        self._take_back(firing)
        self._take_gas_back(firing.intents, firing.rule)
        stored = self._known_firing(firing.id)
        self._save_firing(stored, advance_firing(stored, to, reason=reason))

    def _take_back(self, firing: Firing) -> None:
        """The dollars that a firing debited, each day's on that day."""
        held: dict[str, int] = {}
        for one in self.budget_of(firing.id):
            if one.kind is SpendKind.USD:
                held[one.day] = held.get(one.day, 0) + one.amount
        self._book(
            [SpendEntry(SpendKind.USD, firing.rule, day, -left, firing.id) for day, left in held.items() if left]
        )

    def _known_firing(self, firing_id: str) -> Firing:
        firing = self.firing(firing_id)
        if firing is None:
            raise self._conflict(f"there is no firing {firing_id}")
        return firing

    # --- accounts, budgets ---------------------------------------------------------------------------------------

    def bind_chain(self, chain_id: int, genesis_hash: str) -> None:
        """Tie the record of a chain id to one genesis block. Raises JournalOtherChain where it is tied to another."""
        with self._transaction():
            row = self._row("SELECT genesis_hash FROM chains WHERE chain_id = ?", chain_id)
            if row is None:
                self._insert("chains", {"chain_id": chain_id, "genesis_hash": genesis_hash})
            elif row["genesis_hash"] != genesis_hash:
                raise JournalOtherChain(
                    f"the journal is of another chain with id {chain_id} (its first block is {row['genesis_hash']})",
                    str(self.path),
                    "Choose another --state for this chain.",
                )

    def halt(self, chain_id: int, account: str, reason: str, at: float) -> None:
        """Nothing more is signed for an account until a person resumes it. The first reason stays."""
        with self._transaction():
            self._write(
                "INSERT INTO accounts (chain_id, account, halted, halted_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (chain_id, account) DO UPDATE SET halted = coalesce(halted, excluded.halted),"
                " halted_at = coalesce(halted_at, excluded.halted_at)",
                chain_id,
                account,
                reason,
                at,
            )

    def resume(self, chain_id: int, account: str, known_nonce: int) -> None:
        """A person says that all nonces below `known_nonce` are explained."""
        with self._transaction():
            self._write(
                "INSERT INTO accounts (chain_id, account, known_nonce) VALUES (?, ?, ?)"
                " ON CONFLICT (chain_id, account) DO UPDATE SET halted = NULL, halted_at = NULL,"
                " known_nonce = max(coalesce(known_nonce, 0), excluded.known_nonce)",
                chain_id,
                account,
                known_nonce,
            )

    def _book(self, entries: Sequence[SpendEntry]) -> None:
        for entry in entries:
            self._insert(
                "budget",
                {
                    "kind": entry.kind.value,
                    "rule": entry.rule,
                    "day": entry.day,
                    "amount": str(entry.amount),
                    "firing_id": entry.firing_id,
                    "intent_id": entry.intent_id,
                },
            )

    def close(self) -> None:
        """Let the file and the lock go. May be called again."""
        try:
            super().close()
        finally:
            self._lock.release()


def _first_of(nonces: Sequence[int | None]) -> int | None:
    """The first of consecutive nonces; None where they are not."""
    first = nonces[0]
    return first if first is not None and list(nonces) == list(range(first, first + len(nonces))) else None
