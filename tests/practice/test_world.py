"""The living market, driven block by block: pools follow, the fallen are liquidated, time costs interest."""

from __future__ import annotations

import threading

import pytest

from tests.support.chain import Chain
from tui.practice.accounts import EMODE_HOLDER, MULTI_HOLDER, TWIN
from tui.practice.positions import (
    DEFENCE_WALLET,
    EMODE_RECIPE,
    MULTI_RECIPE,
    TRADER_RECIPE,
    TWIN_RECIPE,
    open_positions,
)
from tui.practice.scenarios import LEAD_IN_S, PriceDriver, scenario_named
from tui.practice.uniswap import sqrt_price_x96
from tui.practice.world import Step, World

pytestmark = pytest.mark.node

WAD = 10**18
BLOCK_MS = 2000


def open_all(chain: Chain) -> str:
    """Open every position of a practice run; returns the trader's address."""
    trader = chain.new_account(ether=0)
    recipes = {trader: TRADER_RECIPE, TWIN: TWIN_RECIPE, EMODE_HOLDER: EMODE_RECIPE, MULTI_HOLDER: MULTI_RECIPE}
    open_positions(chain.node, chain.market, recipes)
    return trader


def make_world(chain: Chain, scenario: str, accounts: tuple[str, ...] = (), seed: int = 5) -> World:
    return World(chain.node.rpc, chain.market, PriceDriver(scenario_named(scenario), seed, BLOCK_MS), accounts)


