"""What is looked out for at each block: where rules fire, what would stop the armed ones, what began to hold them back.

Only tells and shows; nothing here keeps a rule from acting, and what of it fails is told beside the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from tui.engine.arming import GAS_IS_LOW, Obstacle, find_obstacles, not_told, positions_for
from tui.engine.armory import Armory
from tui.engine.aside import Aside
from tui.engine.conditions import DELEGATED, Consequence
from tui.engine.guard import Guard
from tui.engine.prospect import Prospect
from tui.engine.rechecking import Rechecks
from tui.engine.rulebook import RuleBook
from tui.engine.sending import Teller
from tui.engine.validation import beside
from tui.model.plan import FeeQuote
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.model.view import Severity, TriggerPrice

_TOLD_AS = {
    Consequence.HOLD_BACK: Severity.ALARM,
    Consequence.STEP_OUT: Severity.WARNING,
    Consequence.NOTE: Severity.INFO,
}


class Lookout:
    """What was seen last: `triggers`; `would_stop` and `worth_knowing` as lines, `notices` first of all; `low_gas` as
    (account, line).
    """

    def __init__(
        self,
        rulebook: RuleBook,
        prospect: Prospect,
        guard: Guard,
        rechecks: Rechecks,
        armory: Armory,
        teller: Teller,
        notices: Sequence[str],
    ) -> None:
        self._book = rulebook
        self._prospect = prospect
        self._guard = guard
        self._rechecks = rechecks
        self._armory = armory
        self._teller = teller
        self._notices = notices
        self._aside = Aside()
        self.triggers: tuple[TriggerPrice, ...] = ()
        self.would_stop: tuple[str, ...] = ()
        self.worth_knowing: tuple[str, ...] = ()
        self.low_gas: tuple[tuple[str, str], ...] = ()

    def begin(self, snapshot: Snapshot) -> None:
        """A new block: where each rule fires there. What failed at the last one is forgotten."""
        self._aside = Aside()
        self.triggers = self._trigger_prices(snapshot)

    def look(self, snapshot: Snapshot, fees: FeeQuote | None) -> None:
        """See anew what would stop the armed rules."""
        self.would_stop = self._what_would_stop(snapshot, fees)

    def telling(self, what: str) -> AbstractContextManager[None]:
        """An unexpected error inside is listed with what would stop a defence, and goes no further."""
        return self._aside.telling(what)

    def tell_conditions(self, snapshot: Snapshot) -> None:
        """What began to hold an armed rule back or to take a step of it out. Blindness is told where it is judged."""
        for name, position, one in self._guard.news():
            severity = _TOLD_AS.get(one.consequence)
            if severity is None or one.code in ("position-unknown", "market-unknown"):
                continue
            held = "held back: " if one.consequence is Consequence.HOLD_BACK else ""
            account = short_address(position.rpartition("/")[2])
            self._teller.say(
                severity, f"{name} on {account}: {held}{one.text}", kind="condition", block=snapshot.block.number
            )

    def _trigger_prices(self, snapshot: Snapshot) -> tuple[TriggerPrice, ...]:
        found: list[TriggerPrice] = []
        for position in snapshot.positions:
            for rule in self._book.rules_of(position):
                at = None
                with self._aside.telling(f"{rule.name}: where it fires"):
                    at = self._prospect.fires_at(rule, position)
                if at is not None:
                    found.append(
                        TriggerPrice(
                            rule.name,
                            position.id,
                            at.asset,
                            at.price_usd,
                            at.distance_bps,
                            rule.trigger.kind,
                            at.level,
                            at.quote,
                            at.health_factor or (None if rule.trigger.is_price else rule.trigger.level),
                        )
                    )
        return tuple(found)

    def _what_would_stop(self, snapshot: Snapshot, fees: FeeQuote | None) -> tuple[str, ...]:
        """What would stop the armed rules or keep them from their targets, were they to fire."""
        lines: list[str] = list(self._notices)
        lesser: list[str] = []
        low_gas: dict[str, str] = {}
        aside = Aside()
        for armed in self._book.armed.values():
            for position in positions_for(armed.rule, snapshot, (armed.account,)):
                found: list[Obstacle] = []
                problems = self._rechecks.problems.get((armed.rule.name, position.id), ())
                with aside.telling(f"{armed.rule.name}: what would stop it"):
                    seen = find_obstacles(armed.rule, position, snapshot, fees, self._prospect)
                    found = not_told(seen, problems)
                strange = self._guard.conditions.get((armed.rule.name, position.id), ())
                telling = [one.text for one in strange if one.consequence is not Consequence.NOTE]
                telling += [one.text for one in found if one.stops]
                wrong = beside(problems, found)
                telling += [one.words for one in wrong if one.decisive]
                lines.extend(f"{armed.rule.name}: {text}" for text in telling)
                lesser.extend(f"{armed.rule.name}: {one.text}" for one in found if not one.stops)
                lesser.extend(f"{armed.rule.name}: {one.words}" for one in wrong if not one.decisive)
                lesser.extend(one.text for one in strange if one.code == DELEGATED)
                low_gas.update((one.account or armed.account, one.text) for one in found if one.code == GAS_IS_LOW)
        self.low_gas = tuple(low_gas.items())
        self.worth_knowing = tuple(dict.fromkeys(lesser))
        return tuple(dict.fromkeys((*lines, *aside.lines, *self._aside.lines, *self._armory.troubles)))
