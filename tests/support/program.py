"""`trimtab` as a real process: its lines as they come, everything it ever printed, and its children."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = "import sys\nfrom tui.cli import main\nsys.exit(main(sys.argv[1:]))"
WAIT = 90.0
"""Seconds: a program that starts on a machine with much else to do may need many of them."""


@dataclass
class Program:
    """A running command. `said` waits for words on either output."""

    process: asyncio.subprocess.Process
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """Everything printed so far."""
        return (self.out + b"\n" + self.err).decode(errors="replace")

    async def read(self, stream: asyncio.StreamReader, into: bytearray) -> None:
        while chunk := await stream.read(65536):
            into += chunk
            self._more.set()
        self._more.set()

    async def said(self, words: str, times: int = 1) -> None:
        """Until `words` were printed so often. Fails where the program ends before."""
        try:
            async with asyncio.timeout(WAIT):
                while self.text.count(words) < times:
                    assert not all(reader.done() for reader in self._readers), f"{words!r} never came:\n{self.text}"
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"{words!r} never came:\n{self.text[-6000:]}") from None

    def anew(self) -> None:
        """Forget what was printed so far, as far as `more` goes."""
        self._more.clear()

    async def more(self) -> None:
        """Until anything more was printed."""
        await self._more.wait()

    async def ended(self) -> int:
        """The exit code, once everything was read."""
        async with asyncio.timeout(WAIT):
            await asyncio.gather(*self._readers)
            return await self.process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; the exit code."""
        self.process.send_signal(number)
        return await self.ended()

    def family(self) -> list[int]:
        """Its process id and those of its children."""
        found = [self.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.pid:
                found.append(int(stat.parent.name))
        return found


def command(arguments: Sequence[object], prelude: str = "") -> list[str]:
    """The command line; `prelude` is code that spoils the program before it starts."""
    given = [str(argument) for argument in arguments]
    if not prelude:
        return [sys.executable, "-m", "tui", *given]
    return [sys.executable, "-c", f"{prelude}\n{START}", *given]


async def _start(
    arguments: Sequence[object], prelude: str, cwd: Path, environ: dict[str, str]
) -> asyncio.subprocess.Process:
    """A program of its own interpreter. The fixture `warm_programs` puts the nursery's in place of this."""
    return await asyncio.create_subprocess_exec(
        *command(arguments, prelude),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )


@asynccontextmanager
async def trimtab(
    *arguments: object, environ: dict[str, str] | None = None, cwd: Path = ROOT, prelude: str = ""
) -> AsyncIterator[Program]:
    """Start it, and end it with the block."""
    process = await _start(arguments, prelude, cwd, {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})})
    program = Program(process)
    assert process.stdout is not None
    assert process.stderr is not None
    program._readers = [
        asyncio.create_task(program.read(process.stdout, program.out)),
        asyncio.create_task(program.read(process.stderr, program.err)),
    ]
    try:
        yield program
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.gather(*program._readers)
        await process.wait()


async def run_trimtab(*arguments: object, **options: object) -> tuple[int, str, str]:
    """One command to its end: exit code, stdout, stderr."""
    async with trimtab(*arguments, **options) as program:  # type: ignore[arg-type]
        code = await program.ended()
        return code, program.out.decode(), program.err.decode()


_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\\\)|[ -/]*[0-~])")


@dataclass
class Terminal:
    """`trimtab` on a real pseudo-terminal."""

    process: asyncio.subprocess.Process
    descriptor: int
    raw: bytearray = field(default_factory=bytearray)
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: int = 0

    def arrived(self) -> None:
        try:
            chunk = os.read(self.descriptor, 65536)
        except OSError:
            chunk = b""
        if not chunk:
            asyncio.get_running_loop().remove_reader(self.descriptor)
        self.raw += chunk
        self._more.set()

    def press(self, keys: str) -> None:
        """Bytes as a terminal sends them; what is waited for after that must come after that."""
        self._seen = len(self.raw)
        os.write(self.descriptor, keys.encode())

    @property
    def since(self) -> str:
        """What was printed since the last key, without escape codes."""
        return _ESCAPES.sub(b"", bytes(self.raw[self._seen :])).decode(errors="replace")

    async def typed(self, key: str, proof: str) -> None:
        """Press `key` until what it does is seen: the keys before it may still be on their way."""
        for _ in range(20):
            self.press(key)
            self._more.clear()
            async with asyncio.timeout(WAIT):
                await self._more.wait()
            if proof in self.since:
                return
        raise AssertionError(f"{proof!r} never came:\n{self.since[-6000:]}")

    async def shows(self, words: str) -> None:
        """Until `words` are printed."""
        try:
            async with asyncio.timeout(WAIT):
                while words not in self.since:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"{words!r} never came:\n{self.since[-6000:]}") from None

    async def writes(self, code: bytes) -> None:
        """Until an escape code was written."""
        async with asyncio.timeout(WAIT):
            while code not in self.raw:
                self._more.clear()
                await self._more.wait()

    async def ended(self) -> int:
        """The exit code."""
        async with asyncio.timeout(WAIT):
            return await self.process.wait()


@asynccontextmanager
async def terminal(
    *arguments: object, prelude: str = "", rows: int = 40, columns: int = 120
) -> AsyncIterator[Terminal]:
    """Start the app on a terminal of its own, and end it with the block."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *command(arguments, prelude),
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "truecolor"},
    )
    os.close(theirs)
    shown = Terminal(process, mine)
    loop = asyncio.get_running_loop()
    loop.add_reader(mine, shown.arrived)
    try:
        yield shown
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        loop.remove_reader(mine)
        os.close(mine)


def network_file(path: Path, urls: Sequence[str], provider: str, feed: str) -> Path:
    """A network file for its owner alone, with nodes whose URLs may hold tokens."""
    listed = ", ".join(f'"{url}"' for url in urls)
    path.write_text(
        f'name = "test"\nchain_id = 31337\nblock_time = 0.5\nconfirmations = 2\nrpc = [{listed}]\n'
        f'native_usd_feed = "{feed.lower()}"\n\n'
        f'[[market]]\nprotocol = "aave-v3"\nname = "core"\npool_addresses_provider = "{provider.lower()}"\n'
    )
    path.chmod(0o600)
    return path
