"""A process that somebody else forked and reaps, with what `subprocess` and `asyncio` offer of one they started."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
from collections.abc import Callable


class Forked:
    """Of `subprocess.Popen` what a signer's owner uses. `exit_code` tells it of an ended process, and is asked once."""

    def __init__(self, pid: int, exit_code: Callable[[int], int]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._exit_code = exit_code
        self.descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self.descriptor], [], [], 0)[0]:
            self._ended()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self.descriptor], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("signer", timeout or 0)
            self._ended()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self.descriptor, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self) -> None:
        self.returncode = self._exit_code(self.pid)
        os.close(self.descriptor)


class Awaited:
    """The same of `asyncio.subprocess.Process`."""

    def __init__(self, forked: Forked, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._forked = forked

    @property
    def pid(self) -> int:
        return self._forked.pid

    @property
    def returncode(self) -> int | None:
        return self._forked.poll()

    def send_signal(self, number: int) -> None:
        self._forked.send_signal(number)

    def kill(self) -> None:
        self._forked.kill()

    async def wait(self) -> int:
        if (code := self._forked.poll()) is not None:
            return code
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # A descriptor has one reader in a loop: each waiter has its own.
        descriptor = os.dup(self._forked.descriptor)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._forked.wait()
