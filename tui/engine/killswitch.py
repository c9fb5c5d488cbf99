"""The kill switch: a file in the state directory, so that any process on this machine can pull it, and the signer
looks for itself.
"""

from __future__ import annotations

import os
from pathlib import Path

KILL_FILE = "kill"


class KillSwitch:
    """Presence of the file is what counts; its text only says why."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / KILL_FILE

    def is_on(self) -> bool:
        """Whether nothing may be signed. What cannot be looked at counts as on."""
        try:
            self._path.lstat()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def pull(self, why: str) -> None:
        """Switch on, durably. Raises OSError where the state directory cannot be written."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, why.encode("utf-8", "replace")[:1000])
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def release(self) -> None:
        """Switch off. Raises OSError where the file cannot be removed."""
        self._path.unlink(missing_ok=True)
