"""Steps that only the last simulation before a signature refuses: a token that takes no permit, a nonce used between.

The plan's own simulation lets what a permit lets by an approval, for nothing is signed then. Which step it was is told
here, and for how long it stays out of what a person is asked about; nothing is planned here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tui.model.plan import Plan, Refusal
from tui.model.rule import Rule, Step
from tui.planning.leaving_out import is_refused, last_suspect

MOST_DOUBTS = 3
"""Plans that are made anew for one rule at one block because of it."""

Doubted = Mapping[Step, str]
"""Steps, and why each is to be left out."""
Pair = tuple[str, str]

NONE: Doubted = MappingProxyType({})


def doubted(acting: Rule, plan: Plan, refused: Refusal | None) -> Step | None:
    """The step of the rule, as it may act now, that is to be left out of a plan whose last simulation refused it; None
    where nothing but the whole plan is to blame, or no simulation was.
    """
    if refused is None or not is_refused(refused):
        return None
    number = last_suspect(plan, refused)
    return None if number is None else acting.steps[number]


class Doubts:
    """What is left out of the plans that a person is asked about, by rule and position, until the fall is over, or
    nothing is left without it.
    """

    def __init__(self) -> None:
        self._kept: dict[Pair, Doubted] = {}

    def of(self, pair: Pair) -> Doubted:
        """What to leave out."""
        return self._kept.get(pair, NONE)

    def keep(self, pair: Pair, doubts: Doubted) -> None:
        """Leave this out of what is asked from now on."""
        self._kept[pair] = doubts

    def forget(self, pair: Pair) -> None:
        """Leave nothing out any more."""
        self._kept.pop(pair, None)
