"""Watches over the markets of armed rules, block by block: what disarms them, holds them back, takes steps out.

Keeps what each armed rule stands on; decides nothing about firing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tui.engine.arming import positions_for
from tui.engine.conditions import Condition, Consequence, acting_rule, conditions_of, first
from tui.engine.prospect import Prospect
from tui.engine.rulebook import RuleBook
from tui.model.network import PRICE_HEARTBEAT, Network
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot

Pair = tuple[str, str]


class Guard:
    """Conditions of armed rules at the newest block, by rule name and position id."""

    def __init__(self, book: RuleBook, prospect: Prospect, network: Network) -> None:
        self._book = book
        self._prospect = prospect
        self._heartbeats = {f"{one.protocol}/{one.name}": one.price_heartbeat for one in network.markets}
        self.conditions: Mapping[Pair, tuple[Condition, ...]] = {}
        self._told: dict[Pair, dict[str, Consequence]] = {}

    def judge(self, rule: Rule, position: Position, snapshot: Snapshot) -> tuple[Condition, ...]:
        """The conditions of one rule, armed or not, on a position of a snapshot."""
        armed = self._book.armed.get(rule.name)
        heartbeat = self._heartbeats.get(str(position.key.market), PRICE_HEARTBEAT)
        baseline = None if armed is None else armed.baselines.get(position.id)
        return conditions_of(rule, position, snapshot, self._prospect.market(position), heartbeat, baseline)

    def look(self, snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
        """Take a new block in. (Rule, why) for the rules that must be disarmed."""
        found: dict[Pair, tuple[Condition, ...]] = {}
        disarm: dict[str, str] = {}
        for name, armed in self._book.armed.items():
            for position in positions_for(armed.rule, snapshot, (armed.account,)):
                conditions = self.judge(armed.rule, position, snapshot)
                found[name, position.id] = conditions
                why = first(conditions, Consequence.DISARM)
                if why is not None:
                    disarm.setdefault(name, why)
        self.conditions = found
        return tuple(disarm.items())

    def news(self) -> Iterable[tuple[str, str, Condition]]:
        """(Rule, position, condition) for what began at this block, each kind told once as long as it lasts."""
        for gone in set(self._told) - set(self.conditions):
            del self._told[gone]
        for pair, conditions in self.conditions.items():
            told = self._told.get(pair, {})
            self._told[pair] = {_kind(one): one.consequence for one in conditions}
            yield from ((*pair, one) for one in conditions if _kind(one) not in told)

    def hold_back(self, rule: Rule, position: Position) -> str | None:
        """Why a rule that fires must not act on a position now, or None."""
        conditions = self.conditions.get((rule.name, position.id), ())
        why = first(conditions, Consequence.DISARM) or first(conditions, Consequence.HOLD_BACK)
        if why is None and rule.steps and not self.acting(rule, position).steps:
            return first(conditions, Consequence.STEP_OUT)
        return why

    def acting(self, rule: Rule, position: Position) -> Rule:
        """The rule as far as it may act on a position now."""
        return acting_rule(rule, self.conditions.get((rule.name, position.id), ()))


def _kind(condition: Condition) -> str:
    return f"{condition.code}/{condition.step}/{condition.about}"
