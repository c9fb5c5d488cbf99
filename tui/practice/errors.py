"""The one exception the practice chain shows to people: what went wrong, and how to mend it."""

from __future__ import annotations


class PracticeError(Exception):
    """Raised when the practice chain cannot be prepared or has stopped.

    ``what`` names the fault and where it is, ``mend`` says what the user can do about it.
    """

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}\n{mend}")
        self.what = what
        self.mend = mend
