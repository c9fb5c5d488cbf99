"""What all screens share: bindings from the registry, the footer line, and being told of new views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, cast

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import ModalScreen, Screen

from tui.screen.actions import Situation, Where, actions_in, key_name, keys_of, reason_against
from tui.screen.lines import Line, Span, clip, width_of
from tui.screen.messages import Wanted
from tui.screen.pane import LinePane

if TYPE_CHECKING:
    from tui.model.view import ViewState
    from tui.screen.app import TrimtabApp

Result = TypeVar("Result")


def bindings_for(*places: Where) -> list[BindingType]:
    """The bindings of the actions of these screens; fixed keys are bound apart so that no keymap can move them."""
    bindings: list[BindingType] = []
    for action in actions_in(*places):
        command = f"app.do('{action.id}')"
        bindings.append(Binding(action.keys, command, action.label, id=action.id, priority=action.priority, show=False))
        if action.fixed:
            bindings.append(Binding(action.fixed, command, action.label, priority=True, show=False))
    return bindings


class FooterLine(LinePane):
    """Keys that make sense on this screen, and dimmed those that do not right now."""

    DEFAULT_CSS = """
    FooterLine { height: 1; dock: bottom; background: $surface; overflow-y: hidden; }
    """

    def __init__(self, *places: Where) -> None:
        super().__init__(id="footer")
        self._places = places

    def draw(self, size: Size) -> Sequence[Line]:
        now = self.owner.situation() if self.owner.begun else None
        spans: list[Span] = [Span(" ")]
        everywhere = actions_in(Where.EVERYWHERE)
        for action in (everywhere[0], *actions_in(*self._places), *everywhere[1:]):
            if not action.footer:
                continue
            off = now is None or reason_against(action, now) is not None
            key = key_name(keys_of(action, self.owner.keymap)[0])
            pair = (
                Span(key, "faint" if off else "key", action.id),
                Span(f" {action.label}   ", "faint" if off else "muted", action.id),
            )
            if width_of(spans) + width_of(pair) - 2 > size.width:
                continue
            spans += pair
        return [Line(clip(spans, size.width))]


class ViewMixin:
    """A screen that is told of new views and of the passing of seconds."""

    where: ClassVar[Where]

    @property
    def owner(self) -> TrimtabApp:
        """The app, as the type it is."""
        return cast("TrimtabApp", cast("Screen[object]", self).app)

    def situation(self) -> Situation:
        """What actions on this screen are judged by."""
        return Situation(self.owner.view, self.owner.ready)

    @property
    def on_top(self) -> bool:
        """Whether no other screen lies on this one. (Textual calls a screen current under a dialog, too.)"""
        return cast("object", self.owner.screen) is self

    def show_view(self, view: ViewState) -> None:
        """A new view came."""

    def tick(self) -> None:
        """A second passed."""

    def repaint(self) -> None:
        """The theme changed."""
        for pane in cast("Screen[object]", self).query(LinePane):
            pane.forget()

    def refresh_footer(self) -> None:
        """What is enabled may have changed."""
        for footer in cast("Screen[object]", self).query(FooterLine):
            footer.redraw()


class Page(ViewMixin, Screen[None]):
    """A full screen."""

    def on_wanted(self, message: Wanted) -> None:
        """A click asked for an action."""
        message.stop()
        self.owner.do(message.action_id)


class Dialog(ViewMixin, ModalScreen[Result], Generic[Result]):
    """A screen on top of another one; Esc leaves it."""

    def on_wanted(self, message: Wanted) -> None:
        """A click asked for an action."""
        message.stop()
        self.owner.do(message.action_id)
