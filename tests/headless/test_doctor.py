"""The doctor: each conclusion from its facts, and the whole of it beside a real engine on a real chain."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeRig, Rig
from tests.support.program import run_trimtab
from tui.chain.clock import SystemClock
from tui.engine.breaker import REFUSALS_TO_HOLD
from tui.headless.attendants import Attendants
from tui.headless.checks import (
    FREE_BYTES,
    Check,
    ago,
    disk_checks,
    engine_checks,
    head_checks,
    node_checks,
    verdict,
)
from tui.headless.doctor_command import check_lines
from tui.headless.heartbeat import FRESH_WITHIN, ArmedRule, Beat
from tui.journal.reading import JOURNAL_FILE
from tui.journal.store import open_journal
from tui.model.alert import AlertSettings
from tui.model.block import BlockRef
from tui.model.calls import Call, Simulation
from tui.model.plan import PlannedCall
from tui.ports.chain import ProviderStatus, Simulator

pytestmark = pytest.mark.usefixtures("warm_programs")

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_790_000_000.0
BEAT = Beat(
    pid=41,
    started_at=NOW - 7200,
    at=NOW - 2,
    stopped=False,
    network="base",
    protection="ARMED",
    why="Rule armed: guard.",
    held=None,
    armed=(ArmedRule("guard", NOW - 3600),),
    would_stop=(),
    block_number=12,
    block_received_at=NOW - 3,
    policy_until=NOW + 6 * 86400,
)


def named(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_an_engine_that_beats_and_holds_its_lock_is_armed() -> None:
    checks = list(engine_checks(BEAT, "", 41, True, NOW))
    assert all(check.ok for check in checks)
    found = verdict(checks, BEAT)
    assert (found.armed, found.since, found.rules, found.well) == (True, NOW - 3600, ("guard",), True)
    assert re.fullmatch(r"ARMED since 2026-09-21 .*Z \(60 min\): guard; nothing is known that would stop it",
                        found.text(NOW))  # fmt: skip


@pytest.mark.parametrize(
    ("beat", "holder", "held", "words"),
    [
        (None, None, False, "none runs"),
        (replace(BEAT, stopped=True, why="the run was ended"), None, False, "the last one ended"),
        (BEAT, None, False, "gone without a word"),
        (None, 41, True, "no heartbeat"),
        (BEAT, 77, True, "process 77 holds the state, the heartbeat is of 41"),
        (replace(BEAT, at=NOW - FRESH_WITHIN - 1), 41, True, "has not written its heartbeat for 21 s"),
        (replace(BEAT, at=NOW + 3600), 41, True, "in the future"),
    ],
)
def test_nothing_less_counts_as_armed(beat: Beat | None, holder: int | None, held: bool, words: str) -> None:
    checks = list(engine_checks(beat, "", holder, held, NOW))
    assert words in checks[0].detail
    assert not checks[0].ok
    found = verdict(checks, beat)
    assert not found.well
    assert not found.armed
    assert found.text(NOW) == "NOT ARMED: nothing is defended"


def test_a_held_engine_is_armed_but_not_well() -> None:
    held = replace(BEAT, protection="HELD", why="The kill switch is on.")
    checks = list(engine_checks(held, "", 41, True, NOW))
    found = verdict(checks, held)
    assert found.armed
    assert not found.well
    assert "would stop or weaken" in found.text(NOW)


def test_a_permission_that_ran_out_stops_a_defence() -> None:
    ended = replace(BEAT, policy_until=NOW - 1)
    assert not verdict(list(engine_checks(ended, "", 41, True, NOW)), ended).well
    soon = replace(BEAT, policy_until=NOW + 3600)
    assert verdict(list(engine_checks(soon, "", 41, True, NOW)), soon).well


def test_a_wrong_clock_is_told_from_a_late_chain() -> None:
    assert [check.ok for check in head_checks(5, int(NOW) - 10, 12.0, NOW)] == [True, True]
    late = named(list(head_checks(5, int(NOW) - 3600, 12.0, NOW)))
    assert (late["head"].ok, late["clock"].ok) == (False, True)
    ahead = named(list(head_checks(5, int(NOW) + 120, 12.0, NOW)))
    assert (ahead["head"].ok, ahead["clock"].ok) == (True, False)
    assert [check.ok for check in head_checks(None, None, 12.0, NOW)] == [False]
    assert [check.ok for check in head_checks(5, int(NOW) - 3600, 12.0, NOW, 7200.0)] == [True, True]


def test_one_bad_node_among_enough_stops_nothing() -> None:
    nodes = [ProviderStatus("https://a/***", "ok", 9.0, 5), ProviderStatus("https://b/***", "failing", None, None, "x")]
    assert [check.level for check in node_checks(nodes, 1)] == ["ok", "note", "ok"]
    assert [check.level for check in node_checks(nodes, 2)] == ["ok", "note", "bad"]


def test_room_on_the_disk() -> None:
    assert [check.ok for check in disk_checks("", FREE_BYTES)] == [True, True]
    assert [check.ok for check in disk_checks("read-only", FREE_BYTES - 1)] == [False, False]


def test_lines_are_aligned_whatever_their_length() -> None:
    checks = [
        Check("disk", True, "fine"),
        Check("a name that is far longer than its column", False, "word " * 60, "mend it " * 30),
        Check("x", None, "\x1b[31mred\u202e"),
    ]
    for check in checks:
        lines = list(check_lines(check, 12))
        assert all(len(line) <= 100 and line.isprintable() for line in lines)
        assert all(line.startswith(" " * 19) for line in lines[1:])


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (119, "119 s"), (120, "2 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_spans(seconds: float, text: str) -> None:
    assert ago(seconds) == text


# --- beside a real engine ------------------------------------------------------------------------------------------


async def doctor(rig: Rig, tmp_path: Path, *more: str, as_json: bool = True) -> tuple[int, Any, str]:
    network = tmp_path / "network.toml"
    chain = rig.chain
    network.write_text(
        f'name = "test"\nchain_id = 31337\nblock_time = 2.0\nconfirmations = 2\nrpc = ["{chain.url}"]\n'
        f'native_usd_feed = "{chain.token("WETH").feed.lower()}"\n\n[[market]]\nprotocol = "aave-v3"\nname = "core"\n'
        f'pool_addresses_provider = "{chain.market.provider.lower()}"\n'
    )
    await rig.mine()  # a fresh head: what follows takes a few seconds
    code, out, err = await run_trimtab(
        "doctor", *(["--json"] if as_json else []),
        "--state", rig.wired.paths.state, "--config", tmp_path / "config", "--network", network,
        "--rules", rig.trader.rules, "--keystore", rig.trader.keystore, *more,
    )  # fmt: skip
    assert "Traceback" not in err
    return code, json.loads(out) if as_json else out, err


async def _beating(rig: Rig) -> Attendants:
    """Bring the chain's clock to this machine's, and let the engine beat."""
    now = int((await asyncio.to_thread(subprocess.run, ["date", "+%s"], capture_output=True)).stdout)
    rig.chain.rpc("evm_setTime", now)
    attendants = Attendants(rig.wired, AlertSettings(bell=False), None)
    attendants.start()
    await rig.mine()
    return attendants


def bad(report: Any) -> dict[str, str]:
    return {one["name"]: one["detail"] for one in report["checks"] if one["level"] in ("bad", "unknown")}


async def test_the_whole_of_it(make_rig: MakeRig, tmp_path: Path) -> None:
    rig = await make_rig(wallet_usdc=20_000, wallet_weth=10, clock=SystemClock())
    attendants = await _beating(rig)
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert report["verdict"] == "NOT ARMED: nothing is defended"
    assert set(bad(report)) == {"protection"}
    await rig.arm()
    code, report, _ = await doctor(rig, tmp_path)
    assert (code, bad(report)) == (0, {})
    assert report["armed"] is True
    assert report["rules"] == ["guard"]
    assert report["armed_since"] == pytest.approx(rig.wired.engine.book.armed["guard"].since)
    names = {one["name"] for one in report["checks"]}
    assert {"engine", "protection", "armed guard", "signer's permission", "kill switch", "disk", "disk space"} <= names
    assert {"journal", "key", "quorum", "head", "clock", "rule guard"} <= names
    _, text, _ = await doctor(rig, tmp_path, as_json=False)
    assert text.splitlines()[-1].startswith("ARMED since ")
    assert text.splitlines()[-1].endswith(": guard; nothing is known that would stop it")

    # A standing allowance is told, and stops nothing.
    rig.chain.approve(rig.trader.address, "WETH", rig.chain.market.pool)
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 0
    (note,) = [one for one in report["checks"] if one["level"] == "note"]
    assert note["name"] == "allowance WETH"
    assert "without limit" in note["detail"]

    # No gas, no tokens, no engine: each stops a defence and is named.
    rig.chain.set_ether(rig.trader.address, 10**12)
    await rig.mine()
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert "gas may take" in bad(report)["rule guard"]
    assert rig.wired.engine.view.low_gas != ()
    rig.chain.set_ether(rig.trader.address, 10**19)

    await rig.wired.commands.kill(True, "test")
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert {"kill switch", "protection"} <= set(bad(report))
    await rig.wired.commands.kill(False, "test")

    code, report, _ = await doctor(rig, tmp_path, "--rpc", "http://127.0.0.1:9/v2/s3cretT0kenS3cretT0ken")
    assert code == 1
    assert {"quorum", "head"} <= set(bad(report))
    assert "s3cretT0ken" not in json.dumps(report)

    await attendants.aclose("test")
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert "no heartbeat" in bad(report)["engine"]


class Refusing:
    """A node on which every simulated call fails."""

    def __init__(self, honest: Simulator) -> None:
        self._honest = honest

    async def simulate(
        self, block: BlockRef, account: str, calls: Sequence[PlannedCall], reads: Sequence[Call]
    ) -> Simulation:
        done = await self._honest.simulate(block, account, calls, reads)
        return replace(done, calls=tuple(replace(one, ok=False, error="reverted") for one in done.calls))


async def test_a_breaker_that_tripped_holds_over_a_restart_until_a_hand_goes_on(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    rig = await make_rig(clock=SystemClock())  # a heartbeat is judged by the machine's own clock
    await rig.arm()
    attendants = await _beating(rig)
    honest = rig.wired.engine.prospect._simulator
    rig.wired.engine.prospect._simulator = Refusing(honest)
    rig.chain.set_price("WETH", Decimal(2600))
    for number in range(1, REFUSALS_TO_HOLD + 1):
        assert rig.wired.engine.held is None, number
        rig.chain.rpc("evm_increaseTime", 4)
        await rig.mine()
    await rig.mine(2)
    assert rig.firings() == ()
    why = rig.wired.engine.held
    assert why is not None
    assert why.startswith(f"guard: simulation refused it {REFUSALS_TO_HOLD} blocks in a row")
    assert rig.wired.engine.view.protection == "HELD"
    assert [entry.text for entry in rig.wired.engine.view.activity if entry.text.startswith("held: ")] == [
        f"held: {why}"
    ]
    rig.chain.set_price("WETH", Decimal(3000))
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert {"circuit breaker", "protection"} <= set(bad(report))
    # A new engine on the same record is held as well.
    await rig.wired.engine.start()
    rig.wired.engine.held = None
    await rig.wired.engine.start()
    assert rig.wired.engine.held == f"since an earlier run: {why}"
    rig.wired.engine.prospect._simulator = honest
    await rig.mine()
    # Another process asks for it to go on.
    ticking = asyncio.create_task(rig.wired.engine._tick())
    code, out, err = await run_trimtab("resume", "--state", rig.wired.paths.state)
    ticking.cancel()
    assert (code, out) == (0, "")
    assert "the engine goes on: ARMED" in err
    assert rig.wired.engine.held is None
    await rig.wired.engine.start()
    assert rig.wired.engine.held is None
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.mine(4)
    assert len(rig.firings()) == 1
    await attendants.aclose("test")


# --- a record that cannot be trusted -------------------------------------------------------------------------------


async def alone(state: Path, word: str) -> tuple[int, str, str]:
    return await run_trimtab(word, "--state", state, "--config", state)


async def test_records_that_are_damaged_newer_or_someone_elses_are_named(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL_FILE
    path.write_bytes(b"not a database at all" * 500)
    path.chmod(0o600)
    code, out, _ = await alone(tmp_path, "doctor")
    assert code == 1
    assert "damaged" in out
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    assert "but not ours" in " ".join((await alone(tmp_path, "doctor"))[1].split())
    path.unlink()
    open_journal(tmp_path / "other").close()
    newer = sqlite3.connect(tmp_path / "other" / JOURNAL_FILE)
    newer.execute("PRAGMA user_version = 999")
    newer.close()
    assert "this program knows" in " ".join((await alone(tmp_path / "other", "doctor"))[1].split())


async def test_a_killed_engine_is_called_gone(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from tui.chain.clock import SystemClock\nfrom tui.headless.heartbeat import Heartbeat\n"
        "from tui.journal.store import open_journal\n"
        "state = Path(sys.argv[1])\njournal = open_journal(state)\n"
        "Heartbeat(state, SystemClock(), 'base', '0').beat()\nprint('up', flush=True)\nsys.stdin.read()\n"
    )
    state = tmp_path / "state"
    engine = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(state), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert engine.stdout is not None
    await engine.stdout.readline()
    assert f"process {engine.pid} on base" in (await alone(state, "doctor"))[1]
    engine.kill()
    await engine.wait()
    _, found, _ = await alone(state, "doctor")
    assert f"process {engine.pid} is gone without a word" in " ".join(found.split())
    assert (await alone(state, "resume"))[0] == 1
