"""Switching and boosting as rules say them: keys, what is refused and why, and rules that would chase each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.model.block import BlockRef
from tui.model.position import MarketKey, Position, PositionKey
from tui.model.rule import ActionKind, Step, TriggerKind
from tui.model.units import WAD
from tui.rules.evaluate import VerdictKind, step
from tui.rules.load import load_rule_files, parse_rules
from tui.rules.state import initial_state

BOOST = """[[rule]]
name = "lever"
position = "aave-v3/core"
mode = "auto"
when = { health_factor_above = "2.2", for_blocks = 2 }
target = { health_factor = "1.9" }

[[rule.step]]
action = "boost"
collateral = "WETH"
debt = "USDC"
max = "5000"
max_slippage = "0.5%"
"""
GUARD = """[[rule]]
name = "guard"
position = "aave-v3/core"
mode = "auto"
when = { health_factor_below = "1.4" }
target = { health_factor = "1.6" }

[[rule.step]]
action = "switch-collateral"
from = "WBTC"
to = "WETH"
max_slippage = "1%"

[[rule.step]]
action = "switch-debt"
from = "USDC"
to = "DAI"
max = "10"
max_slippage = "0.3%"
"""


def faults(text: str) -> str:
    return "\n".join(str(fault) for fault in parse_rules(text, "r.toml").faults)


def test_what_each_kind_says() -> None:
    loaded = parse_rules(BOOST + GUARD, "r.toml")
    assert loaded.faults == ()
    boost, guard = loaded.rules
    assert boost.boosts
    assert (boost.trigger.kind, boost.health_factor_above) == (TriggerKind.HEALTH_ABOVE, 22 * WAD // 10)
    assert (boost.health_factor_below, boost.trigger.is_price, boost.for_blocks) == (None, False, 2)
    assert boost.steps == (Step(ActionKind.BOOST, "WETH", "5000", "USDC", 50),)
    assert guard.steps == (
        Step(ActionKind.SWITCH_COLLATERAL, "WETH", None, "WBTC", 100),
        Step(ActionKind.SWITCH_DEBT, "USDC", "10", "DAI", 30),
    )
    other = parse_rules(BOOST.replace("2.2", "2.3"), "r.toml").rules[0]
    assert other.digest != boost.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOOST.replace('"1.9"', '"2.3"'), "target 2.3 is not below the trigger 2.2"),
        (BOOST.replace('"1.9"', '"1.01"'), "so near liquidation"),
        (BOOST.replace('"2.2"', '"1"'), "already liquidated"),
        (BOOST.replace("health_factor_above", "health_factor_below").replace('"1.9"', '"2.5"'), "lowers health"),
        (GUARD.replace("health_factor_below", "health_factor_above").replace('"1.6"', '"1.3"'), "is for boosting"),
        (BOOST.replace('health_factor = "1.9"', 'close = "50%"'), "is boost, after which no less is owed"),
        (BOOST.replace('health_factor = "1.9"', 'close = "0%"'), "close is"),
        (BOOST.replace("for_blocks", 'price_of = "WETH", for_blocks'), "health_factor_above and price_of"),
        (BOOST.replace('debt = "USDC"', 'debt = "WETH"'), "sells WETH for itself"),
        (BOOST.replace('max_slippage = "0.5%"', ""), "has no max_slippage"),
        (GUARD.replace('from = "WBTC"', 'collateral = "WBTC"'), "write from (the collateral that is sold)"),
        (GUARD.replace('to = "DAI"', ""), "has no to"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    assert said in faults(text)


@pytest.mark.parametrize(
    ("boost", "guard", "refused"),
    [
        ({}, {}, False),
        ({'"1.9"': '"1.4"'}, {}, True),
        ({'"1.9"': '"1.41"'}, {}, False),
        ({}, {'"1.6"': '"2.2"'}, True),
        ({}, {'"1.6"': '"2.19"'}, False),
        ({'"1.9"': '"1.4"', "aave-v3/core": "aave-v3/prime"}, {}, False),
        ({'"1.9"': '"1.4"', '"auto"': '"notify"'}, {}, False),
    ],
)
def test_rules_that_would_chase_each_other(
    boost: dict[str, str], guard: dict[str, str], refused: bool, tmp_path: Path
) -> None:
    """The boost is refused, in one file or two, with what a round trip costs; the defence stays."""
    one, two = BOOST, GUARD
    for old, new in boost.items():
        one = one.replace(old, new)
    for old, new in guard.items():
        two = two.replace(old, new)
    loaded = parse_rules(one + two, "r.toml")
    assert [rule.name for rule in loaded.rules] == (["guard"] if refused else ["lever", "guard"])
    if refused:
        (fault,) = loaded.errors
        assert fault.rule == "lever"
        assert "one round trip may cost 1.68% of what is moved ($168 on $10,000) and the gas of both" in fault.what
    paths = tmp_path / "one.toml", tmp_path / "two.toml"
    for path, text in zip(paths, (one, two), strict=True):
        path.write_text(text)
    sets = load_rule_files(paths)
    assert sum(len(one.rules) for one in sets) == (1 if refused else 2)


@given(st.lists(st.one_of(st.none(), st.integers(100, 400)), min_size=1, max_size=12))
def test_it_fires_above_and_only_there(seen: list[int | None]) -> None:
    """After so many blocks in a row above; without debt there is nothing to boost."""
    (rule,) = parse_rules(BOOST, "r.toml").rules
    key = PositionKey(MarketKey("aave-v3", "core"), "0x" + "ab" * 20)
    position = Position(key, BlockRef(0, "0x0", "0x", 0, 1), (), (), None, None, None)
    state, row, fired = initial_state(rule, position.id), 0, False
    for number, percent in enumerate(seen, 1):
        block = BlockRef(number, hex(number), hex(number - 1), number * 12, 1)
        health = None if percent is None else percent * WAD // 100
        state, verdict = step(rule, state, replace(position, block=block, health_factor=health), block)
        above = percent is not None and percent > 220
        row = row + 1 if above else 0
        assert verdict.fires == (row >= 2 and not fired)
        fired = fired or verdict.fires
        if above and not fired:
            assert "above 2.20" in verdict.why
        if percent is None and not fired:
            assert verdict.kind is VerdictKind.CALM
            assert verdict.why == "no debt"


STOP = """[[rule]]
name = "stop"
position = "{position}"
mode = "{mode}"
when = {{ price_of = "WETH", below = "1500" }}
target = {{ close = "50%" }}

