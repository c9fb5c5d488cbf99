"""Rules that could never do what they say are found where they would fire."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.support.plain_market import (
    ACCOUNT,
    DAI,
    POOL,
    USDC,
    WETH,
    Exchange,
    PlainMarket,
    circumstances,
    wallet_of,
)
from tests.support.plain_rules import asked, burn, repay, rule_of, sell, supply
from tui.model.position import Position, unknown_position
from tui.model.rule import ActionKind, Order, Rule, StandingAllowance, health_below, restore
from tui.model.units import USD, WAD
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances
from tui.planning.validate import RuleProblem, at_trigger, validate

MARKET = PlainMarket()
SAFE = MARKET.position({WETH: 100 * WAD}, {USDC: 100_000 * 10**6})
SAFE_THERE = MARKET.position({WETH: 100 * WAD}, {USDC: 150_000 * 10**6})
"""Beyond the trigger: exchanges are asked for something."""
RICH = wallet_of(native=10 * WAD, USDC=100_000 * 10**6)


def found(
    rule: Rule,
    market: PlainMarket = MARKET,
    position: Position = SAFE,
    wallet: Wallet = RICH,
    around: Circumstances | None = None,
) -> dict[str, RuleProblem]:
    problems = validate(rule, market, position, wallet, around or circumstances())
    assert [one.decisive for one in problems] == sorted((one.decisive for one in problems), reverse=True)
    return {one.code: one for one in problems}


def test_it_is_judged_where_the_rule_fires() -> None:
    there = at_trigger(rule_of(repay()), MARKET, SAFE)
    assert there.health_factor is not None
    assert 1199 * WAD // 1000 < there.health_factor < 12 * WAD // 10
    assert not any(one.decisive for one in found(rule_of(repay())).values())


def test_a_target_out_of_reach_says_how_far_it_gets() -> None:
    problem = found(rule_of(repay(maximum="10000")))["out-of-reach"]
    assert problem.decisive
    assert "it gets to 1.33" in problem.words
    assert "the rule's maximum is 10000" in problem.words
    assert "out-of-reach" not in found(rule_of(repay(maximum="10000"), sell()))
    cheapest = found(rule_of(repay(maximum="10000"), supply(), order=Order.CHEAPEST))["out-of-reach"]
    assert "holds none" in cheapest.words


def test_what_does_not_reach_its_target_is_armed_where_the_rule_says_that_a_part_is_welcome() -> None:
    whole = found(rule_of(repay(maximum="10000")))["out-of-reach"]
    assert "or write partial = true to have it armed for as far as it gets" in whole.fix
    partial = found(replace(rule_of(repay(maximum="10000")), partial=True))["out-of-reach"]
    assert (partial.decisive, partial.words) == (False, whole.words)
    assert "partial" not in partial.fix
    held = rule_of(repay(), daily_spend_usd=1_000 * USD)
    assert "raise daily_spend_usd" in found(held)["out-of-reach"].fix
    poor = wallet_of(native=10 * WAD)
    assert not found(replace(rule_of(repay()), partial=True), wallet=poor)["out-of-reach"].decisive


def test_a_limit_of_the_day_for_a_few_firings_only_is_told_with_one_that_is_enough() -> None:
    """Where it fires it repays about 20,016 dollars, and the signer signs for three times the limit."""
    assert "few-firings" not in found(rule_of(repay()))
    tight = found(rule_of(repay(), daily_spend_usd=30_000 * USD))["few-firings"]
    assert (tight.decisive, tight.step) == (False, 0)
    for words in ("of USDC", "$90,000.00 a day", ": 4 firings", "those that revert count too"):
        assert words in tight.words
    enough = re.search(r"a daily_spend_usd of (\d+) or more", tight.fix)
    assert enough is not None
    assert "few-firings" not in found(rule_of(repay(), daily_spend_usd=int(enough[1]) * USD))
    assert "few-firings" in found(rule_of(repay(), daily_spend_usd=(int(enough[1]) - 1) * USD))


def test_a_sale_that_cannot_help_is_found_before_it_is_needed() -> None:
    rule = replace(rule_of(sell(slippage=2_000), target=103 * WAD // 100), trigger=health_below(102 * WAD // 100))
    problem = found(rule)["slippage-too-large"]
    assert "would not lift" in problem.words
    low = replace(rule, goal=restore(80 * WAD // 100))
    assert found(low)["sale-cannot-help"].decisive


def test_a_slippage_that_the_pool_alone_takes() -> None:
    position = MARKET.position({WETH: 100 * WAD}, {USDC: 150_000 * 10**6})
    rule = rule_of(sell(slippage=20))
    around = asked(rule, MARKET, position, exchanges=[Exchange(fee_bps=30)])
    problem = found(rule, position=position, around=around)["slippage-too-small"]
    assert problem.decisive
    assert problem.step == 0
    assert "the pool's fee alone is 0.30%, the step allows 0.20%" in problem.words
    assert "slippage-too-small" not in found(rule, position=position, around=asked(rule, MARKET, position))


def test_a_fee_that_is_all_of_the_slippage_leaves_nothing_for_the_price() -> None:
    position = MARKET.position({WETH: 100 * WAD}, {USDC: 150_000 * 10**6})
    for slippage, refused in ((5, True), (6, False)):
        rule = rule_of(sell(slippage=slippage))
        around = asked(rule, MARKET, position, exchanges=[Exchange(fee_bps=5)])
        assert ("slippage-too-small" in found(rule, position=position, around=around)) is refused


def test_what_a_sale_loses_at_the_prices_of_now_is_told_and_its_step_is_left_out() -> None:
    """Sized at the trigger's price, where every exchange still pays that of today: only the price of today tells."""
    rule = rule_of(sell(slippage=50))
    for gap, dear in ((40, False), (60, True)):
        around = asked(rule, MARKET, SAFE_THERE, exchanges=[Exchange(fee_bps=5, gap_bps=gap)])
        problems = found(rule, position=SAFE_THERE, around=around)
        assert ("loses-too-much" in problems) is ("out-of-reach" in problems) is dear
        if dear:
            assert not problems["loses-too-much"].decisive
            assert "now it would lose 0.66%, over the step's 0.50%" in problems["loses-too-much"].words
            assert "now it would lose 0.66%" in problems["out-of-reach"].words
    around = asked(rule, MARKET, SAFE_THERE, exchanges=[Exchange(fee_bps=5, gap_bps=60)])
    helped = found(replace(rule, steps=(*rule.steps, repay())), position=SAFE_THERE, around=around)
    assert "loses-too-much" in helped
    assert "out-of-reach" not in helped
    # At a market price that fell further than the exchange's the very same quotes lose nothing.
    fallen = MARKET.repriced(SAFE_THERE, {WETH.address: 1_900 * USD})
    assert "loses-too-much" not in found(rule, position=fallen, around=around)


