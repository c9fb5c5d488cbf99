"""The numbers of steps in a rule as it is written, and in the same rule as it may act now, without those that are out.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from tui.model.plan import Plan
from tui.model.rule import Rule, Step

_T = TypeVar("_T")


def numbered(acting: Rule, by_step: Mapping[Step, _T]) -> dict[int, _T]:
    """What is known of steps by their numbers in the rule, as it may act now."""
    return {number: by_step[step] for number, step in enumerate(acting.steps) if step in by_step}


def written_number(rule: Rule, acting: Rule, number: int) -> int:
    """The number in the rule, as it is written, of a step of it as it may act now (`acting`)."""
    return rule.steps.index(acting.steps[number])


def numbers_of(plan: Plan, rule: Rule, acting: Rule) -> tuple[int, ...]:
    """The numbers, in the rule, of the steps of a plan that is of the rule as it may act (`acting`)."""
    return tuple(written_number(rule, acting, number) for number in plan.taken)
