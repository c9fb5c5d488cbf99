"""Closing a part where health is high: how a file says it, when it fires, and beside which rules it surprises."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.conftest import KEY
from tests.rules.test_boost_rules import BOOST, GUARD, STOP, faults
from tui.model.block import BlockRef
from tui.model.position import Position, unknown_position
from tui.model.rule import ActionKind, GoalKind, Mode, Rule, Step, TriggerKind
from tui.model.units import BPS, WAD
from tui.rules.evaluate import Verdict, VerdictKind, again_text, step
from tui.rules.load import load_rule_files, parse_rules
from tui.rules.state import (
    RuleState,
    conclude,
    disarmed,
    fired_state,
    fires_once,
    initial_state,
    state_from_data,
    state_to_data,
)

PROFIT = """[[rule]]
name = "profit"
position = "aave-v3/core"
mode = "auto"
when = { health_factor_above = "2.2" }
target = { close = "50%" }

[[rule.step]]
action = "repay"
asset = "USDC"

[[rule.step]]
action = "deleverage"
collateral = "WETH"
debt = "USDC"
max_slippage = "1%"
"""


def read(text: str) -> Rule:
    loaded = parse_rules(text, "r.toml")
    assert loaded.faults == ()
    return loaded.rules[0]


def block_at(number: int) -> BlockRef:
    return BlockRef(number, hex(number), hex(number - 1), number * 12, 1)


class Walk:
    """A rule walked over a chain of health factors."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state: RuleState = initial_state(rule, str(KEY))

    def at(self, number: int, percent: int | None) -> Verdict:
        block = block_at(number)
        health = None if percent is None else percent * WAD // 100
        self.state, verdict = step(self.rule, self.state, Position(KEY, block, (), (), health, 0, 0), block)
        return verdict


# -- the file


