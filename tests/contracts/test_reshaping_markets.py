"""Markets that lie to the helper's other three functions, or hold too little: nobody loses anything to them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.conftest import make
from tests.contracts.reshaping import (
    BOOST,
    DEBT,
    GAS,
    books,
    move,
    told,
    usual,
)
from tests.contracts.test_reshaping_attacks import UINT256_MAX, market_of
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, refused, transact
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import Helper
from tui.protocols.aave_v3.helper_orders import approve_delegation_data

pytestmark = [pytest.mark.node]


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
