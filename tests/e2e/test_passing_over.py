"""On a real node: a step that cannot be done, or that there is no gas money for, keeps the others from nothing."""

from __future__ import annotations

import pytest

from tests.support.fault_rig import ADD, REPAY
from tests.support.on_exchange import Open, evaluation_of, fall, health
from tui.model.units import WAD

pytestmark = pytest.mark.node


async def test_with_gas_money_for_the_first_step_alone_it_is_done(defending: Open) -> None:
    rig = await defending(f"{REPAY}\n\n{ADD}".replace('max = "20000"', 'max = "4000"'))
    fees = rig.wired.engine.fees
    assert fees is not None
    rig.chain.set_ether(rig.account, 420_000 * fees.max_fee)
    rig.chain.give("USDC", 1, rig.account)
    await fall(rig)
    plan = evaluation_of(rig).plan
    assert plan is not None
    assert [step.action.kind.word for step in plan.steps] == ["repay"]
    assert "add-collateral WETH: gas may take" in rig.said
    await rig.mine(2)
    assert health(rig) > 125 * WAD // 100


async def test_what_the_owner_allowed_the_market_is_left_alone_and_the_rest_is_done(defending: Open) -> None:
    rig = await defending(f"{REPAY}\n\n{ADD}")
    rig.chain.approve(rig.account, "USDC", rig.chain.market.pool)
    await rig.mine()
    await fall(rig)
    plan = evaluation_of(rig).plan
    assert plan is not None
    assert [step.action.kind.word for step in plan.steps] == ["add-collateral"]
    assert "(without limit)" in plan.left_out[0]
    await rig.mine(2)
    assert health(rig) > 125 * WAD // 100
