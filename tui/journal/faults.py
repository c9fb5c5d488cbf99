"""What SQLite and the disk say, turned into words that tell a person what is wrong, where, and how to mend it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tui.ports.journal import (
    JournalConflict,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalReadOnly,
)

_RESTORE = (
    "Move it away with its -wal and -shm files, check the account's transactions on a block explorer, "
    "and arm again only when all of them are final"
)


@contextmanager
def guard(path: Path) -> Iterator[None]:
    """Raise a JournalError of the right kind for any error of SQLite inside."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise JournalConflict(str(error), str(path), "Nothing was written; look at `trimtab journal`.") from error
    except sqlite3.Error as error:
        raise translate(error, path) from error


def translate(error: sqlite3.Error, path: Path) -> JournalError:
    """The JournalError for an error of SQLite at `path`."""
    code = getattr(error, "sqlite_errorcode", None)
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return JournalFull("the disk is full", str(path), "Free some space and start again; nothing is signed.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_AUTH:
            return JournalReadOnly(
                f"the journal cannot be written ({error})", str(path), f"Make it yours: chmod u+rw {path}"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_FORMAT:
            return corrupt(str(error), path)
        case sqlite3.SQLITE_IOERR:
            return JournalError(f"the disk failed ({error})", str(path), "Check the disk; nothing is signed.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return JournalError(
                "another program holds the journal", str(path), "Close whatever has it open and try again."
            )
        case _:
            return JournalError(f"the journal failed ({error})", str(path), "Nothing is signed; start again.")


def corrupt(what: str, path: Path) -> JournalCorrupt:
    """A file that is damaged or none of ours."""
    return JournalCorrupt(f"the journal is damaged or is another program's file ({what})", str(path), f"{_RESTORE}.")
