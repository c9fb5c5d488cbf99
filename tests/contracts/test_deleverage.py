"""The helper at work on real markets: by approval and by permit, through one pool and several, in part and in full."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from tests.contracts.conftest import turn_hostile
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, code_at, refused, transact
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import ALL_OF_IT, DEPLOYER, DEPLOYER_CODE, Helper, Order, deleverage_data
from tui.protocols.aave_v3.math import ray_div, ray_mul

pytestmark = [pytest.mark.node]

DELEVERAGED = "0x" + keccak(text="Deleveraged(address,address,address,uint256,uint256,uint256,uint256)").hex()


def check_nothing_left(chain: Chain, helper: Helper, holder: Holder) -> None:
    """No token of any kind in the helper, no allowance from it or to it."""
    spenders = (chain.market.pool, chain.market.router02, holder.address)
    for token in chain.market.tokens.values():
        for one in (token.address, token.a_token, token.v_token):
            assert chain.call(one, "balanceOf(address)", ["uint256"], helper.address) == 0, token.symbol
        for one in (token.address, token.a_token):
            for owner, spender in [(helper.address, each) for each in spenders] + [(holder.address, helper.address)]:
                allowed = chain.call(one, "allowance(address,address)", ["uint256"], owner, spender)
                assert allowed == 0, (token.symbol, owner, spender)
    assert chain.ether(helper.address) == 0


def told(logs: list[dict[str, object]], helper: str) -> tuple[int, int, int, int]:
    """What the helper's event says: repaid, sold, premium, health factor."""
    (log,) = [one for one in logs if str(one["address"]).lower() == helper.lower()]
    assert isinstance(log["topics"], list)
    assert log["topics"][0] == DELEVERAGED
    data = str(log["data"])[2:]
    words = [int(data[start : start + 64], 16) for start in range(0, 256, 64)]
    return words[0], words[1], words[2], words[3]


def test_it_stands_where_it_was_foretold(market: Chain, helper: Helper) -> None:
    assert code_at(market, DEPLOYER) == DEPLOYER_CODE
    assert code_at(market, helper.address) == helper.code
    assert "0x" + keccak(code_at(market, helper.address)).hex() == helper.code_hash
    assert market.call(helper.address, "HELPER()", ["address"]).lower() == helper.address
    assert market.call(helper.address, "POOL()", ["address"]) == market.market.pool
    assert market.call(helper.address, "ROUTER()", ["address"]) == market.market.router02
    assert not transact(market, OWNER, DEPLOYER, helper.deploy_data).ok, "deployed twice"


def test_by_approval(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 1).borrow_to()
    order = holder.order()
    owed, supplied = holder.owed(), holder.supplied()
    assert holder.health < 106 * WAD // 100
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    assert 149 * WAD // 100 <= holder.health <= 151 * WAD // 100
    repaid, sold, premium, health = told(done.logs, helper.address)
    assert repaid == order.amount
    assert premium == (order.amount * 5 + 5_000) // 10_000
    assert health == holder.health
    assert sold <= order.max_sold
    assert abs(owed - holder.owed() - repaid) < owed // 10**6  # a few seconds of interest
    assert abs(supplied - holder.supplied() - sold) < supplied // 10**6
    assert market.balance("USDC", holder.address) == 0
    assert market.balance("WETH", holder.address) == 0
    check_nothing_left(market, helper, holder)


def test_by_permit_in_one_transaction(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 2).borrow_to()
    order = holder.order()
    done = transact(market, holder.address, helper.address, holder.signed_permit(helper, order))
    assert done.ok, done.reason
    assert 149 * WAD // 100 <= holder.health <= 151 * WAD // 100
    check_nothing_left(market, helper, holder)


def test_a_permit_handed_in_by_another_still_serves(market_v32: Chain, helper_v32: Helper) -> None:
    holder = Holder(market_v32, 3).borrow_to()
    order = holder.order()
    data = holder.signed_permit(helper_v32, order)
    v, r, s = holder.permit(helper_v32.address, order.max_sold, order.deadline)
    signature = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"
    stranger = market_v32.new_account()
    token = market_v32.token("WETH").a_token
    market_v32.send(
        stranger, token, signature, holder.address, helper_v32.address, order.max_sold, order.deadline, v, r, s
    )
    done = transact(market_v32, holder.address, helper_v32.address, data)
    assert done.ok, done.reason
    check_nothing_left(market_v32, helper_v32, holder)


