"""Switching a collateral, switching a debt and boosting, each by a rule through the whole engine on real contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.chain import Chain
from tests.support.deleverage import WAD, the_helper
from tests.support.fault_rig import FaultRig, World, open_rig, part_way
from tests.support.on_exchange import Open, exchange_of, health, nothing_left, plan_of, refusal_of, wallet
from tests.support.positions import PPM, follow
from tui.model.intent import FiringState
from tui.model.plan import Plan
from tui.protocols.aave_v3.helper_orders import borrow_allowance_data

pytestmark = pytest.mark.node

RULE = """\
[[rule]]
name = "guard"
position = "aave-v3/core"
mode = "auto"
when = {{ {when} }}
target = {{ health_factor = "{target}" }}

[[rule.step]]
{step}

[rule.limits]
max_cost_usd = "400"
cooldown = "0s"
"""
SWITCH_COLLATERAL = 'action = "switch-collateral"\nfrom = "WBTC"\nto = "WETH"\nmax_slippage = "2%"'
SWITCH_DEBT = 'action = "switch-debt"\nfrom = "USDC"\nto = "DAI"\nmax_slippage = "1%"'
BOOST = 'action = "boost"\ncollateral = "WETH"\ndebt = "USDC"\nmax = "20000"\nmax_slippage = "2%"'
LOW, HIGH = 'health_factor_below = "1.25"', 'health_factor_above = "2.20"'


@pytest.fixture
async def reshaping(world: World, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens an engine armed with one rule; `before` changes the position first."""
    async with AsyncExitStack() as stack:

        async def make(
            when: str, target: str, step: str, before: Callable[[Chain, str], None] | None = None, more: str = ""
        ) -> FaultRig:
            rig = await open_rig(stack, world, tmp_path, **exchange_of(world.chain))
            if before is not None:
                before(world.chain, rig.account)
            text = RULE.format(when=when, target=target, step=step) + more
            # A switch of debt promises nothing: what it gives is known only where an exchange pays over the oracle.
            rig.rules.write_text(part_way(text) if step == SWITCH_DEBT else text)
            await rig.restart()
            await rig.arm()
            return rig

        yield make


async def price(rig: FaultRig, usd: str | Decimal, factors: dict[str, int] | None = None) -> None:
    """The oracle's price of WETH moves, the pools follow (times a factor), and the engine sees it."""
    rig.chain.set_price("WETH", usd)
    follow(rig.chain, factors)
    rig.clock.advance(2)
    await rig.head()


def credit(rig: FaultRig, symbol: str) -> int:
    """What the helper may still borrow for the account."""
    data = "0x" + borrow_allowance_data(rig.account, the_helper(rig.chain).address).hex()
    return int(rig.chain.rpc("eth_call", {"to": rig.chain.token(symbol).v_token, "data": data}, "latest"), 16)


async def done(rig: FaultRig, target: int, room: int = 1_001) -> Plan:
    """One transaction, final, with health on its target as the contract has it, or up to `room` thousandths of it."""
    plan, before = plan_of(rig), wallet(rig)
    assert plan.reaches_target
    assert (await rig.settle()).state is FiringState.DONE
    (intent,) = rig.firing.intents
    assert rig.on_chain()[-1]["hash"] == intent.included_hash
    assert target <= health(rig) <= target * room // 1_000
    assert wallet(rig) == before
    nothing_left(rig)
    rig.check()
    return plan


def _half_bitcoin(chain: Chain, account: str) -> None:
    chain.supply(account, "WBTC", chain.units("WBTC", "0.6"))
    chain.borrow(account, "USDC", chain.units("USDC", 28_000))


async def test_a_collateral_is_switched_into_one_that_counts_more(reshaping: Open) -> None:
    rig = await reshaping(LOW, "1.262", SWITCH_COLLATERAL, _half_bitcoin)
    start = health(rig)
    usd = rig.chain.price("WETH") / 10**8
    for cut in range(1, 60):
        rig.chain.set_price("WETH", f"{usd * (1 - cut / 100):.2f}")
        if health(rig) < 125 * WAD // 100:
            break
    assert start > 125 * WAD // 100 > health(rig)
    follow(rig.chain)
    rig.clock.advance(2)
    await rig.head()
    supplied = rig.chain.balance("WBTC", rig.chain.token("WBTC").a_token)
    await done(rig, 1_262 * WAD // 1_000)
    assert supplied >= rig.chain.balance("WBTC", rig.chain.token("WBTC").a_token)


async def test_a_debt_is_switched_where_the_market_gives_more_for_it(reshaping: Open) -> None:
    """The exchange pays two hundredths over the oracle for DAI: owing that instead is owing less."""
    rig = await reshaping(LOW, "1.252", SWITCH_DEBT)
    await price(rig, "2705", {"DAI": PPM + 20_000})
    plan = await done(rig, 1_252 * WAD // 1_000)
    (step,) = plan.steps
    assert step.action.sale is not None
    assert 0 < credit(rig, "DAI") < step.action.sale.most_sold, "what was not borrowed stays delegated, as it says"


async def test_a_debt_switch_that_only_costs_is_not_made(reshaping: Open) -> None:
    rig = await reshaping(LOW, "1.252", SWITCH_DEBT)
    await price(rig, "2690")
    assert "health factor" in refusal_of(rig)
    assert rig.firings == ()


async def test_a_boost_goes_down_to_its_target_and_never_past_it(reshaping: Open) -> None:
    rig = await reshaping(HIGH, "2.00", BOOST)
    await price(rig, "4700")
    assert health(rig) < 22 * WAD // 10
    assert rig.firings == ()
    await price(rig, "5000")
    plan = await done(rig, 2 * WAD, 1_010)
    (step,) = plan.steps
    assert step.action.sale is not None
    assert step.action.sale.min_health == 2 * WAD, "the chain itself holds it to the target"
    assert credit(rig, "USDC") < step.action.sale.most_sold
    assert "stays delegated to the helper, which acts for you alone" in plan.calls[0].words
    await rig.mine(3)
    assert len(rig.firings) == 1


@pytest.mark.parametrize("when", ['price_of = "WETH", above = "4900"', 'health_factor_above = "2.25"'])
async def test_no_boost_beside_a_rule_beyond_its_trigger(reshaping: Open, when: str) -> None:
    """Another rule of the account wants to sell here, armed or not: nothing is borrowed meanwhile."""
    other = f"""
[[rule]]
name = "profit"
position = "aave-v3/core"
mode = "confirm"
when = {{ {when} }}
target = {{ close = "50%" }}

[[rule.step]]
action = "repay"
asset = "USDC"
"""
    rig = await reshaping(HIGH, "2.00", BOOST, more=other)
    await price(rig, "5000")
    assert "no boost while profit is beyond its trigger" in refusal_of(rig)
    assert rig.firings == ()


async def test_a_boost_limited_by_its_maximum_says_so(reshaping: Open) -> None:
    rig = await reshaping(HIGH, "2.00", BOOST.replace("20000", "500"))
    await price(rig, "5000")
    plan = plan_of(rig)
    assert not plan.reaches_target
    assert "maximum is 500" in (plan.shortfall or "")
    assert (await rig.settle()).state is FiringState.DONE
    assert health(rig) > 2 * WAD
