"""Pictures of every screen at every width, held against the accepted ones (`--snapshot-update` accepts new ones)."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from tests.screen.conftest import Hands
from tests.screen.sale_plans import confirming_sale, sale_plan
from tests.screen.test_dialogs import two_keys
from tests.support import views
from tests.support.fake_facade import FakeFacade
from tui.engine.facade import Preview
from tui.model.plan import Evaluation
from tui.model.rule import RuleFault
from tui.model.view import ViewState
from tui.screen.app import TrimtabApp
from tui.screen.password import PasswordInput

_PINS = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
_PINNED = next(one for one in _PINS["project"]["dependencies"] if one.startswith("textual==")).removeprefix("textual==")
pytestmark = pytest.mark.skipif(version("textual") != _PINNED, reason=f"pictures are of textual {_PINNED}")

Compare = Callable[..., bool]
KEYS = {"enter", "down", "left", "tab", "f1", "f2"}
SIZES = [(50, 24), (80, 24), (120, 40), (200, 50)]
MAIN_SIZES = [*SIZES, (110, 34)]
DIALOG_SIZES = SIZES[:3]
"""On a larger screen a dialog is no larger."""


def taken(
    hands: Hands, compare: Compare, view: ViewState, size: tuple[int, int], *keys: str, facade: FakeFacade | None = None
) -> bool:
    """Whether the screen looks as it was accepted, after these keys."""
    app: TrimtabApp = hands.app(facade or FakeFacade(view))

    async def before(pilot: Pilot[None]) -> None:
        await pilot.pause()
        await app.workers.wait_for_complete()
        for key in keys:
            if len(key) > 1 and key not in KEYS:
                typed = app.screen.focused
                assert isinstance(typed, Input | PasswordInput)
                typed.post_message(events.Paste(key))
            else:
                await pilot.press(key)
            await pilot.pause()
            await app.workers.wait_for_complete()
            await pilot.pause()

    run: Callable[[Pilot[None]], Awaitable[None]] = before
    assert inspect.iscoroutinefunction(run)
    return compare(app, terminal_size=size, run_before=run)


def previewing() -> FakeFacade:
    """A facade with something to say about the rules."""
    fault = RuleFault(
        "rules.toml",
        8,
        "target 1.10 is not above the trigger 1.15",
        "write a higher target",
        "guard",
        "target.health_factor",
    )
    done = Evaluation("guard", "p", views.BLOCK, False, "health factor is not below the trigger", views.plan(), None)
    return FakeFacade(views.watching(), preview_answer=Preview((fault,), (done,)))


@pytest.mark.parametrize("size", MAIN_SIZES, ids=str)
def test_main(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    assert taken(hands, snap_compare, views.armed(), size)


@pytest.mark.parametrize("theme", ["chart", "signal"])
def test_main_in_other_themes(hands: Hands, snap_compare: Compare, theme: str) -> None:
    hands.theme = theme
    assert taken(hands, snap_compare, views.firing(), (120, 40), "down", "down")


@pytest.mark.parametrize("key", ["2", "3", "4"])
def test_tabs(hands: Hands, snap_compare: Compare, key: str) -> None:
    assert taken(hands, snap_compare, views.firing(), (80, 24), key)


@pytest.mark.parametrize("name", ["blind", "held", "killed", "unknown"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
def test_states(hands: Hands, snap_compare: Compare, name: str, size: tuple[int, int]) -> None:
    assert taken(hands, snap_compare, getattr(views, name)(), size)


@pytest.mark.parametrize("size", DIALOG_SIZES, ids=str)
def test_outcomes(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    facade = FakeFacade(views.watching(), rows=views.outcome_rows())
    assert taken(hands, snap_compare, facade.view, size, "o", facade=facade)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_editor(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    facade = previewing()
    assert taken(hands, snap_compare, facade.view, size, "e", facade=facade)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
def test_editor_sale(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    facade = previewing()
    keys = ["e", *["tab"] * 7, "left", *["tab"] * 4]
    assert taken(hands, snap_compare, facade.view, size, *keys, facade=facade)


def test_editor_text(hands: Hands, snap_compare: Compare) -> None:
    facade = previewing()
    assert taken(hands, snap_compare, facade.view, (120, 40), "e", "f2", facade=facade)


@pytest.mark.parametrize("size", DIALOG_SIZES, ids=str)
def test_arming(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    assert taken(hands, snap_compare, views.watching(), size, "a", "guard", "enter", "secret")


@pytest.mark.parametrize("size", DIALOG_SIZES, ids=str)
def test_arming_with_two_keys(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    """Each key with what it signs, and a field of its own; one is given, the other is not yet."""
    facade = FakeFacade(views.watching(), report=two_keys())
    assert taken(hands, snap_compare, facade.view, size, "a", "guard", "enter", "secret", "enter", facade=facade)


@pytest.mark.parametrize("size", DIALOG_SIZES, ids=str)
def test_confirm(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    assert taken(hands, snap_compare, views.confirming(), size)


@pytest.mark.parametrize("size", DIALOG_SIZES, ids=str)
def test_confirm_a_sale(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    assert taken(hands, snap_compare, confirming_sale(sale_plan()), size)


@pytest.mark.parametrize("size", [(50, 24), (120, 40)], ids=str)
def test_help(hands: Hands, snap_compare: Compare, size: tuple[int, int]) -> None:
    assert taken(hands, snap_compare, views.armed(), size, "f1")


def test_leaving(hands: Hands, snap_compare: Compare) -> None:
    assert taken(hands, snap_compare, views.firing(), (80, 24), "q")
