"""What one yes covers of a firing in rounds: the steps that were shown, as far as they were shown, and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import views
from tests.support.plain_market import DAI, USDC, WETH
from tests.support.plain_rules import repay, rule_of, sell, supply, swap
from tui.engine.agreed import NOBODY_ASKED, agreed_to, not_agreed
from tui.engine.rounds import next_round
from tui.model.plan import Action, Plan, PlannedStep, Sale, SaleTerms, SwapCost
from tui.model.position import Asset
from tui.model.rounds import Agreed, Behind, Rounds, RoundsSoFar
from tui.model.rule import ActionKind
from tui.model.units import USD, WAD
from tui.rules.state import initial_state

RULE = rule_of(repay(), swap("WBTC"), sell(), supply("WETH", "1"), sell(debt="DAI"))
REPAY, SWAP, SELL, SUPPLY, OTHER = range(5)
ETH = 2_000 * USD
UNIT = 10**6


def paying(amount: int, asset: Asset = USDC, kind: ActionKind = ActionKind.REPAY) -> Action:
    return Action(kind, asset, amount)


def selling(sold: int, kind: ActionKind = ActionKind.DELEVERAGE, debt: Asset = USDC) -> Action:
    """`sold` wei of WETH at 2,000: a round, or a swap of the wallet."""
    withdrawn = sold if kind is ActionKind.DELEVERAGE else None
    sale = Sale(WETH, sold, sold, 0, b"", "somewhere", SaleTerms("", "", 0), price_usd=ETH, withdrawn=withdrawn)
    return Action(kind, debt, sold * 1_990 // 10**12, sale)


def plan_of(*steps: tuple[int, Action], rounds: Rounds | None = None, cost: int = 5, gas: int = 3) -> Plan:
    """A plan of these steps of the rule that costs so many dollars, so many of them for 100 units of gas."""
    made = views.plan()
    return replace(
        made,
        steps=tuple(PlannedStep(action, 12 * WAD // 10) for _, action in steps),
        taken=tuple(number for number, _ in steps),
        cost=replace(made.cost, gas_units=100, gas_usd=gas * USD, swap=SwapCost(fees_usd=(cost - gas) * USD)),
        rounds=rounds,
    )  # fmt: skip


def rounds_of(spend: int, *behind: Behind, swap: int = 10, gas: int = 500) -> Rounds:
    """That so many dollars are still to be sold, for so many dollars and units of gas."""
    return Rounds(SELL, 1, 5, WAD, True, spend * USD, swap * USD, gas, None, WETH, USDC, behind=behind)


FIRST = plan_of((REPAY, paying(1_000 * UNIT)), (SELL, selling(WAD)), rounds=rounds_of(8_000))


def after(plan: Plan, **changes: object) -> RoundsSoFar:
    """What is remembered once a yes was given to a plan whose round is over as planned."""
    state = initial_state(RULE, "aave-v3/core/0x1")
    found = next_round(state, plan, RULE, RULE, "episode", agreed_to(plan, plan, RULE, RULE, None))
    assert found is not None
    assert found.planned is not None
    done = found.planned
    return replace(found, rounds=1, used=done.used, sold_usd=done.sold_usd, cost_usd=done.cost_usd, **changes)


def said(plan: Plan, so_far: RoundsSoFar | None) -> str | None:
    return not_agreed(plan, RULE, RULE, so_far)


def test_what_is_covered_is_what_was_shown_of_each_step_and_two_percent() -> None:
    agreed = agreed_to(FIRST, FIRST, RULE, RULE, None)
    assert agreed.steps == ((REPAY, 1_020 * UNIT),)
    assert agreed.sales == ((SELL, 10_200 * USD),)
    assert agreed.cost_usd == (5 + 10 + 15) * USD * 125 // 100 + USD


def test_every_further_round_within_it_goes_on_by_itself() -> None:
    so_far = after(FIRST)
    assert said(plan_of((SELL, selling(4 * WAD)), rounds=rounds_of(99_999)), so_far) is None, (
        "of rounds ahead none fires yet"
    )
    last = replace(so_far, sold_usd=((SELL, 9_000 * USD),))
    assert said(plan_of((SELL, selling(6 * WAD // 10)), rounds=rounds_of(0)), last) is None
    assert said(plan_of((SELL, selling(61 * WAD // 100)), rounds=rounds_of(0)), last) == (
        "deleverage WETH for USDC would sell more than what was agreed to"
    )


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ((REPAY, paying(20 * UNIT)), None),
        ((REPAY, paying(21 * UNIT)), "repay USDC would take more than what was agreed to"),
        ((SUPPLY, paying(1, WETH, ActionKind.ADD_COLLATERAL)), "add-collateral WETH was not among what was agreed to"),
        ((SWAP, selling(1, ActionKind.SWAP_TO_REPAY)), "repay USDC from WBTC was not among what was agreed to"),
    ],
)
def test_a_step_beside_a_round_is_covered_as_far_as_it_was_shown(step: tuple[int, Action], why: str | None) -> None:
    so_far = after(FIRST)
    for plan in (plan_of(step), plan_of(step, (SELL, selling(WAD)), rounds=rounds_of(1))):
        assert said(plan, so_far) == why


def test_a_step_that_took_less_than_was_shown_may_take_the_rest() -> None:
    shown = plan_of((SWAP, selling(WAD, ActionKind.SWAP_TO_REPAY)), (SELL, selling(WAD)), rounds=rounds_of(1_000))
    so_far = after(shown)
    again = plan_of((SWAP, selling(WAD, ActionKind.SWAP_TO_REPAY)), (SELL, selling(WAD // 2)), rounds=rounds_of(0))
    assert said(again, so_far) == "repay USDC from WBTC would take more than what was agreed to"
    assert said(again, replace(so_far, used=((SELL, WAD),))) is None


def test_the_repayment_of_what_rounds_bought_is_covered_and_nothing_of_the_wallets_own() -> None:
    so_far = after(FIRST, left=((USDC.address, 900 * UNIT),))
    assert said(plan_of((SELL, paying(900 * UNIT))), so_far) is None
    assert said(plan_of((SELL, paying(901 * UNIT))), so_far) == (
        "deleverage WETH for USDC would repay more than its rounds bought"
    )
    assert said(plan_of((REPAY, paying(900 * UNIT))), so_far) == "repay USDC would take more than what was agreed to"


def test_what_follows_on_rounds_is_covered_as_far_as_it_was_shown() -> None:
    behind = (
        Behind(OTHER, ActionKind.DELEVERAGE, DAI, 900 * WAD, WETH, WAD // 2, 1_000 * USD, True),
        Behind(SUPPLY, ActionKind.ADD_COLLATERAL, WETH, WAD, WETH, WAD, 2_000 * USD, False),
    )
    shown = plan_of((SELL, selling(WAD)), rounds=rounds_of(8_000, *behind))
    agreed = agreed_to(shown, shown, RULE, RULE, None)
    assert agreed.sales == ((SELL, 7_140 * USD), (OTHER, 1_020 * USD))
    assert agreed.steps == ((SUPPLY, 102 * WAD // 100),)
    so_far = after(shown)
    assert said(plan_of((OTHER, selling(WAD // 2, debt=DAI)), rounds=rounds_of(0)), so_far) is None
    assert said(plan_of((OTHER, selling(52 * WAD // 100, debt=DAI)), rounds=rounds_of(0)), so_far) is not None
    assert said(plan_of((SUPPLY, paying(WAD, WETH, ActionKind.ADD_COLLATERAL))), so_far) is None


def test_rounds_that_cost_more_than_was_shown_are_not_covered() -> None:
    so_far = after(FIRST)
    small = (SELL, selling(WAD // 100))
    assert said(plan_of(small, rounds=rounds_of(0), cost=33), so_far) is None
    assert said(plan_of(small, rounds=rounds_of(0), cost=34), so_far) == (
        "all rounds would cost $39.00 by now, more than what was agreed to"
    )


def test_a_cost_that_is_not_known_is_covered_by_no_yes() -> None:
    unpriced = replace(FIRST, cost=replace(FIRST.cost, gas_usd=None))
    assert agreed_to(unpriced, unpriced, RULE, RULE, None).cost_usd is None
    small = plan_of((SELL, selling(WAD // 100)), rounds=rounds_of(0))
    assert said(small, after(unpriced)) == "what it costs is not known"
    assert said(replace(small, cost=unpriced.cost), after(FIRST)) == "what it costs is not known"


def test_in_an_emergency_no_cost_waits_for_a_person_halfway_but_every_other_deed_does() -> None:
    so_far, small = after(FIRST), (SELL, selling(WAD // 100))
    dear = plan_of(small, rounds=rounds_of(0), cost=34)
    unpriced = replace(dear, cost=replace(dear.cost, gas_usd=None))
    emergency = RULE.limits.emergency
    for plan in (dear, unpriced):
        assert said(replace(plan, health_factor_before=emergency), so_far) is not None
        assert said(replace(plan, health_factor_before=emergency - 1), so_far) is None
    other = plan_of((OTHER, selling(WAD // 100, debt=DAI)), rounds=rounds_of(0))
    assert said(replace(other, health_factor_before=emergency - 1), so_far) is not None


def test_without_a_yes_nothing_is_covered() -> None:
    assert said(FIRST, None) == NOBODY_ASKED
    assert said(FIRST, RoundsSoFar(SELL, rounds=3)) == NOBODY_ASKED


def test_a_second_yes_is_to_what_it_showed_beyond_what_was_done_and_the_first_one_is_over() -> None:
    so_far = after(FIRST)
    shown = plan_of((SELL, selling(WAD)), rounds=rounds_of(1_000))
    agreed = agreed_to(shown, shown, RULE, RULE, so_far)
    assert agreed == Agreed((5 * USD) + (5 + 10 + 15) * USD * 125 // 100 + USD, (), ((SELL, (2_000 + 3_060) * USD),))
    later = replace(so_far, agreed=agreed)
    assert said(plan_of((REPAY, paying(UNIT)), (SELL, selling(WAD)), rounds=rounds_of(0)), later) == (
        "repay USDC was not among what was agreed to"
    )


def test_the_numbers_are_those_of_the_rule_though_a_step_of_it_is_out() -> None:
    acting = replace(RULE, steps=RULE.steps[1:])
    plan = replace(FIRST, taken=(1,), steps=FIRST.steps[1:])
    assert agreed_to(plan, plan, RULE, acting, None).sales == ((SELL, 10_200 * USD),)
