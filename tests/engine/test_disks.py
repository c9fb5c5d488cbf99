"""What a disk may do to the journal: lose its last writes, come back as an old copy, be full, be read-only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.engine.conftest import Bench
from tests.support.firings import ACCOUNT, CHAIN_ID, a_plan
from tui.journal.reading import JOURNAL_FILE
from tui.journal.store import open_journal
from tui.model.intent import FiringState, IntentState
from tui.ports.chain import SendOutcome
from tui.ports.journal import JournalFull


def image(state: Path, to: Path, wal_bytes: int | None = None) -> Path:
    """What a power cut would leave of a state directory: the file and so much of its log as had reached the disk."""
    to.mkdir(mode=0o700)
    for name in (JOURNAL_FILE, f"{JOURNAL_FILE}-wal"):
        shutil.copyfile(state / name, to / name)
        (to / name).chmod(0o600)
    if wal_bytes is not None:
        with (to / f"{JOURNAL_FILE}-wal").open("r+b") as log:
            log.truncate(wal_bytes)
    return to


async def test_a_power_cut_after_the_first_byte_loses_no_signed_row(bench: Bench, tmp_path: Path) -> None:
    synced: list[tuple[int, bytes]] = []
    accept = bench.chain.send
    log = bench.state / f"{JOURNAL_FILE}-wal"

    async def send(raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        synced.append((log.stat().st_size, raw))
        return await accept(raw, expected_hash)

    bench.chain.send = send  # type: ignore[method-assign]
    firing = await bench.run()
    bench.chain.mine(3)
    await bench.head()
    assert log.stat().st_size > synced[-1][0]
    # What came after that moment is lost, or torn in the middle of a page.
    for number, (size, raw) in enumerate(synced):
        for torn in (0, 1, 1_000, 4_000):
            journal = open_journal(image(bench.state, tmp_path / f"{number}-{torn}", size + torn))
            found = journal.firing(firing.id)
            journal.close()
            assert found is not None
            states = [intent.state for intent in found.intents]
            assert states == [IntentState.MAYBE_SENT] * 2
            assert raw in [attempt.raw for intent in found.intents for attempt in intent.attempts]


async def test_an_old_copy_of_the_journal_is_noticed_and_the_account_halted(bench: Bench, tmp_path: Path) -> None:
    await bench.run(1)
    bench.chain.mine(2)
    await bench.head()
    old = image(bench.state, tmp_path / "old")
    await bench.run(2)
    bench.chain.mine(2)
    await bench.head()
    bench.journal.close()

    bench.state = old
    bench.start()
    await bench.executor.recover()
    bench.chain.mine()
    await bench.head()
    firing = await bench.run(3)
    assert firing.state is FiringState.DROPPED
    assert "the journal is an old copy" in firing.reason
    assert [account for account, _ in bench.executor.halted_accounts()] == [ACCOUNT]
    assert len(bench.signer.requests) == 4


async def test_a_copy_from_before_the_outcome_finds_it_on_chain(bench: Bench, tmp_path: Path) -> None:
    save = bench.journal.save_intents

    def stop(*_: object) -> None:
        raise JournalFull("the disk is full", "here", "make room")

    bench.journal.save_intents = stop  # type: ignore[method-assign]
    firing = bench.fire()
    with pytest.raises(JournalFull):
        await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), bench.verify)
    bench.journal.save_intents = save  # type: ignore[method-assign]
    old = image(bench.state, tmp_path / "old")
    await bench.restart()
    bench.chain.mine(4)
    bench.journal.close()

    bench.state = old
    bench.start()
    bench.killed = True  # so that nothing is sent: the copy has to look
    await bench.executor.recover()
    assert bench.states(firing) == [IntentState.SIGNED] * 2
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2
    assert bench.firing(firing).state is FiringState.DONE


@pytest.mark.parametrize("step", ["save_firing", "reserve", "begin_signing", "record_attempts", "save_intents"])
async def test_a_disk_that_fills_up_at_any_step_sends_nothing_that_is_not_durable(bench: Bench, step: str) -> None:
    write = getattr(bench.journal, step)

    def full(*arguments: object) -> None:
        raise JournalFull("the disk is full", "here", "make room")

    setattr(bench.journal, step, full)
    firing = bench.fire()
    with pytest.raises(JournalFull):
        await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), bench.verify)
    setattr(bench.journal, step, write)
    assert bench.chain.sent == []
    await bench.restart()
    for waiting in bench.executor.resume_planned():
        if waiting.state is FiringState.TRIGGERED:
            await bench.executor.execute(waiting, a_plan(waiting, block=bench.chain.head), bench.verify)
        else:
            await bench.executor.resume_reserved(waiting, a_plan(waiting).fees, bench.verify)
    bench.chain.mine(3)
    await bench.head()
    assert bench.firing(firing).state is FiringState.DONE
    assert [tx.nonce for tx in bench.chain.mined(ACCOUNT)] == [0, 1]
    assert bench.signer.conflicts == []
    assert bench.journal.unsettled(CHAIN_ID) == ()
