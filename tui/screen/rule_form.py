"""The form of one rule: filled from its table in the text, with what is wrong under each field.

Filling it again reuses the fields as long as the rule has the same kinds of steps, so that the next rule is there at
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from textual import events
from textual.containers import VerticalScroll

from tui.model.rule import RuleFault, Severity
from tui.screen.form import (
    LIMITS,
    Choice,
    Entry,
    Row,
    Section,
    goal_kind,
    rule_fields,
    step_fields,
    step_shape,
    steps_in,
    trigger_kind,
    value_at,
    widget_id,
)

_TOOLS = (("↑", "editor-step-up"), ("↓", "editor-step-down"), ("✕", "editor-step-remove"))


class RuleForm(VerticalScroll):
    """The fields of the chosen rule."""

    _shape: tuple[str | bool, ...] | None = None
    """The kinds of trigger and goal, then for each step whether it is a sale; None where no rule is shown."""

    async def fill(self, table: Mapping[str, Any] | None, blink: bool) -> None:
        """Show a rule; None where there is none. `blink`: whether cursors do."""
        actions = [] if table is None else [value_at(table, f"step.{at}.action") for at in range(steps_in(table))]
        shape: tuple[str | bool, ...] | None = None
        if table is not None:
            shape = (trigger_kind(table), goal_kind(table), *(step_shape(action) for action in actions))
        if table is not None and shape == self._shape:
            for row in self.query(Row):
                row.take(value_at(table, row.field.key))
            return
        self._shape = shape
        await self.remove_children()
        if table is None:
            await self.mount(Section("There is no rule in the file yet.", (("F4 add rule", "editor-add"),)))
            return
        rows: list[Row | Section] = [Row(field, value_at(table, field.key), blink) for field in rule_fields(table)]
        for number, action in enumerate(actions):
            rows.append(Section(f"Step {number + 1}", _TOOLS, number))
            rows += [Row(field, value_at(table, field.key), blink) for field in step_fields(number, action)]
        rows.append(Section("", (("F5 add step", "editor-step"),)))
        rows.append(Section("Limits"))
        rows += [Row(field, value_at(table, field.key), blink) for field in LIMITS]
        await self.mount_all(rows)

    def focus_field(self, key: str) -> None:
        """Put the focus into a field, where there is such a field."""
        for field in self.query(f"#{widget_id(key)}"):
            field.focus()

    def fault_at(self, key: str, text: str, role: str = "alarm") -> None:
        """Show a fault under its field, where there is such a field."""
        for row in self.query(f"#row-{widget_id(key)}").results(Row):
            row.say(text, role)

    def show_faults(self, faults: Iterable[RuleFault], refused: Mapping[str, str]) -> None:
        """Put each fault under its field, and why an edit was refused."""
        for row in self.query(Row):
            row.say("")
        for one in faults:
            if one.field:
                bad = one.severity is Severity.ERROR
                self.fault_at(self._nearest(one.field), f"{one.what}; {one.fix}", "alarm" if bad else "warn")
        for key, said in refused.items():
            self.fault_at(key, said)

    def _nearest(self, key: str) -> str:
        """The field of a key; for a key that has none, the field of the kind that it is of."""
        if self.query(f"#row-{widget_id(key)}"):
            return key
        if key.partition(".")[0] in ("when", "target"):
            return f"{key.partition('.')[0]}.kind"
        if not key.startswith("step."):
            return key
        return ".".join([*key.split(".")[:2], "action"])

    def chosen_step(self) -> int | None:
        """The step whose field has the focus."""
        focused = self.screen.focused
        if isinstance(focused, Entry | Choice) and focused.field.key.startswith("step."):
            return int(focused.field.key.split(".")[1])
        return None

    def on_click(self, event: events.Click) -> None:
        """A click on a step's tools means that step."""
        if isinstance(event.widget, Section) and event.widget.step is not None:
            for action in self.query(f"#{widget_id(f'step.{event.widget.step}.action')}"):
                self.screen.set_focus(action)
