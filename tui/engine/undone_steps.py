"""Steps whose transactions the chain refused twice in a row: the next plan does without them where the rest suffices.

Somebody may make a sale revert for as long as it pays him; a repayment out of the wallet he cannot. Worked out from the
record at each block, so over a restart as well. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.engine.doubts import Doubted
from tui.engine.numbering import written_number
from tui.model.intent import Firing, IntentState
from tui.model.plan import Plan, PlannedCall
from tui.model.rule import SALES, Rule

TWICE = 2
"""Firings in a row that a step has to revert in: once is a price that moved on."""
_WHY = "its transaction reverted on chain twice in a row"


def as_written(plan: Plan, rule: Rule, acting: Rule) -> Plan:
    """A plan of `acting`, what of `rule` may act now, whose transactions say which step of the rule as it is written
    each is for: so they are recorded.
    """
    return replace(plan, calls=tuple(_as_written(call, rule, acting) for call in plan.calls))


def _as_written(call: PlannedCall, rule: Rule, acting: Rule) -> PlannedCall:
    if call.step is None:
        return call
    step = acting.steps[call.step]
    # What earlier rounds bought is repaid for the step that sold for it, and nothing more is sold for that.
    only_repays = step.action in SALES and call.action is not None and call.action.sale is None
    return replace(call, step=written_number(rule, acting, call.step), takes=0 if only_repays else call.takes)


def undone_steps(rule: Rule, row: Sequence[Firing]) -> Doubted:
    """The steps that reverted in each of the last two firings of `row` (reverted ones of the rule, the newest first),
    and why each is to be left out.
    """
    if len(row) < TWICE:
        return {}
    newest, before = (_reverted(firing) for firing in row[:TWICE])
    return {step: _WHY for number, step in enumerate(rule.steps) if number in newest & before}


def _reverted(firing: Firing) -> set[int | None]:
    """The numbers of the steps of which a transaction reverted."""
    return {one.step for one in firing.intents if one.state is IntentState.FINAL_REVERTED}