def test_what_it_says() -> None:
    rule = read(PROFIT)
    assert (rule.boosts, rule.closes_when_high, rule.close_bps) == (False, True, 5_000)
    assert (rule.trigger.kind, rule.health_factor_above, rule.health_factor_below) == (
        TriggerKind.HEALTH_ABOVE,
        22 * WAD // 10,
        None,
    )
    assert rule.target_health_factor is None
    assert rule.steps[1] == Step(ActionKind.DELEVERAGE, "USDC", None, "WETH", 100)
    boost = read(BOOST)
    assert (boost.boosts, boost.closes_when_high, boost.health_factor_above) == (True, False, 22 * WAD // 10)
    others = [PROFIT.replace("50%", "51%"), PROFIT.replace("2.2", "2.3"), PROFIT.replace("_above", "_below")]
    assert len({rule.digest, *(read(text).digest for text in others)}) == 4


def test_one_that_only_tells_boosts_nothing_and_closes_nothing() -> None:
    told = read('[[rule]]\nname = "t"\nposition = "*"\nmode = "notify"\nwhen = { health_factor_above = "2" }\n')
    assert (told.goal.kind, told.closes_when_high, fires_once(told)) == (GoalKind.HEALTH, False, False)
    assert not fires_once(read(PROFIT.replace("auto", "notify")))


@pytest.mark.parametrize(
    ("action", "what"),
    [
        ('action = "boost"\ncollateral = "WETH"\ndebt = "USDC"\nmax_slippage = "1%"', "boost"),
        ('action = "add-collateral"\nasset = "WETH"', "add-collateral"),
        ('action = "switch-collateral"\nfrom = "WBTC"\nto = "WETH"\nmax_slippage = "1%"', "switch-collateral"),
    ],
)
def test_only_steps_that_repay_have_a_place_in_it(action: str, what: str) -> None:
    (told,) = faults(f"{PROFIT}\n[[rule.step]]\n{action}\n").splitlines()
    assert told.startswith(f'r.toml:19: step 3 of rule "profit" is {what}, after which no less is owed; write a step')
    assert ('target = { health_factor = "1.90" } to boost' in told) is (what == "boost")


def test_steps_of_a_defence_under_a_target_of_health_are_told_both_ways_out() -> None:
    told = faults(PROFIT.replace('close = "50%"', 'health_factor = "1.9"'))
    assert told.count("with a target health_factor is for boosting") == 2
    assert told.count('or target = { close = "50%" } to take profit') == 2


def test_a_stale_price_that_it_would_act_at_is_warned_of() -> None:
    text = f'{PROFIT}\n[rule.limits]\nstale_price = "act"\n'
    (fault,) = parse_rules(text, "r.toml").faults
    assert (fault.line, fault.severity) == (19, "warning")
    assert "an old price may be too high" in fault.what
    assert parse_rules(text.replace("_above", "_below"), "r.toml").faults == ()


# -- when it fires


@given(
    st.lists(st.one_of(st.none(), st.integers(100, 400)), min_size=1, max_size=14),
    st.integers(1, 3),
    st.integers(1, 14),
)
def test_it_fires_once_above_and_only_there(seen: list[int | None], for_blocks: int, restart: int) -> None:
    """Whatever health does after it, over a restart or not: once is once, until a person arms it anew."""
    rule = replace(read(PROFIT), for_blocks=for_blocks)
    walk, row, fired = Walk(rule), 0, 0
    for number, percent in enumerate(seen, 1):
        if number == restart:
            walk.state, row = state_from_data(json.loads(json.dumps(state_to_data(walk.state)))), 0
        verdict = walk.at(number, percent)
        above = percent is not None and percent > 220
        row = row + 1 if above else 0
        assert verdict.fires == (not fired and row >= for_blocks)
        if verdict.fires:
            assert "above 2.20" in verdict.why
            walk.state = conclude(walk.state, number)
        elif fired:
            assert verdict.kind is VerdictKind.LATCHED
        fired += verdict.fires
    assert fired <= 1


def test_it_waits_for_a_person_after_it_has_fired() -> None:
    walk = Walk(read(PROFIT))
    assert walk.at(1, 220).why == "health factor 2.20 is not above 2.20"
    assert walk.at(2, 221).fires
    assert disarmed(walk.rule, walk.state).latched, "its firing is under way"
    walk.state = conclude(walk.state, 3)
    for number, percent in ((4, 400), (5, 210), (6, 400)):
        verdict = walk.at(number, percent)
        assert verdict.kind is VerdictKind.LATCHED
        assert again_text(walk.rule) in verdict.why
    assert "disarm it and arm it again" in again_text(walk.rule)
    known = fired_state(walk.rule, str(KEY), "ab" * 32, block_at(2), 3)
    again, verdict = step(walk.rule, known, Position(KEY, block_at(7), (), (), 3 * WAD, 0, 0), block_at(7))
    assert (verdict.kind, again.latched) == (VerdictKind.LATCHED, True), "known from a journal alone"
    walk.state = disarmed(walk.rule, walk.state)
    assert walk.at(7, 221).fires


def test_nothing_is_closed_while_nothing_is_owed_or_health_is_unknown() -> None:
    walk = Walk(read(PROFIT.replace('"2.2"', '"2.2", for_blocks = 2')))
    assert walk.at(1, 300).kind is VerdictKind.COUNTING
    assert walk.at(2, None).kind is VerdictKind.CALM
    assert walk.at(3, 300).kind is VerdictKind.COUNTING, "the row was broken"
    block = block_at(4)
    walk.state, blind = step(walk.rule, walk.state, unknown_position(KEY, block, "no answer"), block)
    assert (blind.kind, blind.why) == (VerdictKind.BLIND, "unknown: no answer; 1 of 2 blocks above are forgotten")
    assert walk.at(5, 300).kind is VerdictKind.COUNTING
    assert walk.at(6, 300).fires


def test_one_that_only_tells_tells_every_rise() -> None:
    walk = Walk(replace(read(PROFIT), mode=Mode.NOTIFY))
    kinds = [walk.at(number, percent).kind.value for number, percent in enumerate((221, 222, 220, 221), 1)]
    assert kinds == ["fires", "latched", "calm", "fires"]


# -- beside other rules

AGAIN = '"lever" would borrow again as soon as health is between 2.2 and {level}'
NEVER = 'where "profit" is beyond its trigger {level}: nothing is boosted there, so it never boosts'
SET_OFF = '"profit" would then close a part on the same position'


def told_of(text: str) -> str:
    loaded = parse_rules(text, "r.toml")
    assert loaded.errors == (), "it is told, not refused"
    return "\n".join(fault.what for fault in loaded.faults)


@pytest.mark.parametrize(
    ("level", "said"), [("3", AGAIN), ("2.21", AGAIN), ("2.2", NEVER), ("2.1", NEVER), ("1.5", NEVER)]
)
def test_a_boost_beside_it_is_told_what_they_do_to_each_other(level: str, said: str, tmp_path: Path) -> None:
    profit = PROFIT.replace('"2.2"', f'"{level}"')
    for text in (BOOST + profit, profit + BOOST):
        assert said.format(level=level) in told_of(text)
    assert told_of(BOOST + profit.replace("auto", "notify")) == ""
    assert told_of(BOOST + profit.replace("aave-v3/core", "aave-v3/prime")) == ""
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text(BOOST)
    other.write_text(profit)
    for paths in ([one, other], [other, one]):
        sets = load_rule_files(paths)
        assert [len(found.rules) for found in sets] == [1, 1]
        (fault,) = (fault for found in sets for fault in found.faults)
        assert said.format(level=level) in fault.what
        assert (fault.file, fault.severity) == (str(paths[1]), "warning")


@pytest.mark.parametrize(("target", "told"), [("2.19", False), ("2.198", True), ("2.2", True), ("2.5", True)])
def test_a_defence_that_ends_above_it_sets_it_off(target: str, told: bool) -> None:
    guard = GUARD.replace('"1.6"', f'"{target}"')
    said = told_of(guard + PROFIT)
    assert (f'"guard" restores health to {target} and a little more, above 2.2: {SET_OFF}' in said) is told
    assert bool(said) is told


@pytest.mark.parametrize(
    ("part", "trigger", "told"),
    [
        ("50%", 'price_of = "WETH", below = "1500"', True),
        ("100%", 'price_of = "WETH", below = "1500"', False),
        ("50%", 'health_factor_below = "1.2"', True),
        ("45%", 'health_factor_below = "1.2"', False),
        ("50%", 'health_factor_above = "1.2"', True),
        ("40%", 'health_factor_above = "1.2"', False),
        ("50%", 'health_factor_above = "3"', False),
    ],
)
def test_a_part_that_is_closed_elsewhere_may_set_it_off(part: str, trigger: str, told: bool) -> None:
    stop = STOP.format(position="*", mode="auto").replace('price_of = "WETH", below = "1500"', trigger)
    said = told_of(stop.replace("50%", part) + PROFIT)
    assert (SET_OFF in said) is told
    assert SET_OFF not in told_of(stop.replace("50%", part).replace("auto", "notify") + PROFIT)


@given(st.integers(1, BPS - 1), st.integers(101, 300), st.integers(101, 300))
def test_a_ladder_whose_rungs_are_far_enough_apart_is_quiet(part: int, low: int, high: int) -> None:
    """Repaid from the wallet health rises by 1 / (1 - part): where that is not above the next rung nothing is told."""
    first = PROFIT.replace('"2.2"', f'"{low / 100:.2f}"').replace("50%", f"{part / 100:.2f}%")
    second = PROFIT.replace('"2.2"', f'"{high / 100:.2f}"').replace("profit", "next").replace("50%", "100%")
    told = '"profit" closes' in told_of(first + second)
    assert told == (low < high and low * BPS > high * (BPS - part))
