"""Code that appears on an account, disappears, or is not what its address says: ours is told apart by its hash."""

from __future__ import annotations

import pytest

from tests.e2e.test_delegated import Open, itself, opened, set_code, the_code
from tests.support.fault_rig import FaultRig
from tests.support.on_exchange import fall, nothing_left, on_target
from tests.support.positions import follow
from tui.engine.facade import CommandRefused
from tui.model.intent import FiringState
from tui.model.view import Protection

__all__ = ["opened"]

pytestmark = pytest.mark.node
FOREIGN = "0x" + "bb" * 20


async def disarmed(rig: FaultRig, words: str) -> None:
    await rig.mine()
    assert rig.view.protection is Protection.WATCHING, rig.view.protection_why
    assert words in rig.said
    rig.chain.set_price("WETH", "2277.11")
    await rig.mine(2)
    assert rig.firings == ()


async def test_59_our_own_code_that_appears_under_an_armed_rule_disarms_until_it_is_armed_anew(opened: Open) -> None:
    rig = await opened(delegated=False)
    await rig.arm()
    set_code(rig, the_code(rig).delegation)
    await disarmed(rig, "was delegated to Trimtab's helper after the rule was armed")
    await rig.arm()
    follow(rig.chain)
    await rig.mine()
    await itself(rig)


@pytest.mark.parametrize("code", ["ef0100" + FOREIGN[2:], "6001"])
async def test_59_any_other_code_disarms_and_cannot_be_armed(opened: Open, code: str) -> None:
    rig = await opened()
    await rig.arm()
    set_code(rig, bytes.fromhex(code))
    await disarmed(rig, "carries code")
    with pytest.raises(CommandRefused, match="helper undelegate"):
        await rig.arm()


async def test_59_code_at_our_address_that_is_not_ours_disarms(opened: Open) -> None:
    """It cannot happen on a chain that keeps its rules; where it does, the address alone is believed nothing."""
    rig = await opened()
    await rig.arm()
    helper = the_code(rig)
    set_code(rig, helper.code[:-1] + bytes([helper.code[-1] ^ 1]), helper.address)
    await disarmed(rig, "carries code")
    set_code(rig, helper.code, helper.address)


async def test_59_a_delegation_that_is_gone_leaves_the_way_of_a_plain_account(opened: Open) -> None:
    """The signer was told both ways: the sale goes through the helper, by permit."""
    rig = await opened()
    await rig.arm()
    set_code(rig, b"")
    await rig.mine()
    assert rig.view.protection is Protection.ARMED
    assert "not delegated to Trimtab's helper any more" in rig.said
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    (intent,) = rig.firing.intents
    assert intent.to == the_code(rig).address
    on_target(rig)
    nothing_left(rig)
    rig.check()
