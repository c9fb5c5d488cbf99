"""A stop closes its part once: nothing but having closed it uses it up, and nothing closes it a second time.

The whole engine on a node, keystore, signer, journal, pool. The stop lies at 2,700; 18,000 USDC are owed.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.fault_rig import FaultRig, OpenRig
from tui.engine.further import time_text
from tui.engine.outcomes import MOST_LOOKS
from tui.engine.retrying import rest_seconds
from tui.model.intent import FiringState
from tui.model.units import WAD

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]

HEALTH = '{ health_factor_below = "1.25", for_blocks = 1 }'
TARGET = '{ health_factor = "1.50" }'
OWED = 18_000 * 10**6
DOLLAR = 10**6
A_QUARTER = r"has closed (24\.99|25)% of 50%"
"""What was owed has the interest of the seconds since it was borrowed, or of none."""


async def stop_loss(opens: OpenRig, goal: str = '{ close = "50%" }', blocks: int = 1) -> FaultRig:
    """An engine armed with a stop at 2,700 that repays half from the wallet (or does what `goal` says), after so many
    blocks under it.
    """
    rig = await opens()
    text = rig.rules.read_text().replace(HEALTH, f'{{ price_of = "WETH", below = "2700", for_blocks = {blocks} }}')
    rig.rules.write_text(text.replace(TARGET, goal))
    # Enough to close the whole: what is closed twice is seen.
    rig.chain.give("USDC", 30_000 * DOLLAR, rig.account)
    await rig.mine()
    await rig.arm()
    return rig


def hold(rig: FaultRig, usdc: int) -> None:
    """The wallet has so many USDC, no more and no less."""
    have, want = rig.chain.balance("USDC", rig.account), usdc * DOLLAR
    if have > want:
        rig.chain.take("USDC", rig.account, but=want)
    elif have < want:
        rig.chain.give("USDC", want - have, rig.account)


def owed(rig: FaultRig) -> int:
    return rig.chain.call(rig.chain.token("USDC").v_token, "balanceOf(address)", ["uint256"], rig.account)


def is_closed(rig: FaultRig, bps: int = 5_000) -> bool:
    """Whether that part is closed, and no more; the interest of seconds counts for nothing."""
    return abs(owed(rig) - OWED * (10_000 - bps) // 10_000) < DOLLAR


async def price(rig: FaultRig, usd: str, blocks: int = 6) -> None:
    """Another price, for so many blocks."""
    rig.chain.set_price("WETH", usd)
    await rig.mine(blocks)


# --- reverted --------------------------------------------------------------------------------------------------------


async def test_a_stop_that_reverted_is_not_used_up_where_the_price_is_back_when_that_is_final(
    open_faulty: OpenRig,
) -> None:
    rig = await stop_loss(open_faulty)
    await rig.fall("2650")
    await rig.refuse_one_block()
    await price(rig, "2705")
    assert [one.state for one in rig.firings] == [FiringState.FAILED]
    assert "its rebalance reverted on chain: it fires anew once it is beyond its trigger" in rig.said
    assert owed(rig) >= OWED
    await price(rig, "2650")
    assert [one.state for one in rig.firings] == [FiringState.DONE, FiringState.FAILED]
    assert is_closed(rig)
    await price(rig, "2705")
    await price(rig, "2650")
    assert len(rig.firings) == 2, "having closed its part it is used up"
    rig.check()


async def test_a_stop_that_reverts_again_and_again_rests_longer_each_time_and_then_fires(open_faulty: OpenRig) -> None:
    rig = await stop_loss(open_faulty)
    await rig.fall("2650")
    for _ in range(30):
        if rig.firings and rig.firing.state.is_open:
            await rig.refuse_one_block()
            continue
        if len(rig.firings) == 4:
            break
        rig.chain.advance(rest_seconds(len(rig.firings)))
        await rig.mine()
    assert [one.state for one in rig.firings] == [FiringState.FAILED] * 4
    rest = "its rebalance reverted 4 times in a row: it is tried again from "
    assert rest in rig.said
    assert any(rest in line for line in rig.wired.engine.view.would_stop)
    rig.chain.advance(rest_seconds(4))
    await rig.mine(5)
    assert is_closed(rig), rig.said
    rig.check()


@pytest.mark.parametrize("blocks", [1, 3])
async def test_a_restart_after_a_revert_does_not_use_a_stop_up(open_faulty: OpenRig, blocks: int) -> None:
    rig = await stop_loss(open_faulty, blocks=3)
    await rig.fall("2650")
    await rig.mine(2)
    await rig.refuse_one_block()
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


# --- less than its part ----------------------------------------------------------------------------------------------


async def test_a_stop_that_closed_less_than_its_part_goes_on_with_the_rest_over_a_restart(open_faulty: OpenRig) -> None:
    """The wallet pays half of the part, then the rest of it comes: half of the debt is closed, not half of the rest."""
    rig = await stop_loss(open_faulty)
    hold(rig, 4_500)
    await rig.fall("2650")
    await rig.mine(6)
    assert is_closed(rig, 2_500)
    assert re.search(f"{A_QUARTER}: as long as it is beyond its trigger it goes on with the rest", rig.said)
    await rig.restart()
    await rig.arm()
    await price(rig, "2705")
    hold(rig, 20_000)
    await rig.mine(4)
    assert len(rig.firings) == 1, "the price is over its level"
    await price(rig, "2650")
    assert [one.state for one in rig.firings] == [FiringState.DONE] * 2
    assert is_closed(rig)
    await price(rig, "2705")
    await price(rig, "2600")
    await rig.restart()
    await rig.arm()
    await rig.mine(4)
    assert len(rig.firings) == 2, "having closed its part it is used up"
    rig.check()


async def test_a_stop_that_was_too_short_for_its_target_of_health_goes_on_and_what_met_it_does_not(
    open_faulty: OpenRig,
) -> None:
    rig = await stop_loss(open_faulty, '{ health_factor = "1.60" }')
    hold(rig, 1_000)
    await rig.fall("2650")
    await rig.mine(6)
    assert "did not reach its target: as long as it is beyond its trigger it goes on" in rig.said
    hold(rig, 20_000)
    await rig.mine(6)
    assert [one.state for one in rig.firings] == [FiringState.DONE] * 2
    assert rig.chain.health_factor(rig.account) > 16 * WAD // 10
    await price(rig, "2500")
    assert rig.chain.health_factor(rig.account) < 16 * WAD // 10
    assert len(rig.firings) == 2, "the price fell on: that is no reason to fire again"
    rig.check()


async def test_a_stop_that_was_too_short_says_so_where_the_price_has_lifted_health_to_its_target_since(
    open_faulty: OpenRig,
) -> None:
    """It is under its level still, so it goes on should health fall again."""
    rig = await stop_loss(open_faulty, '{ health_factor = "1.30" }')
    hold(rig, 1_000)
    await rig.fall("2650")
    await price(rig, "2690")
    assert rig.firing.state is FiringState.DONE
    assert rig.chain.health_factor(rig.account) > 13 * WAD // 10
    assert "did not reach its target" not in rig.said
    assert "was short of its target of 1.30, where the price has taken health by now: under it, and" in rig.said
    hold(rig, 20_000)
    await price(rig, "2600")
    assert [one.state for one in rig.firings] == [FiringState.DONE] * 2
    rig.check()


async def test_what_a_hand_disarmed_forgets_the_rest_and_closes_a_part_of_what_is_owed_then(
    open_faulty: OpenRig,
) -> None:
    rig = await stop_loss(open_faulty)
    hold(rig, 4_500)
    await rig.fall("2650")
    await rig.mine(6)
    assert is_closed(rig, 2_500)
    await rig.wired.commands.disarm("guard", "by hand")
    hold(rig, 20_000)
    await rig.mine()
    await rig.arm()
    await rig.mine(6)
    assert is_closed(rig, 6_250), "half of the three quarters"
    rig.check()


async def test_what_a_person_cancelled_is_not_gone_on_with(open_faulty: OpenRig) -> None:
    rig = await stop_loss(open_faulty)
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(100 * 10**9))
    await rig.fall("2650")
    await rig.cancel()
    await rig.mine(10)
    assert [one.state for one in rig.firings] == [FiringState.FAILED], rig.said
    assert owed(rig) >= OWED
    assert "disarm it and arm it again" in rig.said
    rig.check()


def without_logs(params: list[Any], receipt: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a node answers that keeps no events."""
    return None if receipt is None else {**receipt, "logs": []}


