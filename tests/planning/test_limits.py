"""Limits on cost: what they count, when they give way, and what they say while they hold a rule back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.plain_market import DAI, FEES, GWEI, USDC, WETH, PlainMarket, circumstances, wallet_of
from tests.support.plain_rules import asked, burn, repay, rule_of, sell, supply
from tui.model.data_fee import DataFees
from tui.model.plan import Plan, Refusal
from tui.model.position import Position
from tui.model.rule import EMERGENCY_HEALTH
from tui.model.units import USD, WAD, parse_units, usd_text
from tui.planning.circumstances import Circumstances
from tui.planning.costs import least_fee
from tui.planning.limits import gas_reserve_usd
from tui.planning.plan import build_plan, price_plan
from tui.planning.simulation import with_margin
from tui.risk.probability import VOLATILITY_BPS, liquidation_probability

MARKET = PlainMarket()
RICH = wallet_of(native=100 * WAD, USDC=400_000 * 10**6, WETH=50 * WAD)


def at(health: int) -> Position:
    """100 WETH and as much USDC as gives a health factor in hundredths."""
    return MARKET.position({WETH: 100 * WAD}, {USDC: 166_000 * 10**8 // health})


def plan_of(health: int, around: Circumstances | None = None, **limits: int) -> Plan | Refusal:
    return build_plan(rule_of(repay(), **limits), MARKET, at(health), RICH, around or circumstances())


def dear(gwei: int, **changes: object) -> Circumstances:
    fees = replace(FEES, base_fee=gwei * GWEI, max_fee=3 * gwei * GWEI, ceiling=9 * gwei * GWEI)
    return circumstances(fees=fees, **changes)


def test_what_is_avoided_and_what_is_expected() -> None:
    plan = plan_of(110)
    assert isinstance(plan, Plan)
    assert plan.avoided_loss_usd == at(110).liquidation_penalty_usd
    assert plan.volatility_bps == VOLATILITY_BPS
    chance = liquidation_probability(plan.health_factor_before)
    assert plan.expected_loss_usd == -(-plan.avoided_loss_usd * chance // WAD)
    calm = MARKET.position({USDC: 200_000 * 10**6}, {DAI: 120_000 * WAD})
    plan = build_plan(rule_of(repay("DAI")), MARKET, calm, wallet_of(native=WAD, DAI=10**22), circumstances())
    assert isinstance(plan, Plan)
    assert plan.volatility_bps == 500


def test_gas_is_counted_as_expected_and_at_its_ceiling_with_data() -> None:
    plain = plan_of(110)
    data = plan_of(110, circumstances(data_fees=DataFees(((10_000, 10**15 // 2),))))
    assert isinstance(plain, Plan)
    assert isinstance(data, Plan)
    assert plain.cost.gas_units == 260_000
    assert plain.cost.gas_wei == 260_000 * 11 * GWEI
    assert plain.cost.gas_ceiling_usd == 260_000 * 80 * GWEI * 2_000 * USD // WAD
    assert data.cost.gas_wei == plain.cost.gas_wei + 10**15
    assert data.cost.gas_ceiling_usd == plain.cost.gas_ceiling_usd + 2 * USD
    assert (plain.cost.l1_fee_wei, plain.cost.l1_data_usd) == (0, 0)
    assert (data.cost.l1_fee_wei, data.cost.l1_data_usd) == (10**15, 2 * USD)


def test_data_of_unknown_price_holds_back_what_limits_its_cost_alone() -> None:
    blind = circumstances(data_fees=DataFees())
    plan = plan_of(110, blind)
    assert isinstance(plan, Plan)
    assert (plan.cost.l1_fee_wei, plan.cost.l1_data_usd, plan.cost.gas_usd, plan.cost.total_usd) == (None,) * 4
    for health, limits in ((110, {"max_cost_usd": 100 * USD}), (101, {"max_cost_usd": 100 * USD}),
                           (110, {"max_cost_share_bps": 5_000})):  # fmt: skip
        refused = plan_of(health, blind, **limits)
        assert isinstance(refused, Refusal)
        assert refused.code == "cost-unknown"
        assert "what layer 1 charges for its data is not known: l1_fee_oracle" in refused.reason
    assert isinstance(plan_of(101, blind, max_cost_share_bps=5_000), Plan)


def test_the_fee_for_data_is_taken_from_the_ceiling_of_gas_and_from_the_money_there_is() -> None:
    dear = circumstances(data_fees=DataFees(((10_000, WAD // 200),)))  # two calls
    plan = plan_of(110, dear, max_cost_usd=30 * USD)
    assert isinstance(plan, Plan)
    assert plan.cost.gas_ceiling_usd is not None
    assert plan.cost.gas_ceiling_usd <= 30 * USD < plan.cost.gas_ceiling_usd + USD // 100
    assert plan.cost.gas_units * plan.fees.ceiling * 2_000 * USD // WAD <= 10 * USD
    refused = plan_of(110, dear, max_cost_usd=20 * USD)
    assert isinstance(refused, Refusal)
    assert refused.code == "max-cost"
    assert "gas would cost $25.72, $20.00 of it for data on layer 1, over the rule's $20.00" in refused.reason
    gas = plan.cost.gas_units * least_fee(FEES)
    for native, enough in ((gas + WAD // 100, True), (gas + WAD // 100 - 1, False)):
        wallet = wallet_of(native=native, USDC=400_000 * 10**6)
        found = build_plan(rule_of(repay()), MARKET, at(110), wallet, dear)
        assert isinstance(found, Plan) is enough
        assert enough or (isinstance(found, Refusal) and found.code == "no-gas")


def test_the_ceiling_is_what_the_sale_leaves_of_the_limit() -> None:
    rule = rule_of(sell(), max_cost_usd=220 * USD)
    around = asked(rule, MARKET, at(110))
    plan = build_plan(rule, MARKET, at(110), RICH, around)
    assert isinstance(plan, Plan)
    assert 150 * USD < plan.cost.swap_usd < 180 * USD
    most = plan.cost.gas_units * plan.fees.ceiling * 2_000 * USD // WAD
    assert plan.cost.swap_usd + most <= 220 * USD < plan.cost.swap_usd + most + USD
    refused = build_plan(
        replace(rule, limits=replace(rule.limits, max_cost_usd=40 * USD)), MARKET, at(110), RICH, around
    )
    assert isinstance(refused, Refusal)
    assert refused.code == "max-cost"
    assert "protection is suspended until it costs less, whatever the health factor" in refused.reason


def test_a_share_is_one_of_the_loss_expected() -> None:
    refused = plan_of(125, dear(100), max_cost_share_bps=500)
    assert isinstance(refused, Refusal)
    assert refused.code == "max-cost-share"
    for words in ("gas would cost $52.52", "with a chance of 4.39% in 7 days", "over the rule's 5.00%", "now 1.25"):
        assert words in refused.reason
    at_which = refused.acts_below
    assert at_which is not None
    assert EMERGENCY_HEALTH < at_which < 125 * WAD // 100
    assert f"until the health factor is under {at_which // 10**14 / 10**4}" in refused.reason
    assert isinstance(plan_of(125, max_cost_share_bps=500), Plan)


def test_at_the_health_that_is_told_it_acts() -> None:
    refused = plan_of(125, dear(100), max_cost_share_bps=500)
    assert isinstance(refused, Refusal)
    assert refused.acts_below is not None
    # The loss grows a little with the debt, so at the level told the cost is within the share.
    assert isinstance(plan_of(refused.acts_below // 10**16, dear(100), max_cost_share_bps=500), Plan)


def test_in_an_emergency_the_share_is_the_whole() -> None:
    assert isinstance(plan_of(110, dear(300), max_cost_share_bps=1), Refusal)
    assert isinstance(plan_of(104, dear(300), max_cost_share_bps=1), Plan)
    absurd = plan_of(104, dear(60_000), max_cost_share_bps=1)
    assert isinstance(absurd, Refusal)
    assert "more than the whole $7,980" in absurd.reason


def test_a_rule_may_write_its_own_emergency() -> None:
    early = parse_units("1.15", 18)
    assert isinstance(plan_of(110, dear(300), max_cost_share_bps=1, emergency=early), Plan)
    refused = plan_of(120, dear(300), max_cost_share_bps=1, emergency=early)
    assert isinstance(refused, Refusal)
    assert refused.acts_below is not None
    assert refused.acts_below >= early
    assert isinstance(plan_of(114, dear(100), max_base_fee=50 * GWEI, emergency=early), Plan)
    held = plan_of(116, dear(100), max_base_fee=50 * GWEI, emergency=early)
    assert isinstance(held, Refusal)
    assert held.acts_below == early
    assert "until the health factor is under 1.15 (now 1.16" in held.reason


def test_a_base_fee_suspends_aloud_and_gives_way_in_an_emergency() -> None:
    refused = plan_of(120, dear(100), max_base_fee=50 * GWEI)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.acts_below) == ("max-base-fee", EMERGENCY_HEALTH)
    assert "suspended until it falls, or until the health factor is under 1.05 (now 1.2" in refused.reason
    acting = plan_of(104, dear(100), max_base_fee=50 * GWEI)
    assert isinstance(acting, Plan)
    # No raised attempt may pay more than a liquidation would take.
    far = plan_of(104, dear(14_000), max_base_fee=50 * GWEI)
    assert isinstance(far, Plan)
    assert far.avoided_loss_usd is not None
    assert far.cost.gas_ceiling_usd is not None
    assert far.cost.gas_ceiling_usd <= far.avoided_loss_usd < far.cost.gas_ceiling_usd + USD
    over = plan_of(104, dear(20_000), max_base_fee=50 * GWEI)
    assert isinstance(over, Refusal)
    assert over.code == "max-base-fee"
    assert "that a liquidation would take" in over.reason


@pytest.mark.parametrize(("health", "gwei"), [(104, 5_000), (110, 300), (110, 10)])
def test_no_raised_attempt_passes_the_share_that_held_the_plan(health: int, gwei: int) -> None:
    around = dear(gwei)
    plan, free = plan_of(health, around, max_cost_share_bps=2_500), plan_of(health, around)
    assert isinstance(plan, Plan)
    assert isinstance(free, Plan)
    assert plan.avoided_loss_usd is not None
    assert plan.expected_loss_usd is not None
    most = plan.avoided_loss_usd if health < 105 else plan.expected_loss_usd // 4
    ceiling, unlimited = plan.cost.gas_ceiling_usd, free.cost.gas_ceiling_usd
    assert ceiling is not None
    assert unlimited is not None
    assert most - USD < ceiling <= most if unlimited > most else ceiling == unlimited
    assert plan.fees.max_fee <= plan.fees.ceiling


def test_a_plan_at_its_share_to_the_cent_may_still_go_out() -> None:
    plan = plan_of(110, dear(300), max_cost_share_bps=2_500)
    assert isinstance(plan, Plan)
    assert plan.expected_loss_usd is not None
    assert plan.cost.total_usd is not None
    share = -(-plan.cost.total_usd * 10_000 // plan.expected_loss_usd)
    tight = plan_of(110, dear(300), max_cost_share_bps=share)
    assert isinstance(tight, Plan)
    assert tight.fees.ceiling >= 301 * GWEI


@pytest.mark.parametrize("limits", [{"max_cost_share_bps": 1_000}, {"max_base_fee": GWEI}])
def test_what_is_not_known_is_no_reason_to_be_liquidated(limits: dict[str, int]) -> None:
    unknown = circumstances(native_price_usd=None)
    assert isinstance(plan_of(104, unknown, **limits), Plan)
    assert isinstance(plan_of(110, unknown, **limits), Refusal)
    refused = plan_of(104, unknown, max_cost_usd=USD)
    assert isinstance(refused, Refusal)
    assert refused.code == "cost-unknown"


def simulated(plan: Plan, used: int = 200_000) -> Plan:
    """A plan as simulation leaves it: what its calls took, and a gas limit with a margin over it."""
    calls = tuple(replace(call, gas_used=used, gas_limit=with_margin(used)) for call in plan.calls)
    return replace(plan, calls=calls)


def test_what_is_expected_is_the_gas_that_was_simulated_and_the_margin_is_in_the_ceiling_alone() -> None:
    plan = plan_of(110)
    assert isinstance(plan, Plan)
    priced = price_plan(simulated(plan), rule_of(repay()), RICH, circumstances())
    assert isinstance(priced, Plan)
    used, most = 200_000 * len(plan.calls), with_margin(200_000) * len(plan.calls)
    assert (priced.cost.gas_units, priced.cost.gas_limit) == (used, most)
    assert priced.cost.gas_wei == used * 11 * GWEI
    assert priced.cost.gas_usd == used * 11 * GWEI * 2_000 * USD // WAD
    assert priced.cost.gas_ceiling_usd == most * 80 * GWEI * 2_000 * USD // WAD
    poor = wallet_of(native=most * least_fee(FEES) - 1, USDC=400_000 * 10**6)
    late = price_plan(simulated(plan), rule_of(repay()), poor, circumstances())
    assert isinstance(late, Refusal)
    assert late.code == "no-gas"


@pytest.mark.parametrize("short", [0, 1, 5])
def test_money_for_less_than_the_fee_to_be_offered_is_offered_as_long_as_it_lasts_for_the_next_blocks(
    short: int,
) -> None:
    plan = plan_of(110)
    assert isinstance(plan, Plan)
    most = with_margin(200_000) * len(plan.calls)
    money = most * (FEES.max_fee - short * GWEI)
    priced = price_plan(simulated(plan), rule_of(repay()), wallet_of(native=money), circumstances())
    assert isinstance(priced, Plan)
    assert priced.fees.max_fee == FEES.max_fee - short * GWEI
    assert priced.fees.priority_fee == FEES.priority_fee
    assert most * priced.fees.max_fee <= money
    # Money may be added while it waits: what raised attempts may come to is the rule's affair.
    assert priced.fees.ceiling == FEES.ceiling
    assert priced.cost.gas_ceiling_usd == most * priced.fees.ceiling * 2_000 * USD // WAD


def test_a_share_weighs_what_is_expected_not_the_margin() -> None:
    plan = plan_of(110, dear(300))
    assert isinstance(plan, Plan)
    assert plan.expected_loss_usd is not None
    used = 200_000 * len(plan.calls)
    expected = used * 301 * GWEI * 2_000 * USD // WAD
    share = -(-expected * 10_000 // plan.expected_loss_usd)
    priced = price_plan(simulated(plan), rule_of(repay(), max_cost_share_bps=share), RICH, dear(300))
    assert isinstance(priced, Plan)
    assert priced.fees.ceiling >= 301 * GWEI
    refused = price_plan(simulated(plan), rule_of(repay(), max_cost_share_bps=share - 1), RICH, dear(300))
    assert isinstance(refused, Refusal)


def test_a_limit_in_dollars_holds_for_all_of_the_gas_limit_and_says_both() -> None:
    plan = plan_of(110)
    assert isinstance(plan, Plan)
    most = with_margin(200_000) * len(plan.calls) * 11 * GWEI * 2_000 * USD // WAD
    priced = price_plan(simulated(plan), rule_of(repay(), max_cost_usd=most), RICH, circumstances())
    assert isinstance(priced, Plan)
    assert priced.cost.most_gas * priced.fees.ceiling * 2_000 * USD // WAD <= most
    refused = price_plan(simulated(plan), rule_of(repay(), max_cost_usd=most - 1), RICH, circumstances())
    assert isinstance(refused, Refusal)
    assert refused.code == "max-cost"
    assert "if it takes all of its gas limit" in refused.reason


def test_gas_money_is_what_wrapping_leaves() -> None:
    rule, around = rule_of(supply()), circumstances(wrapped_native=WETH.address)
    wallet = wallet_of(native=around.gas_reserve + WAD)
    plan = build_plan(rule, MARKET, at(110), wallet, around)
    assert isinstance(plan, Plan)
    assert plan.steps[0].action.wrap == WAD
    late = price_plan(plan, rule, replace(wallet, native=WAD + 10**14), around)
    assert isinstance(late, Refusal)
    assert late.code == "no-gas"


def test_lost_yield_is_apart_and_none_where_a_rate_is_not_known() -> None:
    rule = rule_of(burn(), target=12 * WAD // 10)
    position = MARKET.position({WETH: 90 * WAD, USDC: 50_000 * 10**6}, {USDC: 170_000 * 10**6})
    plan = build_plan(rule, MARKET, position, RICH, circumstances())
    assert isinstance(plan, Plan)
    moved = plan.steps[0].action.amount * 100
    # It earned 2% and cost 5%.
    assert plan.cost.lost_yield_usd_year == pytest.approx(-moved * 3 // 100, abs=2)
    assert plan.cost.total_usd == plan.cost.gas_usd
    blind = replace(position, collateral=tuple(replace(one, supply_apy=None) for one in position.collateral))
    plan = build_plan(rule, MARKET, blind, RICH, circumstances())
    assert isinstance(plan, Plan)
    assert plan.cost.lost_yield_usd_year is None


def _sized(gwei: int, daily: int, spent: int = 0, **limits: int) -> Plan | Refusal:
    """As the engine sizes it: again with a reserve for gas where the day's limit does not reach for both."""
    rule, around = rule_of(repay(), daily_spend_usd=daily * USD, **limits), dear(gwei, spent_today_usd=spent * USD)
    plan = build_plan(rule, MARKET, at(106), RICH, around)
    if isinstance(plan, Refusal) or (around.spent_today_usd + plan.spend_usd
                                     + gas_reserve_usd(plan, rule, around) <= daily * USD):  # fmt: skip
        return plan
    return build_plan(rule, MARKET, at(106), RICH, replace(around, reserved_usd=gas_reserve_usd(plan, rule, around)))


