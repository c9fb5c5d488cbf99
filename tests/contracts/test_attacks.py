"""The helper under attack: strangers, false loans, hostile tokens, wrong paths, floors and limits that do not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from eth_abi.abi import encode

from tests.contracts.conftest import make, turn_hostile
from tests.contracts.test_deleverage import check_nothing_left
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, refused, transact
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import DELEVERAGE, Helper, Order, deleverage_data

pytestmark = [pytest.mark.node]

UINT256_MAX = 2**256 - 1
OPERATION = "executeOperation(address,uint256,uint256,address,bytes)"
LOAN = "flashLoanSimple(address,address,uint256,bytes,uint16)"
LOANS = "flashLoan(address,address[],uint256[],uint256[],address,bytes,uint16)"


def _data(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def _params(chain: Chain, victim: Holder) -> bytes:
    """What the helper sends itself through the pool, as a thief would forge it."""
    path = victim.path()
    types = ["address", "address", "uint256", "bytes"]
    token = chain.token("WETH")
    return encode(types, [token.address, token.a_token, 10**18, path])


@pytest.fixture
def victim(market_v32: Chain, helper_v32: Helper) -> Holder:
    """Someone who has given the helper an allowance without end."""
    holder = Holder(market_v32, 50).borrow_to()
    holder.approve(helper_v32, UINT256_MAX)
    return holder


def _state(holder: Holder) -> tuple[int, int, int, int]:
    chain, at = holder.chain, holder.address
    return (
        int(chain.call(chain.token("WETH").a_token, "scaledBalanceOf(address)", ["uint256"], at)),
        int(chain.call(chain.token("USDC").v_token, "scaledBalanceOf(address)", ["uint256"], at)),
        chain.balance("WETH", at),
        chain.balance("USDC", at),
    )


def test_a_stranger_acts_for_nobody_but_himself(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    before = _state(victim)
    stranger = market_v32.new_account()
    market_v32.give("USDC", market_v32.units("USDC", 1_000_000), stranger)
    refused(market_v32, stranger, helper_v32.address, deleverage_data(victim.order()))
    assert _state(victim) == before


def test_nobody_hands_over_a_loan_but_the_pool(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    before = _state(victim)
    usdc, stranger = market_v32.token("USDC").address, market_v32.new_account()
    for initiator in (helper_v32.address, stranger, victim.address):
        for sender in (stranger, victim.address, OWNER):
            data = _data(calldata(OPERATION, usdc, 10**9, 0, initiator, _params(market_v32, victim)))
            assert "not the pool" in refused(market_v32, sender, helper_v32.address, data)
    assert _state(victim) == before


def test_a_loan_that_another_asked_for_is_refused(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    before = _state(victim)
    usdc, stranger = market_v32.token("USDC").address, market_v32.new_account()
    for sender in (stranger, victim.address):
        data = _data(calldata(LOAN, helper_v32.address, usdc, 10**9, _params(market_v32, victim), 0))
        assert "not our loan" in refused(market_v32, sender, market_v32.market.pool, data)
        several = _data(calldata(LOANS, helper_v32.address, [usdc], [10**9], [0], helper_v32.address, b"", 0))
        assert "nothing is kept here" in refused(market_v32, sender, market_v32.market.pool, several)
    assert _state(victim) == before


def test_even_the_pool_cannot_start_it(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    """If a bug of the pool could make it name the helper as the one who asked: no loan was asked for."""
    usdc = market_v32.token("USDC").address
    pool = market_v32.market.pool
    market_v32.set_ether(pool, WAD)
    data = _data(calldata(OPERATION, usdc, 10**9, 0, helper_v32.address, _params(market_v32, victim)))
    assert "no loan was asked for" in refused(market_v32, pool, helper_v32.address, data)


def test_a_helper_of_a_false_pool_stands_elsewhere(market_v32: Chain, helper_v32: Helper) -> None:
    false = make(market_v32, "Accomplice", [])
    other = Helper(false.lower(), helper_v32.router)
    assert other.address != helper_v32.address
    assert other.code_hash != helper_v32.code_hash


def test_the_floor_holds(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    before = _state(victim)
    order = replace(victim.order(), min_health=151 * WAD // 100)
    data = deleverage_data(order)
    assert "health under the floor" in refused(market_v32, victim.address, helper_v32.address, data)
    assert _state(victim) == before


def test_the_limit_of_the_sale_holds(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    before = _state(victim)
    order = victim.order()
    order = replace(order, max_sold=order.max_sold * 98 // 100, min_health=0)
    reason = refused(market_v32, victim.address, helper_v32.address, deleverage_data(order))
    assert "STF" in reason, "the router was allowed to take more than the limit"
    assert _state(victim) == before


def test_the_limit_holds_whatever_strangers_leave_in_the_helper(
    market_v32: Chain, helper_v32: Helper, victim: Holder
) -> None:
    """aTokens that someone sent it come out with the victim's, and are not sold beyond the limit."""
    giver = Holder(market_v32, 56)
    market_v32.send(
        giver.address, market_v32.token("WETH").a_token, "transfer(address,uint256)", helper_v32.address, WAD
    )
    before, order = _state(victim), victim.order()
    order = replace(order, max_sold=order.max_sold * 98 // 100, min_health=0)
    refused(market_v32, victim.address, helper_v32.address, deleverage_data(order))
    assert _state(victim) == before


def test_a_market_moved_before_it_is_refused(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    """A sandwich: someone dumps a third of the pool's WETH first."""
    before = _state(victim)
    thief = market_v32.new_account(ether=30_000)
    amount = market_v32.units("WETH", 10_000)
    market_v32.give("WETH", amount, thief)
    market_v32.approve(thief, "WETH", market_v32.market.router02)
    weth, usdc = market_v32.token("WETH").address, market_v32.token("USDC").address
    swap = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
    market_v32.send(thief, market_v32.market.router02, swap, (weth, usdc, 500, thief, amount, 0, 0))
    refused(market_v32, victim.address, helper_v32.address, deleverage_data(victim.order()))
    assert _state(victim) == before


def test_a_deadline_is_a_deadline(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    order = replace(victim.order(), deadline=int(market_v32.block()["timestamp"], 16))
    market_v32.advance(60)
    assert "too late" in refused(market_v32, victim.address, helper_v32.address, deleverage_data(order))


def _raw(order: Order, pools: int, path: bytes, max_sold: int | None = None) -> bytes:
    """Calldata of an order that the builder would refuse."""
    words = [int(order.debt, 16), int(order.collateral, 16), order.amount]
    words += [order.max_sold if max_sold is None else max_sold, order.min_health, order.deadline, pools]
    return DELEVERAGE + b"".join(word.to_bytes(32, "big") for word in words) + path.ljust(96, b"\0")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda o: _raw(o, 0, o.path), "one to three pools"),
        (lambda o: _raw(o, 4, o.path), "one to three pools"),
        (lambda o: _raw(o, UINT256_MAX, o.path), "one to three pools"),
        (lambda o: _raw(o, 2, o.path), "path ends with another token"),
        (lambda o: _raw(o, 1, o.path[23:] + o.path[20:23] + o.path[:20]), "path starts with another token"),
        (lambda o: _raw(o, 1, o.path[:23] + b"\7" * 20), "path ends with another token"),
        (lambda o: _raw(o, 1, o.path[:20] + (123).to_bytes(3, "big") + o.path[23:]), ""),
        (lambda o: _raw(replace(o, collateral=o.debt), 1, o.path[:23] + o.path[:20]), "nothing to swap"),
        (lambda o: _raw(o, 1, o.path, UINT256_MAX), "no limit"),
    ],
)
def test_wrong_orders(
    market_v32: Chain, helper_v32: Helper, victim: Holder, change: Callable[[Order], bytes], reason: str
) -> None:
    before = _state(victim)
    assert reason in refused(market_v32, victim.address, helper_v32.address, change(victim.order()))
    assert _state(victim) == before


