"""Random prices, forks and blind spots under a price trigger: what may never happen, and what it remembers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tui.model.block import BlockRef
from tui.model.position import MarketKey, Position, PositionKey
from tui.model.rule import Limits, Mode, Rule, Trigger, TriggerKind, close, health_above
from tui.model.units import BPS, USD, WAD
from tui.rules.evaluate import Verdict, VerdictKind, held_back, recovery_text, step
from tui.rules.prices import PriceSeen, fact, has_crossed, level_of, level_usd
from tui.rules.state import RuleState, begin_trailing, conclude, disarmed, initial_state, state_from_data, state_to_data
from tui.rules.trailing import MOST_BESTS, PriceRow, longer

KEY = PositionKey(MarketKey("aave-v3", "core"), "0x" + "ab" * 20)
STOP = Trigger(TriggerKind.PRICE_BELOW, 2_000 * WAD, "WETH")
PROFIT = Trigger(TriggerKind.PRICE_ABOVE, 4_000 * WAD, "WETH")
PAIR = Trigger(TriggerKind.PRICE_BELOW, WAD // 20, "WETH", "WBTC")
HIGH = health_above(2 * WAD)
TRAILING = Trigger(TriggerKind.TRAILING, 0, "WETH", None, 1_000)


def rule_of(trigger: Trigger, mode: Mode = Mode.AUTO, for_blocks: int = 1, cooldown: int = 0) -> Rule:
    return Rule("stop", "*", mode, trigger, for_blocks, close(BPS), (), Limits(cooldown=cooldown), "d" * 64)


def block_at(number: int, fork: str = "a", parent_fork: str | None = None) -> BlockRef:
    return BlockRef(number, f"0x{fork}{number}", f"0x{parent_fork or fork}{number - 1}", 1_000 + 12 * number, 1)


class Walk:
    """A rule walked over a chain of prices."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state: RuleState = initial_state(rule, str(KEY))

    def at(self, number: int, price: int | None, health: int | None = 2 * WAD, unit: int = USD, **fork) -> Verdict:
        block = block_at(number, **fork)
        seen = None if price is None else PriceSeen(price, unit)
        position = Position(KEY, block, (), (), health, 0, 0)
        self.state, verdict = step(self.rule, self.state, position, block, seen)
        return verdict

    def dollars(self, *prices: int | None) -> list[str]:
        return [
            self.at(number, None if price is None else price * USD).kind.value
            for number, price in enumerate(prices, start=1)
        ]


def test_at_the_level_is_not_beyond_it() -> None:
    assert Walk(rule_of(STOP)).dollars(2001, 2000, 1999) == ["calm", "calm", "fires"]
    assert Walk(rule_of(PROFIT)).dollars(3999, 4000, 4001) == ["calm", "calm", "fires"]


def test_what_acts_on_a_price_fires_once_until_it_is_armed_anew() -> None:
    one = Walk(rule_of(STOP, for_blocks=2))
    assert one.dollars(1999, 2000, 1999, 1998) == ["counting", "calm", "counting", "fires"]
    assert disarmed(one.rule, one.state).latched, "its firing is under way"
    one.state = conclude(one.state, 5)
    for block in range(6, 26):  # to and fro over the level
        verdict = one.at(block, (2_000 - block % 2) * USD)
        assert verdict.kind is VerdictKind.LATCHED
    assert "disarm it and arm it again" in verdict.why
    one.state = state_from_data(json.loads(json.dumps(state_to_data(one.state))))
    assert one.at(26, 1_999 * USD).kind is VerdictKind.LATCHED, "a restart arms nothing anew"
    one.state = disarmed(one.rule, one.state)
    assert one.at(27, 1_999 * USD).kind is VerdictKind.COUNTING
    assert one.at(28, 1_999 * USD).kind is VerdictKind.FIRES


def test_what_only_notifies_tells_every_crossing() -> None:
    one = Walk(rule_of(STOP, mode=Mode.NOTIFY))
    assert one.dollars(1999, 1999, 2000, 1999) == ["fires", "latched", "calm", "fires"]


def test_a_price_that_is_not_told_is_blind_and_breaks_the_row() -> None:
    one = Walk(rule_of(STOP, for_blocks=2))
    assert one.dollars(1999, None, 1999, 1999) == ["counting", "blind", "counting", "fires"]
    blind = Walk(rule_of(PAIR)).at(1, None)
    assert blind.why == "unknown: the market does not tell the price of WETH/WBTC"


