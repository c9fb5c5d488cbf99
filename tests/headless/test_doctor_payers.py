"""The doctor on an account that pays for a cold position: gas money, tokens, allowances, key; each fault is caused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeRig, Rig
from tests.e2e.test_payer import HEAD, HOT_PASSWORD, LIMITS, TRADER, step
from tests.e2e.test_payer import hot_keystore as hot_keystore
from tests.headless.test_doctor import _beating, bad, doctor
from tests.support.chain import ETHER, Chain
from tests.support.payer import HOT, fund
from tui.chain.clock import SystemClock
from tui.headless.attendants import Attendants
from tui.model.text import short_address
from tui.protocols.erc20 import address_word

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]

ACCOUNT, POSITION = f"account {short_address(HOT)}", f"aave-v3/core/{TRADER}"


async def looked(
    rig: Rig, folder: Path, attendants: Attendants | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """The exit code, the report, what is bad in it; the engine's heartbeat tells of the chain as it is by then."""
    await rig.mine()
    if attendants is not None:
        attendants.beat()
    code, report, _ = await doctor(rig, folder)
    return code, report, bad(report)


async def test_gas_money_tokens_and_allowances_of_the_payer_are_each_looked_at(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path, tmp_path: Path
) -> None:
    fund(market_v32)
    rules = HEAD + step("repay", "USDC", maximum="15000") + LIMITS
    rig = await make_rig(
        rules_text=rules, keystores={HOT: hot_keystore}, wallet_usdc=0, wallet_weth=0, clock=SystemClock()
    )
    rig.trader.keystore = hot_keystore  # the doctor is given the same one key
    chain = rig.chain
    attendants = await _beating(rig)
    await rig.arm(passwords=HOT_PASSWORD)
    code, report, wrong = await looked(rig, tmp_path, attendants)
    assert (wrong, code) == ({}, 0)
    told = {one["name"]: one["detail"] for one in report["checks"]}
    assert "of the native coin, nonce 0" in told[ACCOUNT]
    assert told["rule guard"] == f"its means reach its target on {POSITION}"
    assert f"account {short_address(TRADER)}" not in told, "the cold account signs nothing"

    # What stands of the token that repays is refused, and told with whose it is; of another one it stops nothing.
    chain.approve(HOT, "USDC", chain.market.pool)
    code, report, wrong = await looked(rig, tmp_path, attendants)
    assert code == 1
    assert f"may take more of {short_address(HOT)}'s USDC (without limit)" in wrong["rule guard"]
    assert "the step would not be done" in wrong["rule guard"]
    notes = {one["name"]: one["detail"] for one in report["checks"] if one["level"] == "note"}
    assert f"without limit of {short_address(HOT)}'s USDC" in notes["allowance USDC"]
    usdc, weth = (chain.token(symbol).address for symbol in ("USDC", "WETH"))
    chain.send(HOT, usdc, "approve(address,uint256)", chain.market.pool, 0)
    chain.approve(HOT, "WETH", chain.market.pool)
    code, report, wrong = await looked(rig, tmp_path, attendants)
    assert (wrong, code) == ({}, 0)
    assert [one["name"] for one in report["checks"] if one["level"] == "note"] == ["allowance WETH"]
    chain.send(HOT, weth, "approve(address,uint256)", chain.market.pool, 0)

    # Less than the step may take is worth knowing; none of it keeps the rule from acting.
    chain.send(HOT, usdc, "transfer(address,uint256)", chain.market.pool, chain.units("USDC", 5_001))
    code, report, _ = await looked(rig, tmp_path, attendants)
    notes = [one["detail"] for one in report["checks"] if one["level"] == "note"]
    assert any(f"{short_address(HOT)} holds 14,999.00 USDC, less than the step's maximum" in text for text in notes), (
        notes
    )
    chain.take("USDC", HOT)
    code, report, wrong = await looked(rig, tmp_path, attendants)
    notes = [one["detail"] for one in report["checks"] if one["level"] == "note"]
    assert code == 1
    assert any(f"{short_address(HOT)} holds no USDC" in text for text in notes), notes
    assert "it gets to 1.2499, not to 1.50" in wrong["rule guard"]
    fund(chain)

    # Gas: thin, none; and what the owner's account has is no help.
    chain.set_ether(TRADER, 100 * ETHER)
    chain.set_ether(HOT, 10**12)
    code, _, wrong = await looked(rig, tmp_path, attendants)
    assert code == 1
    assert "gas" in wrong["rule guard"]
    assert short_address(HOT) in wrong["rule guard"]
    chain.set_ether(HOT, 10 * ETHER)
    assert (await looked(rig, tmp_path, attendants))[0] == 0

    # Code at the payer lets others act for it.
    chain.rpc("anvil_setCode", HOT, "0xef0100" + address_word("0x" + "11" * 20).hex()[24:])
    code, report, wrong = await looked(rig, tmp_path, attendants)
    assert code == 1
    assert "others may act for it" in wrong[ACCOUNT]
    await attendants.aclose("test")


async def test_a_payer_whose_key_is_not_here_is_named(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path, tmp_path: Path
) -> None:
    """The owner's key does not stand in for it, and it is named for its own rule alone."""
    fund(market_v32)
    rig = await make_rig(rules_text=HEAD + step("repay", "USDC") + LIMITS, clock=SystemClock())
    code, report, wrong = await looked(rig, tmp_path)
    assert code == 1
    (check,) = [one for one in report["checks"] if one["detail"].startswith("the key of")]
    assert check["name"] == "rule guard"
    assert check["detail"] == f"the key of {HOT}, which signs a part of it, is not here"
    assert "--keystore" in check["fix"]
    assert wrong["rule guard"]
    told = {one["name"]: one["detail"] for one in report["checks"]}
    assert "of the native coin, nonce 0" in told[ACCOUNT], "its wallet is looked at all the same"
    rig.trader.keystore = hot_keystore
    _, report, _ = await looked(rig, tmp_path)
    assert not [one for one in report["checks"] if one["detail"].startswith("the key of")]
