"""The fields of a rule's form: their names, where they stand in the file, and the widgets they are typed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from tui.config.toml_text import read_toml
from tui.model.rule import BORROWING, FILE_ACTIONS, FROM_WALLET, SALES, ActionKind, Order, RoundsUse
from tui.rules.document import Value
from tui.rules.steps import SALE_KEYS, SWAP_FROM
from tui.screen.clean import clean_text
from tui.screen.lines import Line, Span, line, shorten, width_of, wrap
from tui.screen.pane import LinePane


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its dotted key inside the rule, its name, a hint, and the words it may be where they are few."""

    key: str
    name: str
    hint: str
    choices: tuple[str, ...] = ()
    needed: bool = True


MODES = ("notify", "confirm", "auto")
ACTIONS = FILE_ACTIONS
ORDERS = tuple(order.value for order in Order)
ROUNDS = tuple(use.value for use in RoundsUse)
HEALTH, PRICE_BELOW, PRICE_ABOVE, TRAILING = "health", "price below", "price above", "trailing price"
HEALTH_ABOVE, HEALTH_TRAILING = "health above", "trailing health"
TRIGGERS = (HEALTH, PRICE_BELOW, PRICE_ABOVE, TRAILING, HEALTH_TRAILING, HEALTH_ABOVE)
RESTORES, CLOSES = "restore health", "close a part"
GOALS = (RESTORES, CLOSES)
PARTIAL = "partial"
PARTIAL_WORDS = ("false", "true")
"""What that key may be, false first; without quotes in the file."""
WHEN_KIND, TARGET_KIND = "when.kind", "target.kind"
"""Fields that are no keys of the file: which other keys there are says them."""
_PRICE_OF = (
    Field("when.price_of", "Price of", "WETH"),
    Field("when.in", "counted in", "dollars, or an asset", needed=False),
)
_TRIGGER_FIELDS: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {
        HEALTH: (Field("when.health_factor_below", "Fires below health", "1.25"),),
        PRICE_BELOW: (*_PRICE_OF, Field("when.below", "Fires below", "2000")),
        PRICE_ABOVE: (*_PRICE_OF, Field("when.above", "Fires above", "4000")),
        TRAILING: (*_PRICE_OF, Field("when.trailing", "Fires under its best", "10%")),
        HEALTH_TRAILING: (Field("when.health_factor_trailing", "Fires under its best", "10%"),),
    }
)
_HIGH_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        RESTORES: Field("when.health_factor_above", "Boosts above health", "2.20"),
        CLOSES: Field("when.health_factor_above", "Fires above health", "2.20"),
    }
)
"""Where health is high a target of health is that of a boost."""
_GOAL_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        RESTORES: Field("target.health_factor", "Restores health to", "1.50", needed=False),
        CLOSES: Field("target.close", "Closes of the debt", "50%"),
    }
)


def trigger_kind(rule: Mapping[str, Any]) -> str:
    """What a rule waits for, by the keys that are there."""
    when = rule.get("when")
    keys = when if isinstance(when, Mapping) else {}
    if "health_factor_above" in keys:
        return HEALTH_ABOVE
    if "health_factor_trailing" in keys:
        return HEALTH_TRAILING
    if "health_factor_below" in keys or not ({"price_of", "in", "below", "above", "trailing"} & set(keys)):
        return HEALTH
    if "trailing" in keys:
        return TRAILING
    return PRICE_ABOVE if "above" in keys else PRICE_BELOW


def goal_kind(rule: Mapping[str, Any]) -> str:
    """What a rule wants, by the keys that are there."""
    target = rule.get("target")
    return CLOSES if isinstance(target, Mapping) and "close" in target else RESTORES


def rule_fields(rule: Mapping[str, Any]) -> tuple[Field, ...]:
    """The fields of a rule above its steps, as its trigger and its goal want them."""
    trigger, goal = trigger_kind(rule), goal_kind(rule)
    return (
        Field("name", "Name", "a word of your own"),
        Field("position", "Position", 'a market, market/account, or "*"'),
        Field("mode", "Mode", "", MODES),
        Field(WHEN_KIND, "Fires on", "", TRIGGERS),
        *((_HIGH_FIELDS[goal],) if trigger == HEALTH_ABOVE else _TRIGGER_FIELDS[trigger]),
        Field("when.for_blocks", "for blocks in a row", "1", needed=False),
        Field(TARGET_KIND, "Goal", "", GOALS),
        _GOAL_FIELDS[goal],
        Field("order", "Steps are taken", "", ORDERS, needed=False),
        Field(PARTIAL, "A part of the way", "", PARTIAL_WORDS, needed=False),
    )


