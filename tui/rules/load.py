"""From the bytes of a rules file to rules and faults, all in one pass.

A rule with a fault is not usable; the others are. Nothing a file may hold raises.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from types import MappingProxyType

from tui.model.rule import (
    Mode,
    Order,
    RoundsUse,
    Rule,
    RuleFault,
    Severity,
    Step,
)
from tui.model.text import clean_text
from tui.rules.bands import chasing, surprising
from tui.rules.fields import FaultList, TableReader, closest, quoted
from tui.rules.limits import limits_meaning, read_limits, warn_of_limits
from tui.rules.match import EVERYTHING, overlap
from tui.rules.spans import scan
from tui.rules.steps import is_address, read_steps
from tui.rules.triggers import check_boost, check_goal, goal_meaning, read_goal, read_trigger, trigger_meaning

MAX_FILE_BYTES = 256 * 1024
MAX_RULES = 256
MAX_NAME = 40

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_ERROR_PLACE = re.compile(r" ?\(at (?:line (\d+), column \d+|end of document)\)$")
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """One rules file as read. `rules` are the usable ones, in order; `faults` all errors and warnings, by line.

    `digest` identifies the exact bytes (hex sha256), so that an edit never overwrites what it has not seen; what a
    rule means is identified by `Rule.digest`. `lines` maps (rule name, dotted field) to the line of the field.
    """

    rules: tuple[Rule, ...]
    faults: tuple[RuleFault, ...]
    text: str
    digest: str
    file: str = ""
    lines: Mapping[tuple[str, str], int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def errors(self) -> tuple[RuleFault, ...]:
        """The faults that make something unusable."""
        return tuple(fault for fault in self.faults if fault.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[RuleFault, ...]:
        """The faults that only want to be read."""
        return tuple(fault for fault in self.faults if fault.severity is Severity.WARNING)

    def rule(self, name: str) -> Rule | None:
        """The usable rule of that name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def line_of(self, rule: str, dotted: str = "") -> int:
        """The line of a field of a rule ("when.for_blocks", "step.0.asset"), else of its nearest parent."""
        parts = dotted.split(".") if dotted else []
        for length in range(len(parts), -1, -1):
            line = self.lines.get((rule, ".".join(parts[:length])))
            if line is not None:
                return line
        return 1


