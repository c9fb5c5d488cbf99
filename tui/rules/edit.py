"""Edits of a rules file that leave every other byte alone: comments, order, spacing and line ends stay.

Only the text of what changes is replaced, and no edit is returned before the whole text was read back and found to
mean exactly what was meant.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from tui.model.text import clean_text
from tui.rules.document import Document, EditRefused, Value, key_text, value_text
from tui.rules.save import FileChanged, save_rules, text_digest
from tui.rules.spans import Kind, Path

__all__ = [
    "EditRefused",
    "FileChanged",
    "RuleData",
    "Value",
    "add_rule",
    "add_step",
    "change_step",
    "change_table",
    "move_step",
    "remove_rule",
    "remove_step",
    "rename_rule",
    "render_rule",
    "render_step",
    "rule_names",
    "save_rules",
    "set_field",
    "text_digest",
    "unset_field",
]

RuleData = Mapping[str, Any]
"""A rule as plain data, shaped like its TOML: {"name": ..., "when": {...}, "step": [{...}], "limits": {...}}."""


def set_field(text: str, rule: str, field: str, value: Value) -> str:
    """The text with one field of a rule set: `set_field(text, "guard", "when.health_factor_below", "1.30")`.

    `field` is the dotted key of `RuleFault.field` ("mode", "limits.cooldown", "step.0.max"). A field that is not there
    yet is added to its table. Raises EditRefused where there is no such rule or step.
    """
    document = Document(text)
    index = document.rule_index(rule)
    path = _field_path(index, field)
    expected = document.expected()
    _set_in(expected, path, value, rule)
    entry = document.scan.entry(path)
    if entry is not None and entry.kind is Kind.KEY:
        changed = document.replaced(entry.value_start, entry.value_end, value_text(value))
    else:
        changed = document.with_key(path, value)
    return document.checked(changed, expected)


def unset_field(text: str, rule: str, field: str) -> str:
    """The text without one optional field of a rule; unchanged where it is not set."""
    document = Document(text)
    path = _field_path(document.rule_index(rule), field)
    entry = document.scan.entry(path)
    if entry is None:
        return text
    if entry.kind is not Kind.KEY:
        raise EditRefused(f"{clean_text(field)} is a table of its own; remove it in the text")
    expected = document.expected()
    holder: Any = expected
    for part in path[:-1]:
        holder = holder[part]
    del holder[path[-1]]
    return document.checked(document.without_key(entry), expected)


def rename_rule(text: str, rule: str, name: str) -> str:
    """The text with a rule renamed. Raises EditRefused where another rule has the name."""
    taken = {other.casefold() for other in rule_names(text) if other != rule}
    if name.casefold() in taken:
        raise EditRefused(f'there is a rule "{clean_text(name)}" already; choose another name')
    return set_field(text, rule, "name", name)


def add_rule(text: str, data: RuleData) -> str:
    """The text with a rule at its end. Raises EditRefused where its name is taken."""
    document = Document(text)
    name = data.get("name")
    if isinstance(name, str) and name.casefold() in {other.casefold() for other in rule_names(text)}:
        raise EditRefused(f'there is a rule "{clean_text(name)}" already; choose another name')
    expected = document.expected()
    rules = expected.setdefault("rule", [])
    if document.is_inline(("rule",)):
        raise EditRefused("the rules are written as one inline list; add to it in the text")
    # Empty lists and tables of nothing are not written, and mean the same.
    rules.append({key: copy.deepcopy(value) for key, value in data.items() if value or key not in ("step", "limits")})
    return document.checked(document.appended(render_rule(data)), expected)


def remove_rule(text: str, rule: str) -> str:
    """The text without a rule, the comments within it, and those directly above it (but never the file's heading)."""
    document = Document(text)
    index = document.rule_index(rule)
    expected = document.expected()
    del expected["rule"][index]
    if not expected["rule"]:
        del expected["rule"]
    start, end = document.block(("rule", index))
    return document.checked(document.cut(start, end), expected)


def add_step(text: str, rule: str, step: RuleData, at: int | None = None) -> str:
    """The text with a step added to a rule's waterfall: before step `at`, or as the last."""
    document = Document(text)
    index = document.rule_index(rule)
    expected = document.expected()
    steps = expected["rule"][index].setdefault("step", [])
    place = len(steps) if at is None else at
    if not isinstance(steps, list) or not 0 <= place <= len(steps):
        raise EditRefused(f'rule "{clean_text(rule)}" has no place {place + 1} for a step')
    if document.is_inline(("rule", index, "step")) or document.is_inline(("rule",)):
        raise EditRefused("the steps are written as an inline list; change them in the text")
    steps.insert(place, copy.deepcopy(dict(step)))
    return document.checked(document.with_step(index, place, len(steps) - 1, render_step(step)), expected)


def remove_step(text: str, rule: str, number: int) -> str:
    """The text without step `number` (from 0), the comments within it and those directly above it."""
    document = Document(text)
    index, steps, expected = document.steps(rule)
    _check_step(rule, number, steps)
    del steps[number]
    if not steps:
        del expected["rule"][index]["step"]
    start, end = document.block(("rule", index, "step", number))
    return document.checked(document.cut(start, end), expected)


def change_step(
    text: str, rule: str, number: int, step: RuleData, renamed: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The text with step `number` (from 0) meaning exactly `step`: for a step of another kind, with other keys.

    `renamed` are keys whose lines go on under another name ({"asset": "debt"}), value and comment in their place.
    Comments beside keys that go stay.
    """
    document = Document(text)
    index, steps, _ = document.steps(rule)
    _check_step(rule, number, steps)
    for old, new in renamed.items():
        document = Document(text)
        expected = document.expected()
        table = expected["rule"][index]["step"][number]
        entry = document.scan.entry(("rule", index, "step", number, old))
        if entry is not None and new not in table:
            table[new] = table.pop(old)
            text = document.checked(document.with_key_renamed(entry, new), expected)
    present = Document(text).data["rule"][index]["step"][number]
    for key in present:
        if key not in step:
            text = unset_field(text, rule, f"step.{number}.{key}")
    for key, value in step.items():
        if present.get(key) != value:
            text = set_field(text, rule, f"step.{number}.{key}", value)
    return text


def change_table(
    text: str, rule: str, table: str, data: RuleData, renamed: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The text with a rule's `when` or `target` meaning exactly `data`, `renamed` as in `change_step`. What goes, goes
    last, so that what comes stands in its table.
    """
    path = ("rule", Document(text).rule_index(rule), table)
    for old, new in renamed.items():
        document = Document(text)
        expected = document.expected()
        holder = expected["rule"][path[1]].get(table, {})
        entry = document.scan.entry((*path, old))
        if entry is not None and new not in holder:
            holder[new] = holder.pop(old)
            text = document.checked(document.with_key_renamed(entry, new), expected)
    for key, value in data.items():
        if Document(text).data["rule"][path[1]].get(table, {}).get(key) != value:
            text = set_field(text, rule, f"{table}.{key}", value)
    for key in Document(text).data["rule"][path[1]].get(table, {}):
        if key not in data:
            text = unset_field(text, rule, f"{table}.{key}")
    return text


def move_step(text: str, rule: str, number: int, to: int) -> str:
    """The text with step `number` moved to place `to` of its waterfall, its comments with it."""
    document = Document(text)
    index, steps, expected = document.steps(rule)
    _check_step(rule, number, steps)
    _check_step(rule, to, steps)
    blocks = [document.block(("rule", index, "step", place)) for place in range(len(steps))]
    order = list(range(len(steps)))
    order.insert(to, order.pop(number))
    steps.insert(to, steps.pop(number))
    body, pieces, position = document.body, [], 0
    for slot, source in zip(blocks, order, strict=True):
        start, end = blocks[source]
        piece = body[start:end]
        if not piece.endswith("\n"):
            piece += document.line_end
        pieces += [body[position : slot[0]], piece]
        position = slot[1]
    return document.checked("".join(pieces) + body[position:], expected)


def rule_names(text: str) -> tuple[str, ...]:
    """The names in a text, in order, whether or not their rules are usable. Raises EditRefused for no TOML."""
    return tuple(name for name in Document(text).names() if name is not None)


def _check_step(rule: str, number: int, steps: list[Any]) -> None:
    if not 0 <= number < len(steps):
        raise EditRefused(f'rule "{clean_text(rule)}" has no step {number + 1}')


def _field_path(index: int, field: str) -> Path:
    parts = field.split(".")
    if not all(parts):
        raise EditRefused(f'"{clean_text(field)}" is not a field')
    return (
        "rule",
        index,
        *(int(part) if part.isascii() and part.isdigit() and len(part) < 6 else part for part in parts),
    )


def render_rule(data: RuleData) -> str:
    """A rule as TOML, in the order people read it. Lines end with a newline."""
    lines = ["[[rule]]"]
    for key, value in data.items():
        if key in ("step", "limits"):
            continue
        if isinstance(value, Mapping):
            members = ", ".join(f"{key_text(inner)} = {value_text(item)}" for inner, item in value.items())
            lines.append(f"{key_text(key)} = {{ {members} }}")
        else:
            lines.append(f"{key_text(key)} = {value_text(value)}")
    text = "\n".join(lines) + "\n"
    for step in data.get("step", ()):
        text += "\n" + render_step(step)
    limits = data.get("limits")
    if limits:
        text += "\n[rule.limits]\n" + _pairs(limits)
    return text


def render_step(step: RuleData) -> str:
    """A step as TOML."""
    return "[[rule.step]]\n" + _pairs(step)


def _set_in(data: Any, path: Path, value: Value, rule: str) -> None:
    """Set one value in plain data, making tables that are not there yet, but never steps."""
    holder = data
    for part, following in pairwise(path):
        if isinstance(part, int):
            if not isinstance(holder, list) or part >= len(holder):
                raise EditRefused(f'rule "{clean_text(rule)}" has no step {part + 1}')
        elif not isinstance(holder, dict):
            raise EditRefused(f"{clean_text(part)} stands in something that is not a table; mend it in the text")
        elif part not in holder:
            if isinstance(following, int):
                raise EditRefused(f'rule "{clean_text(rule)}" has no step {following + 1}')
            holder[part] = {}
        holder = holder[part]
    if not isinstance(holder, dict) or isinstance(path[-1], int):
        raise EditRefused("only a field of a table can be set; change it in the text")
    holder[path[-1]] = value


def _pairs(table: RuleData) -> str:
    return "".join(f"{key_text(key)} = {value_text(value)}\n" for key, value in table.items())
