"""A hand to go on from another process: a file in the state directory, taken away by the engine that acts on it."""

from __future__ import annotations

import os
from pathlib import Path

RESUME_FILE = "resume"


class ResumeSign:
    """A request to go on. Only its owner can write the state directory, so whoever can put it there may."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / RESUME_FILE

    def put(self) -> None:
        """Ask the running engine to go on. Raises OSError where the state directory cannot be written."""
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))

    def is_there(self) -> bool:
        """Whether nobody has taken it yet."""
        return self._path.is_symlink() or self._path.exists()

    def take(self) -> bool:
        """Take it away; whether there was one. One that cannot be taken away is none: it would be taken forever."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
