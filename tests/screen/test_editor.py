"""The rules editor by key: form and text over one file, comments kept, faults beside fields, nothing lost unasked."""

from __future__ import annotations

from textual.widgets import Input, TextArea

from tests.screen.conftest import Bench, Open
from tests.support import views
from tests.support.fake_facade import FakeFacade
from tests.support.views import RULES_TEXT
from tui.engine.facade import Preview
from tui.model.plan import Evaluation, Refusal
from tui.model.rule import Order, RuleFault, Severity, StalePrice, StandingAllowance, TriggerKind
from tui.model.units import WAD
from tui.rules.edit import set_field
from tui.rules.load import parse_rules
from tui.screen.dialogs.ask import AskDialog
from tui.screen.editor import EditorPage
from tui.screen.form import Choice, Fault, widget_id
from tui.screen.main import MainScreen

SIZE = (80, 24)


def page(bench: Bench) -> EditorPage:
    """The editor."""
    screen = bench.app.screen
    assert isinstance(screen, EditorPage)
    return screen


def entry(bench: Bench, key: str) -> Input:
    """A field of the form."""
    return page(bench).query_one(f"#{widget_id(key)}", Input)


async def set_entry(bench: Bench, key: str, value: str) -> None:
    """Put a new value into a field."""
    field = entry(bench, key)
    field.focus()
    field.value = value
    await bench.settle()


