"""What a foreign call may do by its events, and which of two proven plans is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.quotes.test_foreign_calls import ACCOUNT, ORDER, OTHER, ROUTER, WETH, ZERO_X, zero_x
from tests.support import plain_market as plain
from tests.support.plain_rules import asked, rule_of, sell, swap
from tui.model.calls import Log
from tui.model.plan import Plan, Refusal
from tui.model.rule import RoundsUse, close, restore
from tui.model.swap import SwapAnswer, SwapOrder
from tui.model.units import USD, WAD
from tui.planning.events import APPROVAL, APPROVAL_FOR_ALL, TRANSFER, TRANSFER_SINGLE, strange_event
from tui.planning.plan import build_plan
from tui.planning.venues import Proven, claims_more, is_better, ordered_steps, orders_of, venue_way, with_answers
from tui.protocols.erc20 import address_word, word
from tui.quotes.router02 import Router02
from tui.quotes.zero_x import ZeroX

CALL = ZERO_X.adopt(ORDER, ROUTER, zero_x())
SOLD, IN = WETH.address, ORDER.amount_in


def event(kind: bytes, emitter: str, first: str, second: str, *more: bytes, data: bytes = b"") -> Log:
    return Log(emitter, (kind, address_word(first), address_word(second), *more), data)


PAID = event(TRANSFER, SOLD, ACCOUNT, OTHER, data=word(IN))
LET = event(APPROVAL, SOLD, ACCOUNT, ROUTER, data=word(0))
GOT = event(TRANSFER, OTHER, ROUTER, ACCOUNT, data=word(5))
FOREIGN = event(TRANSFER, OTHER, ROUTER, OTHER, data=word(5))
NAMELESS = Log(OTHER, (), b"")


def test_what_was_ordered_is_nothing_strange() -> None:
    assert strange_event((LET, PAID, FOREIGN, NAMELESS, GOT), ACCOUNT, CALL, SOLD) is None
    halves = (replace(PAID, data=word(IN - 5)), replace(PAID, data=word(5)))
    assert strange_event(halves, ACCOUNT, CALL, SOLD) is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (event(TRANSFER, OTHER, ACCOUNT, ROUTER, data=word(1)), "takes something else"),
        (event(TRANSFER, SOLD, ACCOUNT, OTHER, data=word(1)), f"takes {IN + 1} units"),
        (event(TRANSFER, OTHER, ACCOUNT, ROUTER, word(7)), "takes something else"),
        (event(TRANSFER, SOLD, ACCOUNT, ROUTER, word(7)), "takes something else"),
        (event(TRANSFER, SOLD, ACCOUNT, ROUTER, data=b"\x01"), "takes something else"),
        (event(TRANSFER_SINGLE, OTHER, ROUTER, ACCOUNT, address_word(OTHER), data=word(1) * 2), "takes something else"),
        (event(APPROVAL, SOLD, ACCOUNT, OTHER, data=word(1)), "lets somebody take something else"),
        (event(APPROVAL, OTHER, ACCOUNT, ROUTER, data=word(1)), "lets somebody take something else"),
        (event(APPROVAL_FOR_ALL, OTHER, ACCOUNT, OTHER, data=word(1)), "lets somebody take something else"),
    ],
)
def test_whatever_else_it_does_to_the_account_is_told(more: Log, said: str) -> None:
    found = strange_event((PAID, more), ACCOUNT, CALL, SOLD)
    assert found is not None
    assert said in found


def test_less_than_was_ordered_is_strange_too() -> None:
    assert strange_event((), ACCOUNT, CALL, SOLD) == f"takes 0 units of {SOLD} instead of {IN}"


# --- the choice ----------------------------------------------------------------------------------------------------

MARKET = plain.PlainMarket()
POSITION = MARKET.position({plain.WETH: 100 * WAD}, {plain.USDC: 156_000 * 10**6})
WALLET = plain.wallet_of(WETH=60 * WAD)
RULE = rule_of(swap())
SWAPPER = Router02(plain.ROUTER)
DIALECT = ZeroX(ROUTER, ROUTER, OTHER)
WALLET = replace(
    WALLET,
    tokens={
        token: replace(held, allowances={**held.allowances, ROUTER: 0, plain.ROUTER: 0})
        for token, held in WALLET.tokens.items()
    },
)


def around(depth: int = 100_000_000):
    return asked(RULE, MARKET, POSITION, WALLET, (plain.Routed(depth_usd=depth * USD),),
                 plain.circumstances(swapper=SWAPPER))  # fmt: skip


def planned(circumstances) -> Plan:
    plan = build_plan(RULE, MARKET, POSITION, WALLET, circumstances)
    assert isinstance(plan, Plan)
    return plan


def order_of(depth: int = 100_000_000) -> tuple[object, SwapOrder]:
    circumstances = around(depth)
    plan = build_plan(RULE, MARKET, POSITION, WALLET, circumstances)
    ((key, order),) = orders_of(plan, RULE, MARKET, POSITION, WALLET, circumstances).items()
    return key, order


def answered(order: SwapOrder, out: int) -> SwapAnswer:
    return SwapAnswer(order, replace(DIALECT.shape(order), leads_to=OTHER), out)


def test_what_is_ordered_is_what_the_exchange_would_swap() -> None:
    key, order = order_of()
    (step,) = planned(around()).steps
    assert step.action.sale is not None
    assert key == (plain.WETH.address, plain.USDC.address, "swap-to-repay")
    assert (order.account, order.amount_in, order.least_out) == (
        plain.ACCOUNT,
        step.action.sale.sold,
        step.action.amount,
    )


def test_where_the_exchange_falls_short_the_whole_is_ordered_at_the_worst_price_allowed() -> None:
    _, whole = order_of()
    _, order = order_of(depth=10_000)
    assert order.least_out == whole.least_out
    assert whole.amount_in < order.amount_in <= whole.amount_in * 1_006 // 1_000


def test_nothing_is_ordered_where_a_rule_swaps_nothing() -> None:
    other = rule_of(replace(swap(), action="repay", collateral=None))
    assert orders_of(Refusal("x", "y"), other, MARKET, POSITION, WALLET, around()) == {}


def test_nothing_is_ordered_while_a_limit_holds_the_rule_back() -> None:
    held = rule_of(swap(), max_base_fee=1)
    refused = build_plan(held, MARKET, POSITION, WALLET, around())
    assert isinstance(refused, Refusal)
    assert refused.code == "max-base-fee"
    assert orders_of(refused, held, MARKET, POSITION, WALLET, around()) == {}


def test_a_plan_goes_by_the_given_call_at_its_price() -> None:
    key, order = order_of()
    answer = answered(order, order.least_out * 1_004 // 1_000)
    plan = planned(with_answers(around(), MARKET, POSITION, {key: answer}))
    (step,) = plan.steps
    sale = step.action.sale
    assert sale is not None
    assert sale.swap is answer.call
    assert (sale.venue, sale.is_quoted, sale.path) == ("0x", True, b"")
    assert (sale.sold, step.action.amount) == (order.amount_in, order.least_out)
    assert abs(sale.surplus - (answer.out - order.least_out)) <= 1
    assert sale.cost.fees_usd == sale.cost.impact_usd == 0
    assert plan.cost.swap_usd < planned(around()).cost.swap_usd
    assert venue_way(plan, RULE, MARKET, POSITION).words == "repay USDC from WETH on 0x"


@pytest.mark.parametrize(
    "change",
    [
        lambda order: replace(order, least_out=order.least_out - 1),
        lambda order: replace(order, least_out=order.least_out + 1),
        lambda order: replace(order, amount_in=order.amount_in * 102 // 100),
        lambda order: replace(order, account=OTHER),
    ],
)
def test_a_call_for_another_order_is_never_made(change) -> None:
    key, order = order_of()
    other = change(order)
    around_it = with_answers(around(), MARKET, POSITION, {key: answered(other, other.least_out * 2)})
    plan = build_plan(RULE, MARKET, POSITION, WALLET, around_it)
    assert isinstance(plan, Refusal)
    assert "what 0x offers is for another size, or beyond the step's limits" in plan.reason


def test_claims_are_weighed_by_what_comes_out_beyond_what_goes_in() -> None:
    key, order = order_of()
    own = planned(around())
    more = {key: answered(order, order.least_out * 1_002 // 1_000)}
    assert claims_more(more, own, MARKET, POSITION)
    assert not claims_more({key: answered(order, order.least_out)}, own, MARKET, POSITION)
    less = replace(order, amount_in=order.amount_in * 99 // 100)
    assert claims_more({key: answered(less, less.least_out)}, own, MARKET, POSITION)
    assert not claims_more({}, own, MARKET, POSITION)


def proven(gas_usd: int | None, weth: int, usdc: int, *, reaches: bool = True, units: int = 100) -> Proven:
    plan = planned(around())
    cost = replace(plan.cost, gas_usd=gas_usd, gas_units=units)
    left = {plain.ACCOUNT: {plain.WETH.address: weth, plain.USDC.address: usdc}}
    return Proven(replace(plan, cost=cost, reaches_target=reaches), left)


def better(one: Proven, than: Proven) -> bool:
    return is_better(one, than, MARKET, POSITION)


def test_it_is_the_wallet_less_gas_that_counts() -> None:
    own = proven(2 * USD, 10 * WAD, 0)
    assert better(proven(3 * USD, 10 * WAD, 1_000_001), own)
    assert not better(proven(3 * USD, 10 * WAD, 1_000_000), own)
    assert not better(proven(3 * USD, 10 * WAD, 999_999), own)
    assert better(proven(2 * USD, 10 * WAD + 10**13, 0), own)
    assert not better(proven(2 * USD, 10 * WAD - 10**13, 0), own)
    assert better(proven(USD, 10 * WAD, 0), own)


def test_without_a_price_of_gas_it_must_not_take_more_of_it() -> None:
    own = proven(None, 10 * WAD, 0, units=100)
    assert better(proven(None, 10 * WAD, 1, units=100), own)
    assert not better(proven(None, 10 * WAD, 10**6, units=101), own)


def test_what_reaches_the_target_comes_before_what_does_not() -> None:
    short, whole = proven(USD, 10 * WAD, 0, reaches=False), proven(90 * USD, 9 * WAD, 0)
    assert better(whole, short)
    assert not better(short, whole)


def test_a_balance_that_is_not_known_decides_nothing() -> None:
    own = proven(USD, 10 * WAD, 0)
    assert not better(replace(proven(USD, 11 * WAD, 0), left={plain.ACCOUNT: {plain.WETH.address: 11 * WAD}}), own)


# --- another account that pays, and rounds ---------------------------------------------------------------------------


def test_a_swap_of_another_account_is_ordered_for_that_one() -> None:
    rule = rule_of(replace(swap(), wallet=OTHER))
    payer = replace(WALLET, account=OTHER)
    around_it = plain.circumstances(swapper=SWAPPER, payers={OTHER: payer})
    circumstances = asked(rule, MARKET, POSITION, WALLET, (plain.Routed(),), around_it)
    plan = build_plan(rule, MARKET, POSITION, WALLET, circumstances)
    ((key, order),) = orders_of(plan, rule, MARKET, POSITION, WALLET, circumstances).items()
    assert order.account == OTHER
    theirs = build_plan(
        rule, MARKET, POSITION, WALLET,
        with_answers(circumstances, MARKET, POSITION, {key: answered(order, order.least_out * 1_004 // 1_000)}),
    )  # fmt: skip
    assert isinstance(theirs, Plan)
    assert theirs.steps[0].action.payer == OTHER
    assert theirs.steps[0].action.sale.venue == "0x"
    mine = replace(order, account=plain.ACCOUNT)
    other = with_answers(circumstances, MARKET, POSITION, {key: answered(mine, order.least_out * 2)})
    refused = build_plan(rule, MARKET, POSITION, WALLET, other)
    assert isinstance(refused, Refusal)
    assert "is for another size" in refused.reason


def test_it_is_the_wallet_of_whoever_pays_that_counts() -> None:
    own, theirs = (proven(USD, 10 * WAD, 0) for _ in range(2))
    (step,) = own.plan.steps
    paid = replace(own.plan, steps=(replace(step, action=replace(step.action, payer=OTHER)),))
    left = {plain.WETH.address: 10 * WAD, plain.USDC.address: 0}
    own, theirs = Proven(paid, {OTHER: left}), Proven(paid, {OTHER: {**left, plain.USDC.address: 1}})
    assert better(theirs, own)
    assert not better(own, theirs)
    assert not better(Proven(paid, {plain.ACCOUNT: {**left, plain.USDC.address: 10**9}}), own)


ROUNDS = rule_of(replace(sell(), rounds=RoundsUse.ALWAYS))


def a_round(**changes):
    """Circumstances in which a round is planned, the order for its swap and the key of that."""
    rule = replace(ROUNDS, **changes)
    circumstances = asked(rule, MARKET, POSITION, WALLET, (plain.Routed(),), plain.circumstances(swapper=SWAPPER))
    plan = build_plan(rule, MARKET, POSITION, WALLET, circumstances)
    assert isinstance(plan, Plan)
    assert plan.rounds is not None
    ((key, order),) = orders_of(plan, rule, MARKET, POSITION, WALLET, circumstances).items()
    return rule, circumstances, plan, key, order


@pytest.mark.parametrize("goal", [restore(15 * WAD // 10), close(5_000), close(10_000)], ids=lambda one: str(one.value))
def test_a_round_goes_by_the_given_call_for_exactly_its_order(goal) -> None:
    rule, circumstances, own, key, order = a_round(goal=goal)
    sale = own.steps[0].action.sale
    assert (order.amount_in, order.least_out) == (sale.swap.amount_in, sale.swap.least_out)
    answer = answered(order, order.least_out * 1_004 // 1_000)
    plan = build_plan(rule, MARKET, POSITION, WALLET, with_answers(circumstances, MARKET, POSITION, {key: answer}))
    assert isinstance(plan, Plan)
    action = plan.steps[0].action
    assert action.sale.swap is answer.call
    assert (action.amount, action.sale.sold, action.sale.withdrawn) == (
        own.steps[0].action.amount, sale.sold, sale.withdrawn,
    )  # fmt: skip
    assert (plan.rounds.lowest, plan.rounds.number) == (own.rounds.lowest, own.rounds.number)
    assert claims_more({key: answer}, own, MARKET, POSITION)
    less = replace(order, amount_in=order.amount_in * 996 // 1_000)
    cheap = with_answers(circumstances, MARKET, POSITION, {key: answered(less, less.least_out)})
    fewer = build_plan(rule, MARKET, POSITION, WALLET, cheap)
    assert isinstance(fewer, Plan)
    assert fewer.steps[0].action.sale.withdrawn == less.amount_in
    assert fewer.rounds.lowest > own.rounds.lowest
    left = {plain.ACCOUNT: {plain.WETH.address: WAD, plain.USDC.address: 0}}
    assert better(Proven(fewer, left), Proven(own, left)), "what stays in the position counts"
    assert not better(Proven(own, left), Proven(fewer, left))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda order: replace(order, amount_in=order.amount_in * 103 // 100), "beyond the step's limits"),
        (lambda order: replace(order, account=OTHER), "is for another size"),
        (lambda order: replace(order, least_out=order.least_out * 9 // 10), "beyond the step's limits"),
        (
            lambda order: replace(order, amount_in=order.amount_in * 5 // 4, least_out=order.least_out * 5 // 4),
            "bring health",
        ),
    ],
    ids=["more goes in", "another account", "less must come out", "a larger round"],
)
def test_a_round_goes_by_no_call_that_its_floor_or_its_step_does_not_allow(change, said: str) -> None:
    rule, circumstances, _, key, order = a_round()
    other = change(order)
    around_it = with_answers(circumstances, MARKET, POSITION, {key: answered(other, other.least_out * 2)})
    refused = build_plan(rule, MARKET, POSITION, WALLET, around_it)
    assert isinstance(refused, Refusal)
    assert said in refused.reason


def test_no_more_of_a_debt_is_closed_by_a_given_call_than_is_to_be() -> None:
    rule, circumstances, _, key, order = a_round(goal=close(100))
    other = replace(order, amount_in=order.amount_in * 2, least_out=order.least_out * 2)
    around_it = with_answers(circumstances, MARKET, POSITION, {key: answered(other, other.least_out * 2)})
    refused = build_plan(rule, MARKET, POSITION, WALLET, around_it)
    assert isinstance(refused, Refusal)
    assert "for another part of the debt" in refused.reason


def test_only_steps_that_are_ordered_may_do_elsewhere_what_the_exchange_could_not() -> None:
    rule = rule_of(sell(), swap("WBTC"))
    wallet = replace(WALLET, tokens={token: replace(held, balance=WAD) for token, held in WALLET.tokens.items()})
    around_it = plain.circumstances(swapper=SWAPPER, left_out={0: "it reverts"})
    circumstances = asked(rule, MARKET, POSITION, wallet, (plain.Routed(),), around_it)
    plan = build_plan(rule, MARKET, POSITION, wallet, circumstances)
    assert isinstance(plan, Plan)
    orders = orders_of(plan, rule, MARKET, POSITION, wallet, circumstances)
    assert ordered_steps(orders, rule, MARKET, POSITION) == {1}
    assert ordered_steps({}, rule, MARKET, POSITION) == frozenset()


def test_nothing_is_ordered_for_what_a_helper_sells() -> None:
    rule = rule_of(sell())
    circumstances = asked(rule, MARKET, POSITION, WALLET, (plain.Routed(),), plain.circumstances(swapper=SWAPPER))
    plan = build_plan(rule, MARKET, POSITION, WALLET, circumstances)
    assert isinstance(plan, Plan)
    assert orders_of(plan, rule, MARKET, POSITION, WALLET, circumstances) == {}
    assert orders_of(Refusal("x", "y"), rule, MARKET, POSITION, WALLET, circumstances) == {}
