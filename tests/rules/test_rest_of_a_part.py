"""What is left of a part that a firing was to close: remembered, over restarts, until it is closed or disarmed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tui.model.position import Asset, Debt
from tui.model.rounds import DebtPart, RoundsSoFar
from tui.model.rule import Limits, Mode, Rule, close, health_above, health_below
from tui.model.units import BPS, USD, WAD
from tui.rules.evaluate import step
from tui.rules.rounds import is_closed
from tui.rules.state import (
    RuleState,
    between_rounds,
    conclude,
    disarmed,
    go_on,
    initial_state,
    no_more_rounds,
    rest_to_close,
    state_from_data,
    state_to_data,
    stopped_rounds,
)

ID = "aave-v3/core/0x" + "ab" * 20
USDC, DAI = "0x" + "cd" * 20, "0x" + "da" * 20
FALL = Rule("guard", "*", Mode.AUTO, health_below(125 * WAD // 100), 1, close(5_000), (), Limits(cooldown=60), "d" * 64)
HIGH = replace(FALL, trigger=health_above(2 * WAD))
SOME = (DebtPart(USDC, 1_000, 100), DebtPart(DAI, 500))


@pytest.fixture
def fired(block_at, position_at) -> RuleState:
    """Fired at block 10, over at block 12, with something of its part repaid."""
    block = block_at(10)
    state, verdict = step(HIGH, initial_state(HIGH, ID), position_at(block, 3 * WAD), block)
    assert verdict.fires
    return replace(conclude(state, 12), closing=SOME)


def test_it_survives_a_restart_and_nobody_elses_state_has_it(fired) -> None:
    assert state_from_data(json.loads(json.dumps(state_to_data(fired)))).closing == SOME
    assert "closing" not in state_to_data(replace(fired, closing=()))


@pytest.mark.parametrize("closing", [[["0x1", 1]], [[1, 1, 1]], [["0x1", -1, 0]], [["0x1", True, 0]], "all", None])
def test_what_is_no_such_thing_is_no_state(fired, closing) -> None:
    with pytest.raises(ValueError, match="rule state has"):
        state_from_data({**state_to_data(fired), "closing": closing})


def test_gone_on_with_it_fires_after_the_cooldown_and_keeps_what_is_left(fired, block_at, position_at) -> None:
    state = go_on(fired)
    assert state.cooldown_until is not None
    early = replace(block_at(13), timestamp=state.cooldown_until - 1)
    state, verdict = step(HIGH, state, position_at(early, 3 * WAD), early)
    assert not verdict.fires
    late = replace(block_at(14), timestamp=state.cooldown_until)
    state, verdict = step(HIGH, state, position_at(late, 3 * WAD), late)
    assert verdict.fires
    assert verdict.episode != fired.episode
    assert rest_to_close(state) == SOME


def test_back_and_forth_over_the_trigger_forgets_nothing_of_what_fires_once(fired, block_at, position_at) -> None:
    state = go_on(fired)
    for number, health in ((13, WAD), (14, 3 * WAD), (15, WAD)):
        state, _ = step(HIGH, state, position_at(block_at(number), health), block_at(number))
        assert state.closing == SOME


def test_a_new_fall_of_health_closes_a_part_of_its_own(fired, block_at, position_at) -> None:
    state = go_on(fired)
    block = block_at(13)
    state, _ = step(FALL, state, position_at(block, WAD), block)
    assert state.closing == SOME
    block = block_at(14)
    state, _ = step(FALL, state, position_at(block, 2 * WAD), block)
    assert state.closing == ()


def test_a_hand_that_disarms_forgets_it(fired) -> None:
    assert disarmed(HIGH, fired).closing == ()
    assert disarmed(HIGH, go_on(fired)).closing == ()


def test_where_nothing_was_repaid_the_next_is_as_good_as_the_first(fired) -> None:
    assert rest_to_close(replace(fired, closing=(DebtPart(USDC, 1_000), DebtPart(DAI, 500)))) == ()
    assert rest_to_close(fired) == SOME


def test_rounds_count_towards_it_for_the_debts_that_they_repay(fired) -> None:
    more = replace(SOME[0], repaid=400)
    rounds = RoundsSoFar(0, 1, parts=(more,))
    assert between_rounds(fired, 13, rounds).closing == (more, SOME[1])
    assert no_more_rounds(replace(fired, rounds=rounds), (more,)).closing == (more, SOME[1])
    assert no_more_rounds(replace(fired, rounds=rounds)).closing == (), "what they repaid is not known"
    assert stopped_rounds(replace(fired, rounds=rounds), 13).closing == ()


@pytest.mark.parametrize(
    ("repaid", "owed", "bps", "closed"),
    [
        (500 * 10**6, 500 * 10**6, 5_000, True),
        (499 * 10**6, 501 * 10**6, 5_000, False),
        (500 * 10**6 - 9_999, 501 * 10**6, 5_000, True),  # less than a cent
        (0, 9_999, BPS, True),
        (990 * 10**6, 10_001, BPS, False),
    ],
)
def test_it_is_closed_to_the_cent(block_at, position_at, repaid, owed, bps, closed) -> None:
    debt = Debt(Asset(USDC, "USDC", 6), owed, USD, owed * 100, 0)
    position = replace(position_at(block_at(1), 3 * WAD), debt=(debt,))
    part = DebtPart(USDC, 1_000 * 10**6, repaid)
    assert is_closed((part,), position, bps) is closed
    assert not is_closed((part,), position, BPS, nothing_left=True)
