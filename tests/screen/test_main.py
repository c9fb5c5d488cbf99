"""The main screen through its keys: choosing, panes, themes, kill switch, resuming, leaving."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace

import pytest
from textual.pilot import Pilot
from textual.worker import WorkerFailed

from tests.screen.conftest import Bench, Hands, Open
from tests.support import views
from tests.support.fake_facade import FakeFacade
from tui.engine.facade import CommandRefused
from tui.model.position import PositionKey
from tui.model.view import ViewState
from tui.screen.actions import ACTIONS, BY_ID, Where, keys_of
from tui.screen.app import TrimtabApp, is_urgent
from tui.screen.commands import HANDLERS
from tui.screen.lines import Lazy
from tui.screen.main import MainScreen
from tui.screen.panes import Positions

SIZE = (80, 24)


def main(bench: Bench) -> MainScreen:
    """The main screen."""
    screen = bench.app.screen_stack[0]
    assert isinstance(screen, MainScreen)
    return screen


async def test_before_the_engine_is_there_everything_says_so(hands: Hands) -> None:
    import asyncio

    gate = asyncio.Event()
    facade = FakeFacade(views.armed())

    async def start() -> FakeFacade:
        await gate.wait()
        return facade

    app = TrimtabApp(start, clock=lambda: views.NOW, monotonic=lambda: 0.0, ticking=False)
    async with app.run_test(size=(100, 30)) as pilot:
        bench = Bench(app, pilot, facade, hands)
        await pilot.pause()
        assert "STARTING" in bench.text("#status")
        assert "nothing has been read yet" in bench.text("#positions")
        await pilot.press("a", "e", "u", "r")
        await pilot.pause()
        assert "The engine is not running yet." in bench.said()
        await pilot.press("ctrl+k")
        await pilot.pause()
        assert "KILL SWITCH" in bench.text("#status")
        assert bench.commands("kill") == []
        gate.set()
        await bench.settle()
        assert [command[1] for command in bench.commands("kill")] == [True]
        assert "KILL SWITCH" in bench.text("#status")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CommandRefused("no node at http://[red]127.0.0.1\x1b[31m"), "no node at http://[red]127.0.0.1"),
        (OSError("https://node.example/secret-token"), "unexpected OSError"),
    ],
)
async def test_a_start_that_fails_is_said_and_the_app_lives(hands: Hands, error: Exception, said: str) -> None:
    async def start() -> FakeFacade:
        raise error

    app = TrimtabApp(start, clock=lambda: views.NOW, monotonic=lambda: 0.0, ticking=False)
    async with app.run_test(size=(120, 30)) as pilot:
        bench = Bench(app, pilot, FakeFacade(views.armed()), hands)
        with contextlib.suppress(WorkerFailed):
            await bench.settle()
        await pilot.pause()
        shown = bench.text("#status").replace("\n", " ")
        assert "NOT STARTED" in shown
        assert said in shown
        assert "\x1b" not in shown
        assert "secret-token" not in shown


async def test_choosing_a_position_changes_detail_chart_and_rule(open_app: Open) -> None:
    async with open_app(views.armed(), (120, 40)) as bench:
        assert "main" in bench.text("#detail")
        await bench.press("down")
        assert "staked loop" in bench.text("#detail")
        assert "wstETH $3,544.12" in bench.text("#title-chart")
        await bench.press("j")
        assert "WETH, wstETH moving together" in bench.text("#detail").replace("\n ", "")
        assert main(bench).chosen_rule == "calm"
        await bench.press("k", "up")
        assert "main" in bench.text("#detail")
        await bench.press("up")
        assert main(bench).position() == views.armed().positions[2]


async def test_of_a_long_list_only_what_is_seen_is_drawn(open_app: Open) -> None:
    view = views.armed()
    shown = tuple(
        replace(
            view.positions[0],
            label=f"label {number}",
            position=replace(
                view.positions[0].position,
                key=PositionKey(view.positions[0].position.key.market, f"0x{number:040x}"),
            ),
        )
        for number in range(50)
    )
    async with open_app(replace(view, positions=shown), (120, 40)) as bench:
        pane = main(bench).query_one(Positions)
        rows = pane._drawn
        assert isinstance(rows, Lazy)
        assert len(rows) == 101
        assert len(rows._made) <= pane.size.height // 2 + 1
        seen = "\n".join(pane.render_line(y).text for y in range(pane.size.height))
        assert "label 0 " in seen
        assert "label 49" not in seen
        await bench.press("up")
        assert main(bench).position() == shown[49]
        seen = "\n".join(pane.render_line(y).text for y in range(pane.size.height))
        assert "label 49" in seen
        assert "label 0 " not in seen
        changed = replace(shown[49], label="changed")
        bench.hands.steady += 1
        await bench.publish(replace(view, positions=(*shown[:49], changed)))
        assert "changed" in "\n".join(pane.render_line(y).text for y in range(pane.size.height))


async def test_a_click_chooses_too(open_app: Open) -> None:
    async with open_app(views.armed(), (120, 40)) as bench:
        await bench.pilot.click("#positions", offset=(10, 4))
        await bench.settle()
        assert "staked loop" in bench.text("#detail")
        await bench.pilot.click("#rules", offset=(4, 8))
        await bench.settle()
        assert main(bench).chosen_rule == "calm"
        await bench.pilot.click("#footer", offset=(2, 0))
        await bench.settle()
        assert bench.commands("kill")


async def test_the_chart_shows_the_next_asset(open_app: Open) -> None:
    async with open_app(views.armed(), (120, 40)) as bench:
        assert "WETH $3,012.44" in bench.text("#title-chart")
        assert "liquidation" in bench.text("#chart")
        assert "trigger" in bench.text("#chart")
        await bench.press("p")
        assert "USDC $0.9999" in bench.text("#title-chart")
        await bench.press("p")
        assert "WETH $3,012.44" in bench.text("#title-chart")


@pytest.mark.parametrize("size", [(50, 24), (80, 24), (120, 40), (200, 50)])
async def test_every_pane_is_reached_by_its_key(open_app: Open, size: tuple[int, int]) -> None:
    async with open_app(views.armed(), size) as bench:
        for key, pane in (("1", "detail"), ("2", "chart"), ("3", "rules"), ("4", "activity"), ("0", "positions")):
            await bench.press(key)
            focused = bench.focused()
            assert focused is not None
            assert focused.id == pane
            assert focused.region.height > 2
            assert focused.region.width > 20
            assert focused.region.bottom <= size[1] - 1
        await bench.press("1", "escape")
        now = bench.focused()
        assert now is not None
        assert now.id == "positions"


async def test_in_the_rules_pane_keys_choose_rules(open_app: Open) -> None:
    async with open_app(views.armed(), (120, 40)) as bench:
        await bench.press("3", "down")
        assert main(bench).chosen_rule == "calm"
        await bench.press("down")
        assert main(bench).chosen_rule == "guard"


async def test_activity_scrolls(open_app: Open) -> None:
    async with open_app(views.firing(), (50, 24)) as bench:
        await bench.press("4", "down", "down")
        assert bench.app.screen.query_one("#activity").scroll_offset.y == 2
        await bench.press("home")
        assert bench.app.screen.query_one("#activity").scroll_offset.y == 0


async def test_the_kill_switch_is_one_key_and_immediate(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        for count, key in enumerate(("ctrl+k", "f12"), 1):
            await bench.press(key)
            assert [command[1] for command in bench.commands("kill")] == [True] * count
            assert "KILL SWITCH" in bench.text("#status")
            bench.hands.steady += 10
            await bench.publish(replace(views.armed(), sequence=90 + count))
            assert "KILL SWITCH" not in bench.text("#status")


async def test_a_refused_kill_is_loud(open_app: Open) -> None:
    facade = FakeFacade(views.armed(), refuse={"kill": "the state directory cannot be written"})
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("ctrl+k")
        assert "THE KILL SWITCH COULD NOT BE PULLED: the state directory cannot be written" in bench.said()
        assert "ARMED" in bench.text("#status")


async def test_releasing_the_kill_switch_asks(open_app: Open) -> None:
    async with open_app(views.killed()) as bench:
        await bench.press("u", "n")
        assert bench.commands("kill") == []
        await bench.press("u", "escape")
        assert bench.commands("kill") == []
        await bench.press("u", "y")
        assert [command[1] for command in bench.commands("kill")] == [False]
        assert "WATCHING" in bench.text("#status")


async def test_resuming_after_a_hold_asks_and_says_why_it_was_held(open_app: Open) -> None:
    async with open_app(views.held()) as bench:
        await bench.press("r")
        assert "disagree" in bench.text("#facts")
        await bench.press("y")
        assert bench.commands("resume") == [("resume",)]


async def test_disarming_needs_no_question(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        await bench.press("d")
        assert bench.commands("disarm") == [("disarm", "guard", "disarmed by hand")]


async def test_a_refused_command_is_said(open_app: Open) -> None:
    facade = FakeFacade(views.armed(), refuse={"disarm": "not now [b]ever"})
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("d")
        assert "Could not disarm guard: not now [b]ever" in bench.said()


async def test_disabled_actions_say_why(open_app: Open) -> None:
    cases: list[tuple[ViewState, str, str]] = [
        (views.armed(), "a", "Rule guard is armed already."),
        (views.armed(), "u", "The kill switch is not pulled."),
        (views.armed(), "r", "The engine is not held; there is nothing to resume."),
        (views.armed(), "c", "No plan waits for an answer."),
        (views.watching(), "d", "Rule guard is not armed."),
        (views.killed(), "r", "The kill switch is pulled; release it first."),
        (views.killed(), "ctrl+k", "The kill switch is pulled already."),
        (replace(views.watching(), read_only=True), "a", "This screen only reads"),
        (replace(views.watching(), rules=()), "a", "There is no rule to arm"),
    ]
    async with open_app(views.watching()) as bench:
        for view, key, reason in cases:
            bench.app.clear_notifications()
            bench.hands.steady += 10
            await bench.publish(view)
            await bench.press(key)
            assert reason in bench.said()
            assert len(bench.app.screen_stack) == 1
        assert [command for command in bench.facade.commands if command[0] != "kill"] == []


async def test_themes_switch_and_repaint(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        seen = {bench.app.theme}
        for _ in range(3):
            await bench.press("t")
            seen.add(bench.app.theme)
        assert {"keel", "chart", "signal"} <= seen
        assert bench.app.theme == "keel"


async def test_the_footer_dims_what_makes_no_sense(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        footer = bench.app.screen.query_one("#footer")
        roles = {span.text.strip(): span.role for span in footer.drawn[0].spans}  # type: ignore[attr-defined]
        assert roles["arm"] == "faint"
        assert roles["disarm"] == "muted"
        assert roles["kill switch"] == "muted"


async def test_help_lists_every_action_and_leaves_with_escape(open_app: Open) -> None:
    async with open_app(views.armed(), (120, 40)) as bench:
        await bench.press("question_mark")
        said = bench.text("#help-text")
        for action in ACTIONS:
            assert action.label in said
        await bench.press("pagedown", "down", "escape")
        assert isinstance(bench.app.screen, MainScreen)
        await bench.press("f1", "q")
        assert isinstance(bench.app.screen, MainScreen)


async def test_the_palette_offers_the_registry(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        offered = {command.title: command.help for command in bench.app.get_system_commands(main(bench))}
        assert "Kill switch" in offered
        assert offered["Arm"].startswith("Not now: Rule guard is armed already.")
        await bench.press("ctrl+p")
        assert bench.app.screen.id == "--command-palette"
        await bench.press(*"edit rules", "enter", "enter")
        assert bench.app.screen.id == "editor"


async def test_the_kill_key_works_over_the_palette(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        await bench.press("ctrl+p", "f12")
        assert bench.commands("kill")


async def test_leaving_with_nothing_armed_just_leaves(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("q")
        assert bench.app.farewell is not None
        assert "nothing is watched" in bench.app.farewell
        assert bench.commands("disarm") == []
    assert bench.hands.stopped == ["stop"]


@pytest.mark.parametrize("key", ["q", "ctrl+q", "ctrl+c"])
async def test_leaving_while_armed_asks_then_disarms_and_says_so(open_app: Open, key: str) -> None:
    async with open_app(views.firing()) as bench:
        await bench.press(key)
        said = bench.text("#facts")
        assert "guard" in said
        assert "running" in said
        await bench.press("n")
        assert isinstance(bench.app.screen, MainScreen)
        await bench.press(key, "y")
        assert bench.commands("disarm") == [("disarm", "guard", "the screen was left", "not by hand")]
        assert bench.app.farewell is not None
        assert "Disarmed: guard." in bench.app.farewell
        assert "1 defence was under way" in bench.app.farewell


async def test_the_farewell_reaches_the_terminal(hands: Hands, capsys: pytest.CaptureFixture[str]) -> None:
    facade = FakeFacade(views.armed())
    app = hands.app(facade)

    async def drive(pilot: Pilot[None]) -> None:
        await pilot.pause()
        await app.workers.wait_for_complete()
        app.depart()

    await app.run_async(headless=True, size=(80, 24), auto_pilot=drive)
    assert "nothing is watched or defended any more. Disarmed: guard." in capsys.readouterr().err.replace("\n", " ")


async def test_a_refused_disarm_does_not_keep_the_screen(open_app: Open) -> None:
    facade = FakeFacade(views.armed(), refuse={"disarm": "the record is locked"})
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("q", "y")
        assert bench.app.farewell is not None
        assert "Could not disarm: guard: the record is locked." in bench.app.farewell


async def test_a_reading_screen_disarms_nothing_when_it_leaves(open_app: Open) -> None:
    async with open_app(replace(views.armed(), read_only=True)) as bench:
        await bench.press("q")
        assert bench.commands("disarm") == []
        assert bench.app.farewell is not None
        assert "goes on" in bench.app.farewell


async def test_data_is_painted_at_most_twice_a_second_and_the_newest_wins(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        painted: list[int] = []
        real = bench.app.show_view

        def counting(view: ViewState) -> None:
            painted.append(view.sequence)
            real(view)

        bench.app.show_view = counting  # type: ignore[method-assign]
        for number in range(100, 120):
            bench.facade.publish(replace(views.armed(), sequence=number))
        await bench.pilot.pause()
        assert painted == []
        bench.hands.steady += 0.6
        await bench.publish(replace(views.armed(), sequence=200))
        assert painted == [200]
        await bench.publish(replace(views.held(), sequence=201))
        assert painted[-1] == 201


def test_what_must_not_wait() -> None:
    calm = views.armed()
    assert not is_urgent(calm, replace(calm, sequence=99, at=calm.at + 2))
    for other in (views.held(), views.killed(), views.blind(), views.confirming(), views.firing(), views.watching()):
        assert is_urgent(calm, other)


async def test_a_position_that_disappears_leaves_another_chosen(open_app: Open) -> None:
    async with open_app(views.armed(), (120, 40)) as bench:
        await bench.press("down")
        view = views.armed()
        bench.hands.steady += 10
        await bench.publish(replace(view, sequence=90, positions=view.positions[:1]))
        assert "main" in bench.text("#detail")
        bench.hands.steady += 10
        await bench.publish(replace(view, sequence=91, positions=(), rules=()))
        await bench.press("down", "d", "p")
        assert "Choose a position" in bench.text("#detail")


async def test_ages_tick_without_new_views(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        bench.hands.unix += 5
        bench.app.tick()
        await bench.settle()
        assert "6 s ago" in bench.text("#status")


@pytest.mark.parametrize("size", [(30, 12), (50, 24), (80, 24), (120, 40), (200, 50)])
async def test_every_state_is_drawn_at_every_size(open_app: Open, size: tuple[int, int]) -> None:
    async with open_app(views.armed(), size) as bench:
        for name in ("blind", "held", "killed", "unknown", "firing", "hostile"):
            bench.hands.steady += 10
            await bench.publish(replace(getattr(views, name)(), sequence=100))
            svg = bench.app.export_screenshot()
            assert "\x1b" not in svg
            assert "PWN" in svg or name != "hostile" or size[0] < 50
            status = bench.app.screen.query_one("#status")
            assert status.region.height >= 2
            assert bench.app.screen.query_one("#footer").region.bottom == size[1]


async def test_no_color_draws_in_grey(open_app: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_app(views.armed(), (120, 40)) as bench:
        colours = set(re.findall(r"-r\d+ \{ fill: #([0-9a-f]{6})", bench.app.export_screenshot()))
        assert colours
        strange = {one for one in colours if not one[:2] == one[2:4] == one[4:]}
        assert strange <= {"c5c8c6"}, strange
        assert "at risk" in bench.text("#positions")


def test_every_action_has_a_hand_and_one_key_for_one_thing() -> None:
    from tui.screen.dialogs.arm import ArmDialog
    from tui.screen.dialogs.ask import AskDialog
    from tui.screen.dialogs.confirm import ConfirmDialog
    from tui.screen.editor import EditorPage
    from tui.screen.help import HelpPage
    from tui.screen.outcomes import OutcomesPage

    homes = {
        Where.MAIN: MainScreen,
        Where.EDITOR: EditorPage,
        Where.ARMING: ArmDialog,
        Where.CONFIRM: ConfirmDialog,
        Where.ASK: AskDialog,
        Where.OUTCOMES: OutcomesPage,
        Where.HELP: HelpPage,
    }
    for action in ACTIONS:
        method = "do_" + action.id.replace("-", "_")
        assert action.id in HANDLERS or hasattr(homes[action.where], method), action.id
        assert action.help.endswith((".", "!"))
    for place in Where:
        keys = [key for action in ACTIONS if action.where in (place, Where.EVERYWHERE) for key in keys_of(action, {})]
        doubled = {key for key in keys if keys.count(key) > 1}
        assert doubled <= ({"f1", "question_mark"} if place is Where.HELP else set())
    assert BY_ID["kill"].fixed == "f12"