def test_nothing_acts_on_a_price_while_nothing_is_owed() -> None:
    one = Walk(rule_of(STOP))
    calm = one.at(1, 1_900 * USD, health=None)
    assert (calm.kind, calm.why) == (VerdictKind.CALM, "WETH 1,900.00 below 2,000, but nothing is owed")
    assert one.at(2, 1_900 * USD).fires
    one.state = conclude(one.state, 3)
    # Closed, and borrowed again under the stop: it waits for the other side.
    assert one.at(4, 1_900 * USD, health=None).kind is VerdictKind.LATCHED
    assert one.at(5, 1_900 * USD).kind is VerdictKind.LATCHED
    assert Walk(rule_of(STOP, Mode.NOTIFY)).at(1, 1_900 * USD, health=None).fires


def test_what_is_said_shows_the_side_it_is_on() -> None:
    assert Walk(rule_of(STOP)).at(1, 198_720_000_000).why == "WETH 1,987.20 below 2,000"
    assert Walk(rule_of(STOP)).at(1, 200_000_000_000).why == "WETH 2,000.00 is not below 2,000"
    assert Walk(rule_of(PROFIT)).at(1, 400_000_000_001).why == "WETH 4,000.00000001 above 4,000"
    pair = Walk(rule_of(PAIR)).at(1, 2_500 * USD, unit=60_000 * USD)
    assert pair.why == "WETH/WBTC 0.04166666 below 0.05"
    one = Walk(rule_of(TRAILING))
    one.dollars(4_000)
    assert one.at(2, 3_590 * USD).why == "WETH 3,590.00 below 3,600.00 (10% under the best price seen, 4,000.00)"
    assert recovery_text(one.rule, one.state) == "with WETH at or above 3,600.00"
    assert recovery_text(rule_of(PROFIT)) == "with WETH at or below 4,000"


def test_a_trailing_stop_follows_the_best_price() -> None:
    one = Walk(rule_of(TRAILING))
    assert one.dollars(2_000, 1_801, 3_000, 2_700, 2_699) == ["calm", "calm", "calm", "calm", "fires"]


def test_a_best_on_a_block_that_is_gone_was_not_seen() -> None:
    one = Walk(rule_of(TRAILING))
    one.dollars(2_000, 3_000)
    assert one.state.best == 3_000 * WAD
    # Block 2 came anew, at a price that would be a fall from 3,000.
    assert one.at(2, 2_010 * USD, fork="b", parent_fork="a").kind is VerdictKind.CALM
    assert one.state.best == 2_010 * WAD
    one.at(3, 3_000 * USD, fork="b")
    assert one.at(4, 2_100 * USD, fork="c").kind is VerdictKind.CALM
    assert one.state.best == 2_100 * WAD


def test_one_bad_block_is_no_best_price() -> None:
    one = Walk(rule_of(TRAILING, for_blocks=3))
    one.state = begin_trailing(one.rule, one.state, PriceSeen(3_000 * USD), block_at(0))
    assert one.dollars(3_000, 3_000, 6_000, 3_000, 3_000, 3_000) == ["calm"] * 6
    assert one.state.best == 3_000 * WAD


def test_what_stood_long_enough_is_the_best_price() -> None:
    one = Walk(rule_of(TRAILING, for_blocks=3))
    assert one.dollars(3_000, 3_300, 3_200, 3_250) == ["calm"] * 4
    assert one.state.best == 3_200 * WAD, "the lowest of the last three"
    for number, price in enumerate((2_879, 2_879), start=5):
        assert one.at(number, price * USD).kind is VerdictKind.COUNTING
    assert one.at(7, 2_879 * USD).why == (
        "WETH 2,879.00 below 2,880.00 (10% under the best price seen, 3,200.00) for 3 blocks"
    )


def test_blocks_that_were_not_seen_make_no_price_stand() -> None:
    one = Walk(rule_of(TRAILING, for_blocks=2))
    one.dollars(2_000, 2_000)
    assert one.at(3, 3_000 * USD).kind is VerdictKind.CALM
    one.at(3, 3_000 * USD)  # read again
    one.at(4, None)
    one.at(5, 3_000 * USD)
    one.state = state_from_data(json.loads(json.dumps(state_to_data(one.state))))
    one.at(6, 3_000 * USD)
    assert one.state.best == 2_000 * WAD
    one.at(7, 2_900 * USD)
    assert one.state.best == 2_900 * WAD


def test_a_restart_within_one_block_loses_no_best() -> None:
    one = Walk(rule_of(TRAILING, for_blocks=3))
    one.state = begin_trailing(one.rule, one.state, PriceSeen(3_000 * USD), block_at(1))
    one.state = state_from_data(json.loads(json.dumps(state_to_data(one.state))))
    one.at(1, 3_000 * USD)
    assert one.state.best == 3_000 * WAD


