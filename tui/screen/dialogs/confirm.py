"""A plan that waits for a yes: opens and closes by itself, and never takes a key that was meant for elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.geometry import Size

from tui.engine.facade import CommandRefused
from tui.model.agreement import differs
from tui.model.rule import Rule
from tui.model.view import Confirmation, PositionView, ViewState
from tui.rules.evaluate import again_text
from tui.rules.state import fires_once
from tui.screen.actions import Where
from tui.screen.base import Dialog, FooterLine, bindings_for
from tui.screen.clean import clean_text
from tui.screen.draw.plan import confirmation_lines
from tui.screen.figures import countdown
from tui.screen.lines import BLANK, Line, Span, line, split, wrap
from tui.screen.pane import LinePane, ScrollPane

GUARD_SECONDS = 0.5
"""An answer counts only after half a second without any key: what was being typed elsewhere is no answer."""
_OWN_KEYS = frozenset({"y", "n", "escape", "up", "down", "pageup", "pagedown", "home", "end", "tab"})


class Countdown(LinePane):
    """Who asks and how long is left."""

    def draw(self, size: Size) -> Sequence[Line]:
        dialog = cast("ConfirmDialog", self.screen)
        left = dialog.seconds_left()
        role = "alarm" if left < 15 else "warn"
        title = split(
            [Span("─ ", "rule"), Span(f"{clean_text(dialog.confirmation.rule, 28)} asks: sign and send?", "title")],
            [Span(f"◷ {countdown(left)}", role)],
            size.width,
        )
        elapsed = max(0.0, min(1.0, left / dialog.lifetime))
        filled = round(elapsed * size.width)
        return [title, line(("━" * filled, role), ("─" * (size.width - filled), "faint")), BLANK]


class PlanPane(ScrollPane):
    """The plan itself; scrolls."""

    def draw(self, size: Size) -> Sequence[Line]:
        dialog = cast("ConfirmDialog", self.screen)
        return confirmation_lines(dialog.confirmation, dialog.position(), size.width)


NO_MEANS = "No: not asked again in this whole fall. Later: asked again while below."
ONCE_NO_MEANS = "No: not asked again until you arm it anew. Later: asked again while it is beyond its trigger."
BOOST_NO_MEANS = "No: not asked again before health was down at its trigger. Later: asked again while above."


def no_means(rule: Rule | None) -> str:
    """What each way of not signing means for a rule."""
    if rule is not None and fires_once(rule):
        return ONCE_NO_MEANS
    return BOOST_NO_MEANS if rule is not None and rule.boosts else NO_MEANS


class Notice(LinePane):
    """What each way of not signing means; then what became of the answer."""

    def draw(self, size: Size) -> Sequence[Line]:
        dialog = cast("ConfirmDialog", self.screen)
        text, role = dialog.notice
        return [BLANK, *(wrap(text, size.width, role) if text else wrap(no_means(dialog.rule()), size.width, "muted"))]


class ConfirmDialog(Dialog[None]):
    """One confirmation."""

    where = Where.CONFIRM
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(Where.CONFIRM)
    AUTO_FOCUS = "#plan"
    CSS = """
    ConfirmDialog #box {
        width: 96; max-width: 96%; height: auto; max-height: 94%; background: $surface; padding: 1 2 0 2;
    }
    ConfirmDialog #countdown { height: 3; }
    ConfirmDialog #plan { height: auto; max-height: 100%; }
    ConfirmDialog #notice { height: auto; }
    ConfirmDialog FooterLine { dock: none; background: $surface; margin-bottom: 1; }
    """

    def __init__(self, confirmation: Confirmation) -> None:
        super().__init__()
        self.confirmation = confirmation
        self.notice: tuple[str, str] = ("", "")
        self.lifetime = max(1.0, confirmation.expires_at - confirmation.created_at)
        self._quiet_since: float | None = None
        self._answered = False
        self._over = False

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Countdown(id="countdown")
            yield PlanPane(id="plan")
            yield Notice(id="notice")
            yield FooterLine(Where.CONFIRM)

    def on_mount(self) -> None:
        """From now on keys are listened to."""
        self._quiet_since = self.owner.monotonic()

    def on_resize(self) -> None:
        """The plan takes what the other lines leave."""
        box = max(4, int(self.size.height * 0.94) - 2)
        self.query_one(PlanPane).styles.max_height = max(3, box - 3 - 3 - 1)

    def on_key(self, event: events.Key) -> None:
        """A key that means nothing here was meant for something else: start waiting again."""
        if event.key not in _OWN_KEYS:
            self._quiet_since = self.owner.monotonic()

    # ---- facts

    def position(self) -> PositionView | None:
        """The position as the newest view has it, for its label and marks."""
        wanted = self.confirmation.position.id
        return next((one for one in self.owner.view.positions if one.position.id == wanted), None)

    def rule(self) -> Rule | None:
        """The rule that asks, as the newest view has it."""
        return next((one.rule for one in self.owner.view.rules if one.rule.name == self.confirmation.rule), None)

    def seconds_left(self) -> float:
        """Until it runs out."""
        return max(0.0, self.confirmation.expires_at - self.owner.clock())

    def _say(self, text: str, role: str) -> None:
        self.notice = (text, role)
        self.query_one(Notice).redraw()

    # ---- answers

    def _answer(self, yes: bool) -> None:
        now = self.owner.monotonic()
        quiet, self._quiet_since = self._quiet_since, now
        if self._answered:
            return
        if quiet is None or now - quiet < GUARD_SECONDS:
            self._say(f"That key came too soon after another to count. Press {'y' if yes else 'n'} again.", "warn")
            return
        if self.owner.facade is None:
            return
        self._answered = True
        rule = self.rule()
        refused = "Refused." if rule is None else f"Refused; it {again_text(rule)}."
        self._say("Answered; the engine is at it." if yes else refused, "muted")
        self.owner.run_worker(self._send(yes), group="answer", exit_on_error=False)

    async def _send(self, yes: bool) -> None:
        facade = self.owner.facade
        if facade is None:
            return
        try:
            await facade.answer(self.confirmation.id, yes, self.confirmation.digest)
        except CommandRefused as refused:
            self._answered = False
            if self.is_attached:
                self._say(clean_text(str(refused), 300), "alarm")
        else:
            self._close()

    def _close(self) -> None:
        if self.is_attached and self.on_top and not self._over:
            self._over = True
            self.dismiss(None)
            self.owner.call_later(self.owner.offer_confirmation)

    def do_confirm_yes(self) -> None:
        """Sign and send."""
        self._answer(True)

    def do_confirm_no(self) -> None:
        """Refuse."""
        self._answer(False)

    def do_confirm_leave(self) -> None:
        """Decide later."""
        self._close()
        self.owner.say("The plan still waits; c opens it again.")

    # ---- time

    def show_view(self, view: ViewState) -> None:
        """Gone from the view means answered, run out or overtaken."""
        same = next((one for one in view.confirmations if one.id == self.confirmation.id), None)
        if same is None or view.killed:
            self._leave("The kill switch ended the question." if view.killed else "The plan is no longer asked for.")
            return
        changed, self.confirmation = differs(self.confirmation.plan, same.plan), same
        if changed is not None and not self._answered:
            # A key that is on its way was meant for the plan before.
            self._quiet_since = self.owner.monotonic()
            self._say(f"Look again: {changed}.", "warn")
        for pane in self.query(LinePane):
            pane.redraw()

    def on_screen_resume(self) -> None:
        """What was asked may be gone since something else lay on top; and keys meant for that are no answer."""
        self._quiet_since = self.owner.monotonic()
        self.call_later(lambda: self.show_view(self.owner.view))

    def tick(self) -> None:
        self.query_one(Countdown).redraw()
        if self.seconds_left() <= 0:
            self._leave("The plan ran out unanswered; nothing was signed.")

    def _leave(self, why: str) -> None:
        if self._answered:
            self._close()
        elif self.on_top and not self._over:
            self._close()
            self.owner.say(why, "warning")
