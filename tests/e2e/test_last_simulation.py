"""A token that takes no permit any more: only the calldata with its signature, simulated last, tells. Its step is left
out at the same block, and the others are done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_rig import ADD, REPAY, FaultRig, OpenRig, World, open_rig
from tui.engine.facade import CommandRefused
from tui.model.intent import FiringState
from tui.model.units import WAD
from tui.model.view import Severity

pytestmark = pytest.mark.node

PERMIT = bytes.fromhex("d505accf")
TARGET = 15 * WAD // 10


@pytest.fixture
async def without_permit(world: World, tmp_path: Path, warm_signers: None) -> AsyncIterator[OpenRig]:
    """An armed engine on a chain where the dispatcher of USDC no longer knows `permit`, though everything that tells
    what a permit needs still answers.
    """
    async with AsyncExitStack() as stack:

        async def make(steps: str, mode: str = "auto", **options: Any) -> FaultRig:
            rig = await open_rig(stack, world, tmp_path, steps=steps, **options)
            usdc = rig.chain.token("USDC").address
            code = bytes.fromhex(rig.chain.rpc("eth_getCode", usdc, "latest")[2:])
            entry, none = b"\x63" + PERMIT + b"\x14", b"\x63\xde\xad\xbe\xef\x14"
            assert code.count(entry) == 1
            rig.chain.rpc("anvil_setCode", usdc, "0x" + code.replace(entry, none).hex())
            rig.rules.write_text(rig.rules.read_text().replace('mode = "auto"', f'mode = "{mode}"'))
            await rig.mine()
            await rig.arm()
            return rig

        yield make


def evaluation(rig: FaultRig) -> Any:
    (found,) = rig.wired.engine.defender.evaluations.values()
    return found


async def test_what_can_be_done_is_done_at_the_same_block_and_the_breaker_does_not_count(
    without_permit: OpenRig,
) -> None:
    rig = await without_permit(f"{REPAY}\n\n{ADD}")
    await rig.fall()
    (firing,) = rig.firings
    assert firing.state is FiringState.RUNNING
    assert firing.block_number == rig.chain.block_number(), "at the block at which it fired"
    live = [one for one in firing.intents if one.attempts]
    assert all("WETH" in one.words for one in live)
    assert rig.wired.engine.breaker.counting == ()
    assert evaluation(rig).refused is None
    (left,) = evaluation(rig).plan.left_out
    assert left.startswith("repay USDC: simulated, ")
    (loud,) = [one for one in rig.wired.journal.decisions() if "; left out: repay USDC: simulated, " in one.text]
    assert loud.severity is Severity.ALARM
    assert (await rig.settle()).state is FiringState.DONE
    assert rig.chain.health_factor(rig.account) >= TARGET
    assert len(rig.on_chain()) == 2, "an approval and a supply"
    rig.check()


async def test_where_nothing_is_left_without_it_it_is_refused_and_counted_as_before(without_permit: OpenRig) -> None:
    rig = await without_permit(REPAY)
    await rig.fall()
    refused = evaluation(rig).refused
    assert refused.code == "simulation-reverted"
    await rig.mine(2)
    assert rig.on_chain() == []
    assert {one.state for one in rig.firings} == {FiringState.DROPPED}
    assert "simulation refused it" in " ".join(rig.wired.engine.breaker.counting)
    rig.check()


async def test_who_said_yes_is_asked_again_without_that_step(without_permit: OpenRig) -> None:
    rig = await without_permit(f"{REPAY}\n\n{ADD}", mode="confirm")
    await rig.fall()
    (asked,) = rig.view.confirmations
    assert [step.action.kind.word for step in asked.plan.steps] == ["repay"]
    with pytest.raises(CommandRefused, match="look at what is left without that step, and answer again"):
        await rig.wired.commands.answer(asked.id, True, asked.digest)
    assert rig.on_chain() == []
    (rest,) = rig.view.confirmations
    assert [step.action.kind.word for step in rest.plan.steps] == ["add-collateral"]
    await rig.mine()
    (still,) = rig.view.confirmations
    assert [step.action.kind.word for step in still.plan.steps] == ["add-collateral"], "at the next block too"
    await rig.wired.commands.answer(still.id, True, still.digest)
    assert (await rig.settle()).state is FiringState.DONE
    assert rig.chain.health_factor(rig.account) >= TARGET
    rig.check()


async def test_a_yes_to_the_rest_at_the_same_block_is_carried_out(without_permit: OpenRig) -> None:
    rig = await without_permit(f"{REPAY}\n\n{ADD}", mode="confirm")
    await rig.fall()
    (asked,) = rig.view.confirmations
    with pytest.raises(CommandRefused, match="answer again"):
        await rig.wired.commands.answer(asked.id, True, asked.digest)
    (rest,) = rig.view.confirmations
    await rig.wired.commands.answer(rest.id, True, rest.digest)
    assert (await rig.settle()).state is FiringState.DONE
    (firing,) = rig.firings
    assert firing.state is FiringState.DONE
    rig.check()