[[rule.step]]
action = "repay"
asset = "USDC"
"""
AGAIN = '"stop" takes debt off at a price, after which health may be above 2.2: "lever" would then borrow again'


@pytest.mark.parametrize(
    ("position", "mode", "told"),
    [("aave-v3/core", "auto", True), ("*", "confirm", True), ("aave-v3/prime", "auto", False), ("*", "notify", False)],
)
def test_a_boost_that_would_undo_what_a_price_rule_did_is_told(position: str, mode: str, told: bool) -> None:
    stop = STOP.format(position=position, mode=mode)
    for text in (BOOST + stop, stop + BOOST):
        loaded = parse_rules(text, "r.toml")
        assert {rule.name for rule in loaded.rules} == {"lever", "stop"}, "it is told, not refused"
        assert (AGAIN in faults(text)) is told
        assert all(fault.severity == "warning" for fault in loaded.faults)


def test_a_boost_and_a_price_rule_in_two_files_are_told_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one.toml", tmp_path / "other.toml"
    one.write_text(BOOST)
    other.write_text(STOP.format(position="*", mode="auto"))
    for paths in ([one, other], [other, one]):
        sets = load_rule_files(paths)
        assert [len(found.rules) for found in sets] == [1, 1]
        told = [fault for found in sets for fault in found.faults]
        assert [(AGAIN in fault.what, fault.file) for fault in told] == [(True, str(paths[1]))]
