"""Which step a refused simulation is blamed on, and what is tried without it."""

from __future__ import annotations

from dataclasses import replace

from tests.support.plain_market import USDC, WETH, PlainMarket, wallet_of
from tests.support.plain_rules import asked, burn, repay, rule_of, sell, supply
from tui.model.calls import SimulatedCall, Simulation
from tui.model.plan import PermitNeed, Plan, Refusal
from tui.model.rule import ActionKind, Rule
from tui.model.units import WAD
from tui.planning.leaving_out import MOST_SIMULATED, LeftOut, Trials, last_suspect, suspects
from tui.planning.plan import build_plan
from tui.planning.simulation import judge, simulation_calls

MARKET = PlainMarket()
POSITION = MARKET.position({WETH: 100 * WAD, USDC: 9_000 * 10**6}, {USDC: 160_000 * 10**6})
WALLET = wallet_of(native=3 * WAD, WETH=WAD, USDC=5_000 * 10**6)
ALL = rule_of(burn(), repay(), supply(), sell(), target=2 * WAD)
DISAGREES = Refusal("simulation-disagrees", "simulated, the health factor would not rise")


def planned(rule: Rule, left_out: LeftOut | None = None) -> Plan | Refusal:
    around = asked(rule, MARKET, POSITION, WALLET)
    return build_plan(rule, MARKET, POSITION, WALLET, replace(around, left_out=left_out or {}))


def test_the_step_whose_call_fails_is_blamed_and_so_is_what_stands_before_it() -> None:
    plan = planned(ALL)
    assert isinstance(plan, Plan)
    assert plan.taken == (0, 1, 2, 3)
    calls = simulation_calls(plan)
    blamed = []
    for failing in range(len(calls)):
        done = tuple(SimulatedCall(number != failing, 100_000, b"", "no") for number in range(len(calls)))
        refusal = judge(plan, MARKET, calls, Simulation(done, (), 0), {})
        assert isinstance(refusal, Refusal)
        assert calls[failing].words in refusal.reason
        (number,) = suspects(plan, refusal)
        blamed.append(number)
    assert len(calls) > len(plan.steps), "an approval stands before its call"
    assert blamed == sorted(blamed)
    assert set(blamed) == {0, 1, 2, 3}


def test_what_no_call_is_to_blame_for_may_be_any_step_a_sale_first() -> None:
    plan = planned(ALL)
    assert isinstance(plan, Plan)
    assert suspects(plan, DISAGREES) == (3, 0, 1, 2)


def test_a_step_left_out_adds_nothing_and_the_others_do_what_they_can() -> None:
    plan = planned(ALL, {3: "simulated, it fails"})
    assert isinstance(plan, Plan)
    assert plan.taken == (0, 1, 2)
    assert plan.left_out == ("deleverage WETH for USDC: simulated, it fails",)
    assert plan.shortfall is not None
    assert plan.left_out[0] in plan.shortfall
    nothing = planned(ALL, dict.fromkeys(range(4), "out"))
    assert isinstance(nothing, Refusal)
    assert nothing.code == "nothing-available"


def tried(rule: Rule, bad: set[int]) -> tuple[list[tuple[int, ...]], Trials, Plan | None]:
    """What is simulated, one after the other, where each plan with a `bad` step is refused and no call is blamed."""
    trials, order = Trials(), []
    for left_out in trials:
        plan = planned(rule, left_out)
        if isinstance(plan, Refusal):
            trials.held(left_out, plan)
            continue
        order.append(plan.taken)
        if not bad & set(plan.taken):
            return order, trials, plan
        trials.refused(left_out, plan, DISAGREES)
    return order, trials, None


def test_any_one_step_that_spoils_a_plan_is_found() -> None:
    for bad in range(3):
        _, _, plan = tried(rule_of(repay(), supply(), sell(), target=2 * WAD), {bad})
        assert plan is not None, bad
        assert bad not in plan.taken
        assert len(plan.taken) == 2, "no more is left out than spoils it"


def test_what_is_tried_is_bounded_and_the_first_refusal_is_what_is_told() -> None:
    order, trials, plan = tried(ALL, {0, 1, 2, 3})
    assert plan is None
    assert len(order) <= MOST_SIMULATED
    assert len(set(order)) == len(order), "nothing is simulated twice"
    assert trials.verdict == DISAGREES


def test_a_way_that_waits_for_a_limit_is_told_before_what_simulation_refuses() -> None:
    trials = Trials()
    plan = planned(rule_of(sell(), repay()))
    assert isinstance(plan, Plan)
    steps = iter(trials)
    trials.refused(next(steps), plan, DISAGREES)
    without = next(steps)
    trials.held(without, Refusal("max-cost", "gas would cost $9", acts_below=WAD))
    assert trials.verdict.code == "max-cost"
    assert trials.verdict.acts_below == WAD
    assert trials.verdict.reason == f"gas would cost $9; left out: {DISAGREES.reason}"


def test_of_what_was_simulated_well_before_a_step_by_signature_is_doubted_where_no_call_is_to_blame() -> None:
    unsigned = planned(ALL)
    assert isinstance(unsigned, Plan)
    assert last_suspect(unsigned, DISAGREES) == suspects(unsigned, DISAGREES)[0] == 3
    permit = PermitNeed("0x01", "USD Coin", "2", "0x02", "0x03", 1, 0, 0)
    calls = [
        replace(call, permit=permit) if call.action is not None and call.action.kind is ActionKind.REPAY else call
        for call in unsigned.calls
    ]
    plan = replace(unsigned, calls=tuple(calls))
    assert last_suspect(plan, DISAGREES) == 1
    sale = next(step.action for step in plan.steps if step.action.kind is ActionKind.DELEVERAGE)
    assert last_suspect(plan, replace(DISAGREES, failed=sale)) == 3


def test_doubts_are_left_out_from_the_first_on_and_their_reason_is_told_where_nothing_else_is_left() -> None:
    trials = Trials({0: DISAGREES.reason}, DISAGREES)
    assert next(iter(trials)) == {0: DISAGREES.reason}
    trials.held({0: DISAGREES.reason}, Refusal("nothing-available", "no step adds anything"))
    assert trials.verdict == DISAGREES
    trials.held({0: DISAGREES.reason}, Refusal("max-cost", "gas would cost $9"))
    assert trials.verdict.reason == f"gas would cost $9; left out: {DISAGREES.reason}"
    plan = planned(ALL, {0: DISAGREES.reason})
    assert isinstance(plan, Plan)
    again = Trials({0: DISAGREES.reason}, DISAGREES)
    again.refused(next(iter(again)), plan, DISAGREES)
    assert all(0 in left_out for left_out in again), "what was doubted is not tried again"
