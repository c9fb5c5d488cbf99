"""Trying again what reverted: how long a rule rests, what ends the row, and that an emergency waits for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.engine.test_further import NOW, POSITION, RULE, fired, plan
from tests.support.firings import an_intent
from tui.engine.retrying import LONGEST_REST, has_reverted, refuse_retry, rest_seconds
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.plan import Plan
from tui.model.units import USD, WAD

NATIVE = 2_000 * USD
CALM = plan(115, 150, reaches=True)
DANGER = plan(104, 150, reaches=True)


def reverted(ago: int, gas_wei: int = 10**15, state: IntentState = IntentState.FINAL_REVERTED) -> Firing:
    """A firing so many seconds ago whose only transaction ended so."""
    firing = fired(ago, None, FiringState.FAILED)
    return replace(firing, intents=(replace(an_intent(firing, 1), state=state, gas_paid_wei=gas_wei),))


def reason(made: Plan, *before: Firing, native: int | None = NATIVE) -> str | None:
    refusal = refuse_retry(RULE, POSITION, made, before, native)
    return None if refusal is None else refusal.reason


@pytest.mark.parametrize(("reverts", "seconds"), [(0, 0), (1, 0), (2, 10), (3, 30), (4, 90), (5, 270), (6, 600)])
def test_the_rest_grows(reverts: int, seconds: int) -> None:
    assert rest_seconds(reverts) == seconds
    assert rest_seconds(100) == LONGEST_REST


def test_it_rests_from_the_block_of_the_last_one_on_and_says_until_when() -> None:
    row = (reverted(29), reverted(60), reverted(90))
    assert reason(CALM, *row) == "its rebalance reverted 3 times in a row: it is tried again from 15:06:41 UTC on"
    assert reason(CALM, reverted(30), *row[1:]) is None
    assert reason(CALM, reverted(0)) is None, "the first is planned anew at once"
    assert reason(CALM) is None


@pytest.mark.parametrize(
    "between",
    [fired(20), reverted(20, state=IntentState.FINAL_CANCELLED), fired(20, None, FiringState.HALTED)],
    ids=["done", "cancelled", "halted"],
)
def test_what_ended_otherwise_ends_the_row(between: Firing) -> None:
    assert reason(CALM, reverted(1), between, reverted(30), reverted(40)) is None


@pytest.mark.parametrize("change", [{"position": "another"}, {"rule_digest": "another"}])
def test_firings_of_others_neither_count_nor_end_the_row(change: dict[str, str]) -> None:
    other = replace(reverted(2), **change)
    assert reason(CALM, reverted(1), other, other) is None
    assert reason(CALM, reverted(1), other, reverted(3)) is not None


def test_what_is_a_day_ago_counts_no_more() -> None:
    assert reason(CALM, reverted(1), reverted(86_400)) is None
    assert reason(CALM, reverted(1), reverted(86_399)) is not None


def test_what_was_given_up_unsigned_before_in_the_same_firing_says_nothing() -> None:
    firing = reverted(1)
    dropped = replace(an_intent(firing, 2), state=IntentState.DROPPED)
    again = replace(firing, intents=(dropped, *firing.intents))
    assert has_reverted(again)
    assert reason(CALM, again, reverted(30)) is not None
    assert not has_reverted(replace(firing, intents=(dropped,)))
    lost = replace(firing.intents[0], state=IntentState.NONCE_LOST)
    assert not has_reverted(replace(firing, intents=(dropped, lost)))


def costing(usd: int) -> Sequence[Firing]:
    """Four reverts in a row whose gas comes to so many dollars."""
    return [reverted(ago, usd * WAD // 2_000 // 4) for ago in (1, 10, 20, 30)]


def test_in_an_emergency_nothing_rests_before_it_has_cost_what_a_liquidation_takes() -> None:
    danger = replace(DANGER, avoided_loss_usd=400 * USD)
    assert reason(danger, *costing(399)) is None
    told = reason(danger, *costing(400))
    assert told is not None
    assert "4 times in a row, and what reverted has cost more gas than a liquidation would take: " in told
    assert reason(danger, reverted(90), *costing(400)[1:]) is None, "it is tried again all the same"
    assert reason(danger, *costing(400), native=None) is None, "unknown is no reason to let a position go"
    assert reason(replace(danger, avoided_loss_usd=None), *costing(400)) is None
    many = [reverted(ago, 10**15) for ago in (1, 2, 3, 4, 5, 6)]
    assert reason(danger, *many, native=None) is not None, "and none to burn gas without any bound"
    assert reason(replace(danger, avoided_loss_usd=None), *many) is not None
    calm = replace(CALM, avoided_loss_usd=400 * USD)
    assert reason(calm, *costing(1)) is not None, "above the emergency it rests whatever it cost"
    assert CALM.block.timestamp == NOW
