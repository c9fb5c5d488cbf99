"""Going on by hand, and the hold that outlives everything: what another process is told, and what a restart finds."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.faults.test_cancel import ticking, trimtab
from tests.faults.test_signer_gone import signer_of
from tests.support.fault_rig import FaultRig, OpenRig
from tui.engine.engine import HELD_KEY
from tui.headless.attendants import RENEW_BEFORE, Attendants
from tui.headless.heartbeat import read_heartbeat
from tui.model.alert import AlertSettings

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]


def attended(rig: FaultRig) -> Attendants:
    """With its heartbeat, which another process reads."""
    attendants = Attendants(rig.wired, AlertSettings(bell=False), None)
    attendants.start()
    return attendants


async def halted(rig: FaultRig) -> None:
    """The account's nonce is used elsewhere while ours waits: halted, and nothing else is held."""
    await rig.fall()
    rig.foreign()
    await rig.mine(3)
    assert rig.wired.engine.executor is not None
    assert rig.wired.engine.executor.halted_accounts()
    assert rig.wired.engine.held is None


async def test_asked_to_go_on_where_nothing_is_held_it_says_so(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    attendants = attended(rig)
    async with ticking(rig):
        code, _, said = await trimtab(rig, "resume")
    assert code == 1, said
    assert "nothing is held that a hand could release: ARMED" in said
    assert "goes on by hand" not in rig.said
    await attendants.aclose("test")


async def test_an_account_whose_chain_does_not_answer_stays_halted_and_the_exit_code_says_so(
    open_faulty: OpenRig,
) -> None:
    """Only an account is halted, and its node is gone while a hand wants it released; then the node is back."""
    rig = await open_faulty()
    await halted(rig)
    attendants = attended(rig)
    rig.proxies[0].down()
    async with ticking(rig):
        code, _, said = await trimtab(rig, "resume")
    assert code == 4, said
    assert "asked to go on, but the chain does not answer" in said
    executor = rig.wired.engine.executor
    assert executor is not None
    assert executor.halted_accounts()
    rig.proxies[0].heal()
    rig.clock.advance(60)
    await rig.mine()
    async with ticking(rig):
        code, _, said = await trimtab(rig, "resume")
    assert code == 0, said
    assert "the engine goes on" in said
    assert executor.halted_accounts() == ()
    await attendants.aclose("test")


async def test_a_breaker_that_trips_while_something_else_holds_holds_after_a_restart_too(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    engine = rig.wired.engine
    assert rig.wired.journal is not None
    engine.hold("the journal failed: once.")
    engine.trip("guard: simulation refused it 10 blocks in a row.")
    assert engine.held == "the journal failed: once.", "the first reason stays on the screen"
    assert rig.wired.journal.meta(HELD_KEY) == "guard: simulation refused it 10 blocks in a row."
    await rig.restart()
    assert rig.wired.engine.held == "since an earlier run: guard: simulation refused it 10 blocks in a row."
    await rig.wired.engine.go_on()
    await rig.restart()
    assert rig.wired.engine.held is None


async def test_the_heartbeat_outlives_a_record_that_fails_while_the_signer_is_renewed(open_faulty: OpenRig) -> None:
    """The signer is gone and the journal is closed, when its permission is to be renewed: the file is written on."""
    rig = await open_faulty()
    journal = rig.wired.journal
    assert journal is not None
    until = rig.wired.engine.policy_until
    assert until is not None
    os.kill(signer_of(rig).pid, signal.SIGKILL)
    attendants = attended(rig)
    rig.clock.advance(until - rig.clock.now() - RENEW_BEFORE + 60)
    rig.wired.engine._moved()
    journal.close()
    beats = set()
    for _ in range(400):
        rig.wired.engine._moved()
        await asyncio.sleep(0)
        beat = read_heartbeat(rig.wired.paths.state)
        assert beat is not None
        beats.add(beat.at)
    assert len(beats) > 10
    assert attendants._task is not None
    assert not attendants._task.done()
    await attendants.aclose("test")
