"""What stands around the editor's form: the file with its rules, and what the text would do now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual.geometry import Size

from tui.screen.clean import clean_text
from tui.screen.draw.preview import preview_lines
from tui.screen.lines import BLANK, Line, Span, clip, split
from tui.screen.pane import LinePane, ScrollPane

if TYPE_CHECKING:
    from tui.screen.editor import EditorPage


class Head(LinePane):
    """The file, whether it is saved, and the rules in it."""

    def draw(self, size: Size) -> Sequence[Line]:
        page = cast("EditorPage", self.screen)
        mark = Span("● not saved ", "warn") if page.unsaved else Span("✓ saved ", "good")
        title = split(
            [Span("─ ", "rule"), Span("Rules  ", "title"), Span(clean_text(page.path, 120), "muted")],
            [mark],
            size.width,
        )
        spans: list[Span] = [Span(" ")]
        for name in page.names():
            chosen = name == page.rule and not page.as_text
            spans += [Span(f" {clean_text(name, 24)} ", "readonly" if chosen else "muted"), Span(" ")]
        spans.append(Span(" TOML ", "readonly" if page.as_text else "muted", "editor-form"))
        return [title, Line(clip(spans, size.width)), BLANK]


class PreviewPane(ScrollPane, can_focus=False):
    """What the text would do now, and what is wrong with it."""

    def draw(self, size: Size) -> Sequence[Line]:
        page = cast("EditorPage", self.screen)
        return preview_lines(page.preview, page.rule, page.waiting, page.trouble, size.width)