def test_a_permit_of_another_key_gives_nothing(market_v32: Chain, helper_v32: Helper) -> None:
    holder, other = Holder(market_v32, 4).borrow_to(), Holder(market_v32, 5)
    order = holder.order()
    refused(market_v32, holder.address, helper_v32.address, other.signed_permit(helper_v32, order))
    assert holder.health < 106 * WAD // 100


def test_all_of_the_debt(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 6).borrow_to()
    market.advance(86_400)
    order = replace(holder.order(), amount=ALL_OF_IT, max_sold=holder.supplied() * 81 // 100, min_health=10**30)
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    assert holder.owed() == 0
    assert holder.health == 2**256 - 1
    assert told(done.logs, helper.address)[0] > 0
    assert market.balance("USDC", holder.address) == 0
    check_nothing_left(market, helper, holder)
    market.withdraw(holder.address, "WETH")
    assert market.balance("WETH", holder.address) > 0


def test_what_was_borrowed_too_much_is_used_or_given_back(market: Chain, helper: Helper) -> None:
    """An amount above the debt: only what is owed is repaid, and nothing is bought or kept for the rest."""
    holder = Holder(market, 7).borrow_to()
    owed = holder.owed()
    order = replace(holder.order(), amount=owed + 10**9, max_sold=holder.supplied() * 81 // 100)
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    repaid = told(done.logs, helper.address)[0]
    assert owed <= repaid < owed + 10**6
    assert holder.owed() == 0
    assert market.balance("USDC", holder.address) == 0
    check_nothing_left(market, helper, holder)


@pytest.mark.parametrize(
    ("collateral", "debt", "between"),
    [
        ("WETH", "USDC", (100, "DAI", 500)),
        ("wstETH", "USDC", (500, "WETH", 100)),
        ("wstETH", "USDT", (100, "USDC", 500, "WETH", 100)),
        ("WBTC", "DAI", (100, "USDC", 500)),
        ("USDC", "WETH", (500,)),
    ],
)
def test_through_pools_in_a_row(
    market: Chain, helper: Helper, collateral: str, debt: str, between: tuple[int | str, ...]
) -> None:
    holder = Holder(market, 8, collateral, debt).borrow_to(110 * WAD // 100)
    order = replace(holder.order(150), path=holder.path(*between))
    order = replace(order, max_sold=order.max_sold * 101 // 100)
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    assert 148 * WAD // 100 <= holder.health <= 152 * WAD // 100
    check_nothing_left(market, helper, holder)


def test_several_collaterals_and_debts_of_one_position(market: Chain, helper: Helper) -> None:
    """One is sold for one; the others stay as they are and count in the floor."""
    holder = Holder(market, 9)
    market.supply(holder.address, "WBTC", market.units("WBTC", 1))
    market.borrow(holder.address, "DAI", market.units("DAI", 50_000))
    holder.borrow_to()
    before = holder.supplied("WBTC"), holder.owed("DAI")
    order = replace(holder.order(130), min_health=129 * WAD // 100)
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    assert holder.health >= 129 * WAD // 100
    assert (holder.supplied("WBTC"), holder.owed("DAI")) == pytest.approx(before, rel=1e-6)
    assert told(done.logs, helper.address)[3] == holder.health
    check_nothing_left(market, helper, holder)


def test_under_water_is_no_hindrance(market: Chain, helper: Helper) -> None:
    """A position that may be liquidated already can still save itself."""
    holder = Holder(market, 10).borrow_to()
    market.set_price("WETH", 2_800)
    assert holder.health < WAD
    order = replace(holder.order(150), min_health=145 * WAD // 100)
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    assert holder.health >= 145 * WAD // 100


def test_the_rest_goes_to_the_owner_where_the_pool_takes_no_more(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 11).borrow_to()
    order = holder.order()
    order = replace(order, max_sold=order.max_sold * 11 // 10, min_health=120 * WAD // 100)
    holder.approve(helper, order.max_sold)
    market.send(OWNER, market.market.configurator, "setReserveFreeze(address,bool)", market.token("WETH").address, True)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    sold = told(done.logs, helper.address)[1]
    assert market.balance("WETH", holder.address) == pytest.approx(order.max_sold - sold, abs=2)
    check_nothing_left(market, helper, holder)


def test_rounding_of_a_transfer_does_not_stop_it(market: Chain, helper: Helper) -> None:
    """An amount of aTokens that arrives as one unit less, as some do where the index has grown."""
    market.advance(15 * 365 * 86_400)
    holder = Holder(market, 18).borrow_to()
    at = int(market.block()["timestamp"], 16) + 600
    snapshot = market.snapshot()
    market.rpc("evm_setNextBlockTimestamp", at)
    market.mine()
    index = market.call(
        market.market.pool, "getReserveNormalizedIncome(address)", ["uint256"], market.token("WETH").address
    )
    market.revert(snapshot)
    order = holder.order()
    odd = (one for one in range(order.max_sold, order.max_sold + 10_000) if ray_mul(ray_div(one, index), index) < one)
    order = replace(order, max_sold=next(odd))
    holder.approve(helper, order.max_sold)
    market.rpc("evm_setNextBlockTimestamp", at)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    check_nothing_left(market, helper, holder)


def test_what_strangers_send_to_the_helper_changes_nothing(market_v32: Chain, helper_v32: Helper) -> None:
    """Tokens and aTokens left there by someone: the order is done as always and what is held is not touched."""
    market, helper = market_v32, helper_v32
    holder = Holder(market, 12).borrow_to()
    market.give("USDC", 777, helper.address)
    market.give("WETH", 888, helper.address)
    giver = Holder(market, 13)
    market.send(giver.address, market.token("WETH").a_token, "transfer(address,uint256)", helper.address, 10**15)
    order = holder.order()
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    assert told(done.logs, helper.address)[1] <= order.max_sold
    assert market.balance("USDC", helper.address) == 777
    assert market.balance("WETH", helper.address) == 888


def test_a_debt_token_that_returns_nothing(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 14, "WETH", "USDT").borrow_to()
    turn_hostile(market, "USDT", silent=True)
    order = replace(holder.order(), path=holder.path(100, "USDC", 500))
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    assert holder.health >= 149 * WAD // 100
    check_nothing_left(market, helper, holder)


def test_a_collateral_token_that_returns_nothing(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 15, "USDT", "WETH").borrow_to()
    turn_hostile(market, "USDT", silent=True)
    order = replace(holder.order(), path=holder.path(500, "USDC", 100))
    holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    assert holder.health >= 149 * WAD // 100
    check_nothing_left(market, helper, holder)


def test_the_answer_of_a_simulated_call_is_what_then_happens(market_v32: Chain, helper_v32: Helper) -> None:
    market, helper = market_v32, helper_v32
    holder = Holder(market, 16).borrow_to()
    order: Order = holder.order()
    holder.approve(helper, order.max_sold)
    request = {"from": holder.address, "to": helper.address, "data": "0x" + deleverage_data(order).hex()}
    answer = market.rpc("eth_call", request, "latest")[2:]
    repaid, sold, health = (int(answer[start : start + 64], 16) for start in (0, 64, 128))
    done = holder.call(helper, order)
    assert told(done.logs, helper.address)[:2] == (repaid, sold)
    assert holder.health == pytest.approx(health, rel=1e-7)


def test_the_allowance_is_of_the_approved_amount_only(market_v32: Chain, helper_v32: Helper) -> None:
    market, helper = market_v32, helper_v32
    holder = Holder(market, 17).borrow_to()
    order = holder.order()
    holder.approve(helper, order.max_sold - 1)
    refused(market, holder.address, helper.address, deleverage_data(order))
    holder.approve(helper, order.max_sold)
    assert holder.call(helper, order).ok
