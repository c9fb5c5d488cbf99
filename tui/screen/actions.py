"""Every action there is, once: bindings, footer, palette, help and the keymap file are all made from this list.

States are compared by their words: nothing of the model is imported before the first frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tui.model.view import PositionView, RuleView, ViewState


class Where(StrEnum):
    """The screen an action belongs to."""

    EVERYWHERE = "everywhere"
    MAIN = "main"
    EDITOR = "editor"
    ARMING = "arming"
    CONFIRM = "confirm"
    ASK = "question"
    HELP = "help"
    OUTCOMES = "outcomes"


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides whether an action makes sense now."""

    view: ViewState
    ready: bool
    position: PositionView | None = None
    rule: RuleView | None = None


Enabled = Callable[[Situation], str | None]
"""Answers None where the action makes sense, else why it does not, as a sentence."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a user can do. `keys` is a comma-separated list in Textual's names; `fixed` keys cannot be moved."""

    id: str
    keys: str
    label: str
    help: str
    where: Where
    enabled: Enabled
    footer: bool = False
    priority: bool = False
    fixed: str = ""


def _always(_: Situation) -> str | None:
    return None


def _ready(now: Situation) -> str | None:
    return None if now.ready else "The engine is not running yet."


def _may_command(now: Situation) -> str | None:
    if not now.ready:
        return "The engine is not running yet."
    if now.view.read_only:
        return "This screen only reads: another Trimtab holds the state, or --read-only was given."
    return None


def _kill(now: Situation) -> str | None:
    return "The kill switch is pulled already." if now.view.killed else None


def _release(now: Situation) -> str | None:
    if not now.ready:
        return "The engine is not running yet."
    return None if now.view.killed else "The kill switch is not pulled."


def _resume(now: Situation) -> str | None:
    refused = _may_command(now)
    if refused:
        return refused
    if now.view.killed:
        return "The kill switch is pulled; release it first."
    return None if now.view.protection.value == "HELD" else "The engine is not held; there is nothing to resume."


def _arm(now: Situation) -> str | None:
    refused = _may_command(now)
    if refused:
        return refused
    if now.rule is None:
        return "There is no rule to arm; write one first."
    if now.view.killed:
        return "The kill switch is pulled; release it first."
    if now.rule.activity.value == "invalid":
        return f"Rule {now.rule.rule.name} is not valid; mend it in the editor first."
    if now.rule.activity.value not in ("disarmed", "off"):
        return f"Rule {now.rule.rule.name} is armed already."
    return None


def _disarm(now: Situation) -> str | None:
    refused = _may_command(now)
    if refused:
        return refused
    if now.rule is None:
        return "There is no rule to disarm."
    if now.rule.activity.value in ("disarmed", "off", "invalid"):
        return f"Rule {now.rule.rule.name} is not armed."
    return None


def _cancel(now: Situation) -> str | None:
    refused = _may_command(now)
    if refused:
        return refused
    waits = any(
        intent.nonce is not None and intent.state.value in ("RESERVED", "SIGNED", "MAYBE_SENT")
        for firing in now.view.firings
        for intent in firing.intents
    )
    return None if waits else "No transaction is under way."


def _plans(now: Situation) -> str | None:
    refused = _may_command(now)
    if refused:
        return refused
    return None if now.view.confirmations else "No plan waits for an answer."


def _chosen(now: Situation) -> str | None:
    return None if now.position is not None else "There is no position to choose from."


def _history(now: Situation) -> str | None:
    return None if now.view.price_history else "No price has been seen yet."


