"""Short memories for the screen: prices, health factors and what happened, each bounded."""

from __future__ import annotations

from collections import deque

from tui.engine.losses import LIQUIDATED
from tui.model.intent import Firing
from tui.model.position import Asset, Position
from tui.model.snapshot import Snapshot
from tui.model.view import ActivityEntry, HealthHistory, PriceHistory, PricePoint
from tui.ports.journal import Decision, JournalReader

POINTS = 720
LINES = 400
FIRINGS = 20


class History:
    """What was seen lately. Only what was known is remembered; gaps stay gaps."""

    def __init__(self) -> None:
        self._prices: dict[str, tuple[Asset, deque[PricePoint]]] = {}
        self._health: dict[str, deque[tuple[int, int]]] = {}
        self._lines: deque[ActivityEntry] = deque(maxlen=LINES)
        self._number = 0

    def see(self, snapshot: Snapshot) -> None:
        """Take in one snapshot."""
        seen: set[str] = set()
        for position in snapshot.positions:
            if position.unknown is not None:
                continue
            self._see_health(position, snapshot.block.timestamp)
            for held in position.holdings:
                if held.price_usd is None or held.asset.address in seen:
                    continue
                seen.add(held.asset.address)
                _, points = self._prices.setdefault(held.asset.address, (held.asset, deque(maxlen=POINTS)))
                points.append(PricePoint(snapshot.block.timestamp, held.price_usd))

    def _see_health(self, position: Position, timestamp: int) -> None:
        if position.health_factor is not None:
            points = self._health.setdefault(position.id, deque(maxlen=POINTS))
            points.append((timestamp, position.health_factor))

    def add(self, told: Decision) -> None:
        """Add a line of activity."""
        self._number += 1
        liquidated = told.position if told.kind == LIQUIDATED else None
        self._lines.append(
            ActivityEntry(self._number, told.at, told.block, told.severity, told.text, told.firing_id, liquidated)
        )

    @property
    def activity(self) -> tuple[ActivityEntry, ...]:
        """Lines, oldest first."""
        return tuple(self._lines)

    @property
    def prices(self) -> tuple[PriceHistory, ...]:
        """Prices by asset."""
        return tuple(PriceHistory(asset, tuple(points)) for asset, points in self._prices.values())

    @property
    def health(self) -> tuple[HealthHistory, ...]:
        """Health factors by position."""
        return tuple(HealthHistory(position, tuple(points)) for position, points in self._health.items())


def shown_firings(record: JournalReader, chain_id: int) -> tuple[Firing, ...]:
    """The latest firings, newest first: so many whatever came of them, so many of which anything was signed, and every
    open one. What was dropped again and again pushes nothing out of sight that is on its way. Raises JournalError.
    """
    found = [*record.firings(limit=FIRINGS), *record.signed_firings(chain_id, limit=FIRINGS)]
    found += reversed(record.open_firings(chain_id))
    by_id = {one.id: one for one in found}
    return tuple(sorted(by_id.values(), key=lambda one: one.block_timestamp, reverse=True))
