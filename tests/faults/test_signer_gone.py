"""The signer's process dies or hangs: nothing looks armed that cannot sign, and nothing else waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeRig
from tests.faults.test_process import arguments
from tests.support.fault_rig import FaultRig, OpenRig
from tests.support.program import run_trimtab, trimtab
from tui.engine.breaker import ERRORS_TO_HOLD
from tui.engine.defender import STALE_TRIES
from tui.engine.facade import CommandRefused
from tui.model.intent import FiringState, IntentState
from tui.model.signing import SignerUnavailable
from tui.model.view import Protection, RuleActivity
from tui.notify.alerts import conditions
from tui.vault import client as client_room
from tui.vault.client import SignerClient

pytestmark = [pytest.mark.node, pytest.mark.cold_signer]

SHORT = 0.3
"""Seconds that a signer has to answer where a test stops it."""
LONG = 60
"""Seconds in which something comes to an end that has one, also on a busy machine."""


def signer_of(rig: FaultRig) -> SignerClient:
    assert rig.wired.signer is not None
    return rig.wired.signer


@contextlib.contextmanager
def hangs(pid: int) -> Iterator[None]:
    """A signer that is stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def short_patience() -> Iterator[None]:
    """Only while nobody answers anyway: a signer that is well may be slow on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_room, "ANSWER_SECONDS", SHORT)
        yield


def killed(rig: FaultRig) -> None:
    """SIGKILL, and not before it is dead."""
    pid = signer_of(rig).pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def test_a_killed_signer_holds_at_once_with_an_alert_and_fires_nothing(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    killed(rig)
    await rig.mine()
    assert rig.view.protection is Protection.HELD
    assert "gone (killed by signal 9)" in rig.view.protection_why
    assert "start `trimtab run` again" in rig.view.protection_why
    assert rig.view.rules[0].activity is RuleActivity.HELD
    assert "held/signer" in conditions(rig.view)
    await rig.fall()
    await rig.mine(8)
    assert rig.firings == ()
    assert rig.said.count("nothing can be signed") == 1


async def test_between_two_blocks_it_is_noticed_too(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    killed(rig)
    seen = asyncio.Event()
    stop = rig.wired.engine.subscribe(lambda view: seen.set() if view.signer is not None else None)
    ticking = asyncio.create_task(rig.wired.engine._tick())
    try:
        async with asyncio.timeout(LONG):
            await seen.wait()
    finally:
        stop()
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
    assert rig.view.protection is Protection.HELD


async def test_arming_again_starts_a_new_signer_and_the_defence_goes_on(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    first = signer_of(rig).pid
    killed(rig)
    await rig.mine()
    assert rig.view.protection is Protection.HELD
    await rig.arm()
    assert signer_of(rig).pid != first
    assert rig.view.protection is Protection.ARMED
    assert "the signer answers again" in rig.said
    await rig.fall()
    assert (await rig.settle()).state is FiringState.DONE
    rig.check()


async def test_where_no_new_signer_can_be_started_it_is_said_to_start_again(
    open_faulty: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await open_faulty()
    killed(rig)

    def refused(state_directory: Path) -> Any:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("tui.vault.spawn.start_signer", refused)
    with pytest.raises(CommandRefused, match="end Trimtab and start it again"):
        await rig.arm()
    await rig.mine()
    assert rig.view.protection is Protection.HELD


async def fall_and_die(rig: FaultRig) -> None:
    """The rule fires, and its signer dies when nonces are bound and nothing is signed."""
    journal = rig.wired.journal
    assert journal is not None
    begin = journal.begin_signing

    def begin_and_kill(firing_id: str) -> None:
        begin(firing_id)
        killed(rig)

    journal.begin_signing = begin_and_kill  # type: ignore[method-assign]
    await rig.fall()
    journal.begin_signing = begin  # type: ignore[method-assign]
    assert rig.intent_states == [IntentState.RESERVED]


async def test_a_signer_that_dies_between_reservation_and_signature_loses_nothing(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await fall_and_die(rig)
    await rig.mine(2)
    assert rig.view.protection is Protection.HELD
    assert rig.pooled() == []
    await rig.arm()
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE
    assert len(rig.on_chain()) == 1
    rig.check()


async def test_what_was_never_signed_and_helps_no_more_frees_its_nonce_by_itself(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await fall_and_die(rig)
    stuck = rig.firing
    await rig.mine(2)
    # Meanwhile somebody has paid the debt back: what was planned cannot be done any more.
    chain, friend = rig.chain, rig.chain.new_account()
    chain.give("USDC", chain.units("USDC", 50_000), friend)
    chain.approve(friend, "USDC", chain.market.pool)
    repay = "repay(address,uint256,uint256,address)"
    usdc = chain.token("USDC").address
    chain.send(friend, chain.market.pool, repay, usdc, chain.units("USDC", 50_000), 2, rig.account)
    await rig.arm()
    await rig.mine(STALE_TRIES + 4)
    assert "frees its nonce" in rig.said
    ended = next(one for one in rig.firings if one.id == stuck.id)
    assert not ended.state.is_open
    # The new signer never signed anything for it, and says so: no transaction is needed to free it.
    assert [intent.state for intent in ended.intents] == [IntentState.DROPPED]
    assert rig.wired.journal is not None
    assert rig.wired.journal.unsettled(31337) == ()
    rig.check()


async def test_a_stopped_signer_delays_one_block_by_a_bound_and_then_none(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    signer = signer_of(rig)
    with hangs(signer.pid), short_patience():
        async with asyncio.timeout(LONG):
            await rig.fall()
        assert rig.view.protection is Protection.HELD or signer.fault is not None
        asked = signer._number
        async with asyncio.timeout(LONG):
            await rig.mine(5)
        assert signer._number == asked, "a signer that hangs was asked again and again"
        assert rig.view.protection is Protection.HELD
        assert "has not answered" in rig.view.protection_why
        assert rig.pooled() == []
    await caught_up(signer)
    await rig.mine()
    assert rig.view.protection is Protection.ARMED
    assert (await rig.settle()).state is FiringState.DONE
    assert len(rig.on_chain()) == 1
    rig.check()


async def test_what_was_sent_is_followed_and_sent_again_beside_a_stopped_signer(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await rig.fall()
    (sent,) = rig.pooled()
    rig.chain.rpc("anvil_dropAllTransactions")
    signer = signer_of(rig)
    with hangs(signer.pid), short_patience():
        async with asyncio.timeout(LONG):
            await rig.again()
            assert rig.pooled() == [sent]
            await rig.settle()
        assert rig.firing.state is FiringState.DONE
    await caught_up(signer)


async def caught_up(signer: SignerClient) -> None:
    """Until late answers were read."""
    await asyncio.gather(*signer._running, return_exceptions=True)


async def test_an_idle_signer_that_hangs_is_found_by_looking(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    signer = signer_of(rig)
    stopped = signer.pid
    with hangs(stopped):
        with short_patience():
            rig.clock.advance(10)
            await rig.mine()
            (look,) = signer._running
            await asyncio.wait({look}, timeout=2 * SHORT)
            assert not look.done()
            await rig.mine()
        assert rig.view.protection is Protection.HELD
        assert "has not answered" in rig.view.protection_why
        await rig.arm()
        assert signer.pid != stopped, "arming again replaces one that hangs"
        assert rig.view.protection is Protection.ARMED


async def test_a_signer_that_fails_again_and_again_breaks_the_circuit(
    open_faulty: OpenRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives and answers each permit with an error of its own: no fault is seen, and every block would fire anew."""
    rig = await open_faulty()

    async def failing(self: SignerClient, request: object) -> Any:
        raise SignerUnavailable("the signer failed: unforeseen KeyError")

    monkeypatch.setattr(SignerClient, "sign_permit", failing)
    await rig.fall()
    await rig.mine(ERRORS_TO_HOLD + 3)
    assert rig.view.held is not None
    assert "unforeseen KeyError" in rig.view.held
    assert rig.said.count("nothing was signed") == ERRORS_TO_HOLD