@pytest.mark.parametrize("gwei", [10, 100, 500, 600, 1_900])
def test_a_gas_storm_takes_three_times_its_gas_of_a_daily_limit_and_no_more(gwei: int) -> None:
    plan = _sized(gwei, 6_000)
    assert isinstance(plan, Plan)
    expected = 260_000 * (gwei + 1) * GWEI * 2_000 * USD // WAD
    assert plan.spend_usd == pytest.approx(6_000 * USD - 3 * expected, abs=USD)
    assert plan.shortfall is not None
    assert f"the daily spend leaves no more beside ${usd_text(3 * expected)} for gas" in plan.shortfall
    priced = price_plan(simulated(plan, 130_000), rule_of(repay(), daily_spend_usd=6_000 * USD), RICH, dear(gwei))
    assert isinstance(priced, Plan)
    # Room for raised attempts, and all that may be booked for gas stays within the limit.
    assert priced.fees.ceiling >= 2 * (gwei + 1) * GWEI
    booked = sum(-(-(call.gas_limit or 0) * priced.fees.ceiling * 2_000 * USD // WAD) for call in priced.calls)
    assert priced.spend_usd + booked <= 6_000 * USD


def test_of_a_small_limit_gas_is_left_half_or_what_it_takes_now() -> None:
    for gwei, times in ((2_500, None), (4_000, 2)):
        plan = _sized(gwei, 6_000)
        assert isinstance(plan, Plan)
        gas = 3_000 * USD if times is None else 260_000 * (gwei + 1) * GWEI * 2_000 * USD // WAD * times
        assert plan.spend_usd == pytest.approx(6_000 * USD - gas, abs=USD)
        rule = rule_of(repay(), daily_spend_usd=6_000 * USD)
        priced = price_plan(simulated(plan, 130_000), rule, RICH, dear(gwei))
        assert isinstance(priced, Plan)
        assert priced.fees.ceiling * 100 >= 112 * (gwei + 1) * GWEI


def test_what_gas_leaves_nothing_of_is_refused_with_that_reason() -> None:
    refused = _sized(8_000, 6_000)
    assert isinstance(refused, Refusal)
    assert refused.code == "daily-spend"
    assert "gas may take $8,321.04, which today's limit of $6,000.00 does not leave ($0.00 are spent)" in refused.reason
    spent = _sized(10, 6_000, spent=6_000)
    assert isinstance(spent, Refusal)
    assert spent.reason == "today's $6,000.00 are spent"


def test_what_gas_may_cost_at_all_is_all_that_is_left_for_it() -> None:
    plan = _sized(600, 6_000, max_cost_usd=800 * USD)
    assert isinstance(plan, Plan)
    assert plan.spend_usd == pytest.approx(5_200 * USD, abs=USD)
