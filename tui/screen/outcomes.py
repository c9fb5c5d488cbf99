"""What was expected of each firing beside what came of it, over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import Size

from tui.engine.facade import CommandRefused
from tui.model.outcome import Row
from tui.model.view import ViewState
from tui.screen.actions import Where
from tui.screen.base import FooterLine, Page, bindings_for
from tui.screen.draw.outcomes import outcomes_lines
from tui.screen.lines import Line, line, wrap
from tui.screen.pane import ScrollPane


class OutcomesText(ScrollPane):
    """The table; scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *ScrollPane.BINDINGS,
        ("down,j", "scroll_down", "Down"),
        ("up,k", "scroll_up", "Up"),
    ]

    def __init__(self) -> None:
        super().__init__(id="outcomes-text")
        self.rows: tuple[Row, ...] | None = None
        self.refused = ""

    def draw(self, size: Size) -> Sequence[Line]:
        if self.refused:
            return wrap(self.refused, size.width, "alarm")
        if self.rows is None:
            return [line(("Reading the journal.", "muted"))]
        return outcomes_lines(self.rows, size.width, self.owner.zone)


class OutcomesPage(Page):
    """Reads the journal when it opens, and again with each block. Leaves with Esc."""

    where = Where.OUTCOMES
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(Where.OUTCOMES)
    CSS = """
    OutcomesPage { background: $background; }
    OutcomesPage OutcomesText { height: 1fr; padding: 0 2; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._read_at: object = None

    def compose(self) -> ComposeResult:
        yield OutcomesText()
        yield FooterLine(Where.OUTCOMES)

    def on_mount(self) -> None:
        """Read for the first time."""
        self.show_view(self.owner.view)

    def show_view(self, view: ViewState) -> None:
        """Something may have ended meanwhile."""
        if self.owner.facade is not None and (self._read_at is None or self._read_at != view.chain.block):
            self._read_at = view.chain.block or self
            self.owner.run_worker(self._read(), group="outcomes", exclusive=True, exit_on_error=False)

    async def _read(self) -> None:
        facade = self.owner.facade
        if facade is None:
            return
        refused, rows = "", None
        try:
            rows = await facade.outcomes()
        except CommandRefused as error:
            refused = str(error)
        if self.is_attached:
            text = self.query_one(OutcomesText)
            text.rows, text.refused = rows, refused
            text.redraw()

    def do_outcomes_leave(self) -> None:
        """Back."""
        self.dismiss(None)
