"""Arming: what the rule may spend and what would stop it, then its name typed and the keystore unlocked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Input, Label

from tui.engine.facade import ArmingReport, CommandRefused, KeyUse, Passwords
from tui.model.text import short_address
from tui.model.view import RuleView, TriggerPrice
from tui.rules.prices import side_word
from tui.screen.actions import Where
from tui.screen.base import Dialog, FooterLine, bindings_for
from tui.screen.clean import clean_text
from tui.screen.draw.rules import goal_words, limits_sentence, plan_sentence, trigger_words
from tui.screen.figures import distance, health, level, part, price, ratio
from tui.screen.lines import BLANK, Line, heading, line, wrap
from tui.screen.pane import LinePane, ScrollPane
from tui.screen.password import PasswordInput
from tui.screen.words import MODE

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def level_now(rule: RuleView, triggers: Sequence[TriggerPrice]) -> list[str]:
    """Where the price of a trigger that trails is now, or the health: its level is written nowhere else."""
    if not rule.rule.trigger.trails:
        return []
    found = []
    for one in triggers:
        if one.rule == rule.rule.name:
            at = price(one.price_usd) if one.level is None else level(one.level)
            away = "" if one.distance_bps is None else f" ({distance(one.distance_bps)})"
            under = "" if one.health_factor is None else f"health {health(one.health_factor)}, "
            found.append(f"{under}{clean_text(one.asset.symbol, 12)} {at}{away}")
    return list(dict.fromkeys(found))


def report_lines(
    report: ArmingReport | None, rule: RuleView | None, width: int, triggers: Sequence[TriggerPrice] = ()
) -> list[Line]:
    """What arming would mean. `triggers` are the prices at which rules fire now."""
    rows: list[Line] = []
    if rule is not None:
        meant = rule.rule
        does = {"notify": "only tells you", "confirm": "asks you before it signs", "auto": "signs and sends by itself"}
        rows.append(line((f"{MODE[meant.mode]}: ", "strong"), does[meant.mode.value]))
        closes = meant.close_bps is not None
        goal = f"{part(meant.close_bps or 0)} of the debt" if closes else goal_words(meant)
        by_price = meant.trigger.by_value
        rows.append(
            line(
                ("fires with " if by_price else f"fires {side_word(meant.trigger)} ", "muted"),
                (trigger_words(meant) if by_price else ratio(meant.trigger.level), "trigger"),
                (" and closes " if closes else " and goes to ", "muted"),
                (goal, "target"),
            )
        )
        rows += [line((f"now that is at {one}", "muted")) for one in level_now(rule, triggers)]
        if rule.evaluation is not None and rule.evaluation.plan is not None:
            rows += wrap(f"now it would {plan_sentence(rule.evaluation.plan)}", width, "")
        limits = limits_sentence(meant)
        if limits:
            rows += wrap(limits, width, "muted")
    if report is None:
        return [*rows, BLANK, line(("Asking the engine what arming would mean.", "muted"))]
    rows += [BLANK, line(("It may spend", "label"))]
    for text in report.spends or ("nothing",):
        rows += wrap(clean_text(text, 200), width, "", "  ", "  ")
    if _others_sign(report):
        rows += [BLANK, line(("It is signed by", "label"))]
        for use in report.keys:
            told = f"{short_address(use.account)} with {clean_text(use.keystore, 120)}: {', '.join(use.signs)}"
            rows += wrap(clean_text(told, 400), width, "muted", "  ", "  ")
        rows += wrap(f"for the position of {short_address(report.account or '')}", width, "muted", "  ", "  ")
    elif report.account is not None:
        keystore = "" if report.keystore is None else f" with {clean_text(report.keystore, 120)}"
        rows += wrap(f"from {short_address(report.account)}{keystore}", width, "muted", "  ", "  ")
    if report.warnings:
        rows += [BLANK, line(("Know before you arm it", "label"))]
        for text in report.warnings:
            rows += wrap(clean_text(text, 600), width, "warn", "▲ ", "  ")
    if report.problems:
        rows += [BLANK, line(("It cannot be armed", "alarm"))]
        for text in report.problems:
            rows += wrap(clean_text(text, 600), width, "alarm", "✖ ", "  ")
    return rows


def _others_sign(report: ArmingReport) -> bool:
    """Whether any other key than that of the position's account is needed."""
    return any(use.account != report.account for use in report.keys)


