"""The help: every key from the registry, what it does, and what Trimtab never does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import Size

from tui.model.rule import Mode
from tui.screen.actions import Where, actions_in, key_name, keys_of
from tui.screen.base import FooterLine, Page, bindings_for
from tui.screen.lines import BLANK, Line, cell, heading, line, wrap
from tui.screen.pane import ScrollPane
from tui.screen.words import ACTIVITY, MODE, PROTECTION, STATUS

_TITLES = {
    Where.EVERYWHERE: "Everywhere",
    Where.MAIN: "Main screen",
    Where.EDITOR: "Rules editor",
    Where.ARMING: "Arming",
    Where.CONFIRM: "A plan that waits for a yes",
    Where.ASK: "Questions",
    Where.OUTCOMES: "Outcomes",
    Where.HELP: "This page",
}
_MODES = {
    Mode.NOTIFY: "says that it would fire, signs nothing",
    Mode.CONFIRM: "shows the simulated plan and waits for y",
    Mode.AUTO: "signs and sends by itself once armed",
}


def help_lines(keymap: dict[str, str], width: int) -> list[Line]:
    """All of it in `width` cells."""
    rows: list[Line] = []
    for place, title in _TITLES.items():
        rows.append(heading(title, width))
        for action in actions_in(place):
            keys = " ".join(key_name(key) for key in keys_of(action, keymap))
            body = wrap(action.help, max(10, width - 16), "muted") if width < 60 else wrap(action.help, width - 34)
            first = body[0].spans if body else ()
            if width < 60:
                rows.append(line("  ", cell(keys, 13, "key"), (action.label, "strong")))
                rows += [line("               ", *row.spans) for row in body]
            else:
                rows.append(line("  ", cell(keys, 13, "key"), cell(action.label, 18, "strong"), *first))
                rows += [line(" " * 33, *row.spans) for row in body[1:]]
        rows.append(BLANK)
    rows.append(heading("What the words mean", width))
    for sign in (*PROTECTION.values(), *STATUS.values()):
        rows.append(line("  ", (sign.glyph, sign.role), " ", (sign.word, sign.role)))
    rows.append(line("  ", *((f"{sign.both}   ", sign.role) for sign in list(ACTIVITY.values())[:5])))
    rows.append(line("  ", *((f"{sign.both}   ", sign.role) for sign in list(ACTIVITY.values())[5:])))
    for mode, meaning in _MODES.items():
        rows.append(line("  ", cell(MODE[mode], 13, "strong"), (meaning, "")))
    rows.append(BLANK)
    rows.append(heading("What Trimtab does not protect from", width))
    for text in (
        "A computer that sleeps or is switched off: nothing is watched while Trimtab is not running.",
        "Nodes that are dead or lie: with one node, what it says is believed; a quorum is safer.",
        "A key file and its password in other hands.",
        "A market that falls faster than a block, or a chain too full to be included in.",
    ):
        rows += wrap(text, width - 2, "", "  · ", "    ")
    return rows


class HelpText(ScrollPane):
    """The text; scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *ScrollPane.BINDINGS,
        ("down,j", "scroll_down", "Down"),
        ("up,k", "scroll_up", "Up"),
    ]

    def draw(self, size: Size) -> Sequence[Line]:
        return help_lines(self.owner.keymap, size.width)


class HelpPage(Page):
    """Leaves with Esc."""

    where = Where.HELP
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(Where.HELP)
    CSS = """
    HelpPage { background: $background; }
    HelpPage HelpText { height: 1fr; padding: 0 2; }
    """

    def compose(self) -> ComposeResult:
        yield HelpText(id="help-text")
        yield FooterLine(Where.HELP)

    def do_help_leave(self) -> None:
        """Back."""
        self.dismiss(None)