def test_tokens_that_the_market_does_not_know(market_v32: Chain, helper_v32: Helper, victim: Holder) -> None:
    alien = make(market_v32, "Accomplice", []).lower()
    order = victim.order()
    fee = (500).to_bytes(3, "big")
    debt, unknown = bytes.fromhex(order.debt[2:]), bytes.fromhex(alien[2:])
    sells = replace(order, collateral=alien, path=debt + fee + unknown)
    assert "not in this market" in refused(market_v32, victim.address, helper_v32.address, deleverage_data(sells))
    owes = replace(order, debt=alien, path=unknown + fee + order.path[-20:])
    refused(market_v32, victim.address, helper_v32.address, deleverage_data(owes))


def test_the_helper_takes_no_ether(market_v32: Chain, helper_v32: Helper) -> None:
    stranger = market_v32.new_account()
    assert not transact(market_v32, stranger, helper_v32.address, b"", value=1).ok
    order = Holder(market_v32, 51).borrow_to().order()
    assert not transact(market_v32, stranger, helper_v32.address, deleverage_data(order), value=1).ok
    assert market_v32.ether(helper_v32.address) == 0


# -- hostile tokens


def _arm(chain: Chain, helper: Helper, victim: Holder, accomplice: str, account: str) -> int:
    """Tell the accomplice all that could be tried in the middle of the victim's order; how many that is."""
    order = deleverage_data(victim.order())
    params = _params(chain, victim)
    usdc, weth = chain.token("USDC"), chain.token("WETH")
    take = "transferFrom(address,address,uint256)"
    plans = [
        (account, order),
        (account, _data(calldata(OPERATION, usdc.address, 10**9, 0, account, params))),
        (chain.market.pool, _data(calldata(LOAN, account, usdc.address, 10**9, params, 0))),
        (chain.market.pool, _data(calldata("withdraw(address,uint256,address)", weth.address, 10**15, accomplice))),
        (weth.a_token, _data(calldata(take, victim.address, accomplice, 10**15))),
        (weth.a_token, _data(calldata(take, account, accomplice, 10**15))),
        (usdc.address, _data(calldata(take, account, accomplice, 1))),
        (weth.address, _data(calldata(take, account, accomplice, 1))),
    ]
    for target, data in plans:
        chain.send(OWNER, accomplice, "plan(address,bytes)", target, data)
    return len(plans)


