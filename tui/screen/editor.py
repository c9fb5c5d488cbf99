"""The rules editor: a form and the same file as text, with what it would do at the current block beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.timer import Timer
from textual.widgets import Input, TextArea

from tui.engine.facade import CommandRefused, Preview
from tui.model.rule import RuleFault
from tui.rules.edit import (
    EditRefused,
    add_rule,
    add_step,
    change_step,
    change_table,
    move_step,
    remove_rule,
    remove_step,
    rename_rule,
    set_field,
    unset_field,
)
from tui.screen.actions import Where
from tui.screen.base import FooterLine, Page, bindings_for
from tui.screen.clean import clean_text
from tui.screen.editor_panes import Head, PreviewPane
from tui.screen.form import (
    ACTIONS,
    TARGET_KIND,
    WHEN_KIND,
    Edited,
    Entry,
    read_rules,
    step_at,
    step_shape,
    steps_in,
    typed_value,
    value_at,
)
from tui.screen.lines import line
from tui.screen.rule_form import RuleForm
from tui.screen.step_kinds import changed_step
from tui.screen.trigger_kinds import changed_goal, changed_trigger, kind_of

PREVIEW_AFTER = 0.3
"""Seconds without an edit before the engine is asked what the text would do."""


class EditorPage(Page):
    """Edits one text; the form writes into it and reads from it."""

    where = Where.EDITOR
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(Where.EDITOR)
    HORIZONTAL_BREAKPOINTS = [(0, "-stacked"), (100, "-beside")]  # noqa: RUF012 (Textual's own type)
    CSS = """
    EditorPage { background: $background; layout: vertical; }
    EditorPage #head { height: 3; }
    EditorPage #both { layout: horizontal; height: 1fr; }
    EditorPage #form { width: 1fr; height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    EditorPage #text { width: 1fr; height: 1fr; display: none; border: none; padding: 0; background: $background; }
    EditorPage.-text #text { display: block; }
    EditorPage.-text #form { display: none; }
    EditorPage #preview { width: 52; height: 1fr; padding: 0 1 0 2; background: $surface; }
    EditorPage.-stacked #both { layout: vertical; }
    EditorPage.-stacked #preview { width: 100%; height: 8; padding: 0 1; }
    """

    def __init__(self, rule: str | None) -> None:
        super().__init__(id="editor")
        self.rule = rule
        self.path = ""
        self.text = ""
        self.saved_text = ""
        self.digest = ""
        self.preview: Preview | None = None
        self.waiting = False
        self.trouble = ""
        self.as_text = False
        self._timer: Timer | None = None
        self._asked = 0
        self._refused: dict[str, str] = {}
        self._left: dict[tuple[str, int, str], Mapping[str, Any]] = {}
        self._left_parts: dict[tuple[str, str, str], Mapping[str, Any]] = {}

    def compose(self) -> ComposeResult:
        yield Head(id="head")
        with Container(id="both"):
            yield RuleForm(id="form", can_focus=False)
            yield TextArea("", show_line_numbers=True, soft_wrap=False, id="text", compact=True)
            yield PreviewPane(id="preview")
        yield FooterLine(Where.EDITOR)

    def on_mount(self) -> None:
        """Read the file."""
        self.query_one(TextArea).cursor_blink = self.owner.ticking
        self.owner.run_worker(self.read(), group="editor", exit_on_error=False)

    # ---- the text

    @property
    def unsaved(self) -> bool:
        """Whether the text differs from the file as it was read."""
        return self.text != self.saved_text

    def rules(self) -> list[Mapping[str, Any]]:
        """The rules in the text, none where it cannot be read."""
        try:
            return read_rules(self.text)
        except ValueError:
            return []

    def names(self) -> list[str]:
        """The names of the rules in the text."""
        return [str(one.get("name", "?")) for one in self.rules()]

    def table(self) -> Mapping[str, Any] | None:
        """The chosen rule's table."""
        return next((one for one in self.rules() if one.get("name") == self.rule), None)

    async def read(self) -> None:
        """Read the file as the engine has it."""
        facade = self.owner.facade
        if facade is None:
            return
        try:
            found = await facade.rules_text()
        except CommandRefused as refused:
            self.say(str(refused))
            return
        if not self.is_attached:
            return
        self.path, self.digest = found.path, found.digest
        self.text = self.saved_text = found.text
        self.trouble = ""
        self._forget_left()
        await self.fill()
        if self.on_top and not self.as_text:
            self.form.focus_field("name")
        await self.ask()

    def take(self, text: str) -> None:
        """The text changed."""
        if text != self.text:
            self.text = text
            self.waiting = True
            if self._timer is not None:
                self._timer.stop()
            self._timer = self.set_timer(PREVIEW_AFTER, self._ask_later)
        self.redraw_around()

    def _ask_later(self) -> None:
        self.owner.run_worker(self.ask(), group="preview", exit_on_error=False)

    async def ask(self) -> None:
        """Ask the engine what the text would do; an answer to an older text is dropped."""
        facade = self.owner.facade
        if facade is None:
            return
        self._asked += 1
        number = self._asked
        try:
            answer = await facade.preview(self.text)
        except CommandRefused as refused:
            self.say(str(refused))
            return
        if number == self._asked and self.is_attached:
            self.preview, self.waiting = answer, False
            self.show_faults(answer.faults)
            self.redraw_around()

    def say(self, text: str) -> None:
        """Trouble, at the top of the preview."""
        self.trouble = clean_text(text, 400)
        self.redraw_around()

    def redraw_around(self) -> None:
        """Head and preview again."""
        if self.is_attached:
            self.query_one(Head).redraw()
            self.query_one(PreviewPane).redraw()

    def try_edit(self, edit: Callable[[], str], field: str = "") -> bool:
        """Do an edit; where it is refused say why beside the field, and leave the text as it is."""
        try:
            changed = edit()
        except EditRefused as refused:
            if field:
                self._refused[field] = str(refused)
                self.form.fault_at(field, str(refused))
            else:
                self.say(str(refused))
            return False
        self._refused.pop(field, None)
        self.trouble = ""
        self.take(changed)
        return True

    # ---- the form

    @property
    def form(self) -> RuleForm:
        """The fields of the chosen rule."""
        return self.query_one(RuleForm)

    async def fill(self) -> None:
        """Show the text in the form."""
        names = self.names()
        if self.rule not in names:
            self.rule = names[0] if names else None
        self._refused.clear()
        await self.form.fill(self.table(), self.owner.ticking)
        if self.preview is not None:
            self.show_faults(self.preview.faults)
        self.redraw_around()

    def refill(self, focus: str = "") -> None:
        """Show the text in the form and put the focus into a field."""

        async def work() -> None:
            await self.fill()
            self.form.focus_field(focus)

        self.owner.run_worker(work(), group="editor", exit_on_error=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """A field was typed in."""
        event.stop()
        if isinstance(event.input, Entry):
            self.edit_field(event.input.field.key, event.value, event.input.field.needed)

    def on_edited(self, event: Edited) -> None:
        """A choice was made."""
        event.stop()
        self.edit_field(event.key, event.value, True)

    def edit_field(self, key: str, value: str, needed: bool) -> None:
        """Write one field into the text."""
        rule, table = self.rule, self.table()
        if rule is None or table is None:
            return
        self._refused.pop(key, None)
        if value_at(table, key) == value:
            return
        self.form.fault_at(key, "")
        if key in (WHEN_KIND, TARGET_KIND):
            self._change_part(rule, table, key, value)
        elif key.startswith("step.") and key.endswith(".action"):
            self._change_kind(rule, table, int(key.split(".")[1]), value)
        elif key == "name":
            if self.try_edit(lambda: rename_rule(self.text, rule, value), key):
                self.rule = value
                self.redraw_around()
        elif not value.strip() and not needed:
            self.try_edit(lambda: unset_field(self.text, rule, key), key)
        else:
            self.try_edit(lambda: set_field(self.text, rule, key, typed_value(key, value)), key)

    def _change_kind(self, rule: str, table: Mapping[str, Any], number: int, action: str) -> None:
        """Another action for a step: where that wants other fields they come with it, and what the step said of the
        kind that it leaves is kept in mind for the way back.
        """
        key, before = f"step.{number}.action", step_at(table, number)
        left, shape = step_shape(str(before.get("action"))), step_shape(action)
        if left == shape:
            self.try_edit(lambda: set_field(self.text, rule, key, action), key)
            return
        watched = [one.position for one in self.owner.view.positions]
        known = self._left.get((rule, number, shape), {})
        after, renamed = changed_step(before, action, str(table.get("position", "")), watched, known)
        if self.try_edit(lambda: change_step(self.text, rule, number, after, renamed), key):
            self._left[(rule, number, left)] = before
            self.refill(key)

    def _change_part(self, rule: str, table: Mapping[str, Any], key: str, kind: str) -> None:
        """Another kind of trigger or goal: its keys come with it; what the kind it leaves said is kept in mind."""
        part = key.partition(".")[0]
        before = table.get(part)
        before = before if isinstance(before, Mapping) else {}
        known = self._left_parts.get((rule, part, kind), {})
        if part == "when":
            watched = [one.position for one in self.owner.view.positions]
            after, renamed = changed_trigger(before, kind, str(table.get("position", "")), watched, known)
        else:
            after, renamed = changed_goal(kind, known)
        if self.try_edit(lambda: change_table(self.text, rule, part, after, renamed), key):
            self._left_parts[(rule, part, kind_of(table, part))] = before
            self.refill(key)

    def _forget_left(self) -> None:
        self._left.clear()
        self._left_parts.clear()

    def show_faults(self, faults: Sequence[RuleFault]) -> None:
        """Put each fault of the chosen rule under its field."""
        self.form.show_faults([one for one in faults if one.rule == self.rule], self._refused)

    # ---- actions

    def do_editor_form(self) -> None:
        """Form to text and back; a text that is no TOML stays a text."""
        area = self.query_one(TextArea)
        if not self.as_text:
            self.as_text = True
            area.load_text(self.text)
            self.add_class("-text")
            area.focus()
            self.redraw_around()
            return
        try:
            read_rules(self.text)
        except ValueError as error:
            self.say(f"The form cannot show this: {error}. Mend the text first.")
            return
        self.as_text = False
        self.trouble = ""
        self._forget_left()
        self.remove_class("-text")
        self.refill("name")

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """The text was typed in."""
        event.stop()
        if self.as_text:
            self.take(event.text_area.text)

    def do_editor_next(self) -> None:
        """The next rule of the file."""
        names = self.names()
        if names and not self.as_text:
            index = names.index(self.rule) if self.rule in names else -1
            self.rule = names[(index + 1) % len(names)]
            self.refill("name")

    def do_editor_add(self) -> None:
        """A rule that asks before it does anything."""
        taken = {name.casefold() for name in self.names()}
        name = next(f"guard{number}" for number in ("", *range(2, 1000)) if f"guard{number}" not in taken)
        shown = self.owner.view.positions
        debt = next((owed.asset.symbol for one in shown for owed in one.position.debt), "USDC")
        data = {
            "name": name,
            "position": shown[0].position.id if shown else "*",
            "mode": "confirm",
            "when": {"health_factor_below": "1.25", "for_blocks": 1},
            "target": {"health_factor": "1.50"},
            "step": [{"action": ACTIONS[0], "asset": clean_text(debt, 24)}],
        }
        if self.try_edit(lambda: add_rule(self.text, data)):
            self.rule = name
            self._shown_again("name")

    def _shown_again(self, focus: str) -> None:
        self._forget_left()
        if self.as_text:
            self.query_one(TextArea).load_text(self.text)
        else:
            self.refill(focus)

    def do_editor_remove(self) -> None:
        """Remove the chosen rule, after a question."""
        from tui.screen.dialogs.ask import AskDialog

        rule = self.rule
        if rule is None:
            self.owner.say("There is no rule to remove.", "warning")
            return

        def answered(yes: bool | None) -> None:
            if yes and self.try_edit(lambda: remove_rule(self.text, rule)):
                self.rule = None
                self._shown_again("name")

        said = [line("Its comments go with it. The file changes only when you save.")]
        self.app.push_screen(AskDialog(f"Remove rule {clean_text(rule, 40)}?", said), answered)

    def do_editor_step(self) -> None:
        """A step at the end of the waterfall."""
        rule, table = self.rule, self.table()
        if rule is None or table is None:
            self.owner.say("There is no rule to add a step to.", "warning")
        elif self.try_edit(lambda: add_step(self.text, rule, {"action": ACTIONS[0], "asset": "USDC"})):
            self._shown_again(f"step.{steps_in(table)}.action")

    def _with_step(self, edit: Callable[[str, int], str], then: Callable[[int], int]) -> None:
        number, rule = self.form.chosen_step(), self.rule
        if number is None or rule is None:
            self.owner.say("Go to a field of the step first.", "warning")
        elif self.try_edit(lambda: edit(rule, number)):
            self._shown_again(f"step.{max(0, then(number))}.action")

    def do_editor_step_up(self) -> None:
        """The chosen step one place up."""
        self._with_step(lambda rule, number: move_step(self.text, rule, number, number - 1), lambda number: number - 1)

    def do_editor_step_down(self) -> None:
        """The chosen step one place down."""
        self._with_step(lambda rule, number: move_step(self.text, rule, number, number + 1), lambda number: number + 1)

    def do_editor_step_remove(self) -> None:
        """The chosen step is gone."""
        self._with_step(lambda rule, number: remove_step(self.text, rule, number), lambda number: number - 1)

    def do_editor_save(self) -> None:
        """Write the file."""
        if not self.unsaved:
            self.owner.say("Nothing has changed since it was read.")
            return
        self.owner.run_worker(self.save(), group="editor", exit_on_error=False)

    async def save(self) -> None:
        """Write the file; refused where it changed since it was read."""
        facade = self.owner.facade
        if facade is None:
            return
        text = self.text
        try:
            await facade.save_rules(text, self.digest)
            found = await facade.rules_text()
        except CommandRefused as refused:
            self.say(f"Not saved: {refused}")
            return
        self.digest, self.saved_text = found.digest, text
        self.trouble = ""
        self.redraw_around()
        self.owner.say("Saved. A rule whose meaning changed is disarmed.")

    def do_editor_reload(self) -> None:
        """Read the file again."""
        self._unless_unsaved("Read the file again and lose what is not saved?", self._read_again)

    def _read_again(self) -> None:
        async def work() -> None:
            await self.read()
            self.query_one(TextArea).load_text(self.text)

        self.owner.run_worker(work(), group="editor", exit_on_error=False)

    def do_editor_leave(self) -> None:
        """Back to the main screen."""
        self._unless_unsaved("Leave and lose what is not saved?", lambda: cast("None", self.dismiss(None)))

    def _unless_unsaved(self, question: str, then: Callable[[], None]) -> None:
        from tui.screen.dialogs.ask import AskDialog

        if not self.unsaved:
            then()
            return

        def answered(yes: bool | None) -> None:
            if yes:
                then()

        self.app.push_screen(AskDialog(question, [line(("ctrl+s in the editor saves.", "muted"))]), answered)
