"""Handing alerts out: a bounded queue and a task a way, so that a slow one holds up neither the engine nor the others.

A way that fails is told of once, and again when it works: through the journal and the screen, never by an alert.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from tui.model.alert import Alert
from tui.model.text import clean_text
from tui.model.view import Severity
from tui.ports.notify import NotDelivered, Way

WAITING = 100
"""Alerts that may wait for one way; of more, the oldest go first."""

NAMED = 5
"""Of alerts that were lost, so many are told by what they said."""

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
            lane.give_up()
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
        self._sending: Alert | None = None
        self._overflowed: list[Alert] = []
        self._lost: deque[Alert] = deque(maxlen=NAMED)
        self._lost_count = 0
        self._out = False

    def put(self, alert: Alert) -> None:
        if len(self._waiting) >= WAITING:
            self._overflowed.append(self._waiting.popleft())
        self._waiting.append(alert)
        self.idle.clear()
        self._work.set()

    async def run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                self._sending = self._waiting.popleft()
                await self._send(self._sending)
                self._sending = None
            self.idle.set()

    def give_up(self) -> None:
        """Name what was not delivered until the end: nobody sends it any more."""
        left = [*self._overflowed, *(() if self._sending is None else (self._sending,)), *self._waiting]
        if left:
            self._tell(Severity.WARNING, f"not sent by {self.way.name} before the end: {_named(left, len(left))}")

    async def _send(self, alert: Alert) -> None:
        if self._overflowed:
            self._lose(self._overflowed, "too many wait for it, the oldest were dropped")
            self._overflowed = []
        try:
            await self.way.deliver(alert)
        except NotDelivered as failed:
            self._lose([alert], str(failed))
        except Exception as error:  # noqa: BLE001 - a fault in a way must not silence it for good
            self._lose([alert], f"unexpected {type(error).__name__}")
        else:
            if self._out and not self._overflowed:
                self._out = False
                told = _named(self._lost, self._lost_count)
                self._tell(Severity.INFO, f"alerts get through by {self.way.name} again; lost meanwhile: {told}")
                self._lost_count = 0
                self._lost.clear()

    def _lose(self, alerts: Sequence[Alert], why: str) -> None:
        """The first loss is told at once, the others when the way works again, or at the end."""
        self._lost.extend(alerts)
        self._lost_count += len(alerts)
        if not self._out:
            self._out = True
            text = f"an alert did not get through by {self.way.name}: {clean_text(why, 300)}. It said: {alerts[0].text}"
            self._tell(Severity.WARNING, text)


def _named(alerts: Iterable[Alert], count: int) -> str:
    """How many they are, and what the newest of them said, newest first."""
    said = "; ".join(f"“{clean_text(one.text, 100)}”" for one in [*alerts][: -NAMED - 1 : -1])
    older = "; and older ones" if count > NAMED else ""
    return f"{'1 alert' if count == 1 else f'{count} alerts'}: {said}{older}"
