"""Who sends alerts: the engine that holds the state directory, and a mere watcher only while nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import views
from tests.support.clock import FakeClock
from tui.headless import attendants as room
from tui.headless.attendants import Attendants
from tui.journal.lock import EngineLock
from tui.model.alert import Alert, AlertSettings
from tui.model.view import ViewState


class Way:
    """Stands for the user's command and for the webhook."""

    name = "the command"

    def __init__(self, sent: list[str]) -> None:
        self._sent = sent

    async def deliver(self, alert: Alert) -> None:
        self._sent.append(alert.key)

    async def aclose(self) -> None:
        return


class HandClock(FakeClock):
    """A clock on which sleepers sleep until a test wakes them."""

    def __init__(self) -> None:
        super().__init__()
        self.wake = asyncio.Condition()

    async def sleep(self, seconds: float) -> None:
        async with self.wake:
            await self.wake.wait()

    async def tick(self) -> None:
        async with self.wake:
            self.wake.notify_all()


class Watcher:
    """What attendants need of an engine that only watches."""

    def __init__(self, state: Path) -> None:
        self.receive: Callable[[ViewState], None] = lambda view: None
        self.said: list[str] = []
        self.clock = HandClock()
        self.engine = SimpleNamespace(ports=SimpleNamespace(clock=self.clock), subscribe=self.subscribe, teller=self)
        self.paths = SimpleNamespace(state=state)
        self.network = SimpleNamespace(name="test")
        self.journal = None

    def subscribe(self, receive: Callable[[ViewState], None]) -> Callable[[], None]:
        self.receive = receive
        return lambda: None

    def say(self, severity: object, text: str, *, kind: str) -> None:
        self.said.append(text)

    async def says(self, words: str) -> None:
        async with asyncio.timeout(60):
            while not any(words in text for text in self.said):
                await self.clock.tick()
                await asyncio.to_thread(lambda: None)  # a turn for everyone who woke


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def ways(settings: AlertSettings, clock: object, ring: object) -> tuple[Any, ...]:
        return (Way(found),) if settings.command else ()

    monkeypatch.setattr(room, "ways_of", ways)
    return found


def troubled(name: str) -> ViewState:
    """A view with something to tell, and with nothing armed: a watcher arms nothing."""
    view = views.watching()
    rules = tuple(replace(one, armed_since=None) for one in view.rules)
    return replace(view, rules=rules, low_gas=((name, "gas money is thin"),))


SETTINGS = AlertSettings(bell=False, command=("notify",), repeat=0)


async def test_while_an_engine_holds_the_state_a_watcher_sends_nothing_and_says_so(
    tmp_path: Path, sent: list[str]
) -> None:
    lock = EngineLock(tmp_path)
    watcher = Watcher(tmp_path)
    attendants = Attendants(watcher, SETTINGS, None, alone=True)  # type: ignore[arg-type]
    attendants.start()
    await watcher.says("stays silent")
    watcher.receive(troubled("one"))
    # The engine goes; what is still wrong is told from here.
    lock.release()
    await watcher.says("alerts are sent from here")
    await attendants._desk._desk._dispatcher.idle()  # type: ignore[union-attr]
    assert "low-gas/one" in sent
    # It comes back, and the watcher is silent again.
    told = len(sent)
    watcher.said.clear()
    lock = EngineLock(tmp_path)
    await watcher.says("stays silent")
    watcher.receive(troubled("two"))
    await attendants.aclose("end")
    assert len(sent) == told
    lock.release()


async def test_where_no_engine_runs_a_watcher_tells(tmp_path: Path, sent: list[str]) -> None:
    watcher = Watcher(tmp_path)
    attendants = Attendants(watcher, SETTINGS, None, alone=True)  # type: ignore[arg-type]
    attendants.start()
    watcher.receive(troubled("one"))
    await attendants.aclose("end")
    assert "low-gas/one" in sent
    assert watcher.said == []
