"""Signers that are forked from a process which has the signing library loaded: loading it is most of what a test pays.

Each is a process of its own with its own pipe, and runs the signer's own `main`; only its interpreter was not started
for it alone. Tests about that process start a real one: `pytest.mark.cold_signer`.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from tests.support.forked import Forked
from tui.vault.spawn import SignerProcess, _environment, _interpreter

ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import socket, sys; sys.path.insert(0, sys.argv[1]); from tests.support.signer_nursery import serve; "
    "serve(socket.socket(fileno=int(sys.argv[2])))"
)


class Nursery:
    """Starts signers as `tui.vault.spawn.start_signer` does, and faster."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [*_interpreter(), "-c", _PROGRAM, str(ROOT), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            env=_environment(),
            cwd="/",
        )
        theirs.close()

    def start_signer(self, state_directory: Path) -> SignerProcess:
        mine, theirs = socket.socketpair()
        socket.send_fds(self._control, [str(state_directory.absolute()).encode()], [theirs.fileno()])
        theirs.close()
        mine.setblocking(False)
        process = Forked(int(self._control.recv(32)), self.exit_code)
        return SignerProcess(process, mine, lambda: self.start_signer(state_directory))  # type: ignore[arg-type]

    def exit_code(self, pid: int) -> int:
        """Of a signer that has ended; asked for once."""
        self._control.send(str(pid).encode())
        return int(self._control.recv(32))

    def close(self) -> None:
        self._control.close()
        self._process.wait()
