"""Fault 15: the terminal hangs up. `trimtab run` goes on defending; the app disarms, records it, and is gone.

Real processes on real pseudo-terminals, each the session's own, so that closing ours is a hang-up for theirs.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import PASSWORD, RULE
from tests.support.chain import ETHER, Chain, keyed_account
from tests.support.program import command
from tui.headless.heartbeat import Beat, read_heartbeat
from tui.journal.lock import holder_pid
from tui.journal.reading import read_journal
from tui.model.intent import FiringState
from tui.ports.journal import Decision, JournalError

pytestmark = pytest.mark.node

ROOT = Path(__file__).resolve().parents[2]
WAIT = 60.0
TRADER = keyed_account(7)[0]
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\\\)|[ -/]*[0-~])")


@dataclass
class Seat:
    """A person at a terminal, with a position to defend, and the files for it."""

    chain: Chain
    folder: Path
    arguments: list[str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    descriptor: int = -1
    shown: bytearray = field(default_factory=bytearray)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """The program on a terminal of its own, which is its controlling one."""
        mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            [sys.executable, "-m", "tui", *words, *self.arguments],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=take_terminal,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
        )
        os.close(theirs)
        self.descriptor = mine
        self.processes.append(process)
        return process

    def look(self, seconds: float = 0.2) -> None:
        """Take in what was printed; waits for it, and no longer."""
        if self.descriptor < 0:
            # Nobody can be woken by a file: look again a little later.
            select.select([], [], [], seconds)
            return
        if select.select([self.descriptor], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.descriptor, 65536)
            except OSError:
                self.hang_up()

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Until something is so, while blocks are mined. Fails where it does not become so in time."""
        end = time.monotonic() + WAIT
        mined = 0.0
        while not done():
            assert time.monotonic() < end, f"{what} never came; shown: {self.text()[-3000:]}"
            if time.monotonic() - mined > 1.0:
                mined = time.monotonic()
                self.chain.mine()
            self.look()

    def text(self) -> str:
        return _ESCAPES.sub(b"", bytes(self.shown)).decode(errors="replace")

    def shows(self, words: str) -> None:
        self.until(lambda: words in self.text(), repr(words))

    def press(self, keys: str) -> None:
        """Keys, and what is shown from now on counts."""
        self.shown.clear()
        os.write(self.descriptor, keys.encode())

    def hang_up(self) -> None:
        """The terminal is gone: the kernel tells everyone who sat at it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def beat(self) -> Beat | None:
        return read_heartbeat(self.state)

    def is_armed(self) -> bool:
        beat = self.beat()
        return beat is not None and [one.rule for one in beat.armed] == ["guard"]

    def decisions(self) -> list[Decision]:
        record = read_journal(self.state)
        try:
            return list(record.decisions())
        finally:
            record.close()

    def firings(self) -> list[FiringState]:
        try:
            record = read_journal(self.state)
        except JournalError:
            return []
        try:
            return [firing.state for firing in record.firings()]
        finally:
            record.close()


@pytest.fixture
def seat(market_v32: Chain, keystore_file: Path, tmp_path: Path) -> Iterator[Seat]:
    chain = market_v32
    chain.set_ether(TRADER, 10 * ETHER)
    chain.supply(TRADER, "WETH", chain.units("WETH", 10))
    chain.borrow(TRADER, "USDC", chain.units("USDC", 18_000))
    chain.give("USDC", chain.units("USDC", 20_000), TRADER)
    network = tmp_path / "network.toml"
    network.write_text(
        f'name = "test"\nchain_id = 31337\nblock_time = 2.0\nconfirmations = 2\nrpc = ["{chain.url}"]\n'
        f'native_usd_feed = "{chain.token("WETH").feed.lower()}"\n\n[[market]]\nprotocol = "aave-v3"\nname = "core"\n'
        f'pool_addresses_provider = "{chain.market.provider.lower()}"\n'
    )
    rules = tmp_path / "rules.toml"
    rules.write_text(RULE.format(mode="auto", usdc="20000"))
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    options = ["--network", network, "--rules", rules, "--keystore", keystore_file, "--state", tmp_path / "state"]
    sat = Seat(chain, tmp_path, [str(one) for one in [*options, "--config", tmp_path / "config"]])
    yield sat
    for process in sat.processes:
        if process.poll() is None:
            process.kill()
        process.wait()
    sat.hang_up()


def test_a_run_outlives_its_terminal_and_still_defends(seat: Seat) -> None:
    run = seat.start("run", "--json", "--password-file", str(seat.folder / "password"))
    seat.chain.mine()
    seat.shows("armed: guard on")
    seat.hang_up()
    seat.chain.set_price("WETH", Decimal(2600))

    seat.until(lambda: seat.firings() == [FiringState.DONE], "the defence")
    assert run.poll() is None
    assert seat.is_armed()
    run.send_signal(signal.SIGHUP)
    seat.chain.mine()
    seen = seat.beat()
    assert seen is not None

    def another_beat() -> bool:
        now = seat.beat()
        return now is not None and now.at > seen.at

    seat.until(another_beat, "a beat after the second hang-up")
    run.send_signal(signal.SIGTERM)
    assert run.wait(timeout=WAIT) == 0
    beat = seat.beat()
    assert beat is not None
    assert beat.stopped
    assert beat.armed == ()
    assert not any("unexpected" in decision.text for decision in seat.decisions())


def test_a_run_outlives_the_reader_of_its_events(seat: Seat) -> None:
    arguments = ["run", "--json", *seat.arguments, "--password-file", str(seat.folder / "password")]
    with subprocess.Popen(command(arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        seat.processes.append(run)
        assert run.stdout is not None
        assert run.stderr is not None
        seat.chain.mine()
        while json.loads(run.stdout.readline())["event"] != "armed":
            pass
        run.stdout.close()
        seat.chain.set_price("WETH", Decimal(2600))

        seat.until(lambda: seat.firings() == [FiringState.DONE], "the defence")
        run.send_signal(signal.SIGTERM)
        said = run.stderr.read().decode()
        assert run.wait(timeout=WAIT) == 0
    assert "stdout is closed" in said
    assert "Exception" not in said


def full_pipe() -> tuple[int, int]:
    """A pipe that takes nothing more: whoever writes to it waits until somebody reads."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"\n" * 512)
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


