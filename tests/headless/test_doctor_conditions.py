"""The doctor on strange markets: every condition that disarms a rule, holds it back or takes its steps is a check."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeRig
from tests.headless.test_doctor import _beating, bad, doctor
from tests.support.strange import SHIM, implementation, move_code
from tui.chain.clock import SystemClock
from tui.engine.conditions import Condition, Consequence
from tui.engine.watch import IMPLEMENTATION_SLOT
from tui.headless.checks import condition_checks
from tui.practice.accounts import OWNER

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]


def test_what_stops_and_what_is_only_worth_knowing() -> None:
    found = [
        Condition(Consequence.DISARM, "a", "changed"),
        Condition(Consequence.HOLD_BACK, "b", "stale"),
        Condition(Consequence.STEP_OUT, "c", "step 1 is out", 0),
        Condition(Consequence.NOTE, "d", "unseen"),
    ]
    assert [one.level for one in condition_checks("rule guard", found, 1)] == ["bad", "bad", "note", "note"]
    assert [one.level for one in condition_checks("rule guard", found, 0)] == ["bad", "bad", "bad", "note"]


async def test_paused_delegated_stale_and_changed_are_each_named(make_rig: MakeRig, tmp_path: Path) -> None:
    """Caused on the chain one after another: a paused reserve, code at the account, a stale feed, a swapped pool."""
    rig = await make_rig(wallet_usdc=20_000, wallet_weth=10, clock=SystemClock())
    chain = rig.chain
    attendants = await _beating(rig)
    await rig.arm()
    assert (await doctor(rig, tmp_path))[0] == 0

    usdc, weth = (chain.token(symbol).address for symbol in ("USDC", "WETH"))
    chain.send(OWNER, chain.market.configurator, "setReservePause(address,bool)", usdc, True)
    await rig.mine()
    code, report, _ = await doctor(rig, tmp_path)
    notes = [one["detail"] for one in report["checks"] if one["level"] == "note"]
    assert any("step 1 (repay USDC) is out: USDC is paused" in text for text in notes)
    chain.send(OWNER, chain.market.configurator, "setReservePause(address,bool)", weth, True)
    await rig.mine()
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert "rule guard" in bad(report)
    assert any("WETH is paused" in one["detail"] for one in report["checks"])
    for token in (usdc, weth):
        chain.send(OWNER, chain.market.configurator, "setReservePause(address,bool)", token, False)
    await rig.mine()
    attendants.beat()
    assert (await doctor(rig, tmp_path))[0] == 0

    # What the engine knew when it armed, and a doctor of another process cannot: told by its heartbeat.
    move_code(chain, implementation(chain), SHIM)
    chain.rpc("anvil_setStorageAt", chain.market.pool, f"0x{IMPLEMENTATION_SLOT:064x}", "0x" + SHIM[2:].rjust(64, "0"))
    await rig.mine()
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert report["verdict"] == "NOT ARMED: nothing is defended"
    assert "disarmed: aave-v3/core: the code behind" in bad(report)["rule guard"]

    chain.rpc("anvil_setCode", rig.trader.address, "0xef0100" + "11" * 20)
    await rig.mine()
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert any("carries code (a delegation" in one["detail"] for one in report["checks"] if one["level"] == "bad")
    chain.rpc("anvil_setCode", rig.trader.address, "0x")

    # Feeds that have not spoken for more than a day.
    chain.set_price("WETH", Decimal(3000))
    chain.rpc("evm_increaseTime", 26 * 3600)
    await rig.mine()
    code, report, _ = await doctor(rig, tmp_path)
    assert code == 1
    assert any("the price of WETH is 26 h old" in one["detail"] for one in report["checks"] if one["level"] == "bad")
    await attendants.aclose("test")
