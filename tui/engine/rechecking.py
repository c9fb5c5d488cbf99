"""What was looked at when a rule was armed, looked at again while it is: thresholds, fees and pools change under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tui.engine.arming import positions_for
from tui.engine.prospect import Prospect
from tui.engine.rulebook import RuleBook
from tui.engine.sending import Teller
from tui.engine.validation import loud, problems_of
from tui.model.plan import FeeQuote
from tui.model.position import Position
from tui.model.rule import RuleProblem
from tui.model.snapshot import Snapshot
from tui.model.text import clean_text, short_address
from tui.model.view import Severity

RECHECK_BLOCKS = 20
"""How often what no single reading shows (pools, premiums, fees) is asked for while a rule is armed."""
SILENT_LOOKS = 3
"""So many looks in a row at which no exchange answers are no hiccup."""

Place = tuple[str, str]
"""A rule by name, and a position."""


@dataclass(slots=True)
class _Looked:
    """What was found last at one place, on what ground, and when."""

    digest: str
    ground: object
    at: int
    problems: tuple[RuleProblem, ...]
    silent: int = 0


class Rechecks:
    """Holds every armed rule against the market and the exchanges again: every `RECHECK_BLOCKS` blocks, and at once
    where a parameter of its position changed. What became wrong and what is well again is told; nothing is disarmed,
    because a part of a defence is better than none.
    """

    def __init__(self, book: RuleBook, prospect: Prospect, teller: Teller) -> None:
        self._book = book
        self._prospect = prospect
        self._teller = teller
        self._looked: dict[Place, _Looked] = {}

    @property
    def problems(self) -> Mapping[Place, tuple[RuleProblem, ...]]:
        """What was found last, by rule and position."""
        return {place: looked.problems for place, looked in self._looked.items()}

    async def look(self, snapshot: Snapshot, fees: FeeQuote | None) -> bool:
        """Look where it is due; whether anything was found that was not known. Where nothing can be judged, what was
        known stays.
        """
        places: set[Place] = set()
        news = False
        for armed in tuple(self._book.armed.values()):
            rule = armed.rule
            for position in positions_for(rule, snapshot, (armed.account,)):
                place = (rule.name, position.id)
                places.add(place)
                before = self._looked.get(place)
                if before is not None and before.digest != rule.digest:
                    before = None
                if fees is None or position.unknown is not None or not _due(before, position, snapshot.block.number):
                    continue
                found = await problems_of(rule, position, snapshot, fees, self._prospect)
                silent = 0 if before is None or not _is_silent(found) else before.silent + 1
                if before is not None and 0 < silent < SILENT_LOOKS:
                    before.silent = silent  # asked again at the next block
                    continue
                self._looked[place] = _Looked(rule.digest, _ground(position), snapshot.block.number, found)
                if before is not None:
                    self._tell(place, before.problems, found, snapshot.block.number)
                news = news or before is None or before.problems != found
        for place in self._looked.keys() - places:
            del self._looked[place]
        return news

    def _tell(self, place: Place, before: Sequence[RuleProblem], now: Sequence[RuleProblem], block: int) -> None:
        """What began or ended of what keeps a rule from doing what it says."""
        name, position = place
        where = f"{name} on {short_address(position.rpartition('/')[2])}"
        was, is_now = ({(one.code, one.step, one.decisive) for one in loud(some)} for some in (before, now))
        for one in loud(now):
            if (one.code, one.step, one.decisive) not in was:
                text = f"{where}: it is not as it was when it was armed: {clean_text(one.words, 300)}; {one.fix}"
                severity = Severity.ALARM if one.decisive else Severity.WARNING
                self._teller.say(severity, text, kind="condition", block=block)
        for one in loud(before):
            if (one.code, one.step, one.decisive) not in is_now:
                text = f"{where}: well again, no longer: {clean_text(one.words, 300)}"
                self._teller.say(Severity.GOOD, text, kind="condition", block=block)


def _due(before: _Looked | None, position: Position, number: int) -> bool:
    if before is None or before.silent or before.ground != _ground(position):
        return True
    return not 0 <= number - before.at < RECHECK_BLOCKS


def _ground(position: Position) -> object:
    """The parameters of a position that a reading shows: which collateral counts, and for how much."""
    return tuple((one.asset.address, one.counts, one.liquidation_threshold) for one in position.collateral)


def _is_silent(found: Sequence[RuleProblem]) -> bool:
    return any(one.code == "no-answer" for one in found)
