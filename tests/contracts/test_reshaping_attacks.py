"""The helper's other three functions under attack: strangers, limits that must hold, others' calls of a delegate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi.abi import encode

from tests.contracts.conftest import make
from tests.contracts.reshaping import (
    BOOST,
    COLLATERAL,
    DEBT,
    GAS,
    KINDS,
    Books,
    Move,
    books,
    premium_of,
    quote,
    told,
    usual,
)
from tests.contracts.test_attacks import LOAN, OPERATION, _data
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, refused, transact
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import Helper

pytestmark = [pytest.mark.node]

UINT256_MAX = 2**256 - 1
DEALS = {COLLATERAL: 1, DEBT: 2, BOOST: 3}
CALLBACK = "uniswapV3SwapCallback(int256,int256,bytes)"
SWAP = "swap(address,bool,int256,uint160,bytes)"
SWAP_IN = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"


def params_of(asked: Move) -> bytes:
    """What the helper sends itself through the pool, as a thief would forge it."""
    token = asked.chain.token(asked.given)
    types = ["uint256", "address", "address", "uint256", "bytes"]
    return encode(types, [DEALS[asked.kind], token.address, token.a_token, asked.most, asked.path])


def market_of(chain: Chain, one: str, other: str) -> str:
    """The address of the Uniswap pool of two tokens."""
    return next(pool.address for pool in chain.market.pools if {pool.symbol0, pool.symbol1} == {one, other})


@pytest.fixture(params=KINDS)
def asked(request: pytest.FixtureRequest, market_v32: Chain, helper_v32: Helper) -> Iterator[Move]:
    """A good move of someone who has let the helper without end; after every attack nothing of his has changed."""
    found = usual(request.param, market_v32, 400)
    found.let(helper_v32, UINT256_MAX)
    before = _kept(found, helper_v32)
    yield found
    assert _kept(found, helper_v32) == before


def _kept(asked: Move, helper: Helper) -> tuple[Books, int]:
    return books(asked.chain, asked.holder.address), asked.left(helper)


def _try(asked: Move, helper: Helper, **changes: Any) -> str:
    changed = asked.changed(**changes)
    return refused(asked.chain, asked.holder.address, helper.address, changed.data)


# -- strangers


def test_a_stranger_acts_for_nobody_but_himself(asked: Move, helper_v32: Helper) -> None:
    chain, stranger = asked.chain, Holder(asked.chain, 401)
    for symbol in (asked.loaned, asked.given):
        chain.give(symbol, chain.units(symbol, 1_000), stranger.address)
    refused(chain, stranger.address, helper_v32.address, asked.data)
    refused(chain, stranger.address, helper_v32.address, asked.signed(helper_v32))


def test_nobody_hands_over_a_loan_but_the_pool(asked: Move, helper_v32: Helper) -> None:
    chain, token, stranger = asked.chain, asked.chain.token(asked.loaned).address, asked.chain.new_account()
    for initiator in (helper_v32.address, stranger, asked.holder.address):
        data = _data(calldata(OPERATION, token, asked.amount, 0, initiator, params_of(asked)))
        for sender in (stranger, asked.holder.address, OWNER):
            assert "not the pool" in refused(chain, sender, helper_v32.address, data)
    loan = _data(calldata(LOAN, helper_v32.address, token, asked.amount, params_of(asked), 0))
    for sender in (stranger, asked.holder.address):
        assert "not our loan" in refused(chain, sender, chain.market.pool, loan)
    chain.set_ether(chain.market.pool, WAD)
    own = _data(calldata(OPERATION, token, asked.amount, 0, helper_v32.address, params_of(asked)))
    assert "no loan was asked for" in refused(chain, chain.market.pool, helper_v32.address, own)


def test_nobody_asks_to_be_paid_but_the_market_that_was_called(asked: Move, helper_v32: Helper) -> None:
    chain, stranger = asked.chain, asked.chain.new_account()
    one = market_of(chain, "WETH", "USDC")
    chain.set_ether(one, WAD)
    ends = bytes.fromhex(chain.token(asked.given).address[2:])
    for data in (ends, asked.path, b""):
        callback = _data(calldata(CALLBACK, 10**6, -1, data))
        for sender in (stranger, asked.holder.address, OWNER, one, chain.market.pool, helper_v32.address):
            chain.set_ether(sender, WAD)
            assert "not our swap" in refused(chain, sender, helper_v32.address, callback)
        chain.set_ether(helper_v32.address, 0)
    # A swap that a stranger makes with the helper as the one who receives asks the stranger to pay, not the helper.
    swap = _data(calldata(SWAP, helper_v32.address, True, 10**6, 4295128740, ends))
    refused(chain, stranger, one, swap)


def test_credit_is_of_no_use_but_through_the_owner(asked: Move, helper_v32: Helper) -> None:
    """The pool lends on the delegation to the helper alone: not to a stranger who names the owner."""
    chain, stranger = asked.chain, asked.chain.new_account()
    borrow = "borrow(address,uint256,uint256,uint16,address)"
    data = _data(calldata(borrow, chain.token(asked.given).address, 10**6, 2, 0, asked.holder.address))
    refused(chain, stranger, chain.market.pool, data)


# -- limits


def test_the_floor_holds(asked: Move, helper_v32: Helper) -> None:
    assert "health under the floor" in _try(asked, helper_v32, min_health=3 * WAD)


def test_the_limit_holds_to_the_unit(market_v32: Chain, helper_v32: Helper) -> None:
    for number, kind in enumerate(KINDS):
        asked = usual(kind, market_v32, 410 + number)
        exact = quote(market_v32, asked.path, asked.amount + premium_of(asked.amount))
        asked = asked.changed(most=exact)
        asked.let(helper_v32, UINT256_MAX)
        reason = _try(asked, helper_v32, most=exact - 1)
        assert ("STF" if kind == COLLATERAL else "borrowed too much") in reason
        done = asked.run(helper_v32)
        assert done.ok, done.reason
        assert told(kind, done.logs, helper_v32.address).paid == exact


def test_credit_is_taken_to_the_unit(market_v32: Chain, helper_v32: Helper) -> None:
    for number, kind in enumerate((DEBT, BOOST)):
        asked = usual(kind, market_v32, 415 + number)
        exact = quote(market_v32, asked.path, asked.amount + premium_of(asked.amount))
        asked.let(helper_v32, exact - 1)
        _try(asked, helper_v32)
        asked.let(helper_v32, exact)
        done = asked.run(helper_v32)
        assert done.ok, done.reason
        assert asked.left(helper_v32) == 0


def test_a_market_moved_before_it_is_refused(market_v32: Chain, helper_v32: Helper) -> None:
    """A sandwich: someone buys up first what is to be bought."""
    chain = market_v32
    moves = [usual(kind, chain, 420 + number) for number, kind in enumerate(KINDS)]
    thief = chain.new_account(ether=50_000)
    for one in moves:
        one.let(helper_v32, UINT256_MAX)
        before = books(chain, one.holder.address)
        snapshot = chain.snapshot()
        amount = 5_000_000 * 10**8 * chain.token(one.given).unit // chain.price(one.given)
        chain.give(one.given, amount, thief)
        chain.approve(thief, one.given, chain.market.router02)
        path = b"".join([one.path[-20:], one.path[-23:-20], one.path[-43:-23]])
        swap = ("0x" + path[:20].hex(), "0x" + path[23:].hex(), int.from_bytes(path[20:23], "big"), thief, amount, 0, 0)
        chain.send(thief, chain.market.router02, SWAP_IN, swap)
        refused(chain, one.holder.address, helper_v32.address, one.data)
        assert books(chain, one.holder.address) == before
        chain.revert(snapshot)
        chain.rpc("anvil_impersonateAccount", thief)


def test_a_deadline_is_a_deadline(asked: Move, helper_v32: Helper) -> None:
    deadline = int(asked.chain.block()["timestamp"], 16)
    asked.chain.advance(60)
    assert "too late" in _try(asked, helper_v32, deadline=deadline)


def _words(asked: Move, **words: int | bytes) -> bytes:
    """Calldata with words changed that the builder would refuse."""
    data = bytearray(asked.data)
    at = {"first": 0, "second": 1, "amount": 2, "most": 3, "pools": 6}
    for name, value in words.items():
        if isinstance(value, bytes):
            data[4 + 7 * 32 :] = value.ljust(96, b"\0")
        else:
            start = 4 + at[name] * 32
            data[start : start + 32] = value.to_bytes(32, "big")
    return bytes(data)


def test_wrong_orders(asked: Move, helper_v32: Helper) -> None:
    loaned, given = (int(asked.chain.token(one).address, 16) for one in (asked.loaned, asked.given))
    alien = int(make(asked.chain, "Accomplice", []), 16)
    path, pools = asked.path, (len(asked.path) - 20) // 23
    first, last = path[:20], path[-20:]
    turned = asked.kind == BOOST
    wrong: dict[str, list[dict[str, Any]]] = {
        "one to three pools": [{"pools": 0}, {"pools": 4}, {"pools": UINT256_MAX}],
        "path ends with another token": [{"pools": pools % 3 + 1}, {"path": path[:-20] + b"\7" * 20}],
        "path starts with another token": [{"path": last + path[20:23] + path[23:-20] + first}, {"path": b""}],
        "nothing to swap": [{"first": given if not turned else loaned, "second": given if not turned else loaned}],
        "no limit": [{"most": UINT256_MAX}],
        "": [{"amount": 0}, {"path": path[:20] + (123).to_bytes(3, "big") + path[23:]}],
    }
    if asked.kind != DEBT:
        wrong["no amount"] = [{"amount": UINT256_MAX}]
    if asked.kind != COLLATERAL:
        wrong["no such market"] = [{"path": path[:20] + (123).to_bytes(3, "big") + path[23:]}]
    for reason, cases in wrong.items():
        for words in cases:
            assert reason in refused(asked.chain, asked.holder.address, helper_v32.address, _words(asked, **words))
    unknown = alien.to_bytes(20, "big")
    for place, changed in (("loaned", unknown + path[20:]), ("given", path[:-20] + unknown)):
        word = "first" if (place == "loaned") != turned else "second"
        wrongly: dict[str, int | bytes] = {word: alien, "path": changed}
        data = _words(asked, **wrongly)
        refused(asked.chain, asked.holder.address, helper_v32.address, data)


def test_ether_is_not_taken(asked: Move, helper_v32: Helper) -> None:
    assert not transact(asked.chain, asked.holder.address, helper_v32.address, asked.data, value=1).ok


# -- as the account's own delegate


@pytest.mark.parametrize("kind", KINDS)
def test_one_transaction_delegates_and_moves(market: Chain, helper: Helper, kind: str) -> None:
    """Without any approval, any credit, anything left of either; the wallet stays to the wei."""
    asked = usual(kind, market, 460)
    holder = asked.holder
    for symbol in (asked.loaned, asked.given):
        market.give(symbol, 123_456, holder.address)
    done = holder.delegated(helper.address, asked.data, gas=GAS)
    assert done.ok, done.reason
    assert told(kind, done.logs, holder.address).used == asked.amount
    for token in market.market.tokens.values():
        expected = 123_456 if token.symbol in (asked.loaned, asked.given) else 0
        assert market.balance(token.symbol, holder.address) == expected
        for spender in (market.market.pool, market.market.router02, helper.address):
            allowed = "allowance(address,address)"
            assert market.call(token.address, allowed, ["uint256"], holder.address, spender) == 0
        assert (
            market.call(token.v_token, "borrowAllowance(address,address)", ["uint256"], holder.address, helper.address)
            == 0
        )


@pytest.mark.parametrize("kind", KINDS)
def test_others_cannot_call_the_account(market_v32: Chain, helper_v32: Helper, kind: str) -> None:
    chain, asked = market_v32, usual(kind, market_v32, 461)
    victim = asked.holder.address
    assert asked.holder.delegated(helper_v32.address).ok
    thief = Holder(chain, 462)
    assert thief.delegated(helper_v32.address).ok
    before = books(chain, victim)
    signed = asked.signed(helper_v32)
    one = market_of(chain, "WETH", "USDC")
    chain.set_ether(one, WAD)
    for sender in (chain.new_account(), thief.address):
        assert "not the account" in refused(chain, sender, victim, asked.data)
        assert "not the account" in refused(chain, sender, victim, signed)
    operation = _data(calldata(OPERATION, chain.token(asked.loaned).address, 1, 0, victim, params_of(asked)))
    assert "not the pool" in refused(chain, thief.address, victim, operation)
    for sender in (thief.address, one, helper_v32.address):
        chain.set_ether(sender, WAD)
        for data in (bytes.fromhex(chain.token(asked.given).address[2:]), asked.path):
            assert "not our swap" in refused(chain, sender, victim, _data(calldata(CALLBACK, 10**6, -1, data)))
    assert books(chain, victim) == before


@pytest.mark.parametrize("kind", KINDS)
def test_floor_and_limit_hold_for_the_account_itself(market_v32: Chain, helper_v32: Helper, kind: str) -> None:
    asked = usual(kind, market_v32, 463)
    holder = asked.holder
    assert holder.delegated(helper_v32.address).ok
    for symbol in (asked.loaned, asked.given):
        market_v32.give(symbol, market_v32.units(symbol, 1_000), holder.address)
    before = books(market_v32, holder.address)
    assert "floor" in holder.signed(asked.changed(min_health=3 * WAD).data, gas=GAS).reason
    low = holder.signed(asked.changed(most=asked.most * 98 // 100).data, gas=GAS)
    assert ("STF" if kind == COLLATERAL else "borrowed too much") in low.reason
    assert books(market_v32, holder.address) == before