async def test_where_no_receipt_ever_tells_what_was_closed_it_ends_there_and_says_so(open_faulty: OpenRig) -> None:
    """How much more would be the part, nobody knows: closing too much is as bad as closing too little."""
    rig = await stop_loss(open_faulty)
    hold(rig, 4_500)
    rig.proxies[0].lie("eth_getTransactionReceipt", without_logs)
    await rig.fall("2650")
    await rig.mine(4 + MOST_LOOKS)
    assert "its receipts cannot be read, so how much it closed is not known: fires once" in rig.said
    rig.proxies[0].heal()
    hold(rig, 20_000)
    await rig.mine(6)
    assert len(rig.firings) == 1
    assert is_closed(rig, 2_500)
    assert any("fires once: disarm it and arm it again" in line for line in rig.view.would_stop)
    rig.check()


async def test_a_restart_while_receipts_are_waited_for_counts_what_was_closed_once(open_faulty: OpenRig) -> None:
    rig = await stop_loss(open_faulty)
    hold(rig, 4_500)
    rig.proxies[0].lie("eth_getTransactionReceipt", without_logs)
    await rig.fall("2650")
    await rig.mine(5)
    assert rig.firing.state is FiringState.DONE
    assert "has closed" not in rig.said
    await rig.restart()
    rig.proxies[0].heal()
    await rig.arm()
    await rig.mine(2)
    assert len(re.findall(A_QUARTER, rig.said)) == 1
    await rig.restart()
    hold(rig, 20_000)
    await rig.arm()
    await rig.mine(6)
    assert is_closed(rig), "half, by what was owed when it first fired"
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


