"""The panes of the main screen: each draws one part of the view.

What draws is imported when the first frame is on the terminal; until then placeholders stand here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual.geometry import Size

from tui.screen.lines import BLANK, Line, Span, clip, heading, line
from tui.screen.pane import LinePane, ScrollPane

if TYPE_CHECKING:
    from tui.screen.main import MainScreen


class MainPane(ScrollPane):
    """A pane of the main screen, under a thin rule with its name."""

    @property
    def main(self) -> MainScreen:
        """The screen it is on."""
        return cast("MainScreen", self.screen)


class StatusBar(LinePane):
    """The lines that are always on screen."""

    def draw(self, size: Size) -> Sequence[Line]:
        if not self.owner.begun:
            return [Line((Span(" ◌ STARTING ", "readonly"), Span(" Starting the engine.")), "bar"), Line(ground="bar")]
        from tui.screen.draw.status import status_lines

        return status_lines(self.owner.view, self.owner.local(), size.width)


class Title(LinePane):
    """The thin rule above a pane, with its name and a quiet note."""

    def __init__(self, pane: str) -> None:
        super().__init__(id=f"title-{pane}", classes="title")
        self._pane = pane

    def draw(self, size: Size) -> Sequence[Line]:
        main = cast("MainScreen", self.screen)
        name, note = main.title_of(self._pane, size.width)
        row = heading(name, size.width, note)
        focused = self.screen.focused
        if focused is not None and focused.id == self._pane:
            row = Line(tuple(Span(span.text, "accent" if span.role == "rule" else span.role) for span in row.spans))
        return [row]


class Positions(MainPane):
    """All positions with their gauges."""

    def draw(self, size: Size) -> Sequence[Line]:
        if not self.owner.begun:
            return [line(("  Starting: nothing has been read yet.", "muted"))]
        from tui.screen.draw.positions import positions_lines

        return positions_lines(self.owner.view, size.width, self.main.chosen_position, self.owner.ready)


class Detail(MainPane):
    """The chosen position."""

    def draw(self, size: Size) -> Sequence[Line]:
        if not self.owner.begun:
            return [BLANK]
        from tui.screen.draw.detail import detail_lines

        return detail_lines(self.owner.view, self.main.position(), size.width)


class Chart(MainPane):
    """The price of one asset of the chosen position."""

    def draw(self, size: Size) -> Sequence[Line]:
        if not self.owner.begun:
            return [BLANK]
        from tui.screen.draw.chart import chart
        from tui.screen.draw.levels import levels_for

        history = self.main.charted()
        if history is None:
            return [line(("No price has been seen yet.", "muted"))]
        view = self.owner.view
        levels = levels_for(history.asset, self.main.position())
        return chart(history.points, levels, size.width, size.height, self.owner.zone, view.chain.blind is not None)


class Rules(MainPane):
    """All rules and what they do."""

    def draw(self, size: Size) -> Sequence[Line]:
        if not self.owner.begun:
            return [BLANK]
        from tui.screen.draw.rules import rules_lines

        return rules_lines(self.owner.view, size.width, self.main.chosen_rule, self.owner.clock())


class Activity(MainPane):
    """What is under way and what happened."""

    def draw(self, size: Size) -> Sequence[Line]:
        if not self.owner.begun:
            return [BLANK]
        from tui.screen.draw.activity import activity_lines

        return activity_lines(self.owner.view, size.width, self.owner.zone)


class Tabs(LinePane):
    """The names of the lower panes where only one of them fits."""

    def draw(self, size: Size) -> Sequence[Line]:
        main = cast("MainScreen", self.screen)
        spans: list[Span] = []
        for number, name in enumerate(main.LOWER, 1):
            shown = name == main.tab
            spans += [
                Span("─", "rule"),
                Span(f" {number} ", "key" if shown else "muted", f"pane-{name}"),
                Span(f"{name} ", "title" if shown else "muted", f"pane-{name}"),
            ]
        used = sum(len(span.text) for span in spans)
        return [Line(clip((*spans, Span("─" * max(0, size.width - used), "rule")), size.width))]


def chart_note(main: MainScreen) -> tuple[str, str]:
    """The chart's name and what it says beside it."""
    from tui.screen.clean import clean_text
    from tui.screen.draw.levels import chart_assets
    from tui.screen.figures import age, price

    history = main.charted()
    if history is None or not history.points:
        return "Price", ""
    extent = history.points[-1].timestamp - history.points[0].timestamp
    count = len(chart_assets(main.owner.view, main.position()))
    name = f"{clean_text(history.asset.symbol, 12)} {price(history.points[-1].price_usd)}"
    return name, f"last {age(extent)}" + (f" · p: next of {count}" if count > 1 else "")
