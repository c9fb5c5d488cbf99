"""A round of a deleverage, sized: never under its floor, on to the target, what earlier ones left used first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.plain_market import (
    DAI,
    PRICES,
    USDC,
    WBTC,
    WETH,
    PlainMarket,
    Routed,
    circumstances,
    wallet_of,
)
from tests.support.plain_rules import SWAPPER, asked, repay, routed_fall, rule_of, sell, supply
from tui.engine.rounds import known_of, next_round
from tui.model.plan import Action, Plan
from tui.model.position import Position
from tui.model.rounds import MOST_ROUNDS, DebtPart, Rounds, RoundsSoFar, floor_of
from tui.model.rule import ActionKind, Order, RoundsUse, Rule, Step, close
from tui.model.units import BPS, USD, WAD, value_usd, whole
from tui.planning.closing import Closing
from tui.planning.plan import build_plan
from tui.planning.rounds import spare_of
from tui.planning.rounds_rule import rest_of
from tui.planning.waterfall import Waterfall, run_waterfall
from tui.rules.rounds import part_left, parts_closed
from tui.rules.state import initial_state

TARGET = 15 * WAD // 10
STEP = replace(sell(), rounds=RoundsUse.ALWAYS)


def at(health_bps: int, owed: int = 156_000) -> tuple[PlainMarket, Position]:
    market = PlainMarket()
    supplied = owed * USD * health_bps * WAD * 100 // (10_000 * 83 * PRICES[WETH])
    return market, market.position({WETH: supplied}, {USDC: owed * 10**6})


def round_of(fall: Waterfall) -> tuple[Action, Rounds]:
    (step,) = fall.steps
    assert fall.rounds is not None
    assert step.action.sale is not None
    return step.action, fall.rounds


@settings(max_examples=50, deadline=None)
@given(
    health=st.integers(10_020, 14_900),
    owed=st.integers(2_000, 5_000_000),
    slippage=st.integers(10, 300),
    gap=st.integers(0, 100),
    at_hand=st.integers(0, 40),
    added=st.integers(0, 2_000),
)
def test_every_round_raises_health_and_none_goes_under_its_floor(
    health: int, owed: int, slippage: int, gap: int, at_hand: int, added: int
) -> None:
    market, position = at(health, owed)
    rule = rule_of(replace(STEP, max_slippage_bps=slippage))
    left = ((WETH.address, at_hand * WAD // 100), (USDC.address, added * 10**6))
    so_far = RoundsSoFar(0, rounds=1, left=tuple((token, amount) for token, amount in left if amount))
    wallet = wallet_of(WETH=WAD // 5, USDC=1_000 * 10**6)
    fall = routed_fall(rule, market, position, wallet, Routed(gap_bps=gap), so_far=so_far)
    before = position.health_factor
    assert before is not None
    if not fall.steps:
        assert fall.skipped
        return
    after = fall.position.health_factor
    assert after is None or after > before
    if fall.rounds is None:
        # What earlier rounds bought suffices.
        assert fall.steps[0].action.kind is ActionKind.REPAY
        assert fall.steps[0].action.amount <= min(added, 1_000) * 10**6
        return
    action, rounds = round_of(fall)
    sale = action.sale
    assert sale.withdrawn is not None
    assert sale.sold - sale.withdrawn <= min(at_hand * WAD // 100, WAD // 5)
    assert sale.added <= min(added, 1_000) * 10**6
    assert action.amount == sale.swap.least_out + sale.added
    assert sale.sold == sale.swap.amount_in
    fair = value_usd(sale.swap.least_out, 6, USD) * BPS * whole(18)
    assert sale.sold * PRICES[WETH] * (BPS - slippage) <= fair + PRICES[WETH] * BPS
    floor = floor_of(before)
    if sale.withdrawn:
        between = market.after(position, (replace(action, amount=0),)).health_factor
        assert floor is not None
        assert between >= floor
        assert rounds.lowest == between
    assert after is None or after <= TARGET + TARGET // 1_000


@settings(max_examples=15, deadline=None)
@given(st.integers(10_150, 12_000), st.integers(0, 60))
def test_the_rounds_end_at_the_target_and_are_as_many_as_foretold(health: int, gap: int) -> None:
    market, position = at(health)
    rule, exchange = rule_of(replace(STEP, max_slippage_bps=200)), Routed(gap_bps=gap)
    _, first = round_of(routed_fall(rule, market, position, exchange=exchange))
    done = 0
    while (position.health_factor or TARGET) < TARGET and done < MOST_ROUNDS + 5:
        fall = routed_fall(rule, market, position, exchange=exchange)
        round_of(fall)
        position, done = fall.position, done + 1
    assert first.reaches_target
    assert TARGET <= position.health_factor <= TARGET + TARGET // 1_000
    assert abs(done - (1 + first.ahead)) <= 1


def test_it_goes_in_rounds_where_no_helper_stands_and_only_there() -> None:
    market, position = at(10_500)
    usual = rule_of(sell())
    assert routed_fall(usual, market, position).rounds is None
    by_choice = routed_fall(rule_of(STEP), market, position).rounds
    assert by_choice is not None
    assert by_choice.why.endswith('because its step says rounds = "always"')
    offered = asked(usual, market, position, None, (Routed(),), circumstances(swapper=SWAPPER))
    (key,) = offered.offers
    gone = replace(offered.offers[key].terms, impossible="not deployed", absent=True)
    absent = replace(offered, offers={key: replace(offered.offers[key], terms=gone)})
    needed = run_waterfall(usual, market, position, wallet_of(), absent).rounds
    assert needed is not None
    assert "because no helper is deployed" in needed.why
    assert replace(needed, number=1, ahead=0).in_short.startswith("in about one round, ")
    never = rule_of(replace(sell(), rounds=RoundsUse.NEVER))
    assert run_waterfall(never, market, position, wallet_of(), absent).steps == ()
    ahead = circumstances(swapper=SWAPPER, absent=frozenset({WETH.address}))
    assert run_waterfall(usual, market, position, wallet_of(), ahead).rounds is not None


def test_nothing_behind_a_round_is_done_before_the_rounds_are_over() -> None:
    market, position = at(10_500)
    fall = routed_fall(rule_of(STEP, supply()), market, position, wallet_of(WETH=5 * WAD))
    assert [step.action.kind for step in fall.steps] == [ActionKind.DELEVERAGE]
    assert fall.reaches_target


def test_nearer_to_liquidation_than_a_withdrawal_may_go_the_next_step_does_it() -> None:
    market, position = at(10_050)
    fall = routed_fall(rule_of(STEP, supply()), market, position, wallet_of(WETH=100 * WAD))
    assert [step.action.kind for step in fall.steps] == [ActionKind.ADD_COLLATERAL]
    assert "nothing can be taken out" in fall.skipped[0]


@settings(max_examples=30, deadline=None)
@given(
    health=st.integers(10_300, 25_000),
    owed=st.integers(500, 2_000_000),
    part=st.integers(1, BPS) | st.just(BPS),
    gap=st.integers(0, 60),
)
def test_a_part_of_a_debt_is_closed_exactly_in_as_many_rounds_as_foretold(
    health: int, owed: int, part: int, gap: int
) -> None:
    market, position = at(health, owed)
    rule, exchange = replace(rule_of(replace(STEP, max_slippage_bps=200)), goal=close(part)), Routed(gap_bps=gap)
    wanted = -(-owed * 10**6 * part // BPS)
    so_far, first, done = RoundsSoFar(0), None, 0
    while not so_far.parts or not parts_closed(so_far, position, part):
        fall = routed_fall(rule, market, position, exchange=exchange, so_far=so_far if done else None)
        action, rounds = round_of(fall)
        assert rounds.reaches_target, fall.skipped
        assert rounds.closes_bps == fall.closed_bps == part
        first = first or rounds
        done += 1
        assert done <= 1 + first.ahead + 2
        floor = floor_of(position.health_factor)
        assert rounds.lowest >= floor
        assert action.sale.swap.least_out == action.amount + action.spare
        if part < BPS:
            assert action.spare == 0
        debt = rounds.parts[0]
        assert (debt.token, debt.owed) == (USDC.address, owed * 10**6)
        so_far = replace(so_far, rounds=done, parts=(replace(debt, repaid=debt.repaid + action.amount),))
        position = fall.position
    (debt,) = so_far.parts
    left = sum(one.amount for one in position.debt)
    assert left + debt.repaid == owed * 10**6
    if part == BPS:
        assert left == 0
        assert action.spare == spare_of(action.amount)
        assert position.health_factor is None
    else:
        assert 0 <= wanted - debt.repaid < 10**4  # less than a cent of it is nothing
    assert abs(done - (1 + first.ahead)) <= 1


def test_interest_on_what_is_closed_in_part_is_not_closed_and_all_of_it_is() -> None:
    market, position = at(14_000, 100_000)
    later = market.position({WETH: position.collateral[0].amount}, {USDC: 60_100 * 10**6})
    parts = (DebtPart(USDC.address, 100_000 * 10**6, 40_000 * 10**6),)
    half = replace(rule_of(STEP), goal=close(5_000))
    closing = Closing.start(half, market, later, parts)
    assert closing.left_of(USDC.address) == 10_000 * 10**6
    assert closing.closed_bps == 4_000
    everything = Closing.start(replace(half, goal=close(BPS)), market, later, parts)
    assert everything.left_of(USDC.address) == 60_100 * 10**6
    assert 3_990 <= everything.closed_bps < 4_000


def test_what_was_repaid_by_somebody_else_is_not_closed_once_more() -> None:
    market, _ = at(14_000, 100_000)
    later = market.position({WETH: 100 * WAD}, {USDC: 4_000 * 10**6})
    part = DebtPart(USDC.address, 100_000 * 10**6, 40_000 * 10**6)
    assert part_left(part, later, 5_000) == 4_000 * 10**6
    gone = market.position({WETH: 100 * WAD}, {})
    assert parts_closed(RoundsSoFar(0, 1, parts=(part,)), gone, 5_000)


def test_what_an_earlier_round_bought_closes_the_rest_without_a_sale() -> None:
    market, position = at(14_000, 10_000)
    parts = (DebtPart(USDC.address, 100_000 * 10**6, 90_000 * 10**6),)
    so_far = RoundsSoFar(0, 3, left=((USDC.address, 10_002 * 10**6),), parts=parts)
    wallet = wallet_of(USDC=20_000 * 10**6)
    rule = replace(rule_of(STEP), goal=close(BPS))
    fall = routed_fall(rule, market, position, wallet, so_far=so_far)
    (step,) = fall.steps
    assert (step.action.kind, step.action.amount) == (ActionKind.REPAY, 10_000 * 10**6)
    assert step.action.spare == spare_of(step.action.amount)
    assert (fall.rounds, fall.reaches_target, fall.closed_bps) == (None, True, BPS)


def test_each_step_has_its_own_maximum_for_all_rounds() -> None:
    market, position = at(14_000)
    rule = rule_of(replace(STEP, maximum="1"), replace(sell("WBTC"), rounds=RoundsUse.ALWAYS, maximum="2"))
    fall = routed_fall(rule, market, position)
    action, rounds = round_of(fall)
    plan = build_plan(rule_of(repay()), market, at(11_000)[1], wallet_of(USDC=10**12), circumstances())
    assert isinstance(plan, Plan)
    plan = replace(plan, steps=fall.steps, taken=(1,), rounds=replace(rounds, step=1))
    before = RoundsSoFar(0, rounds=2, used=((0, WAD),))
    state = replace(initial_state(rule, position.id), rounds=before)
    following = next_round(state, plan, rule, rule, "episode")
    assert (following.step, following.used, following.rounds) == (1, ((0, WAD),), 2)
    assert following.planned.used == ((1, action.sale.sold),)
    # Of the rule as it may act now the first step is out: the numbers are those of the whole rule all the same.
    acting = replace(rule, steps=rule.steps[1:])
    first = next_round(initial_state(rule, position.id), replace(plan, taken=(0,)), rule, acting, "episode")
    assert (first.step, first.planned.used) == (1, following.planned.used)
    assert known_of(state, rule, acting).used == ()
    assert known_of(state, rule, rule) == before


def test_between_two_rounds_a_rule_is_what_is_left_of_each_of_its_steps() -> None:
    market, position = at(11_000)
    steps = repay(maximum="500"), replace(STEP, maximum="10"), supply("WBTC")
    rule = rule_of(*steps, max_cost_usd=100 * USD, max_cost_share_bps=10)
    used = ((0, 200 * 10**6), (1, 4 * WAD))
    rest = rest_of(rule, RoundsSoFar(1, rounds=2, used=used, cost_usd=30 * USD), market, position)
    assert [step.action for step in rest.steps] == [step.action for step in steps]
    assert [float(step.maximum or 0) for step in rest.steps] == [300, 6, 0]
    assert rest.limits.max_cost_usd == 70 * USD
    assert rest.limits.max_cost_share_bps is None
    assert (rest.digest, rest.order) == (rule.digest, rule.order)
    assert rest_of(rule, RoundsSoFar(1, left=((USDC.address, 5),)), market, position) == rule, "no round is done yet"


def in_hand(usdc: int = 900, rounds: int = 1, **more) -> RoundsSoFar:
    """After a round that bought so many dollars and did not repay them."""
    return RoundsSoFar(0, rounds=rounds, left=((USDC.address, usdc * 10**6),), **more)


def test_what_a_round_bought_is_repaid_though_nothing_can_be_withdrawn() -> None:
    market, position = at(10_070)
    wallet = wallet_of(USDC=5_900 * 10**6)
    fall = routed_fall(rule_of(STEP), market, position, wallet, so_far=in_hand())
    (step,) = fall.steps
    assert (step.action.kind, step.action.amount) == (ActionKind.REPAY, 900 * 10**6)
    assert (fall.rounds, fall.reaches_target) == (None, False)
    half = replace(rule_of(STEP), goal=close(5_000))
    parts = (DebtPart(USDC.address, 156_000 * 10**6),)
    closed = routed_fall(half, market, position, wallet, so_far=in_hand(parts=parts))
    assert [step.action.amount for step in closed.steps] == [900 * 10**6]
    assert routed_fall(rule_of(STEP), market, position, wallet).steps == (), "the wallet's own is not to go"
    assert not routed_fall(rule_of(STEP), market, position, wallet, so_far=in_hand(rounds=0, usdc=0)).steps
    anew = routed_fall(rule_of(STEP), market, position, wallet, so_far=in_hand(rounds=0))
    assert [step.action.amount for step in anew.steps] == [900 * 10**6], "rounds of an earlier firing bought it"


def test_what_a_round_bought_is_repaid_though_its_maximum_is_used_up_or_the_sale_is_left_out() -> None:
    market, position = at(11_000)
    wallet, so_far = wallet_of(USDC=5_900 * 10**6), in_hand(used=((0, WAD),))
    rule = rule_of(replace(STEP, maximum="1"))
    spent = routed_fall(rest_of(rule, so_far, market, position), market, position, wallet, so_far=so_far)
    assert [step.action.amount for step in spent.steps] == [900 * 10**6]
    none = routed_fall(rest_of(rule, so_far, market, position), market, position, so_far=so_far)
    assert none.steps == ()
    assert "its rounds have used up its maximum" in none.skipped[0]
    around = circumstances(swapper=SWAPPER, so_far=in_hand(), left_out={0: "the exchange reverts"})
    left = run_waterfall(rule_of(STEP), market, position, wallet, around)
    assert [step.action.amount for step in left.steps] == [900 * 10**6]
    daily = routed_fall(rule_of(STEP, daily_spend_usd=100 * USD), market, at(10_070)[1], wallet, so_far=in_hand())
    assert [step.action.amount for step in daily.steps] == [100 * 10**6]


def test_between_two_rounds_other_steps_take_what_the_wallet_has_come_to_hold_and_leave_what_rounds_bought() -> None:
    market, position = at(11_000)
    rule = rule_of(repay(maximum="20000"), STEP)
    fall = routed_fall(rule, market, position, wallet_of(USDC=5_900 * 10**6), so_far=in_hand())
    own, round_ = fall.steps
    assert (own.action.kind, own.action.amount) == (ActionKind.REPAY, 5_000 * 10**6)
    assert round_.action.sale.added == 900 * 10**6
    near = at(10_020)[1]
    fall = routed_fall(rule, market, near, wallet_of(USDC=2_900 * 10**6), so_far=in_hand())
    assert fall.steps[0].action.amount == 2_000 * 10**6
    assert sum(step.action.amount for step in fall.steps) == 2_900 * 10**6 or fall.rounds is not None


def test_a_debt_that_another_step_has_closed_its_part_of_is_not_closed_once_more_by_a_later_round() -> None:
    rule, market, position = two_debts(repay("DAI"), STEP, part=5_000)
    wallet = wallet_of(DAI=90_000 * WAD)
    first = routed_fall(rule, market, position, wallet)
    assert [step.action.asset.symbol for step in first.steps] == ["DAI", "USDC"]
    assert first.steps[0].action.amount == 30_000 * WAD
    assert [one.token for one in first.rounds.parts] == [USDC.address]
    so_far = RoundsSoFar(1, rounds=1, parts=first.rounds.parts)
    later = routed_fall(rule, market, first.position, wallet, so_far=so_far)
    assert [step.action.asset.symbol for step in later.steps] == ["USDC"]


def test_where_the_day_is_spent_that_is_what_is_said() -> None:
    market, position = at(11_000)
    fall = routed_fall(rule_of(STEP, daily_spend_usd=USD // 200), market, position)
    assert fall.steps == ()
    assert "the daily spend leaves no more" in fall.skipped[0]


def two_debts(*steps: Step, part: int = BPS, **changes) -> tuple[Rule, PlainMarket, Position]:
    """A rule that closes a part of two debts in rounds, at a health of 1.12."""
    market = PlainMarket()
    position = market.position({WETH: 100 * WAD, WBTC: 10**8}, {USDC: 90_000 * 10**6, DAI: 60_000 * WAD})
    return replace(rule_of(*steps, **changes), goal=close(part)), market, position


BOTH = (STEP, replace(STEP, asset="DAI"))


@pytest.mark.parametrize("part", [5_000, BPS])
def test_of_two_debts_one_is_closed_after_the_other_and_the_first_round_says_so(part: int) -> None:
    rule, market, position = two_debts(*BOTH, part=part)
    first = routed_fall(rule, market, position)
    assert (first.reaches_target, first.closed_bps) == (True, part)
    so_far, done, seen = RoundsSoFar(0), 0, []
    while not so_far.parts or not parts_closed(so_far, position, part):
        rest = rest_of(rule, so_far, market, position)
        fall = routed_fall(rest, market, position, so_far=so_far if done else None)
        action, rounds = round_of(fall)
        assert rounds.reaches_target
        seen.append(action.asset.symbol)
        parts = (
            replace(one, repaid=one.repaid + (action.amount if one.token == action.asset.address else 0))
            for one in rounds.parts
        )
        done += 1
        so_far = replace(so_far, step=rounds.step, rounds=done, parts=tuple(parts))
        position = fall.position
        assert done < MOST_ROUNDS
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"USDC", "DAI"}
    assert done <= 1 + first.rounds.ahead
    left = {one.asset.symbol: one.amount for one in position.debt}
    assert left.get("USDC", 0) <= 90_000 * 10**6 * (BPS - part) // BPS + 10**4
    assert left.get("DAI", 0) <= 60_000 * WAD * (BPS - part) // BPS + WAD // 100


def test_what_no_later_step_may_close_is_told_before_the_first_round() -> None:
    rule, market, position = two_debts(STEP, replace(STEP, asset="DAI", maximum="1"))
    fall = routed_fall(rule, market, position)
    assert not fall.reaches_target
    assert 6_000 < (fall.closed_bps or 0) < 6_500
    alone, market, position = two_debts(STEP, repay("DAI"))
    wallet = wallet_of(DAI=60_000 * WAD)
    assert routed_fall(alone, market, position, wallet).reaches_target
    assert not routed_fall(alone, market, position).reaches_target
    bounded, market, position = two_debts(STEP, repay("DAI", maximum="40000"))
    assert not routed_fall(bounded, market, position, wallet).reaches_target


def test_under_the_cheapest_order_rounds_close_the_debt_of_every_step() -> None:
    rule, market, position = two_debts(*BOTH, order=Order.CHEAPEST)
    fall = routed_fall(rule, market, position)
    assert (fall.reaches_target, fall.closed_bps) == (True, BPS)
    assert {one.token for one in fall.rounds.parts} == {USDC.address, DAI.address}
    other = routed_fall(rule, market, position, wallet_of(), order=(1, 0))
    assert {one.token for one in other.rounds.parts} == {USDC.address, DAI.address}
    assert other.reaches_target


def test_a_first_step_that_is_left_out_for_a_block_keeps_its_debt_among_those_that_are_closed() -> None:
    rule, market, position = two_debts(*BOTH)
    assert [one.token for one in routed_fall(rule, market, position).rounds.parts] == [USDC.address, DAI.address]
    without = routed_fall(rule, market, position, left_out={0: "it reverted"})
    assert [one.token for one in without.rounds.parts] == [USDC.address, DAI.address]
    assert not without.reaches_target
    poor, market, position = two_debts(repay("DAI"), STEP)
    assert [one.token for one in routed_fall(poor, market, position).rounds.parts] == [USDC.address]


@dataclass
class Rounding(PlainMarket):
    """A market that rounds what is left of a debt by a unit, as those do whose debts are shares."""

    by: int = 1

    def after(self, position: Position, actions: Sequence[Action]) -> Position:
        left = super().after(position, actions)
        owed = {one.asset: one.amount + self.by for one in left.debt}
        return self.position({one.asset: one.amount for one in left.collateral}, owed)


@pytest.mark.parametrize("by", [-1, 1])
def test_what_a_repayment_before_it_leaves_of_a_debt_is_closed_to_the_last_unit(by: int) -> None:
    market = Rounding(by=by)
    position = market.position({WETH: 200 * WAD}, {USDC: 120_000 * 10**6})
    rule = replace(rule_of(repay(maximum="5000"), STEP), goal=close(BPS))
    fall = routed_fall(rule, market, position, wallet_of(USDC=5_000 * 10**6))
    assert (len(fall.steps), fall.reaches_target, fall.closed_bps) == (2, True, BPS), fall.skipped
    assert fall.steps[1].action.amount == 115_000 * 10**6 + by
    helped = routed_fall(replace(rule, steps=(rule.steps[0], sell())), market, position, wallet_of(USDC=5_000 * 10**6))
    assert (helped.rounds, helped.reaches_target, helped.closed_bps) == (None, True, BPS), helped.skipped


def test_all_of_a_debt_is_foreseen_to_be_closed_to_the_last_unit() -> None:
    market = Rounding(by=1)
    position = market.position({WETH: 100 * WAD}, {USDC: 120_000 * 10**6})
    fall = routed_fall(replace(rule_of(STEP), goal=close(BPS)), market, position)
    assert fall.reaches_target
    assert fall.rounds.ahead > 0
    assert fall.rounds.ends_at is None
