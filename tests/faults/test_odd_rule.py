"""An unexpected error with one rule: the others defend, and what cannot be judged is told as that."""

from __future__ import annotations

import pytest

from tests.support.fault_rig import FaultRig, OpenRig
from tui.engine.conditions import Condition
from tui.model.block import BlockRef
from tui.model.intent import FiringState
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.model.view import Protection, RuleActivity
from tui.notify.alerts import conditions
from tui.planning.triggering import FiresAt
from tui.rules.evaluate import Verdict
from tui.rules.state import RuleState

pytestmark = pytest.mark.node

TELLS = """\
[[rule]]
name = "tells"
position = "aave-v3/core"
mode = "notify"
when = { health_factor_below = "1.30", for_blocks = 1 }

"""


def odd(rig: FaultRig, name: str) -> list[bool]:
    """Judging the rule fails as long as the list that comes back is not empty."""
    book = rig.wired.engine.book
    judge = book.evaluate
    fails = [True]

    def evaluate(rule: Rule, position: Position, block: BlockRef) -> tuple[RuleState, Verdict]:
        if fails and rule.name == name:
            raise ZeroDivisionError("by nothing")
        return judge(rule, position, block)

    book.evaluate = evaluate  # type: ignore[method-assign]
    return fails


async def test_a_rule_that_cannot_be_judged_keeps_no_other_from_defending(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    rig.rules.write_text(TELLS + rig.rules.read_text())
    await rig.mine()
    assert [one.rule.name for one in rig.view.rules] == ["tells", "guard"]
    odd(rig, "tells")
    await rig.fall()
    await rig.mine(6)
    assert rig.firing.state is FiringState.DONE
    assert rig.view.protection is Protection.ARMED
    (trouble,) = (text for key, text in rig.view.troubles if key.startswith("judging/tells"))
    assert "cannot be judged (unexpected ZeroDivisionError at tui/engine/defender.py" in trouble
    assert any(trouble in one.text for one in conditions(rig.view).values())
    assert rig.said.count("cannot be judged") == 1


async def test_an_armed_rule_that_cannot_be_judged_is_no_armed_one_on_the_screen(open_faulty: OpenRig) -> None:
    """And it defends at the first block at which it can be judged again."""
    rig = await open_faulty()
    fails = odd(rig, "guard")
    await rig.fall()
    await rig.mine(6)
    assert rig.attempts() == []
    (view,) = rig.view.rules
    assert view.activity is RuleActivity.HELD
    assert view.detail.startswith("unknown: it cannot be judged")
    assert any("guard on" in line and "cannot be judged" in line for line in rig.view.would_stop)
    fails.clear()
    await rig.mine(6)
    assert rig.firing.state is FiringState.DONE
    assert rig.view.troubles == ()


async def test_what_fails_once_a_firing_is_open_counts_against_the_engine(open_faulty: OpenRig) -> None:
    """That is about signing: it holds everything after five blocks."""
    rig = await open_faulty()
    executor = rig.wired.engine.executor
    assert executor is not None

    async def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing")

    executor.execute = fails  # type: ignore[method-assign]
    await rig.fall()
    await rig.mine(6)
    assert rig.attempts() == []
    assert rig.view.protection is Protection.HELD
    assert "5 unexpected errors in a row, the last: unexpected ZeroDivisionError" in rig.view.protection_why


async def test_what_is_only_shown_of_a_rule_may_fail_and_the_others_defend(open_faulty: OpenRig) -> None:
    """Where one rule fires and what sales would meet cannot be told; the other fires."""
    rig = await open_faulty()
    rig.rules.write_text(TELLS + rig.rules.read_text())
    await rig.mine()
    prospect = rig.wired.engine.prospect
    fires_at = prospect.fires_at

    def odd_price(rule: Rule, position: Position) -> FiresAt | None:
        if rule.name == "tells":
            raise ZeroDivisionError("by nothing")
        return fires_at(rule, position)

    async def odd_look(rules: object, snapshot: object) -> None:
        raise ZeroDivisionError("by nothing")

    prospect.fires_at = odd_price  # type: ignore[method-assign]
    prospect.look = odd_look  # type: ignore[method-assign]
    await rig.fall()
    await rig.mine(6)
    assert rig.firing.state is FiringState.DONE
    assert rig.view.protection is Protection.ARMED
    told = "\n".join(rig.view.would_stop)
    assert "tells: where it fires cannot be told (unexpected ZeroDivisionError" in told
    assert "what sales would meet cannot be told (unexpected ZeroDivisionError" in told


async def test_a_rule_whose_ground_cannot_be_judged_is_held_back(open_faulty: OpenRig) -> None:
    """It alone: the engine is not held, and it acts once its ground is known again."""
    rig = await open_faulty()
    guard = rig.wired.engine.guard
    judge = guard.judge

    def odd_ground(rule: Rule, position: Position, snapshot: Snapshot) -> tuple[Condition, ...]:
        raise ZeroDivisionError("by nothing")

    guard.judge = odd_ground  # type: ignore[method-assign]
    await rig.fall()
    await rig.mine(6)
    assert rig.attempts() == []
    assert rig.wired.engine.held is None
    (view,) = rig.view.rules
    assert view.activity is RuleActivity.HELD
    assert "held back: what it stands on cannot be judged" in view.detail
    guard.judge = judge  # type: ignore[method-assign]
    await rig.mine(6)
    assert rig.firing.state is FiringState.DONE
