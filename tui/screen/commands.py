"""What the actions that work on every screen do; dialogs and pages are imported when they are opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.screen.app import TrimtabApp


def kill(app: TrimtabApp) -> None:
    """Pull the kill switch, whatever is on screen."""
    app.pull_kill_switch("the kill key was pressed")


def release(app: TrimtabApp) -> None:
    """Release the kill switch, after a question that names what may sign again."""
    from tui.screen.departure import release_lines
    from tui.screen.dialogs.ask import AskDialog

    def answered(yes: bool | None) -> None:
        if yes and app.facade is not None:
            app.send(app.facade.kill(False, "released by hand"), "release the kill switch")

    app.push_screen(AskDialog("Release the kill switch?", release_lines(app.view)), answered)


def resume(app: TrimtabApp) -> None:
    """Go on after a hold, after a question that says why it was held."""
    from tui.screen.clean import clean_text
    from tui.screen.dialogs.ask import AskDialog
    from tui.screen.lines import line, wrap

    def answered(yes: bool | None) -> None:
        if yes and app.facade is not None:
            app.send(app.facade.resume(), "resume")

    said = [
        line(("The engine held itself:", "muted")),
        *wrap(clean_text(app.view.protection_why, 400), 60, "warn"),
        line(""),
        line("Armed rules go on from the next block."),
    ]
    app.push_screen(AskDialog("Resume?", said), answered)


def cancel(app: TrimtabApp) -> None:
    """Close the nonce of the first transaction that is still under way, after a question."""
    from tui.screen.clean import clean_text
    from tui.screen.departure import unsettled
    from tui.screen.dialogs.ask import AskDialog
    from tui.screen.lines import line, wrap

    waiting = unsettled(app.view)
    if not waiting:
        return
    intent = waiting[0]

    def answered(yes: bool | None) -> None:
        if yes and app.facade is not None:
            app.send(app.facade.cancel(intent.id), "cancel it")

    said = [
        *wrap(clean_text(intent.words, 200), 60, "strong"),
        line((f"nonce {intent.nonce}, {str(intent.state).lower().replace('_', ' ')}", "muted")),
        line(""),
        *wrap(
            "A transfer of nothing to yourself takes its nonce. Which of the two is mined decides.",
            60,
        ),
    ]
    app.push_screen(AskDialog("Cancel this transaction?", said), answered)


def leave(app: TrimtabApp) -> None:
    """Leave; asks where something is armed, under way or not saved."""
    from tui.screen.departure import armed_rules, departure_lines, open_firings
    from tui.screen.dialogs.ask import AskDialog

    if isinstance(app.screen, AskDialog) and app.screen.id == "leaving":
        return
    unsaved = any(getattr(screen, "unsaved", False) for screen in app.screen_stack)
    if not armed_rules(app.view) and not open_firings(app.view) and not unsaved:
        app.depart()
        return

    def answered(yes: bool | None) -> None:
        if yes:
            app.depart()

    app.push_screen(AskDialog("Leave Trimtab?", departure_lines(app.view, unsaved), id="leaving"), answered)


def show_help(app: TrimtabApp) -> None:
    """All keys."""
    from tui.screen.help import HelpPage

    if not isinstance(app.screen, HelpPage):
        app.push_screen(HelpPage())


def outcomes(app: TrimtabApp) -> None:
    """What came of firings."""
    from tui.screen.outcomes import OutcomesPage

    app.push_screen(OutcomesPage())


def palette(app: TrimtabApp) -> None:
    """All commands by name."""
    from textual.command import CommandPalette

    if not isinstance(app.screen, CommandPalette):
        app.push_screen(CommandPalette(id="--command-palette"))


def arm(app: TrimtabApp) -> None:
    """Ask for the rule's name and the keystore's password."""
    from tui.screen.dialogs.arm import ArmDialog

    rule = app.situation().rule
    if rule is not None:
        app.push_screen(ArmDialog(rule.rule.name))


def disarm(app: TrimtabApp) -> None:
    """Stop the chosen rule; stopping never asks."""
    rule = app.situation().rule
    if rule is not None and app.facade is not None:
        app.send(app.facade.disarm(rule.rule.name, "disarmed by hand"), f"disarm {rule.rule.name}")


def edit(app: TrimtabApp) -> None:
    """Edit the rules file."""
    from tui.screen.editor import EditorPage

    rule = app.situation().rule
    app.push_screen(EditorPage(None if rule is None else rule.rule.name))


def confirm(app: TrimtabApp) -> None:
    """Open the first plan that waits."""
    from tui.screen.dialogs.confirm import ConfirmDialog

    if app.view.confirmations:
        app.push_screen(ConfirmDialog(app.view.confirmations[0]))


def theme(app: TrimtabApp) -> None:
    """The next theme."""
    names = list(app.theme_files)
    chosen = names[(names.index(app.theme) + 1) % len(names)]
    app.use_theme(chosen)
    if app.keep_theme is not None:
        app.keep_theme(chosen)
    app.say(f"Theme: {app.theme_files[chosen].title}")


def export(app: TrimtabApp) -> None:
    """The screen as an SVG file."""
    from tui.screen.export import export_screen

    app.say(*export_screen(app))


HANDLERS: Mapping[str, Callable[[TrimtabApp], None]] = {
    "kill": kill,
    "release": release,
    "resume": resume,
    "cancel": cancel,
    "leave": leave,
    "help": show_help,
    "outcomes": outcomes,
    "palette": palette,
    "arm": arm,
    "disarm": disarm,
    "edit": edit,
    "confirm": confirm,
    "theme": theme,
    "export": export,
}
"""By action id; what belongs to one screen is a `do_...` method there."""
