"""A program of the user's, started for each alert: an argument list, never a shell, the alert as JSON on stdin.

It gets a small environment without anything of ours, its own session, and little time; what it says is cut short.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from tui.model.alert import Alert
from tui.model.masking import scrub, secrets_in
from tui.model.text import clean_text
from tui.notify.as_json import alert_json
from tui.ports.notify import NotDelivered

SECONDS = 10.0
"""What a command may take in all."""
MAX_SAID = 2048
"""Bytes of its output that are looked at; the rest is read and dropped."""
_ENVIRONMENT = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "XDG_RUNTIME_DIR",
        "DBUS_SESSION_BUS_ADDRESS",
    }
)
"""What a notifier on a desktop needs. Everything else may hold a secret and stays here."""


def environment_for(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that a command gets."""
    return {name: value for name, value in environment.items() if name in _ENVIRONMENT or name.startswith("LC_")}


class CommandWay:
    """Runs `argv`. Exit code 0 means delivered."""

    def __init__(self, argv: Sequence[str], seconds: float = SECONDS) -> None:
        self._argv = tuple(argv)
        self._seconds = seconds
        self.name = f"the command {clean_text(Path(self._argv[0]).name)}"
        # Arguments may be tokens: what the program says is not repeated with them in it.
        found = {argument for argument in self._argv[1:] if len(argument) >= 6}
        found.update(secret for argument in self._argv[1:] if "://" in argument for secret in secrets_in(argument))
        self._secrets = tuple(sorted(found, key=len, reverse=True))

    async def deliver(self, alert: Alert) -> None:
        """Run it once. Raises NotDelivered."""
        output, inner = os.pipe()
        os.set_blocking(output, False)
        said = _Said(output)
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=inner,
                    stderr=inner,
                    cwd="/",
                    env=environment_for(os.environ),
                    start_new_session=True,
                )
            except OSError as error:
                raise NotDelivered(f"it cannot be started ({error.strerror})") from None
            finally:
                os.close(inner)
            said.listen()
            code = await self._run(process, alert_json(alert) + b"\n")
        finally:
            text = said.close()
        if code != 0:
            how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
            words = scrub(text.decode("utf-8", "replace"), self._secrets, 160)
            raise NotDelivered(how + (f", it says: {words}" if words != "?" else ""))

    async def _run(self, process: asyncio.subprocess.Process, body: bytes) -> int:
        try:
            async with asyncio.timeout(self._seconds):
                assert process.stdin is not None
                # A program that does not care to read is none the worse for it.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    process.stdin.write(body)
                    await process.stdin.drain()
                process.stdin.close()
                return await process.wait()
        except TimeoutError:
            raise NotDelivered(f"it took more than {self._seconds:g} s and was ended") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def aclose(self) -> None:
        """Nothing is kept between two alerts."""


class _Said:
    """The beginning of what a program says; the rest is read, so that it does not stand still, and dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._kept = bytearray()
        self._loop: asyncio.AbstractEventLoop | None = None

    def listen(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            part = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        self._kept += part[: MAX_SAID - len(self._kept)]
        if not part:
            self._deaf()

    def _deaf(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._descriptor)
            self._loop = None

    def close(self) -> bytes:
        """What was said, after a last look at what is there already."""
        if self._loop is not None:
            self._read()
            self._deaf()
        os.close(self._descriptor)
        return bytes(self._kept)
