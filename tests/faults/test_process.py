"""Faults 9 to 14: the disk, the journal, a second engine, the clock and the memory turn on a real engine."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PASSWORD, MakeRig, Rig
from tests.support.chain import keyed_account
from tests.support.clock import FakeClock
from tests.support.program import Program, network_file, run_trimtab, trimtab
from tui.chain.clock import SystemClock
from tui.config.options import Options
from tui.config.paths import resolve_paths
from tui.engine.facade import CommandRefused
from tui.journal.reading import JOURNAL_FILE
from tui.launch import EngineLife
from tui.model.intent import FiringState
from tui.model.view import Confirmation, Protection
from tui.ports.journal import JournalError
from tui.screen.app import TrimtabApp
from tui.vault.keystore import create_keystore
from tui.vault.ledger import LEDGER_FILE
from tui.wiring import Wired, assemble

pytestmark = pytest.mark.node


def arguments(rig: Rig, folder: Path, state: Path) -> list[object]:
    """What `trimtab` is started with to do what the rig does."""
    feed = rig.chain.token("WETH").feed
    network = network_file(folder / "network.toml", [rig.chain.url], rig.chain.market.provider, feed)
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    return [
        "--network", network, "--rules", rig.trader.rules, "--keystore", rig.trader.keystore,
        "--password-file", password, "--config", folder / "config", "--state", state,
    ]  # fmt: skip


def again(rig: Rig, state: Path, clock: Any = None) -> Wired:
    """Another engine like the rig's, on another state directory or with another clock."""
    setup = rig.wired.engine.setup
    return assemble(
        rig.wired.network,
        resolve_paths(state.parent / "config", state),
        accounts=setup.accounts,
        rules_files=setup.rules_files,
        keystores=setup.keystores,
        signing=True,
        clock=clock,
    )


async def fired(rig: Rig, usd: int) -> None:
    """A fall of the price to a firing's end."""
    count = len(rig.firings())
    rig.chain.set_price("WETH", Decimal(usd))
    await rig.head()
    await rig.mine(4)
    assert len(rig.firings()) == count + 1
    assert rig.firings()[0].state is FiringState.DONE


def said(rig: Rig) -> str:
    view = rig.wired.engine.view
    return "\n".join([view.protection_why, *(entry.text for entry in view.activity)])


# --- 9: the disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Write until nothing more fits."""
    path = place / "ballast"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0")
    return path


async def test_a_full_disk_signs_nothing_and_says_so(make_rig: MakeRig, small_disk: Path) -> None:
    """Really full, between arming and the fall. Freed and gone on by hand, it fires."""
    rig = await make_rig(state="disk/state")
    assert (small_disk / "state" / JOURNAL_FILE).exists()
    await rig.arm()
    ballast = fill(small_disk)
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.head()
    await rig.mine(3)
    assert rig.transactions_of(rig.trader.address) == []
    view = rig.wired.engine.view
    assert view.protection is Protection.HELD
    assert "disk" in view.protection_why
    ballast.unlink()
    await rig.wired.commands.resume()
    await rig.mine(5)
    assert len(rig.transactions_of(rig.trader.address)) == 1
    assert [firing.state for firing in rig.firings()].count(FiringState.DONE) == 1


async def test_a_full_disk_under_the_signer_alone_refuses_the_signature(make_rig: MakeRig, tmp_path: Path) -> None:
    """The kernel lets the signer's ledger grow no further: what cannot be remembered is not signed."""
    rig = await make_rig()
    await rig.arm()
    assert rig.wired.signer is not None
    size = (tmp_path / "state" / LEDGER_FILE).stat().st_size
    resource.prlimit(rig.wired.signer.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.head()
    await rig.mine(2)
    assert rig.transactions_of(rig.trader.address) == []
    assert "cannot be written" in said(rig)
    assert (tmp_path / "state" / LEDGER_FILE).stat().st_size == size


async def test_a_read_only_disk_refuses_the_start(make_rig: MakeRig, small_disk: Path, tmp_path: Path) -> None:
    rig = await make_rig()
    (small_disk / "state").mkdir(mode=0o700)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)  # noqa: ASYNC221
    code, _, err = await run_trimtab("run", *arguments(rig, tmp_path, small_disk / "state"))
    assert code in (2, 4)
    assert "Traceback" not in err
    assert "Read-only file system" in err
    assert str(small_disk) in err


# --- 10: the journal ------------------------------------------------------------------------------------------------


def copy_state(state: Path, to: Path, *names: str) -> Path:
    """A backup of a state directory, or of some of its files."""
    to.mkdir(mode=0o700, exist_ok=True)
    for path in state.iterdir():
        if path.is_file() and (not names or path.name.startswith(names)):
            shutil.copyfile(path, to / path.name)
            (to / path.name).chmod(0o600)
    return to