def test_a_rule_of_which_no_step_can_ever_act_is_refused_and_an_empty_wallet_is_not_that() -> None:
    nothing = found(rule_of(repay("NOPE"), sell("NOPE")))["nothing-acts"]
    assert nothing.decisive
    assert "lists no NOPE" in nothing.words
    assert "nothing-acts" not in found(rule_of(repay("NOPE"), repay()))
    assert "nothing-acts" not in found(rule_of(repay()), wallet=wallet_of(native=WAD))
    silent = asked(rule_of(sell()), MARKET, SAFE_THERE, exchanges=[])
    problems = found(rule_of(sell()), position=SAFE_THERE, around=silent)
    assert "no-answer" in problems
    assert "nothing-acts" not in problems, "an exchange that does not answer may at the next block"


def test_how_little_room_a_late_trigger_leaves_is_told() -> None:
    for below, told in ((1_001, True), (1_010, True), (1_011, False), (1_200, False)):
        problems = found(replace(rule_of(repay()), trigger=health_below(below * WAD // 1_000)))
        assert ("little-room" in problems) is told
        assert not told or not problems["little-room"].decisive
    words = found(replace(rule_of(repay()), trigger=health_below(1_001 * WAD // 1_000)))["little-room"].words
    assert "under 1.0010" in words
    assert "0.09% left to fall" in words


def test_steps_that_do_nothing_here() -> None:
    rule = rule_of(burn(), sell("WBTC"), sell(), sell(), repay("DAI"), repay("NOPE"), sell("NOPE"))
    problems = validate(rule, MARKET, SAFE, RICH, circumstances())
    assert {(one.code, one.step, one.decisive) for one in problems} >= {
        ("nothing-supplied", 0, False),
        ("nothing-supplied", 1, False),
        ("sale-twice", 3, True),
        ("impossible", 4, False),
        ("asset-unlisted", 5, False),
        ("asset-unlisted", 6, False),
    }
    assert "action-missing" in found(rule_of(sell()), PlainMarket(actions=frozenset({ActionKind.REPAY})))
    assert found(rule_of(sell()), PlainMarket(sells=False))["impossible"].words.endswith("nothing can be sold here")


def test_a_supply_cap_under_the_steps_maximum() -> None:
    wallet = wallet_of(native=WAD, WETH=100 * WAD)
    problem = found(rule_of(supply(maximum="30")), PlainMarket(room={WETH: 5 * WAD}), wallet=wallet)["supply-cap"]
    assert "leaves 5.000000 WETH, less than the step's 30" in problem.words


def test_allowances() -> None:
    tokens = {**RICH.tokens, USDC.address: replace(RICH.tokens[USDC.address], allowances={POOL: 2**256 - 1})}
    wallet = replace(RICH, tokens=tokens)
    assert found(rule_of(repay()), wallet=wallet)["standing-allowance"].decisive
    kept = rule_of(repay(), standing_allowance=StandingAllowance.USE)
    assert "standing-allowance" not in found(kept, wallet=wallet)
    assert "extra-transactions" not in found(kept, wallet=wallet)
    extra = found(rule_of(repay()))["extra-transactions"]
    assert (extra.step, extra.decisive) == (0, False)
    assert "takes 2 transactions" in extra.words
    unread = replace(RICH, tokens={**RICH.tokens, USDC.address: replace(RICH.tokens[USDC.address], allowances={})})
    assert "allowance-unknown" in found(rule_of(repay()), wallet=unread)
    assert found(rule_of(repay()), wallet=unread)["not-buildable"].decisive


def test_what_is_unknown_or_owes_nothing_says_nothing() -> None:
    rule = rule_of(repay())
    for position in (unknown_position(SAFE.key, SAFE.block, "no answer"), MARKET.position({WETH: WAD}, {})):
        assert validate(rule, MARKET, position, RICH, circumstances()) == ()
    assert SAFE.key.account == ACCOUNT
    assert DAI not in SAFE.state.owed
