"""What a rule waits for and what it wants, as the form shows them: their kinds, and a change from one to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tui.model.position import Position
from tui.model.units import USD, format_units
from tui.rules.match import covers
from tui.screen.clean import clean_text
from tui.screen.form import (
    CLOSES,
    HEALTH,
    HEALTH_ABOVE,
    HEALTH_TRAILING,
    PRICE_ABOVE,
    PRICE_BELOW,
    TRAILING,
    goal_kind,
    trigger_kind,
)

_LEVELS = {PRICE_BELOW: "below", PRICE_ABOVE: "above", TRAILING: "trailing"}
_OF_HEALTH = {
    HEALTH: "health_factor_below",
    HEALTH_ABOVE: "health_factor_above",
    HEALTH_TRAILING: "health_factor_trailing",
}
_OWN = frozenset({*_OF_HEALTH.values(), "price_of", "in", *_LEVELS.values()})
USUAL_HEALTH, USUAL_BOOST, USUAL_TARGET = "1.25", "2.20", "1.50"
USUAL_TRAILING, USUAL_PART = "10%", "50%"
_USUAL = {HEALTH: USUAL_HEALTH, HEALTH_ABOVE: USUAL_BOOST, HEALTH_TRAILING: USUAL_TRAILING}


def changed_trigger(
    before: Mapping[str, Any], kind: str, pattern: str, positions: Sequence[Position], known: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The `when` of another kind, and the keys that go on under another name. What no kind has stays.

    `pattern` is what the rule watches, `positions` are those on the screen, `known` what it said when it was of that
    kind before.
    """
    kept = {key: value for key, value in before.items() if key not in _OWN}
    if kind in _OF_HEALTH:
        key = _OF_HEALTH[kind]
        return {key: known.get(key, _USUAL[kind])} | kept, {}
    key, was = _LEVELS[kind], _LEVELS.get(trigger_kind({"when": before}))
    asset, price = before.get("price_of"), None
    watched = [one for one in positions if one.unknown is None and covers(pattern, one.key)]
    held = sorted((one for at in watched for one in at.collateral if one.amount), key=lambda one: -(one.value_usd or 0))
    if asset is None:
        asset = clean_text(held[0].asset.symbol, 24) if held else "WETH"
    if "in" not in before:
        price = next((one.price_usd for one in held if one.asset.symbol == asset), None)
    pair = {"in": before["in"]} if "in" in before else {}
    level = known[key] if key in known and known.get("price_of") == asset else _usual_level(kind, price)
    table = {"price_of": asset, **pair, key: level, **kept}
    return table, {was: key} if was is not None and was != key else {}


def changed_goal(kind: str, known: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The `target` of another kind."""
    if kind == CLOSES:
        return {"close": known.get("close", USUAL_PART)}, {"health_factor": "close"}
    return {"health_factor": known.get("health_factor", USUAL_TARGET)}, {"close": "health_factor"}


def kind_of(table: Mapping[str, Any], part: str) -> str:
    """The kind that a rule's `when` or `target` is of."""
    return trigger_kind(table) if part == "when" else goal_kind(table)


def _usual_level(kind: str, price: int | None) -> str:
    """A price some way off the present one (8 decimals), with few digits."""
    if kind == TRAILING:
        return USUAL_TRAILING
    if not price:
        return "2000" if kind == PRICE_BELOW else "4000"
    level = price * (9 if kind == PRICE_BELOW else 12) // 10
    return str(level // USD) if level >= 10 * USD else format_units(level, 8, 4 if level >= USD // 10 else 8)
