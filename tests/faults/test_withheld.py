"""The kill switch between reservation and send: what it leaves is free again, or is shown until it is cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fault_rig import FaultRig, OpenRig
from tui.headless.doctor_command import _journal_checks
from tui.model.intent import FiringState, IntentState
from tui.model.view import Protection, RuleActivity
from tui.notify.alerts import conditions

pytestmark = pytest.mark.node


def killing(rig: FaultRig, name: str) -> None:
    """The kill switch is pulled by another process just after the journal did this."""
    journal, switch = rig.wired.journal, rig.wired.engine.kill_switch
    assert journal is not None
    real = getattr(journal, name)

    def late(given: Any) -> None:
        real(given)
        switch.pull("a person")
        setattr(journal, name, real)

    setattr(journal, name, late)


def bad(rig: FaultRig) -> list[str]:
    return [check.detail for check in _journal_checks(rig.wired.paths.state) if not check.ok]


async def test_63_killed_before_the_signer_took_it_the_nonce_is_free_and_the_rule_fires_again(
    open_faulty: OpenRig,
) -> None:
    rig = await open_faulty()
    killing(rig, "begin_signing")
    await rig.fall()
    assert rig.firing.state is FiringState.DROPPED
    assert rig.intent_states == [IntentState.DROPPED]
    assert rig.intent.nonce is None
    assert "kill switch" in rig.firing.reason
    await rig.mine()
    assert rig.view.protection is Protection.HELD
    assert bad(rig) == []
    rig.wired.engine.kill_switch.release()
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE
    assert len(rig.on_chain()) == 1
    rig.check()


async def test_63_killed_between_signature_and_send_it_is_held_and_shown_until_it_is_cancelled(
    open_faulty: OpenRig,
) -> None:
    rig = await open_faulty()
    killing(rig, "record_attempts")
    await rig.fall()
    assert rig.intent_states == [IntentState.SIGNED]
    assert "kill switch between signature and send" in rig.said
    rig.wired.engine.kill_switch.release()
    await rig.mine(3)
    assert rig.pooled() == []
    nonce = rig.intent.nonce
    assert rig.view.protection is Protection.HELD
    assert f"Nonce {nonce} of" in rig.view.protection_why
    assert "key z" in rig.view.protection_why
    assert rig.view.rules[0].activity is RuleActivity.HELD
    assert [alert.key for alert in conditions(rig.view).values() if "held" in alert.key] == ["held/account"]
    (found,) = bad(rig)
    assert "withheld" in found
    await rig.wired.commands.cancel(rig.intent.id)
    await rig.mine()
    assert rig.view.protection is Protection.ARMED
    assert (await rig.settle()).state is FiringState.FAILED
    (mined,) = rig.on_chain()
    assert (int(mined["nonce"], 16), mined["to"].lower(), mined["input"]) == (nonce, rig.account, "0x")
    assert bad(rig) == []
    rig.check()


async def test_what_is_on_the_way_is_well_beside_an_engine_and_bad_without_one(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await rig.fall()
    assert bad(rig) == []
    state = rig.wired.paths.state
    await rig.wired.aclose()
    (found,) = [check.detail for check in _journal_checks(state) if not check.ok]
    assert "no engine follows it" in found
