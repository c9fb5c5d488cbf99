"""A sale that is simulated well and reverts in its block, again and again: it is tried on while the means suffice.

Somebody moves the pool before each inclusion and back after it, waits for the liquidation, and takes its bonus: no rest
of the rule may be long enough for that.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from eth_utils.crypto import keccak

from tests.support.fault_rig import REPAY, FaultRig
from tests.support.on_exchange import SELL, Open, fall, health, mine_in_moved_pools, on_target, plan_of, wallet
from tests.support.positions import PPM
from tui.model.intent import FiringState
from tui.model.rule import ActionKind
from tui.model.units import WAD

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]


def unmined(rig: FaultRig) -> list[bytes]:
    """What was signed and is in no block yet."""
    chain = rig.chain
    raws = [attempt.raw for firing in rig.firings for intent in firing.intents for attempt in intent.attempts]
    return [raw for raw in raws if chain.rpc("eth_getTransactionReceipt", "0x" + keccak(raw).hex()) is None]


async def include_in_moved_pools(rig: FaultRig, raws: list[bytes]) -> None:
    """What was sent is mined while the pool of WETH is 3% off; after it the pool is well again."""
    mine_in_moved_pools(rig.chain, raws, {"WETH": PPM - 30_000})
    rig.clock.advance(2)
    await rig.head()


async def test_a_sale_that_somebody_makes_revert_is_tried_on_in_an_emergency(defending: Open) -> None:
    rig = await defending(SELL.format("2%"))
    usd = Decimal("2500")
    await fall(rig, usd=usd)
    while len(rig.firings) < 7:
        if raws := unmined(rig):
            await include_in_moved_pools(rig, raws)
            continue
        usd = max(usd - 40, Decimal("2230"))
        rig.chain.advance(12)
        await fall(rig, usd=usd)
    assert {one.state for one in rig.firings[1:]} == {FiringState.FAILED}
    assert WAD < health(rig) < 105 * WAD // 100
    held = wallet(rig)
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    assert health(rig) > 149 * WAD // 100
    assert wallet(rig)["USDC"] >= held["USDC"], "sold out of the position, and nothing of the wallet"
    assert not any("already fired" in line for line in rig.wired.engine.view.would_stop)
    rig.check()


@pytest.mark.parametrize("restarts", [False, True], ids=["one run", "a restart"])
async def test_what_reverted_twice_is_left_out_where_the_rest_of_the_rule_suffices(
    defending: Open, restarts: bool
) -> None:
    """The sale is first in the rule and would do it all; nobody can make a repayment out of the wallet revert. What
    reverted is on record: a restart has not to learn it anew.
    """
    rig = await defending(f"{SELL.format('2%')}\n{REPAY}")
    await fall(rig)
    for _ in range(12):
        if len(rig.firings) == 3:
            break
        if restarts and len(rig.firings) == 2 and not unmined(rig):
            restarts = False
            await rig.restart()
            await rig.arm()
        if raws := unmined(rig):
            await include_in_moved_pools(rig, raws)
            continue
        rig.chain.advance(10)
        await rig.mine()
    assert not restarts, "it was restarted"
    assert [one.state for one in rig.firings[1:]] == [FiringState.FAILED] * 2
    assert [step.action.kind for step in plan_of(rig).steps] == [ActionKind.REPAY]
    assert "left out: deleverage WETH for USDC: its transaction reverted on chain twice in a row" in rig.said
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()
