"""What another process asks of a running engine: files in the state directory, taken away by the engine that acts."""

from __future__ import annotations

import os
import re
from pathlib import Path

RESUME_FILE = "resume"
CANCEL_PREFIX = "cancel."
CANCEL_REFUSED = "cancel-refused"
"""The kind of the journal's line that says why a transaction was not cancelled."""
WENT_ON, STAYS_HELD = "went-on", "stays-held"
"""The kinds of the journal's lines that say what came of a request to go on."""
_INTENT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}", re.ASCII)
_MOST_CANCELS = 64


class ResumeSign:
    """Requests to go on, and to cancel. Only its owner can write the state directory, so whoever puts one may."""

    def __init__(self, state_directory: Path) -> None:
        self._path = state_directory / RESUME_FILE

    def put(self) -> None:
        """Ask the running engine to go on. Raises OSError where the state directory cannot be written."""
        _touch(self._path)

    def is_there(self) -> bool:
        """Whether nobody has taken it yet."""
        return _is_there(self._path)

    def take(self) -> bool:
        """Take it away; whether there was one. One that cannot be taken away is none: it would be taken forever."""
        return _take(self._path)

    # --- cancelling ------------------------------------------------------------------------------------------------

    def put_cancel(self, intent_id: str) -> None:
        """Ask the running engine to cancel a transaction. Raises OSError where the state directory cannot be written,
        ValueError for what is no id.
        """
        if _INTENT_ID.fullmatch(intent_id) is None:
            raise ValueError("that is no id of a transaction")
        _touch(self._cancel(intent_id))

    def has_cancel(self, intent_id: str) -> bool:
        """Whether nobody has taken that request yet."""
        return _is_there(self._cancel(intent_id))

    def drop_cancel(self, intent_id: str) -> bool:
        """Take one request away; whether it was there."""
        return _take(self._cancel(intent_id))

    def take_cancels(self) -> tuple[str, ...]:
        """Take all requests away; the ids that are asked for."""
        try:
            names = sorted(
                entry.name for entry in os.scandir(self._path.parent) if entry.name.startswith(CANCEL_PREFIX)
            )
        except OSError:
            return ()
        asked = [name.removeprefix(CANCEL_PREFIX) for name in names[:_MOST_CANCELS]]
        return tuple(one for one in asked if _INTENT_ID.fullmatch(one) and self.drop_cancel(one))

    def _cancel(self, intent_id: str) -> Path:
        return self._path.with_name(f"{CANCEL_PREFIX}{intent_id}")


def _touch(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _take(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True
