"""A stop closes its part once: nothing but having closed it uses it up, and nothing closes it a second time.

The whole engine on a node, keystore, signer, journal, pool. The stop lies at 2,700; 18,000 USDC are owed.
"""

from __future__ import annotations

import pytest

from tests.faults.test_mempool import _refuse_one_block
from tests.support.fault_rig import FaultRig, OpenRig
from tui.model.intent import FiringState

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]

HEALTH = '{ health_factor_below = "1.25", for_blocks = 1 }'
TARGET = '{ health_factor = "1.50" }'
OWED = 18_000 * 10**6
DOLLAR = 10**6


async def stop_loss(opens: OpenRig, part: str = "50%", blocks: int = 1) -> FaultRig:
    """An engine armed with a stop at 2,700 that repays a part from the wallet, after so many blocks under it."""
    rig = await opens()
    text = rig.rules.read_text().replace(HEALTH, f'{{ price_of = "WETH", below = "2700", for_blocks = {blocks} }}')
    rig.rules.write_text(text.replace(TARGET, f'{{ close = "{part}" }}'))
    # Enough to close the whole: what is closed twice is seen.
    rig.chain.give("USDC", 30_000 * DOLLAR, rig.account)
    await rig.mine()
    await rig.arm()
    return rig


def owed(rig: FaultRig) -> int:
    return rig.chain.call(rig.chain.token("USDC").v_token, "balanceOf(address)", ["uint256"], rig.account)


def is_closed(rig: FaultRig, bps: int = 5_000) -> bool:
    """Whether that part is closed, and no more; the interest of seconds counts for nothing."""
    return abs(owed(rig) - OWED * (10_000 - bps) // 10_000) < DOLLAR


# --- reverted --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 3])
async def test_a_restart_after_a_revert_does_not_use_a_stop_up(open_faulty: OpenRig, blocks: int) -> None:
    rig = await stop_loss(open_faulty, blocks=3)
    await rig.fall("2650")
    await rig.mine(2)
    await _refuse_one_block(rig)
    while "planned anew" not in rig.said:
        await rig.mine()
    if blocks == 1:
        await rig.mine(1)
    await rig.restart()
    await rig.arm()
    await rig.mine(8)
    assert [one.state for one in rig.firings] == [FiringState.DONE, FiringState.FAILED], rig.said
    assert is_closed(rig)
    await rig.restart()
    await rig.arm()
    await rig.mine(8)
    assert len(rig.firings) == 2
    rig.check()


# --- left and started anew -------------------------------------------------------------------------------------------


async def test_leaving_the_app_is_not_disarming_by_hand(open_faulty: OpenRig) -> None:
    rig = await stop_loss(open_faulty)
    await rig.fall("2650")
    await rig.mine(5)
    assert is_closed(rig)
    await rig.wired.commands.disarm("guard", "the screen was left", by_hand=False)
    await rig.restart()
    await rig.arm()
    await rig.mine(5)
    assert len(rig.firings) == 1
    assert is_closed(rig), "half of it, not three quarters"
    await rig.wired.commands.disarm("guard", "by hand")
    await rig.arm()
    await rig.mine(5)
    assert is_closed(rig, 7_500), "a person armed it anew"
    rig.check()
