"""What the signer process does to itself before it reads its first byte: no core, no debugger, no orphan.

Linux only where the kernel calls are (prctl); elsewhere those steps are skipped and `status` says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4


def _prctl(option: int, argument: int = 0) -> int | None:
    if not sys.platform.startswith("linux"):
        return None
    return int(ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0))


def forbid_dumps() -> None:
    """No core file of this process, and no other process of the same user may look into its memory.

    Passwords and node tokens pass through the main process too. What the kernel does not grant is left as it is: the
    key itself lives in the signer, which insists.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def harden(parent: int, *, die_with_parent: bool) -> None:
    """Close this process off. `die_with_parent` asks the kernel to kill it when the thread that started it ends.

    Raises RuntimeError where the kernel refuses what it normally grants, or when the parent is gone already.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _prctl(_PR_SET_DUMPABLE, 0) not in (0, None):
        raise RuntimeError("the kernel does not let the signer close its memory to other processes")
    if die_with_parent and _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) not in (0, None):
        raise RuntimeError("the kernel does not let the signer end with its parent")
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP, signal.SIGPIPE):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(ignored, signal.SIG_IGN)
    # The parent may have died before the kernel was asked to watch it.
    if os.getppid() != parent:
        raise RuntimeError("the parent is gone")


def measures() -> dict[str, object]:
    """How closed this process really is, as the kernel tells it."""
    return {
        "pid": os.getpid(),
        "dumpable": _prctl(_PR_GET_DUMPABLE),
        "core_limit": resource.getrlimit(resource.RLIMIT_CORE)[1],
    }
