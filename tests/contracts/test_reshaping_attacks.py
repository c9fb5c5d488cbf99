"""The helper's other three functions under attack: strangers, false markets, hostile tokens, limits that must hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi.abi import encode

from tests.contracts.conftest import make, turn_hostile
from tests.contracts.reshaping import (
    BOOST,
    COLLATERAL,
    DEBT,
    GAS,
    KINDS,
    Books,
    Move,
    books,
    move,
    premium_of,
    quote,
    told,
    usual,
)
from tests.contracts.test_attacks import LOAN, OPERATION, _data
from tests.contracts.test_deleverage import check_nothing_left
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, refused, transact
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import Helper
from tui.protocols.aave_v3.helper_orders import approve_delegation_data

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


# -- markets that lie


BAD_MARKETS: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "asks for more than the limit": ({"more": 1}, ("borrowed too much", "borrowed too much")),
    "asks twice": ({"times": 2}, ("not our swap", "not our swap")),
    "never asks and never gives": ({"times": 0}, ("exceeds balance", "reverted")),
    "asks for nothing": ({"asked": 0}, ("26", "26")),  # the pool's INVALID_AMOUNT
    "asks, and gives nothing": ({}, ("exceeds balance", "reverted")),
    "sends the helper to another market": ({"asked": 10**9, "elsewhere": True}, ("IIA", "borrowed too much")),
    "hands back too little to be a path": ({"data": b"\1" * 22}, ("reverted", "reverted")),
}
"""What it does, and what stops a debt switch and a boost."""


@pytest.mark.parametrize("kind", [DEBT, BOOST])
@pytest.mark.parametrize("how", BAD_MARKETS)
def test_a_false_market_gets_nothing(market_v32: Chain, helper_v32: Helper, kind: str, how: str) -> None:
    """Were a market of the factory's not what it is: neither more than the limit nor another token is borrowed."""
    chain, (lie, reasons) = market_v32, BAD_MARKETS[how]
    holder = Holder(chain, 430).borrow_to(16 * WAD // 10)
    loaned, other = ("USDC", "DAI") if kind == DEBT else ("WETH", "USDC")
    asked = move(kind, holder, other, 1_000 * 10**6 if kind == DEBT else WAD)
    asked.let(helper_v32, UINT256_MAX)
    before = books(chain, holder.address)
    wanted = asked.most + 1 if "more" in lie else int(lie.get("asked", 10**6))
    data = lie.get("data", b"")
    if "elsewhere" in lie:
        weth, usdc = (bytes.fromhex(chain.token(one).address[2:]) for one in ("WBTC", "USDC"))
        data = weth + (500).to_bytes(3, "big") + usdc
    false = make(
        chain,
        "FalseMarket",
        ["int256", "uint256", "bytes", "address"],
        *(wanted, int(lie.get("times", 1)), data, "0x" + "0" * 40),
    )
    code = chain.rpc("eth_getCode", false, "latest")
    chain.rpc("anvil_setCode", market_of(chain, loaned, other), code)
    reason = refused(chain, holder.address, helper_v32.address, asked.data)
    assert reasons[0 if kind == DEBT else 1] in reason
    assert books(chain, holder.address) == before
    assert asked.left(helper_v32) == UINT256_MAX


def test_a_false_market_that_gives_is_paid_in_no_other_token(market_v32: Chain, helper_v32: Helper) -> None:
    """It gives what was bought and names another token to be paid in: what the owner said is borrowed, no more."""
    chain = market_v32
    holder = Holder(chain, 431).borrow_to(16 * WAD // 10)
    asked = move(DEBT, holder, "DAI", chain.units("USDC", 1_000))
    for symbol in ("DAI", "WETH"):
        token = chain.token(symbol).v_token
        assert transact(chain, holder.address, token, approve_delegation_data(helper_v32.address, UINT256_MAX)).ok
    named = bytes.fromhex(chain.token("WETH").address[2:])
    false = make(
        chain,
        "FalseMarket",
        ["int256", "uint256", "bytes", "address"],
        *(10**18, 1, named, chain.token("USDC").address),
    )
    chain.rpc("anvil_setCode", market_of(chain, "USDC", "DAI"), chain.rpc("eth_getCode", false, "latest"))
    done = asked.run(helper_v32)
    assert done.ok, done.reason
    assert told(DEBT, done.logs, helper_v32.address).paid == 10**18
    assert holder.owed("WETH") == 0
    assert holder.owed("DAI") == pytest.approx(10**18, abs=1)


@pytest.mark.parametrize("kind", [DEBT, BOOST])
def test_a_false_market_does_not_eat_the_wallet(market_v32: Chain, helper_v32: Helper, kind: str) -> None:
    """A delegated account that holds enough to return the loan by itself: it does not."""
    chain, asked = market_v32, usual(kind, market_v32, 433)
    holder = asked.holder
    assert holder.delegated(helper_v32.address).ok
    for symbol in (asked.loaned, asked.given):
        chain.give(symbol, chain.units(symbol, 100_000), holder.address)
    before = books(chain, holder.address)
    false = make(chain, "FalseMarket", ["int256", "uint256", "bytes", "address"], *(10**6, 1, b"", "0x" + "0" * 40))
    code = chain.rpc("eth_getCode", false, "latest")
    chain.rpc("anvil_setCode", market_of(chain, asked.loaned, asked.given), code)
    assert "loaned token lost" in holder.signed(asked.data, gas=GAS).reason
    assert books(chain, holder.address) == before


def test_a_market_without_enough_in_it(market_v32: Chain, helper_v32: Helper) -> None:
    """It gives less than it was asked for, and says so: nothing is done on that."""
    chain = market_v32
    usdc, dai = chain.token("USDC"), chain.token("DAI")
    zero, one = sorted((usdc, dai), key=lambda token: int(token.address, 16))
    price = int((one.unit / zero.unit) ** 0.5 * 2**96)
    manager = chain.market.position_manager
    born = "createAndInitializePoolIfNecessary(address,address,uint24,uint160)"
    data = calldata(born, zero.address, one.address, 500, price)
    assert transact(chain, OWNER, manager, data, gas=15_000_000).ok
    for symbol in ("USDC", "DAI"):
        chain.give(symbol, chain.units(symbol, 100), OWNER)
    pool = chain.call(
        chain.market.uniswap_factory,
        "getPool(address,address,uint24)",
        ["address"],
        *(zero.address, one.address, 500),
    )
    tick = int(chain.call(pool, "slot0()", ["uint160", "int24", "uint16", "uint16", "uint16", "uint8", "bool"])[1])
    low, high = tick // 10 * 10 - 100, tick // 10 * 10 + 100
    mint = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
    amounts = (50 * zero.unit, 50 * one.unit, 0, 0)
    chain.send(OWNER, manager, mint, (zero.address, one.address, 500, low, high, *amounts, OWNER, 2**40))
    holder = Holder(chain, 432).borrow_to(16 * WAD // 10)
    asked = move(DEBT, holder, "DAI", chain.units("USDC", 1_000))
    path = asked.path[:20] + (500).to_bytes(3, "big") + asked.path[23:]
    asked = asked.changed(path=path, most=chain.units("DAI", 10_000))
    asked.let(helper_v32)
    before = books(chain, holder.address)
    reason = refused(chain, holder.address, helper_v32.address, asked.data)
    assert "market too shallow" in reason
    assert books(chain, holder.address) == before
    small = asked.changed(amount=chain.units("USDC", 10))
    assert small.run(helper_v32).ok, "the market was of no use at all"


# -- hostile tokens


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
