"""A password field that keeps its secret: no copy, no cut, no selection, no value in any message or repr."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

LONGEST = 1024


class PasswordInput(Widget, can_focus=True):
    """Shows a dot for each character typed. `take` hands the value out once and forgets it."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    PasswordInput { height: 1; width: 1fr; background: $panel; color: $foreground; padding: 0 1; }
    PasswordInput:focus { background: $primary 25%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Submit", show=False),
        Binding("backspace", "rub_out", "Delete the last character", show=False),
        Binding("ctrl+u,ctrl+w", "clear", "Delete everything", show=False),
        Binding(
            "ctrl+c,super+c,ctrl+x,ctrl+insert,shift+delete", "refuse_copy", "A password is not copied", show=False
        ),
    ]

    class Submitted(Message):
        """Enter was pressed. The value is not in here."""

    class Refused(Message):
        """Somebody tried to copy."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._secret: list[str] = []

    def __repr__(self) -> str:
        return "PasswordInput()"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is typed."""
        return not self._secret

    def take(self) -> str:
        """The value, once: the field is empty afterwards."""
        value = "".join(self._secret)
        self.action_clear()
        return value

    def check_consume_key(self, key: str, character: str | None) -> bool:  # noqa: ARG002
        """Printable characters belong to the password, never to a binding."""
        return character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        """One more character."""
        if event.is_printable and event.character is not None:
            event.stop()
            event.prevent_default()
            self._add(event.character)

    def on_paste(self, event: events.Paste) -> None:
        """Pasting into the field is allowed: password managers do."""
        event.stop()
        event.prevent_default()
        lines = event.text.splitlines()
        self._add("".join(character for character in (lines[0] if lines else "") if character.isprintable()))

    def _add(self, text: str) -> None:
        self._secret.extend(text[: max(0, LONGEST - len(self._secret))])
        self.refresh()

    def action_rub_out(self) -> None:
        """Forget the last character."""
        if self._secret:
            self._secret.pop()
        self.refresh()

    def action_clear(self) -> None:
        """Forget everything."""
        self._secret.clear()
        self.refresh()

    def action_submit(self) -> None:
        """Say that it is complete."""
        self.post_message(self.Submitted())

    def action_refuse_copy(self) -> None:
        """Say that it is not copied."""
        self.post_message(self.Refused())

    def on_unmount(self) -> None:
        """Nothing stays behind."""
        self._secret.clear()

    def render_line(self, y: int) -> Strip:  # noqa: ARG002
        """Dots and a cursor."""
        width = self.content_size.width
        base = self.rich_style
        shown = min(len(self._secret), max(0, width - 1))
        segments = [Segment("•" * shown, base)]
        if self.has_focus:
            segments.append(Segment(" ", base + Style(reverse=True)))
        return Strip(segments).adjust_cell_length(width, base)
