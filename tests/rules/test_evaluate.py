"""Hysteresis: when a rule counts, fires, latches, cools down and arms itself again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tui.model.position import MarketKey, PositionKey
from tui.model.rule import Rule
from tui.model.units import parse_units
from tui.rules.evaluate import Verdict, VerdictKind, episode_id, held_back, step
from tui.rules.load import parse_rules
from tui.rules.state import conclude, fired_state, initial_state, state_from_data, state_to_data

KEY = PositionKey(MarketKey("aave-v3", "core"), "0x" + "ab" * 20)
TRIGGER = parse_units("1.25", 18)
ABOVE, BELOW = TRIGGER, TRIGGER - 1


def make_rule(for_blocks: int = 1, cooldown: str = "0s", mode: str = "auto") -> Rule:
    text = f"""
[[rule]]
name = "guard"
position = "*"
mode = "{mode}"
when = {{ health_factor_below = "1.25", for_blocks = {for_blocks} }}
target = {{ health_factor = "1.5" }}
[[rule.step]]
action = "repay"
asset = "USDC"
[rule.limits]
cooldown = "{cooldown}"
"""
    loaded = parse_rules(text, "rules.toml")
    assert not loaded.faults
    return loaded.rules[0]


class Walk:
    """A rule walked over a chain, block by block."""

    def __init__(self, rule: Rule, block_at, position_at) -> None:
        self.rule = rule
        self.state = initial_state(rule, str(KEY))
        self._block_at = block_at
        self._position_at = position_at

    def at(self, number: int, health: int | None, **options) -> Verdict:
        unknown = options.pop("unknown", None)
        block = self._block_at(number, **options)
        self.state, verdict = step(self.rule, self.state, self._position_at(block, health, unknown), block)
        return verdict

    def end(self, block: int) -> None:
        assert self.state.episode is not None
        self.state = conclude(self.state, block, self.state.episode)

    def kinds(self, *readings: tuple[int, int | None]) -> list[str]:
        return [self.at(number, health).kind.value for number, health in readings]


@pytest.fixture
def walk(block_at, position_at):
    return lambda **options: Walk(make_rule(**options), block_at, position_at)


def test_equal_to_the_trigger_is_not_below(walk):
    assert walk().kinds((1, ABOVE), (2, BELOW)) == ["calm", "fires"]


def test_no_debt_is_calm(walk):
    assert walk().at(1, None) == Verdict(VerdictKind.CALM, "no debt")


def test_a_hair_below_is_said_exactly(walk):
    assert walk().at(1, BELOW).why == "health factor 1.2499 below 1.25"


def test_fires_only_after_so_many_blocks_in_a_row(walk):
    readings = [(1, BELOW), (2, BELOW), (3, ABOVE), (4, BELOW), (5, BELOW), (6, BELOW)]
    assert walk(for_blocks=3).kinds(*readings) == ["counting", "counting", "calm", "counting", "counting", "fires"]


def test_the_same_block_counts_once(walk):
    assert walk(for_blocks=2).kinds((1, BELOW), (1, BELOW), (1, BELOW), (2, BELOW)) == [*["counting"] * 3, "fires"]


def test_the_episode_is_named_by_the_block_of_the_crossing(walk):
    one = walk(for_blocks=3)
    one.kinds((7, BELOW), (8, BELOW))
    assert one.at(9, BELOW).episode == episode_id(one.rule, str(KEY), 7, "0xa7")


def test_unknown_breaks_the_row_and_says_what_is_lost(walk):
    one = walk(for_blocks=2)
    one.at(1, BELOW)
    blind = one.at(2, None, unknown="the oracle does not answer")
    assert blind.kind is VerdictKind.BLIND
    assert blind.why == "unknown: the oracle does not answer; 1 of 2 blocks below are forgotten"
    assert one.kinds((3, BELOW), (4, BELOW)) == ["counting", "fires"]


def test_a_block_that_was_unknown_counts_once_it_is_known(walk):
    one = walk(for_blocks=2)
    one.at(1, None, unknown="timeout")
    assert one.kinds((1, BELOW), (2, BELOW)) == ["counting", "fires"]


def test_a_block_that_went_dark_and_came_back_counts_anew(walk):
    one = walk(for_blocks=2)
    one.at(1, BELOW)
    one.at(1, None, unknown="timeout")
    assert one.kinds((1, BELOW), (2, BELOW)) == ["counting", "fires"]


def test_the_end_of_another_episode_changes_nothing(walk):
    one = walk()
    first = one.at(1, BELOW).episode
    one.end(2)
    one.kinds((3, ABOVE), (4, BELOW))
    assert first is not None
    assert conclude(one.state, 5, first) == one.state
    assert conclude(walk().state, 5) == walk().state


def test_a_cooldown_that_ended_on_a_block_that_is_gone_did_not_end(walk):
    one = walk(cooldown="1m")
    one.at(1, BELOW)
    one.end(2)
    assert one.kinds((4, ABOVE), (7, ABOVE)) == ["cooling", "calm"]
    assert one.at(5, BELOW, fork="b").kind is VerdictKind.COOLING
    assert one.at(6, BELOW, fork="b").fires


def test_unknown_never_arms_again(walk):
    one = walk()
    one.at(1, BELOW)
    one.end(2)
    assert one.at(3, None, unknown="timeout").kind is VerdictKind.BLIND
    assert one.at(4, BELOW).kind is VerdictKind.LATCHED


def test_a_position_of_another_block_is_unknown(block_at, position_at):
    rule = make_rule()
    state, verdict = step(rule, initial_state(rule, str(KEY)), position_at(block_at(4), BELOW), block_at(5))
    assert verdict.kind is VerdictKind.BLIND
    assert "read at block 4, not at block 5" in verdict.why
    assert not state.latched


@pytest.mark.parametrize("fork", [{"parent_fork": "b"}, {"fork": "b"}])
def test_a_parent_that_was_not_seen_starts_the_row_anew(walk, fork):
    one = walk(for_blocks=2)
    one.at(1, BELOW)
    assert one.at(2, BELOW, **fork).kind is VerdictKind.COUNTING
    assert one.state.crossing_number == 2


def test_a_number_that_does_not_rise_starts_the_row_anew(walk):
    one = walk(for_blocks=3)
    one.kinds((5, BELOW), (6, BELOW))
    assert one.at(6, BELOW, fork="b").kind is VerdictKind.COUNTING
    assert one.state.below == 1


def test_blocks_never_read_do_not_break_the_row(walk):
    assert walk(for_blocks=2).kinds((1, BELOW), (9, BELOW)) == ["counting", "fires"]


def test_fired_it_waits_for_the_end_of_the_episode_and_a_later_block_above(walk):
    one = walk()
    assert one.kinds((1, BELOW), (2, BELOW), (3, ABOVE), (4, BELOW)) == ["fires", "latched", "latched", "latched"]
    one.end(5)
    assert one.kinds((5, ABOVE), (6, BELOW)) == ["latched", "latched"]
    assert one.kinds((7, ABOVE), (8, BELOW)) == ["calm", "fires"]


def test_no_debt_left_arms_again(walk):
    one = walk()
    one.at(1, BELOW)
    one.end(2)
    assert one.kinds((3, None), (4, BELOW)) == ["calm", "fires"]


def test_a_second_fall_is_a_second_episode(walk):
    one = walk()
    first = one.at(1, BELOW).episode
    one.end(2)
    one.at(3, ABOVE)
    second = one.at(4, BELOW).episode
    assert first != second == episode_id(one.rule, str(KEY), 4, "0xa4")


def test_cooldown_runs_by_chain_time_and_fires_when_it_ends(walk):
    one = walk(cooldown="1m")  # five blocks of twelve seconds
    assert one.at(1, BELOW).fires
    one.end(2)
    assert one.kinds((3, ABOVE), (4, BELOW), (5, BELOW)) == ["cooling", "cooling", "cooling"]
    verdict = one.at(6, BELOW)
    assert verdict.episode == episode_id(one.rule, str(KEY), 4, "0xa4")


def test_cooldown_alone_does_not_arm_again(walk):
    one = walk(cooldown="1m")
    one.at(1, BELOW)
    one.end(2)
    assert one.kinds((50, BELOW), (51, BELOW)) == ["latched", "latched"]


def test_a_recovery_on_a_block_that_is_gone_did_not_happen(walk):
    one = walk()
    one.at(1, BELOW)
    one.end(2)
    assert one.at(10, ABOVE).kind is VerdictKind.CALM
    assert one.at(10, BELOW, fork="b").kind is VerdictKind.LATCHED
    assert one.at(11, ABOVE, fork="b").kind is VerdictKind.CALM
    assert one.at(12, BELOW, fork="b").fires


def test_a_recovery_whose_child_has_another_parent_did_not_happen(walk):
    one = walk()
    one.at(1, BELOW)
    one.end(2)
    one.at(10, ABOVE)
    assert one.at(11, BELOW, fork="b").kind is VerdictKind.LATCHED


def test_an_old_recovery_survives_a_reorganisation(walk):
    one = walk()
    one.at(1, BELOW)
    one.end(2)
    one.kinds((10, ABOVE), (11, ABOVE))
    assert one.at(12, BELOW, fork="b").fires


def test_a_later_end_takes_back_an_earlier_recovery(walk):
    one = walk(cooldown="1h")
    one.at(1, BELOW)
    one.end(2)
    one.at(3, ABOVE)
    one.end(5)
    assert one.at(6, BELOW).kind is VerdictKind.LATCHED
    one.end(4)
    assert one.state.ended_block == 5


def test_an_end_at_the_very_block_of_the_recovery_takes_it_back(walk):
    one = walk()
    one.at(1, BELOW)
    one.end(2)
    assert one.at(3, ABOVE).kind is VerdictKind.CALM
    one.end(3)
    assert one.kinds((4, BELOW), (5, ABOVE), (6, BELOW)) == ["latched", "calm", "fires"]


def test_a_notice_needs_no_end(walk):
    one = walk(mode="notify")
    assert one.kinds((1, BELOW), (2, BELOW), (3, ABOVE), (4, BELOW)) == ["fires", "latched", "calm", "fires"]


def test_a_rule_for_elsewhere_does_not_apply(block_at, position_at):
    rule = replace(make_rule(), position="aave-v3/other")
    state = initial_state(rule, str(KEY))
    after, verdict = step(rule, state, position_at(block_at(1), BELOW), block_at(1))
    assert verdict.kind is VerdictKind.NOT_APPLICABLE
    assert after == state


def test_a_state_of_another_rule_is_refused(block_at, position_at):
    rule = make_rule()
    state = initial_state(make_rule(for_blocks=2), str(KEY))
    with pytest.raises(ValueError, match="not of rule 'guard'"):
        step(rule, state, position_at(block_at(1), BELOW), block_at(1))


def test_a_restart_does_not_fire_again(walk, block_at):
    one = walk()
    episode = one.at(1, BELOW).episode
    assert episode is not None
    one.state = fired_state(one.rule, str(KEY), episode, block_at(1), ended_block=None)
    assert one.at(2, BELOW) == Verdict(
        VerdictKind.LATCHED,
        "health factor 1.2499 below 1.25; already fired, its last firing is not concluded",
        episode,
    )


def test_a_state_survives_json_but_for_its_row(walk):
    one = walk(for_blocks=2, cooldown="5m")
    one.kinds((1, BELOW), (2, BELOW))
    one.end(3)
    one.kinds((4, ABOVE), (5, BELOW))
    assert one.state.below == 1
    kept = state_from_data(json.loads(json.dumps(state_to_data(one.state))))
    assert kept == replace(
        one.state, below=0, crossing_number=None, crossing_hash=None, seen_number=None, seen_hash=None
    )


def test_a_firing_held_back_fires_at_the_next_block_in_the_same_episode(walk, block_at, position_at):
    one = walk(for_blocks=2)
    one.at(1, BELOW)
    episodes = set()
    for number in (2, 3, 4):
        block = block_at(number)
        position = position_at(block, BELOW)
        _, verdict = step(one.rule, one.state, position, block)
        one.state = held_back(one.rule, one.state, position, block)
        assert verdict.fires
        episodes.add(verdict.episode)
    assert episodes == {episode_id(one.rule, str(KEY), 1, "0xa1")}
    dark = position_at(block_at(5), None, "timeout")
    assert held_back(one.rule, one.state, dark, block_at(5)).below == 0
    elsewhere = replace(one.rule, position="a/b")
    assert held_back(elsewhere, one.state, dark, block_at(5)) == one.state


@pytest.mark.parametrize(
    "change", [{"episode": 1}, {"latched": 1}, {"fired_at": True}, {"extra": 1}, {"ended_block": 1.5}]
)
def test_a_damaged_state_is_refused(walk, change):
    with pytest.raises(ValueError, match="rule state"):
        state_from_data({**state_to_data(walk().state), **change})


def test_a_state_with_a_field_missing_is_refused():
    with pytest.raises(ValueError, match="has no rule_digest"):
        state_from_data({})
