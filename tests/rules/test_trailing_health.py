"""Health that is trailed: what the file says, what moves the best, what begins it anew, what survives a restart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.test_price_hysteresis import KEY, block_at, rule_of
from tests.rules.test_triggers import parsed, rule
from tui.model.position import Held, Position
from tui.model.rule import GoalKind, Mode, Trigger, TriggerKind
from tui.model.units import USD, WAD
from tui.rules.evaluate import Verdict, VerdictKind, step
from tui.rules.load import parse_rules
from tui.rules.prices import PriceSeen, lessened
from tui.rules.state import (
    RuleState,
    begin_trailing,
    disarmed,
    fires_once,
    initial_state,
    state_from_data,
    state_to_data,
)

TENTH = Trigger(TriggerKind.HEALTH_TRAILING, 0, None, None, 1_000)
MADE_OF: Held = (("0xaa", 10 * WAD, 0), ("0xbb", 0, 18_000))


class Walk:
    """A rule that trails health by a tenth, over blocks of so much health (in hundredths; None: nothing is owed)."""

    def __init__(self, for_blocks: int = 1, mode: Mode = Mode.AUTO) -> None:
        self.rule = rule_of(TENTH, for_blocks=for_blocks, mode=mode)
        self.state: RuleState = initial_state(self.rule, str(KEY))
        self.number = 0

    def at(self, health: int | None, held: Held | None = MADE_OF, doubted: bool = False) -> Verdict:
        self.number += 1
        block = block_at(self.number)
        wad = None if health is None else health * WAD // 100
        seen = None if wad is None else PriceSeen(wad, WAD, doubted, held)
        self.state, verdict = step(self.rule, self.state, Position(KEY, block, (), (), wad, 0, 0), block, seen)
        return verdict

    def kinds(self, *healths: int | None, held: Held = MADE_OF) -> list[str]:
        return [self.at(one, held).kind.value for one in healths]

    @property
    def best(self) -> int | None:
        return None if self.state.best is None else self.state.best * 100 // WAD


@pytest.mark.parametrize(("share", "bps"), [("10%", 1_000), ("0.1%", 10), ("90%", 9_000)])
def test_it_is_read_exactly(share: str, bps: int) -> None:
    found = rule(f'{{ health_factor_trailing = "{share}", for_blocks = 3 }}')
    assert found.trigger == Trigger(TriggerKind.HEALTH_TRAILING, 0, None, None, bps)
    assert (found.for_blocks, found.health_factor_below, found.health_factor_above) == (3, None, None)
    assert fires_once(found)
    assert not found.boosts


def test_it_may_restore_health_and_needs_no_target_where_it_only_tells() -> None:
    when = '{ health_factor_trailing = "10%" }'
    assert rule(when, '{ health_factor = "1.5" }').target_health_factor == 15 * WAD // 10
    text = f'[[rule]]\nname = "a"\nposition = "*"\nmode = "notify"\nwhen = {when}\n'
    assert parse_rules(text, "r.toml").rules[0].goal.kind is GoalKind.NOTHING


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (
            '{ health_factor_trailing = "0.05%" }',
            '5: health_factor_trailing is 0.05%, nearer than prices stand still; write a share from "0.1%" to "90%"',
        ),
        (
            '{ health_factor_trailing = "95%" }',
            '5: health_factor_trailing is "95%"; write a share above 0% and up to 90%',
        ),
        (
            '{ health_factor_trailing = "10%", health_factor_below = "1.2" }',
            '5: when of rule "guard" has health_factor_trailing and health_factor_below; '
            "keep one of the two: write another rule",
        ),
        (
            '{ health_factor_trailing = "10%", price_of = "WETH" }',
            '5: when of rule "guard" has health_factor_trailing and price_of; keep one of the two: write another rule',
        ),
        (
            '{ health_factor_above = "2.0", health_factor_trailing = "10%" }',
            '5: when of rule "guard" has health_factor_above and health_factor_trailing; '
            "keep one of the two: write another rule",
        ),
        (
            '{ health_factor_trailling = "10%" }',
            "did you mean health_factor_trailing?",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_said(when: str, said: str) -> None:
    found = parsed(when)
    assert found.rules == ()
    assert any(said in str(fault) for fault in found.faults), [str(one) for one in found.faults]


def test_its_digest_is_its_own_and_that_of_no_other_rule_changes() -> None:
    one, other = (rule(f'{{ health_factor_trailing = "{share}" }}').digest for share in ("10%", "11%"))
    assert len({one, other, rule('{ price_of = "WETH", trailing = "10%" }').digest}) == 3


def test_it_fires_a_tenth_under_the_best_and_not_at_it() -> None:
    one = Walk()
    assert one.kinds(138, 150, 166, 150) == ["calm"] * 4
    assert one.best == 166
    said = one.at(149)
    assert said.why == "health factor 1.4900 below 1.4940 (10% under the best seen, 1.6600)"
    assert said.fires
    assert Walk().kinds(200, 180, 179) == ["calm", "calm", "fires"]


def test_a_best_has_to_stand_for_as_many_blocks_as_a_fall() -> None:
    one = Walk(for_blocks=2)
    assert one.kinds(150, 150, 300, 150) == ["calm"] * 4
    assert one.best == 150
    assert one.kinds(130, 130) == ["counting", "fires"]


def test_on_a_price_in_doubt_the_best_stays_where_it_is_and_nothing_fires() -> None:
    one = Walk()
    one.at(150)
    assert one.at(400, doubted=True).kind is VerdictKind.CALM
    assert one.best == 150
    assert one.at(100, doubted=True).kind is VerdictKind.COUNTING
    assert one.at(134).fires


def test_what_its_owner_does_to_the_position_begins_the_best_anew() -> None:
    borrowed: Held = (MADE_OF[0], ("0xbb", 0, 20_000))
    withdrawn: Held = (("0xaa", 9 * WAD, 0), MADE_OF[1])
    for now in (borrowed, withdrawn, (MADE_OF[1],), (*MADE_OF, ("0xcc", 0, 1))):
        one = Walk()
        assert one.kinds(150, 166) == ["calm"] * 2
        assert one.kinds(120, held=now) == ["calm"], "what was done is no fall"
        assert one.best == 120
        assert one.kinds(108, 107, held=now) == ["calm", "fires"]


def test_what_anybody_may_do_for_it_raises_the_best_and_never_begins_it_anew() -> None:
    """Else whoever wants to liquidate would send a cent at each block, and the stop would never fire."""
    one = Walk()
    assert one.kinds(166) == ["calm"]
    for wei, health in ((1, 160), (2, 155), (3, 150)):
        assert one.kinds(health, held=(("0xaa", 10 * WAD + wei, 0), ("0xbb", 0, 18_000 - wei))) == ["calm"]
    assert one.best == 166
    assert one.kinds(149, held=(("0xaa", 10 * WAD + 4, 0), ("0xbb", 0, 1), ("0xdd", 5, 0))) == ["fires"]


def test_a_market_that_does_not_tell_what_it_is_made_of_keeps_the_best() -> None:
    one = Walk()
    one.at(166)
    one.at(160, held=None)
    assert one.best == 166
    assert one.at(149).fires


def test_without_debt_there_is_nothing_to_trail_and_nobody_is_blind() -> None:
    one = Walk()
    assert one.kinds(150, None) == ["calm", "calm"]
    assert one.at(None).why == "no debt"
    assert one.kinds(149, 134) == ["calm", "fires"]


def test_what_only_tells_tells_every_fall() -> None:
    one = Walk(mode=Mode.NOTIFY)
    assert one.kinds(150, 134, 133, 136, 134) == ["calm", "fires", "latched", "calm", "fires"]


def test_armed_it_begins_at_the_health_of_then_and_a_restart_goes_on_with_it() -> None:
    one = Walk()
    one.at(300)
    one.state = begin_trailing(one.rule, one.state, PriceSeen(15 * WAD // 10, WAD, held=MADE_OF), block_at(2))
    assert one.best == 150
    one.number = 2
    one.at(166)
    back = state_from_data(json.loads(json.dumps(state_to_data(one.state))))
    assert (back.bests, back.held, back.trails_armed) == (one.state.bests, MADE_OF, True)
    assert begin_trailing(one.rule, back, PriceSeen(WAD, WAD, held=MADE_OF), block_at(9)) == back
    again = Walk()
    again.state, again.number = back, 9
    assert again.kinds(149) == ["fires"], "it remembers the rise"
    elsewhere = Walk()
    elsewhere.state, elsewhere.number = back, 9
    assert elsewhere.kinds(149, held=(("0xaa", 9 * WAD, 0), MADE_OF[1])) == ["calm"], "and what it was made of"
    assert not disarmed(one.rule, back).trails_armed


@pytest.mark.parametrize(
    "held", [1, [1], [["0x", 1]], [["0x", -1, 0]], [["0x", True, 0]], [[1, 1, 1]], [["0x", 1, 1]] * 257]
)
def test_no_other_data_pass_for_a_position(held: object) -> None:
    data = state_to_data(initial_state(rule_of(TENTH), str(KEY))) | {"held": held}
    with pytest.raises(ValueError, match="a position that is none"):
        state_from_data(data)


def test_states_of_other_rules_are_written_as_ever() -> None:
    assert "held" not in state_to_data(initial_state(rule_of(TENTH), str(KEY)))


parts = st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(0, 3), st.integers(0, 3)))


@given(parts, parts)
def test_less_of_anything_or_more_owed_is_less(
    before: dict[str, tuple[int, int]], now: dict[str, tuple[int, int]]
) -> None:
    one, other = (tuple((name, *both) for name, both in found.items()) for found in (before, now))
    worse = {
        name
        for name in "abcd"
        if now.get(name, (0, 0))[0] < before.get(name, (0, 0))[0]
        or now.get(name, (0, 0))[1] > before.get(name, (0, 0))[1]
    }
    assert lessened(one, other) is bool(worse)
    assert not lessened(one, one)


def test_in_dollars_a_price_says_what_it_always_said() -> None:
    trailing = replace(rule_of(Trigger(TriggerKind.TRAILING, 0, "WETH", None, 1_000)))
    state, verdict = step(trailing, initial_state(trailing, str(KEY)),
                          Position(KEY, block_at(1), (), (), 2 * WAD, 0, 0), block_at(1),
                          PriceSeen(4_000 * USD))  # fmt: skip
    assert state.held == ()
    assert verdict.why.endswith("(10% under the best price seen, 4,000.00)")