async def test_a_stop_that_is_used_up_says_so_when_it_is_armed_again_and_as_long_as_it_is(open_faulty: OpenRig) -> None:
    rig = await stop_loss(open_faulty)
    await rig.fall("2650")
    await rig.mine(6)
    assert is_closed(rig)
    used_up = "it has fired already, and fires once: disarm it and arm it again to let it fire anew"
    assert [line for line in rig.view.would_stop if "fires once: disarm it and arm it again" in line]
    await rig.restart()
    report = await rig.wired.commands.arming_report("guard")
    assert used_up in report.warnings
    assert not any("fires at once" in line for line in report.warnings)
    await rig.arm()
    assert f"guard: armed, but {used_up}" in rig.said
    await price(rig, "2705")
    assert [line for line in rig.view.would_stop if "fires once: disarm it and arm it again" in line]
    await rig.wired.commands.disarm("guard", "by hand")
    await price(rig, "2650")
    report = await rig.wired.commands.arming_report("guard")
    assert any("it fires at once: WETH 2,650.00" in line for line in report.warnings)
    assert used_up not in report.warnings


async def test_a_rule_that_rests_while_health_falls_anew_says_so_and_until_when(open_faulty: OpenRig) -> None:
    rig = await open_faulty(cooldown="1h")
    await rig.fall()
    await rig.settle()
    await rig.mine(2)
    rests = f"it is beyond its trigger and rests until {time_text(rig.firing.block_timestamp + 3_600)}"
    assert rests not in rig.said
    await price(rig, "1900", 3)
    assert any("below 1.25; rests " in line for line in rig.view.would_stop)
    assert rig.said.count(rests) == 1
