"""What is armed and under way, in words: before leaving, after it, and before the kill switch is released."""

from __future__ import annotations

from collections.abc import Sequence

from tui.model.intent import Firing, Intent
from tui.model.view import RuleView, ViewState
from tui.screen.clean import clean_text
from tui.screen.draw.positions import is_guarding
from tui.screen.lines import Line, line, wrap
from tui.screen.words import ACTIVITY, FIRING


def armed_rules(view: ViewState) -> list[RuleView]:
    """The rules that leaving disarms; none where another process holds the engine."""
    if view.read_only:
        return []
    return [rule for rule in view.rules if is_guarding(rule.activity) or rule.armed_since is not None]


def open_firings(view: ViewState) -> list[Firing]:
    """What may still change something on chain."""
    return [] if view.read_only else [firing for firing in view.firings if firing.state.is_open]


def unsettled(view: ViewState) -> list[Intent]:
    """Transactions whose nonce is bound and that are in no block yet, oldest first."""
    return [
        intent
        for firing in reversed(view.firings)
        for intent in firing.intents
        if intent.nonce is not None and intent.state.value in ("RESERVED", "SIGNED", "MAYBE_SENT")
    ]


def release_lines(view: ViewState) -> list[Line]:
    """What releasing the kill switch means now: arming outlives it, so armed rules are live again at once."""
    rows: list[Line] = []
    armed = [rule for rule in view.rules if rule.armed_since is not None]
    if view.read_only:
        rows += wrap("Another process holds the engine: what is armed there becomes live again at once.", 64, "warn")
    elif armed:
        names = ", ".join(clean_text(rule.rule.name, 40) for rule in armed)
        lead = f"{names} {'becomes' if len(armed) == 1 else 'become'} live again"
        if view.held is None:
            rows += wrap(f"{lead} at once.", 64, "warn", "▲ ", "  ")
        else:
            rows += wrap(f"The engine holds itself as well: {lead} when you resume it.", 64, "warn", "▲ ", "  ")
        does = {"confirm": "asks you before it signs", "auto": "signs and sends by itself"}
        for entry in armed:
            name, mode = clean_text(entry.rule.name, 40), entry.rule.mode.value
            rows += wrap(f"{name} {does.get(mode, 'only tells you')}", 64, "", "  ", "  ")
    else:
        rows += wrap("Nothing is armed: nothing is signed until you arm a rule.", 64)
    return [*rows, *wrap("Make sure that what made you pull it is over.", 64, "muted")]


def departure_lines(view: ViewState, unsaved: bool) -> list[Line]:
    """What leaving means now."""
    rows: list[Line] = []
    armed, running = armed_rules(view), open_firings(view)
    if armed:
        rows.append(line(("Leaving disarms:", "label")))
        for entry in armed:
            sign = ACTIVITY[entry.activity]
            rows.append(
                line(
                    (f"  {sign.glyph} ", sign.role),
                    (clean_text(entry.rule.name, 40), "strong"),
                    (f"  {sign.word}", sign.role),
                )
            )
    if running:
        rows.append(line(("Under way:", "label")))
        for firing in running:
            sign = FIRING[firing.state]
            rows.append(line((f"  {sign.both}  ", sign.role), clean_text(firing.summary or firing.rule, 60)))
        rows += wrap(
            "What was sent may still be included; it is followed again at the next start.", 64, "muted", "  ", "  "
        )
    if unsaved:
        rows.append(line(("The rules in the editor are not saved.", "warn")))
    rows.append(line(""))
    rows.append(line(("Nothing is watched or defended while Trimtab is not running.", "alarm")))
    return rows


def farewell(view: ViewState, disarmed: Sequence[str], refused: Sequence[str], running: int) -> str:
    """One line for the terminal after the screen is gone."""
    if view.read_only:
        return "Trimtab: this screen only read and is gone; the process that holds the engine goes on."
    said = ["Trimtab has stopped: nothing is watched or defended any more."]
    if disarmed:
        said.append(f"Disarmed: {', '.join(clean_text(name, 40) for name in disarmed)}.")
    if refused:
        said.append(f"Could not disarm: {'; '.join(clean_text(text, 120) for text in refused)}.")
    if running:
        said.append(
            f"{running} defence{'s were' if running > 1 else ' was'} under way; what was sent may still be included."
        )
    return " ".join(said)
