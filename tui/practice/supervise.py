"""Runs one command and ends it when the parent is gone, however it went: ``python supervise.py SCRATCH COMMAND...``.

The parent holds the write end of this process's standard input; its end of file is the parent's death.
The SCRATCH directory goes with them. Standard library only, run as a file with -S -I: it starts in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import sys

_PR_SET_PDEATHSIG = 1
_GRACE_S = 3.0


def _die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent thread ends; elsewhere the pipe alone has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _spawn(command: list[str]) -> int:
    """Start ``command`` with no standard input; fork is safe here, this process has one thread."""
    supervisor = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        _die_with_parent(supervisor)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.execvp(command[0], command)  # noqa: S606  # no shell is the point
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main(scratch: str, command: list[str]) -> int:
    """Run ``command`` until it ends (its exit code), or the parent or SIGTERM ends it; then ``scratch`` is removed."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    child = _spawn(command)
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return _exit_code(status)
        told = os.read(wake_read, 64) if wake_read in ready else b""
        if signal.SIGTERM in told or (0 in ready and not os.read(0, 4096)):
            code = _end(child)
            shutil.rmtree(scratch, ignore_errors=True)
            return code


def _end(child: int) -> int:
    os.kill(child, signal.SIGTERM)
    signal.setitimer(signal.ITIMER_REAL, _GRACE_S)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    _, status = os.waitpid(child, 0)
    return _exit_code(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
