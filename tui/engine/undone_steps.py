"""Steps whose transactions the chain refused twice in a row: the next plan does without them where the rest suffices.

Somebody may make a sale revert for as long as it pays him; a repayment out of the wallet he cannot. Kept in memory: a
restart has two more reverts to learn it from.
"""

from __future__ import annotations

from collections.abc import Sequence

from tui.engine.doubts import Doubted
from tui.model.intent import Firing, IntentState
from tui.model.plan import Action, Plan
from tui.model.rule import Rule, Step

TWICE = 2
"""Firings in a row that a step has to revert in: once is a price that moved on."""
MOST_FIRINGS = 64
_WHY = "its transaction reverted on chain twice in a row"


class UndoneSteps:
    """Which step each transaction of the latest firings was for."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[Step | None, ...]] = {}

    def fired(self, firing_id: str, acting: Rule, plan: Plan) -> None:
        """A firing carries out a plan of the rule as it may act."""
        by_deed = {
            _deed(step.action): acting.steps[number]
            for number, step in zip(plan.taken, plan.steps, strict=False)
            if number < len(acting.steps)
        }
        self._steps[firing_id] = tuple(
            None if call.action is None else by_deed.get(_deed(call.action)) for call in plan.calls
        )
        if len(self._steps) > MOST_FIRINGS:
            del self._steps[next(iter(self._steps))]

    def of(self, row: Sequence[Firing]) -> Doubted:
        """The steps that reverted in each of the last two firings of `row` (reverted ones, the newest first), and why
        each is to be left out.
        """
        if len(row) < TWICE:
            return {}
        newest, before = (self._reverted(firing) for firing in row[:TWICE])
        return {step: _WHY for step in newest if step in before}

    def _reverted(self, firing: Firing) -> tuple[Step, ...]:
        steps = self._steps.get(firing.id, ())
        # What was planned before in a firing that was opened again has the first numbers, and was given up.
        given_up = sum(intent.state is IntentState.DROPPED for intent in firing.intents)
        found = (
            steps[intent.sequence - given_up]
            for intent in firing.intents
            if intent.state is IntentState.FINAL_REVERTED and 0 <= intent.sequence - given_up < len(steps)
        )
        return tuple(step for step in found if step is not None)


def _deed(action: Action) -> tuple[object, ...]:
    """Which step an action is of, whatever its size and its terms."""
    return action.kind, action.asset.address, None if action.sale is None else action.sale.collateral.address
