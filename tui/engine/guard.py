"""Watches over the markets of armed rules, block by block: what disarms them, holds them back, takes steps out.

Keeps what each armed rule stands on; decides nothing about firing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from tui.crash import described
from tui.engine.arming import positions_for
from tui.engine.budget import degraded_rule
from tui.engine.conditions import (
    Condition,
    Consequence,
    acting_rule,
    conditions_of,
    first,
    health_prices,
    trigger_prices,
)
from tui.engine.prospect import Prospect
from tui.engine.rulebook import RuleBook
from tui.model.block import BlockRef
from tui.model.network import PRICE_HEARTBEAT, Network
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.rules.prices import PriceSeen

Pair = tuple[str, str]


class Guard:
    """Conditions of armed rules at the newest block, by rule name and position id. `degraded` tells why something at a
    block was read from fewer nodes than must agree, or None.
    """

    def __init__(
        self,
        book: RuleBook,
        prospect: Prospect,
        network: Network,
        degraded: Callable[[BlockRef], str | None] = lambda _block: None,
    ) -> None:
        self._book = book
        self._prospect = prospect
        self._heartbeats = {f"{one.protocol}/{one.name}": one.price_heartbeat for one in network.markets}
        self.conditions: Mapping[Pair, tuple[Condition, ...]] = {}
        self._told: dict[Pair, dict[str, Consequence]] = {}
        self._degraded = degraded
        self._snapshot: Snapshot | None = None

    def price_of(self, rule: Rule, position: Position) -> PriceSeen | None:
        """The price that a rule waits for, at the newest block: in doubt where its age is strange, armed or not."""
        price = self._prospect.price_of(rule, position)
        facts = None if self._snapshot is None else self._snapshot.market(position.key.market)
        if price is None or facts is None or facts.error is not None:
            return price
        heartbeat = self._heartbeats.get(str(position.key.market), PRICE_HEARTBEAT)
        if rule.trigger.stands_on_all:
            return replace(price, doubted=self.doubts(rule, position))
        return replace(price, doubted=any(trigger_prices(rule, position, facts, heartbeat)))

    def doubts(self, rule: Rule, position: Position) -> bool:
        """Whether a price that health stands on is strange, for a rule that waits for high health or trails it, armed
        or not.
        """
        if not rule.trigger.stands_on_all or position.unknown is not None:
            return False
        heartbeat = self._heartbeats.get(str(position.key.market), PRICE_HEARTBEAT)
        return any(one.consequence is Consequence.HOLD_BACK for one in health_prices(rule, position, heartbeat))

    def judge(self, rule: Rule, position: Position, snapshot: Snapshot) -> tuple[Condition, ...]:
        """The conditions of one rule, armed or not, on a position of a snapshot."""
        armed = self._book.armed.get(rule.name)
        heartbeat = self._heartbeats.get(str(position.key.market), PRICE_HEARTBEAT)
        baseline = None if armed is None else armed.baselines.get(position.id)
        return conditions_of(rule, position, snapshot, self._prospect.market(position), heartbeat, baseline)

    def look(self, snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
        """Take a new block in. (Rule, why) for the rules that must be disarmed."""
        self._snapshot = snapshot
        found: dict[Pair, tuple[Condition, ...]] = {}
        disarm: dict[str, str] = {}
        for name, armed in self._book.armed.items():
            for position in positions_for(armed.rule, snapshot, (armed.account,)):
                conditions = self._judged(armed.rule, position, snapshot)
                found[name, position.id] = conditions
                why = first(conditions, Consequence.DISARM)
                if why is not None:
                    disarm.setdefault(name, why)
        self.conditions = found
        return tuple(disarm.items())

    def _judged(self, rule: Rule, position: Position, snapshot: Snapshot) -> tuple[Condition, ...]:
        """The same where it cannot be judged: a fault of ours with one rule holds that one back, and no other."""
        try:
            return self.judge(rule, position, snapshot)
        except Exception as error:  # noqa: BLE001 - unknown ground is no ground, for this rule alone
            text = f"what it stands on cannot be judged ({described(error)})"
            return (Condition(Consequence.HOLD_BACK, "odd", text),)

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
        if why is None and rule.steps:
            acting = acting_rule(rule, conditions)
            if not acting.steps:
                return first(conditions, Consequence.STEP_OUT)
            if self._degraded(position.block) is not None:
                limited = degraded_rule(acting)
                return limited if isinstance(limited, str) else None
        return why

    def acting(self, rule: Rule, position: Position) -> Rule:
        """The rule as far as it may act on a position now: without the steps that are out, and within half of its
        daily limit where too few nodes agree.
        """
        acting = acting_rule(rule, self.conditions.get((rule.name, position.id), ()))
        if not acting.steps or self._degraded(position.block) is None:
            return acting
        limited = degraded_rule(acting)
        return acting if isinstance(limited, str) else limited


def _kind(condition: Condition) -> str:
    return f"{condition.code}/{condition.step}/{condition.about}"
