"""Several debts and several collaterals in one rebalance: each sale is signed on what the one before it leaves."""

from __future__ import annotations

import pytest

from tests.support.on_exchange import Open, fall, health, nothing_left, on_target, plan_of, usually, wallet
from tui.model.intent import FiringState
from tui.model.units import WAD

pytestmark = pytest.mark.node


def sell(collateral: str, debt: str, most: str | None = None) -> str:
    limit = "" if most is None else f'max = "{most}"\n'
    step = f'[[rule.step]]\naction = "deleverage"\ncollateral = "{collateral}"\ndebt = "{debt}"\nmax_slippage = "2%"\n'
    return step + limit


@pytest.fixture
def selling(defending: Open) -> Open:
    return usually(defending, sell("WETH", "USDC"))


async def test_one_collateral_pays_two_debts_each_by_its_own_permit(selling: Open) -> None:
    rig = await selling(sell("WETH", "DAI") + sell("WETH", "USDC"))
    rig.chain.borrow(rig.account, "DAI", rig.chain.units("DAI", 1_000))
    before = wallet(rig)
    await fall(rig)
    dai, usdc = plan_of(rig).steps
    assert (dai.action.asset.symbol, usdc.action.asset.symbol) == ("DAI", "USDC")
    assert (await rig.settle()).state is FiringState.DONE
    assert len(rig.firing.intents) == 2, "a permit a sale, no approval"
    owed = rig.chain.token("DAI").v_token
    assert rig.chain.call(owed, "balanceOf(address)", ["uint256"], rig.account) == 0
    on_target(rig)
    assert wallet(rig) == before
    nothing_left(rig)
    assert rig.wired.journal is not None
    found = rig.wired.journal.outcome(rig.firing.id)
    assert found is not None
    (sold,) = found.sales
    assert dai.action.sale is not None
    assert usdc.action.sale is not None
    assert sold.expected == dai.action.sale.sold + usdc.action.sale.sold
    assert sold.actual is not None
    assert found.slippage_actual is not None
    rig.check()


async def test_two_collaterals_pay_one_debt_and_what_both_cost_is_told(selling: Open) -> None:
    rig = await selling(sell("WBTC", "USDC") + sell("WETH", "USDC"))
    rig.chain.supply(rig.account, "WBTC", rig.chain.units("WBTC", 1) // 50)
    before = wallet(rig)
    await fall(rig)
    assert health(rig) < 125 * WAD // 100
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    assert wallet(rig) == before
    nothing_left(rig)
    assert rig.wired.journal is not None
    found = rig.wired.journal.outcome(rig.firing.id)
    assert found is not None
    assert [one.symbol for one in found.sales] == ["WBTC", "WETH"]
    assert all(one.actual is not None and one.actual > 0 for one in found.sales)
    assert found.slippage_expected is not None
    assert found.slippage_actual is not None
    assert abs(found.slippage_actual - found.slippage_expected) < WAD // 1_000
    assert await rig.wired.commands.outcomes() == ((rig.firing, found),), "the app shows what the journal has"
    rig.check()
