"""On a real node: a step that cannot be done, or that there is no gas money for, keeps the others from nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.fault_rig import ADD, REPAY
from tests.support.on_exchange import SWAP, Open, allowed, evaluation_of, fall, health, pools_fall_first
from tests.support.positions import follow
from tui.model.intent import FiringState
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


async def test_what_a_firing_that_reverted_left_approved_holds_no_later_one(defending: Open) -> None:
    rig = await defending(SWAP.format("0.6%") + 'max = "2"\n', partial=True)
    chain = rig.chain
    rig.clock.advance(-3 * 86_400)  # no permit would be valid: approvals, as for a token that knows none
    chain.take("USDC", rig.account)
    await rig.head()
    await fall(rig)
    pools_fall_first(rig, 4_000)
    chain.mine()
    left = allowed(rig)
    assert list(left.values()) != [], "the repayment that was approved could not be made"
    chain.set_price("WETH", Decimal(2_200))
    follow(chain)
    # Of a lower price less comes out: what is left approved is more than is needed.
    for _ in range(6):
        await rig.mine()
    latest = rig.firings[0]
    assert latest.state is FiringState.DONE
    assert any("Take back what an earlier firing let" in intent.words for intent in latest.intents)
    assert allowed(rig) == {}
    assert health(rig) > 125 * WAD // 100
