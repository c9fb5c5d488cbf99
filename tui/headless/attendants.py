"""What goes along with every engine that holds a state directory, with a screen or without: alerts, the heartbeat file,
and the renewal of what the signer allows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from tui import __version__
from tui.config.options import UsageError
from tui.config.paths import Paths
from tui.config.settings import SettingsFault, load_settings
from tui.headless.heartbeat import BEAT_EVERY, FRESH_WITHIN, Heartbeat
from tui.headless.quiet import WatchersDesk
from tui.journal.lock import holder_pid, is_held
from tui.model.alert import AlertSettings
from tui.model.view import Severity, ViewState
from tui.notify.desk import AlertDesk, ways_of
from tui.ports.journal import JournalError
from tui.wiring import Wired

__all__ = ["Attendants", "alert_settings", "holder_pid"]

RENEW_BEFORE = 4 * 24 * 60 * 60
"""Seconds before its end from which on the signer's permission is renewed."""


def alert_settings(paths: Paths) -> AlertSettings:
    """The `[alerts]` of the configuration. Raises UsageError."""
    try:
        return load_settings(paths.config).alerts
    except SettingsFault as fault:
        raise UsageError(str(fault)) from fault


class Attendants:
    """Start them before the engine, close them before its journal. `ring` rings the terminal's bell, None without one.

    An engine that only watches writes no heartbeat: the file belongs to whoever holds the state directory, and so do
    programs and webhooks, of which one message is enough; what is left to a mere watcher is the bell. One that was
    started `alone` sends them as long as nobody holds the directory.
    """

    def __init__(self, wired: Wired, alerts: AlertSettings, ring: Callable[[], None] | None, *, alone: bool = False):
        self._wired = wired
        clock = wired.engine.ports.clock
        self._clock = clock
        owner = wired.journal is not None
        state = wired.paths.state

        def desk(silent: bool) -> AlertDesk:
            told = AlertSettings(alerts.bell, (), None, alerts.on, alerts.repeat) if silent else alerts
            return AlertDesk(told, ways_of(told, clock, ring), clock, self._tell)

        watches_alone = alone and not owner
        self._desk: AlertDesk | WatchersDesk = (
            WatchersDesk(desk, lambda: is_held(state), clock, self._tell) if watches_alone else desk(not owner)
        )
        self._heartbeat = Heartbeat(wired.paths.state, clock, wired.network.name, __version__) if owner else None
        self._stop: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._stop = self._wired.engine.subscribe(self._see)
        self._desk.start()
        if self._heartbeat is not None:
            self._heartbeat.beat()
            self._task = asyncio.create_task(self._beat(self._heartbeat))

    async def aclose(self, why: str) -> None:
        """End, because of `why`: the heartbeat says stopped, and alerts under way get a moment."""
        if self._stop is not None:
            self._stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._heartbeat is not None:
            self._heartbeat.beat(stopped=True, why=why)
        await self._desk.aclose(why)

    def _see(self, view: ViewState) -> None:
        if self._heartbeat is not None:
            self._heartbeat.see(view)
        self._desk.see(view)

    def beat(self) -> None:
        """Write down how things stand, at once; every few seconds it is done anyway."""
        if self._heartbeat is not None:
            self._heartbeat.beat(ticked_at=self._wired.engine.ticked_at)

    async def _beat(self, heartbeat: Heartbeat) -> None:
        failing: str | None = None
        while True:
            await self._clock.sleep(BEAT_EVERY)
            age = self._wired.engine.tick_age()
            if age is not None and age > FRESH_WITHIN and self._wired.engine.ended is None:
                continue  # what stands still must not look alive: the file grows old, and that tells
            self.beat()
            if heartbeat.fault is not None and failing is None:
                self._tell(Severity.WARNING, f"the heartbeat cannot be written: {heartbeat.fault}")
            failing = heartbeat.fault
            until = self._wired.engine.policy_until
            if until is not None and until - self._clock.now() < RENEW_BEFORE:
                # A journal that fails holds the engine and is told by it; the file must go on being written.
                with contextlib.suppress(JournalError):
                    await self._wired.commands.renew_policy()

    def _tell(self, severity: Severity, text: str) -> None:
        """Into the journal and onto the screen. Alerts are made of other things than such lines: no circle."""
        # A journal that fails holds the engine and is told by it.
        with contextlib.suppress(JournalError):
            self._wired.engine.teller.say(severity, text, kind="alert")
