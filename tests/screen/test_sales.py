"""What a sale says of itself: limits, floor, where its cost goes, what else there is. Unknown is never nothing."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.screen.sale_plans import COST, SALE, WAYS, confirming_sale, sale_plan
from tests.support import views
from tests.support.view_positions import BOB
from tests.support.views import DAI, USDC, WETH, WSTETH, usd, wad
from tui.engine.facade import Preview
from tui.model.plan import Action, Alternative, Evaluation, Plan, Refusal, Sale, SwapCost
from tui.model.position import Asset
from tui.model.rule import ActionKind, Limits, Order, RuleProblem
from tui.model.text import short_address
from tui.screen.draw.plan import confirmation_lines, cost_lines
from tui.screen.draw.preview import preview_lines
from tui.screen.draw.rules import limits_sentence, plan_details, plan_sentence, rules_lines
from tui.screen.draw.sales import MOST_WAYS, alternative_lines, deed
from tui.screen.lines import Line, width_of


def text(lines: Sequence[Line]) -> str:
    """Lines as one text, however they are broken."""
    return " ".join(" ".join(one.text for one in lines).split())


def confirmation(plan: Plan, width: int = 70) -> str:
    """What the question says."""
    view = confirming_sale(plan)
    return text(confirmation_lines(view.confirmations[0], view.positions[0], width))


@pytest.mark.parametrize("width", [44, 70, 90])
def test_a_sale_says_what_where_how_far_and_for_how_much(width: int) -> None:
    said = confirmation(sale_plan(), width)
    for part in (
        "sell 1.7421 WETH, repay 5,214.20 USDC → health 1.5004",
        "sells at most 1.7464 WETH on Uniswap V3 0.05%",
        "undone by the chain if health would end under 1.3242",
        "gas $2.31 612,000 units, at most 120.0 gwei a unit, $22.46 in all",
        "sale $6.67 pools $2.60 · impact $1.87 · oracle gap −$0.40 · flash loan $2.60",
        "total $8.98",
        "yield $41.20 lost a year; in no sum",
        "avoids $1,109.44 of liquidation penalty; $130.20 weighed by how likely it is",
        "Ways to defend at this block",
        "repay 5,214.20 USDC about $0.41 → 1.5004",
        "add 0.4000 WETH cost unknown → 1.3110 short",
        "✖ sell WBTC for USDC: selling WBTC for USDC would lose 0.91% now, over 0.50%",
    ):
        assert part in said, part


@pytest.mark.parametrize("width", [30, 50, 72, 80, 120])
def test_no_line_of_a_sale_is_too_wide(width: int) -> None:
    plan = sale_plan()
    view = confirming_sale(plan)
    rule = replace(view.rules[0], evaluation=Evaluation("guard", "p", views.BLOCK, True, "below", plan, None))
    drawn = [
        *confirmation_lines(view.confirmations[0], view.positions[0], width),
        *rules_lines(replace(view, rules=(rule,)), width, "guard", views.NOW),
        *alternative_lines(WAYS, width),
    ]
    for one in drawn:
        assert width_of(one.spans) <= width, one.text


def test_what_is_not_known_is_never_nothing() -> None:
    blind = replace(COST, gas_usd=None, gas_ceiling_usd=None, swap=SwapCost(), lost_yield_usd_year=None)
    said = confirmation(sale_plan(cost=blind))
    for part in ("gas unknown price", "sale unknown", "total unknown", "yield unknown"):
        assert part in said, part
    assert "$0" not in said.partition("spends $0.00")[2].partition("Ways to")[0]
    assert "sale unknown" in plan_sentence(sale_plan(cost=blind))
    unpriced = replace(COST, swap=SwapCost())
    assert "total unknown" in confirmation(sale_plan(cost=unpriced)), "gas alone is not what a sale costs"


@pytest.mark.parametrize("width", [30, 44, 70])
def test_data_on_layer_1_is_shown_apart_and_where_it_is_unknown_nothing_is_summed(width: int) -> None:
    assert "l1 data" not in confirmation(sale_plan(), width)
    charged = replace(COST, l1_fee_wei=10**14, l1_data_usd=usd("0.31"))
    assert "l1 data $0.31 of the gas, for data on layer 1" in confirmation(sale_plan(cost=charged), width)
    unpriced = replace(charged, gas_usd=None, gas_ceiling_usd=None, l1_data_usd=None)
    assert "l1 data unknown price" in confirmation(sale_plan(cost=unpriced), width)
    blind = replace(unpriced, l1_fee_wei=None)
    said = confirmation(sale_plan(cost=blind), width)
    for part in (
        "gas unknown 612,000",
        "l1 data unknown l1_fee_oracle of the network file gives no answer",
        "total un",
    ):
        assert part in said, part
    for plan in (sale_plan(cost=charged), sale_plan(cost=blind)):
        view = confirming_sale(plan)
        for one in confirmation_lines(view.confirmations[0], view.positions[0], width):
            assert width_of(one.spans) <= width, one.text


def test_before_a_pool_is_asked_only_the_most_is_said() -> None:
    plan = sale_plan(replace(SALE, path=b""))
    assert plan_sentence(plan) == (
        "sell up to 1.7464 WETH, repay 5,214.20 USDC → health 1.5004 · gas $2.31, sale up to $6.67"
    )
    said = confirmation(plan)
    assert "sale up to $6.67 max_slippage allows $4.07 · flash loan $2.60; no pool is asked yet" in said
    assert "total up to $8.98" in said
    for part in ("Uniswap", "pools", "impact", "oracle gap"):
        assert part not in said, "nothing is known of it"


def test_yield_that_is_saved_is_not_called_lost() -> None:
    said = confirmation(sale_plan(cost=replace(COST, lost_yield_usd_year=-usd("12.00"))))
    assert "yield $12.00 saved a year, net; in no sum" in said


def test_ways_to_close_a_part_are_no_defence() -> None:
    assert "Ways to close at this block" in confirmation(replace(sale_plan(), closed_bps=5_000))
    assert "Ways to defend at this block" in confirmation(sale_plan())


def test_a_sentence_names_gas_and_sale() -> None:
    assert plan_sentence(sale_plan()) == (
        "sell 1.7421 WETH, repay 5,214.20 USDC → health 1.5004 · gas $2.31, sale $6.67"
    )
    assert plan_sentence(views.plan()) == "repay 5,214.20 USDC → health 1.5004 · gas $0.41"
    assert deed(Action(ActionKind.REPAY_WITH_ATOKENS, views.USDC, 10**6)) == "repay 1.0000 USDC out of the supply"


def test_a_plan_without_sales_says_nothing_of_them() -> None:
    view = views.confirming()
    said = text(confirmation_lines(view.confirmations[0], view.positions[0], 90))
    for part in ("sale", "total", "yield", "Ways to"):
        assert part not in said


def test_the_chosen_rule_shows_the_details_of_its_sale_and_others_do_not() -> None:
    view = views.armed()
    done = Evaluation("guard", "p", views.BLOCK, True, "below", sale_plan(), None)
    view = replace(view, rules=(replace(view.rules[0], evaluation=done), view.rules[1]))
    chosen = rules_lines(view, 60, "guard", views.NOW)
    assert "oracle gap −$0.40" in text(chosen)
    assert "Ways to defend now" in text(chosen)
    assert all(one.tag == "guard" for one in chosen if "oracle gap" in one.text)
    other = text(rules_lines(view, 60, None, views.NOW))
    assert "sale $6.67" in other
    assert "oracle gap" not in other


def test_a_refused_sale_is_still_shown_with_its_cost() -> None:
    view = views.armed()
    refused = Evaluation("guard", "p", views.BLOCK, True, "below", sale_plan(), Refusal("cost-cap", "costs too much"))
    view = replace(view, rules=(replace(view.rules[0], evaluation=refused),))
    said = text(rules_lines(view, 60, "guard", views.NOW))
    assert "refused: costs too much refused was: sell 1.7421 WETH, repay 5,214.20 USDC" in said
    assert "flash loan $2.60" in said


def test_what_is_refused_without_a_plan_shows_the_ways_that_were_looked_at() -> None:
    closed = replace(WAYS[0], why_not="it would cost too much")
    refused = Refusal("max-cost", "too dear", alternatives=(closed,))
    found = Evaluation("guard", "aave-v3/core/0x", views.BLOCK, True, "under its trigger", None, refused)
    told = text(plan_details(found, 80))
    assert "Ways that were looked at" in told
    assert "repay 5,214.20 USDC: it would cost too much" in told
    assert plan_details(replace(found, refused=Refusal("max-cost", "too dear")), 80) == []


def test_the_preview_of_the_chosen_rule_shows_its_sale() -> None:
    done = Evaluation("guard", "p", views.BLOCK, True, "below", sale_plan(), None)
    shown = text(preview_lines(Preview((), (done,)), "guard", False, "", 52))
    assert "flash loan $2.60" in shown
    assert "Ways to defend now" in shown
    assert "flash loan" not in text(preview_lines(Preview((), (done,)), "calm", False, "", 52))


def test_a_rule_that_chooses_says_so() -> None:
    view = views.armed()
    assert "cheapest first" not in text(rules_lines(view, 60, None, views.NOW))
    choosing = replace(view.rules[0], rule=replace(view.rules[0].rule, order=Order.CHEAPEST))
    said = text(rules_lines(replace(view, rules=(choosing,)), 60, None, views.NOW))
    assert "guard auto · cheapest first" in said
    assert "◆ armed" in said


def test_of_many_ways_only_some_are_told_and_the_rest_counted() -> None:
    ways = tuple(replace(WAYS[index % 3], words=f"way {index}") for index in range(30))
    lines = alternative_lines(ways, 80)
    assert sum("→" in one.text for one in lines) == MOST_WAYS
    assert sum("✖" in one.text for one in lines) == MOST_WAYS
    assert lines[-1].text.strip() == f"and {30 - 2 * MOST_WAYS} more"
    assert lines[0].text.startswith("  way 0"), "in the order that they come in: the cheapest first"


def test_a_way_to_no_debt_and_one_whose_end_is_unknown() -> None:
    closed = Alternative("all of it", (0,), COST, None, True)
    lost = Alternative("some of it", (0,), COST, None, False)
    assert "$8.98 → no debt" in text(alternative_lines((closed,), 60))
    assert "→ unknown short" in text(alternative_lines((lost,), 60))


def test_hostile_words_of_a_sale_are_harmless() -> None:
    evil = "[red]\x1b[31mPWN\x1b]52;c;aGk=\x07\u202e[/red][@click=app.quit]x"
    sale = replace(SALE, venue=evil, collateral=replace(SALE.collateral, symbol=evil))
    ways = (Alternative(evil, (0,), COST, wad("1.5"), True), Alternative(evil, (1,), None, None, False, evil))
    plan = replace(sale_plan(sale), alternatives=ways)
    view = confirming_sale(plan)
    drawn = confirmation_lines(view.confirmations[0], view.positions[0], 70)
    for character in "".join(one.text for one in drawn) + plan_sentence(plan):
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    assert not any(span.action for one in drawn for span in one.spans)


BORROWED = replace(SALE, collateral=USDC, sold=5_000_000_000, most_sold=5_025_000_000)
"""Five thousand dollars of new debt pay for it."""


def of_kind(kind: ActionKind, asset: Asset, amount: int, sale: Sale) -> Plan:
    """The plan with one sale of that kind."""
    plan = sale_plan(sale)
    action = Action(kind, asset, amount, sale)
    return replace(plan, spend_usd=usd("5000"), steps=(replace(plan.steps[0], action=action),))


@pytest.mark.parametrize(
    ("kind", "asset", "amount", "sale", "said"),
    [
        (ActionKind.DELEVERAGE, USDC, 5_214_200_000, SALE, "sell 1.7421 WETH, repay 5,214.20 USDC"),
        (ActionKind.SWITCH_COLLATERAL, WSTETH, 15 * 10**17, SALE, "sell 1.7421 WETH, supply 1.5000 wstETH"),
        (ActionKind.SWITCH_DEBT, DAI, 4_990 * 10**18, BORROWED, "borrow 5,000.00 USDC, repay 4,990.00 DAI"),
        (ActionKind.BOOST, WETH, 2 * 10**18, BORROWED, "borrow 5,000.00 USDC, supply 2.0000 WETH"),
    ],
)
def test_what_is_sold_or_borrowed_and_what_becomes_of_it_is_said_by_kind(
    kind: ActionKind, asset: Asset, amount: int, sale: Sale, said: str
) -> None:
    plan = of_kind(kind, asset, amount, sale)
    assert deed(plan.steps[0].action) == said
    assert plan_sentence(plan).startswith(said)
    told = confirmation(plan)
    assert said in told
    assert ("borrows at most 5,025.00 USDC" in told) is (sale is BORROWED)
    assert ("sells at most" in told) is (sale is SALE)
    assert "of your own tokens" not in told.replace("none of your own tokens", ""), "nothing leaves the wallet"
    assert ("borrows $5,000.00 of new debt" in told) is (sale is BORROWED)
    assert ("spends $5,000.00 of collateral that is sold" in told) is (sale is SALE)


def test_whose_token_is_swapped_is_told_where_another_account_pays() -> None:
    plan = of_kind(ActionKind.SWAP_TO_REPAY, USDC, 5_214_200_000, SALE)
    (step,) = plan.steps
    assert deed(step.action) == "swap 1.7421 WETH, repay 5,214.20 USDC"
    paid = replace(plan, steps=(replace(step, action=replace(step.action, payer=BOB)),))
    said = f"swap 1.7421 WETH of {short_address(BOB)}, repay 5,214.20 USDC"
    assert plan_sentence(paid).startswith(said)
    assert said in " ".join(confirmation(paid).split())


def test_a_boost_defends_nothing_and_avoids_nothing() -> None:
    plan = of_kind(ActionKind.BOOST, WETH, 2 * 10**18, BORROWED)
    told = confirmation(plan)
    assert "Ways to boost at this block" in told
    for part in ("defend", "avoids", "penalty", "likely"):
        assert part not in told, part
    view = confirming_sale(plan)
    judged = Evaluation("guard", "p", views.BLOCK, True, "above", plan, None)
    rule = replace(view.rules[0], evaluation=judged)
    listed = text(rules_lines(replace(view, rules=(rule,)), 80, "guard", views.NOW))
    assert "Ways to boost now" in listed
    assert "Ways to defend" not in listed


def test_a_repayment_and_a_debt_switch_name_both_sources() -> None:
    plan = of_kind(ActionKind.SWITCH_DEBT, DAI, 4_990 * 10**18, BORROWED)
    plan = replace(plan, steps=(*views.plan().steps, *plan.steps))
    assert "spends $5,000.00 of your own tokens and of new debt" in confirmation(plan)


@pytest.mark.parametrize(
    ("payers", "said"),
    [
        ((None,), "spends $5,213.67 of your own tokens"),
        ((BOB,), "spends $5,213.67 of tokens of 0x3c44…93bc"),
        ((None, BOB), "spends $5,213.67 of your own tokens and of tokens of 0x3c44…93bc"),
        ((BOB, BOB), "spends $5,213.67 of tokens of 0x3c44…93bc"),
    ],
)
@pytest.mark.parametrize("width", [50, 90])
def test_whose_tokens_are_spent_is_told(payers: tuple[str | None, ...], said: str, width: int) -> None:
    (step,) = views.plan().steps
    steps = tuple(replace(step, action=replace(step.action, payer=payer)) for payer in payers)
    told = " ".join(text(cost_lines(replace(views.plan(), steps=steps), width)).split())
    assert said in told
    assert ("your own" in told) is (None in payers)


def test_the_share_of_a_loss_is_of_the_one_that_is_expected() -> None:
    rule = replace(views.GUARD, limits=Limits(max_cost_share_bps=2500))
    assert limits_sentence(rule) == "cost up to 25% of the expected loss avoided"
    assert limits_sentence(replace(rule, partial=True)).endswith(
        ", goes a part of the way where it cannot go all of it"
    )


def test_the_preview_of_the_chosen_rule_says_whether_it_would_be_armed() -> None:
    problems = (
        RuleProblem("out-of-reach", None, "it gets to 1.32, not to 1.50", "fund the wallet", decisive=True),
        RuleProblem("little-room", None, "it fires late", "write a higher trigger", decisive=False),
    )
    found = Evaluation("guard", "p", views.BLOCK, False, "calm", None, None, problems=problems)
    shown = text(preview_lines(Preview((), (found,)), "guard", False, "", 90))
    assert "✖ would not be armed anew: it gets to 1.32, not to 1.50; fund the wallet" in shown
    assert "▲ it fires late; write a higher trigger" in shown
    assert "armed anew" not in text(preview_lines(Preview((), (found,)), "calm", False, "", 90))
