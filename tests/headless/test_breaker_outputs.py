"""The circuit breaker over calldata that a real contract refuses once its permit is signed, and where it is told."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.conftest import PASSWORD, RULE, MakeRig
from tests.support.clock import FakeClock
from tui.chain.clock import SystemClock
from tui.config.options import Options
from tui.engine.breaker import REFUSALS_TO_HOLD
from tui.headless.attendants import Attendants
from tui.headless.checks import engine_checks, verdict
from tui.headless.heartbeat import read_heartbeat
from tui.headless.run_command import _Run
from tui.model.alert import Alert, AlertSettings
from tui.model.intent import FiringState
from tui.model.signing import PermitRequest, PermitSignature
from tui.notify.desk import AlertDesk


class Crooked:
    """The real signer, but for the permits: those it signs for another value than it was asked for."""

    def __init__(self, honest: Any) -> None:
        self._honest = honest
        self.permits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    async def sign_permit(self, request: PermitRequest) -> PermitSignature:
        self.permits += 1
        signed: PermitSignature = await self._honest.sign_permit(request)
        return replace(signed, s=signed.s ^ 1)


class Ear:
    name = "an ear"

    def __init__(self) -> None:
        self.heard: list[Alert] = []

    async def deliver(self, alert: Alert) -> None:
        self.heard.append(alert)

    async def aclose(self) -> None:
        return


async def test_a_permit_that_the_token_refuses_counts_and_holds_and_every_output_says_so(
    make_rig: MakeRig, capsys: pytest.CaptureFixture[str]
) -> None:
    repay, _, limits = re.split(r"(\[\[rule.step\]\]\naction = \"add-collateral\".*?\n\n)", RULE, flags=re.DOTALL)
    rules = (repay + limits).format(mode="auto", usdc="20000")
    rig = await make_rig(rules_text=rules, clock=SystemClock())
    await rig.arm()
    engine = rig.wired.engine
    executor = engine.executor
    assert executor is not None
    crooked = Crooked(executor._carrier._signer)
    executor._carrier._signer = crooked  # type: ignore[assignment]
    attendants = Attendants(rig.wired, AlertSettings(bell=False), None)
    attendants.start()
    ear = Ear()
    desk = AlertDesk(AlertSettings(bell=False), [ear], FakeClock(), lambda severity, text: None)
    desk._dispatcher.start()
    engine.subscribe(desk.see)
    run = _Run(rig.wired, Options(), None, True, AlertSettings(bell=False))
    engine.subscribe(run._show)

    rig.chain.set_price("WETH", Decimal(2600))
    for number in range(1, REFUSALS_TO_HOLD):
        rig.chain.rpc("evm_increaseTime", 4)
        await rig.mine()
        assert engine.held is None
        assert crooked.permits == number
        assert any(f"refused it on aave-v3/core/{rig.trader.address.lower()} {number} block" in one
                   for one in engine.view.would_stop)  # fmt: skip
    beat = read_heartbeat(rig.wired.paths.state)
    assert beat is not None
    await rig.mine(3)
    assert crooked.permits == REFUSALS_TO_HOLD, "held: no further permit is asked for"

    # Nothing was signed and every firing let its nonce go.
    assert {firing.state for firing in rig.firings()} == {FiringState.DROPPED}
    assert rig.transactions_of(rig.trader.address) == []
    why = engine.held
    assert why is not None
    assert f"guard: simulation refused it {REFUSALS_TO_HOLD} blocks in a row" in why
    # The protection line, the heartbeat, what the doctor makes of it.
    assert engine.view.protection == "HELD"
    assert why in engine.view.protection_why
    beat = read_heartbeat(rig.wired.paths.state)
    assert beat is not None
    assert beat.held is not None
    assert beat.held.startswith(why[:200])
    checks = list(engine_checks(beat, "", beat.pid, True, beat.at))
    assert any(check.name == "protection" and not check.ok and "in a row" in check.detail for check in checks)
    assert not verdict(checks, beat).well
    # What a run prints: one line for a person, one event for a program.
    said = capsys.readouterr()
    assert f"HELD: {why}" in said.err
    events = [json.loads(line) for line in said.out.splitlines()]
    held = [one for one in events if one["event"] == "protection" and one["protection"] == "HELD"]
    assert [one["held"] for one in held] == [why]
    blocks = [one for one in events if one["event"] == "block"]
    assert any("the engine holds itself" in line for one in blocks for line in one["would_stop"])
    # And an alert.
    await desk._dispatcher.idle()
    assert [alert.text for alert in ear.heard if alert.kind == "held"] != []
    await desk.aclose("end")

    # A hand, an honest signer, and it defends.
    executor._carrier._signer = crooked._honest
    await rig.wired.commands.resume()
    assert engine.view.would_stop == ()
    await rig.mine(4)
    assert rig.firings()[0].state is FiringState.DONE
    await attendants.aclose("test")


async def test_a_run_keeps_no_password_once_its_rules_are_armed(make_rig: MakeRig) -> None:
    rig = await make_rig()
    run = _Run(rig.wired, Options(), PASSWORD, False, AlertSettings(bell=False))
    assert await run._arm() is None
    assert set(rig.wired.engine.book.armed) == {"guard"}
    assert run._passwords is None
    assert PASSWORD not in map(str, vars(run).values())
