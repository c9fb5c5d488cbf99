"""What was told already: each event once, each lasting state when it begins, gets worse, and every so often.

Keeps no time of its own: every question brings the moment along, in seconds that never go back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.model.alert import Alert, AlertKind
from tui.model.view import ViewState
from tui.notify.alerts import alerts, conditions, happened

FIRST_BLOCK_LATE = 20.0
"""Seconds after which even the first block is overdue."""
_REMEMBERED = 1000


@dataclass(slots=True)
class _Told:
    at: float
    level: int
    times: int


class Tracker:
    """Turns views into alerts to send. `repeat` in seconds, 0 for never."""

    def __init__(self, on: frozenset[AlertKind], repeat: float) -> None:
        self._on = on
        self._repeat = repeat
        self._before: ViewState | None = None
        self._first: float | None = None
        self._late = False
        self._events: dict[str, None] = {}
        self._told: dict[str, _Told] = {}

    def see(self, view: ViewState, now: float) -> tuple[Alert, ...]:
        """The alerts that a new view brings."""
        if self._before is None:
            self._first = now
            self._remember(happened(view))
        found = alerts(self._before, view, late=self._late)
        self._before = view
        return tuple(alert for alert in found if self._is_news(alert, now))

    def due(self, now: float) -> tuple[Alert, ...]:
        """Lasting states to be told (again): those whose time has come, and a first block that does not come."""
        if self._before is None or self._first is None:
            return ()
        self._late = self._late or now - self._first >= FIRST_BLOCK_LATE
        found: list[Alert] = []
        for key, alert in conditions(self._before, late=self._late).items():
            told = self._told.get(key)
            if told is None:
                if self._is_news(alert, now):
                    found.append(alert)
            elif self._repeat > 0 and now - told.at >= self._repeat and alert.kind in self._on:
                self._told[key] = _Told(now, alert.level, told.times + 1)
                found.append(replace(alert, repeated=told.times))
        return tuple(found)

    def _is_news(self, alert: Alert, now: float) -> bool:
        if alert.lasts:
            return self._is_new_state(alert, now)
        if alert.key in self._events:
            return False
        self._remember({alert.key: alert})
        if alert.kind is AlertKind.ALIVE_AGAIN:
            # What begins anew after its end was told is news at once. An end of what was never told is none.
            began = alert.key.removeprefix(f"{alert.kind}/").rpartition("/")[0]
            return self._told.pop(began, None) is not None and alert.kind in self._on
        return alert.kind in self._on

    def _is_new_state(self, alert: Alert, now: float) -> bool:
        """Not where it only came back after a moment's absence, no worse than it was told: `due` tells it then."""
        if alert.kind not in self._on:
            return False
        told = self._told.get(alert.key)
        if told is not None and now - told.at < self._repeat and alert.level <= told.level:
            return False
        self._told[alert.key] = _Told(now, alert.level, 1)
        return True

    def _remember(self, events: dict[str, Alert]) -> None:
        for key in events:
            self._events[key] = None
        while len(self._events) > _REMEMBERED:
            del self._events[next(iter(self._events))]