def load_rules(path: FilePath) -> RuleSet:
    """Read one rules file. Raises OSError where it cannot be read at all; whatever it holds is rules and faults."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    return parse_rules(content, str(path))


def load_rule_files(paths: Iterable[FilePath]) -> tuple[RuleSet, ...]:
    """Read several files that are used together: a name taken by an earlier file is a fault in the later one.

    Raises OSError as `load_rules`.
    """
    seen: dict[str, Rule] = {}
    sets = []
    for path in paths:
        loaded = load_rules(path)
        usable, faults = [], list(loaded.faults)
        for rule in loaded.rules:
            first = seen.get(rule.name.casefold())
            if first is None:
                usable.append(rule)
                continue
            line = loaded.line_of(rule.name, "name")
            what = f'rule name "{rule.name}" is already used at {first.source}'
            faults.append(RuleFault(loaded.file, line, what, "give each rule its own name", rule.name, "name"))
        others = tuple(seen.values())
        for boost, defence, what, fix in chasing((*others, *usable)):
            one = boost if boost in usable else defence
            if one in others or (boost in usable and defence in usable):
                continue
            usable = [rule for rule in usable if rule is not one]
            line = loaded.line_of(one.name, one.trigger.field)
            faults.append(RuleFault(loaded.file, line, what, fix, one.name, one.trigger.field))
        for told, beside, what, fix in surprising((*others, *usable)):
            one = told if told in usable else beside
            if (told in usable) is (beside in usable):
                continue
            line, field = loaded.line_of(one.name, one.trigger.field), one.trigger.field
            faults.append(RuleFault(loaded.file, line, what, fix, one.name, field, Severity.WARNING))
        seen.update((rule.name.casefold(), rule) for rule in usable)
        sets.append(replace(loaded, rules=tuple(usable), faults=_in_order(faults)))
    return tuple(sets)


def parse_rules(content: bytes | str, file: str) -> RuleSet:
    """The rules and faults of a file's content. `file` is what messages call it. Never raises."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    file = "".join(character if character.isprintable() else "?" for character in file)
    digest = hashlib.sha256(raw).hexdigest()
    if len(raw) > MAX_FILE_BYTES:
        fault = RuleFault(file, 1, f"larger than {MAX_FILE_BYTES // 1024} KiB", "split it into several files")
        return RuleSet((), (fault,), "", digest, file)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        fault = RuleFault(file, line, f"byte 0x{raw[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        return RuleSet((), (fault,), raw.decode("utf-8", "replace"), digest, file)
    body = text.removeprefix(_BOM)
    faults = FaultList(file, scan(body))
    data = _parse_toml(body, faults)
    rules: list[tuple[int, Rule]] = []
    if data is not None:
        rules = _read_document(data, faults)
        _warn_of_rivals(rules, faults)
        rules = _without_chasing(rules, faults)
        _warn_of_surprises(rules, faults)
    names = {index: rule.name for index, rule in rules}
    lines = {
        (names[path[1]], ".".join(map(str, path[2:]))): line
        for path, line in faults.scan.lines.items()
        if len(path) > 1 and path[0] == "rule" and isinstance(path[1], int) and path[1] in names
    }
    usable = tuple(rule for _, rule in rules)
    return RuleSet(usable, _in_order(faults.faults), text, digest, file, MappingProxyType(lines))


def rule_digest(rule: Rule) -> str:
    """Hex sha256 of what a rule means: everything but its source and its digest, in one canonical form."""
    meaning: dict[str, object] = {
        "form": 1,
        "name": rule.name,
        "position": rule.position,
        "mode": rule.mode.value,
        **trigger_meaning(rule.trigger),
        "for_blocks": rule.for_blocks,
        **goal_meaning(rule.goal),
        "steps": [_step_meaning(step) for step in rule.steps],
        **limits_meaning(rule.limits),
    }
    # What a rule remembers is kept under its digest: words that came later count only where they are said.
    if rule.order is not Order.WRITTEN:
        meaning["order"] = rule.order.value
    if rule.partial:
        meaning["partial"] = True
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _step_meaning(step: Step) -> list[object]:
    meaning: list[object] = [step.action.value, step.asset, step.maximum]
    if step.collateral is not None or step.max_slippage_bps is not None:
        meaning += [step.collateral, step.max_slippage_bps]
    if step.wallet is not None:
        meaning.append({"wallet": step.wallet})
    # As above: a word that came later.
    if step.rounds is not RoundsUse.IF_NEEDED:
        meaning.append(step.rounds.value)
    return meaning


def _in_order(faults: Iterable[RuleFault]) -> tuple[RuleFault, ...]:
    return tuple(sorted(faults, key=lambda fault: fault.line))


def _parse_toml(text: str, faults: FaultList) -> dict[str, object] | None:
    found = faults.scan
    if found.limit is not None:
        faults.add((), found.limit, "write it plainly: a rule needs nothing of the kind", line=found.stopped_line)
        return None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        for entry, first in found.duplicates():
            what = f"{clean_text(str(entry.path[-1]), 40)} is written twice, first on line {first}"
            faults.add(entry.path, what, "keep one of the two", line=entry.line)
        if not faults.faults:
            _add_syntax_fault(text, str(error), faults)
    except (ValueError, RecursionError, OverflowError):
        # What the scan should have stopped already: numbers or nesting beyond what Python takes.
        faults.add((), "not readable as TOML", "write it plainly, as in the documentation", line=1)
    return None


def _add_syntax_fault(text: str, message: str, faults: FaultList) -> None:
    place = _ERROR_PLACE.search(message)
    last = text.rstrip().count("\n") + 1
    line = int(place[1]) if place and place[1] else last
    plain = _ERROR_PLACE.sub("", message)
    plain = plain[:1].lower() + plain[1:]
    if "invalid value" in plain:
        fix = 'put texts in quotes, as in mode = "notify"'
    elif "nterminated" in plain or "unclosed" in plain or "expected" in plain:
        fix = "close every quote and bracket, and put one key = value on a line"
    elif "character" in plain or "escape" in plain:
        fix = "remove that character, or retype the line"
    else:
        fix = "compare the line with the documentation"
    faults.add((), f"not valid TOML: {clean_text(plain, 120)}", fix, line=line)


def _read_document(data: Mapping[str, object], faults: FaultList) -> list[tuple[int, Rule]]:
    for key in data:
        if key != "rule":
            guess = closest(key, ("rule",))
            fix = "did you mean [[rule]]?" if guess else "remove it; a rules file holds [[rule]] tables only"
            faults.add((key,), f'unknown key "{clean_text(key, 40)}"', fix)
    tables = data.get("rule")
    if tables is None:
        return []
    if not isinstance(tables, list):
        faults.add(("rule",), "rule is not a list of tables", "write [[rule]], with two brackets")
        return []
    if len(tables) > MAX_RULES:
        faults.add(("rule", MAX_RULES), f"more than {MAX_RULES} rules", "split them into several files")
    rules = []
    first_lines: dict[str, int] = {}
    for index, table in enumerate(tables[:MAX_RULES]):
        if not isinstance(table, dict):
            faults.add(
                ("rule", index), f"rule {index + 1} is not a table", "write [[rule]], then one key = value a line"
            )
            continue
        rule = _read_rule(table, index, faults, first_lines)
        if rule is not None:
            rules.append((index, rule))
    return rules


def _read_rule(table: Mapping[str, object], index: int, faults: FaultList, first_lines: dict[str, int]) -> Rule | None:
    before = len(faults.faults)
    raw_name = table.get("name")
    shown = clean_text(raw_name, MAX_NAME) if isinstance(raw_name, str) and raw_name.strip() else None
    called = f'rule "{shown}"' if shown else f"rule {index + 1}"
    reader = TableReader(faults, table, ("rule", index), called, shown)
    name = _read_name(reader, first_lines)
    position = _read_position(reader)
    mode = reader.choice("mode", tuple(Mode))
    trigger, for_blocks = read_trigger(reader)
    goal = read_goal(reader, mode, trigger)
    order = reader.choice("order", tuple(Order), required=False)
    partial = reader.flag("partial")
    steps = read_steps(reader, mode)
    check_goal(reader, trigger, goal, steps)
    check_boost(reader, trigger, goal, steps)
    limits = read_limits(reader)
    reader.finish({"steps": "write [[rule.step]] tables", "action": "write it in a [[rule.step]] table"})
    if any(fault.severity is Severity.ERROR for fault in faults.faults[before:]):
        return None
    if name is None or position is None or mode is None or trigger is None or for_blocks is None:
        return None
    if goal is None or limits is None:
        return None
    warn_of_limits(reader, trigger, limits)
    source = f"{faults.file}:{faults.scan.line_of(('rule', index))}"
    rule = Rule(
        name,
        position,
        Mode(mode),
        trigger,
        for_blocks,
        goal,
        steps,
        limits,
        "",
        source,
        Order.WRITTEN if order is None else Order(order),
        partial,
    )
    return replace(rule, digest=rule_digest(rule))


def _read_name(reader: TableReader, first_lines: dict[str, int]) -> str | None:
    name = reader.text("name", '"guard"')
    if name is None:
        return None
    if len(name) > MAX_NAME:
        reader.fault("name", f"name is {len(name)} characters long", f"write at most {MAX_NAME}")
        return None
    if clean_text(name, MAX_NAME) != name:
        reader.fault(
            "name", "name has characters that cannot be shown plainly", "write letters, digits and single spaces"
        )
        return None
    first = first_lines.get(name.casefold())
    if first is not None:
        reader.fault("name", f'rule name "{name}" is already used on line {first}', "give each rule its own name")
        return None
    first_lines[name.casefold()] = reader.faults.scan.line_of((*reader.path, "name"))
    return name


def _read_position(reader: TableReader) -> str | None:
    example = '"aave-v3/core"'
    text = reader.text("position", example)
    if text is None or text == EVERYTHING:
        return text
    parts = text.split("/")
    if len(parts) == 1:
        fix = f'write {example} for a market, {example[:-1]}/0x..." for one account, or "*" for all'
        reader.fault("position", f"position {quoted(text)} names no market", fix)
        return None
    if len(parts) > 3 or not all(_WORD.fullmatch(part) for part in parts):
        reader.fault(
            "position", f"position {quoted(text)} is not market, market/account or *", f"write it like {example}"
        )
        return None
    if len(parts) == 3 and not is_address(reader, "position", parts[2]):
        return None
    return text.lower()


def _without_chasing(rules: list[tuple[int, Rule]], faults: FaultList) -> list[tuple[int, Rule]]:
    """The rules without boosts that a defence of the same position would undo: the defence stays."""
    places = {rule.name: index for index, rule in rules}
    refused = set()
    for boost, _, what, fix in chasing(rule for _, rule in rules):
        refused.add(boost.name)
        path: tuple[str | int, ...] = ("rule", places[boost.name], *boost.trigger.field.split("."))
        faults.add(path, what, fix, rule=boost.name)
    return [(index, rule) for index, rule in rules if rule.name not in refused]


def _warn_of_surprises(rules: list[tuple[int, Rule]], faults: FaultList) -> None:
    """A rule beside another that it would undo, or that would set it off."""
    places = {rule.name: index for index, rule in rules}
    for one, _, what, fix in surprising(rule for _, rule in rules):
        path: tuple[str | int, ...] = ("rule", places[one.name], *one.trigger.field.split("."))
        faults.add(path, what, fix, rule=one.name, severity=Severity.WARNING)


def _warn_of_rivals(rules: list[tuple[int, Rule]], faults: FaultList) -> None:
    """Two rules that act on one position at one trigger: only the first can, and that is seldom meant."""
    acting = [(index, rule) for index, rule in rules if rule.mode is not Mode.NOTIFY]
    for number, (index, rule) in enumerate(acting):
        for _, earlier in acting[:number]:
            if earlier.trigger == rule.trigger and overlap(earlier.position, rule.position):
                faults.add(
                    ("rule", index, *rule.trigger.field.split(".")),
                    f'rule "{rule.name}" has the trigger of rule "{earlier.name}" on the same position',
                    "use another trigger: one account has one plan at a time, and the first rule goes first",
                    rule=rule.name,
                    severity=Severity.WARNING,
                )
                break
