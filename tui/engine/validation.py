"""Rules that could never do what they say, held against the market and the exchanges as they are before arming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.engine.arming import Obstacle
from tui.engine.prospect import Prospect
from tui.model.plan import FeeQuote
from tui.model.position import Position
from tui.model.rule import Rule, RuleFault, RuleProblem
from tui.model.snapshot import Snapshot
from tui.planning.validate import BEYOND_LIQUIDATION, FIRES_AT_ONCE, OUT_OF_REACH, STANDING_ALLOWANCE, validate


async def problems_of(
    rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote, prospect: Prospect
) -> tuple[RuleProblem, ...]:
    """What is wrong with a rule on a position, with what exchanges charge now; none where it cannot be judged."""
    wallet = prospect.wallet(rule, position, snapshot)
    if wallet is None or position.unknown is not None or position.health_factor is None:
        return ()
    market = prospect.market(position)
    circumstances = prospect.circumstances(rule, position, snapshot, fees)
    there = prospect.at_trigger(rule, position)
    offers = await prospect.offers.gather(rule, market, there, wallet, circumstances)
    circumstances = replace(circumstances, offers=offers or None)
    return validate(rule, market, position, wallet, circumstances, prospect.best_seen(rule, position))


def said_once(rule: Rule, problems: Sequence[RuleProblem], faults: Sequence[RuleFault]) -> tuple[RuleProblem, ...]:
    """Without that liquidation comes first where arming, or `faults` of the file, tell it: once is enough."""
    if rule.trigger.trails or any(fault.field == rule.trigger.field for fault in faults):
        return tuple(one for one in problems if one.code != BEYOND_LIQUIDATION)
    return tuple(problems)


def refusals(problems: Sequence[RuleProblem], *, known: bool) -> tuple[str, ...]:
    """Why a rule must not be armed, each with how to mend it. `known`: the record has it armed, so it is armed again
    whatever became of its means: what it can still do it shall not lose by a restart.
    """
    return () if known else tuple(str(one) for one in problems if one.decisive)


def remarks(problems: Sequence[RuleProblem], *, known: bool) -> tuple[str, ...]:
    """What is worth knowing before a rule is armed and no reason not to. That it fires at once stands above it."""
    return tuple(str(one) for one in problems if (known or not one.decisive) and one.code != FIRES_AT_ONCE)


def loud(problems: Sequence[RuleProblem]) -> tuple[RuleProblem, ...]:
    """What is told as an alarm where a rule is armed all the same: it will not do what it says."""
    return tuple(one for one in problems if one.decisive or one.code == OUT_OF_REACH)


_SAID_AS = {
    "asset-unlisted": frozenset({"asset-unlisted"}),
    "action-missing": frozenset({"action-missing"}),
    "impossible": frozenset({"step-impossible"}),
    "nothing-supplied": frozenset({"step-impossible"}),
    "no-sale": frozenset({"step-impossible"}),
    "in-rounds": frozenset({"in-rounds"}),
}
"""Problems by the obstacles that tell the same."""
_NO_TROUBLE = frozenset({FIRES_AT_ONCE, "extra-transactions", STANDING_ALLOWANCE})
"""What stops nothing by itself, where it is not decisive: an allowance is told with the wallet."""


def beside(problems: Sequence[RuleProblem], found: Sequence[Obstacle]) -> tuple[RuleProblem, ...]:
    """Of the problems of a rule, what stands in the way of a defence and the obstacles that were found do not tell."""
    told = {one.code for one in found}
    return tuple(
        one
        for one in problems
        if (one.decisive or one.code not in _NO_TROUBLE) and not told & _SAID_AS.get(one.code, frozenset())
    )
