"""The one widget that draws lines: repaints only rows that changed, knows colours from the theme alone.

Nothing of the model is imported here: panes exist before the engine's rooms are loaded.
"""

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
from textual.widget import Widget

from tui.screen.lines import BLANK, Line
from tui.screen.messages import Chosen, Wanted

if TYPE_CHECKING:
    from tui.screen.app import TrimtabApp

_KEPT_STRIPS = 600


class LinePane(Widget):
    """A pane of lines. A subclass says in `draw` what its lines are at a given size."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "LinePane { width: 1fr; height: 1fr; overflow: hidden hidden; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 (Textual's name)
        super().__init__(id=id, classes=classes)
        self._drawn: Sequence[Line] = ()
        self._measured = -1
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
        """What is shown now, all of it."""
        return tuple(self._drawn)

    @property
    def first_row(self) -> int:
        """The line at the top of the visible part."""
        return 0

    def redraw(self) -> None:
        """Draw again; only rows that differ are painted."""
        if not self.is_attached or not self.size.width:
            return
        region = self.scrollable_content_region
        before, self._drawn = self._drawn, self.draw(Size(max(1, region.width), max(1, region.height)))
        if len(before) != len(self._drawn):
            self.resized(len(self._drawn))
            height = self.styles.height
            self.refresh(layout=height is not None and height.is_auto and len(self._drawn) != self._measured)
            return
        top = self.first_row
        changed = [
            Region(0, row - top, self.size.width, 1)
            for row in range(top, min(top + self.size.height, len(before)))
            if before[row] != self._drawn[row]
        ]
        if changed:
            self.refresh(*changed)

    def resized(self, lines: int) -> None:
        """There are now as many lines."""

    def forget(self) -> None:
        """Throw painted rows away, after the theme changed."""
        self._strips.clear()
        self._strips_for = None
        self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        """The number of lines at this width."""
        self._measured = len(self.draw(Size(max(1, width), max(1, container.height))))
        return self._measured

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
        row = self.first_row + y
        line = self._drawn[row] if row < len(self._drawn) else BLANK
        strip = self._strips.get(line)
        if strip is None:
            if len(self._strips) > _KEPT_STRIPS:
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
        row = (offset.y if offset is not None else -1) + self.first_row
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


class ScrollPane(LinePane, ScrollView, can_focus=True, inherit_bindings=False):
    """A pane with more lines than room. The scrollbar's column is kept free so that nothing moves when it appears."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page_up", "Page up", show=False),
        Binding("pagedown", "page_down", "Page down", show=False),
        Binding("home", "scroll_home", "To the top", show=False),
        Binding("end", "scroll_end", "To the end", show=False),
    ]
    DEFAULT_CSS = "ScrollPane { overflow: hidden auto; scrollbar-gutter: stable; scrollbar-size: 0 1; }"

    @property
    def first_row(self) -> int:
        """The line at the top of the visible part."""
        return self.scroll_offset.y

    def resized(self, lines: int) -> None:
        """The scrollbar follows the lines."""
        self.virtual_size = Size(max(1, self.scrollable_content_region.width), lines)