async def test_an_old_backup_of_the_journal_halts_and_says_why(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = await make_rig()
    await rig.arm()
    await fired(rig, 2600)
    old = copy_state(tmp_path / "state", tmp_path / "old")
    await fired(rig, 2100)
    sent = rig.transactions_of(rig.trader.address)
    await rig.wired.aclose()
    restored = again(rig, old)
    try:
        rig = replace(rig, wired=restored)
        await restored.engine.start()
        await rig.mine(1)
        with suppress(CommandRefused):
            await rig.arm()
        rig.chain.set_price("WETH", Decimal(1650))
        await rig.mine(4)
        assert rig.transactions_of(rig.trader.address) == sent
        assert restored.journal is not None
        assert [account for account, _ in restored.journal.halted_accounts(31337)] == [rig.trader.address.lower()]
        assert "the journal is an old copy" in said(rig)
    finally:
        await restored.aclose()


def damaged(content: bytes, how: str) -> bytes:
    if how == "header":
        return os.urandom(100) + content[100:]
    if how == "middle":
        return content[:4096] + os.urandom(len(content) - 8192) + content[-4096:]
    return content[: len(content) // 2] if how == "cut" else b"this is not a database" * 1000


async def test_a_corrupt_journal_is_refused_with_exit_code_4(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = await make_rig()
    await rig.wired.aclose()
    for how in ("header", "middle", "cut", "another file"):
        state = copy_state(tmp_path / "state", tmp_path / how, JOURNAL_FILE)
        path = state / JOURNAL_FILE
        content = damaged(path.read_bytes(), how)
        path.write_bytes(content)
        code, out, err = await run_trimtab("run", *arguments(rig, tmp_path, state))
        assert (code, out) == (4, ""), how
        assert str(path) in err, how
        assert "Traceback" not in err, how
        assert path.read_bytes() == content, "what is left of it is not touched"
        with pytest.raises(JournalError):
            again(rig, state)


# --- 11: a second engine --------------------------------------------------------------------------------------------


async def test_a_second_engine_is_refused_and_an_app_may_look_and_pull_the_kill_switch(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    rig = await make_rig()
    await rig.wired.aclose()
    state = tmp_path / "shared"
    given = arguments(rig, tmp_path, state)
    async with trimtab("run", "--json", *given) as first:
        rig.chain.mine()
        await first.said("armed: guard on")
        async with trimtab("run", *given) as second:
            assert await second.ended() == 4
        assert f"process id {first.pid}" in second.text
        assert "another" in second.text or "Stop it" in second.text
        options = Options(
            config=tmp_path / "config",
            state=state,
            network=str(given[1]),
            rules=(rig.trader.rules,),
            keystores=(rig.trader.keystore,),
        )
        await looks_and_kills(options, first, rig)
        rig.chain.set_price("WETH", Decimal(2600))
        seen = first.text.count('"event": "block"')
        rig.chain.mine(2)
        await first.said('"event": "block"', seen + 1)
        assert "HELD" in first.text
        assert "kill switch" in first.text
        assert await first.stop() == 0
    assert rig.transactions_of(rig.trader.address) == []


async def looks_and_kills(options: Options, first: Program, rig: Rig) -> None:
    """The app on a state directory that another process holds."""
    from tui.vault.client import spawn_signer

    paths = resolve_paths(options.config, options.state)
    signer = spawn_signer(paths.state)
    life = EngineLife(options, paths, signer)
    app = TrimtabApp(life.start, config=paths.config, state=paths.state, stop=life.stop, ticking=False)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            assert app.view.read_only
            assert app.view.protection is Protection.READ_ONLY
            assert app.facade is not None
            with pytest.raises(CommandRefused, match=f"process id {first.pid}"):
                await app.facade.arm("guard", "guard", PASSWORD)
            await pilot.press("f12")
            await app.workers.wait_for_complete()
            await pilot.pause()
            assert (paths.state / "kill").exists()
    finally:
        signer.close()


# --- 12, 13: the clock ----------------------------------------------------------------------------------------------


class TwoClocks(FakeClock):
    """A wall clock that can be set without time passing."""

    def jump(self, seconds: float) -> None:
        self._now += seconds


@asynccontextmanager
async def asking(make_rig: MakeRig, state: Path) -> AsyncIterator[tuple[Rig, TwoClocks, Confirmation]]:
    """An armed engine on a clock that can be set, and what it asks after the price has fallen."""
    rig = await make_rig(mode="confirm")
    await rig.wired.aclose()
    clock = TwoClocks(time.time())
    rig = replace(rig, wired=again(rig, state, clock))
    try:
        await rig.wired.engine.start()
        await rig.mine(1)
        await rig.arm()
        rig.chain.set_price("WETH", Decimal(2600))
        await rig.mine(1)
        (asked,) = rig.wired.engine.view.confirmations
        yield rig, clock, asked
    finally:
        await rig.wired.aclose()


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_jumps_an_hour_ends_nothing(make_rig: MakeRig, tmp_path: Path, hours: int) -> None:
    """Neither what is armed nor a question that waits: their ends are counted in time that passed."""
    async with asking(make_rig, tmp_path / "own") as (rig, clock, asked):
        clock.jump(hours * 3600)
        rig.wired.engine.publish()
        await rig.mine(1)
        view = rig.wired.engine.view
        assert view.protection is Protection.ARMED
        assert [one.id for one in view.confirmations] == [asked.id]
        await rig.wired.commands.answer(asked.id, True, asked.digest)
        await rig.mine(4)
        assert [firing.state for firing in rig.firings()] == [FiringState.DONE]


async def test_after_ten_minutes_of_sleep_nothing_is_signed_before_a_fresh_block(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    async with asking(make_rig, tmp_path / "own") as (rig, clock, asked):
        clock.advance(600)
        rig.wired.engine.publish()
        view = rig.wired.engine.view
        assert view.protection is Protection.HELD
        assert "no new block for 600 s" in view.protection_why
        with pytest.raises(CommandRefused):
            await rig.wired.commands.answer(asked.id, True, asked.digest)
        assert rig.transactions_of(rig.trader.address) == []
        await rig.mine(1)
        assert rig.wired.engine.view.protection is Protection.ARMED
        (fresh,) = rig.wired.engine.view.confirmations
        await rig.wired.commands.answer(fresh.id, True, fresh.digest)
        await rig.mine(4)
        assert [firing.state for firing in rig.firings()] == [FiringState.DONE]


def test_the_clock_runs_on_while_the_machine_sleeps() -> None:
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        pytest.skip("this system has no such clock")
    before = time.clock_gettime(boot)
    assert before <= SystemClock().monotonic() <= time.clock_gettime(boot)


async def test_a_process_that_was_stopped_catches_up_before_it_acts(make_rig: MakeRig, tmp_path: Path) -> None:
    """SIGSTOP while the price falls through the trigger and comes back: on waking nothing is fired on the old news."""
    rig = await make_rig()
    await rig.wired.aclose()
    async with trimtab("run", "--json", *arguments(rig, tmp_path, tmp_path / "own")) as program:
        rig.chain.mine()
        await program.said("armed: guard on")
        program.process.send_signal(signal.SIGSTOP)
        rig.chain.set_price("WETH", Decimal(2600))
        rig.chain.mine(3)
        rig.chain.set_price("WETH", Decimal(3000))
        height = rig.chain.mine(3)
        program.process.send_signal(signal.SIGCONT)
        await program.said(f'"number": {height}')
        assert await program.stop() == 0
    assert rig.transactions_of(rig.trader.address) == []


# --- 14: memory -----------------------------------------------------------------------------------------------------


def address_space(pid: int) -> int:
    """Bytes a process has mapped."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmSize" in line)
    return int(line.split()[1]) * 1024


@pytest.mark.cold_signer
async def test_a_key_derivation_without_memory_arms_nothing_and_says_what_it_needs(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    rig = await make_rig()
    # A key file as Trimtab writes it: scrypt at full strength wants memory.
    own = tmp_path / "keys" / "own.json"
    create_keystore(own, PASSWORD, key=keyed_account(7)[1])
    keystores = rig.wired.engine.setup.keystores
    assert isinstance(keystores, dict)
    keystores[rig.trader.address.lower()] = own
    signer = rig.wired.signer
    assert signer is not None
    await signer.status()
    limit = address_space(signer.pid) + (64 << 20)
    resource.prlimit(signer.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    with pytest.raises(CommandRefused, match=r"not enough memory to open it: 256 MiB .* Close other programs"):
        await rig.arm()
    assert rig.wired.engine.book.armed == {}
    assert rig.wired.engine.view.protection is Protection.WATCHING
    assert (await signer.status())["unlocked"] == []
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.mine(2)
    assert rig.transactions_of(rig.trader.address) == []
    # With memory again the same signer opens the key: it was no wrong password, so there is nothing to wait for.
    resource.prlimit(signer.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asyncio.wait_for(rig.arm(), 60)
    assert rig.wired.engine.view.protection is Protection.ARMED
