"""Which steps are left out because their transactions reverted twice in a row, by the record alone."""

from __future__ import annotations

from dataclasses import replace

from tests.support import views
from tests.support.firings import a_firing, an_intent
from tests.support.plain_rules import repay, rule_of, sell, supply
from tui.engine.undone_steps import as_written, undone_steps
from tui.model.intent import Firing, IntentState
from tui.model.rule import Rule

BOTH = rule_of(sell(), repay())
OK, UNDONE = IntentState.FINAL_OK, IntentState.FINAL_REVERTED


def ended(number: int, *ends: tuple[int | None, IntentState]) -> Firing:
    """A firing whose transactions were for these steps and ended so."""
    firing = a_firing(number)
    intents = (replace(an_intent(firing, 1, at), step=of, state=end) for at, (of, end) in enumerate(ends))
    return replace(firing, intents=tuple(intents))


def test_a_step_has_to_revert_in_both_of_the_last_two() -> None:
    twice = ended(3, (0, UNDONE), (1, OK)), ended(2, (0, OK), (0, UNDONE))
    assert list(undone_steps(BOTH, twice)) == [BOTH.steps[0]]
    assert undone_steps(BOTH, twice[:1]) == {}
    assert undone_steps(BOTH, [ended(3, (0, UNDONE)), ended(2, (1, UNDONE)), ended(1, (0, UNDONE))]) == {}


def test_of_what_an_earlier_version_recorded_no_step_is_known() -> None:
    assert undone_steps(BOTH, [ended(3, (None, UNDONE)), ended(2, (None, UNDONE))]) == {}


def test_what_was_given_up_before_in_a_firing_is_none_of_it() -> None:
    again = ended(2, (1, IntentState.DROPPED), (0, UNDONE))
    assert list(undone_steps(BOTH, [again, ended(1, (1, OK), (0, UNDONE))])) == [BOTH.steps[0]]


def test_transactions_are_noted_with_the_steps_as_they_are_written() -> None:
    """Of three steps the first is out: what may act is numbered from the second on."""
    rule = rule_of(sell(), repay(), supply())
    acting = replace(rule, steps=rule.steps[1:])
    calls = tuple(replace(views.plan().calls[0], step=number, takes=7) for number in (0, 1, None))
    made = as_written(replace(views.plan(), calls=calls), rule, acting)
    assert [(call.step, call.takes) for call in made.calls] == [(1, 7), (2, 7), (None, 7)]


def test_what_rounds_bought_before_is_repaid_without_taking_of_what_may_be_sold() -> None:
    rule: Rule = rule_of(sell())
    repaid = replace(views.plan().calls[0], step=0, takes=7, action=views.plan().steps[0].action)
    assert repaid.action is not None
    assert repaid.action.sale is None
    (call,) = as_written(replace(views.plan(), calls=(repaid,)), rule, rule).calls
    assert (call.step, call.takes) == (0, 0)
