"""Questions to the journal. Works beside a running engine, and for the engine itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from tui.journal.faults import corrupt, guard
from tui.journal.rows import Value, attempt_of, decision_of, firing_of, int_of, intent_of, outcome_of, sold_of
from tui.journal.schema import APPLICATION_ID, MIGRATIONS, OPEN_FIRING, UNSETTLED
from tui.model.intent import Firing, Intent
from tui.model.outcome import Outcome
from tui.ports.journal import Decision, JournalMissing, JournalNewer, SpendEntry, SpendKind

JOURNAL_FILE = "journal.sqlite3"
_BUSY_SECONDS = 2.0


def read_journal(state_directory: Path) -> SqliteReader:
    """Open the journal for reading only, whether or not an engine runs. Raises JournalError."""
    path = state_directory / JOURNAL_FILE
    if not path.exists():
        raise JournalMissing("there is no journal yet", str(path), "It is made when an engine first runs.")
    with guard(path):
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, isolation_level=None, timeout=_BUSY_SECONDS
        )
    try:
        with guard(path):
            check_identity(connection, path)
            if connection.execute("PRAGMA user_version").fetchone()[0] < len(MIGRATIONS):
                raise JournalMissing(
                    "the journal is of an older version", str(path), "Start the engine once: it brings it up to date."
                )
    except BaseException:
        connection.close()
        raise
    return SqliteReader(connection, path)


def check_identity(connection: sqlite3.Connection, path: Path) -> int:
    """The file's version. Raises JournalCorrupt for a foreign file, JournalNewer for one of a later version."""
    connection.row_factory = sqlite3.Row
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    identity = connection.execute("PRAGMA application_id").fetchone()[0]
    if identity != APPLICATION_ID and (
        version or connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    ):
        raise corrupt("it is a database, but not ours", path)
    if version > len(MIGRATIONS):
        raise JournalNewer(
            f"the journal has version {version}, this program knows {len(MIGRATIONS)}",
            str(path),
            "Use the newer program that wrote it.",
        )
    return version


