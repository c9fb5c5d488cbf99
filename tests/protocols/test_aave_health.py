"""Health factor and all totals against getUserAccountData of real contracts, to the last digit."""

from __future__ import annotations

import random

import pytest

from tests.protocols.random_positions import SYMBOLS, open_position
from tests.protocols.reading import UINT256_MAX, adapter, contract_health, head, read, read_one
from tests.support.chain import Chain

pytestmark = [pytest.mark.node]

POSITIONS = 100


@pytest.mark.timeout(300)
def test_health_is_the_contracts_on_random_positions(market: Chain) -> None:
    rng = random.Random(20_260_401)
    accounts = [market.new_account() for _ in range(POSITIONS)]
    for index, account in enumerate(accounts):
        open_position(market, rng, account)
        if index % 10 == 9:
            market.advance(rng.randint(60, 40 * 86_400))
    shapes = set()
    for moment in range(3):
        if moment:
            market.advance(rng.randint(1, 90 * 86_400))
            for symbol in SYMBOLS:
                market.set_answer(symbol, market.price(symbol) * rng.randint(9_100, 10_900) // 10_000)
        reading = read(market, accounts)
        assert reading.error is None
        for account, position in zip(accounts, reading.positions, strict=True):
            collateral, debt, _, _, _, health = market.account_data(account)
            assert position.unknown is None
            assert (position.collateral_usd, position.debt_usd) == (collateral, debt)
            assert position.health_factor == (None if health == UINT256_MAX else health)
            shapes.add((len(position.collateral), len(position.debt), all(c.counts for c in position.collateral)))
    assert len(shapes) > 15, shapes


def test_balances_are_those_of_the_tokens(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", "12.345678901234567891"))
    market.supply(account, "USDC", market.units("USDC", "777.000001"))
    market.borrow(account, "DAI", market.units("DAI", "4321.123456789"))
    market.set_collateral(account, "USDC", False)
    market.advance(200 * 86_400)
    position = read_one(market, account)
    held = {one.asset.symbol: one for one in position.collateral}
    for symbol in ("WETH", "USDC"):
        a_token = market.token(symbol).a_token
        assert held[symbol].amount == market.call(a_token, "balanceOf(address)", ["uint256"], account)
        assert held[symbol].price_usd == market.price(symbol)
    assert held["WETH"].counts
    assert not held["USDC"].counts
    v_token = market.token("DAI").v_token
    assert position.debt[0].amount == market.call(v_token, "balanceOf(address)", ["uint256"], account)


def test_the_versions_are_told_apart(market_v32: Chain, market_v30: Chain) -> None:
    assert read(market_v32, []).version == "3.2 (revision 5)"
    assert read(market_v30, []).version == "3.0 (revision 1)"


def test_no_accounts_give_the_market_alone(market: Chain) -> None:
    reading = read(market, [])
    assert reading.positions == ()
    assert {one.symbol for one in reading.assets} == set(SYMBOLS)
    assert market.market.pool.lower() in reading.fingerprint


def test_an_account_without_anything_has_no_debt(market: Chain) -> None:
    position = read_one(market, market.new_account())
    assert position.status == "no-debt"
    assert (position.collateral_usd, position.debt_usd, position.collateral, position.debt) == (0, 0, (), ())


def test_e_mode_terms_apply_to_members_alone(market: Chain) -> None:
    account = market.new_account()
    market.set_emode(account, 1)
    market.supply(account, "wstETH", market.units("wstETH", 10))
    market.supply(account, "WBTC", market.units("WBTC", 1))
    market.borrow(account, "WETH", market.units("WETH", 8))
    position = read_one(market, account)
    thresholds = {one.asset.symbol: one.liquidation_threshold for one in position.collateral}
    assert thresholds["wstETH"] == 95 * 10**16
    assert thresholds["WBTC"] < 95 * 10**16
    assert position.native["e_mode"] == "ETH correlated"
    assert position.health_factor == contract_health(market, account)


def test_more_than_two_hundred_accounts_are_split(market_v32: Chain) -> None:
    account = market_v32.new_account()
    market_v32.supply(account, "WETH", market_v32.units("WETH", 1))
    others = [f"0x{number:040x}" for number in range(1, 251)]
    accounts = [*others[:210], account, *others[210:]]
    aave = adapter(market_v32)
    assert len(aave.read_calls([one.lower() for one in accounts])) == 2
    reading = read(market_v32, accounts, aave)
    assert [one.key.account for one in reading.positions] == [one.lower() for one in accounts]
    assert reading.positions[210].collateral_usd == market_v32.account_data(account)[0]


def test_two_hundred_accounts_fit_the_gas_that_nodes_allow(market_v32: Chain) -> None:
    aave = adapter(market_v32)
    accounts = [market_v32.new_account(0).lower() for _ in range(200)]
    (call,) = aave.read_calls(accounts)
    assert call.code is not None
    request = {"to": call.to, "data": "0x" + call.data.hex(), "gas": hex(50_000_000)}
    override = {call.to: {"code": "0x" + call.code.hex()}}
    answer = market_v32.rpc("eth_call", request, {"blockHash": head(market_v32).hash}, override)
    assert len(answer) > 200 * 11 * 64