def test_a_run_whose_output_nobody_reads_still_defends(seat: Seat) -> None:
    """Pipes for both outputs, full from the start, and nobody reads them: the oldest lines go and are counted."""
    events, tell_events = full_pipe()
    talk, tell_talk = full_pipe()
    arguments = ["run", "--json", *seat.arguments, "--password-file", str(seat.folder / "password")]
    small = "import tui.headless.outlet\ntui.headless.outlet.MOST_BYTES = 4000"
    with subprocess.Popen(command(arguments, small), cwd=ROOT, stdout=tell_events, stderr=tell_talk) as run:
        seat.processes.append(run)
        os.close(tell_events)
        os.close(tell_talk)
        seat.until(seat.is_armed, "armed")
        seat.chain.set_price("WETH", Decimal(2600))
        seat.until(lambda: seat.firings() == [FiringState.DONE], "the defence")
        beat = seat.beat()
        assert beat is not None
        assert beat.protection == "ARMED"
        # Now somebody reads: whole lines, and how many are missing, in their place.
        run.send_signal(signal.SIGTERM)
        said = read_all(events, talk)
        assert run.wait(timeout=WAIT) == 0
    heard = [json.loads(line) for line in said[0].split(b"\n") if line]
    (dropped, *_) = [one["count"] for one in heard if one["event"] == "dropped"]
    assert dropped > 0
    assert heard[-1]["event"] != "dropped"
    assert b"lines were dropped here" in said[1] or b"stopped: nothing is watched any more" in said[1]


def read_all(*descriptors: int) -> list[bytes]:
    """Everything that still comes out of pipes, read side by side."""
    said = dict.fromkeys(descriptors, b"")
    left = set(descriptors)
    while left:
        ready, _, _ = select.select(list(left), [], [], WAIT)
        assert ready, "the writers neither write nor end"
        for one in ready:
            chunk = os.read(one, 65536)
            said[one] += chunk
            if not chunk:
                left.discard(one)
                os.close(one)
    return list(said.values())


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGHUP, "the terminal hung up"), (signal.SIGTERM, "the program was told to end")]
)
def test_the_app_disarms_and_records_it(seat: Seat, number: signal.Signals, why: str) -> None:
    app = seat.start()

    def reads() -> bool:
        beat = seat.beat()
        return beat is not None and beat.block_number is not None

    seat.until(reads, "the first block")
    seat.shows("own key")
    seat.press("a")
    seat.shows("Type the rule's name")
    seat.press("guard")
    seat.shows("guard")
    seat.press("\t" + PASSWORD)  # what is typed right behind a tab lands in the next field
    seat.shows("•••")
    seat.press("\r")
    seat.until(seat.is_armed, "armed")
    if number is signal.SIGHUP:
        seat.hang_up()
    else:
        app.send_signal(number)
    seat.until(lambda: app.poll() is not None, "the end of the app")
    assert app.returncode == 128 + number
    (disarmed,) = [decision for decision in seat.decisions() if decision.kind == "disarmed"]
    assert disarmed.text == f"guard: disarmed, {why}"
    beat = seat.beat()
    assert beat is not None
    assert beat.stopped
    assert beat.why == why
    assert holder_pid(seat.state) is None
    seat.chain.set_price("WETH", Decimal(2600))
    seat.chain.mine(3)
    assert seat.firings() == []