def steps(world: World, seconds: int) -> list[Step]:
    """Step through the lead-in and ``seconds`` of the scenario."""
    return [world.step() for _ in range((LEAD_IN_S + seconds) * 1000 // BLOCK_MS)]


def test_positions_start_as_promised(market_v32: Chain) -> None:
    trader = open_all(market_v32)
    assert market_v32.health_factor(trader) == pytest.approx(1.35 * WAD, rel=1e-3)
    assert market_v32.health_factor(TWIN) == pytest.approx(market_v32.health_factor(trader), rel=1e-6)
    assert market_v32.health_factor(EMODE_HOLDER) == pytest.approx(1.0806 * WAD, rel=1e-3)
    assert market_v32.health_factor(MULTI_HOLDER) == pytest.approx(1.477 * WAD, rel=1e-3)
    for symbol, thousandths in DEFENCE_WALLET:
        assert market_v32.balance(symbol, trader) == thousandths * market_v32.token(symbol).unit // 1000
    assert market_v32.ether(trader) > 9 * WAD


def test_a_step_is_one_block_with_the_drivers_prices_time_and_fee(market_v32: Chain) -> None:
    world = make_world(market_v32, "calm")
    shadow = PriceDriver(scenario_named("calm"), 5, BLOCK_MS)
    world.start()
    before = market_v32.block()
    for number in range(1, 6):
        step = world.step()
        quote = shadow.next()
        block = market_v32.block()
        assert step.number == number
        assert step.block == int(block["number"], 16) == int(before["number"], 16) + number
        assert step.timestamp == int(block["timestamp"], 16) == int(before["timestamp"], 16) + 2 * number
        assert step.base_fee == int(block["baseFeePerGas"], 16) == quote.base_fee
        assert market_v32.price("WETH") == pytest.approx(quote.answers["WETH"], rel=1e-4)
        assert not step.failed


def test_the_same_seed_gives_the_same_prices_on_chain(market_v32: Chain) -> None:
    def run() -> list[dict[str, int]]:
        snapshot = market_v32.snapshot()
        world = make_world(market_v32, "crash", seed=99)
        prices = []
        for _ in range(12):
            world.step()
            prices.append({symbol: market_v32.price(symbol) for symbol in market_v32.market.tokens})
        market_v32.revert(snapshot)
        return prices

    assert run() == run()


def test_nobody_mines_but_the_world(market_v32: Chain) -> None:
    world = make_world(market_v32, "calm")
    world.start()
    height = market_v32.block_number()
    sender, receiver = market_v32.new_account(), market_v32.new_account(ether=0)
    market_v32.rpc("anvil_impersonateAccount", sender)
    name = market_v32.rpc("eth_sendTransaction", {"from": sender, "to": receiver, "value": "0x1"})
    assert market_v32.block_number() == height
    world.step()
    assert market_v32.rpc("eth_getTransactionReceipt", name)["status"] == "0x1"


def test_pools_stay_near_the_oracle_through_a_crash(market_v32: Chain) -> None:
    world = make_world(market_v32, "crash")
    moved = 0
    for _ in range(60):
        step = world.step()
        assert not step.failed
        moved += sum(what.startswith("arbitrage") for what in step.done)
        published = {symbol: market_v32.price(symbol) for symbol in market_v32.market.tokens}
        for pool in market_v32.market.pools:
            current = market_v32.call(pool.address, "slot0()", ["uint160"] + ["int256"] * 6)[0]
            target = sqrt_price_x96(pool.symbol0, pool.symbol1, published)
            assert current == pytest.approx(target, rel=1e-3), f"{pool.symbol0}/{pool.symbol1}"
    assert moved > 60


def test_the_undefended_twin_is_liquidated_in_the_crash(market_v32: Chain) -> None:
    trader = open_all(market_v32)
    world = make_world(market_v32, "crash", (trader, TWIN))
    collateral = market_v32.token("WETH").a_token
    before = market_v32.call(collateral, "balanceOf(address)", ["uint256"], TWIN)
    history = steps(world, 130)
    fallen = next(index for index, step in enumerate(history) if step.health_factors[TWIN] < WAD)
    taken = next(index for index, step in enumerate(history) if TWIN in step.liquidated)
    assert taken == fallen + 1
    assert market_v32.call(collateral, "balanceOf(address)", ["uint256"], TWIN) < before * 6 // 10
    assert history[-1].health_factors[TWIN] > WAD
    assert world.liquidations[TWIN] >= 1
    assert not any(step.failed for step in history)


def test_a_defended_account_lives_through_what_takes_the_twin(market_v32: Chain) -> None:
    trader = open_all(market_v32)
    world = make_world(market_v32, "crash", (trader, TWIN))
    defences = 0
    for _ in range((LEAD_IN_S + 190) * 1000 // BLOCK_MS):
        if world.step().health_factors[trader] < 12 * WAD // 10:
            market_v32.set_automine(False)
            market_v32.repay(trader, "USDC", market_v32.units("USDC", 6_000))
            defences += 1
    assert 2 <= defences <= 5
    assert trader not in world.liquidations
    assert world.liquidations[TWIN] >= 1
    assert market_v32.balance("USDC", trader) > 0, "the wallet is enough for the whole crash"


def test_strangers_who_fall_are_found_and_liquidated(market_v32: Chain) -> None:
    world = make_world(market_v32, "crash")
    world.step()
    stranger = market_v32.new_account()
    market_v32.set_automine(False)
    market_v32.supply(stranger, "WBTC", 10**8)
    market_v32.borrow(stranger, "DAI", 60_000 * WAD)
    history = steps(world, 90)
    assert any(stranger in step.liquidated for step in history)


def test_wick_takes_nobody_of_the_practice_positions(market_v32: Chain) -> None:
    trader = open_all(market_v32)
    world = make_world(market_v32, "wick", (trader, TWIN, MULTI_HOLDER, EMODE_HOLDER))
    history = steps(world, 40)
    assert min(step.health_factors[TWIN] for step in history) < 11 * WAD // 10
    assert history[-1].health_factors[TWIN] == pytest.approx(1.35 * WAD, rel=0.01)
    assert not world.liquidations


def test_depeg_hurts_the_debtor(market_v32: Chain) -> None:
    trader = open_all(market_v32)
    world = make_world(market_v32, "depeg", (trader,))
    history = steps(world, 70)
    assert history[-1].health_factors[trader] == pytest.approx(1.25 * WAD, rel=0.01)


def test_rates_eat_the_health_within_minutes(market_v32: Chain) -> None:
    trader = open_all(market_v32)
    world = make_world(market_v32, "rates", (trader, EMODE_HOLDER))
    history = steps(world, 180)
    health = [step.health_factors[trader] for step in history]
    assert health[-1] < 125 * WAD // 100
    assert any("borrow out USDC" in step.done for step in history)
    token = market_v32.token("USDC").address
    row = market_v32.call(market_v32.market.data_provider, "getReserveData(address)", ["uint256"] * 12, token)
    assert row[6] > 40 * 10**25, "the variable rate stands above 40% a year"
    assert not any(step.failed for step in history)
    assert not world.liquidations


def test_gas_storm_reaches_the_chain(market_v32: Chain) -> None:
    world = make_world(market_v32, "gas-storm")
    history = steps(world, 70)
    assert history[-1].base_fee > 18 * history[0].base_fee
    assert not any(step.failed for step in history)


def test_run_keeps_to_the_clock_and_stops_when_told(market_v32: Chain) -> None:
    world = make_world(market_v32, "calm")
    stop = threading.Event()
    now = [100.0]
    waits: list[float] = []

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waits.append(timeout)
            now[0] += timeout
            return stop.is_set()

    seen: list[Step] = []

    def on_step(step: Step) -> None:
        seen.append(step)
        now[0] += 0.5 if len(seen) == 2 else 0.0
        if len(seen) == 4:
            stop.set()

    world.run(Waiting(), 2.0, lambda: now[0], on_step)
    assert len(seen) == 4
    assert waits == [2.0, 2.0, 1.5, 2.0, 2.0]
