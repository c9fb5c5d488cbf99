"""The app on a facade that records, with clocks that stand still until a test moves them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widget import Widget

from tests.support import views
from tests.support.fake_facade import FakeFacade, started
from tui.model.view import ViewState
from tui.screen.app import TrimtabApp
from tui.screen.lines import Line
from tui.screen.pane import LinePane


@dataclass
class Hands:
    """A clock to move and the places the app writes to."""

    config: Path
    state: Path
    unix: float = views.NOW
    steady: float = 1000.0
    theme: str = "keel"
    stopped: list[str] = field(default_factory=list)

    def app(self, facade: FakeFacade) -> TrimtabApp:
        """An app that is not started yet."""

        async def stop() -> None:
            self.stopped.append("stop")

        return TrimtabApp(
            lambda: started(facade),
            config=self.config,
            state=self.state,
            stop=stop,
            theme=self.theme,
            clock=lambda: self.unix,
            monotonic=lambda: self.steady,
            zone=UTC,
            ticking=False,
        )


@dataclass
class Bench:
    """A running app."""

    app: TrimtabApp
    pilot: Pilot[None]
    facade: FakeFacade
    hands: Hands

    async def settle(self) -> None:
        """Until nothing moves."""
        await self.pilot.pause()
        await self.app.workers.wait_for_complete()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        """Keys, then quiet."""
        await self.pilot.press(*keys)
        await self.settle()

    async def publish(self, view: ViewState) -> None:
        """A new view, drawn."""
        self.facade.publish(view)
        await self.settle()

    def text(self, selector: str = "") -> str:
        """What the panes of the top screen say."""
        panes = self.app.screen.query(LinePane) if not selector else self.app.screen.query(selector).results(LinePane)
        return "\n".join(text_of(pane.drawn) for pane in panes)

    def commands(self, name: str) -> list[tuple[object, ...]]:
        """What the engine was asked to do."""
        return [command for command in self.facade.commands if command[0] == name]

    def said(self) -> str:
        """Passing messages."""
        return "\n".join(note.message for note in self.app._notifications)

    def focused(self) -> Widget | None:
        """What has the focus."""
        return self.app.screen.focused


def text_of(lines: tuple[Line, ...] | list[Line]) -> str:
    """Lines as text."""
    return "\n".join(one.text for one in lines)


Open = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine reaches the app."""
    for name in ("NO_COLOR", "TEXTUAL_THEME", "TEXTUAL_FILTERS", "TEXTUAL_COLOR_SYSTEM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hands(tmp_path: Path) -> Hands:
    """Clocks and directories."""
    config = tmp_path / "config"
    config.mkdir()
    return Hands(config, tmp_path / "state")


@pytest.fixture
def open_app(hands: Hands, request: pytest.FixtureRequest) -> Open:
    """Opens the app on a view, at the size that the test's module names `SIZE`, or where all panes fit.

    A small screen is painted in half the time: what does not look at several panes at once asks for one.
    """
    usual: tuple[int, int] = getattr(request.module, "SIZE", (120, 40))

    @asynccontextmanager
    async def opened(
        view: ViewState, size: tuple[int, int] = usual, facade: FakeFacade | None = None
    ) -> AsyncIterator[Bench]:
        engine = facade or FakeFacade(view)
        app = hands.app(engine)
        async with app.run_test(size=size) as pilot:
            bench = Bench(app, pilot, engine, hands)
            await bench.settle()
            yield bench

    return opened
