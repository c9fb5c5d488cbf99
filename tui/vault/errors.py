"""What the keystore refuses, said so that a person can mend it: what is wrong, where, and the remedy.

No message built here ever holds a key, a password or a piece of one.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class KeystoreFault(StrEnum):
    """The kind of refusal, for exit codes and for the screen."""

    UNSAFE = "unsafe"
    """The file or its place can be read or swapped by others, or its key derivation is weak."""
    MALFORMED = "malformed"
    """Not a keystore this room reads."""
    MISSING = "missing"
    """No such file, or the disk refused."""
    EXISTS = "exists"
    """A key file is there already and nobody said to replace it."""
    PASSWORD = "password"  # noqa: S105 - the name of a fault, not a secret
    """The password is wrong, empty or too short."""
    BACK_OFF = "back-off"
    """Tried again too soon after wrong passwords."""
    MISMATCH = "mismatch"
    """The key inside belongs to another address than the one the file names."""
    MEMORY = "memory"
    """The key derivation needs more memory than there is."""
    KEY = "key"
    """What was given to import is no key."""


def printable(text: object) -> str:
    """`text` on one line without control characters, escape codes or bidi marks, safe to print anywhere."""
    return "".join(ch if ch.isprintable() else "�" for ch in str(text))


class KeystoreError(Exception):
    """A keystore that is not used. `str()` reads `WHERE: WHAT. FIX`.

    Attributes: `what` is wrong, `where` (a path or a prompt), how to mend it (`fix`), and the `fault` kind.
    """

    def __init__(self, what: str, where: Path | str, fix: str, fault: KeystoreFault) -> None:
        self.what = printable(what)
        self.where = printable(where)
        self.fix = printable(fix)
        self.fault = fault
        super().__init__(f"{self.where}: {self.what}. {self.fix}")