@pytest.mark.parametrize("hostile", ["USDT", "wstETH", "USDC"])
def test_a_token_that_calls_back_gets_nothing(market_v32: Chain, helper_v32: Helper, hostile: str) -> None:
    """As the debt, as the collateral and on the way between: all that it tries fails, the order is done as always."""
    chain, helper = market_v32, helper_v32
    victim = Holder(chain, 52, "wstETH", "USDT").borrow_to()
    victim.approve(helper, UINT256_MAX)
    accomplice = make(chain, "Accomplice", [])
    tries = _arm(chain, helper, victim, accomplice, helper.address)
    turn_hostile(chain, hostile, accomplice)
    order = replace(victim.order(), path=victim.path(100, "USDC", 500, "WETH", 100))
    done = transact(chain, victim.address, helper.address, deleverage_data(order), gas=12_000_000)
    assert done.ok, done.reason
    assert chain.call(accomplice, "tried()", ["uint256"]) >= tries
    assert chain.call(accomplice, "won()", ["uint256"]) == 0
    assert victim.health >= 149 * WAD // 100
    for token in chain.market.tokens.values():
        assert chain.balance(token.symbol, accomplice) == 0
    victim.approve(helper, 0)
    check_nothing_left(chain, helper, victim)


def test_nobody_gets_in_while_another_is_served(market_v32: Chain, helper_v32: Helper) -> None:
    """An order that is good by itself is refused in the middle of another's: nothing of two owners ever mixes."""
    chain, helper = market_v32, helper_v32
    victim = Holder(chain, 55, "WETH", "USDT").borrow_to()
    order = replace(victim.order(), path=victim.path(100, "USDC", 500))
    victim.approve(helper, order.max_sold)
    accomplice = make(chain, "Accomplice", [])
    chain.set_ether(accomplice, 1_000 * WAD)
    chain.supply(accomplice, "WETH", 10 * WAD)
    chain.borrow(accomplice, "USDC", chain.units("USDC", 15_000))
    chain.send(accomplice, chain.token("WETH").a_token, "approve(address,uint256)", helper.address, UINT256_MAX)
    usdc, weth = (chain.token(one).address.lower() for one in ("USDC", "WETH"))
    path = bytes.fromhex(usdc[2:]) + (500).to_bytes(3, "big") + bytes.fromhex(weth[2:])
    own = Order(usdc, weth, chain.units("USDC", 5_000), 2 * WAD, WAD, 2**40, path)
    chain.send(OWNER, accomplice, "plan(address,bytes)", helper.address, deleverage_data(own))
    turn_hostile(chain, "USDT", accomplice)
    done = transact(chain, victim.address, helper.address, deleverage_data(order), gas=12_000_000)
    assert done.ok, done.reason
    assert chain.call(accomplice, "tried()", ["uint256"]) > 0
    assert chain.call(accomplice, "won()", ["uint256"]) == 0
    assert transact(chain, OWNER, accomplice, calldata("strike()")).ok
    assert chain.call(accomplice, "won()", ["uint256"]) == 1, "the order was not good by itself"


def test_what_turns_up_on_the_way_goes_to_the_owner(market_v32: Chain, helper_v32: Helper) -> None:
    """More of the debt's token than the loan needs: nothing of it stays in the helper."""
    chain, helper = market_v32, helper_v32
    holder = Holder(chain, 57).borrow_to()
    order = holder.order()
    holder.approve(helper, order.max_sold)
    giver = make(chain, "Accomplice", [])
    chain.give("USDC", 10**9, giver)
    gift = _data(calldata("transfer(address,uint256)", helper.address, 777))
    chain.send(OWNER, giver, "plan(address,bytes)", chain.token("USDC").address, gift)
    turn_hostile(chain, "WETH", giver)
    done = transact(chain, holder.address, helper.address, deleverage_data(order), gas=12_000_000)
    assert done.ok, done.reason
    assert chain.balance("USDC", holder.address) == 10**9 - chain.balance("USDC", giver) > 0
    check_nothing_left(chain, helper, holder)


def test_a_collateral_that_takes_a_fee_is_refused(market_v32: Chain, helper_v32: Helper) -> None:
    holder = Holder(market_v32, 53, "wstETH", "USDC").borrow_to()
    order = replace(holder.order(), path=holder.path(500, "WETH", 100), min_health=0)
    holder.approve(helper_v32, order.max_sold)
    turn_hostile(market_v32, "wstETH", fee_bps=10)
    assert "fee on transfer" in refused(market_v32, holder.address, helper_v32.address, deleverage_data(order))


def test_a_debt_that_takes_a_fee_is_refused(market_v32: Chain, helper_v32: Helper) -> None:
    holder = Holder(market_v32, 54, "WETH", "DAI").borrow_to()
    order = replace(holder.order(), min_health=0)
    holder.approve(helper_v32, order.max_sold)
    turn_hostile(market_v32, "DAI", fee_bps=10)
    refused(market_v32, holder.address, helper_v32.address, deleverage_data(order))
