"""The alert desk: sees every view of an engine, decides what is told, and sends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from tui.model.alert import AlertSettings
from tui.model.view import Severity, ViewState
from tui.notify.alerts import disarmed_alert
from tui.notify.bell import BellWay
from tui.notify.command import CommandWay
from tui.notify.dispatch import Dispatcher, Tell
from tui.notify.tracker import Tracker
from tui.ports.clock import Clock
from tui.ports.notify import Way

LOOK_EVERY = 5.0
"""Seconds between looks for states that are to be told again."""
PATIENCE = 5.0
"""Seconds that leaving waits for alerts under way."""


def ways_of(settings: AlertSettings, clock: Clock, ring: Callable[[], None] | None) -> tuple[Way, ...]:
    """The ways that settings name; the bell only where there is a terminal to `ring`."""
    ways: list[Way] = []
    if settings.bell and ring is not None:
        ways.append(BellWay(ring, clock))
    if settings.command:
        ways.append(CommandWay(settings.command))
    if settings.webhook is not None:
        from tui.notify.webhook import WebhookWay  # loads the HTTP library, which nobody needs without one

        ways.append(WebhookWay(settings.webhook, clock))
    return tuple(ways)


class AlertDesk:
    """Give `see` every view. Nothing of it blocks the caller or raises into it."""

    def __init__(self, settings: AlertSettings, ways: Sequence[Way], clock: Clock, tell: Tell) -> None:
        self._tracker = Tracker(settings.on, settings.repeat)
        self._dispatcher = Dispatcher(ways, tell)
        self._on = settings.on
        self._clock = clock
        self._tell = tell
        self._view: ViewState | None = None
        self._task: asyncio.Task[None] | None = None
        self._fault: str | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._dispatcher.start()
        self._task = asyncio.create_task(self._look())

    def see(self, view: ViewState) -> None:
        """Take in one view."""
        self._view = view
        try:
            for alert in self._tracker.see(view, self._clock.monotonic()):
                self._dispatcher.put(alert)
        except Exception as error:  # noqa: BLE001 - alerts may fail; the engine that publishes must not
            self._fault = self._fault or type(error).__name__

    async def _look(self) -> None:
        told = False
        while True:
            await self._clock.sleep(LOOK_EVERY)
            for alert in self._tracker.due(self._clock.monotonic()):
                self._dispatcher.put(alert)
            if self._fault is not None and not told:
                told = True
                self._tell(Severity.WARNING, f"alerts are out of order: unexpected {self._fault}; look at the screen")

    async def aclose(self, why: str) -> None:
        """End; what was armed until now is told as disarmed, because of `why`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._view is not None:
            for rule in self._view.rules:
                alert = disarmed_alert(self._view, rule, why)
                if rule.armed_since is not None and alert.kind in self._on:
                    self._dispatcher.put(alert)
        await self._dispatcher.aclose(PATIENCE)