ACTIONS: tuple[Action, ...] = (
    Action(
        "kill",
        "ctrl+k",
        "kill switch",
        "Stop everything that could be signed, at once, on every screen and while typing. F12 always does it too.",
        Where.EVERYWHERE,
        _kill,
        footer=True,
        priority=True,
        fixed="f12",
    ),
    Action(
        "leave",
        "q",
        "leave",
        "Disarm everything and leave; asks where something is armed.",
        Where.MAIN,
        _always,
        footer=True,
        fixed="ctrl+q",
    ),
    Action("help", "f1,question_mark", "help", "All keys and what they do.", Where.EVERYWHERE, _always, footer=True),
    Action("palette", "ctrl+p", "commands", "Search all commands by name.", Where.EVERYWHERE, _always),
    Action(
        "arm",
        "a",
        "arm",
        "Let the chosen rule sign: type its name, unlock the keystore.",
        Where.MAIN,
        _arm,
        footer=True,
    ),
    Action(
        "disarm",
        "d",
        "disarm",
        "Stop the chosen rule from firing; what is under way is followed to its end.",
        Where.MAIN,
        _disarm,
        footer=True,
    ),
    Action(
        "edit",
        "e",
        "edit rules",
        "Edit the rules in a form or as text, with a live preview.",
        Where.MAIN,
        _ready,
        footer=True,
    ),
    Action("confirm", "c", "open plan", "Look at the plan that waits for your answer.", Where.MAIN, _plans),
    Action("release", "u", "release kill", "Release the kill switch; asks first.", Where.MAIN, _release),
    Action("resume", "r", "resume", "Go on after the engine has held itself; asks first.", Where.MAIN, _resume),
    Action(
        "cancel",
        "z",
        "cancel sent",
        "Take back a transaction that is under way, by a no-op with its nonce; asks first.",
        Where.MAIN,
        _cancel,
    ),
    Action("next-position", "j,down", "next", "Choose the next position, rule or line.", Where.MAIN, _always),
    Action("previous-position", "k,up", "previous", "Choose the previous position, rule or line.", Where.MAIN, _always),
    Action(
        "next-asset",
        "p",
        "chart asset",
        "Show the price of the next asset in the chart.",
        Where.MAIN,
        _history,
        footer=True,
    ),
    Action("pane-detail", "1,enter", "detail", "Go to the detail of the chosen position.", Where.MAIN, _chosen),
    Action("pane-chart", "2", "chart", "Go to the price chart.", Where.MAIN, _always),
    Action("pane-rules", "3", "rules", "Go to the rules.", Where.MAIN, _always),
    Action("pane-activity", "4", "activity", "Go to what happened.", Where.MAIN, _always),
    Action("pane-positions", "0,escape", "positions", "Go back to the positions.", Where.MAIN, _always),
    Action(
        "outcomes",
        "o",
        "outcomes",
        "What was expected of each firing beside what came of it: health, gas, slippage.",
        Where.MAIN,
        _ready,
    ),
    Action("theme", "t", "theme", "Switch to the next theme.", Where.MAIN, _always),
    Action("export", "x", "export", "Write what is on screen to an SVG file.", Where.MAIN, _always),
    Action(
        "editor-save",
        "ctrl+s",
        "save",
        "Save the rules file; rules that changed are disarmed.",
        Where.EDITOR,
        _may_command,
        footer=True,
        priority=True,
    ),
    Action(
        "editor-form",
        "f2",
        "form or text",
        "Switch between the form and the TOML text.",
        Where.EDITOR,
        _always,
        footer=True,
    ),
    Action(
        "editor-next",
        "ctrl+n",
        "next rule",
        "Show the next rule of the file in the form.",
        Where.EDITOR,
        _always,
        footer=True,
        priority=True,
    ),
    Action("editor-add", "f4", "add rule", "Add a rule to the file.", Where.EDITOR, _always, footer=True),
    Action("editor-remove", "f8", "remove rule", "Remove the rule from the file; asks first.", Where.EDITOR, _always),
    Action(
        "editor-step", "f5", "add step", "Add a step to the end of the waterfall.", Where.EDITOR, _always, footer=True
    ),
    Action("editor-step-up", "f6", "step up", "Move the chosen step up the waterfall.", Where.EDITOR, _always),
    Action("editor-step-down", "f7", "step down", "Move the chosen step down the waterfall.", Where.EDITOR, _always),
    Action("editor-step-remove", "f9", "remove step", "Remove the chosen step.", Where.EDITOR, _always),
    Action(
        "editor-reload", "f3", "read again", "Read the file again; asks where something is lost.", Where.EDITOR, _ready
    ),
    Action(
        "editor-leave",
        "escape",
        "leave",
        "Leave the editor; asks where something is not saved.",
        Where.EDITOR,
        _always,
        footer=True,
    ),
    Action("arming-leave", "escape", "leave", "Leave without arming.", Where.ARMING, _always, footer=True),
    Action(
        "confirm-yes",
        "y",
        "sign and send",
        "Sign and send the plan as shown.",
        Where.CONFIRM,
        _always,
        footer=True,
    ),
    Action(
        "confirm-no",
        "n",
        "no",
        "Refuse the plan, for this whole fall; what fires once waits until it is armed anew.",
        Where.CONFIRM,
        _always,
        footer=True,
    ),
    Action(
        "confirm-leave",
        "escape",
        "decide later",
        "Leave the plan waiting; when it runs out it is asked again while the rule is beyond its trigger.",
        Where.CONFIRM,
        _always,
        footer=True,
    ),
    Action("ask-yes", "y", "yes", "Do it.", Where.ASK, _always, footer=True),
    Action("ask-no", "n,escape", "no", "Do nothing.", Where.ASK, _always, footer=True),
    Action("outcomes-leave", "escape,q,o", "leave", "Back to the main screen.", Where.OUTCOMES, _always, footer=True),
    Action("help-leave", "escape,q,question_mark,f1", "leave", "Leave the help.", Where.HELP, _always, footer=True),
)

BY_ID: Mapping[str, Action] = {action.id: action for action in ACTIONS}

_NAMES = {
    "question_mark": "?",
    "escape": "esc",
    "enter": "enter",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "space": "space",
}


def actions_in(*places: Where) -> tuple[Action, ...]:
    """The actions of these screens, in the order of the registry."""
    return tuple(action for action in ACTIONS if action.where in places)


def key_name(key: str) -> str:
    """A key as people write it: `ctrl+k` is `^k`, `question_mark` is `?`."""
    key = key.strip()
    if key.startswith("ctrl+"):
        return "^" + key_name(key[5:])
    if key in _NAMES:
        return _NAMES[key]
    return key.upper() if len(key) > 1 and key[0] == "f" and key[1:].isdigit() else key


def keys_of(action: Action, keymap: Mapping[str, str]) -> list[str]:
    """The keys of an action as the user's keymap has them, the fixed one last."""
    keys = [key.strip() for key in keymap.get(action.id, action.keys).split(",") if key.strip()]
    return [*keys, action.fixed] if action.fixed else keys


def reason_against(action: Action, now: Situation) -> str | None:
    """Why an action makes no sense now, or None."""
    return action.enabled(now)


def all_ids() -> Iterable[str]:
    """Every action's id."""
    return BY_ID.keys()
