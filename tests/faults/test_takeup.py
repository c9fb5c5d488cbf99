"""What an earlier run left is taken up, or set free, whatever stood in the way of it: no network, a full disk, a rule
that is another one now.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.fault_rig import ADD, REPAY, FaultRig, OpenRig
from tui.engine.cancelling import CannotCancel
from tui.headless.record_checks import unsettled_checks
from tui.journal.reading import read_journal
from tui.model.intent import FiringState, IntentState
from tui.model.plan import FeeQuote, Plan, PlannedCall, Refusal
from tui.model.snapshot import Snapshot
from tui.model.view import Protection
from tui.notify.alerts import conditions
from tui.ports.journal import JournalFull, NewAttempt

pytestmark = pytest.mark.node


async def reserved(rig: FaultRig, image: Path) -> None:
    """The power fails once the nonce is bound, before the signer is asked."""
    prospect = rig.wired.engine.prospect

    async def verify(plan: Plan, snapshot: Snapshot, calls: Sequence[PlannedCall]) -> Refusal | None:
        shutil.copytree(rig.paths[1], image)
        raise SystemError("the power fails")

    prospect.verify = verify  # type: ignore[method-assign]
    await rig.fall()
    await rig.power_fails(image)


async def signed(rig: FaultRig) -> None:
    """The process ends once the signed bytes are recorded, before the first one leaves."""
    journal = rig.wired.journal
    assert journal is not None
    record = journal.record_attempts

    def ends(attempts: Sequence[NewAttempt]) -> None:
        record(attempts)
        raise SystemError("killed")

    journal.record_attempts = ends  # type: ignore[method-assign]
    await rig.fall()
    assert rig.intent_states == [IntentState.SIGNED]


async def test_02_a_machine_that_is_up_before_its_network_frees_the_nonce_and_defends(
    open_faulty: OpenRig, tmp_path: Path
) -> None:
    """The power fails once the nonce is bound; the engine starts again while no node answers."""
    rig = await open_faulty()
    await reserved(rig, tmp_path / "image")
    await rig.restart_before_the_network()
    assert rig.wired.engine.why_not_act() is not None
    await rig.mine()
    await rig.arm()
    await rig.mine(6)
    assert len(rig.on_chain()) == 1
    assert [firing.state for firing in rig.firings] == [FiringState.DONE, FiringState.DROPPED]
    assert rig.view.protection is Protection.ARMED
    rig.check()


async def test_a_nonce_that_the_signer_was_not_asked_for_is_told_as_such(open_faulty: OpenRig, tmp_path: Path) -> None:
    rig = await open_faulty()
    await reserved(rig, tmp_path / "image")
    await rig.restart_before_the_network()
    # The engine frees it without a chain, so the image is what `doctor` may find of an engine that never came back.
    record = read_journal(tmp_path / "image")
    (check,) = unsettled_checks(record.all_unsettled(), followed=False)
    record.close()
    assert not check.ok
    assert "the signer was not asked yet" in check.detail
    assert rig.intent_states == [IntentState.DROPPED]


async def test_63_killed_and_started_before_the_network_what_was_signed_is_never_sent(open_faulty: OpenRig) -> None:
    """Signed, the process ends, the kill switch is pulled; the next start sees no node; then the switch is released."""
    rig = await open_faulty()
    await signed(rig)
    rig.wired.engine.kill_switch.pull("a person")
    await rig.restart_before_the_network()
    assert rig.intent.withheld
    rig.wired.engine.kill_switch.release()
    await rig.mine(4)
    assert rig.pooled() == []
    assert rig.on_chain() == []
    assert rig.intent_states == [IntentState.SIGNED]


async def test_63_killed_while_an_account_is_halted_what_was_signed_for_it_is_never_sent(open_faulty: OpenRig) -> None:
    """Signed for a halted account; the switch is on for one block, then released and the account resumed."""
    rig = await open_faulty()
    await signed(rig)
    journal = rig.wired.journal
    assert journal is not None
    journal.halt(rig.network.chain_id, rig.account, "look at it", rig.clock.now())
    await rig.restart()
    assert not rig.intent.withheld
    rig.wired.engine.kill_switch.pull("a person")
    await rig.mine()
    rig.wired.engine.kill_switch.release()
    await rig.wired.commands.resume()
    await rig.mine(4)
    assert rig.on_chain() == []
    assert rig.intent.withheld


async def test_04_signed_bytes_wait_for_a_network_that_comes_late(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await signed(rig)
    raw = rig.intent.attempts[0].raw
    await rig.restart_before_the_network()
    await rig.mine(4)
    assert rig.firing.state is FiringState.DONE
    assert [attempt.raw for attempt in rig.intent.attempts] == [raw]
    rig.check()


async def test_a_journal_of_another_chain_holds_also_where_the_network_came_late(open_faulty: OpenRig) -> None:
    """Resumed by hand, it holds again: nothing is sent or signed on a chain that the record is not of."""
    rig = await open_faulty()
    await signed(rig)
    journal = rig.wired.journal
    assert journal is not None
    journal._connection.execute("UPDATE chains SET genesis_hash = '0x00'")
    await rig.restart_before_the_network()
    await rig.mine()
    assert rig.view.protection is Protection.HELD
    assert "another chain" in rig.view.protection_why
    await rig.wired.commands.resume()
    await rig.mine(2)
    assert "another chain" in rig.view.protection_why
    assert rig.pooled() == rig.on_chain() == []


async def test_09_a_disk_that_is_full_before_the_signer_is_asked_leaves_no_nonce_bound(open_faulty: OpenRig) -> None:
    """The record fails between binding the nonce and asking the signer; freed and gone on by hand, it fires."""
    rig = await open_faulty()
    journal = rig.wired.journal
    assert journal is not None
    begin = journal.begin_signing

    def full(firing_id: str) -> None:
        raise JournalFull("the disk is full", "here", "Make room.")

    journal.begin_signing = full  # type: ignore[method-assign]
    await rig.fall()
    assert rig.view.protection is Protection.HELD
    assert rig.intent_states == [IntentState.RESERVED]
    journal.begin_signing = begin  # type: ignore[method-assign]
    await rig.wired.commands.resume()
    await rig.mine(5)
    assert len(rig.on_chain()) == 1
    assert rig.firing.state is FiringState.DONE
    rig.check()


async def asked(rig: FaultRig) -> None:
    """The process ends once the signer was asked: it has signed, and the record does not know it."""
    journal = rig.wired.journal
    assert journal is not None

    def ends(attempts: Sequence[NewAttempt]) -> None:
        raise SystemError("killed")

    journal.record_attempts = ends  # type: ignore[method-assign]
    await rig.fall()
    assert set(rig.intent_states) == {IntentState.RESERVED}
    assert rig.intent.signing_began


def edited(rig: FaultRig) -> None:
    rig.rules.write_text(rig.rules.read_text().replace('"1.50"', '"1.51"'))


@pytest.mark.parametrize(("steps", "calls"), [(REPAY, 1), (ADD, 2)])
async def test_03_a_rule_that_was_edited_meanwhile_frees_the_nonces_of_the_old_one(
    open_faulty: OpenRig, steps: str, calls: int
) -> None:
    """Signed and not recorded; when the engine starts again the rule has another target."""
    rig = await open_faulty(steps=steps)
    await asked(rig)
    edited(rig)
    await rig.restart()
    await rig.mine()
    assert any("its rule was edited since" in text for _, text in rig.view.troubles)
    assert any("its rule was edited since" in alert.text for alert in conditions(rig.view).values())
    await rig.arm()
    await rig.mine(9)
    assert rig.firings[1].state is FiringState.FAILED
    assert [one.state for one in rig.firings[1].intents] == [IntentState.FINAL_CANCELLED] * calls
    assert rig.said.count("given up after the restart") == calls
    assert rig.firing.state is FiringState.DONE
    assert rig.view.troubles == ()
    rig.check()


async def test_03_where_the_key_cannot_free_it_the_account_is_shown_as_held(open_faulty: OpenRig) -> None:
    """The same, and the fees of the no-op are above what may be paid: it is not taken for a defence."""
    rig = await open_faulty()
    await asked(rig)
    edited(rig)
    await rig.restart()
    executor = rig.wired.engine.executor
    assert executor is not None
    cancel = executor.cancel

    async def refused(intent_id: str, fees: FeeQuote | None = None) -> None:
        raise CannotCancel("no")

    executor.cancel = refused  # type: ignore[method-assign]
    await rig.mine()
    await rig.arm()
    await rig.mine(2)
    assert rig.view.protection is Protection.HELD
    assert "can be signed before its nonce is free" in rig.view.protection_why
    executor.cancel = cancel  # type: ignore[method-assign]
    await rig.mine(8)
    assert rig.view.protection is Protection.ARMED
    assert rig.firing.state is FiringState.DONE


async def test_03_the_rule_that_is_armed_again_signs_the_very_same(open_faulty: OpenRig) -> None:
    """Unarmed for some blocks it is told of and waits: its nonce is not given away."""
    rig = await open_faulty()
    await asked(rig)
    await rig.restart()
    await rig.mine(6)
    assert any("its rule is not armed" in text for _, text in rig.view.troubles)
    assert rig.intent_states == [IntentState.RESERVED]
    await rig.arm()
    await rig.mine(6)
    assert rig.firing.state is FiringState.DONE
    assert len(rig.firings) == len(rig.on_chain()) == 1
    rig.check()