LIMITS: tuple[Field, ...] = (
    Field("limits.max_cost_usd", "Cost a firing, $", "no limit", needed=False),
    Field("limits.max_cost_share", "Cost, of loss avoided", "no limit, or 25%", needed=False),
    Field("limits.max_base_fee_gwei", "Base fee, gwei", "no limit", needed=False),
    Field("limits.emergency", "Emergency, health", "1.05", needed=False),
    Field("limits.daily_spend_usd", "Tokens a day, $", "no limit", needed=False),
    Field("limits.cooldown", "Rest after firing", "none, or 5m", needed=False),
    Field("limits.stale_price", "At a stale price", "", ("hold", "act"), needed=False),
    Field("limits.standing_allowance", "Standing allowance", "", ("refuse", "use"), needed=False),
)


def step_fields(number: int, action: str) -> tuple[Field, ...]:
    """The fields of step `number`, counted from 0, as its action wants them."""
    if is_sale(action):
        kind = ActionKind(action)
        keys, (pays, buys) = SALE_KEYS[kind], _SALE_NAMES[kind]
        there = "no limit" if kind in BORROWING else "all there is"
        rounds = (Field(f"step.{number}.rounds", "Goes in rounds", "", ROUNDS, needed=False),)
        return (
            Field(f"step.{number}.action", "Action", "", ACTIONS),
            Field(f"step.{number}.{keys.pays}", pays, keys.examples[0]),
            Field(f"step.{number}.{keys.buys}", buys, keys.examples[1]),
            Field(f"step.{number}.max_slippage", "Loses at most", "0.5%"),
            Field(f"step.{number}.max", f"{pays} at most", there, needed=False),
            *(rounds if kind is ActionKind.DELEVERAGE else ()),
        )
    swap = (
        Field(f"step.{number}.{SWAP_FROM}", "Swapped from", "nothing, or WETH", needed=False),
        Field(f"step.{number}.max_slippage", "Swap loses at most", "0.5%, of a swap", needed=False),
    )
    fields = (
        Field(f"step.{number}.action", "Action", "", ACTIONS),
        Field(f"step.{number}.asset", "Asset", "USDC"),
        *(swap if action == ActionKind.REPAY else ()),
        Field(f"step.{number}.max", "At most", "all there is", needed=False),
    )
    if action not in FROM_WALLET:
        return fields
    return (*fields, Field(f"step.{number}.wallet", "Paid by", "the position's own account, or 0x...", needed=False))


_SALE_NAMES: Mapping[ActionKind, tuple[str, str]] = MappingProxyType(
    {
        ActionKind.DELEVERAGE: ("Sells", "Repays"),
        ActionKind.SWITCH_COLLATERAL: ("Sells", "Supplies"),
        ActionKind.SWITCH_DEBT: ("Borrows", "Repays"),
        ActionKind.BOOST: ("Borrows", "Supplies"),
    }
)
"""What is done with what pays, and with what is bought."""


def step_shape(action: str) -> str:
    """Actions with the same fields have the same shape: each kind of sale its own, as what a wallet pays for, the
    others one together.
    """
    return action if is_sale(action) or action in FROM_WALLET else ""


def is_sale(action: str) -> bool:
    """Whether a step of this action sells collateral, and so has the fields of a sale."""
    return action in SALES


def read_rules(text: str) -> list[Mapping[str, Any]]:
    """The tables of the rules in a text. Raises ValueError where it is no TOML."""
    found = read_toml(text).get("rule", [])
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def value_at(rule: Mapping[str, Any], key: str) -> str:
    """What stands at a dotted key as text, empty where nothing does."""
    if key in (WHEN_KIND, TARGET_KIND):
        return trigger_kind(rule) if key == WHEN_KIND else goal_kind(rule)
    here: Any = rule
    for part in key.split("."):
        if isinstance(here, Mapping):
            here = here.get(part)
        elif isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        else:
            return ""
    if isinstance(here, bool):
        return "true" if here else "false"
    return "" if here is None or isinstance(here, dict | list) else str(here)


def typed_value(key: str, value: str) -> Value:
    """A field's text as the file has it: numbers of blocks and yes or no stand there without quotes."""
    if key == PARTIAL and value in PARTIAL_WORDS:
        return value == "true"
    whole = key == "when.for_blocks" and value.isascii() and value.isdigit() and len(value) < 10
    return int(value) if whole else value


