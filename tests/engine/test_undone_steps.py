"""Which steps are left out because their transactions reverted twice in a row."""

from __future__ import annotations

from dataclasses import replace

from tests.support import views
from tests.support.firings import a_firing, an_intent
from tests.support.plain_rules import repay, rule_of, sell
from tui.engine.undone_steps import MOST_FIRINGS, UndoneSteps
from tui.model.intent import Firing, IntentState

RULE = rule_of(repay())
MADE = replace(views.plan(), taken=(0,))


def ended(number: int, state: IntentState = IntentState.FINAL_REVERTED) -> Firing:
    """A firing whose every transaction ended so."""
    firing = a_firing(number)
    intents = (replace(an_intent(firing, 1, place), state=state) for place in range(len(MADE.calls)))
    return replace(firing, intents=tuple(intents))


def test_a_step_has_to_revert_in_both_of_the_last_two() -> None:
    undone = UndoneSteps()
    for number in (1, 2, 3):
        undone.fired(f"f{number}", RULE, MADE)
    assert list(undone.of([ended(2), ended(1)])) == [RULE.steps[0]]
    assert undone.of([ended(1)]) == {}
    assert undone.of([ended(3), ended(2, IntentState.FINAL_OK)]) == {}
    assert undone.of([ended(9), ended(2)]) == {}, "a firing of an earlier run"


def test_what_was_given_up_before_in_a_firing_shifts_nothing() -> None:
    """It was opened again in its block: what it then carried out is numbered after what was dropped."""
    two = rule_of(repay(), sell())
    calls = tuple(replace(call, action=step.action) for call, step in zip(MADE.calls[:1], MADE.steps[:1], strict=True))
    made = replace(MADE, calls=calls)
    undone = UndoneSteps()
    again = []
    for number in (1, 2):
        undone.fired(f"f{number}", two, made)
        firing = a_firing(number)
        dropped = replace(an_intent(firing, 1, 0), state=IntentState.DROPPED)
        sent = replace(an_intent(firing, 2, 1), state=IntentState.FINAL_REVERTED)
        again.append(replace(firing, intents=(dropped, sent)))
    assert list(undone.of(again)) == [two.steps[0]]


def test_no_more_than_so_many_firings_are_kept() -> None:
    undone = UndoneSteps()
    for number in range(MOST_FIRINGS + 2):
        undone.fired(f"f{number}", RULE, MADE)
    assert undone.of([ended(1), ended(0)]) == {}
    assert undone.of([ended(3), ended(2)]) != {}