def test_a_price_in_doubt_raises_no_best() -> None:
    one = Walk(rule_of(TRAILING, for_blocks=2))
    one.dollars(2_000, 2_000)

    def doubted(number: int, price: int) -> None:
        seen = PriceSeen(price * USD, doubted=True)
        position = Position(KEY, block_at(number), (), (), 2 * WAD, 0, 0)
        one.state, _ = step(one.rule, one.state, position, block_at(number), seen)

    one.at(3, 4_000 * USD)
    doubted(4, 4_000)
    one.at(5, 4_000 * USD)
    assert one.state.best == 2_000 * WAD
    one.at(6, 4_000 * USD)
    assert one.state.best == 4_000 * WAD
    fresh = initial_state(one.rule, str(KEY))
    assert begin_trailing(one.rule, fresh, PriceSeen(4_000 * USD, doubted=True), block_at(7)).best is None


@pytest.mark.parametrize("trigger", [STOP, HIGH])
def test_a_block_in_doubt_counts_in_no_row_of_what_acts(trigger: Trigger) -> None:
    """A price that stood still for hours is no price of now: only blocks that tell count."""
    rule = rule_of(trigger, for_blocks=3)
    one = Walk(rule)

    def at(number: int, doubted: bool, walked: Walk = one) -> Verdict:
        block, seen = block_at(number), PriceSeen(1_900 * USD, doubted=doubted) if trigger is STOP else None
        position = Position(KEY, block, (), (), 3 * WAD, 0, 0)
        high = doubted and trigger is HIGH
        walked.state, verdict = step(walked.rule, walked.state, position, block, seen, high)
        if verdict.fires:
            walked.state = held_back(walked.rule, walked.state, position, block, seen, high)
        return verdict

    kinds = [at(number, doubted).kind.value for number, doubted in enumerate((False, True, True, False, False), 1)]
    assert kinds == ["counting"] * 5
    assert one.state.below == 2
    assert "stands on a price in doubt" in at(6, True).why
    assert [at(number, False).kind.value for number in (7, 8, 9)] == ["counting", "counting", "fires"]
    tells = Walk(replace(rule, mode=Mode.NOTIFY, for_blocks=1))
    assert at(1, True, tells).fires, "what only tells may tell of an old price"


def test_armed_in_a_spike_it_begins_at_what_stood_before() -> None:
    one = Walk(rule_of(TRAILING, for_blocks=3))
    one.dollars(3_000, 3_010, 6_000)
    assert begin_trailing(one.rule, one.state, PriceSeen(6_000 * USD), block_at(3)).best == 3_000 * WAD
    alone = initial_state(one.rule, str(KEY))
    assert begin_trailing(one.rule, alone, PriceSeen(6_000 * USD), block_at(3)).best == 6_000 * WAD


@given(prices=st.lists(st.integers(1, 20), min_size=1, max_size=60), most=st.integers(1, 8))
def test_the_lowest_of_a_row_is_that_of_its_last_blocks(prices: list[int], most: int) -> None:
    row = PriceRow()
    for end, price in enumerate(prices, start=1):
        row = longer(row, price, most)
        assert row.lowest == min(prices[max(0, end - most) : end])
        assert len(row.lows) <= most


def test_arming_begins_anew_and_a_restart_does_not() -> None:
    one = Walk(rule_of(TRAILING))
    one.dollars(4_000)
    block = block_at(2)
    armed = begin_trailing(one.rule, one.state, PriceSeen(2_000 * USD), block)
    assert armed.best == 2_000 * WAD
    one.state = armed
    assert one.at(3, 3_000 * USD).kind is VerdictKind.CALM
    again = state_from_data(json.loads(json.dumps(state_to_data(one.state))))
    assert begin_trailing(one.rule, again, PriceSeen(2_900 * USD), block_at(4)).best == 3_000 * WAD
    ended = disarmed(one.rule, again)
    assert begin_trailing(one.rule, ended, PriceSeen(2_900 * USD), block_at(4)).best == 2_900 * WAD
    stop = initial_state(rule_of(STOP), str(KEY))
    assert begin_trailing(rule_of(STOP), stop, PriceSeen(USD), block) is stop


def test_a_state_written_before_there_were_prices_is_read() -> None:
    plain = initial_state(rule_of(STOP), str(KEY))
    data = state_to_data(plain)
    assert "bests" not in data
    assert "trails_armed" not in data
    assert state_from_data(data) == plain


@pytest.mark.parametrize(
    "bests",
    [
        [1],
        [1, 2, 1, 3],
        [1, 2, 2, 2],
        "12",
        [1, True],
        [1, "2"],
        [-1, 2],
        list(range(2 * MOST_BESTS + 2)),
    ],
)
def test_bests_that_are_none_are_refused(bests: object) -> None:
    data = state_to_data(initial_state(rule_of(TRAILING), str(KEY))) | {"bests": bests}
    with pytest.raises(ValueError, match="bests"):
        state_from_data(data)


