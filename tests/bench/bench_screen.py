"""What the screen costs: first paint and memory of the real command against a bare one-widget app, and repaints.

Run: python -m tests.bench.bench_screen [--no-chain]
Both programs are started in turns in a pseudo-terminal, from exec to the first bytes that paint; compare the ratios
(aims: first paint at most 2.0, memory at most 3.0), not the seconds. Memory is that of the command with its engine on a
practice chain, some blocks in, and of its signer. A repaint is processor time of the loop, so that a busy machine does
not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.support import views
from tests.support.fake_facade import FakeFacade, started
from tui.model.position import PositionKey
from tui.model.view import ViewState
from tui.screen.app import TrimtabApp

ROUNDS = 11
SIZE = (40, 120)
WATCHED = 20.0
"""Seconds of blocks before memory is read."""
_BARE = """
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static("hello")
Bare().run()
"""
_NETWORK = """
name = "bench"
chain_id = 31337
block_time = 2.0
rpc = ["http://127.0.0.1:9"]
"""


def environment(home: str) -> dict[str, str]:
    """Both programs find their modules compiled, as an installed program does, whatever this machine is set to."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    compiled = {"PYTHONPYCACHEPREFIX": f"{home}/compiled"}
    return {**kept, **compiled, "HOME": home, "TERM": "xterm-256color", "COLORTERM": "truecolor"}


class Terminal:
    """A program in a pseudo-terminal of its own."""

    def __init__(self, command: Sequence[str], home: str) -> None:
        self.begun = time.monotonic()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
            os.execve(command[0], list(command), environment(home))
        self.said = b""

    def until(self, words: bytes, within: float = 60.0) -> float:
        """Seconds from the start to the moment these words are on the screen."""
        end = time.monotonic() + within
        while words not in self.said:
            self.read(max(0.0, end - time.monotonic()))
        return time.monotonic() - self.begun

    def read(self, seconds: float) -> None:
        """What it printed; fails where it says nothing so long, or ends."""
        if not select.select([self.master], [], [], seconds)[0]:
            raise TimeoutError(f"nothing more came: {self.said[-2000:]!r}")
        try:
            self.said += os.read(self.master, 65536)
        except OSError:
            raise EOFError(f"the program ended: {self.said[-2000:]!r}") from None

    def watch(self, seconds: float) -> None:
        """Read for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                self.read(left)

    def close(self) -> None:
        """End it; its signer ends with it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


@contextmanager
def terminal(command: Sequence[str], home: str) -> Iterator[Terminal]:
    """A program that is ended whatever happens."""
    program = Terminal(command, home)
    try:
        yield program
    finally:
        program.close()


def trimtab(*arguments: str) -> list[str]:
    """The real command, as it is installed."""
    return [str(Path(sys.executable).with_name("trimtab")), *arguments]


def memory_of(pid: int) -> float:
    """Resident memory in MB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(row.split()[1]) for row in text.splitlines() if row.startswith("VmRSS")) / 1024


def children_of(pid: int) -> list[int]:
    """The processes that this one started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text(encoding="ascii").split()]


def first_paints(rounds: int, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Seconds to the first paint of the bare app and of the command, in turns, and the bare app's memory."""
    bare_file, network = folder / "bare.py", folder / "network.toml"
    bare_file.write_text(_BARE, encoding="ascii")
    network.write_text(_NETWORK, encoding="ascii")
    bare: list[float] = []
    ours: list[float] = []
    memory: list[float] = []
    for number in range(rounds + 1):
        with terminal([sys.executable, str(bare_file)], str(folder)) as program:
            spent = program.until(b"hello")
            program.watch(0.3)
            resident = memory_of(program.pid)
        with terminal(trimtab("--network", str(network), "--address", "0x" + "11" * 20), str(folder)) as program:
            own = program.until(b"STARTING")
        if number:  # the first round fills the caches
            bare.append(spent)
            ours.append(own)
            memory.append(resident)
    return bare, ours, memory


def live_memory(folder: Path) -> tuple[float, float]:
    """MB of the command watching a practice chain, and of its signer."""
    command = trimtab("practice", "--headless", "--scenario", "crash", "--seed", "3", "--state", str(folder / "chain"))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(str(folder)), text=True
    ) as chain:
        try:
            assert chain.stdout is not None
            said = json.loads(chain.stdout.readline())
            watched = [word for address in said["accounts"].values() for word in ("--address", address)]
            with terminal(trimtab("--network", said["network"], *watched), str(folder)) as program:
                program.until(b"at risk")
                program.watch(WATCHED)
                return memory_of(program.pid), sum(memory_of(child) for child in children_of(program.pid))
        finally:
            chain.terminate()


def many(count: int) -> ViewState:
    """A view of `count` positions."""
    view = views.armed()
    shown = []
    for index in range(count):
        one = view.positions[index % 3]
        key = PositionKey(one.position.key.market, f"0x{index:040x}")
        shown.append(replace(one, position=replace(one.position, key=key)))
    return replace(view, positions=tuple(shown))


async def repaints(count: int, rounds: int = 30) -> tuple[list[float], list[float]]:
    """Seconds of the loop's own time for a view in which every number has changed: drawn, and drawn and painted."""
    base = many(count)
    facade = FakeFacade(base)
    app = TrimtabApp(lambda: started(facade), clock=lambda: views.NOW, ticking=False)
    drawn: list[float] = []
    painted: list[float] = []
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await app.workers.wait_for_complete()
        await pilot.pause()
        for index in range(rounds):
            shown = tuple(
                replace(
                    one,
                    position=replace(one.position, health_factor=(one.position.health_factor or 0) + index * 10**15),
                )
                for one in base.positions
            )
            view = replace(base, sequence=index + 100, positions=shown)
            before = time.thread_time()
            app.show_view(view)
            drawn.append(time.thread_time() - before)
            await pilot.pause()
            painted.append(time.thread_time() - before)
    return drawn, painted


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bare, ours, memory = first_paints(ROUNDS, folder)
        small, own = statistics.median(bare), statistics.median(ours)
        say(f"first paint: bare {small:.3f} s, trimtab {own:.3f} s, ratio {own / small:.2f} (aim 2.0)")
        least, lowest = min(bare), min(ours)
        say(f"  at best: bare {least:.3f} s, trimtab {lowest:.3f} s, ratio {lowest / least:.2f}")
        if "--no-chain" not in sys.argv:
            resident = statistics.median(memory)
            app, signer = live_memory(folder)
            say(
                f"memory: bare {resident:.0f} MB, trimtab {app:.0f} MB, ratio {app / resident:.2f} (aim 3.0); "
                f"signer {signer:.0f} MB, together {(app + signer) / resident:.2f}"
            )
    for count in (3, 50):
        drawn, painted = asyncio.run(repaints(count))
        for what, spent in (("drawn", drawn), ("drawn and painted", painted)):
            ordered = sorted(1000 * one for one in spent)
            middle, late = statistics.median(ordered), ordered[int(0.95 * len(ordered))]
            say(f"{count} positions {what}: median {middle:.1f} ms, p95 {late:.1f} ms (aim 20)")


if __name__ == "__main__":
    main()
