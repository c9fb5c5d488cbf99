"""The main screen: status, positions, detail, chart, rules and activity at any width."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from tui.screen.actions import Situation, Where
from tui.screen.base import FooterLine, Page, bindings_for
from tui.screen.messages import Chosen
from tui.screen.pane import LinePane
from tui.screen.panes import Activity, Chart, Detail, Positions, Rules, StatusBar, Tabs, Title, chart_note

if TYPE_CHECKING:
    from textual.geometry import Size

    from tui.model.view import PositionView, PriceHistory, RuleView, ViewState

TABBED_UNDER = (110, 30)
"""With fewer columns or rows than these only one of the lower panes fits; keys choose which."""
HUGE_FROM = 170
"""From this many columns on rules and activity stand side by side."""

CSS = """
    MainScreen { layout: vertical; background: $background; }
    #status { height: auto; }
    .title { height: 1; }
    #detail, #rules, #activity { padding: 0 0 0 1; }
    #chart { padding: 0 1; scrollbar-gutter: auto; }
    #positions { height: auto; max-height: 45%; }
    #lower { height: 1fr; layout: horizontal; }
    #left { width: 58%; height: 1fr; padding-right: 1; }
    #right { width: 1fr; height: 1fr; }
    #left, #right, .cell { layout: vertical; }
    .cell { height: auto; width: 1fr; }
    #detail { height: auto; }
    #cell-detail { max-height: 65%; }
    #cell-chart { height: 1fr; }
    #chart { height: 1fr; overflow-y: hidden; }
    #rules { height: auto; }
    #cell-rules { max-height: 60%; }
    #cell-activity { height: 1fr; }
    #activity { height: 1fr; }
    #tabs { height: 1; display: none; }
    .-huge #left { width: 1fr; }
    .-huge #right { layout: horizontal; width: 106; }
    .-huge #cell-rules { height: 1fr; width: 48; max-height: 100%; padding-right: 1; }
    .-tabbed #tabs { display: block; }
    .-tabbed #lower { layout: vertical; }
    .-tabbed .side { display: none; width: 100%; padding: 0; layout: vertical; }
    .-tabbed .side.shown { display: block; height: 1fr; }
    .-tabbed #left, .-tabbed #right { width: 100%; padding: 0; layout: vertical; }
    .-tabbed .cell { display: none; }
    .-tabbed .cell.shown { display: block; width: 100%; height: 1fr; padding: 0; max-height: 100%; }
    .-tabbed .side #cell-detail, .-tabbed .side #cell-rules { max-height: 100%; }
    .-tabbed .cell .title { display: none; }
    .-tabbed .cell #detail, .-tabbed .cell #rules { height: 1fr; }
    .-tabbed #positions { max-height: 45%; }
    .-roomy #positions, .-roomy #rules { margin-bottom: 1; }
"""
"""The app carries this: a default screen's own CSS would come a frame late."""


def layout_classes(size: Size) -> dict[str, bool]:
    """The classes of the main screen at a size. Known before the first layout, so that there is only one."""
    tabbed = size.width < TABBED_UNDER[0] or size.height < TABBED_UNDER[1]
    huge = size.width >= HUGE_FROM and not tabbed
    return {"-tabbed": tabbed, "-huge": huge, "-roomy": not tabbed}


