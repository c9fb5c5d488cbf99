"""Rounds of one firing: on to the target wherever the trigger is, once a block after the last, over restarts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.model.position import Asset, Debt
from tui.model.rounds import Agreed, DebtPart, PlannedRound, RoundsSoFar, floor_of
from tui.model.rule import Limits, Mode, Rule, Trigger, TriggerKind, close, health_below, restore
from tui.model.units import USD, WAD
from tui.rules.evaluate import VerdictKind, held_back, step
from tui.rules.prices import PriceSeen
from tui.rules.rounds import round_episode, rounds_from_data, rounds_to_data
from tui.rules.state import (
    RuleState,
    between_rounds,
    disarmed,
    initial_state,
    no_more_rounds,
    state_from_data,
    state_to_data,
    stopped_rounds,
)

TRIGGER, TARGET = 125 * WAD // 100, 15 * WAD // 10
RULE = Rule("guard", "*", Mode.AUTO, health_below(TRIGGER), 1, restore(TARGET), (), Limits(cooldown=3_600), "d" * 64)
ID = "aave-v3/core/0x" + "ab" * 20
ONE = RoundsSoFar(0, rounds=1)


@pytest.fixture
def after_one(block_at, position_at) -> RuleState:
    """The state after the first round, which was final in block 12."""
    block = block_at(10)
    fired, verdict = step(RULE, initial_state(RULE, ID), position_at(block, 105 * WAD // 100), block)
    assert verdict.fires
    return between_rounds(fired, 12, ONE)


def test_the_next_round_fires_above_the_trigger_and_before_the_cooldown_is_over(after_one, block_at, position_at):
    block = block_at(13)
    state, verdict = step(RULE, after_one, position_at(block, 13 * WAD // 10), block)
    assert verdict.fires
    assert verdict.episode == round_episode(after_one.episode, 2)
    assert "is not at its target 1.50 yet: round 2" in verdict.why
    assert state.latched
    assert state.rounds == ONE
    _, again = step(RULE, state, position_at(block_at(14), 13 * WAD // 10), block_at(14))
    assert again.kind is VerdictKind.LATCHED


def test_no_round_fires_at_the_block_that_ended_the_last(after_one, block_at, position_at):
    for number in (11, 12):
        block = block_at(number)
        _, verdict = step(RULE, after_one, position_at(block, 11 * WAD // 10), block)
        assert verdict.kind is VerdictKind.LATCHED


@pytest.mark.parametrize("health", [TARGET, TARGET + 1, None])
def test_at_the_target_the_firing_is_over_and_the_rule_free(after_one, block_at, position_at, health):
    block = block_at(13)
    state, verdict = step(RULE, after_one, position_at(block, health), block)
    assert verdict.kind is VerdictKind.CALM
    assert state.rounds is None
    assert not state.latched
    later = block_at(400)
    _, fires = step(RULE, state, position_at(later, 12 * WAD // 10), later)
    assert fires.fires
    assert fires.episode != verdict.episode


def test_what_fires_once_is_done_where_its_rounds_have_met_their_target(block_at, position_at):
    """A price moved it over the target, or its owner: the plan of its last round fell short, and says nothing then."""
    rule = replace(RULE, trigger=Trigger(TriggerKind.PRICE_BELOW, 2_000 * WAD, "WETH"))
    price = PriceSeen(1_950 * USD)
    begun, _ = step(rule, initial_state(rule, ID), position_at(block_at(10), 11 * WAD // 10), block_at(10), price)
    met, verdict = step(rule, between_rounds(begun, 12, ONE), position_at(block_at(13), TARGET), block_at(13), price)
    assert verdict.kind is VerdictKind.CALM
    assert (met.rounds, met.latched, met.episode) == (None, True, None)
    low = position_at(block_at(5_000), 11 * WAD // 10)
    kept, verdict = step(rule, met, low, block_at(5_000), price)
    assert verdict.kind is VerdictKind.LATCHED
    assert state_from_data(state_to_data(met)).episode is None
    assert step(rule, disarmed(rule, kept), replace(low, block=block_at(5_001)), block_at(5_001), price)[1].fires


def test_a_part_that_is_closed_ends_the_rounds_and_not_a_health_factor(block_at, position_at):
    rule = replace(RULE, goal=close(5_000))
    part = DebtPart("0x" + "cd" * 20, 1_000 * 10**6)
    begun, _ = step(rule, initial_state(rule, ID), position_at(block_at(10), 105 * WAD // 100), block_at(10))
    after = between_rounds(begun, 12, replace(ONE, parts=(replace(part, repaid=400 * 10**6),)))
    debt = Debt(Asset(part.token, "USDC", 6), 600 * 10**6, USD, 600 * USD, 0)
    block = block_at(13)
    high = replace(position_at(block, 3 * WAD), debt=(debt,))
    _, verdict = step(rule, after, high, block)
    assert verdict.fires
    assert "50% of what was owed when it fired is not closed yet: round 2" in verdict.why
    done = between_rounds(begun, 12, replace(ONE, parts=(replace(part, repaid=499_995_000),)))
    free, verdict = step(rule, done, high, block)
    assert (verdict.kind, free.rounds, free.latched) == (VerdictKind.CALM, None, False)
    low = replace(position_at(block, 11 * WAD // 10), debt=(debt,))
    held, verdict = step(rule, done, low, block)
    assert verdict.kind is VerdictKind.CALM
    assert (held.rounds, held.latched) == (None, True), "below its trigger it does not close half of the rest"
    _, again = step(rule, held, replace(low, block=block_at(14)), block_at(14))
    assert again.kind is VerdictKind.LATCHED
    unpriced = replace(debt, price_usd=None, value_usd=None)
    _, verdict = step(rule, done, replace(high, debt=(unpriced,)), block)
    assert verdict.fires, "what has no price is no dust"
    whole = replace(rule, goal=close(10_000))
    almost = between_rounds(begun, 12, replace(ONE, parts=(replace(part, repaid=10**9),)))
    _, verdict = step(whole, almost, replace(high, debt=(replace(debt, amount=1),)), block)
    assert verdict.fires, "of all of it nothing is to be left"
    _, verdict = step(whole, almost, position_at(block, None), block)
    assert verdict.kind is VerdictKind.CALM


def test_what_is_held_back_is_the_same_round_at_the_next_block(after_one, block_at, position_at):
    episodes = set()
    state = after_one
    for number in range(13, 20):
        block = block_at(number)
        position = position_at(block, 12 * WAD // 10)
        _, verdict = step(RULE, state, position, block)
        assert verdict.fires
        episodes.add(verdict.episode)
        state = held_back(RULE, state, position, block)
    assert len(episodes) == 1


def test_unknown_fires_no_round(after_one, block_at, position_at):
    block = block_at(13)
    state, verdict = step(RULE, after_one, position_at(block, None, "a node failed"), block)
    assert verdict.kind is VerdictKind.BLIND
    assert state.rounds == ONE


def test_a_restart_goes_on_with_them(after_one, block_at, position_at):
    kept = state_from_data(json.loads(json.dumps(state_to_data(after_one))))
    block = block_at(13)
    _, verdict = step(RULE, kept, position_at(block, 13 * WAD // 10), block)
    assert verdict.episode == round_episode(after_one.episode, 2)


def test_disarmed_between_two_rounds_nothing_follows_and_what_is_below_fires_anew(after_one, block_at, position_at):
    state = disarmed(RULE, after_one)
    assert state.rounds is None
    _, calm = step(RULE, state, position_at(block_at(13), 13 * WAD // 10), block_at(13))
    assert calm.kind is VerdictKind.COOLING
    late = block_at(400)
    _, fires = step(RULE, state, position_at(late, 11 * WAD // 10), late)
    assert fires.fires


def test_disarmed_within_one_it_is_the_last(after_one, block_at, position_at):
    block = block_at(13)
    under_way, _ = step(RULE, after_one, position_at(block, 11 * WAD // 10), block)
    state = disarmed(RULE, under_way)
    assert state.latched
    assert state.rounds is not None
    assert state.rounds.stopped
    ended = stopped_rounds(state, 15)
    assert (ended.rounds, ended.latched) == (None, False)


def test_states_of_rules_without_rounds_are_written_as_ever():
    assert "rounds" not in state_to_data(initial_state(RULE, ID))


numbers = st.integers(0, 2**200)
some_steps = st.just(()) | st.just(((1, 5), (3, 0)))
some = st.builds(
    RoundsSoFar,
    step=st.integers(0, 15),
    rounds=st.integers(0, 30),
    used=st.dictionaries(st.integers(0, 15), st.integers(1, 2**200)).map(lambda found: tuple(sorted(found.items()))),
    spent_usd=numbers,
    cost_usd=numbers,
    left=st.dictionaries(st.text(max_size=42), numbers, max_size=2).map(lambda found: tuple(found.items())),
    agreed=st.none() | st.builds(Agreed, st.none() | numbers, some_steps, some_steps),
    planned=st.none() | st.builds(PlannedRound, st.text(max_size=64), numbers, numbers, some_steps, some_steps),
    stopped=st.booleans(),
    parts=st.lists(st.builds(DebtPart, st.text(max_size=42), numbers, numbers), max_size=3).map(tuple),
    sold_usd=some_steps,
)


@given(some)
def test_rounds_survive_being_written(rounds: RoundsSoFar) -> None:
    assert rounds_from_data(json.loads(json.dumps(rounds_to_data(rounds)))) == rounds


@pytest.mark.parametrize(
    "change",
    [
        {"rounds": -1}, {"rounds": True}, {"sold": "1"}, {"left": []}, {"left": {"0x": -1}}, {"planned": ["a"]},
        {"planned": [1, 2, 3]}, {"stopped": 1}, {"more": 1}, {"confirmed_usd": 0.5}, {"parts": 1}, {"parts": [["0x"]]},
        {"parts": [["0x", 1, -1]]}, {"parts": [[1, 1, 1]]}, {"parts": [["0x", 1, 1]] * 9},
        {"agreed": 7}, {"agreed": [1, []]}, {"agreed": [-1, [], []]}, {"agreed": [1, [[1]], []]}, {"sold_usd": {}},
        {"planned": ["a", 1, 2, [], [], []]},
        {"used": 1}, {"used": [[1]]}, {"used": [[0, -1]]}, {"used": [[1, 1]] * 65}, {"planned": ["a", 1, 2, 3]},
    ],
)  # fmt: skip
def test_no_other_data_pass_for_rounds(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="rule state has"):
        rounds_from_data({**rounds_to_data(replace(ONE)), **change})


def test_rounds_that_an_earlier_version_wrote_are_read_as_ever() -> None:
    written = {
        "step": 1, "rounds": 3, "sold": 7, "spent_usd": 5, "cost_usd": 2, "left": {"0xab": 9}, "confirmed_usd": None,
        "planned": ["episode", 4, 1], "stopped": False,
    }  # fmt: skip
    rounds = RoundsSoFar(1, 3, ((1, 7),), 5, 2, (("0xab", 9),), None, PlannedRound("episode", 4, 1))
    assert rounds_from_data(written) == rounds
    assert rounds_to_data(rounds) == written


def test_a_yes_of_an_earlier_version_covers_nothing_because_it_does_not_say_which_steps_were_asked_about() -> None:
    written = {**rounds_to_data(ONE), "confirmed_usd": 10**18}
    assert rounds_from_data(written) == ONE
    assert ONE.agreed is None


def test_of_rounds_that_are_over_only_what_they_left_is_known(after_one) -> None:
    left = (("0x" + "cd" * 20, 5),)
    over = no_more_rounds(replace(after_one, rounds=replace(ONE, left=left, used=((0, 1),), cost_usd=4)))
    assert over.rounds == RoundsSoFar(0, left=left)
    assert no_more_rounds(after_one).rounds is None


@given(st.integers(WAD, 3 * WAD))
def test_a_floor_is_above_one_with_a_margin_and_never_above_what_is_there(health: int) -> None:
    floor = floor_of(health)
    if floor is None:
        assert health < 1_010 * WAD // 1_000 + 2
    else:
        assert 1_005 * WAD // 1_000 <= floor < health
        assert floor <= 102 * WAD // 100
