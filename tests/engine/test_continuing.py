"""What a firing goes on with, by the record, and what of it waits until its cooldown is over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.firings import BLOCK, a_firing, a_plan, an_intent
from tests.support.plain_rules import repay, rule_of, sell, supply
from tui.engine.continuing import COOLDOWN, Begun, begun, going_on, is_worth_it, refuse_again, still_short
from tui.engine.further import SPAN, time_text
from tui.engine.numbering import numbered
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.plan import Plan, PlanCost, Refusal
from tui.model.rounds import DebtPart
from tui.model.units import USD, WAD
from tui.planning.leaving_out import UNAVAILABLE
from tui.rules.state import conclude, fired_state, initial_state

HOUR = 3_600
RULE = rule_of(repay(maximum="1000"), supply(), sell(), cooldown=HOUR)
REPAY, SUPPLY, SELL = RULE.steps
POSITION = a_firing().position
FREE = initial_state(RULE, POSITION)
WENT_ON = conclude(fired_state(RULE, POSITION, "episode-1", BLOCK, None), 12)
"""A firing of it is over, and was not let go."""
HEALTH = 11 * WAD // 10
OK, UNDONE = IntentState.FINAL_OK, IntentState.FINAL_REVERTED
NOW = BLOCK.timestamp

Taken = tuple[int | None, int | None, IntentState]


def fired(ago: int, *ends: Taken, state: FiringState = FiringState.DONE) -> Firing:
    """A firing so many seconds ago, its transactions with step, what they take, and how they ended."""
    firing = replace(a_firing(ago), rule_digest=RULE.digest, state=state, block_timestamp=NOW - ago)
    intents = (
        replace(an_intent(firing, 1, at), step=step, takes=takes, state=end)
        for at, (step, takes, end) in enumerate(ends)
    )
    return replace(firing, intents=tuple(intents))


def partly(ago: int, *ends: Taken) -> Firing:
    return fired(ago, *ends, state=FiringState.FAILED)


def goes_on(*firings: Firing, state=FREE, health: int | None = HEALTH, rule=RULE) -> Begun | None:
    return begun(rule, POSITION, state, health, firings, NOW)


def test_what_went_through_within_the_cooldown_is_taken() -> None:
    before = goes_on(fired(20, (2, 9, OK)), partly(30, (0, 5, OK), (0, 0, OK), (1, 7, UNDONE)), fired(HOUR, (1, 3, OK)))
    assert before is not None
    assert dict(before.taken) == {SELL: 9, REPAY: 5}
    assert before.until == NOW - 20 + HOUR
    assert before.is_through
    assert goes_on(partly(30, (0, 5, OK), (1, 7, UNDONE))) == Begun({REPAY: 5}, NOW - 30 + HOUR, False)


def test_what_did_nothing_is_not_gone_on_with() -> None:
    assert goes_on(partly(5, (0, 5, UNDONE), (1, 0, OK))) is None
    assert goes_on(replace(fired(5, (0, 5, OK)), position="another")) is None
    assert goes_on(replace(fired(5, (0, 5, OK)), rule_digest="another")) is None
    assert goes_on(fired(5, (0, 5, IntentState.DROPPED))) is None
    assert goes_on() is None


def test_what_an_earlier_version_did_not_note_is_not_counted() -> None:
    assert goes_on(fired(5, (None, None, OK))) is None
    assert goes_on(fired(5, (9, 5, OK))) is None, "no step of this rule"


def test_what_used_a_lost_nonce_may_have_gone_through() -> None:
    before = goes_on(fired(5, (0, 5, IntentState.NONCE_LOST), state=FiringState.FAILED))
    assert before is not None
    assert before.taken == {REPAY: 5}


def test_in_an_emergency_it_begins_anew() -> None:
    one = fired(5, (0, 5, OK))
    assert goes_on(one, health=105 * WAD // 100) is not None
    assert goes_on(one, health=105 * WAD // 100 - 1) is None


def test_without_a_cooldown_only_what_is_planned_anew_is_gone_on_with() -> None:
    restless = replace(RULE, limits=replace(RULE.limits, cooldown=0))
    one = partly(30, (0, 5, OK), (1, 7, UNDONE))
    assert goes_on(one, rule=restless) == Begun({REPAY: 5}, NOW - 30, False)
    assert goes_on(one, rule=restless, state=WENT_ON) is None, "it was not let go"
    closing = replace(WENT_ON, closing=(DebtPart("0x" + "02" * 20, 9, 5),))
    assert goes_on(one, rule=restless, state=closing) == Begun({REPAY: 5}, NOW - 30, False), "the rest of its part"
    assert goes_on(partly(SPAN, (0, 5, OK), (1, 7, UNDONE)), rule=restless) is None, "of another fall"
    assert goes_on(fired(9, (1, 7, OK)), one, rule=restless) is None, "that is over since"


# --- what waits ------------------------------------------------------------------------------------------------------

BEFORE = Begun({REPAY: 5}, NOW + 60, True)
SHORT = replace(
    a_plan(a_firing()), taken=(0,), health_factor_before=HEALTH, health_factor_after=HEALTH + 1, reaches_target=False,
    shortfall="reaches 1.1000 of 1.50",
)  # fmt: skip


def again(plan: Plan | Refusal, before: Begun = BEFORE, now: int = NOW) -> Refusal | None:
    return refuse_again(RULE, RULE, plan, before, now)


def test_what_was_done_already_is_not_done_again_before_the_cooldown_is_over() -> None:
    refused = again(SHORT)
    assert refused is not None
    assert refused.code == COOLDOWN
    assert refused.reason == (
        "it goes on with what its last firing left undone, and nothing of that can be done now "
        f"(reaches 1.1000 of 1.50): it rests until {time_text(NOW + 60)}"
    )
    assert again(SHORT, now=NOW + 60) is None


def test_what_it_lacked_or_what_gets_there_is_done_at_once() -> None:
    assert again(replace(SHORT, taken=(0, 2))) is None
    assert again(replace(SHORT, reaches_target=True)) is None
    assert again(replace(SHORT, health_factor_after=12 * WAD // 10)) is None, "over the trigger"


def test_steps_are_known_though_others_are_out() -> None:
    acting = replace(RULE, steps=(SUPPLY, SELL))
    assert numbered(acting, {SELL: 9, REPAY: 5}) == {1: 9}
    assert refuse_again(RULE, acting, SHORT, Begun({SUPPLY: 5}, NOW + 60, True), NOW) is not None
    assert refuse_again(RULE, acting, SHORT, BEFORE, NOW) is None


def test_what_the_chain_undid_in_part_is_tried_again_at_once_but_for_scraps() -> None:
    undone = replace(BEFORE, is_through=False)
    useful = replace(SHORT, cost=PlanCost(1, 1, USD // 100), spend_usd=5 * USD)
    assert again(useful, undone) is None
    assert again(useful) is not None
    assert again(SHORT, undone) is not None
    assert again(replace(SHORT, taken=(1,)), undone) is None, "it did nothing yet"


@pytest.mark.parametrize(
    ("code", "rests"),
    [
        ("nothing-available", True),
        ("standing-allowance", True),
        ("simulation-reverted", True),
        (UNAVAILABLE, False),
        ("max-cost", False),
        ("no-gas", False),
    ],
)
@pytest.mark.parametrize("is_through", [True, False])
def test_where_nothing_is_left_to_be_done_the_rule_rests_and_nothing_has_failed(
    code: str, rests: bool, is_through: bool
) -> None:
    refused = again(Refusal(code, "because"), replace(BEFORE, is_through=is_through))
    assert (refused is not None and refused.code == COOLDOWN and "(because)" in refused.reason) is rests
    assert again(Refusal(code, "because"), now=NOW + 60) is None


async def test_once_the_cooldown_is_over_the_rest_comes_first_and_then_another_firing() -> None:
    made: list[int] = []

    async def make(taken) -> Plan | Refusal:
        made.append(len(taken))
        return SHORT

    assert await going_on(BEFORE, NOW, make, lambda _: False) == (SHORT, BEFORE)
    assert await going_on(BEFORE, NOW + 60, make, lambda _: True) == (SHORT, BEFORE)
    assert made == [1, 1]
    assert await going_on(BEFORE, NOW + 60, make, lambda _: False) == (SHORT, None)
    assert await going_on(None, NOW, make, lambda _: False) == (SHORT, None)
    assert made == [1, 1, 1, 0, 0]


def test_what_falls_short_for_what_was_taken_before_is_rested_from_by_the_record_alone() -> None:
    assert still_short(RULE, SHORT).lacks is not None
    assert still_short(RULE, replace(SHORT, lacks="no answer")).lacks == "no answer"
    assert still_short(RULE, replace(SHORT, reaches_target=True)).lacks is None
    assert still_short(RULE, replace(SHORT, health_factor_after=12 * WAD // 10)).lacks is None


def test_what_is_worth_being_done_first() -> None:
    useful = replace(SHORT, cost=PlanCost(1, 1, USD // 100), spend_usd=5 * USD)
    assert is_worth_it(RULE, useful)
    assert not is_worth_it(RULE, replace(useful, cost=PlanCost(1, 1, USD)))
    assert not is_worth_it(RULE, Refusal("nothing-available", "because"))
    assert not is_worth_it(RULE, useful, [0]), "undone again and again"
    assert is_worth_it(RULE, replace(useful, taken=(0, 1)), [0])
