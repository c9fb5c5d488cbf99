"""Rules that could never do what they say, held against the market and the exchanges as they are before arming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.engine.arming import GAS_IS_LOW, Obstacle
from tui.engine.prospect import Prospect
from tui.model.plan import FeeQuote
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.planning.validate import FIRES_AT_ONCE, RuleProblem, validate

MAY_PASS = frozenset({"out-of-reach", "not-buildable", "standing-allowance"})
"""What is told loudly and yet no reason to leave a position without any defence: means that do not suffice today may
tomorrow, a part of the way is better than none of it, and an allowance can be taken back while the rule is armed.
"""


async def problems_of(
    rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote, prospect: Prospect
) -> tuple[RuleProblem, ...]:
    """What is wrong with a rule on a position, with what exchanges charge now; none where it cannot be judged."""
    wallet = prospect.wallet(rule, position, snapshot)
    if wallet is None or position.unknown is not None or position.health_factor is None:
        return ()
    market = prospect.market(position)
    circumstances = prospect.circumstances(rule, snapshot, fees)
    there = prospect.at_trigger(rule, position)
    offers = await prospect.offers.gather(rule, market, there, wallet, circumstances)
    circumstances = replace(circumstances, offers=offers or None)
    return validate(rule, market, position, wallet, circumstances, prospect.best_seen(rule, position))


def refusals(problems: Sequence[RuleProblem]) -> tuple[str, ...]:
    """Why a rule must not be armed at all, each with how to mend it."""
    return tuple(f"{one.words}; {one.fix}" for one in problems if one.decisive and one.code not in MAY_PASS)


def remarks(problems: Sequence[RuleProblem]) -> tuple[str, ...]:
    """What is worth knowing before a rule is armed and no reason not to. That it fires at once stands above it."""
    found = (one for one in problems if not one.decisive or one.code in MAY_PASS)
    return tuple(f"{one.words}; {one.fix}" for one in found if one.code != FIRES_AT_ONCE)


_SAID_AS = {
    "out-of-reach": frozenset({"shortfall", "would-not-act", GAS_IS_LOW}),
    "asset-unlisted": frozenset({"asset-unlisted"}),
    "action-missing": frozenset({"action-missing"}),
    "impossible": frozenset({"step-impossible"}),
    "nothing-supplied": frozenset({"step-impossible"}),
    "no-sale": frozenset({"step-impossible"}),
    "in-rounds": frozenset({"in-rounds"}),
}
"""Problems by the obstacles that tell the same."""
_NO_TROUBLE = frozenset({FIRES_AT_ONCE, "extra-transactions", "standing-allowance"})
"""What stops nothing by itself: an allowance is told with the wallet, and as a refusal where a plan meets it."""


def beside(problems: Sequence[RuleProblem], found: Sequence[Obstacle]) -> tuple[RuleProblem, ...]:
    """Of the problems of a rule, what stands in the way of a defence and the obstacles that were found do not tell."""
    told = {one.code for one in found}
    return tuple(
        one for one in problems if one.code not in _NO_TROUBLE and not told & _SAID_AS.get(one.code, frozenset())
    )
