"""What only 3.0 and 3.1 have: stable debts, e-modes with a price source; and isolation, which ended with 3.7."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.protocols.reading import UINT256_MAX, adapter, asset, contract_health, health_at_prices, read_one
from tests.protocols.reference import CASES, position_of
from tests.support.chain import Chain
from tui.model.plan import Action
from tui.model.rule import ActionKind
from tui.model.units import WAD
from tui.model.wallet import TokenHolding, Wallet
from tui.practice.accounts import OWNER
from tui.practice.deploy import Deployer
from tui.protocols.aave_v3.calls import STABLE, VARIABLE
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.aave_v3.state import PositionState
from tui.protocols.base import ActionImpossible

BORROW = "borrow(address,uint256,uint256,uint16,address)"


def _stable_borrower(chain: Chain) -> str:
    account = chain.new_account()
    chain.send(
        OWNER, chain.market.configurator, "setReserveStableRateBorrowing(address,bool)",
        chain.token("USDC").address, True,
    )  # fmt: skip
    chain.supply(account, "WETH", chain.units("WETH", 10))
    chain.send(account, chain.market.pool, BORROW, chain.token("USDC").address, 5_000 * 10**6, STABLE, 0, account)
    return account


@pytest.mark.node
def test_stable_debt_grows_and_counts_as_the_contract_says(market_v30: Chain) -> None:
    account = _stable_borrower(market_v30)
    market_v30.advance(200 * 86_400)
    position = read_one(market_v30, account)
    assert position.unknown is None
    assert position.health_factor == contract_health(market_v30, account)
    assert position.debt[0].amount >= 5_000 * 10**6
    # The holder's own stable rate is not read: a yield is not made up.
    assert position.debt[0].borrow_apy is None
    assert position.net_apy is None


@pytest.mark.node
def test_stable_debt_is_repaid_in_its_own_mode(market_v30: Chain) -> None:
    account = _stable_borrower(market_v30)
    market_v30.approve(account, "USDC", market_v30.market.pool)
    market_v30.advance(86_400)
    aave = adapter(market_v30)
    snapshot = market_v30.snapshot()
    timestamp = int(market_v30.block()["timestamp"], 16) + 900
    market_v30.rpc("evm_setNextBlockTimestamp", timestamp)
    market_v30.mine()
    position = read_one(market_v30, account, aave)
    usdc = asset(aave, position, "USDC")
    action = Action(ActionKind.REPAY, usdc, 1_500 * 10**6)
    foreseen = aave.after(position, [action])
    held = {usdc.address: TokenHolding(usdc, None, {market_v30.market.pool.lower(): UINT256_MAX})}
    (call,) = aave.calls_for(position, action, Wallet(account.lower(), 0, 0, held), 0)
    assert int.from_bytes(call.data[68:100], "big") == STABLE
    market_v30.revert(snapshot)
    deployer = Deployer(market_v30.node.rpc, account)
    deployer.send(call.to, "0x" + call.data.hex())
    market_v30.rpc("evm_setNextBlockTimestamp", timestamp)
    deployer.flush()
    done = read_one(market_v30, account, aave)
    assert done.block.timestamp == timestamp
    assert foreseen.health_factor == done.health_factor
    assert foreseen.debt[0].amount == done.debt[0].amount


@pytest.mark.node
def test_of_two_kinds_of_debt_the_variable_one_is_repaid_first(market_v30: Chain) -> None:
    account = _stable_borrower(market_v30)
    market_v30.borrow(account, "USDC", 1_000 * 10**6)
    market_v30.advance(3_600)
    aave = adapter(market_v30)
    position = read_one(market_v30, account, aave)
    assert position.health_factor == contract_health(market_v30, account)
    usdc = asset(aave, position, "USDC")
    ceiling = aave.ceiling(position, ActionKind.REPAY, usdc)
    assert 1_000 * 10**6 <= ceiling < 1_100 * 10**6
    assert position.debt[0].amount > 6_000 * 10**6
    action = Action(ActionKind.REPAY, usdc, ceiling)
    held = {usdc.address: TokenHolding(usdc, None, {market_v30.market.pool.lower(): UINT256_MAX})}
    (call,) = aave.calls_for(position, action, Wallet(account.lower(), 0, 0, held), 0)
    assert int.from_bytes(call.data[68:100], "big") == VARIABLE
    after = aave.after(position, [action])
    assert 5_000 * 10**6 <= after.debt[0].amount < 5_100 * 10**6
    assert after.health_factor is not None


@pytest.mark.node
def test_an_e_mode_with_its_own_price_source(market_v30: Chain) -> None:
    """All members are priced by one source; its price is what liquidates."""
    chain = market_v30
    account = chain.new_account()
    chain.set_emode(account, 1)
    chain.supply(account, "wstETH", chain.units("wstETH", 10))
    chain.supply(account, "WBTC", chain.units("WBTC", "0.2"))
    chain.borrow(account, "WETH", chain.units("WETH", 5))
    source = "0x" + "77" * 20
    chain.send(OWNER, chain.market.oracle, "setAssetSources(address[],address[])", [source], [chain.token("WETH").feed])
    chain.send(
        OWNER, chain.market.configurator, "setEModeCategory(uint8,uint16,uint16,uint16,address,string)",
        1, 9_300, 9_500, 10_100, source, "ETH correlated",
    )  # fmt: skip
    chain.advance(86_400)
    aave = adapter(chain)
    position = read_one(chain, account, aave)
    assert position.unknown is None
    assert position.health_factor == contract_health(chain, account)
    prices = {one.asset.symbol: one.price_usd for one in position.collateral}
    assert prices["wstETH"] == chain.price("WETH") != chain.price("wstETH")
    assert prices["WBTC"] == chain.price("WBTC")
    price = next(one for one in position.collateral if one.asset.symbol == "WBTC").liquidation_price_usd
    assert price is None
    moved = aave.repriced(position, {asset(aave, position, "wstETH").address: 2_000 * 10**8})
    assert moved.health_factor == health_at_prices(chain, position.block, account, {"WETH": 2_000 * 10**8})
    chain.withdraw(account, "wstETH", chain.units("wstETH", "4.8"))
    position = read_one(chain, account, aave)
    (wsteth, _) = position.collateral
    assert position.debt[0].liquidation_price_usd == wsteth.liquidation_price_usd
    level = wsteth.liquidation_price_usd
    assert level is not None
    assert health_at_prices(chain, position.block, account, {"WETH": level}) < WAD
    assert health_at_prices(chain, position.block, account, {"WETH": level - 1}) >= WAD


def _with_ceiling(revision: int, of_new: bool) -> tuple[AaveV3Market, PositionState, object]:
    """A position of one collateral and one debt, with a debt ceiling on what it holds or on what it might add."""
    aave = AaveV3Market("core", "0x" + "1" * 40)
    for case in CASES:
        position = position_of(case, revision)
        state = position.state
        assert isinstance(state, PositionState)
        assert state.account is not None
        counted = [one for one in position.collateral if one.counts]
        held = {one.asset for one in (*position.collateral, *position.debt)}
        fresh = [r for r in state.market.reserves.values() if r.asset not in held and r.terms.ltv]
        if case["e_mode"] or len(counted) != 1 or not fresh:
            continue
        target = fresh[0] if of_new else state.market.reserve(counted[0].asset.address)
        assert target is not None
        isolated = replace(target, terms=replace(target.terms, debt_ceiling=1))
        market = replace(state.market, reserves={**state.market.reserves, target.id: isolated})
        changed = PositionState(market, state.account)
        return aave, changed, (replace(position, state=changed), fresh[0].asset)
    raise AssertionError("no such case")


@pytest.mark.parametrize("of_new", [True, False])
def test_isolation_keeps_a_first_supply_from_counting_until_3_6(of_new: bool) -> None:
    for revision, refused in ((5, True), (10, True), (11, False)):
        aave, _, found = _with_ceiling(revision, of_new)
        position, fresh = found  # type: ignore[misc]
        if refused:
            with pytest.raises(ActionImpossible, match="isolated"):
                aave.ceiling(position, ActionKind.ADD_COLLATERAL, fresh)
        else:
            assert aave.ceiling(position, ActionKind.ADD_COLLATERAL, fresh) > 0