async def test_a_run_whose_signer_is_killed_says_so_and_the_doctor_finds_it(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = await make_rig()
    await rig.wired.aclose()
    told = tmp_path / "alerts.jsonl"
    (tmp_path / "config").mkdir(exist_ok=True)
    script = f"cat >> {told}; echo >> {told}"
    (tmp_path / "config" / "settings.toml").write_text(f'[alerts]\ncommand = ["sh", "-c", {json.dumps(script)}]\n')
    given = arguments(rig, tmp_path, tmp_path / "own")
    async with trimtab("run", "--json", *given) as program:
        rig.chain.mine()
        await program.said("armed: guard on")
        (signer,) = [pid for pid in program.family() if pid != program.pid]
        os.kill(signer, signal.SIGKILL)
        # How it ended is known once it is reaped; that the pipe has its end may be seen before.
        await program.said("HELD: Nothing can be signed: the signer process is gone")
        await program.said("alarm: nothing can be signed")
        code, out, _ = await run_trimtab("doctor", "--json", *without_password(given))
        assert code == 1
        checks = {one["name"]: one for one in json.loads(out)["checks"]}
        assert checks["signer"]["level"] == "bad"
        assert "gone" in checks["signer"]["detail"]
        assert checks["protection"]["level"] == "bad"
        assert await program.stop() == 0
    assert "nothing can be signed" in told.read_text().lower()


def without_password(given: list[object]) -> list[object]:
    at = given.index("--password-file")
    return [*given[:at], *given[at + 2 :]]


def test_the_end_of_the_pipe_is_seen_before_the_process_is_reaped() -> None:
    """The child closed its end and lives: a signer nobody can speak to is gone."""

    class Living:
        pid = 0
        returncode = None

        def poll(self) -> None:
            return None

    mine, theirs = socket.socketpair()
    mine.setblocking(False)
    client = SignerClient(Living(), mine)  # type: ignore[arg-type]
    assert client.fault is None
    theirs.close()
    assert client.fault == "the signer process is gone, and the key with it"
    mine.close()
