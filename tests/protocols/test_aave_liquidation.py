"""Liquidation prices proven on real contracts: at the price the contract calls the position unsafe, beside it not."""

from __future__ import annotations

import random

import pytest

from tests.protocols.random_positions import open_position
from tests.protocols.reading import adapter, asset, health_at_prices, read, read_one
from tests.support.chain import Chain
from tui.model.position import Asset, Position
from tui.model.units import WAD
from tui.risk.liquidation import at_level, liquidation_price, prices_of

pytestmark = [pytest.mark.node]


@pytest.mark.timeout(300)
def test_each_liquidation_price_is_the_contracts_own_turning_point(market: Chain) -> None:
    rng = random.Random(77)
    accounts = [market.new_account() for _ in range(55)]
    for account in accounts:
        open_position(market, rng, account, ("limit", "limit", "several", "both", "e-mode"))
    market.advance(30 * 86_400)
    proven_long = proven_short = without = 0
    for account, position in zip(accounts, read(market, accounts).positions, strict=True):
        both_sides = {one.asset for one in position.collateral} & {one.asset for one in position.debt}
        longs = [(one.asset, one.liquidation_price_usd, +1) for one in position.collateral if one.counts]
        shorts = [(one.asset, one.liquidation_price_usd, -1) for one in position.debt]
        for one, price, safe_side in longs + shorts:

            def health(answer: int, one: Asset = one, position: Position = position, account: str = account) -> int:
                return health_at_prices(market, position.block, account, {one.symbol: answer})

            if price is None:
                # Then no price brings it under 1, or none brings it back.
                assert len({health(answer) >= WAD for answer in (1, 10**6, 2**90)}) == 1
                without += 1
                continue
            assert health(price) < WAD, (account, one.symbol)
            if one in both_sides:
                # Net long or net short, and rounding of both values may make it waver: one side is safe.
                assert health(price + 1) >= WAD or price == 1 or health(price - 1) >= WAD, (account, one.symbol)
                continue
            # The oracle answers for no price of zero. No dip under 1 may be left anywhere on the safe side.
            for away in (1, 2, 17, 1_000, 30_011, 1_000_003, price // 7_919, price // 997, price // 101):
                if away and price + safe_side * away > 0:
                    assert health(price + safe_side * away) >= WAD, (account, one.symbol, away)
            proven_long += safe_side > 0
            proven_short += safe_side < 0
    assert min(proven_long, proven_short, without) >= 20, (proven_long, proven_short, without)


def test_an_asset_on_both_sides_turns_beside_its_price(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.borrow(account, "WETH", market.units("WETH", 2))
    market.borrow(account, "USDC", market.units("USDC", 9_000))
    position = read_one(market, account)
    price = position.collateral[0].liquidation_price_usd
    assert price is not None
    assert health_at_prices(market, position.block, account, {"WETH": price}) < WAD
    assert health_at_prices(market, position.block, account, {"WETH": price + 1}) >= WAD


def test_assets_of_one_root_have_a_price_together(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", "3.7"))
    market.supply(account, "wstETH", market.units("wstETH", "11.1"))
    market.supply(account, "WBTC", market.units("WBTC", "0.05"))
    market.borrow(account, "USDC", market.units("USDC", 27_000))
    market.advance(86_400)
    position = read_one(market, account)
    (group,) = position.groups
    assert {one.symbol for one in group.assets} == {"WETH", "wstETH"}
    assert group.lead.symbol == "WETH"
    prices = prices_of(position)
    for level, safe in ((group.price_usd, False), (group.price_usd + 1, True)):
        moved = at_level(prices, group.assets, level)
        answers = {one.symbol: moved[one.address] for one in group.assets}
        assert (health_at_prices(market, position.block, account, answers) >= WAD) is safe
    alone = next(one for one in position.collateral if one.asset.symbol == "wstETH")
    assert alone.liquidation_price_usd is not None
    assert alone.price_usd is not None
    # Together they liquidate much earlier than one alone would.
    assert group.factor > alone.liquidation_price_usd * WAD // alone.price_usd


def test_a_pair_of_one_root_in_e_mode_has_no_price_together(market: Chain) -> None:
    account = market.new_account()
    market.set_emode(account, 1)
    market.supply(account, "wstETH", market.units("wstETH", 10))
    market.borrow(account, "WETH", market.units("WETH", 8))
    position = read_one(market, account)
    assert position.groups == ()
    assert position.collateral[0].liquidation_price_usd is not None
    assert position.debt[0].liquidation_price_usd is not None


def test_without_debt_there_is_no_liquidation_price(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 1))
    position = read_one(market, account)
    assert position.collateral[0].liquidation_price_usd is None
    assert position.seconds_to_liquidation is None
    assert position.liquidation_penalty_usd is None


def test_cover_that_never_fails_alone_has_no_liquidation_price(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.supply(account, "WBTC", market.units("WBTC", 1))
    market.borrow(account, "USDC", market.units("USDC", 100))
    position = read_one(market, account)
    assert [one.liquidation_price_usd for one in position.collateral] == [None, None]
    assert position.groups == ()


def test_asking_the_adapter_again_and_again_finds_the_same_price(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.borrow(account, "USDC", market.units("USDC", 17_000))
    aave = adapter(market)
    position = read_one(market, account, aave)
    for symbol, one in (("WETH", position.collateral[0]), ("USDC", position.debt[0])):
        assert liquidation_price(aave, position, [asset(aave, position, symbol)]) == one.liquidation_price_usd


def test_interest_alone_liquidates_when_it_was_said_to(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    available = market.account_data(account)[2]
    market.borrow(account, "USDC", available * market.token("USDC").unit // market.price("USDC"))
    seconds = read_one(market, account).seconds_to_liquidation
    assert seconds is not None
    assert seconds > 86_400
    snapshot = market.snapshot()
    market.advance(seconds * 98 // 100)
    assert market.health_factor(account) >= WAD
    market.revert(snapshot)
    market.advance(seconds * 102 // 100)
    assert market.health_factor(account) < WAD


def test_the_penalty_is_what_a_real_liquidation_takes(market: Chain) -> None:
    account, liquidator = market.new_account(), market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.borrow(account, "USDC", market.units("USDC", 20_000))
    price = read_one(market, account).collateral[0].liquidation_price_usd
    assert price is not None
    market.set_answer("WETH", price * 99 // 100)
    before = read_one(market, account)
    assert before.status == "liquidatable"
    assert before.seconds_to_liquidation == 0
    market.give("USDC", market.units("USDC", 50_000), liquidator)
    market.approve(liquidator, "USDC", market.market.pool)
    market.send(
        liquidator, market.market.pool, "liquidationCall(address,address,address,uint256,bool)",
        market.token("WETH").address, market.token("USDC").address, account, 2**255, False,
    )  # fmt: skip
    after = read_one(market, account)
    assert before.collateral_usd is not None
    assert before.debt_usd is not None
    assert after.collateral_usd is not None
    assert after.debt_usd is not None
    taken = (before.collateral_usd - after.collateral_usd) - (before.debt_usd - after.debt_usd)
    assert before.liquidation_penalty_usd is not None
    # A few seconds of interest and roundings lie between.
    assert abs(taken - before.liquidation_penalty_usd) < 10**6
