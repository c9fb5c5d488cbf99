"""What a signer may be asked for every kind of step: no more than the plans of the rule can need."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from tests.planning.test_waterfall import scenes
from tests.support.plain_market import ACCOUNT, HELPER, POOL, SALE, USDC, WETH, PlainMarket, receipt_of, wallet_of
from tests.support.plain_rules import burn, repay, rule_of, sell, supply
from tui.model.plan import Plan
from tui.model.rule import ActionKind, Limits, Mode, Rule, Step, Trigger, TriggerKind, close, health_above, restore
from tui.model.signing import AllowedPermit, PermitKind, SigningPolicy
from tui.model.units import UINT256_MAX, USD, WAD
from tui.model.wallet import Wallet
from tui.planning.plan import build_plan
from tui.planning.policy import NATIVE_CAP, ArmedScope, signing_policy
from tui.vault.policy import word_of

MARKET = PlainMarket()
POSITION = MARKET.position({WETH: 100 * WAD, USDC: 10**9}, {USDC: 160_000 * 10**6})


def policy_of(rule: Rule, wallet: Wallet | None = None, wrapped: str | None = None) -> SigningPolicy:
    scope = ArmedScope(rule, MARKET, POSITION, wallet or wallet_of(), wrapped)
    return signing_policy(1, ACCOUNT, [scope], 2_000 * USD, 1_700_000_000)


def test_a_sale_is_bound_in_what_for_what_how_much_and_how_healthy() -> None:
    policy = policy_of(rule_of(sell(maximum="20"), daily_spend_usd=10_000 * USD))
    (sale,) = [call for call in policy.calls if call.selector == "0x" + SALE.hex()]
    rules = {rule.index: rule for rule in sale.rules}
    assert sale.to == HELPER
    assert rules[0].equals == int(USDC.address, 16)
    assert rules[1].equals == int(WETH.address, 16)
    assert rules[3].maximum == 20 * WAD
    assert rules[4].minimum == WAD
    assert rules[6].maximum == 3
    assert (sale.spend_token, sale.spend_word) == (WETH.address, 3)
    assert policy.permits == (AllowedPermit(receipt_of(WETH), HELPER, 20 * WAD),)
    assert policy.daily_caps == ((WETH.address, 3 * 5 * WAD),)
    approvals = [call for call in policy.calls if call.to == receipt_of(WETH)]
    assert approvals
    assert all(rule.maximum == 20 * WAD for call in approvals for rule in call.rules if rule.index == 1)
    assert policy.max_value == 0


def test_a_boost_is_signed_down_to_its_target_and_no_further() -> None:
    step = Step(ActionKind.BOOST, "WETH", "5000", "USDC", 100)
    rule = Rule("b", "*", Mode.AUTO, health_above(2 * WAD), 1, restore(15 * WAD // 10), (step,), Limits(), "d")
    sales = [call for call in policy_of(rule).calls if call.selector == "0x" + SALE.hex()]
    assert sales
    floors = {word.minimum for call in sales for word in call.rules if word.index == 4}
    assert floors == {15 * WAD // 10}


def test_what_closes_a_part_where_health_is_high_is_signed_as_any_other_that_closes_it() -> None:
    """Nothing of a boost: no loan, no credit, no sale that supplies; floors and caps of a defence."""
    steps = (sell(maximum="20"), burn(maximum="500"), repay(maximum="1000"))
    defence = replace(rule_of(*steps, daily_spend_usd=10_000 * USD), goal=close(5_000))
    high = policy_of(replace(defence, trigger=health_above(2 * WAD)))
    price = policy_of(replace(defence, trigger=Trigger(TriggerKind.PRICE_ABOVE, 4_000 * WAD, "WETH")))
    assert high == price == policy_of(defence)
    floors = {word.minimum for call in high.calls if call.to == HELPER for word in call.rules if word.index == 4}
    assert floors == {WAD}
    boost = Step(ActionKind.BOOST, "WETH", "5000", "USDC", 100)
    borrowing = policy_of(replace(rule_of(boost), trigger=health_above(2 * WAD)))
    assert borrowing.calls
    assert not set(high.calls) & set(borrowing.calls)
    assert not set(high.permits) & set(borrowing.permits)
    assert {permit.kind for permit in high.permits} == {PermitKind.PERMIT}


def test_a_sale_without_a_maximum_has_a_limit_all_the_same() -> None:
    policy = policy_of(rule_of(sell()))
    (sale,) = [call for call in policy.calls if call.selector == "0x" + SALE.hex()]
    assert next(rule.maximum for rule in sale.rules if rule.index == 3) == UINT256_MAX - 1
    assert policy.daily_caps == ((WETH.address, UINT256_MAX),)


def test_supply_is_burnt_without_any_allowance() -> None:
    policy = policy_of(rule_of(burn(maximum="500")))
    (call,) = policy.calls
    assert (call.to, call.spend_token, call.spend_word) == (POOL, USDC.address, 1)
    assert next(rule.maximum for rule in call.rules if rule.index == 1) == 500 * 10**6
    assert policy.permits == ()


def test_wrapping_is_allowed_only_for_the_wrapped_coin_and_up_to_the_step() -> None:
    for maximum, most in (("7", 7 * WAD), (None, NATIVE_CAP)):
        policy = policy_of(rule_of(supply(maximum=maximum)), wrapped=WETH.address)
        (wrap,) = [call for call in policy.calls if call.max_value]
        assert (wrap.to, wrap.max_value, policy.max_value) == (WETH.address, most, most)
    assert policy_of(rule_of(supply())).max_value == 0
    assert policy_of(rule_of(burn()), wrapped=WETH.address).max_value == 0


def test_a_market_that_cannot_sell_lets_nothing_be_sold() -> None:
    scope = ArmedScope(rule_of(sell()), PlainMarket(sells=False), POSITION, wallet_of())
    assert signing_policy(1, ACCOUNT, [scope], None, 0).calls == ()


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_every_call_of_every_plan_is_on_the_list(scene) -> None:
    market, position, wallet, rule, around = scene
    plan = build_plan(rule, market, position, replace(wallet, native=10**24), around)
    scope = ArmedScope(rule, market, position, wallet, around.wrapped_native)
    policy = signing_policy(1, ACCOUNT, [scope], 2_000 * USD, 1_700_000_000)
    if not isinstance(plan, Plan) or plan.spend_usd > 10**6 * USD:
        return
    for call in plan.calls:
        fitting = [
            one
            for one in policy.calls
            if (one.to, one.selector) == (call.to, "0x" + call.selector.hex())
            and all(_keeps(rule, call.data) for rule in one.rules)
            and min(call.value, NATIVE_CAP) <= one.max_value
        ]
        assert fitting, call.words
        assert all(one.spend_token == call.spend_token for one in fitting)
        assert call.spend_token is None or call.spend_token in dict(policy.daily_caps)


def _keeps(rule, data: bytes) -> bool:
    word = word_of(data, rule.index)
    if word is None:
        return rule.index == 6  # the fake's sale has no route
    return (
        (rule.equals is None or word == rule.equals)
        and (rule.maximum is None or word <= rule.maximum)
        and (rule.minimum is None or word >= rule.minimum)
    )
