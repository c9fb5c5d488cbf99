"""Switching a collateral, switching a debt and boosting on real markets: each does what it says, to the wei."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.contracts.conftest import turn_hostile
from tests.contracts.reshaping import (
    BOOST,
    COLLATERAL,
    DEBT,
    GAS,
    KINDS,
    Move,
    books,
    facts_of,
    foretell,
    move,
    premium_of,
    quote,
    route,
    told,
    usual,
)
from tests.contracts.test_deleverage import check_nothing_left
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, Receipt, refused, transact
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import ALL_OF_IT, Helper

pytestmark = [pytest.mark.node]

SYMBOLS = ("WETH", "wstETH", "WBTC", "USDC", "DAI", "USDT")


def _wealth(rng: random.Random, chain: Chain, number: int, health: int) -> Holder:
    collateral, debt = rng.choice(
        [("WETH", "USDC"), ("WETH", "DAI"), ("wstETH", "USDT"), ("WBTC", "USDC"), ("USDC", "WETH"), ("WBTC", "WETH")]
    )
    holder = Holder(chain, number, collateral, debt, rng.randint(5_000, 300_000))
    if rng.random() < 0.4:
        other = rng.choice([one for one in ("WETH", "WBTC", "DAI") if one not in (collateral, debt)])
        chain.supply(
            holder.address, other, rng.randint(100, 50_000) * 10**8 * chain.token(other).unit // chain.price(other)
        )
    holder.borrow_to(health)
    if rng.random() < 0.5:
        for symbol in (collateral, debt):
            chain.give(symbol, rng.randint(1, 10**6), holder.address)
    chain.advance(rng.randint(60, 20 * 86_400))
    return holder


def _random_move(rng: random.Random, kind: str, chain: Chain, number: int) -> Move:
    holder = _wealth(rng, chain, number, rng.randint(125, 160) * WAD // 100 if kind != BOOST else 2 * WAD)
    share = rng.randint(5, 95)
    slack = rng.choice([0, 5, 50])
    if kind == DEBT:
        other = rng.choice([one for one in SYMBOLS if one not in (holder.collateral, holder.debt, "wstETH")])
        amount = ALL_OF_IT if rng.random() < 0.3 else holder.owed() * share // 100
        asked = move(kind, holder, other, amount, slack_bps=max(slack, 5))
    elif kind == COLLATERAL:
        other = rng.choice([one for one in SYMBOLS if one not in (holder.collateral, holder.debt, "USDT")])
        worth = holder.supplied() * chain.price(holder.collateral) // chain.token(holder.collateral).unit
        asked = move(
            kind, holder, other, worth * share // 100 * chain.token(other).unit // chain.price(other), slack_bps=slack
        )
    else:
        asked = move(kind, holder, holder.debt, holder.supplied() * share // 1_000, slack_bps=slack)
    return asked


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_each_does_what_it_says_to_the_wei(market: Chain, helper: Helper, kind: str) -> None:
    rng, seen = random.Random(kind), set()
    for number in range(8):
        delegated = number % 2 == 1
        asked = _random_move(rng, kind, market, 300 + number)
        holder, emitter = asked.holder, asked.holder.address if delegated else helper.address
        if delegated:
            assert holder.delegated(helper.address).ok
        else:
            asked.let(helper)
        at = int(market.block()["timestamp"], 16) + 12
        expected = foretell(asked, at, delegated)
        market.rpc("evm_setNextBlockTimestamp", at)
        done: Receipt = holder.signed(asked.data, gas=GAS) if delegated else asked.run(helper)
        assert done.ok, (asked, done.reason)
        outcome = told(kind, done.logs, emitter)
        assert (outcome.used, outcome.paid, outcome.premium) == (expected.used, expected.paid, expected.premium)
        assert outcome.paid <= asked.most
        assert books(market, holder.address) == expected.books, asked
        assert outcome.health_factor == holder.health
        if not delegated:
            assert asked.left(helper) == (0 if kind == COLLATERAL else asked.most - outcome.paid)
            check_nothing_left(market, helper, holder)
        seen.add((delegated, len(asked.path)))
    assert len(seen) > 2


@pytest.mark.parametrize("kind", KINDS)
def test_by_signature_in_one_transaction(market: Chain, helper: Helper, kind: str) -> None:
    asked = usual(kind, market, 320)
    done = transact(market, asked.holder.address, helper.address, asked.signed(helper), gas=GAS)
    assert done.ok, done.reason
    outcome = told(kind, done.logs, helper.address)
    assert outcome.used == asked.amount
    assert outcome.health_factor == asked.holder.health
    assert asked.left(helper) == (0 if kind == COLLATERAL else asked.most - outcome.paid)
    check_nothing_left(market, helper, asked.holder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_handed_in_by_another_still_serves(market_v32: Chain, helper_v32: Helper, kind: str) -> None:
    asked = usual(kind, market_v32, 321)
    data, (v, r, s) = asked.signed(helper_v32), asked.signature(helper_v32)
    name = "permit" if kind == COLLATERAL else "delegationWithSig"
    market_v32.send(
        market_v32.new_account(),
        asked.lets,
        f"{name}(address,address,uint256,uint256,uint8,bytes32,bytes32)",
        *(asked.holder.address, helper_v32.address, asked.most, asked.deadline, v, r, s),
    )
    assert asked.left(helper_v32) == asked.most
    done = transact(market_v32, asked.holder.address, helper_v32.address, data, gas=GAS)
    assert done.ok, done.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_of_another_key_gives_nothing(market_v32: Chain, helper_v32: Helper, kind: str) -> None:
    asked, other = usual(kind, market_v32, 322), Holder(market_v32, 323)
    before = books(market_v32, asked.holder.address)
    refused(market_v32, asked.holder.address, helper_v32.address, asked.signed(helper_v32, other))
    assert books(market_v32, asked.holder.address) == before


def test_a_signature_that_is_too_old_gives_nothing(market_v32: Chain, helper_v32: Helper) -> None:
    asked = usual(BOOST, market_v32, 324)
    asked = asked.changed(deadline=int(market_v32.block()["timestamp"], 16) + 30)
    data = asked.signed(helper_v32)
    market_v32.advance(60)
    assert "too late" in refused(market_v32, asked.holder.address, helper_v32.address, data)
    assert asked.left(helper_v32) == 0


def test_a_debt_token_tells_all_that_a_signature_needs(market: Chain) -> None:
    for token in market.market.tokens.values():
        facts = facts_of(market, token.v_token, Holder(market, 325))
        assert (facts.version, facts.nonce) == ("1", 0)


def test_all_of_a_debt(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 326).borrow_to(13 * WAD // 10)
    market.advance(30 * 86_400)
    asked = move(DEBT, holder, "DAI", ALL_OF_IT)
    asked.let(helper)
    done = asked.run(helper)
    assert done.ok, done.reason
    assert holder.owed("USDC") == 0
    assert holder.owed("DAI") >= told(DEBT, done.logs, helper.address).paid
    assert not market.balance("USDC", holder.address)
    assert not market.balance("DAI", holder.address)
    check_nothing_left(market, helper, holder)


def test_more_than_is_owed_is_neither_bought_nor_kept(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 327).borrow_to(13 * WAD // 10)
    owed = holder.owed()
    asked = move(DEBT, holder, "DAI", owed * 2)
    asked.let(helper)
    done = asked.run(helper)
    assert done.ok, done.reason
    outcome = told(DEBT, done.logs, helper.address)
    assert owed <= outcome.used < owed + 10**6
    assert outcome.premium == premium_of(owed * 2)
    assert outcome.paid < asked.most * 51 // 100
    assert holder.owed("USDC") == 0
    check_nothing_left(market, helper, holder)


def _between(chain: Chain, first: str, *rest: int | str) -> bytes:
    parts: tuple[int | str, ...] = (first, *rest)
    return b"".join(
        one.to_bytes(3, "big") if isinstance(one, int) else bytes.fromhex(chain.token(one).address[2:]) for one in parts
    )


@pytest.mark.parametrize("rest", [(500, "USDC"), (500, "DAI", 100, "USDC"), (500, "WBTC", 500, "USDC")])
def test_boost_through_pools_in_a_row(market: Chain, helper: Helper, rest: tuple[int | str, ...]) -> None:
    holder = Holder(market, 328).borrow_to(2 * WAD)
    path = _between(market, "WETH", *rest)
    asked = move(BOOST, holder, "USDC", market.units("WETH", 2), path, slack_bps=0)
    asked.let(helper)
    done = asked.run(helper)
    assert done.ok, done.reason
    outcome = told(BOOST, done.logs, helper.address)
    assert outcome.paid == asked.most
    assert asked.left(helper) == 0
    check_nothing_left(market, helper, holder)


def test_three_pools_on_the_way_to_a_debt(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 329, "WBTC", "USDT").borrow_to(16 * WAD // 10)
    path = _between(market, "USDT", 100, "USDC", 100, "DAI", 500, "WETH")
    asked = move(DEBT, holder, "WETH", ALL_OF_IT, path)
    asked.let(helper)
    done = asked.run(helper)
    assert done.ok, done.reason
    assert holder.owed("USDT") == 0
    check_nothing_left(market, helper, holder)


def test_a_leverage_on_staked_ether_in_its_e_mode(market: Chain, helper: Helper) -> None:
    """The trade that boosts are made for: far beyond what the loan-to-value outside the e-mode would bear."""
    holder = Holder(market, 330, "wstETH", "WETH")
    market.set_emode(holder.address, 1)
    supplied = holder.supplied()
    asked = move(BOOST, holder, "WETH", supplied * 7, slack_bps=20)
    done = transact(market, holder.address, helper.address, asked.signed(helper), gas=GAS)
    assert done.ok, done.reason
    assert holder.supplied() == pytest.approx(supplied * 8, rel=1e-5)
    assert WAD < holder.health < 11 * WAD // 10
    down = replace(
        holder.order(), amount=ALL_OF_IT, max_sold=supplied * 72 // 10, min_health=WAD, path=holder.path(100)
    )
    holder.approve(helper, down.max_sold)
    done = holder.call(helper, down)
    assert done.ok, done.reason
    assert holder.owed() == 0


def test_what_is_not_sold_goes_to_the_owner_where_the_pool_takes_no_more(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 331).borrow_to(15 * WAD // 10)
    asked = move(COLLATERAL, holder, "WBTC", market.units("WBTC", "0.3"), slack_bps=500)
    asked.let(helper)
    market.send(OWNER, market.market.configurator, "setReserveFreeze(address,bool)", market.token("WETH").address, True)
    done = asked.run(helper)
    assert done.ok, done.reason
    outcome = told(COLLATERAL, done.logs, helper.address)
    assert market.balance("WETH", holder.address) == pytest.approx(asked.most - outcome.paid, abs=2)
    check_nothing_left(market, helper, holder)


def test_supplies_that_do_not_count_are_caught_by_the_floor(market: Chain, helper: Helper) -> None:
    """Who has said that a token shall not be collateral: the helper cannot change it, so health falls."""
    holder = Holder(market, 332)
    market.supply(holder.address, "DAI", market.units("DAI", 100))
    market.set_collateral(holder.address, "DAI", False)
    holder.borrow_to(15 * WAD // 10)
    asked = move(COLLATERAL, holder, "DAI", market.units("DAI", 30_000), min_health=14 * WAD // 10)
    asked.let(helper)
    assert "health under the floor" in refused(market, holder.address, helper.address, asked.data)
    market.set_collateral(holder.address, "DAI", True)
    done = asked.run(helper)
    assert done.ok, done.reason


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_market_refuses_is_refused_whole(market_v32: Chain, helper_v32: Helper, kind: str) -> None:
    """A frozen token can neither be supplied nor borrowed."""
    asked = usual(kind, market_v32, 333)
    asked.let(helper_v32)
    symbol = asked.given if kind == DEBT else asked.loaned
    before = books(market_v32, asked.holder.address)
    market_v32.send(
        OWNER, market_v32.market.configurator, "setReserveFreeze(address,bool)", market_v32.token(symbol).address, True
    )
    refused(market_v32, asked.holder.address, helper_v32.address, asked.data)
    assert books(market_v32, asked.holder.address) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_of_a_simulated_call_is_what_then_happens(market_v32: Chain, helper_v32: Helper, kind: str) -> None:
    asked = usual(kind, market_v32, 334)
    asked.let(helper_v32)
    request = {"from": asked.holder.address, "to": helper_v32.address, "data": "0x" + asked.data.hex()}
    answer = market_v32.rpc("eth_call", request, "latest")[2:]
    used, paid, health = (int(answer[start : start + 64], 16) for start in (0, 64, 128))
    done = asked.run(helper_v32)
    outcome = told(kind, done.logs, helper_v32.address)
    assert (outcome.used, outcome.paid) == (used, paid)
    assert outcome.health_factor == pytest.approx(health, rel=1e-7)


@pytest.mark.parametrize(
    ("kind", "collateral", "debt", "other"),
    [
        (COLLATERAL, "USDT", "WETH", "DAI"),
        (DEBT, "WETH", "USDT", "DAI"),
        (DEBT, "WETH", "DAI", "USDT"),
        (BOOST, "WETH", "USDT", "USDT"),
        (BOOST, "DAI", "USDT", "USDT"),
    ],
)
def test_tokens_that_return_nothing(
    market: Chain, helper: Helper, kind: str, collateral: str, debt: str, other: str
) -> None:
    """And whose allowances must go through zero, as the most used dollar's."""
    holder = Holder(market, 335, collateral, debt).borrow_to(16 * WAD // 10)
    loaned = debt if kind == DEBT else other if kind == COLLATERAL else collateral
    amount = 2_000 * 10**8 * market.token(loaned).unit // market.price(loaned)
    asked = move(kind, holder, other, amount)
    turn_hostile(market, "USDT", silent=True)
    asked.let(helper)
    done = asked.run(helper)
    assert done.ok, done.reason
    assert told(kind, done.logs, helper.address).used == amount
    check_nothing_left(market, helper, holder)


def test_there_and_back_again(market: Chain, helper: Helper) -> None:
    """Boost, then deleverage by what was supplied: the position is as it was but for what the two cost."""
    holder = Holder(market, 336).borrow_to(18 * WAD // 10)
    before, owed = holder.health, holder.owed()
    up = move(BOOST, holder, "USDC", market.units("WETH", 5))
    up.let(helper)
    done = up.run(helper)
    assert done.ok, done.reason
    paid = told(BOOST, done.logs, helper.address).paid
    assert holder.health < before
    path = holder.path()
    most = quote(market, path, paid + premium_of(paid)) * 1_001 // 1_000
    down = replace(holder.order(), amount=paid, max_sold=most, min_health=0)
    holder.approve(helper, most)
    assert holder.call(helper, down).ok
    assert holder.owed() == pytest.approx(owed, rel=1e-6)
    # Two premiums and two pool fees, 20 basis points in all of five WETH, and what the impact takes.
    assert before * 9_990 // 10_000 < holder.health < before


def test_routes_lead_from_the_loan_to_what_is_sold(market_v32: Chain) -> None:
    for first in SYMBOLS:
        for last in SYMBOLS:
            if first != last:
                assert (len(route(market_v32, first, last)) - 20) // 23 <= 3