async def test_the_form_shows_the_file(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        assert entry(bench, "name").value == "guard"
        assert entry(bench, "when.health_factor_below").value == "1.15"
        assert entry(bench, "when.for_blocks").value == "2"
        assert entry(bench, "step.1.asset").value == "WETH"
        assert entry(bench, "limits.cooldown").value == "5m"
        assert page(bench).query_one(f"#{widget_id('mode')}", Choice).value == "auto"
        assert "rules.toml" in bench.text("#head")
        assert "✓ saved" in bench.text("#head")


async def test_an_edit_in_the_form_keeps_every_comment(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await set_entry(bench, "when.health_factor_below", "1.30")
        assert page(bench).text == set_field(RULES_TEXT, "guard", "when.health_factor_below", "1.30")
        assert "● not saved" in bench.text("#head")
        await bench.press("ctrl+s")
        saved = bench.commands("save_rules")
        assert len(saved) == 1
        assert saved[0][1] == page(bench).text
        assert "# Repay first: it is the cheapest." in str(saved[0][1])
        assert saved[0][2] == "t1"
        assert "✓ saved" in bench.text("#head")


async def test_whole_numbers_stay_numbers_and_empty_limits_go(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await set_entry(bench, "when.for_blocks", "3")
        assert "for_blocks = 3" in page(bench).text
        await set_entry(bench, "limits.max_base_fee_gwei", "")
        assert "max_base_fee_gwei" not in page(bench).text
        await set_entry(bench, "limits.max_cost_share", "25%")
        assert 'max_cost_share = "25%"' in page(bench).text


async def test_a_mode_is_chosen_by_key(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        page(bench).query_one(f"#{widget_id('mode')}").focus()
        await bench.press("left")
        assert 'mode = "confirm"                      # notify | confirm | auto' in page(bench).text
        await bench.press("right", "space")
        assert 'mode = "notify"' in page(bench).text


async def test_renaming_to_a_taken_name_is_refused_beside_the_field(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await set_entry(bench, "name", "calm")
        fault = page(bench).query_one(f"#fault-{widget_id('name')}", Fault)
        assert fault.display
        assert "already" in bench.text(f"#fault-{widget_id('name')}")
        await set_entry(bench, "name", "shield")
        assert 'name = "shield"' in page(bench).text
        assert not fault.display


async def test_the_preview_says_what_it_would_do_and_faults_stand_by_their_field(open_app: Open) -> None:
    fault = RuleFault(
        "rules.toml", 7, "target 1.1 is not above the trigger", "write a higher one", "guard", "target.health_factor"
    )
    warning = RuleFault("rules.toml", 9, "no cooldown", "add one", "guard", "limits.cooldown", Severity.WARNING)
    done = Evaluation("guard", "p", views.BLOCK, True, "health factor is below the trigger", views.plan(), None)
    refused = Evaluation("calm", "q", views.BLOCK, False, "above", None, Refusal("gas", "the wallet has no gas"))
    facade = FakeFacade(views.watching(), preview_answer=Preview((fault, warning), (done, refused)))
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("e")
        said = bench.text("#preview")
        assert "fires now: repay 5,214.20 USDC → health 1.5004 · gas $0.41" in said.replace("\n  ", " ").replace(
            "  ", " "
        )
        assert "refused: the wallet has no gas" in said
        assert "line 7:" in said
        assert "write a higher one" in bench.text(f"#fault-{widget_id('target.health_factor')}").replace("\n", " ")
        assert "add one" in bench.text(f"#fault-{widget_id('limits.cooldown')}")


async def test_the_preview_is_asked_once_after_typing_stops(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        before = len(bench.commands("preview"))
        await bench.pilot.press("1", "2", "3", "4")
        await bench.pilot.pause()
        assert "being asked again" in bench.text("#preview")
        timer = page(bench)._timer
        assert timer is not None
        await timer._task  # type: ignore[misc]
        await bench.settle()
        asked = bench.commands("preview")
        assert len(asked) == before + 1
        assert asked[-1][1] == page(bench).text


async def test_text_and_form_are_one(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await bench.press("f2")
        area = page(bench).query_one(TextArea)
        assert area.text == RULES_TEXT
        assert bench.focused() is area
        area.load_text(RULES_TEXT.replace('"8000"', '"9000"'))
        await bench.settle()
        await bench.press("f2")
        assert entry(bench, "step.0.max").value == "9000"
        await set_entry(bench, "step.0.max", "9500")
        await bench.press("f2")
        assert area.text == RULES_TEXT.replace('"8000"', '"9500"')


async def test_a_text_that_is_no_toml_stays_a_text(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await bench.press("f2")
        page(bench).query_one(TextArea).load_text("[[rule]\nname = ")
        await bench.settle()
        await bench.press("f2")
        assert page(bench).as_text
        assert "The form cannot show this" in bench.text("#preview")


async def test_steps_are_added_moved_and_removed(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await bench.press("f6")
        assert "Go to a field of the step first." in bench.said()
        await bench.press("f5")
        assert entry(bench, "step.2.asset").value == "USDC"
        assert bench.focused() is page(bench).query_one(f"#{widget_id('step.2.action')}")
        await bench.press("f6")
        assert [entry(bench, f"step.{number}.asset").value for number in range(3)] == ["USDC", "USDC", "WETH"]
        await bench.press("f7")
        assert entry(bench, "step.1.asset").value == "WETH"
        await bench.press("f9")
        assert not page(bench).query(f"#{widget_id('step.2.asset')}")
        assert page(bench).text.count("[[rule.step]]") == RULES_TEXT.count("[[rule.step]]")


async def test_rules_are_added_shown_and_removed(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await bench.press("f4")
        assert entry(bench, "name").value == "guard2"
        assert page(bench).query_one(f"#{widget_id('mode')}", Choice).value == "confirm"
        assert page(bench).text.startswith(RULES_TEXT)
        await bench.press("ctrl+n")
        assert entry(bench, "name").value == "guard"
        await bench.press("ctrl+n")
        assert entry(bench, "name").value == "calm"
        await bench.press("ctrl+n", "f8")
        assert isinstance(bench.app.screen, AskDialog)
        await bench.press("n")
        assert page(bench).names() == ["guard", "calm", "guard2"]
        await bench.press("f8", "y")
        assert page(bench).names() == ["guard", "calm"]


async def test_a_file_without_rules_starts_one(open_app: Open) -> None:
    facade = FakeFacade(views.watching(), text="# nothing yet\n")
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("e")
        assert "no rule in the file yet" in bench.text("Section")
        await bench.press("f8", "f5")
        assert "There is no rule" in bench.said()
        await bench.press("f4")
        assert page(bench).text.startswith("# nothing yet\n")
        assert entry(bench, "name").value == "guard"


async def test_leaving_with_changes_asks(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await bench.press("x", "escape")
        assert isinstance(bench.app.screen, AskDialog)
        await bench.press("n")
        assert entry(bench, "name").value == "guardx"
        await bench.press("f3", "y")
        assert entry(bench, "name").value == "guard"
        assert not page(bench).unsaved
        await bench.press("escape")
        assert isinstance(bench.app.screen, MainScreen)


async def test_quitting_with_changes_says_that_they_are_lost(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await bench.press("x", "ctrl+q")
        assert "The rules in the editor are not saved." in bench.text("#facts")
        await bench.press("n")
        assert isinstance(bench.app.screen, EditorPage)


async def test_a_refused_save_is_said_and_nothing_is_lost(open_app: Open) -> None:
    facade = FakeFacade(views.watching(), refuse={"save_rules": "the file changed since it was read"})
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("e")
        await bench.press("x", "ctrl+s")
        assert "Not saved: the file changed since it was read" in bench.text("#preview")
        assert page(bench).unsaved
        assert entry(bench, "name").value == "guardx"


async def test_saving_nothing_says_so(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await bench.press("ctrl+s")
        assert "Nothing has changed" in bench.said()
        assert bench.commands("save_rules") == []


async def test_a_reading_screen_saves_nothing(open_app: Open) -> None:
    from dataclasses import replace

    async with open_app(replace(views.watching(), read_only=True)) as bench:
        await bench.press("e")
        await bench.press("x", "ctrl+s")
        assert "This screen only reads" in bench.said()
        assert bench.commands("save_rules") == []


async def test_the_kill_key_works_while_rules_are_typed(open_app: Open) -> None:
    async with open_app(views.armed()) as bench:
        await bench.press("e")
        await bench.press("f12")
        assert bench.commands("kill")
        assert isinstance(bench.app.screen, EditorPage)


async def test_a_plan_comes_over_the_editor(open_app: Open) -> None:
    from tui.screen.dialogs.confirm import ConfirmDialog

    async with open_app(views.armed(), (80, 24)) as bench:
        await bench.press("e")
        await bench.press("x")
        await bench.publish(views.confirming())
        assert isinstance(bench.app.screen, ConfirmDialog)
        await bench.press("escape")
        assert entry(bench, "name").value == "guardx"


async def turn(bench: Bench, key: str, *keys: str) -> None:
    """Put the focus into a choice and press keys."""
    page(bench).query_one(f"#{widget_id(key)}", Choice).focus()
    await bench.press(*keys)


SOLD = RULES_TEXT.replace(
    'action = "repay"\nasset = "USDC"\nmax = "8000"\n',
    'action = "deleverage"\ndebt = "USDC"\ncollateral = "WETH"\nmax_slippage = "0.5%"\n',
    1,
)


async def test_a_step_of_another_kind_brings_its_own_fields(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await turn(bench, "step.0.action", "right", "right", "right")
        assert page(bench).text == SOLD
        assert parse_rules(page(bench).text, "rules.toml").faults == ()
        assert entry(bench, "step.0.collateral").value == "WETH"
        assert entry(bench, "step.0.debt").value == "USDC"
        assert entry(bench, "step.0.max_slippage").value == "0.5%"
        assert entry(bench, "step.0.max").value == ""
        assert not page(bench).query(f"#{widget_id('step.0.asset')}")
        assert bench.focused() is page(bench).query_one(f"#{widget_id('step.0.action')}")
        await set_entry(bench, "step.0.max_slippage", "0.8%")
        await set_entry(bench, "step.0.max", "3")
        sold = SOLD.replace('"0.5%"\n', '"0.8%"\nmax = "3"\n')
        assert page(bench).text == sold
        # There and back again: nothing that was typed is lost on the way.
        await turn(bench, "step.0.action", "left", "left", "left")
        assert page(bench).text == RULES_TEXT
        assert entry(bench, "step.0.max").value == "8000"
        await turn(bench, "step.0.action", "right", "right", "right")
        assert parse_rules(page(bench).text, "r").rules[0] == parse_rules(sold, "r").rules[0]


async def test_a_repay_out_of_the_supply_keeps_its_fields(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await turn(bench, "step.0.action", "right", "right")
        assert page(bench).text == RULES_TEXT.replace('action = "repay"', 'action = "repay-with-atokens"', 1)
        assert entry(bench, "step.0.max").value == "8000"


async def test_steps_of_different_kinds_change_places(open_app: Open) -> None:
    facade = FakeFacade(views.watching(), text=SOLD)
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("e")
        await turn(bench, "step.0.action", "f7")
        assert entry(bench, "step.0.asset").value == "WETH"
        assert entry(bench, "step.1.collateral").value == "WETH"
        assert "# Repay first: it is the cheapest." in page(bench).text
        await bench.press("ctrl+n")
        assert entry(bench, "step.0.asset").value == "DAI"
        assert not page(bench).query(f"#{widget_id('step.1.collateral')}")


async def test_collateral_that_becomes_a_sale_is_what_is_sold(open_app: Open) -> None:
    facade = FakeFacade(views.watching())
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("e")
        await turn(bench, "step.1.action", "right", "right")
        assert entry(bench, "step.1.collateral").value == "WETH"
        assert entry(bench, "step.1.debt").value == "USDC"
        assert 'collateral = "WETH"' in page(bench).text
        assert 'max = "2"' not in page(bench).text, "it was of something else, until it is said again"


async def test_a_step_that_cannot_be_rewritten_says_so_beside_its_action(open_app: Open) -> None:
    text = RULES_TEXT.replace('asset = "USDC"', '"asset" = "USDC"', 1)
    text = text.replace('action = "repay"', 'action = "repay-with-atokens"', 1)
    facade = FakeFacade(views.watching(), text=text)
    async with open_app(facade.view, size=(120, 40), facade=facade) as bench:
        await bench.press("e")
        await turn(bench, "step.0.action", "right")
        assert page(bench).text == text
        assert "not written as a plain key" in bench.text(f"#fault-{widget_id('step.0.action')}").replace("\n", " ")


async def test_order_and_the_rarer_limits_are_chosen_by_key(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await turn(bench, "order", "right")
        assert 'target = { health_factor = "1.50" }\norder = "cheapest"\n' in page(bench).text
        await turn(bench, "partial", "right")
        assert 'order = "cheapest"\npartial = true\n' in page(bench).text
        assert page(bench).query_one(f"#{widget_id('partial')}", Choice).value == "true"
        assert parse_rules(page(bench).text, "r").rules[0].partial
        await turn(bench, "partial", "right")
        assert "partial = false\n" in page(bench).text
        await turn(bench, "limits.stale_price", "right")
        await turn(bench, "limits.standing_allowance", "right")
        rule = parse_rules(page(bench).text, "r").rules[0]
        assert (rule.order, rule.limits.stale_price, rule.limits.standing_allowance) == (
            Order.CHEAPEST, StalePrice.ACT, StandingAllowance.USE,
        )  # fmt: skip
        assert set(RULES_TEXT.splitlines()) <= set(page(bench).text.splitlines())


async def test_faults_of_a_sale_stand_by_its_fields(open_app: Open) -> None:
    text = SOLD.replace('"0.5%"', '"50%"').replace('debt = "USDC"', 'debt = "WETH"\nasset = "USDC"')
    facade = FakeFacade(views.watching(), text=text)
    facade.preview_answer = Preview(parse_rules(text, "rules.toml").faults, ())
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("e")
        assert "up to 20%" in bench.text(f"#fault-{widget_id('step.0.max_slippage')}").replace("\n", " ")
        assert "sells WETH for itself" in bench.text(f"#fault-{widget_id('step.0.debt')}").replace("\n", " ")
        assert 'unknown key "asset"' in bench.text(f"#fault-{widget_id('step.0.action')}").replace("\n", " ")


# ---- triggers and goals


async def test_a_trigger_of_another_kind_brings_its_own_fields(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        before = page(bench).text
        await turn(bench, "when.kind", "right")
        assert page(bench).text == before.replace(
            'when = { health_factor_below = "1.15", for_blocks = 2 }',
            'when = { for_blocks = 2, price_of = "WETH", below = "2711" }',
        )
        assert entry(bench, "when.below").value == "2711"
        assert not page(bench).query(f"#{widget_id('when.health_factor_below')}")
        await set_entry(bench, "when.below", "2500")
        await turn(bench, "when.kind", "right")
        assert 'when = { for_blocks = 2, price_of = "WETH", above = "3614" }' in page(bench).text
        await turn(bench, "when.kind", "right")
        assert 'trailing = "10%"' in page(bench).text
        assert parse_rules(page(bench).text, "rules.toml").errors == ()
        # What a kind said comes back with it.
        await turn(bench, "when.kind", "left")
        await turn(bench, "when.kind", "left")
        assert entry(bench, "when.below").value == "2500"
        await turn(bench, "when.kind", "left")
        assert entry(bench, "when.health_factor_below").value == "1.15"


async def test_a_goal_of_another_kind_brings_its_own_field(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await turn(bench, "target.kind", "right")
        assert 'close = "50%"' in page(bench).text
        assert entry(bench, "target.close").value == "50%"
        await turn(bench, "target.kind", "right")
        assert 'health_factor = "1.5' in page(bench).text
        assert not page(bench).query(f"#{widget_id('target.close')}")


async def test_a_part_closed_where_health_is_high_is_chosen_and_saved(open_app: Open) -> None:
    """Trigger and goal by key, in either order; until both stand the fault says what is missing."""
    for first, then in (("when.kind", "target.kind"), ("target.kind", "when.kind")):
        async with open_app(views.watching(), SIZE) as bench:
            await bench.press("e")
            await turn(bench, first, "left")
            await turn(bench, then, "left")
            assert 'when = { for_blocks = 2, health_factor_above = "2.20" }' in " ".join(page(bench).text.split("\n"))
            assert 'close = "50%"' in page(bench).text
            assert "Fires above health" in bench.text(f"#row-{widget_id('when.health_factor_above')}")
            await set_entry(bench, "when.health_factor_above", "1.90")
            (fault,) = parse_rules(page(bench).text, "rules.toml").errors
            assert (fault.field, "add-collateral, after which no less is owed" in fault.what) == ("step.1.action", True)
            await turn(bench, "step.1.action", "right")  # on to the next kind of step, a repayment out of the supply
            rule = parse_rules(page(bench).text, "rules.toml").rules[0]
            assert parse_rules(page(bench).text, "rules.toml").faults == ()
            assert (rule.closes_when_high, rule.close_bps, rule.trigger.level) == (True, 5_000, 19 * WAD // 10)
            await bench.press("ctrl+s")
            ((_, saved, *_),) = bench.commands("save_rules")
            assert saved == page(bench).text


async def test_health_that_is_trailed_is_chosen_changed_and_saved(open_app: Open) -> None:
    async with open_app(views.watching(), SIZE) as bench:
        await bench.press("e")
        await turn(bench, "when.kind", "left")
        await turn(bench, "when.kind", "left")
        assert 'when = { for_blocks = 2, health_factor_trailing = "10%" }' in " ".join(page(bench).text.split("\n"))
        assert "Fires under its best" in bench.text(f"#row-{widget_id('when.health_factor_trailing')}")
        await set_entry(bench, "when.health_factor_trailing", "95%")
        (fault,) = parse_rules(page(bench).text, "rules.toml").errors
        assert fault.field == "when.health_factor_trailing"
        await set_entry(bench, "when.health_factor_trailing", "12.5%")
        rule = parse_rules(page(bench).text, "rules.toml").rules[0]
        assert parse_rules(page(bench).text, "rules.toml").faults == ()
        assert (rule.trigger.kind, rule.trigger.trailing_bps) == (TriggerKind.HEALTH_TRAILING, 1_250)
        await bench.press("ctrl+s")
        ((_, saved, *_),) = bench.commands("save_rules")
        assert saved == page(bench).text
        await turn(bench, "when.kind", "right")
        assert "health_factor_trailing" not in page(bench).text
        await turn(bench, "when.kind", "left")
        assert 'health_factor_trailing = "12.5%"' in page(bench).text, "what it said before is not lost"


async def test_a_boost_keeps_its_word_beside_a_target_of_health(open_app: Open) -> None:
    async with open_app(views.watching()) as bench:
        await bench.press("e")
        await turn(bench, "when.kind", "left")
        assert "Boosts above health" in bench.text(f"#row-{widget_id('when.health_factor_above')}")
        await turn(bench, "target.kind", "right")
        assert "Fires above health" in bench.text(f"#row-{widget_id('when.health_factor_above')}")


async def test_a_fault_of_a_key_without_a_field_stands_by_its_kind(open_app: Open) -> None:
    fault = RuleFault("rules.toml", 7, "price_of is not for this", "take it out", "guard", "when.price_of")
    facade = FakeFacade(views.watching(), preview_answer=Preview((fault,), ()))
    async with open_app(facade.view, facade=facade) as bench:
        await bench.press("e")
        assert "take it out" in bench.text(f"#fault-{widget_id('when.kind')}").replace("\n", " ")
