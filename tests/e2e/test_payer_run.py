"""`trimtab run` with the key of the paying account alone: armed, killed between, and taken up again."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeRig
from tests.e2e.test_payer import HEAD, HOT_PASSWORD, LIMITS, TRADER, step
from tests.e2e.test_payer import hot_keystore as hot_keystore
from tests.support.chain import Chain
from tests.support.payer import HOT, fund
from tests.support.program import network_file, trimtab
from tui.journal.reading import read_journal
from tui.model.intent import FiringState
from tui.model.units import WAD

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]


async def test_a_run_that_is_killed_is_taken_up_under_the_payers_own_nonces(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path, tmp_path: Path
) -> None:
    fund(market_v32)
    rig = await make_rig(rules_text=HEAD + step("repay", "USDC") + LIMITS, keystores={HOT: hot_keystore})
    await rig.wired.aclose()
    feed = rig.chain.token("WETH").feed
    network = network_file(tmp_path / "network.toml", [rig.chain.url], rig.chain.market.provider, feed)
    password = tmp_path / "password"
    password.write_text(HOT_PASSWORD)
    password.chmod(0o600)
    state = tmp_path / "run"
    given: list[object] = [
        "run", "--json", "--network", network, "--rules", rig.trader.rules, "--keystore", hot_keystore,
        "--password-file", password, "--config", tmp_path / "config", "--state", state,
    ]  # fmt: skip
    async with trimtab(*given) as first:
        rig.chain.mine()
        await first.said(f"armed: guard on aave-v3/core/{TRADER}, signed by {HOT}")
        rig.chain.set_automine(False)
        rig.chain.set_price("WETH", Decimal(2600))
        await first.said("sent to 1 node")
        first.process.kill()
        await first.process.wait()
    record = read_journal(state)
    (before,) = record.firings()
    record.close()
    assert {intent.account for intent in before.intents} == {HOT}
    async with trimtab(*given) as second:
        rig.chain.set_automine(True)
        rig.chain.mine()
        await second.said("armed: guard on")
        rig.chain.mine(3)
        await second.said("guard: done")
        assert await second.stop() == 0
    record = read_journal(state)
    (after,) = record.firings()
    record.close()
    assert after.state is FiringState.DONE
    assert [(one.nonce, one.attempts[0].hash) for one in after.intents] == [
        (one.nonce, one.attempts[0].hash) for one in before.intents
    ]
    assert rig.health(TRADER) >= 15 * WAD // 10
