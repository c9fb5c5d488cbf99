"""A rule whose means do not reach its target: refused where it is armed anew, never where a restart arms it again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_rig import PASSWORD, FaultRig, OpenRig, World, open_rig
from tests.support.program import network_file, run_trimtab, trimtab
from tui.engine.facade import CommandRefused
from tui.engine.rechecking import RECHECK_BLOCKS
from tui.model.intent import FiringState
from tui.model.units import WAD
from tui.model.view import Severity
from tui.practice.accounts import OWNER

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]

STEP = '[[rule.step]]\naction = "repay"\nasset = "USDC"\nmax = "{}"'
SHORT, ENOUGH = STEP.format("1000"), STEP.format("20000")
"""3,000 are needed from the trigger to the target."""
FAR = "where it fires, with what is there now, it gets to 1.323"
MENDS = (
    "fund the wallet, raise a max, add a step, write a lower target, or write partial = true to have it armed for as "
    "far as it gets"
)
AGAIN = "guard: armed again as it was before, all the same: where it fires, with what is there now, it gets to 1.2"


@pytest.fixture
async def unarmed(world: World, tmp_path: Path, warm_signers: None) -> AsyncIterator[OpenRig]:
    async with AsyncExitStack() as stack:

        async def make(steps: str, **options: Any) -> FaultRig:
            return await open_rig(stack, world, tmp_path, steps=steps, **options)

        yield make


def rewrite(rig: FaultRig, old: str, new: str) -> None:
    """Change the rules file, and let the engine read it."""
    text = rig.rules.read_text()
    assert old in text
    rig.rules.write_text(text.replace(old, new))
    rig.wired.engine.reload_rules(force=True)


def spend(rig: FaultRig, whole: int) -> None:
    """So many USDC leave the wallet, by another hand."""
    rig.chain.send(rig.account, rig.chain.token("USDC").address, "transfer(address,uint256)", OWNER,
                   rig.chain.units("USDC", whole))  # fmt: skip


def said(rig: FaultRig, words: str) -> list[Severity]:
    assert rig.wired.journal is not None
    return [one.severity for one in rig.wired.journal.decisions() if words in one.text]


async def test_what_does_not_reach_its_target_is_not_armed_anew(unarmed: OpenRig) -> None:
    rig = await unarmed(SHORT)
    report = await rig.wired.commands.arming_report("guard")
    (problem,) = report.problems
    assert problem.startswith(FAR)
    assert "not to 1.50 (" in problem
    assert problem.endswith(f"; {MENDS}")
    assert not any("at its trigger" in line for line in report.warnings), "the same is told once"
    with pytest.raises(CommandRefused, match=r"it gets to 1\.323"):
        await rig.arm()
    assert rig.wired.engine.book.armed == {}
    rewrite(rig, 'max = "1000"', 'max = "20000"')
    await rig.arm()
    assert not said(rig, "all the same")
    assert not said(rig, "for a part of the way")


async def test_a_part_of_the_way_that_the_rule_says_is_welcome_is_armed_for_loudly_and_gone(unarmed: OpenRig) -> None:
    rig = await unarmed(SHORT)
    rewrite(rig, 'mode = "auto"', 'mode = "auto"\npartial = true')
    report = await rig.wired.commands.arming_report("guard")
    assert report.problems == ()
    (remark,) = [line for line in report.warnings if line.startswith(FAR)]
    assert "partial" not in remark
    await rig.arm()
    assert said(rig, f"guard: armed for a part of the way: {FAR}") == [Severity.WARNING]
    await rig.mine()
    assert rig.view.would_stop == ()
    assert any(FAR in line for line in rig.wired.engine.worth_knowing)
    await rig.fall("2650")
    assert (await rig.settle()).state is FiringState.DONE
    assert 125 * WAD // 100 < rig.chain.health_factor(rig.account) < 15 * WAD // 10
    rig.check()


async def test_a_part_of_the_way_that_is_none_of_it_is_told_among_what_would_stop_it(unarmed: OpenRig) -> None:
    rig = await unarmed(SHORT)
    rewrite(rig, 'mode = "auto"', 'mode = "auto"\npartial = true')
    spend(rig, 20_000)
    await rig.mine()
    await rig.arm()
    await rig.mine()
    (stops,) = rig.view.would_stop
    assert stops.startswith("guard: at its trigger it would not act: ")
    assert "holds none" in stops


async def test_means_that_shrink_under_an_armed_rule_are_told_and_disarm_nothing(unarmed: OpenRig) -> None:
    """An alarm where it promised the target, a warning where a part of the way was welcome."""
    rig = await unarmed(ENOUGH)
    told = "guard on 0x"
    for partial, severity in ((False, Severity.ALARM), (True, Severity.WARNING)):
        if partial:
            rewrite(rig, 'mode = "auto"', 'mode = "auto"\npartial = true')
        await rig.arm()
        await rig.mine()
        before = len(said(rig, told))
        spend(rig, 19_000)
        await rig.mine(RECHECK_BLOCKS)
        shrunk = "it is not as it was when it was armed: where it fires, with what is there now, it gets to 1.3"
        assert said(rig, shrunk)[-1] is severity
        assert any("it gets to 1.3" in line for line in rig.view.would_stop) is not partial
        assert rig.view.protection == "ARMED"
        rig.chain.give("USDC", rig.chain.units("USDC", 19_000), rig.account)
        await rig.mine(RECHECK_BLOCKS)
        assert said(rig, told)[before:] == [severity, Severity.GOOD]


async def test_a_restart_arms_again_what_lost_its_means_and_says_so_loudly(unarmed: OpenRig) -> None:
    rig = await unarmed(ENOUGH)
    await rig.arm()
    spend(rig, 19_500)
    await rig.mine()
    assert rig.view.protection == "ARMED", "nothing disarms it because its means shrank"
    await rig.restart()
    report = await rig.wired.commands.arming_report("guard")
    assert report.problems == ()
    await rig.arm()
    assert said(rig, AGAIN) == [Severity.ALARM]
    await rig.fall("2650")
    assert (await rig.settle()).state is FiringState.DONE
    assert rig.chain.health_factor(rig.account) > 2650 * 83 * WAD // 180_000
    rig.check()


async def test_only_what_was_armed_as_it_reads_now_and_not_by_a_hand_disarmed_is_armed_again(unarmed: OpenRig) -> None:
    rig = await unarmed(ENOUGH)
    await rig.arm()
    spend(rig, 19_500)
    await rig.restart()
    rewrite(rig, 'target = { health_factor = "1.50" }', 'target = { health_factor = "1.49" }')
    with pytest.raises(CommandRefused, match=r"not to 1\.49"):
        await rig.arm()
    rewrite(rig, '"1.49"', '"1.50"')
    await rig.arm()
    await rig.wired.commands.disarm("guard", "the terminal is gone", by_hand=False)
    await rig.arm()
    await rig.wired.commands.disarm("guard", "by hand")
    await rig.restart()
    with pytest.raises(CommandRefused, match=r"not to 1\.50"):
        await rig.arm()


async def test_more_that_may_be_taken_than_is_needed_is_refused_anew_and_remarked_again(unarmed: OpenRig) -> None:
    rig = await unarmed(ENOUGH)
    await rig.arm()
    rig.chain.send(rig.account, rig.chain.token("USDC").address, "approve(address,uint256)", rig.chain.market.pool,
                   2**256 - 1)  # fmt: skip
    await rig.restart()
    assert (await rig.wired.commands.arming_report("guard")).problems == ()
    await rig.arm()
    (alarm,) = {one.text for one in rig.wired.journal.decisions() if "all the same" in one.text}
    assert (
        "may take more of the wallet's USDC (without limit) than a plan will need: the step would not be done" in alarm
    )
    assert 'standing_allowance = "use"' in alarm
    await rig.wired.commands.disarm("guard", "by hand")
    with pytest.raises(CommandRefused, match="may take more of the wallet's USDC"):
        await rig.arm()


async def test_run_goes_on_for_the_others_and_every_output_says_the_same(
    unarmed: OpenRig, world: World, tmp_path: Path
) -> None:
    rig = await unarmed(SHORT)
    text = rig.rules.read_text()
    good = text.replace('"guard"', '"good"').replace('"1000"', '"20000"').replace('"1.25"', '"1.24"')
    rig.rules.write_text(text + good)
    await rig.wired.aclose()
    rig.chain.set_automine(True)
    network = network_file(
        tmp_path / "network.toml", [rig.chain.url], rig.chain.market.provider, rig.chain.token("WETH").feed
    )
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    looking: list[object] = [
        "--network", network, "--rules", rig.rules, "--config", tmp_path / "own", "--state", tmp_path / "run",
    ]  # fmt: skip
    key: list[object] = ["--keystore", world.keystore]
    async with trimtab("run", "--json", *looking, *key, "--password-file", password) as program:
        rig.chain.mine()
        await program.said("armed: good on")
        await program.said("trimtab run: goes on without guard")
        rig.chain.set_price("WETH", "2600")
        rig.chain.mine()
        await program.said("in block")
        rig.chain.mine(3)
        await program.said("good: done")
        assert await program.stop() == 4, "a rule was refused"
    assert "trimtab run: guard is NOT armed: where it fires, with what is there now, it gets to 1.3" in program.text
    (event,) = [one for one in map(json.loads, program.out.splitlines()) if one["event"] == "refused"]
    assert event["rule"] == "guard"
    assert event["why"].endswith(MENDS)

    rig.chain.set_price("WETH", "3000")
    rig.chain.mine()
    _, out, _ = await run_trimtab("doctor", "--json", *looking, *key)
    (check,) = [one for one in json.loads(out)["checks"] if one["name"] == "rule guard"]
    assert check["level"] == "bad"
    assert check["detail"].startswith("where it fires, with what is there now, it gets to 1.3")
    assert check["fix"] == MENDS
    _, out, _ = await run_trimtab("plan", "--json", *looking, "--address", world.account)
    (guard,) = [one for one in json.loads(out)["rules"] if one["rule"] == "guard"]
    (problem,) = [one for one in guard["problems"] if one["refuses_arming"]]
    assert (problem["code"], problem["words"], problem["fix"]) == ("out-of-reach", check["detail"], MENDS)
    _, out, _ = await run_trimtab("plan", *looking, "--address", world.account)
    assert f"    would NOT be armed anew: {check['detail']}; {MENDS}" in out

    spend(rig, 15_000)
    async with trimtab("run", *looking, *key, "--password-file", password) as program:
        rig.chain.mine()
        await program.said("armed: good on")
        assert await program.stop() == 4
    assert "good: armed again as it was before, all the same: where it fires, with what is there now" in program.text

    rig.rules.write_text(text)
    async with trimtab("run", *looking, *key, "--password-file", password) as program:
        rig.chain.mine()
        assert await program.ended() == 4, "nothing at all is armed"
