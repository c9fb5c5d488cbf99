"""What the journal keeps for people and figures: lines, outcomes, latches of rules, health over time, named texts.

No money moves by it. Every method returns when its transaction is on the disk, or raises and wrote nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tui.journal.rows import outcome_row, sold_row
from tui.journal.writing import SqliteWriter
from tui.model.outcome import Outcome
from tui.model.view import Severity
from tui.ports.journal import Decision, HealthPoint

KEEP_HEALTH_SECONDS = 30 * 24 * 60 * 60


class SqliteNotes(SqliteWriter):
    """Keeps notes beside the record of firings."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, path)
        self._minutes: dict[str, int] = {}

    def record_decision(
        self,
        *,
        at: float,
        kind: str,
        severity: Severity,
        text: str,
        block: int | None = None,
        rule: str | None = None,
        position: str | None = None,
        firing_id: str | None = None,
        detail: str = "",
    ) -> Decision:
        """Keep a line."""
        decision = Decision(0, at, block, kind, severity, text, rule, position, firing_id, detail)
        with self._transaction():
            cursor = self._connection.execute(
                "INSERT INTO decisions (at, block, kind, severity, text, rule, position, firing_id, detail)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (at, block, kind, severity.value, text, rule, position, firing_id, detail),
            )
        assert cursor.lastrowid is not None
        return replace(decision, number=cursor.lastrowid)

    def save_outcome(self, outcome: Outcome) -> None:
        """What is expected of a firing, in place of what was expected before: what came of it is known later."""
        with self._transaction():
            self._write("DELETE FROM sold WHERE firing_id = ?", outcome.firing_id)
            self._write("DELETE FROM bought WHERE firing_id = ?", outcome.firing_id)
            self._write("DELETE FROM outcomes WHERE firing_id = ?", outcome.firing_id)
            self._insert("outcomes", outcome_row(outcome))
            for place, sold in enumerate(outcome.sales):
                self._insert("sold", sold_row(outcome.firing_id, place, sold))
            for place, bought in enumerate(outcome.buys):
                self._insert("bought", sold_row(outcome.firing_id, place, bought))

    def book_outcome(self, firing_id: str, health_actual: int | None, gas_actual_usd: int | None) -> None:
        """What came of a firing that something was expected of."""
        with self._transaction():
            self._write(
                "UPDATE outcomes SET health_actual = ?, gas_actual_usd = ? WHERE firing_id = ?",
                None if health_actual is None else str(health_actual),
                gas_actual_usd,
                firing_id,
            )

    def book_health(self, firing_id: str, health_actual: int | None) -> None:
        """The health that a firing left (wad; None: no debt), where it is known later than the rest."""
        with self._transaction():
            self._write(
                "UPDATE outcomes SET health_actual = ? WHERE firing_id = ?",
                None if health_actual is None else str(health_actual),
                firing_id,
            )

    def book_sold(self, firing_id: str, token: str, sold_actual: int) -> None:
        """What the sales of a firing really sold of one token that was expected to be sold, in base units."""
        with self._transaction():
            self._write(
                "UPDATE sold SET actual = ? WHERE firing_id = ? AND token = ?", str(sold_actual), firing_id, token
            )

    def book_bought(self, firing_id: str, token: str, bought_actual: int) -> None:
        """What own swaps of a firing really brought in of one token that was expected to come in, in base units."""
        with self._transaction():
            self._write(
                "UPDATE bought SET actual = ? WHERE firing_id = ? AND token = ?", str(bought_actual), firing_id, token
            )

    def save_rule_state(self, rule_digest: str, position: str, state: str, at: float) -> None:
        """Keep a rule's latch and counters for a position, as opaque JSON text."""
        with self._transaction():
            self._write(
                "INSERT INTO rule_states (rule_digest, position, state, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (rule_digest, position) DO UPDATE SET state = excluded.state, at = excluded.at",
                rule_digest,
                position,
                state,
                at,
            )

    def record_health(self, points: Sequence[HealthPoint]) -> None:
        """Keep health factors, thinned to one a position and minute; commits only where something is kept."""
        fresh = [point for point in points if self._minutes.get(point.position) != point.timestamp // 60]
        if not fresh:
            return
        with self._transaction():
            for point in fresh:
                self._write(
                    "INSERT OR IGNORE INTO health (position, minute, timestamp, health_factor) VALUES (?, ?, ?, ?)",
                    point.position,
                    point.timestamp // 60,
                    point.timestamp,
                    None if point.health_factor is None else str(point.health_factor),
                )
                self._write(
                    "DELETE FROM health WHERE position = ? AND minute < ?",
                    point.position,
                    (point.timestamp - KEEP_HEALTH_SECONDS) // 60,
                )
        self._minutes.update({point.position: point.timestamp // 60 for point in fresh})

    def set_meta(self, key: str, value: str) -> None:
        """Keep a named text."""
        with self._transaction():
            self._put_meta(key, value)

    def _put_meta(self, key: str, value: str) -> None:
        self._write(
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            key,
            value,
        )
