"""Gas that costs more than anybody thought of when a rule was armed: what the signer lets it cost, and who is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.fault_rig import GWEI, FaultRig, OpenRig, World
from tui.engine.breaker import REFUSALS_TO_HOLD
from tui.model.intent import FiringState
from tui.model.view import Protection

pytestmark = pytest.mark.node


@pytest.fixture(autouse=True)
def calm(world: World) -> Iterator[None]:
    """The node goes on with the base fee of its last block, also where the chain is put back: it gets its own again."""
    yield
    world.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    world.chain.mine()


async def without_limits(rig: FaultRig) -> None:
    """The rule armed again, without a limit on what it may cost."""
    text = rig.rules.read_text().replace('max_cost_usd = "200"\n', "").replace('max_base_fee_gwei = "500"\n', "")
    rig.rules.write_text(text)
    await rig.mine()
    await rig.arm()


async def at(rig: FaultRig, gwei: int, blocks: int = 1) -> None:
    """Blocks at a base fee, each taken by the engine."""
    for _ in range(blocks):
        rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(gwei * GWEI))
        await rig.mine()


async def test_24_a_rule_without_limits_defends_in_a_storm_that_costs_more_than_half_a_coin(
    open_faulty: OpenRig,
) -> None:
    """Base fees of 1,500 gwei: a transaction may come to more than half of the native coin."""
    rig = await open_faulty()
    await without_limits(rig)
    await at(rig, 1500, 2)
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(1500 * GWEI))
    await rig.fall()
    await at(rig, 1500, 4)
    (done,) = rig.firings
    assert done.state is FiringState.DONE, rig.said
    assert done.intents[0].gas_limit * done.intents[0].fee_ceiling > 5 * 10**17
    rig.check()


async def test_24_fees_over_what_the_signer_is_armed_for_are_told_before_anything_fires(open_faulty: OpenRig) -> None:
    """Base fees of 6,000 gwei, over what any transaction may pay, and back."""
    rig = await open_faulty()
    rig.chain.set_ether(rig.account, 100 * 10**18)
    await without_limits(rig)
    report = await rig.wired.commands.arming_report("guard")
    assert [line for line in report.spends if "the signer pays at most" in line and "5000 gwei" in line], report.spends
    await at(rig, 6000, 2)
    assert any("the signer is armed to pay" in line for line in rig.view.would_stop), rig.view.would_stop
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    rig.chain.mine()
    rig.chain.set_price("WETH", "2600")  # nobody who pays usual fees gets in any more once the storm goes on
    await at(rig, 6000, 2)
    assert rig.firings == ()
    (evaluation,) = [view.evaluation for view in rig.view.rules]
    assert evaluation is not None
    assert evaluation.refused is not None
    assert evaluation.refused.code == "signer-fee"
    await at(rig, 1)
    await at(rig, 1, 4)
    assert [firing.state for firing in rig.firings] == [FiringState.DONE], rig.said
    rig.check()


async def test_a_signer_that_refuses_again_and_again_trips_the_breaker(open_faulty: OpenRig) -> None:
    """The signer holds a policy narrower than what the engine believes: it refuses the transaction at every block."""
    rig = await open_faulty()
    (policy,) = rig.wired.engine.armory.policies.values()
    signer = rig.wired.engine.ports.signer
    assert policy is not None
    assert signer is not None
    await signer.set_policy(replace(policy, max_fee_wei=1))
    await rig.fall()
    assert any("the signer refused it" in line for line in rig.view.would_stop), rig.view.would_stop
    for _ in range(REFUSALS_TO_HOLD):
        rig.chain.rpc("evm_increaseTime", 4)
        await rig.mine()
    assert rig.view.protection is Protection.HELD
    assert rig.wired.engine.held is not None
    assert f"the signer refused it {REFUSALS_TO_HOLD} blocks in a row" in rig.wired.engine.held
    assert rig.attempts() == []
    rig.check()
