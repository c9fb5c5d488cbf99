"""A yes-or-no question with the facts it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.geometry import Size

from tui.screen.actions import Where
from tui.screen.base import Dialog, FooterLine, bindings_for
from tui.screen.lines import BLANK, Line, heading
from tui.screen.pane import ScrollPane


class Facts(ScrollPane, can_focus=False):
    """Lines that are given once."""

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        super().__init__(id="facts")
        self._title, self._lines = title, tuple(lines)

    def draw(self, size: Size) -> Sequence[Line]:
        return [heading(self._title, size.width), BLANK, *self._lines, BLANK]


class AskDialog(Dialog[bool]):
    """Answers True for y, False for n or Esc."""

    where = Where.ASK
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(Where.ASK)
    CSS = """
    AskDialog #box { width: 70; max-width: 96%; height: auto; max-height: 90%; background: $surface; padding: 1 2 0 2; }
    AskDialog #facts { height: auto; max-height: 100%; }
    AskDialog FooterLine { dock: none; background: $surface; margin-bottom: 1; }
    """

    def __init__(self, title: str, lines: Sequence[Line], id: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id)
        self._title, self._lines = title, lines

    def compose(self) -> ComposeResult:
        with Container(id="box"):
            yield Facts(self._title, self._lines)
            yield FooterLine(Where.ASK)

    def do_ask_yes(self) -> None:
        """Yes."""
        self.dismiss(True)

    def do_ask_no(self) -> None:
        """No."""
        self.dismiss(False)
