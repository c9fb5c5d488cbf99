"""Programs that are forked from a process which has loaded what the commands load: most of what a short life costs.

Each is a process of its own with its own streams, environment and signer, and runs the program's own `main`; only its
interpreter was not started for it alone. Tests about how a program starts, or what is in its process, start a real one.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.forked import Awaited, Forked
from tests.support.program import ROOT, START

_PROGRAM = (
    "import socket, sys; from tests.support.program_nursery import serve; "
    "exec(compile(serve(socket.socket(fileno=int(sys.argv.pop(1)))), '<string>', 'exec'), {'__name__': '__main__'})"
)


class ProgramNursery:
    """Starts `trimtab` as `tests.support.program` does, and faster."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )
        theirs.close()

    async def start(self, arguments: Sequence[object], prelude: str, cwd: Path, environ: dict[str, str]) -> Awaited:
        told = {
            "code": f"{prelude}\n{START}",
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd),
            "environ": environ,
        }
        nothing = os.open(os.devnull, os.O_RDONLY)
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        socket.send_fds(self._control, [json.dumps(told).encode()], [nothing, their_out, their_err])
        for given in (nothing, their_out, their_err):
            os.close(given)
        forked = Forked(int(self._control.recv(32)), self._exit_code)
        return Awaited(forked, await _reader(out), await _reader(err))

    def _exit_code(self, pid: int) -> int:
        self._control.send(str(pid).encode())
        return int(self._control.recv(32))

    def close(self) -> None:
        self._control.close()
        self._process.wait()


async def _reader(descriptor: int) -> asyncio.StreamReader:
    """What comes out of a pipe; its end closes it."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader
