"""Hostile tokens against the helper's other three functions: they call back, take a fee, or are given to it."""

from __future__ import annotations

import pytest

from tests.contracts.conftest import make, turn_hostile
from tests.contracts.reshaping import (
    BOOST,
    COLLATERAL,
    DEBT,
    GAS,
    KINDS,
    Move,
    books,
    move,
    told,
    usual,
)
from tests.contracts.test_attacks import LOAN, OPERATION, _data
from tests.contracts.test_deleverage import check_nothing_left
from tests.contracts.test_reshaping_attacks import CALLBACK, SWAP, UINT256_MAX, market_of, params_of
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, refused, transact
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import Helper

pytestmark = [pytest.mark.node]


def _arm(asked: Move, accomplice: str, account: str) -> int:
    """Tell the accomplice all that could be tried in the middle of the move; how many that is."""
    chain, victim = asked.chain, asked.holder.address
    loaned, given = chain.token(asked.loaned), chain.token(asked.given)
    take, borrow = "transferFrom(address,address,uint256)", "borrow(address,uint256,uint256,uint16,address)"
    ends = bytes.fromhex(given.address[2:])
    plans = [
        (account, asked.data),
        (account, _data(calldata(OPERATION, loaned.address, asked.amount, 0, account, params_of(asked)))),
        (account, _data(calldata(CALLBACK, 10**6, -1, ends))),
        (account, _data(calldata(CALLBACK, 10**6, -1, asked.path))),
        (chain.market.pool, _data(calldata(LOAN, account, loaned.address, 10**6, params_of(asked), 0))),
        (chain.market.pool, _data(calldata(borrow, given.address, 10**6, 2, 0, victim))),
        (given.a_token, _data(calldata(take, victim, accomplice, 10**6))),
        (loaned.a_token, _data(calldata(take, account, accomplice, 1))),
        (loaned.address, _data(calldata(take, account, accomplice, 1))),
        (given.address, _data(calldata(take, account, accomplice, 1))),
        (market_of(chain, "USDT", "USDC"), _data(calldata(SWAP, account, True, 10**6, 4295128740, ends))),
        (market_of(chain, "USDT", "USDC"), _data(calldata("flash(address,uint256,uint256,bytes)", account, 1, 1, b""))),
    ]
    for target, data in plans:
        chain.send(OWNER, accomplice, "plan(address,bytes)", target, data)
    return len(plans)


HOSTILE = [
    (COLLATERAL, "WETH", "USDC", "USDT", "USDT"),
    (COLLATERAL, "USDT", "WETH", "DAI", "USDT"),
    (COLLATERAL, "WETH", "USDT", "DAI", "DAI"),
    (DEBT, "WETH", "USDT", "DAI", "USDT"),
    (DEBT, "WETH", "DAI", "USDT", "USDT"),
    (DEBT, "WETH", "DAI", "USDT", "USDC"),
    (BOOST, "WETH", "USDT", "USDT", "USDT"),
    (BOOST, "USDT", "WETH", "WETH", "USDT"),
    (BOOST, "WBTC", "USDT", "USDT", "USDC"),
]


def _hostile(kind: str, chain: Chain, collateral: str, debt: str, other: str) -> Move:
    holder = Holder(chain, 440, collateral, debt).borrow_to(16 * WAD // 10)
    loaned = debt if kind == DEBT else other if kind == COLLATERAL else collateral
    return move(kind, holder, other, 3_000 * 10**8 * chain.token(loaned).unit // chain.price(loaned))


@pytest.mark.parametrize(("kind", "collateral", "debt", "other", "hostile"), HOSTILE)
@pytest.mark.parametrize("delegated", [False, True])
def test_a_token_that_calls_back_gets_nothing(
    market_v32: Chain,
    helper_v32: Helper,
    kind: str,
    collateral: str,
    debt: str,
    other: str,
    hostile: str,
    delegated: bool,
) -> None:
    """As what is lent, as what is sold and on the way: all that it tries fails, the order is done as always."""
    chain, helper = market_v32, helper_v32
    asked = _hostile(kind, chain, collateral, debt, other)
    account = asked.holder.address if delegated else helper.address
    accomplice = make(chain, "Accomplice", [])
    tries = _arm(asked, accomplice, account)
    if delegated:
        assert asked.holder.delegated(helper.address).ok
    else:
        asked.let(helper, UINT256_MAX)
    turn_hostile(chain, hostile, accomplice)
    if delegated:
        done = asked.holder.signed(asked.data, gas=15_000_000)
    else:
        done = transact(chain, asked.holder.address, helper.address, asked.data, gas=15_000_000)
    assert done.ok, done.reason
    assert told(kind, done.logs, account).used == asked.amount
    assert chain.call(accomplice, "tried()", ["uint256"]) >= tries
    assert chain.call(accomplice, "won()", ["uint256"]) == 0
    for token in chain.market.tokens.values():
        assert chain.balance(token.symbol, accomplice) == 0
        assert chain.call(token.v_token, "balanceOf(address)", ["uint256"], accomplice) == 0
    if not delegated:
        asked.let(helper, 0)
        check_nothing_left(chain, helper, asked.holder)


def test_nobody_gets_in_while_another_is_served(market_v32: Chain, helper_v32: Helper) -> None:
    """Orders that are good by themselves are refused in the middle of another's; and two of one owner in a single
    transaction do not mix either.
    """
    chain, helper = market_v32, helper_v32
    asked = _hostile(DEBT, chain, "WETH", "USDT", "DAI")
    asked.let(helper)
    thief = make(chain, "Accomplice", [])
    chain.set_ether(thief, 1_000 * WAD)
    chain.supply(thief, "WETH", 10 * WAD)
    chain.borrow(thief, "USDC", chain.units("USDC", 9_000))
    for symbol in ("USDC", "DAI"):
        chain.send(
            thief, chain.token(symbol).v_token, "approveDelegation(address,uint256)", helper.address, UINT256_MAX
        )
    usual_of = Holder(chain, 441)
    up = move(BOOST, usual_of, "USDC", WAD)
    over = move(DEBT, Holder(chain, 442).borrow_to(), "DAI", chain.units("USDC", 4_000))
    for one in (up, over, up):
        chain.send(OWNER, thief, "plan(address,bytes)", helper.address, one.data)
    turn_hostile(chain, "USDT", thief)
    done = transact(chain, asked.holder.address, helper.address, asked.data, gas=15_000_000)
    assert done.ok, done.reason
    assert chain.call(thief, "tried()", ["uint256"]) > 0
    assert chain.call(thief, "won()", ["uint256"]) == 0
    done = transact(chain, OWNER, thief, calldata("strike()"), gas=15_000_000)
    assert chain.call(thief, "won()", ["uint256"]) == 3, "the orders were not good by themselves"
    mine = [one for one in done.logs if one["address"].lower() == helper.address]
    paid = [int(one["data"][66:130], 16) for one in mine]
    assert paid[0] == quote_before(up)
    assert paid[0] <= paid[2] <= up.most
    assert paid[1] <= over.most
    check_nothing_left(chain, helper, asked.holder)


def quote_before(asked: Move) -> int:
    """What `move` was quoted, without its slack."""
    return -(-asked.most * 10_000 // 10_050)


FEES = [
    (COLLATERAL, "WETH", "USDC", "DAI", "loaned"),
    (COLLATERAL, "DAI", "USDC", "WETH", "given"),
    (DEBT, "WETH", "DAI", "USDC", "loaned"),
    (DEBT, "WETH", "USDC", "DAI", "given"),
    (BOOST, "DAI", "WETH", "WETH", "loaned"),
    (BOOST, "WETH", "DAI", "DAI", "given"),
]


@pytest.mark.parametrize(("kind", "collateral", "debt", "other", "role"), FEES)
@pytest.mark.parametrize("delegated", [False, True])
def test_tokens_that_take_a_fee_are_refused(
    market_v32: Chain,
    helper_v32: Helper,
    kind: str,
    collateral: str,
    debt: str,
    other: str,
    role: str,
    delegated: bool,
) -> None:
    """And do not eat what the wallet holds of them."""
    chain, helper = market_v32, helper_v32
    asked = _hostile(kind, chain, collateral, debt, other)
    assert getattr(asked, role) == "DAI"
    chain.give("DAI", chain.units("DAI", 1_000_000), asked.holder.address)
    if delegated:
        assert asked.holder.delegated(helper.address).ok
    else:
        asked.let(helper)
    turn_hostile(chain, "DAI", fee_bps=10)
    before = books(chain, asked.holder.address)
    if delegated:
        done = asked.holder.signed(asked.data, gas=GAS)
        assert not done.ok
        reason = done.reason
    else:
        reason = refused(chain, asked.holder.address, helper.address, asked.data)
    assert role == "loaned" or "fee on transfer" in reason
    assert books(chain, asked.holder.address) == before


def test_what_strangers_leave_in_the_helper_changes_nothing(market_v32: Chain, helper_v32: Helper) -> None:
    chain, helper = market_v32, helper_v32
    for symbol in ("WETH", "USDC", "DAI", "WBTC"):
        chain.give(symbol, 777, helper.address)
    giver = Holder(chain, 450)
    chain.send(giver.address, chain.token("WETH").a_token, "transfer(address,uint256)", helper.address, 10**15)
    for number, kind in enumerate(KINDS):
        asked = usual(kind, chain, 451 + number)
        asked.let(helper)
        done = asked.run(helper)
        assert done.ok, done.reason
        assert told(kind, done.logs, helper.address).paid <= asked.most
        for symbol in ("WETH", "USDC", "DAI", "WBTC"):
            assert chain.balance(symbol, helper.address) == 777
            assert chain.balance(symbol, asked.holder.address) == 0
