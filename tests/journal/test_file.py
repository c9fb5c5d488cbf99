"""The journal's file: private, synced, one engine's; an older one is brought up to date, and what is wrong is said."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journal.test_store import reserve, signed, stored
from tests.support.firings import a_firing, an_attempt
from tui.journal.lock import holder_pid
from tui.journal.reading import JOURNAL_FILE, read_journal
from tui.journal.schema import MIGRATIONS
from tui.journal.store import SqliteJournal, open_journal
from tui.model.intent import IntentState
from tui.model.outcome import Outcome, SoldAsset
from tui.model.units import WAD
from tui.model.view import Severity
from tui.ports.journal import (
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalLocked,
    JournalMissing,
    JournalNewer,
    JournalReadOnly,
    JournalUnsafe,
)


def test_only_its_owner_can_read_it(journal: SqliteJournal, state: Path) -> None:
    journal.set_meta("key", "value")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in state.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_commits_are_synced_to_the_disk(journal: SqliteJournal) -> None:
    assert journal._connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert journal._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert journal._connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_a_second_engine_is_refused_and_told_by_whom(journal: SqliteJournal, state: Path) -> None:
    with pytest.raises(JournalLocked) as refused:
        open_journal(state)
    assert refused.value.pid == os.getpid()
    assert str(os.getpid()) in str(refused.value)
    assert holder_pid(state) == os.getpid()
    journal.close()
    assert holder_pid(state) is None
    second = open_journal(state)
    assert second.incarnation == journal.incarnation + 1
    second.close()


def test_the_lock_dies_with_its_process(state: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tui.journal.store import open_journal\n"
        f"journal = open_journal(Path({str(state)!r})); journal.set_meta('written', 'yes')\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(JournalLocked) as refused:
            open_journal(state)
        assert refused.value.pid == child.pid
        reader = read_journal(state)  # beside the living engine
        assert reader.meta("written") == "yes"
        reader.close()
        child.kill()
    reader = read_journal(state)  # after its death, with the log not yet folded in
    assert reader.meta("written") == "yes"
    reader.close()
    journal = open_journal(state)
    assert journal.meta("written") == "yes"
    journal.close()


def test_a_reader_sees_new_commits_and_writes_nothing(journal: SqliteJournal, state: Path) -> None:
    reader = read_journal(state)
    journal.open_firing(a_firing())
    assert reader.firing("f1") == a_firing()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM meta")
    reader.close()
    with pytest.raises(JournalError):
        reader.meta("key")


def test_there_is_no_journal_to_read(state: Path) -> None:
    with pytest.raises(JournalMissing):
        read_journal(state)
    assert not state.exists()


def test_a_damaged_file_is_refused(state: Path) -> None:
    journal = open_journal(state)
    for number in range(200):
        journal.record_decision(at=float(number), kind="k", severity=Severity.INFO, text="x" * 200)
    journal.close()
    path = state / JOURNAL_FILE
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = os.urandom(len(content) - 4096 * 2)
    path.write_bytes(content)
    with pytest.raises(JournalCorrupt) as refused:
        open_journal(state)
    assert str(path) in str(refused.value)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(JournalCorrupt):
        open_journal(state)
    with pytest.raises(JournalCorrupt):
        read_journal(state)


def test_another_programs_database_is_left_alone(state: Path) -> None:
    state.mkdir(mode=0o700)
    path = state / JOURNAL_FILE
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE theirs (x)")
    raw.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(JournalCorrupt, match="not ours"):
        open_journal(state)
    assert path.read_bytes() == before


def test_outcomes_of_the_version_before_are_brought_up_to_date(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("file", "reading"):
        monkeypatch.setattr(f"tui.journal.{module}.MIGRATIONS", MIGRATIONS[:3])
    old = open_journal(state)
    firing = a_firing()
    old.open_firing(firing)
    old.close()
    with sqlite3.connect(state / JOURNAL_FILE) as raw:
        raw.execute("INSERT INTO outcomes (firing_id, sold_asset, sold_expected) VALUES (?, 'WETH', '7')", (firing.id,))
    raw.close()
    monkeypatch.undo()
    kept = Outcome(firing.id, sales=(SoldAsset("WETH", 7),))
    with pytest.raises(JournalMissing, match="older version"):
        read_journal(state)
    new = open_journal(state)
    assert new.outcome(firing.id) == kept
    assert [outcome for _, outcome in new.outcomes()] == [kept]
    assert new.outcome("f-none") is None
    paying = SoldAsset("WETH", 2**199, None, "0x" + "ee" * 20, 18, 2**70)
    other = replace(paying, symbol="DAI", token="0x" + "dd" * 20)
    whole = replace(kept, sales=(paying, other), buys=(other,), swap_expected_usd=3)
    new.save_outcome(whole)
    new.book_outcome(firing.id, 2 * WAD, 5)
    new.book_sold(firing.id, paying.token, 2**200)
    new.book_bought(firing.id, other.token, 2**201)
    new.book_health(firing.id, 3 * WAD)
    new.close()
    again = read_journal(state)
    assert again.outcome(firing.id) == replace(
        whole,
        sales=(replace(paying, actual=2**200), other),
        buys=(replace(other, actual=2**201),),
        health_actual=3 * WAD,
        gas_actual_usd=5,
    )
    again.close()


SINCE_VERSION_6 = (
    "DROP TRIGGER what_it_is_for_stays",
    "ALTER TABLE intents DROP COLUMN step",
    "ALTER TABLE intents DROP COLUMN takes",
    "DROP TABLE bought",
    "PRAGMA user_version = 6",
)
"""What takes a journal back to its version 6."""


def test_what_a_version_before_did_not_note_is_not_known(state: Path) -> None:
    """What own swaps brought in, and so what they cost; which step a transaction is for."""
    old = open_journal(state)
    swapped, sold = a_firing(1), a_firing(2, account="0x" + "77" * 20)
    for nonce, firing in ((7, swapped), (8, sold)):
        reserve(old, firing, [nonce])
    old.close()
    with sqlite3.connect(state / JOURNAL_FILE) as raw:
        for statement in SINCE_VERSION_6:
            raw.execute(statement)
        for firing, words in ((swapped, "Swap exactly 2 WETH on Uniswap V3"), (sold, "Sell at most 2 WETH")):
            raw.execute("UPDATE intents SET words = ? WHERE firing_id = ?", (words, firing.id))
            raw.execute("INSERT INTO outcomes (firing_id, swap_expected_usd) VALUES (?, 5)", (firing.id,))
            raw.execute("INSERT INTO sold VALUES (?, 0, 'WETH', '0xee', 18, '100000000', '7000', '7000')", (firing.id,))
    raw.close()
    new = open_journal(state)
    found = [new.outcome(firing.id) for firing in (swapped, sold)]
    assert [None if one is None else one.swap_actual_usd for one in found] == [None, 5]
    assert [None if one is None else one.sales[0].actual for one in found] == [7000, 7000]
    assert {(one.step, one.takes) for firing in new.firings() for one in firing.intents} == {(None, None)}
    new.close()


def test_a_newer_version_is_refused(state: Path) -> None:
    open_journal(state).close()
    with sqlite3.connect(state / JOURNAL_FILE) as raw:
        raw.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    raw.close()
    with pytest.raises(JournalNewer):
        open_journal(state)
    with pytest.raises(JournalNewer):
        read_journal(state)


def test_a_read_only_place_is_refused(tmp_path: Path) -> None:
    # In a child that gives up root where it has it: root may write anything.
    code = (
        "import os, pathlib, sys, tempfile\n"
        "from tui.journal.store import open_journal\n"
        "from tui.ports.journal import JournalReadOnly\n"
        "if os.geteuid() == 0:\n    os.setgid(65534); os.setuid(65534)\n"
        "with tempfile.TemporaryDirectory(dir='/tmp') as place:\n"
        "    state = pathlib.Path(place) / 'state'\n"
        "    open_journal(state).close()\n"
        "    (state / 'journal.sqlite3').chmod(0o400)\n"
        "    try:\n        open_journal(state)\n"
        "    except JournalReadOnly as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "chmod u+rw" in done.stdout


def test_loose_permissions_are_refused_with_the_fix(state: Path) -> None:
    open_journal(state).close()
    (state / JOURNAL_FILE).chmod(0o644)
    with pytest.raises(JournalUnsafe, match="chmod 600"):
        open_journal(state)
    (state / JOURNAL_FILE).chmod(0o600)
    state.chmod(0o777)
    with pytest.raises(JournalUnsafe, match="chmod 700"):
        open_journal(state)


def test_a_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    state.mkdir(mode=0o700)
    (tmp_path / "elsewhere").touch(mode=0o600)
    (state / JOURNAL_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalReadOnly):
        open_journal(state)


def test_a_full_disk_writes_nothing_and_says_so(journal: SqliteJournal) -> None:
    running = reserve(journal, a_firing(), [7])
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    new = an_attempt(running.intents[0], IntentState.SIGNED)
    big = replace(new, attempt=replace(new.attempt, raw=b"x" * 100_000))
    with pytest.raises(JournalFull, match="disk is full"):
        journal.record_attempts([big])
    assert stored(journal, "f1").intents[0].state is IntentState.RESERVED
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    assert signed(journal, running.intents[0]).state is IntentState.SIGNED
