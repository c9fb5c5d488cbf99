"""The helper as an account's delegate: only the account may call it, and to all others it stays a plain account."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak

from tests.contracts.conftest import make, turn_hostile
from tests.contracts.test_attacks import LOAN, LOANS, OPERATION, _arm, _data, _params, _state
from tests.contracts.test_deleverage import told
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, code_at, refused, transact
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import ALL_OF_IT, Helper, delegate_of, deleverage_data

pytestmark = [pytest.mark.node]

VALID, INVALID = "0x1626ba7e", "0xffffffff"


def _allowances(chain: Chain, account: str) -> list[int]:
    return [
        int(chain.call(token.address, "allowance(address,address)", ["uint256"], account, spender))
        for token in chain.market.tokens.values()
        for spender in (chain.market.pool, chain.market.router02)
    ]


def test_one_transaction_delegates_and_deleverages(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 70).borrow_to()
    order = holder.order()
    done = holder.delegated(helper.address, deleverage_data(order))
    assert done.ok, done.reason
    assert 149 * WAD // 100 <= holder.health <= 151 * WAD // 100
    repaid, sold, _, health = told(done.logs, holder.address)
    assert (repaid, health) == (order.amount, holder.health)
    assert sold <= order.max_sold
    assert market.balance("WETH", holder.address) == 0
    assert market.balance("USDC", holder.address) == 0
    assert not any(_allowances(market, holder.address))
    assert code_at(market, holder.address) == helper.delegation
    assert delegate_of(code_at(market, holder.address)) == helper.address


def test_once_delegated_a_plain_transaction_is_enough_until_it_is_taken_away(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 71).borrow_to()
    assert holder.delegated(helper.address).ok
    order = holder.order(130)
    done = holder.signed(deleverage_data(order))
    assert done.ok, done.reason
    assert holder.health >= order.min_health
    assert holder.undelegated().ok
    assert code_at(market, holder.address) == b""
    before = _state(holder)
    assert holder.signed(deleverage_data(holder.order(150))).ok, "a plain account takes any call and does nothing"
    assert _state(holder) == before


def test_a_delegation_outlives_a_call_that_reverts(market_v32: Chain, helper_v32: Helper) -> None:
    """The authorization is taken before the call and kept whatever becomes of it: so it must be looked for."""
    holder = Holder(market_v32, 69).borrow_to()
    done = holder.delegated(helper_v32.address, deleverage_data(holder.order(min_health=160 * WAD // 100)))
    assert not done.ok
    assert code_at(market_v32, holder.address) == helper_v32.delegation
    assert holder.undelegated().ok
    assert delegate_of(code_at(market_v32, holder.address)) is None


def test_the_wallet_is_not_touched(market: Chain, helper: Helper) -> None:
    """What the account holds of both tokens stays to the wei, and allowances that stood do not survive."""
    holder = Holder(market, 72).borrow_to()
    for symbol in ("USDC", "WETH"):
        market.give(symbol, 123_456_789, holder.address)
    market.approve(holder.address, "WETH", market.market.router02)
    market.approve(holder.address, "USDC", market.market.pool, 5)
    done = holder.delegated(helper.address, deleverage_data(holder.order()))
    assert done.ok, done.reason
    assert market.balance("USDC", holder.address) == 123_456_789
    assert market.balance("WETH", holder.address) == 123_456_789
    assert not any(_allowances(market, holder.address))


def test_all_of_the_debt_and_the_rest_stays_supplied(market: Chain, helper: Helper) -> None:
    holder = Holder(market, 73).borrow_to()
    order = replace(holder.order(), amount=ALL_OF_IT, max_sold=holder.supplied() * 81 // 100)
    supplied = holder.supplied()
    done = holder.delegated(helper.address, deleverage_data(order))
    assert done.ok, done.reason
    assert holder.owed() == 0
    sold = told(done.logs, holder.address)[1]
    assert abs(supplied - sold - holder.supplied()) < supplied // 10**6
    assert market.balance("WETH", holder.address) == 0


def test_the_floor_and_the_limit_hold(market_v32: Chain, helper_v32: Helper) -> None:
    holder = Holder(market_v32, 74).borrow_to()
    assert holder.delegated(helper_v32.address).ok
    before = _state(holder)
    order = holder.order()
    assert "floor" in holder.signed(deleverage_data(replace(order, min_health=151 * WAD // 100))).reason
    low = replace(order, max_sold=order.max_sold * 98 // 100, min_health=0)
    assert not holder.signed(deleverage_data(low)).ok
    assert _state(holder) == before


def test_others_cannot_call_the_account(market_v32: Chain, helper_v32: Helper) -> None:
    chain, helper = market_v32, helper_v32
    victim = Holder(chain, 75).borrow_to()
    assert victim.delegated(helper.address).ok
    before = _state(victim)
    stranger, usdc = chain.new_account(), chain.token("USDC").address
    order = victim.order()
    assert "not the account" in refused(chain, stranger, victim.address, deleverage_data(order))
    permitted = victim.signed_permit(helper, order)
    assert "not the account" in refused(chain, stranger, victim.address, permitted)
    for initiator in (victim.address, stranger):
        data = _data(calldata(OPERATION, usdc, 10**9, 0, initiator, _params(chain, victim)))
        assert "not the pool" in refused(chain, stranger, victim.address, data)
    data = _data(calldata(LOAN, victim.address, usdc, 10**9, _params(chain, victim), 0))
    assert "not our loan" in refused(chain, stranger, chain.market.pool, data)
    assert "no loan was asked for" in refused(chain, victim.address, chain.market.pool, data)
    several = _data(calldata(LOANS, victim.address, [usdc], [10**9], [0], victim.address, b"", 0))
    refused(chain, stranger, chain.market.pool, several)
    assert _state(victim) == before


def test_another_delegated_account_is_another_account(market_v32: Chain, helper_v32: Helper) -> None:
    """Two accounts with the same delegate cannot reach into one another, nor the helper into them."""
    chain, helper = market_v32, helper_v32
    victim, thief = Holder(chain, 76).borrow_to(), Holder(chain, 77).borrow_to()
    assert victim.delegated(helper.address).ok
    assert thief.delegated(helper.address).ok
    before = _state(victim)
    assert "not the account" in refused(chain, thief.address, victim.address, deleverage_data(victim.order()))
    done = transact(chain, thief.address, helper.address, deleverage_data(thief.order()))
    assert not done.ok, "an account without an approval got something out of the helper"
    assert _state(victim) == before


def test_a_token_that_calls_back_gets_nothing(market_v32: Chain, helper_v32: Helper) -> None:
    chain, helper = market_v32, helper_v32
    victim = Holder(chain, 78, "wstETH", "USDT").borrow_to()
    accomplice = make(chain, "Accomplice", [])
    tries = _arm(chain, helper, victim, accomplice, victim.address)
    turn_hostile(chain, "USDT", accomplice)
    order = replace(victim.order(), path=victim.path(100, "USDC", 500, "WETH", 100))
    done = victim.delegated(helper.address, deleverage_data(order), gas=12_000_000)
    assert done.ok, done.reason
    assert chain.call(accomplice, "tried()", ["uint256"]) >= tries
    assert chain.call(accomplice, "won()", ["uint256"]) == 0
    assert victim.health >= 149 * WAD // 100
    assert not any(_allowances(chain, victim.address))


def test_a_debt_that_takes_a_fee_does_not_eat_the_wallet(market_v32: Chain, helper_v32: Helper) -> None:
    holder = Holder(market_v32, 79, "WETH", "DAI").borrow_to()
    market_v32.give("DAI", market_v32.units("DAI", 100_000), holder.address)
    order = replace(holder.order(), min_health=0)
    turn_hostile(market_v32, "DAI", fee_bps=10)
    done = holder.delegated(helper_v32.address, deleverage_data(order))
    assert "loaned token lost" in done.reason
    assert market_v32.balance("DAI", holder.address) == market_v32.units("DAI", 100_000)


def test_it_goes_on_taking_ether_and_safe_transfers(market_v32: Chain, helper_v32: Helper) -> None:
    chain = market_v32
    holder = Holder(chain, 80)
    assert holder.delegated(helper_v32.address).ok
    stranger, before = chain.new_account(), chain.ether(holder.address)
    assert transact(chain, stranger, holder.address, b"", value=5).ok
    assert transact(chain, stranger, holder.address, b"\1\2\3\4\5", value=5).ok
    payer = make(chain, "Accomplice", [])
    chain.set_ether(payer, WAD)
    chain.send(OWNER, payer, "pay(address,uint256)", holder.address, 7)
    assert chain.ether(holder.address) == before + 17
    received = {
        "onERC721Received(address,address,uint256,bytes)": (stranger, stranger, 1, b"x" * 100),
        "onERC1155Received(address,address,uint256,uint256,bytes)": (stranger, stranger, 1, 2, b""),
        "onERC1155BatchReceived(address,address,uint256[],uint256[],bytes)": (stranger, stranger, [1] * 40, [2], b""),
    }
    for signature, arguments in received.items():
        answer = chain.rpc("eth_call", {"to": holder.address, "data": calldata(signature, *arguments)}, "latest")
        assert answer == "0x" + (keccak(text=signature)[:4] + bytes(28)).hex()
        with pytest.raises(Exception, match="nothing is kept here"):
            chain.rpc("eth_call", {"to": helper_v32.address, "data": calldata(signature, *arguments)}, "latest")


def test_its_signatures_stay_valid(market_v32: Chain, helper_v32: Helper) -> None:
    """Contracts ask an account with code whether a signature is its own: it is if the key made it."""
    chain = market_v32
    holder = Holder(chain, 81)
    assert holder.delegated(helper_v32.address).ok
    digest = keccak(text="anything")
    signed = holder.key.unsafe_sign_hash(digest)
    high = (0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - signed.s).to_bytes(32, "big")
    twin = bytes(signed.signature[:32]) + high + bytes([55 - signed.v])
    stranger = Account.from_key(keccak(text="another key")).unsafe_sign_hash(digest)
    asked = [
        (holder.address, digest, bytes(signed.signature), VALID),
        (holder.address, keccak(text="something else"), bytes(signed.signature), INVALID),
        (holder.address, digest, bytes(stranger.signature), INVALID),
        (holder.address, digest, twin, INVALID),
        (holder.address, digest, bytes(signed.signature[:64]), INVALID),
        (holder.address, digest, bytes(65), INVALID),
        (holder.address, digest, b"", INVALID),
        (helper_v32.address, digest, bytes(signed.signature), INVALID),
    ]
    for account, hashed, signature, expected in asked:
        data = "0x1626ba7e" + encode(["bytes32", "bytes"], [hashed, signature]).hex()
        answer = chain.rpc("eth_call", {"to": account, "data": data}, "latest")
        assert answer == expected + "0" * 56