class SqliteReader:
    """The `JournalReader` port on a SQLite file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def _rows(self, sql: str, *arguments: Value) -> list[sqlite3.Row]:
        with guard(self.path):
            return self._connection.execute(sql, arguments).fetchall()

    def _row(self, sql: str, *arguments: Value) -> sqlite3.Row | None:
        rows = self._rows(sql, *arguments)
        return rows[0] if rows else None

    def _intents(self, rows: Sequence[sqlite3.Row]) -> list[Intent]:
        return [
            intent_of(
                row,
                map(attempt_of, self._rows("SELECT * FROM attempts WHERE intent_id = ? ORDER BY number", row["id"])),
            )
            for row in rows
        ]

    def _firings(self, rows: Sequence[sqlite3.Row]) -> tuple[Firing, ...]:
        return tuple(
            firing_of(
                row, self._intents(self._rows("SELECT * FROM intents WHERE firing_id = ? ORDER BY sequence", row["id"]))
            )
            for row in rows
        )

    def firing(self, firing_id: str) -> Firing | None:
        """One firing with its intents and their attempts."""
        return next(iter(self._firings(self._rows("SELECT * FROM firings WHERE id = ?", firing_id))), None)

    def firing_of(self, rule: str, episode: str) -> Firing | None:
        """The firing of a rule in an episode."""
        rows = self._rows("SELECT * FROM firings WHERE rule = ? AND episode = ?", rule, episode)
        return next(iter(self._firings(rows)), None)

    def firings(self, limit: int = 50, since: float = 0.0) -> tuple[Firing, ...]:
        """The latest firings whose block is not older than `since` (unix seconds), newest first."""
        return self._firings(
            self._rows(
                "SELECT * FROM firings WHERE block_timestamp >= ? ORDER BY number DESC LIMIT ?", since, max(0, limit)
            )
        )

    def signed_firings(self, chain_id: int, since: float = 0.0, limit: int | None = None) -> tuple[Firing, ...]:
        """The latest firings whose block is not older than `since` and that have signed bytes, newest first."""
        return self._firings(
            self._rows(
                "SELECT * FROM firings WHERE chain_id = ? AND block_timestamp >= ? AND EXISTS ("
                " SELECT 1 FROM intents JOIN attempts ON attempts.intent_id = intents.id"
                " WHERE intents.firing_id = firings.id) ORDER BY number DESC LIMIT ?",
                chain_id,
                since,
                -1 if limit is None else max(0, limit),
            )
        )

    def open_firings(self, chain_id: int) -> tuple[Firing, ...]:
        """Firings of which something may still come, oldest first."""
        return self._firings(
            self._rows(f"SELECT * FROM firings WHERE chain_id = ? AND {OPEN_FIRING} ORDER BY number", chain_id)  # noqa: S608
        )

    def intent(self, intent_id: str) -> Intent | None:
        """One intent with its attempts."""
        return next(iter(self._intents(self._rows("SELECT * FROM intents WHERE id = ?", intent_id))), None)

    def unsettled(self, chain_id: int) -> tuple[Intent, ...]:
        """Intents that own a nonce and are not final, by account and nonce."""
        return tuple(
            self._intents(
                self._rows(
                    f"SELECT * FROM intents WHERE chain_id = ? AND {UNSETTLED} ORDER BY account, nonce",  # noqa: S608
                    chain_id,
                )
            )
        )

    def all_unsettled(self) -> tuple[Intent, ...]:
        """The same of all chains."""
        return tuple(
            self._intents(self._rows(f"SELECT * FROM intents WHERE {UNSETTLED} ORDER BY chain_id, account, nonce"))  # noqa: S608
        )

    def next_nonce(self, chain_id: int, account: str) -> int | None:
        """The first nonce that this record does not explain; None where it knows of none. A transaction that set the
        account's code used two: its own, and that of its authorization, also where its call failed.
        """
        row = self._row(
            "SELECT max(first) AS first FROM ("
            " SELECT max(nonce + 1 + (delegate IS NOT NULL AND state IN ('FINAL_OK','FINAL_REVERTED'))) AS first"
            " FROM intents WHERE chain_id = ?1 AND account = ?2"
            " UNION ALL SELECT known_nonce FROM accounts WHERE chain_id = ?1 AND account = ?2)",
            chain_id,
            account,
        )
        return None if row is None else row["first"]

    def halted(self, chain_id: int, account: str) -> str | None:
        """Why an account is halted, or None."""
        row = self._row("SELECT halted FROM accounts WHERE chain_id = ? AND account = ?", chain_id, account)
        return None if row is None else row["halted"]

    def halted_accounts(self, chain_id: int) -> tuple[tuple[str, str], ...]:
        """(account, why) of all halted ones."""
        rows = self._rows(
            "SELECT account, halted FROM accounts WHERE chain_id = ? AND halted IS NOT NULL ORDER BY account", chain_id
        )
        return tuple((row["account"], row["halted"]) for row in rows)

    def all_halted(self) -> tuple[tuple[int, str, str], ...]:
        """(chain id, account, why) of all halted accounts of all chains."""
        rows = self._rows("SELECT chain_id, account, halted FROM accounts WHERE halted IS NOT NULL ORDER BY account")
        return tuple((row["chain_id"], row["account"], row["halted"]) for row in rows)

    def verify(self) -> None:
        """Read the whole file. Raises JournalCorrupt where any of it is damaged."""
        verdict = self._rows("PRAGMA quick_check(1)")[0][0]
        if verdict != "ok":
            raise corrupt(str(verdict), self.path)

    def spent(self, kind: SpendKind, day: str, rule: str | None = None) -> int:
        """The sum of a day's budget entries, of one rule or of all."""
        rows = self._rows("SELECT rule, amount FROM budget WHERE kind = ? AND day = ?", kind.value, day)
        return sum(int(row["amount"]) for row in rows if rule is None or row["rule"] == rule)

    def gas_debit(self, intent_id: str) -> tuple[str, int] | None:
        """(day, dollars with 8 decimals) that the budget holds for an intent's gas now, None where it holds nothing."""
        rows = self._rows("SELECT day, amount FROM budget WHERE intent_id = ? AND kind = 'gas-usd'", intent_id)
        return None if not rows else (rows[0]["day"], sum(int(row["amount"]) for row in rows))

    def budget_of(self, firing_id: str) -> tuple[SpendEntry, ...]:
        """Every entry of a firing, oldest first."""
        return tuple(
            SpendEntry(
                SpendKind(row["kind"]), row["rule"], row["day"], int(row["amount"]), row["firing_id"], row["intent_id"]
            )
            for row in self._rows("SELECT * FROM budget WHERE firing_id = ? ORDER BY number", firing_id)
        )

    def decisions(self, since: float = 0.0, limit: int = 500) -> tuple[Decision, ...]:
        """The latest decisions at or after `since` (unix seconds), oldest first."""
        rows = self._rows("SELECT * FROM decisions WHERE at >= ? ORDER BY number DESC LIMIT ?", since, max(0, limit))
        return tuple(map(decision_of, reversed(rows)))

    def outcomes(self, limit: int = 50, since: float = 0.0) -> tuple[tuple[Firing, Outcome], ...]:
        """The latest firings opened at or after `since` (unix seconds) and not dropped, with what was expected of them,
        oldest first.
        """
        rows = self._rows(
            "SELECT outcomes.* FROM outcomes JOIN firings ON firings.id = outcomes.firing_id"
            " WHERE block_timestamp >= ? AND firings.state <> 'DROPPED' ORDER BY firings.number DESC LIMIT ?",
            since,
            max(0, limit),
        )
        found = ((self.firing(row["firing_id"]), self._outcome_of(row)) for row in reversed(rows))
        return tuple((firing, outcome) for firing, outcome in found if firing is not None)

    def outcome(self, firing_id: str) -> Outcome | None:
        """What was expected of one firing and what came of it; None where nothing was."""
        row = self._row("SELECT * FROM outcomes WHERE firing_id = ?", firing_id)
        return None if row is None else self._outcome_of(row)

    def _outcome_of(self, row: sqlite3.Row) -> Outcome:
        sales = self._rows("SELECT * FROM sold WHERE firing_id = ? ORDER BY place", row["firing_id"])
        buys = self._rows("SELECT * FROM bought WHERE firing_id = ? ORDER BY place", row["firing_id"])
        return outcome_of(row, map(sold_of, sales), map(sold_of, buys))

    def rule_state(self, rule_digest: str, position: str) -> str | None:
        """A rule's latch and counters for a position, as the JSON text that was kept."""
        row = self._row("SELECT state FROM rule_states WHERE rule_digest = ? AND position = ?", rule_digest, position)
        return None if row is None else row["state"]

    def health_history(self, position: str, since: int = 0) -> tuple[tuple[int, int | None], ...]:
        """(block timestamp, health factor) of a position, oldest first."""
        rows = self._rows(
            "SELECT timestamp, health_factor FROM health WHERE position = ? AND timestamp >= ? ORDER BY minute",
            position,
            since,
        )
        return tuple((row["timestamp"], int_of(row["health_factor"])) for row in rows)

    def meta(self, key: str) -> str | None:
        """A named text."""
        row = self._row("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else row["value"]

    def close(self) -> None:
        """Let the file go. May be called again."""
        self._connection.close()