@given(
    price=st.integers(1, 10**15),
    unit=st.integers(1, 10**13),
    level=st.integers(1, 10**24),
    above=st.booleans(),
)
@settings(max_examples=300)
def test_a_comparison_is_exact_and_its_words_agree(price: int, unit: int, level: int, above: bool) -> None:
    trigger = Trigger(TriggerKind.PRICE_ABOVE if above else TriggerKind.PRICE_BELOW, level, "WETH", "WBTC")
    seen = PriceSeen(price, unit)
    crossed = has_crossed(trigger, seen)
    exact = price * WAD - level * unit
    assert crossed == (exact > 0 if above else exact < 0)
    assert ("is not" in fact(trigger, seen)) != crossed
    there = PriceSeen(level_usd(level, seen), unit)
    assert not there.is_below(level)


class Trails(RuleBasedStateMachine):
    """A trailing stop over a chain that grows, forks, goes dark and is restarted. The best is that of the chain."""

    @initialize(for_blocks=st.integers(1, 2), trailing=st.sampled_from([10, 500, 1_000, 9_000]))
    def begin(self, for_blocks, trailing):
        self.rule = rule_of(Trigger(TriggerKind.TRAILING, 0, "WETH", None, trailing), for_blocks=for_blocks)
        self.state = initial_state(self.rule, str(KEY))
        self.chain: list[tuple[BlockRef, int]] = []
        self.row: list[int] = []
        self.reached: list[tuple[int, int]] = []
        self.fork = 0
        self.fired: list[str] = []

    def read(self, block: BlockRef, price: int | None) -> None:
        position = Position(KEY, block, (), (), 2 * WAD, None, None)
        seen = None if price is None else PriceSeen(price * USD)
        before = self.state
        self.state, verdict = step(self.rule, before, position, block, seen)
        assert step(self.rule, before, position, block, seen) == (self.state, verdict)
        assert held_back(self.rule, before, position, block, seen).bests == self.state.bests
        if price is None:
            assert verdict.kind is VerdictKind.BLIND
            assert self.state.bests == before.bests
            return
        level = level_of(self.rule.trigger, self.state.best)
        if level is None:
            assert not verdict.fires
            return
        if verdict.fires:
            assert price * WAD < level, "fired above its level"
            assert verdict.episode not in self.fired, "one fall fired twice"
            self.fired.append(verdict.episode or "")
            self.state = conclude(self.state, block.number)
        if verdict.kind is VerdictKind.CALM:
            assert price * WAD >= level, "calm below its level"

    @property
    def head(self) -> BlockRef:
        return self.chain[-1][0] if self.chain else BlockRef(0, "0xgenesis", "0x", 1_000, 1)

    @rule(price=st.integers(1_000, 3_000))
    def grow(self, price):
        head = self.head
        block = BlockRef(head.number + 1, f"0x{self.fork}-{head.number + 1}", head.hash, head.timestamp + 12, 1)
        self.chain.append((block, price))
        self.stand(block, price)
        self.read(block, price)

    def stand(self, block: BlockRef, price: int) -> None:
        self.row.append(price)
        if len(self.row) >= self.rule.for_blocks:
            self.reached.append((block.number, min(self.row[-self.rule.for_blocks :])))

    @precondition(lambda self: self.chain)
    @rule()
    def read_again(self):
        count = len(self.fired)
        if not self.row:  # after a blind spot it is the first block of a new row
            self.stand(*self.chain[-1])
        self.read(*self.chain[-1])
        assert len(self.fired) == count

    @rule()
    def dark(self):
        head = self.head
        self.row = []
        self.read(BlockRef(head.number + 1, f"0xdark{head.number}", head.hash, head.timestamp + 12, 1), None)

    @precondition(lambda self: len(self.chain) > 1)
    @rule(depth=st.integers(1, 3), price=st.integers(1_000, 3_000))
    def reorganise(self, depth, price):
        del self.chain[-min(depth, len(self.chain) - 1) :]
        self.fork += 1
        self.row = []
        self.reached = [one for one in self.reached if one[0] <= self.head.number]
        self.grow(price)

    @rule()
    def restart(self):
        self.row = []
        self.state = state_from_data(json.loads(json.dumps(state_to_data(self.state))))

    @invariant()
    def the_best_is_what_stood_on_the_chain(self):
        best = max((price for _, price in self.reached), default=None)
        # Of a chain that only grew, it is the best of all; what many forks took back may have been more.
        if self.fork == 0:
            assert self.state.best == (None if best is None else best * WAD)
        lately = [price for _, price in self.reached[-MOST_BESTS:]]
        assert not lately or (self.state.best or 0) >= max(lately) * WAD


TestTrails = Trails.TestCase
TestTrails.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
