"""Arming and confirming by key, the password that never leaves its field, and the kill switch over all of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from textual import events
from textual.widgets import Input

from tests.screen.conftest import Bench, Open
from tests.support import views
from tests.support.fake_facade import FakeFacade
from tests.support.view_positions import BOB
from tui.engine.facade import ArmingReport, KeyUse
from tui.model.rule import Goal, close, health_above, restore
from tui.model.units import WAD
from tui.screen.dialogs.arm import ArmDialog
from tui.screen.dialogs.confirm import ConfirmDialog
from tui.screen.main import MainScreen
from tui.screen.password import PasswordInput

SIZE = (80, 24)
SECRET = "correct-horse-9"


async def type_password(bench: Bench, secret: str = SECRET) -> None:
    """Key by key."""
    await bench.pilot.press(*["minus" if one == "-" else one for one in secret])


async def to_password(bench: Bench, name: str = "guard") -> PasswordInput:
    """Open the arming dialog, give the name at once, and stand in the password field."""
    await bench.press("a")
    bench.app.screen.query_one(Input).value = name
    await bench.press("enter")
    field = bench.app.screen.query_one(PasswordInput)
    assert bench.focused() is field
    return field


async def paste_password(bench: Bench, secret: str = SECRET) -> None:
    """All at once."""
    bench.app.screen.query_one(PasswordInput).post_message(events.Paste(secret))
    await bench.pilot.pause()


# ---- arming


async def test_arming_takes_the_name_and_the_password(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("a")
        said = bench.text("#report")
        for part in (
            "Arm guard",
            "signs and sends by itself",
            "up to 8,000 USDC a firing",
            "Know before you arm it",
            "5,000.00 USDC",
        ):
            assert part in said, part
        await bench.press(*"guard", "enter")
        await type_password(bench)
        await bench.press("enter")
        assert bench.commands("arm") == [("arm", "guard", "guard", len(SECRET))]
        assert isinstance(bench.app.screen, MainScreen)
        assert "guard is armed." in bench.said()


async def test_the_name_must_be_typed_exactly(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await to_password(bench, "gaurd")
        await paste_password(bench)
        await bench.press("enter")
        assert bench.commands("arm") == []
        assert "not the rule's name" in bench.text("#outcome")
        assert isinstance(bench.focused(), Input)


async def test_no_password_is_no_arming(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await to_password(bench)
        await bench.press("enter")
        assert bench.commands("arm") == []
        assert "Type the password" in bench.text("#outcome")


async def test_a_wrong_password_is_said_in_place_and_forgotten(open_app: Open) -> None:
    facade = FakeFacade(views.watching(), refuse={"arm": "the password does not open the key file"})
    async with open_app(facade.view, facade=facade) as bench:
        await to_password(bench)
        await paste_password(bench)
        await bench.press("enter")
        assert "does not open the key file" in bench.text("#outcome")
        assert isinstance(bench.app.screen, ArmDialog)
        assert bench.app.screen.query_one(PasswordInput).is_empty


async def test_problems_forbid_arming(open_app: Open) -> None:
    facade = FakeFacade(
        views.watching(), report=ArmingReport("guard", None, None, (), (), ("No key for 0x7099…79c8 is here.",))
    )
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("a")
        assert "✖ No key for 0x7099…79c8 is here." in bench.text("#report")
        bench.app.screen.query_one(Input).value = "guard"
        await bench.press("enter")
        await paste_password(bench)
        await bench.press("enter")
        assert bench.commands("arm") == []


def two_keys() -> ArmingReport:
    uses = (
        KeyUse(views.ALICE, "/keys/main.json", ("step 1 (repay USDC)",)),
        KeyUse(BOB, "/keys/vault.json", (f"step 2 (repay USDC from {BOB[:6]}…{BOB[-4:]})",)),
    )
    return ArmingReport("guard", views.ALICE, "/keys/main.json", ("repay: any USDC",), (), (), uses)


async def test_every_key_that_a_rule_needs_has_a_field_and_its_own_password(open_app: Open) -> None:
    facade = FakeFacade(views.watching(), report=two_keys())
    async with open_app(facade.view, facade=facade) as bench:
        await to_password(bench)
        told = bench.text("#report")
        assert "It is signed by" in told
        assert "vault.json: step 2" in " ".join(told.split())
        first, second = bench.app.screen.query(PasswordInput)
        await bench.press(*"one", "enter")
        assert bench.focused() is second, "Enter goes on to the next one"
        assert bench.commands("arm") == []
        await bench.press(*"second", "shift+tab")
        assert bench.focused() is first
        await bench.press("tab", "enter")
        lengths = [command[-1] for command in bench.commands("arm")]
        assert lengths == [len(f"{views.ALICE[:6]}:one {BOB[:6]}:second")]
        assert first.is_empty
        assert second.is_empty


async def test_an_empty_field_takes_the_password_above_it_and_leaving_forgets_all(open_app: Open) -> None:
    facade = FakeFacade(views.watching(), report=two_keys(), refuse={"arm": "no"})
    async with open_app(facade.view, facade=facade) as bench:
        await to_password(bench)
        first, second = bench.app.screen.query(PasswordInput)
        await bench.press(*"same", "enter", "enter")
        assert "no" in bench.text("#outcome")
        await bench.press(*"again", "tab", *"two")
        await bench.press("escape")
        assert first.is_empty
        assert second.is_empty


async def test_unlocking_shows_itself_and_blocks_nothing(open_app: Open) -> None:
    gate = asyncio.Event()
    facade = FakeFacade(views.watching(), slow=gate)
    async with open_app(facade.view, facade=facade) as bench:
        await to_password(bench)
        await paste_password(bench)
        await bench.pilot.press("enter")
        await bench.pilot.pause()
        assert "Unlocking the key file" in bench.text("#outcome")
        await bench.pilot.press("enter")
        await bench.pilot.press("ctrl+k")
        await bench.pilot.pause()
        assert bench.commands("kill")
        gate.set()
        await bench.settle()
        assert len(bench.commands("arm")) == 1


async def test_arming_that_ends_under_a_plan_closes_when_the_plan_does(open_app: Open) -> None:
    gate = asyncio.Event()
    facade = FakeFacade(views.watching(), slow=gate)
    async with open_app(facade.view, facade=facade) as bench:
        await to_password(bench)
        await paste_password(bench)
        await bench.pilot.press("enter")
        bench.facade.publish(views.confirming())
        await bench.pilot.pause()
        assert isinstance(bench.app.screen, ConfirmDialog)
        gate.set()
        await bench.settle()
        assert isinstance(bench.app.screen, ConfirmDialog)
        await bench.press("escape")
        assert isinstance(bench.app.screen, MainScreen)
        assert len(bench.app.screen_stack) == 1


async def test_escape_leaves_arming_and_forgets(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await to_password(bench)
        await paste_password(bench)
        field = bench.app.screen.query_one(PasswordInput)
        await bench.press("escape")
        assert isinstance(bench.app.screen, MainScreen)
        assert field.is_empty


async def test_the_kill_key_works_while_a_password_is_typed(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await to_password(bench)
        await paste_password(bench)
        for count, key in enumerate(("ctrl+k", "f12"), 1):
            assert isinstance(bench.focused(), PasswordInput)
            await bench.press(key)
            assert [command[1] for command in bench.commands("kill")] == [True] * count
            bench.hands.steady += 10
            await bench.publish(replace(views.watching(), sequence=90 + count))


async def test_the_kill_key_works_in_a_text_field(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("a", *"gua", "home", "ctrl+k")
        assert bench.commands("kill")
        assert bench.app.screen.query_one(Input).value == "gua"


# ---- the password field


async def test_a_password_cannot_be_copied_or_cut(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        field = await to_password(bench)
        dialog = bench.app.screen
        assert isinstance(dialog, ArmDialog)
        for key in ("ctrl+c", "super+c", "ctrl+x", "ctrl+insert", "shift+delete"):
            dialog.say("", "muted")
            await paste_password(bench)
            await bench.press("shift+home", "ctrl+a", "ctrl+shift+a", key)
            assert bench.app.clipboard == "", key
            assert "not copied" in bench.text("#outcome"), key
            assert field.take() == SECRET, key


async def test_a_password_is_in_no_repr_no_selection_and_no_picture(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        heard: list[str] = []
        bench.app.screen._test_heard = heard  # type: ignore[attr-defined]
        await to_password(bench)
        field = bench.app.screen.query_one(PasswordInput)
        real = field.post_message

        def listening(message: object) -> bool:
            heard.append(repr(message))
            return real(message)  # type: ignore[arg-type]

        field.post_message = listening  # type: ignore[method-assign,assignment]
        await type_password(bench)
        await bench.pilot.pause()
        svg = bench.app.export_screenshot()
        assert SECRET not in svg
        assert "•" * len(SECRET) in svg
        assert SECRET not in repr(field)
        assert not any(SECRET in text for text in heard)
        assert not field.allow_select
        assert bench.app.screen.get_selected_text() in (None, "")
        assert field.take() == SECRET
        assert field.take() == ""


async def test_pasting_a_password_works_and_takes_one_line(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await to_password(bench)
        field = bench.app.screen.query_one(PasswordInput)
        field.post_message(events.Paste("pass\x1bword\nsecond"))
        await bench.settle()
        assert field.take() == "password"


async def test_rubbing_out_and_clearing(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await to_password(bench)
        await bench.press(*"abc", "backspace")
        field = bench.app.screen.query_one(PasswordInput)
        assert field.take() == "ab"
        await bench.press(*"abq", "ctrl+u", "backspace", "z")
        assert field.take() == "z"


# ---- confirming


async def open_plan(bench: Bench) -> ConfirmDialog:
    """The dialog that opened by itself."""
    screen = bench.app.screen
    assert isinstance(screen, ConfirmDialog)
    return screen


async def test_a_plan_opens_by_itself_and_y_signs(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        await bench.publish(views.confirming())
        await open_plan(bench)
        assert "0:58" in bench.text("#countdown")
        assert "repay 5,214.20 USDC" in bench.text("#plan")
        bench.hands.steady += 1
        await bench.press("y")
        assert bench.commands("answer") == [("answer", "c-1", True)]
        assert isinstance(bench.app.screen, MainScreen)


async def test_n_refuses(open_app: Open) -> None:
    async with open_app(views.confirming(), (80, 24)) as bench:
        assert "No: not asked again in this whole fall. Later: asked again while below." in bench.text("#notice")
        bench.hands.steady += 1
        await bench.press("n")
        assert bench.commands("answer") == [("answer", "c-1", False)]


@pytest.mark.parametrize(
    ("goal", "told", "refused"),
    [
        (close(5_000), "not asked again until you arm it anew", "Refused; it fires once: disarm it and arm it again"),
        (restore(WAD), "not asked again before health was down at its trigger", "a block at or below 1.10."),
    ],
)
async def test_what_a_no_means_where_health_is_high(open_app: Open, goal: Goal, told: str, refused: str) -> None:
    view = views.confirming()
    first = replace(view.rules[0], rule=replace(view.rules[0].rule, trigger=health_above(11 * WAD // 10), goal=goal))
    async with open_app(replace(view, rules=(first, *view.rules[1:]))) as bench:
        assert told in bench.text("#notice")
        bench.hands.steady += 1
        dialog = bench.app.screen
        assert isinstance(dialog, ConfirmDialog)
        dialog.do_confirm_no()
        assert refused in dialog.notice[0]


async def test_a_key_that_was_on_its_way_is_no_answer(open_app: Open) -> None:
    async with open_app(views.confirming()) as bench:
        bench.hands.steady += 0.3
        await bench.press("y")
        assert bench.commands("answer") == []
        assert "too soon" in bench.text("#notice")
        bench.hands.steady += 0.3
        await bench.press("y")
        assert bench.commands("answer") == []
        bench.hands.steady += 0.6
        await bench.press("y")
        assert bench.commands("answer") == [("answer", "c-1", True)]


async def test_typing_that_goes_on_is_no_answer(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await to_password(bench)
        await type_password(bench, "ab")
        await bench.publish(views.confirming())
        await open_plan(bench)
        for key in "secretyyy":
            bench.hands.steady += 0.2
            await bench.press(key)
        assert bench.commands("answer") == []
        bench.hands.steady += 0.6
        await bench.press("y")
        assert bench.commands("answer") == [("answer", "c-1", True)]
        assert isinstance(bench.app.screen, ArmDialog)


async def test_a_plan_that_is_gone_closes_itself(open_app: Open) -> None:
    async with open_app(views.confirming()) as bench:
        await open_plan(bench)
        await bench.publish(views.armed())
        assert isinstance(bench.app.screen, MainScreen)
        assert "no longer asked for" in bench.said()


async def test_a_plan_that_changes_is_shown_as_it_is_now(open_app: Open) -> None:
    async with open_app(views.confirming()) as bench:
        view = views.confirming()
        newer = replace(view.confirmations[0], plan=replace(view.confirmations[0].plan, spend_usd=views.usd("7000.01")))
        bench.hands.steady += 1
        await bench.publish(replace(view, sequence=70, confirmations=(newer,)))
        assert "$7,000.01" in bench.text("#plan")
        bench.hands.steady += 1
        await bench.press("y")
        assert bench.commands("answer") == [("answer", "c-1", True)]


async def test_a_plan_that_went_while_something_lay_on_it_is_not_left_behind(open_app: Open) -> None:
    async with open_app(views.confirming()) as bench:
        await bench.press("ctrl+q")
        await bench.publish(views.armed())
        await bench.press("n")
        assert isinstance(bench.app.screen, MainScreen)


async def test_keys_meant_for_a_dialog_on_top_are_no_answer(open_app: Open) -> None:
    async with open_app(views.confirming()) as bench:
        bench.hands.steady += 5
        await bench.press("ctrl+q")
        bench.hands.steady += 5
        await bench.press("n", "y")
        await open_plan(bench)
        assert bench.commands("answer") == []


async def test_a_plan_counts_down_and_runs_out(open_app: Open) -> None:
    async with open_app(views.confirming()) as bench:
        bench.hands.unix += 20
        bench.app.tick()
        await bench.settle()
        assert "0:38" in bench.text("#countdown")
        bench.hands.unix += 40
        bench.app.tick()
        await bench.settle()
        assert isinstance(bench.app.screen, MainScreen)
        assert "ran out unanswered" in bench.said()
        assert bench.commands("answer") == []


async def test_deciding_later_keeps_the_plan_and_c_opens_it(open_app: Open) -> None:
    async with open_app(views.confirming()) as bench:
        await bench.press("escape")
        assert isinstance(bench.app.screen, MainScreen)
        assert "1 plan waits for your yes" in bench.text("#status")
        bench.hands.steady += 10
        await bench.publish(replace(views.confirming(), sequence=60))
        assert isinstance(bench.app.screen, MainScreen)
        await bench.press("c")
        await open_plan(bench)


async def test_a_refused_answer_is_said_in_place(open_app: Open) -> None:
    facade = FakeFacade(views.confirming(), refuse={"answer": "the block moved on; look again"})
    async with open_app(facade.view, facade=facade) as bench:
        bench.hands.steady += 1
        await bench.press("y")
        assert "the block moved on; look again" in bench.text("#notice")
        await open_plan(bench)


async def test_the_next_plan_follows(open_app: Open) -> None:
    view = views.confirming()
    second = replace(view.confirmations[0], id="c-2", rule="calm")
    async with open_app(replace(view, confirmations=(view.confirmations[0], second))) as bench:
        bench.hands.steady += 1
        await bench.press("y")
        dialog = await open_plan(bench)
        assert dialog.confirmation.id == "c-2"
        await bench.press("y")
        assert len(bench.commands("answer")) == 1


async def test_the_kill_key_works_over_a_plan(open_app: Open) -> None:
    async with open_app(views.confirming()) as bench:
        await bench.press("f12")
        assert bench.commands("kill")
        assert isinstance(bench.app.screen, MainScreen)
        assert bench.commands("answer") == []


async def test_calldata_scrolls_on_a_small_screen(open_app: Open) -> None:
    async with open_app(views.confirming(), (80, 24)) as bench:
        plan = bench.app.screen.query_one("#plan")
        assert plan.max_scroll_y > 0
        await bench.press("end")
        assert plan.scroll_offset.y == plan.max_scroll_y
        footer = bench.app.screen.query_one("#footer")
        assert footer.region.height == 1
        assert footer.region.bottom <= 24


async def test_a_reading_screen_is_not_asked(open_app: Open) -> None:
    async with open_app(replace(views.confirming(), read_only=True)) as bench:
        assert isinstance(bench.app.screen, MainScreen)