def step_at(rule: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """The table of step `number`, empty where there is none."""
    steps = rule.get("step")
    found = steps[number] if isinstance(steps, list) and number < len(steps) else None
    return found if isinstance(found, dict) else {}


def steps_in(rule: Mapping[str, Any]) -> int:
    """How many steps a rule's waterfall has."""
    steps = rule.get("step")
    return len(steps) if isinstance(steps, list) else 0


class Edited(Message):
    """A field was edited."""

    def __init__(self, key: str, value: str) -> None:
        super().__init__()
        self.key, self.value = key, value


class Choice(LinePane, can_focus=True):
    """One of a few words: left and right, space or a click choose the next."""

    DEFAULT_CSS = """
    Choice { height: 1; width: 1fr; padding: 0 1; background: $panel; overflow-y: hidden; }
    Choice:focus { background: $primary 25%; }
    """

    def __init__(self, field: Field, value: str) -> None:
        super().__init__(id=widget_id(field.key))
        self.field = field
        self.value = self._shown(value)

    def _shown(self, value: str) -> str:
        """What need not be written means the first of the words."""
        return value or ("" if self.field.needed else self.field.choices[0])

    def take(self, value: str) -> None:
        """Show another value."""
        self.value = self._shown(value)
        self.redraw()

    def draw(self, size: Size) -> Sequence[Line]:
        words = self.field.choices if self.value in self.field.choices else (self.value, *self.field.choices)
        spans = [
            Span(f"● {clean_text(word)}  ", "strong") if word == self.value else Span(f"○ {word}  ", "muted")
            for word in words
        ]
        if width_of(spans) > size.width:
            place = words.index(self.value) + 1
            spans = [
                Span("‹ ", "muted"),
                Span(clean_text(self.value), "strong"),
                Span(f" ›  {place} of {len(words)}", "muted"),
            ]
        return [Line(tuple(spans))]

    def on_key(self, event: events.Key) -> None:
        """Another word."""
        if event.key in ("left", "right", "space"):
            event.stop()
            event.prevent_default()
            self.turn(-1 if event.key == "left" else 1)

    def on_click(self, event: events.Click) -> None:
        """The next word."""
        event.stop()
        self.turn(1)

    def turn(self, by: int) -> None:
        """`by` words further."""
        words = self.field.choices
        index = words.index(self.value) if self.value in words else -1
        self.value = words[(index + by) % len(words)]
        self.redraw()
        self.post_message(Edited(self.field.key, self.value))


class Entry(Input):
    """A line of text that says which field it is."""

    DEFAULT_CSS = """
    Entry, Entry.-textual-compact { border: none; height: 1; padding: 0 1; background: $panel; width: 1fr; }
    Entry:focus { background: $primary 25%; border: none; }
    """

    def __init__(self, field: Field, value: str, blink: bool) -> None:
        super().__init__(value, clean_text(field.hint), id=widget_id(field.key), compact=True, select_on_focus=False)
        self.field = field
        self.cursor_blink = blink


class Fault(LinePane):
    """What is wrong with the field above it; takes no room where nothing is."""

    DEFAULT_CSS = "Fault { height: auto; padding: 0 0 0 23; }"

    def __init__(self, key: str, text: str, role: str) -> None:
        super().__init__(id=f"fault-{widget_id(key)}")
        self._text, self._role = text, role

    def draw(self, size: Size) -> Sequence[Line]:
        return wrap(self._text, size.width, self._role)

    def say(self, text: str, role: str) -> None:
        """Show another fault, or none."""
        self._text, self._role = text, role
        self.display = bool(text)
        self.redraw()


class Row(LinePane):
    """A field, and its name drawn beside it. A form has many, so each is made of as little as possible."""

    DEFAULT_CSS = """
    Row { height: 1; layout: horizontal; }
    Row > Entry, Row > Entry.-textual-compact, Row > Choice { margin-left: 22; }
    """

    def __init__(self, field: Field, value: str, blink: bool) -> None:
        super().__init__(id=f"row-{widget_id(field.key)}")
        self.field, self._value, self._blink = field, value, blink
        self._fault: Fault | None = None

    def draw(self, size: Size) -> Sequence[Line]:
        return [line((shorten(self.field.name, min(22, size.width)), "muted"))]

    def compose(self) -> ComposeResult:
        yield Choice(self.field, self._value) if self.field.choices else Entry(self.field, self._value, self._blink)

    def take(self, value: str) -> None:
        """Show another value; no edit is told, since it comes from the text."""
        self.say("")
        for choice in self.query(Choice):
            choice.take(value)
        for entry in self.query(Entry):
            if entry.value != value:
                with entry.prevent(Input.Changed):
                    entry.value = value
            entry.cursor_position = len(value)

    def say(self, text: str, role: str = "alarm") -> None:
        """Show a fault under the field, or none."""
        text = clean_text(text, 400) if text else ""
        if self._fault is not None:
            self._fault.say(text, role)
        elif text and isinstance(self.parent, Widget):
            self._fault = Fault(self.field.key, text, role)
            self.parent.mount(self._fault, after=self)


class Section(LinePane):
    """A heading between fields; a click on its words does what they say."""

    DEFAULT_CSS = "Section { height: 1; margin-top: 1; }"

    def __init__(self, title: str, actions: Sequence[tuple[str, str]] = (), step: int | None = None) -> None:
        super().__init__()
        self._title, self._actions, self.step = title, actions, step

    def draw(self, size: Size) -> Sequence[Line]:  # noqa: ARG002
        spans = [Span(self._title, "label")]
        for word, action in self._actions:
            spans += [Span("  "), Span(word, "key", action)]
        return [Line(tuple(spans))]


def widget_id(key: str) -> str:
    """A dotted key as a widget's id."""
    return "field-" + key.replace(".", "-").replace("_", "-")
