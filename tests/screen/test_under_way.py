"""Taking back a transaction that is under way, and what a practice run shows where a password is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from tests.support import views
from tests.support.fake_facade import FakeFacade, started
from tui.screen.app import TrimtabApp


@asynccontextmanager
async def opened(
    facade: FakeFacade, *, password_hint: str = "", keep_theme: Callable[[str], None] | None = None
) -> AsyncIterator[tuple[TrimtabApp, Pilot[None]]]:
    """The app as the program starts it, at rest."""
    app = TrimtabApp(lambda: started(facade), ticking=False, password_hint=password_hint, keep_theme=keep_theme)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await app.workers.wait_for_complete()
        yield app, pilot


async def test_a_transaction_under_way_is_cancelled_after_a_question() -> None:
    facade = FakeFacade(views.firing())
    async with opened(facade) as (app, pilot):
        await pilot.press("z")
        await pilot.pause()
        assert not [command for command in facade.commands if command[0] == "cancel"]
        await pilot.press("y")
        await app.workers.wait_for_complete()
    waiting = [
        intent.id
        for firing in facade.view.firings
        for intent in firing.intents
        if intent.state in ("RESERVED", "SIGNED", "MAYBE_SENT")
    ]
    assert ("cancel", waiting[0]) in facade.commands


async def test_with_nothing_under_way_it_says_so() -> None:
    facade = FakeFacade(views.watching())
    async with opened(facade) as (app, pilot):
        await pilot.press("z")
        await pilot.pause()
        assert any("No transaction is under way" in str(note.message) for note in app._notifications)


async def test_the_practice_password_is_shown_where_it_is_asked() -> None:
    facade = FakeFacade(views.watching())
    async with opened(facade, password_hint="The practice password is reef-knot.") as (app, pilot):
        await pilot.press("a")
        await pilot.pause()
        await app.workers.wait_for_complete()
        assert "reef-knot" in app.export_screenshot()


async def test_a_chosen_theme_is_kept() -> None:
    kept: list[str] = []
    facade = FakeFacade(views.watching())
    async with opened(facade, keep_theme=kept.append) as (app, pilot):
        await pilot.press("t")
        await pilot.pause()
    assert kept == [app.theme]


async def test_what_is_typed_right_behind_a_tab_is_never_shown() -> None:
    facade = FakeFacade(views.watching())
    async with opened(facade) as (app, pilot):
        await pilot.press("a")
        await pilot.pause()
        await app.workers.wait_for_complete()
        for key in ("g", "tab", "s", "e", "c", "r", "e", "t"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        await pilot.pause()
        assert app.screen.query_one("#typed", Input).value == "g"
        assert "secret" not in app.export_screenshot()
