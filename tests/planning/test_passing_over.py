"""What keeps one step of a written rule from being done keeps the others from nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planning.test_payers import HOT, by, held_by, paid
from tests.support.plain_market import FEES, POOL, USDC, WETH, PlainMarket, circumstances, wallet_of
from tests.support.plain_rules import repay, rule_of, supply
from tui.model.plan import Plan, Refusal
from tui.model.rule import Rule, StandingAllowance
from tui.model.units import USD, WAD
from tui.model.wallet import Allowance, Wallet
from tui.planning.circumstances import Circumstances
from tui.planning.costs import least_fee
from tui.planning.leaving_out import Trials
from tui.planning.plan import build_plan, price_plan
from tui.protocols.erc20 import approve_data

MARKET = PlainMarket()
POSITION = MARKET.position({WETH: 100 * WAD}, {USDC: 156_000 * 10**6})
"""At a health factor of 1.06."""
ONE, TWO = 260_000, 570_000
"""Gas of an approval with a repayment, and of a supply with its own behind them."""


def planned(rule: Rule, wallet: Wallet, around: Circumstances | None = None) -> Plan | Refusal:
    return build_plan(rule, MARKET, POSITION, wallet, around or circumstances())


def allowing(wallet: Wallet, asset=USDC, amount: int = 2**256 - 1) -> Wallet:
    held = replace(wallet.tokens[asset.address], allowances={POOL: amount})
    return replace(wallet, tokens={**wallet.tokens, asset.address: held})


def test_with_gas_money_for_some_of_the_steps_those_are_done() -> None:
    rule = rule_of(repay(maximum="40000"), supply())
    money = TWO * least_fee(FEES)
    both = planned(rule, wallet_of(native=money, USDC=40_000 * 10**6, WETH=9 * WAD))
    assert isinstance(both, Plan)
    assert both.taken == (0, 1)
    one = planned(rule, wallet_of(native=money - 1, USDC=40_000 * 10**6, WETH=9 * WAD))
    assert isinstance(one, Plan)
    assert one.taken == (0,)
    assert (one.health_factor_after or 0) > 14 * WAD // 10
    assert one.shortfall is not None
    assert "add-collateral WETH: gas may take" in one.shortfall
    (left,) = one.left_out
    assert left.endswith("; add some")
    nothing = planned(rule, wallet_of(native=ONE * least_fee(FEES) - 1, USDC=40_000 * 10**6, WETH=9 * WAD))
    assert isinstance(nothing, Refusal)
    assert nothing.code == "no-gas"


def test_what_goes_furthest_is_done_and_not_what_is_written_first() -> None:
    rule = rule_of(repay(maximum="5"), supply())
    plan = planned(rule, wallet_of(native=TWO * least_fee(FEES) - 1, USDC=5 * 10**6, WETH=40 * WAD))
    assert isinstance(plan, Plan)
    assert plan.taken == (1,)


def test_another_account_short_of_gas_keeps_the_own_one_from_nothing() -> None:
    rule = rule_of(repay(maximum="40000"), by(HOT, repay()), by(HOT, supply()))
    hot = held_by(HOT, 450_000 * least_fee(FEES), USDC=10_000 * 10**6, WETH=50 * WAD)
    plan = planned(rule, wallet_of(USDC=40_000 * 10**6), paid(hot))
    assert isinstance(plan, Plan)
    assert plan.taken[0] == 0, "the own wallet's"
    assert len(plan.taken) == 2
    broke = replace(hot, native=1)
    plan = planned(rule, wallet_of(USDC=40_000 * 10**6), paid(broke))
    assert isinstance(plan, Plan)
    assert plan.taken == (0,)


@pytest.mark.parametrize(("rule", "taken"), [
    (rule_of(repay(), supply()), (1,)), (rule_of(supply(maximum="1"), repay()), (0,)),
    (rule_of(repay(), supply(maximum="1"), repay(maximum="1"), supply()), (1, 3)),
])  # fmt: skip
def test_a_step_whose_asset_the_market_may_take_more_of_is_passed_over(rule: Rule, taken: tuple[int, ...]) -> None:
    plan = planned(rule, allowing(wallet_of(USDC=9_000 * 10**6, WETH=9 * WAD)))
    assert isinstance(plan, Plan)
    assert plan.taken == taken
    assert all("may take more of the wallet's USDC (without limit)" in one for one in plan.left_out)
    assert not [call for call in plan.calls if call.to == USDC.address], "nothing of what the owner allowed is touched"
    alone = planned(rule_of(repay()), allowing(wallet_of(USDC=9_000 * 10**6)))
    assert isinstance(alone, Refusal)
    assert alone.code == "standing-allowance"


@pytest.mark.parametrize("more", [0, 1, -1])
def test_what_an_earlier_firing_of_ours_left_approved_is_taken_back_first(more: int) -> None:
    wallet = allowing(wallet_of(USDC=9_000 * 10**6), amount=12_000 * 10**6)
    ours = frozenset({Allowance(wallet.account, USDC.address, POOL, 12_000 * 10**6 + more)})
    plan = planned(rule_of(repay()), wallet, circumstances(ours=ours))
    if more:
        assert isinstance(plan, Refusal), "not to the unit what we approved: its owner gave it"
        assert plan.code == "standing-allowance"
        return
    assert isinstance(plan, Plan)
    words = [call.words for call in plan.calls]
    assert words == ["Take back what an earlier firing let 0x9090…9090 take: 12,000.00 USDC", "Approve", "repay"]
    assert plan.calls[0].data == approve_data(POOL, 0)
    used = planned(rule_of(repay(), standing_allowance=StandingAllowance.USE), wallet, circumstances(ours=ours))
    assert isinstance(used, Plan)
    assert [call.words for call in used.calls] == ["repay"]


def test_what_was_left_approved_is_taken_back_once_and_by_whose_it_is() -> None:
    hot = replace(allowing(held_by(HOT, USDC=9_000 * 10**6), amount=12_000 * 10**6), account=HOT)
    around = replace(paid(hot), ours=frozenset({Allowance(HOT, USDC.address, POOL, 12_000 * 10**6)}))
    plan = planned(rule_of(by(HOT, repay(maximum="100")), by(HOT, repay())), wallet_of(), around)
    assert isinstance(plan, Plan)
    assert [call.data == approve_data(POOL, 0) for call in plan.calls] == [True, False, False, False, False]
    assert {call.sender for call in plan.calls} == {HOT}


def test_a_rule_of_many_steps_does_what_it_can_as_well() -> None:
    rule = rule_of(supply(maximum="1"), repay(maximum="5"), supply(maximum="2"), supply(maximum="3"), supply())
    plan = planned(rule, allowing(wallet_of(USDC=9_000 * 10**6, WETH=9 * WAD)))
    assert isinstance(plan, Plan)
    assert plan.taken == (0, 2, 3, 4)


def test_a_token_whose_allowance_could_not_be_read_keeps_no_other_from_being_used() -> None:
    wallet = wallet_of(USDC=9_000 * 10**6, WETH=9 * WAD)
    blind = replace(wallet, tokens={**wallet.tokens, USDC.address: replace(wallet.tokens[USDC.address], allowances={})})
    plan = planned(rule_of(repay(), supply()), blind)
    assert isinstance(plan, Plan)
    assert plan.taken == (1,)
    assert "could not be read" in plan.left_out[0]


def test_a_limit_on_cost_holds_all_of_a_written_rule_as_before() -> None:
    rule = rule_of(repay(maximum="40000"), supply(), max_cost_usd=USD)
    held = planned(rule, wallet_of(native=9 * WAD, USDC=40_000 * 10**6, WETH=9 * WAD))
    assert isinstance(held, Refusal)
    assert held.code == "max-cost"


def test_what_takes_more_gas_once_simulated_than_there_is_money_for_goes_without_its_last_step() -> None:
    rule = rule_of(repay(maximum="40000"), supply())
    wallet = wallet_of(native=TWO * least_fee(FEES), USDC=40_000 * 10**6, WETH=9 * WAD)
    trials, tried = Trials(), []
    for left_out in trials:
        plan = planned(rule, wallet, circumstances(left_out=left_out))
        assert isinstance(plan, Plan)
        tried.append(plan.taken)
        calls = tuple(replace(call, gas_used=150_000, gas_limit=200_000) for call in plan.calls)
        priced = price_plan(replace(plan, calls=calls), rule, wallet, circumstances())
        if isinstance(priced, Plan):
            break
        assert priced.code == "no-gas"
        trials.short(left_out, plan, priced)
    assert tried == [(0, 1), (0,)]
    assert trials.verdict.code == "no-gas"
