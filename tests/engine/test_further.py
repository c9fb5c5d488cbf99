"""Going on below the trigger: what is of use, how often, and when it is tried again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import views
from tests.support.firings import ACCOUNT, CHAIN_ID, an_intent
from tests.support.plain_rules import repay, rule_of
from tui.engine.further import MOST, SPAN, refuse_further, short_ones, time_text, was_undone
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.plan import Plan
from tui.model.rule import Rule, Trigger, TriggerKind, close, health_above, health_below
from tui.model.units import USD, WAD

RULE = rule_of(repay())
"""Fires below 1.20, restores 1.50."""
NOW = 1_750_000_000
POSITION = f"aave-v3/core/{ACCOUNT}"


def plan(before: int, after: int | None, gas: int = USD, spend: int = 10 * USD, *, reaches: bool = False) -> Plan:
    """A plan that takes health from `before` to `after` (hundredths)."""
    made = views.plan()
    return replace(
        made,
        block=replace(made.block, timestamp=NOW),
        health_factor_before=before * WAD // 100,
        health_factor_after=None if after is None else after * WAD // 100,
        cost=replace(made.cost, gas_usd=gas),
        spend_usd=spend,
        reaches_target=reaches,
        shortfall=None if reaches else "falls short",
    )


def fired(ago: int, after: int | None = 110, state: FiringState = FiringState.DONE, rule: Rule = RULE) -> Firing:
    """A firing so many seconds ago that left health at `after` (hundredths)."""
    return Firing(
        f"f{ago}", rule.name, rule.digest, f"e{ago}", POSITION, ACCOUNT, CHAIN_ID, state, 1, "0x1", NOW - ago,
        105 * WAD // 100, None, None if after is None else after * WAD // 100,
    )  # fmt: skip


SCRAP = plan(110, 110)


def code(rule: Rule, made: Plan, *before: Firing) -> str | None:
    refusal = refuse_further(rule, POSITION, made, before)
    return None if refusal is None else refusal.code


def test_the_first_firing_of_a_fall_is_never_refused() -> None:
    assert code(RULE, SCRAP) is None
    assert code(RULE, SCRAP, fired(SPAN)) is None, "an hour ago"
    assert code(RULE, SCRAP, fired(10, state=FiringState.FAILED), fired(20, state=FiringState.DROPPED)) is None
    assert code(RULE, SCRAP, fired(10, 120), fired(20)) is None, "the last one took health over the trigger"
    assert code(RULE, SCRAP, replace(fired(10), position="another")) is None
    assert code(RULE, SCRAP, replace(fired(10), rule_digest="another")) is None


@pytest.mark.parametrize(
    ("made", "refused"),
    [
        (SCRAP, True),
        (plan(110, 111), False),  # a tenth of what is missing
        (replace(plan(110, 111), health_factor_after=111 * WAD // 100 - 1), True),
        (plan(110, 110, USD, 50 * USD), False),  # gas is a fiftieth of what is moved
        (plan(110, 110, USD, 50 * USD - 1), True),
        (plan(110, 120), False),  # over the trigger
        (plan(110, None), False),
        (plan(119, 119, reaches=True), False),
        (replace(SCRAP, cost=replace(SCRAP.cost, gas_usd=None)), True),  # gas of unknown price is not cheap
    ],
)
def test_a_further_one_has_to_be_of_use(made: Plan, refused: bool) -> None:
    before = (fired(10), fired(900))
    assert code(RULE, made, *before) == ("adds-too-little" if refused else None)


def test_what_is_refused_says_when_it_is_tried_again_and_then_it_is() -> None:
    refusal = refuse_further(RULE, POSITION, SCRAP, (fired(10), fired(900)))
    assert refusal is not None
    assert f"tried again from {time_text(NOW - 10 + SPAN)} on" in refusal.reason
    assert "from 1.1000 to 1.1000, for $1.00 of gas" in refusal.reason
    then = replace(SCRAP, block=replace(SCRAP.block, timestamp=NOW - 10 + SPAN))
    assert code(RULE, then, fired(10), fired(900)) is None


def test_there_are_so_many_in_an_hour_at_most() -> None:
    before = tuple(fired(10 * number) for number in range(1, MOST + 1))
    useful = plan(106, 119)
    assert code(RULE, useful, *before[1:]) is None
    refusal = refuse_further(RULE, POSITION, useful, before)
    assert refusal is not None
    assert refusal.code == "too-many-firings"
    assert f"tried again from {time_text(NOW - 10 * MOST + SPAN)} on" in refusal.reason
    assert code(RULE, plan(106, 150, reaches=True), *before) == "too-many-firings"
    later = replace(useful, block=replace(useful.block, timestamp=NOW - 10 * MOST + SPAN))
    assert code(RULE, later, *before) is None


def emergency(before: int, after: int | None, cost: int, loss: int | None = 1_109) -> Plan:
    """A plan in an emergency: health in thousandths, dollars that it costs and that a liquidation would take."""
    made = plan(1, 1, cost * USD, 400 * USD)
    return replace(
        made,
        health_factor_before=before * WAD // 1_000,
        health_factor_after=None if after is None else after * WAD // 1_000,
        cost=replace(made.cost, gas_usd=cost * USD),
        avoided_loss_usd=None if loss is None else loss * USD,
    )


def test_in_an_emergency_whatever_raises_health_for_less_than_the_loss_goes_out() -> None:
    """No gas is saved while a liquidation is near, however little of what is missing one firing makes up."""
    useful = emergency(1_004, 1_022, 12)
    assert code(RULE, emergency(1_051, 1_052, 12), fired(10)) == "adds-too-little", "it is none yet"
    for made in (useful, emergency(1_002, 1_003, 1_108), emergency(1_002, None, 9), emergency(1_004, 1_022, 12, None)):
        assert code(RULE, made, fired(10), fired(20)) is None
    unknown = replace(useful, cost=replace(useful.cost, gas_usd=None))
    assert code(RULE, unknown, fired(10)) is None
    assert code(RULE, emergency(1_004, 1_004, 12), fired(10)) == "adds-too-little"
    assert code(RULE, emergency(1_004, 1_010, 1_109), fired(10)) == "adds-too-little", "a liquidation takes no more"


def test_after_so_many_in_an_emergency_each_has_to_be_worth_its_share_of_the_loss() -> None:
    """All of them together then cost no more than what they keep from being lost."""
    before = tuple(fired(10 * number) for number in range(1, MOST + 1))
    # 18 of the 196 thousandths that are missing are worth $101.84 of $1,109.
    assert code(RULE, emergency(1_004, 1_022, 101), *before) is None
    assert code(RULE, emergency(1_004, 1_022, 102), *before) == "too-many-firings"
    assert code(RULE, emergency(1_004, 1_201, 1_100), *before) is None, "over the trigger"
    unknown = replace(emergency(1_004, 1_022, 1), cost=replace(SCRAP.cost, gas_usd=None))
    assert code(RULE, unknown, *before) == "too-many-firings"


def test_only_what_restores_health_goes_on() -> None:
    part = replace(RULE, goal=close(5_000))
    boost = replace(RULE, trigger=health_above(2 * WAD))
    for rule in (part, boost):
        assert code(rule, SCRAP, fired(10)) is None


def test_the_rest_of_a_part_has_to_be_of_use_too() -> None:
    part, before = replace(RULE, goal=close(5_000)), fired(10, None)
    before = replace(before, rule_digest=part.digest)

    def refused(made: Plan, *fired_before: Firing) -> str | None:
        refusal = refuse_further(part, POSITION, made, fired_before, is_rest=True)
        return None if refusal is None else refusal.code

    assert refused(SCRAP) is None
    assert refused(SCRAP, before) == "adds-too-little"
    assert refused(plan(110, 110, USD, 50 * USD), before) is None
    assert refused(plan(110, 111, reaches=True), before) is None, "it closes what is left"
    many = tuple(replace(fired(10 * one, None), rule_digest=part.digest) for one in range(1, MOST + 1))
    assert refused(plan(110, 111, reaches=True), *many) == "too-many-firings"
    assert refused(emergency(1_002, 1_003, 9), *many[1:]) is None


def test_what_restores_health_on_a_price_has_to_be_of_use_too() -> None:
    """It goes on where it was too short for its target: what is missing is missing to that."""
    stop = replace(RULE, trigger=Trigger(TriggerKind.PRICE_BELOW, 2_000 * WAD, "WETH"))
    before = replace(fired(10, 126), rule_digest=stop.digest)
    assert code(stop, plan(126, 127)) is None
    assert code(stop, plan(126, 127), before) == "adds-too-little"
    assert code(stop, plan(126, 129), before) is None, "a tenth of what is missing to 1.50"
    assert code(stop, plan(149, 150, reaches=True), before) is None


def test_unknown_health_counts_as_below() -> None:
    assert len(short_ones(RULE, POSITION, (fired(10, None), fired(20), fired(30, 125), fired(40)), NOW)) == 2
    assert health_below(12 * WAD // 10) == RULE.trigger


def test_only_the_last_firing_that_is_over_tells_whether_the_chain_undid_it() -> None:
    intent = an_intent(fired(20), 1)
    undone = replace(fired(20, state=FiringState.FAILED), intents=(replace(intent, state=IntentState.FINAL_REVERTED),))
    lost = replace(fired(20, state=FiringState.FAILED), intents=(replace(intent, state=IntentState.NONCE_LOST),))
    under_way = fired(10, state=FiringState.RUNNING)
    assert was_undone(RULE, POSITION, [undone])
    assert was_undone(RULE, POSITION, [under_way, undone])
    assert was_undone(RULE, POSITION, [replace(fired(10), position="another"), undone])
    assert not was_undone(RULE, POSITION, [])
    assert not was_undone(RULE, POSITION, [lost])
    assert not was_undone(RULE, POSITION, [fired(10), undone])
