"""One engine a state directory: a lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tui.ports.journal import JournalError, JournalLocked

LOCK_FILE = "engine.lock"


class EngineLock:
    """A held lock. `release` it, or die."""

    def __init__(self, state_directory: Path) -> None:
        """Take the lock. Raises JournalLocked where another process has it, JournalError where the disk refuses."""
        path = state_directory / LOCK_FILE
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(
                f"the lock cannot be opened ({error.strerror})", str(path), "Check the directory's permissions."
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read_pid(self._descriptor)
            os.close(self._descriptor)
            holder = "another engine" if pid is None else f"the engine with process id {pid}"
            raise JournalLocked(
                f"{holder} is at work on this state directory",
                str(path),
                "Stop it, watch it read-only, or choose another --state.",
                pid,
            ) from None
        except OSError as error:
            os.close(self._descriptor)
            raise JournalError(
                f"the lock cannot be taken ({error.strerror})", str(path), "Put the state on a local disk."
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let it go. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def holder_pid(state_directory: Path) -> int | None:
    """The process that holds the lock now, None where none does or it did not say."""
    try:
        descriptor = os.open(state_directory / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def is_held(state_directory: Path) -> bool:
    """Whether any process holds the lock now, also one that did not say which it is."""
    try:
        descriptor = os.open(state_directory / LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isascii() and text.isdigit() else None
