"""The journal keeps what it is told and refuses what would break an invariant."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.firings import ACCOUNT, CHAIN_ID, DAY, GWEI, a_debit, a_firing, an_attempt, an_intent
from tui.journal.reading import JOURNAL_FILE, read_journal
from tui.journal.store import SqliteJournal
from tui.model.intent import AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.outcome import Outcome
from tui.model.transitions import IllegalTransition, advance, advance_firing
from tui.model.units import USD, WAD
from tui.model.view import Severity
from tui.ports.journal import (
    HealthPoint,
    JournalConflict,
    JournalOtherChain,
    SpendEntry,
    SpendKind,
)


def reserve(journal: SqliteJournal, firing: Firing, nonces: list[int], cap: int | None = None) -> Firing:
    """A firing, opened where it is not, with its intents reserved."""
    journal.open_firing(firing)
    planned = advance_firing(firing, FiringState.PLANNED)
    journal.save_firing(firing, planned)
    intents = [an_intent(firing, nonce, place) for place, nonce in enumerate(nonces)]
    journal.reserve(planned, advance_firing(planned, FiringState.RUNNING), intents, a_debit(firing), cap)
    return stored(journal, firing.id)


def stored(journal: SqliteJournal, firing_id: str) -> Firing:
    firing = journal.firing(firing_id)
    assert firing is not None
    return firing


def signed(journal: SqliteJournal, intent: Intent) -> Intent:
    journal.record_attempts([an_attempt(intent, IntentState.SIGNED)])
    return stored(journal, intent.firing_id).intents[intent.sequence]


def test_a_firing_is_kept_with_intents_and_bytes(journal: SqliteJournal, state: Path) -> None:
    running = reserve(journal, a_firing(), [7, 8])
    first = signed(journal, running.intents[0])
    journal.record_answer(first.id, 0, 1_700_000_002.0, "accepted")
    journal.close()

    reader = read_journal(state)
    kept = reader.firing("f1")
    reader.close()
    assert kept is not None
    assert kept.state is FiringState.RUNNING
    assert kept.health_factor_before == 11 * WAD
    assert [(intent.nonce, intent.state) for intent in kept.intents] == [
        (7, IntentState.SIGNED),
        (8, IntentState.RESERVED),
    ]
    attempt = kept.intents[0].attempts[0]
    assert (attempt.raw, attempt.answer, attempt.sent_at, attempt.block) == (
        b"f1-0/0/original",
        "accepted",
        1_700_000_002.0,
        10,
    )


def test_a_rule_fires_once_an_episode(journal: SqliteJournal) -> None:
    assert journal.open_firing(a_firing())
    assert not journal.open_firing(replace(a_firing(), id="another"))
    assert journal.firing_of("guard", "episode-1") == a_firing()
    assert len(journal.firings()) == 1


def test_a_nonce_has_one_owner(journal: SqliteJournal) -> None:
    reserve(journal, a_firing(1), [7])
    other = a_firing(2)
    journal.open_firing(other)
    planned = advance_firing(other, FiringState.PLANNED)
    journal.save_firing(other, planned)
    running = advance_firing(planned, FiringState.RUNNING)
    for nonces in ([7], [8]):  # taken; and free, but the account's plan lives
        with pytest.raises(JournalConflict):
            journal.reserve(planned, running, [an_intent(other, nonce) for nonce in nonces], a_debit(other), None)
    kept = stored(journal, other.id)
    assert (kept.state, kept.intents) == (FiringState.PLANNED, ())
    assert journal.spent(SpendKind.USD, DAY) == 5 * USD


def test_nonces_of_a_plan_are_consecutive(journal: SqliteJournal) -> None:
    with pytest.raises(JournalConflict, match="consecutive"):
        reserve(journal, a_firing(), [7, 9])


def test_release_frees_the_nonce_and_takes_the_debit_back(journal: SqliteJournal) -> None:
    running = reserve(journal, a_firing(), [7, 8])
    assert journal.next_nonce(CHAIN_ID, ACCOUNT) == 9
    released = journal.release(running, FiringState.DROPPED, "simulation disagrees")
    assert (released.state, released.reason) == (FiringState.DROPPED, "simulation disagrees")
    assert [(intent.state, intent.nonce) for intent in released.intents] == [(IntentState.DROPPED, None)] * 2
    assert journal.next_nonce(CHAIN_ID, ACCOUNT) is None
    assert journal.spent(SpendKind.USD, DAY) == 0
    assert reserve(journal, a_firing(2), [7]).intents[0].nonce == 7


def test_nothing_signed_is_ever_released(journal: SqliteJournal) -> None:
    running = reserve(journal, a_firing(), [7, 8])
    signed(journal, running.intents[0])
    with pytest.raises(JournalConflict, match="nonce stays"):
        journal.release(running, FiringState.DROPPED, "no")
    with pytest.raises(JournalConflict, match="nonces or signatures"):
        journal.save_firing(stored(journal, "f1"), advance_firing(running, FiringState.DROPPED))
    assert journal.spent(SpendKind.USD, DAY) == 5 * USD


def test_once_the_signer_is_asked_meaning_and_nonce_stay(journal: SqliteJournal) -> None:
    running = reserve(journal, a_firing(), [7])
    journal.bind_data("f1-0", b"final calldata")
    journal.begin_signing("f1")
    with pytest.raises(JournalConflict):
        journal.bind_data("f1-0", b"other calldata")
    with pytest.raises(JournalConflict):
        journal.release(stored(journal, "f1"), FiringState.DROPPED, "no")
    assert stored(journal, "f1").intents[0].data == b"final calldata"
    released = journal.release(running, FiringState.DROPPED, "the signer refused", nothing_signed=True)
    assert released.intents[0].nonce is None


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": 8},
        {"to": "0x" + "d4" * 20},
        {"value": 1},
        {"data": b"other"},
        {"account": "0x" + "d4" * 20},
        {"chain_id": 1},
        {"intent_id": "f9-0"},
        {"max_fee_per_gas": 11 * GWEI},
    ],
)
def test_bytes_of_another_meaning_are_refused(journal: SqliteJournal, change: dict[str, object]) -> None:
    running = reserve(journal, a_firing(), [7])
    new = an_attempt(running.intents[0], IntentState.SIGNED)
    with pytest.raises(JournalConflict):
        journal.record_attempts([replace(new, request=replace(new.request, **change))])  # type: ignore[arg-type]
    assert stored(journal, "f1").intents[0] == running.intents[0]


def test_a_replacement_changes_fees_only_and_stays_under_the_ceiling(journal: SqliteJournal) -> None:
    running = reserve(journal, a_firing(), [7])
    intent = signed(journal, running.intents[0])
    journal.save_intents([(intent, advance(intent, IntentState.MAYBE_SENT))])
    intent = stored(journal, "f1").intents[0]
    bump = an_attempt(intent, IntentState.MAYBE_SENT, AttemptKind.BUMP, 12 * GWEI)
    journal.record_attempts([bump])
    intent = stored(journal, "f1").intents[0]
    with pytest.raises(JournalConflict, match="ceiling"):
        journal.record_attempts([an_attempt(intent, IntentState.MAYBE_SENT, AttemptKind.BUMP, 101 * GWEI)])
    journal.record_attempts([an_attempt(intent, IntentState.CANCELLING, AttemptKind.CANCEL, 14 * GWEI)])
    intent = stored(journal, "f1").intents[0]
    assert intent.state is IntentState.CANCELLING
    assert [attempt.kind for attempt in intent.attempts] == [
        AttemptKind.ORIGINAL,
        AttemptKind.BUMP,
        AttemptKind.CANCEL,
    ]
    with pytest.raises((JournalConflict, IllegalTransition)):
        journal.record_attempts([an_attempt(intent, IntentState.MAYBE_SENT, AttemptKind.BUMP, 20 * GWEI)])
    assert len(stored(journal, "f1").intents[0].attempts) == 3


def test_all_signed_bytes_of_a_plan_are_kept_or_none(journal: SqliteJournal) -> None:
    first, second = reserve(journal, a_firing(), [7, 8]).intents
    good, bad = an_attempt(first, IntentState.SIGNED), an_attempt(second, IntentState.SIGNED)
    with pytest.raises(JournalConflict):
        journal.record_attempts([good, replace(bad, request=replace(bad.request, data=b""))])
    assert [intent.state for intent in stored(journal, "f1").intents] == [IntentState.RESERVED] * 2


def test_illegal_states_are_refused(journal: SqliteJournal) -> None:
    intent = reserve(journal, a_firing(), [7]).intents[0]
    for state in (IntentState.SIGNED, IntentState.MAYBE_SENT, IntentState.FINAL_OK, IntentState.INCLUDED):
        with pytest.raises(JournalConflict):
            journal.save_intents([(intent, replace(intent, state=state))])
    stale = signed(journal, intent)
    journal.save_intents([(stale, advance(stale, IntentState.MAYBE_SENT))])
    with pytest.raises(JournalConflict, match="not what it was"):
        journal.save_intents([(stale, advance(stale, IntentState.MAYBE_SENT))])


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE attempts SET raw = x'00'",
        "UPDATE attempts SET hash = 'x'",
        "DELETE FROM attempts",
        "DELETE FROM intents",
        "DELETE FROM firings",
        "UPDATE intents SET nonce = 9",
        "UPDATE intents SET nonce = NULL, state = 'DROPPED'",
        "UPDATE intents SET data = x'00'",
        "UPDATE intents SET to_address = 'x'",
        "UPDATE intents SET account = 'x'",
        "UPDATE intents SET state = 'FINAL_OK'",
        "UPDATE intents SET state = 'anything'",
        "INSERT INTO firings SELECT 99, 'f9', rule, rule_digest, 'other', position, account, chain_id, 'RUNNING',"
        " block_number, block_hash, block_timestamp, NULL, NULL, NULL, '', '', 0, NULL FROM firings",
    ],
)
def test_the_file_itself_refuses_what_would_break_an_invariant(journal: SqliteJournal, state: Path, sql: str) -> None:
    signed(journal, reserve(journal, a_firing(), [7]).intents[0])
    with sqlite3.connect(state / JOURNAL_FILE) as raw, pytest.raises(sqlite3.IntegrityError):
        raw.execute(sql)
    raw.close()


def test_final_is_final_even_for_the_file(journal: SqliteJournal, state: Path) -> None:
    intent = signed(journal, reserve(journal, a_firing(), [7]).intents[0])
    journal.save_intents([(intent, replace(intent, state=IntentState.NONCE_LOST))])
    with sqlite3.connect(state / JOURNAL_FILE) as raw, pytest.raises(sqlite3.IntegrityError, match="final"):
        raw.execute("UPDATE intents SET state = 'MAYBE_SENT'")
    raw.close()


def test_withheld_bytes_stay_withheld(journal: SqliteJournal) -> None:
    intent = signed(journal, reserve(journal, a_firing(), [7]).intents[0])
    held = replace(intent, withheld=True, reason="kill switch")
    journal.save_intents([(intent, held)])
    with pytest.raises(JournalConflict, match="withheld"):
        journal.save_intents([(held, intent)])


def test_the_daily_cap_holds_in_the_same_transaction(journal: SqliteJournal) -> None:
    running = reserve(journal, a_firing(1), [7], cap=5 * USD)
    intent = signed(journal, running.intents[0])
    journal.save_intents([(intent, replace(intent, state=IntentState.NONCE_LOST))])
    journal.save_firing(running_now := stored(journal, "f1"), advance_firing(running_now, FiringState.HALTED))
    with pytest.raises(JournalConflict, match="daily limit"):
        reserve(journal, a_firing(2), [8], cap=10 * USD - 1)
    assert journal.spent(SpendKind.USD, DAY, "guard") == 5 * USD
    assert journal.spent(SpendKind.USD, DAY, "other") == 0
    assert journal.spent(SpendKind.USD, "2023-11-15") == 0


def test_gas_past_64_bits_is_booked(journal: SqliteJournal) -> None:
    intent = signed(journal, reserve(journal, a_firing(), [7]).intents[0])
    entry = SpendEntry(SpendKind.GAS, "guard", DAY, 2**80, "f1")
    journal.save_intents([(intent, advance(intent, IntentState.MAYBE_SENT))], [entry])
    assert journal.spent(SpendKind.GAS, DAY) == 2**80


def test_a_halted_account_reserves_nothing_until_resumed(journal: SqliteJournal) -> None:
    journal.halt(CHAIN_ID, ACCOUNT, "first", 1.0)
    journal.halt(CHAIN_ID, ACCOUNT, "second", 2.0)
    assert journal.halted(CHAIN_ID, ACCOUNT) == "first"
    with pytest.raises(JournalConflict, match="halted"):
        reserve(journal, a_firing(1), [7])
    journal.resume(CHAIN_ID, ACCOUNT, 9)
    assert journal.halted_accounts(CHAIN_ID) == ()
    assert journal.next_nonce(CHAIN_ID, ACCOUNT) == 9
    with pytest.raises(JournalConflict, match="used before"):
        reserve(journal, a_firing(2), [8])
    assert reserve(journal, a_firing(3), [9]).intents[0].nonce == 9


def test_decisions_rule_states_health_and_meta(journal: SqliteJournal) -> None:
    for number in range(4):
        journal.record_decision(at=100.0 + number, kind="k", severity=Severity.ALARM, text=f"line {number}", block=3)
    lines = journal.decisions(since=101.0, limit=2)
    assert [line.text for line in lines] == ["line 2", "line 3"]
    assert lines[0].number < lines[1].number

    journal.save_rule_state("digest", "position", '{"latched": true}', 1.0)
    journal.save_rule_state("digest", "position", '{"latched": false}', 2.0)
    assert journal.rule_state("digest", "position") == '{"latched": false}'
    assert journal.rule_state("digest", "elsewhere") is None

    points = [(60, 2**70), (119, 5), (120, None)]
    for timestamp, health in points:
        journal.record_health([HealthPoint("p", timestamp, health)])
    assert journal.health_history("p") == ((60, 2**70), (120, None))
    assert journal.health_history("p", since=61) == ((120, None),)
    assert journal.health_history("q") == ()

    journal.set_meta("key", "a")
    journal.set_meta("key", "b")
    assert journal.meta("key") == "b"


def test_a_chain_id_belongs_to_one_chain(journal: SqliteJournal) -> None:
    journal.bind_chain(1, "0xaa")
    journal.bind_chain(1, "0xaa")
    with pytest.raises(JournalOtherChain, match="0xaa"):
        journal.bind_chain(1, "0xbb")


def test_what_was_dropped_takes_no_place_among_the_outcomes(journal: SqliteJournal) -> None:
    journal.save_outcome(Outcome(reserve(journal, a_firing(1), [7]).id))
    for number in (2, 3):
        dropped = reserve(journal, a_firing(number, account="0x" + "77" * 20), [7])
        journal.save_outcome(Outcome(dropped.id))
        journal.release(dropped, FiringState.DROPPED, "simulation disagrees")
    assert [firing.id for firing, _ in journal.outcomes(limit=2)] == ["f1"]


def test_which_step_a_transaction_is_for_is_kept_and_stays(journal: SqliteJournal) -> None:
    firing = a_firing()
    journal.open_firing(firing)
    planned = advance_firing(firing, FiringState.PLANNED)
    journal.save_firing(firing, planned)
    noted = replace(an_intent(firing, 7), step=2, takes=2**200)
    journal.reserve(planned, advance_firing(planned, FiringState.RUNNING), [noted], a_debit(firing), None)
    assert journal.intent(noted.id) == noted
    for column in ("step", "takes"):
        with pytest.raises(sqlite3.IntegrityError, match="one step of its rule"):
            journal._connection.execute(f"UPDATE intents SET {column} = 3")