class MainScreen(Page):
    """What a trader looks at all day."""

    LOWER: ClassVar[tuple[str, ...]] = ("detail", "chart", "rules", "activity")
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(Where.MAIN)
    AUTO_FOCUS = "#positions"
    where = Where.MAIN

    def __init__(self, size: Size) -> None:
        super().__init__(id="main", classes=" ".join(name for name, on in layout_classes(size).items() if on))
        self.chosen_position: str | None = None
        self.chosen_rule: str | None = None
        self.tab = "detail"
        self._asset: str | None = None

    def compose(self) -> ComposeResult:
        yield StatusBar(id="status")
        yield Title("positions")
        yield Positions(id="positions")
        yield Tabs(id="tabs")
        with Container(id="lower"):
            with Container(id="left", classes="side shown"):
                with Container(id="cell-detail", classes="cell shown"):
                    yield Title("detail")
                    yield Detail(id="detail")
                with Container(id="cell-chart", classes="cell"):
                    yield Title("chart")
                    yield Chart(id="chart")
            with Container(id="right", classes="side"):
                with Container(id="cell-rules", classes="cell"):
                    yield Title("rules")
                    yield Rules(id="rules")
                with Container(id="cell-activity", classes="cell"):
                    yield Title("activity")
                    yield Activity(id="activity")
        yield FooterLine(Where.MAIN)

    def on_resize(self, event: events.Resize) -> None:
        """Panes stand where they fit."""
        self.update_classes(layout_classes(event.size), animate=False)

    # ---- what is chosen

    def position(self) -> PositionView | None:
        """The chosen position as the view has it."""
        views = self.owner.view.positions
        return next((one for one in views if one.position.id == self.chosen_position), views[0] if views else None)

    def rule(self) -> RuleView | None:
        """The chosen rule as the view has it."""
        rules = self.owner.view.rules
        return next((one for one in rules if one.rule.name == self.chosen_rule), rules[0] if rules else None)

    def charted(self) -> PriceHistory | None:
        """The price history in the chart."""
        from tui.screen.draw.levels import chart_assets

        histories = chart_assets(self.owner.view, self.position())
        return next((one for one in histories if one.asset.address == self._asset), histories[0] if histories else None)

    def situation(self) -> Situation:
        return Situation(self.owner.view, self.owner.ready, self.position(), self.rule())

    def choose_position(self, position_id: str) -> None:
        """Show another position; its rule becomes the chosen one."""
        self.chosen_position = position_id
        self._asset = None
        chosen = self.position()
        if chosen is not None and chosen.rule is not None:
            self.chosen_rule = chosen.rule
        self.draw_all()

    def choose_rule(self, name: str) -> None:
        """Choose another rule."""
        self.chosen_rule = name
        self.draw_all()

    def on_chosen(self, message: Chosen) -> None:
        """A click on a row."""
        message.stop()
        if message.pane == "positions":
            self.choose_position(message.tag)
        elif message.pane == "rules":
            self.choose_rule(message.tag)

    def move(self, step: int) -> None:
        """Up or down in the pane that has the focus."""
        pane = self.focused
        views = self.owner.view
        if pane is not None and pane.id == "rules":
            names = [one.rule.name for one in views.rules]
            chosen = self.rule()
            if chosen is not None:
                self.choose_rule(names[(names.index(chosen.rule.name) + step) % len(names)])
            return
        if pane is not None and pane.id in ("detail", "chart", "activity"):
            pane.scroll_relative(y=step, animate=False)
            return
        ids = [one.position.id for one in views.positions]
        current = self.position()
        if current is not None:
            self.choose_position(ids[(ids.index(current.position.id) + step) % len(ids)])
            self.query_one(Positions).scroll_to(
                y=max(0, 2 * ids.index(self.chosen_position or ids[0]) - 1), animate=False, force=True
            )

    def next_asset(self) -> None:
        """Another asset in the chart."""
        from tui.screen.draw.levels import chart_assets

        histories = chart_assets(self.owner.view, self.position())
        current = self.charted()
        if current is not None:
            index = [one.asset.address for one in histories].index(current.asset.address)
            self._asset = histories[(index + 1) % len(histories)].asset.address
            self.draw_all()

    def go(self, pane: str) -> None:
        """Give a pane the focus, and show it where only one fits."""
        if pane in self.LOWER:
            self.tab = pane
            for name in self.LOWER:
                self.query_one(f"#cell-{name}").set_class(name == pane, "shown")
            self.query_one("#left").set_class(pane in ("detail", "chart"), "shown")
            self.query_one("#right").set_class(pane in ("rules", "activity"), "shown")
        self.query_one(f"#{pane}").focus()
        self.draw_all()

    def do_next_position(self) -> None:
        """Down."""
        self.move(1)

    def do_previous_position(self) -> None:
        """Up."""
        self.move(-1)

    def do_next_asset(self) -> None:
        """Another asset in the chart."""
        self.next_asset()

    def do_pane_detail(self) -> None:
        """To the detail."""
        self.go("detail")

    def do_pane_chart(self) -> None:
        """To the chart."""
        self.go("chart")

    def do_pane_rules(self) -> None:
        """To the rules."""
        self.go("rules")

    def do_pane_activity(self) -> None:
        """To what happened."""
        self.go("activity")

    def do_pane_positions(self) -> None:
        """Back to the positions."""
        self.go("positions")

    # ---- drawing

    def title_of(self, pane: str, width: int) -> tuple[str, str]:
        """A pane's name and the quiet note beside it."""
        if not self.owner.begun:
            return (pane if pane != "chart" else "price").capitalize(), ""
        view = self.owner.view
        if pane == "positions":
            from tui.screen.draw.gauge import LEGEND

            count = len(view.positions)
            return "Positions", LEGEND if width >= 100 else (f"{count}" if count else "")
        if pane == "detail":
            return "Detail", ""
        if pane == "chart":
            return chart_note(self)
        if pane == "rules":
            faults = len(view.rule_faults)
            return "Rules", f"{faults} fault{'s' if faults > 1 else ''}" if faults else ""
        return "Activity", f"{sum(1 for firing in view.firings if firing.state.is_open)} under way" if any(
            firing.state.is_open for firing in view.firings
        ) else ""

    def draw_all(self) -> None:
        """Every pane again; each paints only what differs."""
        if not self.is_attached:
            return
        with self.app.batch_update():
            for pane in self.query(LinePane):
                pane.redraw()

    def show_view(self, view: ViewState) -> None:
        if self.chosen_position is None and view.positions:
            self.chosen_position = view.positions[0].position.id
            self.chosen_rule = view.positions[0].rule
        self.draw_all()

    def tick(self) -> None:
        self.query_one(StatusBar).redraw()
        self.query_one(Rules).redraw()

    def on_descendant_focus(self) -> None:
        """The focused pane's rule is lit."""
        for title in self.query(Title):
            title.redraw()
