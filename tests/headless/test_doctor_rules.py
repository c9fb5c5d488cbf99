"""A rule that would act and is not armed is no defence, whatever stands armed beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import RULE, MakeRig, keystore_file, make_rig
from tests.faults.test_process import arguments
from tests.headless.test_doctor import BEAT, NOW
from tests.support.program import run_trimtab, trimtab
from tui.headless.checks import engine_checks, unarmed_checks, verdict
from tui.headless.heartbeat import Beat

pytestmark = pytest.mark.usefixtures("warm_programs")

__all__ = ["keystore_file", "make_rig"]


@pytest.mark.parametrize(
    ("beat", "bad"),
    [
        (BEAT, ["rule second"]),
        (replace(BEAT, disarmed=(("second", "disarmed: by hand"),)), []),
        (replace(BEAT, armed=(*BEAT.armed, replace(BEAT.armed[0], rule="second"))), []),
        (replace(BEAT, stopped=True), []),
    ],
)
def test_each_acting_rule_is_held_against_what_the_engine_has_armed(beat: Beat, bad: list[str]) -> None:
    """A rule that was disarmed is bad already, in the engine's own words; without an engine all of it is."""
    found = list(engine_checks(beat, "", 41, True, NOW))
    checks = list(unarmed_checks(["guard", "second"], found, beat))
    assert [check.name for check in checks if check.level == "bad"] == bad
    assert verdict([*found, *checks], beat).well is (beat == replace(BEAT, armed=beat.armed) and not bad)


@pytest.mark.node
async def test_a_rule_that_run_does_not_arm_is_found(make_rig: MakeRig, tmp_path: Path) -> None:
    rule = RULE.format(mode="auto", usdc="20000")
    rig = await make_rig(rules_text=rule + rule.replace('"guard"', '"second"').replace('"auto"', '"confirm"'))
    await rig.wired.aclose()
    given = arguments(rig, tmp_path, tmp_path / "own")
    async with trimtab("run", *given) as program:
        rig.chain.mine()
        await program.said("armed: guard on")
        at = given.index("--password-file")
        code, out, _ = await run_trimtab("doctor", "--json", *given[:at], *given[at + 2 :])
        assert await program.stop() == 0
    told = json.loads(out)
    assert (code, told["armed"], told["ok"]) == (1, True, False)
    (found,) = [one for one in told["checks"] if "has not armed it" in one["detail"]]
    assert (found["name"], found["level"]) == ("rule second", "bad")
    fine = [one["name"] for one in told["checks"] if "its means reach its target" in one["detail"]]
    assert fine == ["rule guard"], "one rule is not bad and fine in one report"
