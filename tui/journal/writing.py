"""Writing at all: everything of a transaction or nothing, on the disk when it is left."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tui.journal.faults import guard, translate
from tui.journal.reading import SqliteReader
from tui.journal.rows import Value
from tui.ports.journal import JournalConflict


def roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


class SqliteWriter(SqliteReader):
    """The journal's file with transactions. Used from the thread that opened it."""

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Everything inside, or nothing; durable when it is left."""
        with guard(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            roll_back(self._connection)
            raise self._conflict(str(error)) from error
        except sqlite3.Error as error:
            roll_back(self._connection)
            raise translate(error, self.path) from error
        except BaseException:
            roll_back(self._connection)
            raise

    def _write(self, sql: str, *arguments: Value) -> int:
        return self._connection.execute(sql, arguments).rowcount

    def _insert(self, table: str, row: dict[str, Value]) -> None:
        columns = ", ".join(row)
        self._write(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", *row.values())  # noqa: S608

    def _update(self, table: str, row_id: str, row: dict[str, Value]) -> None:
        sets = ", ".join(f"{column} = ?" for column in row)
        if self._write(f"UPDATE {table} SET {sets} WHERE id = ?", *row.values(), row_id) != 1:  # noqa: S608
            raise self._conflict(f"there is no {row_id} in {table}")

    def _conflict(self, what: str) -> JournalConflict:
        return JournalConflict(what, str(self.path), "Nothing was written; look at `trimtab journal`.")
