"""The journal's file: made with its directory, looked at, and brought up to the newest version."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from tui.journal.faults import corrupt
from tui.journal.reading import check_identity
from tui.journal.schema import APPLICATION_ID, MIGRATIONS
from tui.journal.writing import roll_back
from tui.ports.journal import JournalReadOnly, JournalUnsafe


def make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise JournalReadOnly(
            f"the state directory cannot be made ({error.strerror})", str(directory), "Choose another --state."
        ) from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise JournalUnsafe("others can write to the state directory", str(directory), f"chmod 700 {directory}")


def make_file(path: Path) -> None:
    """An empty file that only its owner can read, or the one that is there, looked at."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalReadOnly(
            f"the journal cannot be opened for writing ({error.strerror})", str(path), f"chmod u+rw {path}"
        ) from error
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise JournalUnsafe("others can read the journal", str(path), f"chmod 600 {path}")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = check_identity(connection, path)
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise corrupt(str(verdict), path)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    if mode != "wal":
        raise JournalReadOnly(f"the disk allows no write-ahead log ({mode})", str(path), "Choose a local disk.")
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
