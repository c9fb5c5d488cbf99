"""Handing alerts out: a bounded queue and a task a way, so that a slow one holds up neither the engine nor the others.

A way that fails is told of once, and again when it works: through the journal and the screen, never by an alert.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from tui.model.alert import Alert
from tui.model.text import clean_text
from tui.model.view import Severity
from tui.ports.notify import NotDelivered, Way

WAITING = 100
"""Alerts that may wait for one way; of more, the oldest go first."""

Tell = Callable[[Severity, str], None]


class Dispatcher:
    """Sends alerts by every way, in order for each. `tell` shows and records a line."""

    def __init__(self, ways: Sequence[Way], tell: Tell) -> None:
        self._lanes = tuple(_Lane(way, tell) for way in ways)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send, in the running loop."""
        self._tasks = [asyncio.create_task(lane.run()) for lane in self._lanes]

    def put(self, alert: Alert) -> None:
        """Hand over one alert; returns at once."""
        for lane in self._lanes:
            lane.put(alert)

    async def idle(self) -> None:
        """Until nothing waits any more."""
        for lane in self._lanes:
            await lane.idle.wait()

    async def aclose(self, patience: float) -> None:
        """Send what waits, but for no more than `patience` seconds; then end."""
        try:
            async with asyncio.timeout(patience):
                await self.idle()
        except TimeoutError:
            pass
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes:
            await lane.way.aclose()


class _Lane:
    """One way with what waits for it."""

    def __init__(self, way: Way, tell: Tell) -> None:
        self.way = way
        self._tell = tell
        self._waiting: deque[Alert] = deque()
        self._work = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._overflowed = 0
        self._lost = 0
        self._out = False

    def put(self, alert: Alert) -> None:
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self._overflowed += 1
        self._waiting.append(alert)
        self.idle.clear()
        self._work.set()

    async def run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                await self._send(self._waiting.popleft())
            self.idle.set()

    async def _send(self, alert: Alert) -> None:
        if self._overflowed:
            self._lost += self._overflowed
            self._overflowed = 0
            self._fail(alert, "too many wait for it, the oldest were dropped")
        try:
            await self.way.deliver(alert)
        except NotDelivered as failed:
            self._lost += 1
            self._fail(alert, str(failed))
        except Exception as error:  # noqa: BLE001 - a fault in a way must not silence it for good
            self._lost += 1
            self._fail(alert, f"unexpected {type(error).__name__}")
        else:
            if self._out and not self._overflowed:
                self._out = False
                count = "1 was" if self._lost == 1 else f"{self._lost} were"
                self._tell(Severity.INFO, f"alerts get through by {self.way.name} again; {count} lost meanwhile")
                self._lost = 0

    def _fail(self, alert: Alert, why: str) -> None:
        if not self._out:
            self._out = True
            text = f"an alert did not get through by {self.way.name}: {clean_text(why, 300)}. It said: {alert.text}"
            self._tell(Severity.WARNING, text)