class Report(ScrollPane):
    """What arming would mean; scrolls."""

    def draw(self, size: Size) -> Sequence[Line]:
        dialog = cast("ArmDialog", self.screen)
        triggers = [at for one in dialog.owner.view.positions for at in one.trigger_prices]
        title = heading(f"Arm {clean_text(dialog.rule, 40)}", size.width)
        return [title, BLANK, *report_lines(dialog.report, dialog.rule_view(), size.width, triggers)]


class Outcome(LinePane):
    """What is wrong, or that the keystore is being unlocked."""

    def draw(self, size: Size) -> Sequence[Line]:
        text, role = cast("ArmDialog", self.screen).outcome
        return wrap(text, size.width, role) or [BLANK]


def _password_field(label: str, place: int) -> Container:
    """A field for the password of one key file, the `place`th from 0."""
    name = "password" if place == 0 else f"password-{place}"
    return Container(Label(label, markup=False, id=f"label-{place}"), PasswordInput(id=name), classes="field")


class ArmDialog(Dialog[None]):
    """Arms one rule, or says why not."""

    where = Where.ARMING
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings_for(Where.ARMING),
        # Before any widget sees the key: what is typed right behind a tab must never land in the field that shows it.
        Binding("tab", "other_field(1)", show=False, priority=True),
        Binding("shift+tab", "other_field(-1)", show=False, priority=True),
    ]
    AUTO_FOCUS = "#typed"
    CSS = """
    ArmDialog #box { width: 76; max-width: 96%; height: auto; max-height: 94%; background: $surface; padding: 1 2 0 2; }
    ArmDialog #report { height: auto; max-height: 24; margin-bottom: 1; }
    ArmDialog #passwords { height: auto; }
    ArmDialog .field { height: 1; layout: horizontal; margin-bottom: 1; }
    ArmDialog .field Label { width: 26; color: $foreground 70%; }
    ArmDialog Input, ArmDialog Input.-textual-compact {
        border: none; height: 1; padding: 0 1; background: $panel; width: 1fr;
    }
    ArmDialog Input:focus { background: $primary 25%; border: none; }
    ArmDialog #outcome { height: auto; min-height: 1; margin-bottom: 1; }
    ArmDialog FooterLine { dock: none; background: $surface; margin-bottom: 1; }
    """

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule
        self.report: ArmingReport | None = None
        self.outcome: tuple[str, str] = ("Enter in the password field arms the rule.", "muted")
        self._busy = False
        self._done = False
        self._frame = 0

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Report(id="report")
            with Container(classes="field"):
                yield Label("Type the rule's name", markup=False)
                yield Input(id="typed", compact=True, select_on_focus=False)
            with Container(id="passwords"):
                yield _password_field("Password of the key file", 0)
            yield Outcome(id="outcome")
            yield FooterLine(Where.ARMING)

    def on_mount(self) -> None:
        """Ask what arming would mean."""
        if self.owner.password_hint:
            self.say(f"{self.owner.password_hint} Enter in the password field arms the rule.", "muted")
        self.query_one(Input).cursor_blink = False
        if self.owner.facade is not None:
            self.owner.run_worker(self._ask(), group="arming", exit_on_error=False)

    def on_resize(self) -> None:
        """The report takes what the fields leave."""
        more = 2 * (len(self.passwords) - 1)
        self.query_one(Report).styles.max_height = max(4, int(self.size.height * 0.94) - 10 - more)

    @property
    def passwords(self) -> list[PasswordInput]:
        """The fields of passwords, one for each key that the rule needs, in the order of the report."""
        return list(self.query(PasswordInput))

    def action_other_field(self, by: int) -> None:
        """From the name to the passwords and round again, at once: `by` fields further."""
        fields: list[Widget] = [self.query_one(Input), *self.passwords]
        at = fields.index(self.focused) if self.focused in fields else 0
        self.set_focus(fields[(at + by) % len(fields)])

    async def _ask_for_every_key(self, keys: Sequence[KeyUse]) -> None:
        """A field for each key file; what was typed into the first one stays there."""
        for place, use in enumerate(keys):
            named = f"Password of {short_address(use.account)}"
            if place < len(self.passwords):
                self.query_one(f"#passwords #label-{place}", Label).update(named)
            else:
                await self.query_one("#passwords").mount(_password_field(named, place))
        self.on_resize()
        self.say("Enter in the last password field arms the rule. An empty one takes the password above it.", "muted")

    def rule_view(self) -> RuleView | None:
        """The rule as the newest view has it."""
        return next((one for one in self.owner.view.rules if one.rule.name == self.rule), None)

    async def _ask(self) -> None:
        facade = self.owner.facade
        if facade is None:
            return
        try:
            self.report = await facade.arming_report(self.rule)
        except CommandRefused as refused:
            self.say(str(refused), "alarm")
            return
        if self.is_attached:
            if len(self.report.keys) > 1:
                await self._ask_for_every_key(self.report.keys)
            self.query_one(Report).redraw()
            if self.report.problems:
                self.say("It cannot be armed as things are.", "alarm")

    def say(self, text: str, role: str) -> None:
        """Show what is wrong in place."""
        self.outcome = (clean_text(text, 600), role)
        if self.is_attached:
            self.query_one(Outcome).redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the name goes to the password."""
        event.stop()
        self.set_focus(self.query_one(PasswordInput))

    def on_password_input_refused(self) -> None:
        """Copying is refused in words."""
        self.say("A password is not copied from here.", "warn")

    def on_password_input_submitted(self) -> None:
        """To the next password; from the last one arm, where the name fits and nothing forbids it."""
        if self._busy:
            return
        fields = self.passwords
        if self.focused in fields[:-1]:
            self.set_focus(fields[fields.index(self.focused) + 1])
            return
        typed = self.query_one(Input).value.strip()
        field = fields[0]
        if self.report is None:
            self.say("The engine has not answered yet what arming would mean.", "warn")
        elif self.report.problems:
            self.say("It cannot be armed as things are.", "alarm")
        elif typed != self.rule:
            self.say("That is not the rule's name. Type it exactly as it stands above.", "alarm")
            self.query_one(Input).focus()
        elif field.is_empty:
            self.say("Type the password of the key file.", "warn")
            field.focus()
        else:
            self._busy = True
            self._spin()
            self.owner.run_worker(self._arm(typed), group="arming", exit_on_error=False)

    def _spin(self) -> None:
        if not self._busy or not self.is_attached:
            return
        self.say(
            f"{_SPINNER[self._frame % len(_SPINNER)]} Unlocking the key file; this takes a second or two.", "accent"
        )
        self._frame += 1
        if self.owner.ticking:
            self.set_timer(0.12, self._spin)

    async def _arm(self, typed: str) -> None:
        facade = self.owner.facade
        if facade is None:
            return
        try:
            await facade.arm(self.rule, typed, self._taken())
        except CommandRefused as refused:
            self._busy = False
            self.say(str(refused), "alarm")
            if self.is_attached:
                self.query_one(PasswordInput).focus()
        else:
            self._busy = False
            self.owner.say(f"{self.rule} is armed.")
            self._done = True
            self._close_when_done()

    def _taken(self) -> Passwords:
        """The passwords, once: one for the only key, else by account; an empty field means what stands above it."""
        keys = () if self.report is None else self.report.keys
        typed = [field.take() for field in self.passwords]
        if len(keys) < 2:
            return typed[0]
        for place in range(1, len(typed)):
            typed[place] = typed[place] or typed[place - 1]
        return {use.account: password for use, password in zip(keys, typed, strict=True)}

    def on_screen_resume(self) -> None:
        """The rule may have been armed while something else lay on top."""
        self.call_later(self._close_when_done)

    def _close_when_done(self) -> None:
        if self._done and self.is_attached and self.on_top:
            self._done = False
            self.dismiss(None)

    def do_arming_leave(self) -> None:
        """Leave without arming; passwords that were typed are forgotten."""
        for field in self.passwords:
            field.action_clear()
        if self._busy:
            self.owner.say(
                "The key file is still being unlocked; disarm the rule if you did not mean to arm it.", "warning"
            )
        self.dismiss(None)
