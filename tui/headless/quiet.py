"""Alerts of an engine that only watches: left to the engine that holds the state directory, as long as one does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from tui.model.view import Severity, ViewState
from tui.notify.desk import AlertDesk
from tui.notify.dispatch import Tell
from tui.ports.clock import Clock

LOOK_EVERY = 5.0
"""Seconds between looks for an engine that has come or gone."""


class WatchersDesk:
    """An alert desk that falls silent while `held` says that another process tells everyone already.

    `make(silent)` makes the desk to use; a silent one has no way out of this terminal. Every change is told.
    """

    def __init__(self, make: Callable[[bool], AlertDesk], held: Callable[[], bool], clock: Clock, tell: Tell) -> None:
        self._make = make
        self._held = held
        self._clock = clock
        self._tell = tell
        self._view: ViewState | None = None
        self._leaving: list[asyncio.Task[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._silent = held()
        self._desk = make(self._silent)

    def start(self) -> None:
        """Begin, in the running loop."""
        self._desk.start()
        if self._silent:
            self._say()
        self._task = asyncio.create_task(self._look())

    def see(self, view: ViewState) -> None:
        """Take in one view."""
        self._view = view
        self._desk.see(view)

    async def aclose(self, why: str) -> None:
        """End, because of `why`."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._desk.aclose(why)

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(LOOK_EVERY)
            silent = self._held()
            if silent != self._silent:
                self._switch(silent)

    def _switch(self, silent: bool) -> None:
        before, self._silent = self._desk, silent
        self._leaving = [task for task in self._leaving if not task.done()]
        self._desk = self._make(silent)
        self._desk.start()
        if self._view is not None:
            self._desk.see(self._view)
        self._say()
        # In a task of its own: a cancellation that reached us inside of it would be taken for the desk's own.
        self._leaving.append(asyncio.create_task(before.aclose("")))

    def _say(self) -> None:
        if self._silent:
            text = "an engine holds this state directory and sends the alerts: this one only watches and stays silent"
        else:
            text = (
                "no engine holds this state directory any more: alerts are sent from here, though nothing is defended"
            )
        self._tell(Severity.WARNING, text)
