"""The deployed market is the real thing: positions, interest, e-modes, liquidation; put back between tests."""

from __future__ import annotations

import pytest

from tests.support.chain import Chain
from tui.practice.accounts import LIQUIDATOR
from tui.practice.market import Market
from tui.practice.tokens import MAX_UINT256
from tui.protocols.aave_v3.helper import DEPLOYER, DEPLOYER_CODE, Helper

pytestmark = pytest.mark.node

WAD = 10**18
POOL_REVISION = {"v3.2": 5, "v3.0": 1}


def test_market_is_the_contracts_it_says(market: Chain) -> None:
    revision = market.call(market.market.pool, "POOL_REVISION()", ["uint256"])
    assert revision == POOL_REVISION[market.market.version.value]
    for symbol, token in market.market.tokens.items():
        assert market.call(token.address, "symbol()", ["string"]) == symbol
        assert market.call(token.address, "decimals()", ["uint8"]) == token.decimals
        assert market.call(token.a_token, "UNDERLYING_ASSET_ADDRESS()", ["address"]) == token.address
        assert market.call(token.v_token, "UNDERLYING_ASSET_ADDRESS()", ["address"]) == token.address
        assert market.call(market.market.oracle, "getSourceOfAsset(address)", ["address"], token.address) == token.feed


def test_the_deleverage_helper_stands_where_it_stands_on_every_chain(market: Chain) -> None:
    helper = Helper(market.market.pool.lower(), market.market.router02.lower())
    assert market.market.helper.lower() == helper.address
    assert market.rpc("eth_getCode", helper.address, "latest") == "0x" + helper.code.hex()
    assert market.rpc("eth_getCode", DEPLOYER, "latest") == "0x" + DEPLOYER_CODE.hex()


@pytest.mark.pyevm
def test_the_python_node_has_the_helper_too(pyevm_market: Chain) -> None:
    test_the_deleverage_helper_stands_where_it_stands_on_every_chain(pyevm_market)


def test_market_survives_json(market: Chain) -> None:
    assert Market.from_json(market.market.to_json()) == market.market


def test_every_reserve_pays_and_charges_interest(market: Chain) -> None:
    for token in market.market.tokens.values():
        row = market.call(market.market.data_provider, "getReserveData(address)", ["uint256"] * 12, token.address)
        supply_rate, borrow_rate = row[5], row[6]
        assert 0 < supply_rate < borrow_rate


def test_health_follows_the_price_and_a_fallen_position_is_liquidated(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", 10 * WAD)
    market.borrow(account, "USDC", market.units("USDC", 18_000))
    assert market.health_factor(account) == pytest.approx(10 * 3000 * 0.83 / 18_000 * WAD, rel=1e-9)
    market.set_price("WETH", 2100)
    assert market.health_factor(account) < WAD
    market.give("USDC", market.units("USDC", 20_000), LIQUIDATOR)
    market.approve(LIQUIDATOR, "USDC", market.market.pool)
    market.send(
        LIQUIDATOR,
        market.market.pool,
        "liquidationCall(address,address,address,uint256,bool)",
        market.token("WETH").address,
        market.token("USDC").address,
        account,
        MAX_UINT256,
        False,
    )
    assert market.balance("WETH", LIQUIDATOR) > 4 * WAD
    assert market.health_factor(account) > WAD


def test_emode_raises_the_limit(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "wstETH", 100 * WAD)
    plain = market.account_data(account)
    market.set_emode(account, 1)
    raised = market.account_data(account)
    assert (plain[3], raised[3]) == (8100, 9500)
    market.borrow(account, "WETH", 105 * WAD)
    assert WAD < market.health_factor(account) < 11 * WAD // 10


def test_time_makes_debt_grow(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", 10 * WAD)
    market.borrow(account, "USDC", market.units("USDC", 10_000))
    before = market.account_data(account)[1]
    market.advance(30 * 86_400)
    assert market.account_data(account)[1] > before * 1001 // 1000


@pytest.mark.parametrize("round_", [1, 2])
def test_each_test_finds_the_market_as_it_was(market: Chain, round_: int) -> None:
    assert market.price("WETH") == 3000 * 10**8
    assert abs(int(market.block()["timestamp"], 16) - market_clock(market)) < 3600
    market.set_price("WETH", 1000 + round_)
    market.advance(1_000_000)


def market_clock(market: Chain) -> int:
    """When the feeds were last refreshed, which is when the node was started."""
    return int(market.call(market.token("DAI").feed, "latestTimestamp()", ["uint256"]))


def test_pools_stand_at_the_oracle_price(market: Chain) -> None:
    weth, usdc = market.token("WETH").address, market.token("USDC").address
    out, *_ = market.call(
        market.market.quoter_v2,
        "quoteExactInputSingle((address,address,uint256,uint24,uint160))",
        ["uint256", "uint160", "uint32", "uint256"],
        (weth, usdc, WAD, 500, 0),
    )
    assert out == pytest.approx(3000 * 10**6, rel=1e-3)


def test_a_snapshot_outlives_many_blocks(market_v32: Chain) -> None:
    account = market_v32.new_account()
    market_v32.supply(account, "WETH", WAD)
    snapshot = market_v32.snapshot()
    height = market_v32.block_number()
    market_v32.set_price("WETH", 1)
    market_v32.mine(300)
    market_v32.revert(snapshot)
    assert market_v32.block_number() == height
    assert market_v32.price("WETH") == 3000 * 10**8
    assert market_v32.account_data(account)[0] == 3000 * 10**8
