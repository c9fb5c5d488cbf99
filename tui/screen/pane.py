"""The one widget that draws lines: scrolls, repaints only rows that changed, knows colours from the theme alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.screen.lines import BLANK, Line
from tui.screen.messages import Chosen, Wanted

if TYPE_CHECKING:
    from tui.screen.app import TrimtabApp


class LinePane(ScrollView, can_focus=False, inherit_bindings=False):
    """A pane of lines. A subclass says in `draw` what its lines are at a given size."""

    ALLOW_SELECT = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("home", "scroll_home", "To the top", show=False),
        Binding("end", "scroll_end", "To the end", show=False),
    ]
    DEFAULT_CSS = """
    LinePane { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id, classes=classes)
        self._drawn: tuple[Line, ...] = ()
        self._strips: dict[Line, Strip] = {}
        self._strips_for: tuple[int, int, Style] | None = None

    @property
    def owner(self) -> TrimtabApp:
        """The app, as the type it is."""
        return cast("TrimtabApp", self.app)

    def draw(self, size: Size) -> Sequence[Line]:
        """The lines at a size in cells."""
        raise NotImplementedError

    @property
    def drawn(self) -> tuple[Line, ...]:
        """What is shown now."""
        return self._drawn

    def redraw(self) -> None:
        """Draw again; only rows that differ are painted."""
        if not self.is_attached or not self.size.width:
            return
        width = max(1, self.scrollable_content_region.width)
        size = Size(width, max(1, self.scrollable_content_region.height))
        before, self._drawn = self._drawn, tuple(self.draw(size))
        if len(before) != len(self._drawn):
            self.virtual_size = Size(width, len(self._drawn))
            self.refresh(layout=self.styles.height is not None and self.styles.height.is_auto)
            return
        top, bottom = self.scroll_offset.y, self.scroll_offset.y + self.size.height
        changed = [
            Region(0, row - top, self.size.width, 1)
            for row in range(top, min(bottom, len(before)))
            if before[row] != self._drawn[row]
        ]
        if changed:
            self.refresh(*changed)

    def forget(self) -> None:
        """Throw painted rows away, after the theme changed."""
        self._strips.clear()
        self._strips_for = None
        self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """The number of lines at this width."""
        return len(self.draw(Size(max(1, width), max(1, container.height))))

    def on_resize(self) -> None:
        """Lines depend on the width."""
        self.redraw()

    def render_line(self, y: int) -> Strip:
        """One row of the visible part."""
        width = self.scrollable_content_region.width
        base = self.rich_style
        key = (width, id(self.owner.styles_by_role), base)
        if key != self._strips_for:
            self._strips.clear()
            self._strips_for = key
        row = self.scroll_offset.y + y
        line = self._drawn[row] if row < len(self._drawn) else BLANK
        strip = self._strips.get(line)
        if strip is None:
            if len(self._strips) > 600:
                self._strips.clear()
            strip = self._strips[line] = self._paint(line, width, base)
        return strip

    def _paint(self, line: Line, width: int, base: Style) -> Strip:
        roles = self.owner.styles_by_role
        ground = base + roles[line.ground] if line.ground else base
        segments = [Segment(span.text, ground + roles[span.role] if span.role else ground) for span in line.spans]
        return Strip(segments).adjust_cell_length(width, ground)

    def on_click(self, event: events.Click) -> None:
        """A click does what its span says, or chooses what its row stands for."""
        offset = event.get_content_offset(self)
        row = (offset.y if offset is not None else -1) + self.scroll_offset.y
        if offset is None or not 0 <= row < len(self._drawn):
            return
        clicked, column = self._drawn[row], 0
        for span in clicked.spans:
            column += Segment(span.text).cell_length
            if offset.x < column:
                if span.action:
                    self.post_message(Wanted(span.action))
                    return
                break
        if clicked.tag:
            self.post_message(Chosen(self.id or "", clicked.tag))
