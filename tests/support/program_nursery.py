"""The process that forks warm programs; `tests.support.warm_program` starts it and speaks with it.

It has loaded what the commands load, so that a life begins where a started one is after its imports.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import eth_account  # noqa: F401 - a second of every signer that unlocks a key

import tui.headless.cancel_command
import tui.headless.doctor_command
import tui.headless.helper_command
import tui.headless.record_commands
import tui.headless.resume_command
import tui.headless.rules_command
import tui.headless.run_command
import tui.headless.watch_commands
import tui.vault.client
from tests.support.forked import Forked
from tui.vault import encoding, keystore, service, signer_child  # noqa: F401 - loaded before, not in each child
from tui.vault.spawn import SignerProcess, _environment, start_signer


def serve(control: socket.socket) -> str:
    """Only a forked program returns from this, with the code that it is to run: its arguments, environment, directory
    and streams are set as if it had been started so.

    What is told with three descriptors starts a program and is answered with its process id; a process id is answered
    with its exit code. The nursery ends with the other side.
    """
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 18, 3)
        if not message:
            os._exit(0)
        if not descriptors:
            _, status = os.waitpid(int(message), 0)
            control.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            for standard, descriptor in enumerate(descriptors):
                os.dup2(descriptor, standard)
                os.close(descriptor)
            return _become(json.loads(message))
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(str(pid).encode())


def _become(told: dict[str, object]) -> str:
    code, arguments, environ, directory = (told[name] for name in ("code", "arguments", "environ", "cwd"))
    os.chdir(str(directory))
    os.environ.clear()
    os.environ.update(environ)  # type: ignore[arg-type]
    sys.argv[1:] = arguments  # type: ignore[assignment]
    tui.vault.client.start_signer = _fork_signer  # type: ignore[attr-defined]
    return str(code)


def _fork_signer(state_directory: Path) -> SignerProcess:
    """What `start_signer` does, by a fork of this program while it has no thread but its first."""
    if threading.active_count() > 1:
        return start_signer(state_directory)
    mine, theirs = socket.socketpair()
    program = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_signer(theirs, [str(state_directory.absolute()), str(program), "1"])
    theirs.close()
    mine.setblocking(False)
    return SignerProcess(Forked(pid, _exit_code), mine, lambda: start_signer(state_directory))  # type: ignore[arg-type]


def _exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _be_signer(channel: socket.socket, arguments: list[str], end: Callable[[int], object] = os._exit) -> None:
    """With nothing of the program's open but the pipe, and nothing of its environment."""
    descriptor = channel.fileno()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
    os.setsid()
    os.chdir("/")
    os.environ.clear()
    os.environ.update(_environment())
    end(signer_child.main([str(descriptor), *arguments]))
