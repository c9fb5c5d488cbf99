"""A sale that could not be made is found while nothing is due: before arming, while it is armed, and by the doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.test_cheapest import commands
from tests.support.fault_rig import ADD, FaultRig, World, rule_text
from tests.support.on_exchange import SELL, Open
from tests.support.positions import PPM, follow
from tests.support.program import run_trimtab
from tui.engine.facade import CommandRefused
from tui.engine.rechecking import RECHECK_BLOCKS
from tui.practice.accounts import OWNER

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]

__all__ = ["commands"]

LOSES = "deleverage WETH for USDC: now it would lose 1.0"
BELOW = {"WETH": PPM - 10_000}


def standing(rig: FaultRig) -> str:
    return "\n".join(rig.wired.engine.would_stop)


async def test_a_slippage_that_the_pools_fee_takes_to_the_last_point_is_not_armed(selling: Open) -> None:
    with pytest.raises(CommandRefused, match=r"the pool's fee alone is 0\.05%, the step allows 0\.05%"):
        await selling(SELL.format("0.05%"))


async def test_what_a_sale_would_lose_now_is_remarked_before_arming(selling: Open, world: World) -> None:
    rig = await selling(SELL.format("0.3%"))
    report = await rig.wired.commands.arming_report("guard")
    assert not any("it would lose" in line or "it gets to" in line for line in report.warnings)
    follow(rig.chain, BELOW)
    await rig.head()
    report = await rig.wired.commands.arming_report("guard")
    assert any(LOSES in line and "over the step's 0.30%" in line for line in report.warnings)
    assert any("where it fires, with what is there now, it gets to 1.2" in line for line in report.warnings)
    assert report.problems == (), "it passes by itself: no reason to leave a position without any defence"


async def test_pools_that_left_are_found_while_a_rule_is_armed_and_told_from_beginning_to_end(selling: Open) -> None:
    rig = await selling(SELL.format("0.3%"))
    await rig.mine()
    assert standing(rig) == ""
    follow(rig.chain, BELOW)
    await rig.mine(RECHECK_BLOCKS)
    assert "guard: where it fires, with what is there now, it gets to 1.2" in standing(rig)
    assert any(LOSES in line for line in rig.wired.engine.worth_knowing)
    assert rig.said.count("it is not as it was when it was armed") == 1
    assert rig.view.would_stop == tuple(standing(rig).split("\n"))
    follow(rig.chain)
    await rig.mine(RECHECK_BLOCKS)
    assert standing(rig) == ""
    assert rig.said.count("well again, no longer: where it fires") == 1
    assert rig.firings == ()


async def test_a_threshold_that_changes_has_all_of_it_looked_at_at_once(selling: Open) -> None:
    rig = await selling(SELL.format("0.3%"))
    await rig.mine()
    follow(rig.chain, BELOW)
    await rig.mine()
    assert standing(rig) == ""
    configure = "configureReserveAsCollateral(address,uint256,uint256,uint256)"
    rig.chain.send(OWNER, rig.chain.market.configurator, configure, rig.chain.token("WETH").address, 7800, 8200, 10500)
    await rig.mine()
    assert "it gets to 1.2" in standing(rig)


async def test_with_another_way_to_the_target_nothing_stops_the_defence(selling: Open) -> None:
    rig = await selling(f"{SELL.format('0.3%')}\n{ADD}")
    follow(rig.chain, BELOW)
    await rig.mine(RECHECK_BLOCKS)
    assert standing(rig) == ""
    assert any(LOSES in line for line in rig.wired.engine.worth_knowing)


async def test_the_doctor_calls_no_sale_well_that_cannot_be_made(
    commands: list[object], world: World, tmp_path: Path
) -> None:
    async def told(slippage: str) -> dict[str, str]:
        (tmp_path / "rules.toml").write_text(rule_text(SELL.format(slippage)))
        _, out, _ = await run_trimtab("doctor", "--json", *commands, "--keystore", world.keystore)
        return {one["detail"]: one["level"] for one in json.loads(out)["checks"] if one["name"] == "rule guard"}

    assert [level for text, level in (await told("1%")).items() if "its means reach its target" in text] == ["ok"]
    found = await told("0.02%")
    assert not any("its means reach" in text for text in found)
    assert any("the pool's fee alone is 0.05%" in text and level == "bad" for text, level in found.items())
    follow(world.chain, BELOW)
    found = await told("0.3%")
    assert not any("its means reach" in text for text in found)
    assert any("it gets to 1.05" in text and level == "bad" for text, level in found.items())
    assert any(LOSES in text and level == "note" for text, level in found.items())
