"""What changes underneath an armed rule disarms it, visibly, and takes the signer's policy away."""

from __future__ import annotations

import os
import signal
from decimal import Decimal
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address

from tests.e2e.conftest import PASSWORD, RULE, MakeRig, Rig
from tests.support.chain import ETHER, keyed_account
from tests.support.strange import (
    OTHER,
    SHIM,
    answering_code,
    assert_disarmed,
    assert_nothing_signed,
    forwarding_code,
    implementation,
    move_code,
    price_by,
    rule_of,
    said,
    signer_status,
)
from tui.engine.configwatch import ConfigWatch
from tui.engine.facade import CommandRefused
from tui.engine.watch import IMPLEMENTATION_SLOT
from tui.model.view import Protection, RuleActivity
from tui.practice.accounts import OWNER
from tui.vault import client

POOL_REVISION, INITIALIZE, DECIMALS, SYMBOL = "0148170e", "c4d66de8", "313ce567", "95d89b41"

pytestmark = [pytest.mark.node]


async def fall_unheeded(rig: Rig) -> None:
    """The price falls to where the rule would have fired; nothing may follow."""
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.mine(3)
    assert_nothing_signed(rig)
    assert rig.wired.engine.view.protection is Protection.WATCHING


async def test_53_pool_upgraded_by_its_owner_disarms(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    chain = rig.chain
    revision = chain.call(chain.market.pool, "POOL_REVISION()", ["uint256"])
    code = answering_code({POOL_REVISION: revision + 1, INITIALIZE: 0}, implementation(chain))
    chain.rpc("anvil_setCode", SHIM, code)
    chain.send(OWNER, chain.market.provider, "setPoolImpl(address)", SHIM)
    assert implementation(chain) == SHIM
    await rig.head()
    await assert_disarmed(rig, "revision was")
    await fall_unheeded(rig)


async def test_53_pool_code_swapped_under_the_same_revision_disarms(make_rig: MakeRig) -> None:
    """Every answer stays what it was: only the place in storage tells."""
    rig = await make_rig()
    await rig.arm()
    chain = rig.chain
    move_code(chain, implementation(chain), SHIM)
    chain.rpc("anvil_setStorageAt", chain.market.pool, f"0x{IMPLEMENTATION_SLOT:064x}", "0x" + SHIM[2:].rjust(64, "0"))
    await rig.mine()
    await assert_disarmed(rig, "the code behind")
    await fall_unheeded(rig)


async def test_53_oracle_swapped_disarms(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    chain = rig.chain
    chain.rpc("anvil_setCode", SHIM, forwarding_code(chain.market.oracle))
    chain.send(OWNER, chain.market.provider, "setPriceOracle(address)", SHIM)
    await rig.head()
    await assert_disarmed(rig, "the oracle was")
    await fall_unheeded(rig)


@pytest.mark.parametrize("symbol", ["WETH", "USDC"])
async def test_53_price_source_swapped_disarms_and_can_be_armed_again(make_rig: MakeRig, symbol: str) -> None:
    rig = await make_rig()
    await rig.arm()
    chain = rig.chain
    chain.rpc("anvil_setCode", SHIM, forwarding_code(chain.token(symbol).feed))
    price_by(chain, symbol, SHIM)
    await rig.head()
    await assert_disarmed(rig, f"{symbol} was priced by")
    await rig.arm()  # a person looked, and takes the new source for good
    chain.set_price("WETH", Decimal(2600))
    await rig.mine(5)
    assert len(rig.firings()) == 1


async def test_53_a_source_of_no_concern_leaves_the_rule_armed(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    rig.chain.rpc("anvil_setCode", SHIM, forwarding_code(rig.chain.token("DAI").feed))
    price_by(rig.chain, "DAI", SHIM)
    await rig.mine()
    assert rig.wired.engine.view.protection is Protection.ARMED


@pytest.mark.parametrize("symbol", ["USDC", "WETH"])
async def test_54_token_decimals_changed_disarms_and_is_refused(make_rig: MakeRig, symbol: str) -> None:
    rig = await make_rig()
    await rig.arm()
    token = rig.chain.token(symbol).address
    move_code(rig.chain, token, OTHER)
    rig.chain.rpc("anvil_setCode", token, answering_code({DECIMALS: 8}, OTHER))
    await rig.mine()
    await assert_disarmed(rig, f"the token {symbol} said it has")
    await fall_unheeded(rig)
    with pytest.raises(CommandRefused, match="decimals"):
        await rig.arm()


async def test_54_another_token_under_the_rules_symbol_disarms(make_rig: MakeRig) -> None:
    """The rule says USDC; what the market calls USDC now is another contract."""
    rig = await make_rig()
    await rig.arm()
    chain = rig.chain
    dai, usdc = chain.token("DAI").address, chain.token("USDC").address
    for token, copy, text in ((dai, OTHER, b"USDC"), (usdc, SHIM, b"USDX")):
        move_code(chain, token, copy)
        word = int.from_bytes(text.ljust(32, b"\0"), "big")
        chain.rpc("anvil_setCode", token, answering_code({SYMBOL: word}, copy))
    await rig.mine()
    await assert_disarmed(rig, "USDC is another token")
    await fall_unheeded(rig)


def _delegate(rig: Rig, to: str) -> None:
    """A real type-4 transaction (EIP-7702), authorized by the account's own key and sent by somebody else's."""
    chain, (sponsor, key) = rig.chain, keyed_account(4_321)
    chain.set_ether(sponsor, ETHER)
    nonces = [int(chain.rpc("eth_getTransactionCount", one, "latest"), 16) for one in (rig.trader.address, sponsor)]
    wanted = {"chainId": 31337, "address": to_checksum_address(to), "nonce": nonces[0]}
    authorization = Account.sign_authorization(wanted, keyed_account(7)[1])
    signed = Account.sign_transaction(
        {
            "type": 4,
            "chainId": 31337,
            "nonce": nonces[1],
            "to": sponsor,
            "value": 0,
            "gas": 200_000,
            "maxFeePerGas": 100 * 10**9,
            "maxPriorityFeePerGas": 10**9,
            "authorizationList": [authorization],
        },
        key,
    )
    chain.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex().removeprefix("0x"))
    chain.mine()
    assert chain.rpc("eth_getCode", rig.trader.address, "latest").lower() in ("0x", "0xef0100" + to[2:].lower())


async def test_59_delegation_on_the_account_disarms_and_cannot_be_armed(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    _delegate(rig, OTHER)
    assert rig.chain.rpc("eth_getCode", rig.trader.address, "latest") != "0x"
    await rig.mine()
    await assert_disarmed(rig, "carries code")
    await fall_unheeded(rig)
    with pytest.raises(CommandRefused, match="take the delegation back"):
        await rig.arm()
    _delegate(rig, "0x" + "00" * 20)
    await rig.mine()
    await rig.arm()
    assert rig.wired.engine.view.protection is Protection.ARMED


# --- 61: files -----------------------------------------------------------------------------------------------------


async def test_61_rule_edited_behind_an_armed_engine_disarms_and_locks_the_signer(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    assert (await signer_status(rig))["policies"]
    rig.trader.rules.write_text(rig.trader.rules.read_text().replace('"1.25"', '"1.30"'))
    await rig.mine()
    await assert_disarmed(rig, "its text was changed")
    await fall_unheeded(rig)


@pytest.mark.parametrize("how", ["edited", "deleted"])
async def test_61_network_file_changed_behind_an_armed_engine_disarms(
    make_rig: MakeRig, tmp_path: Path, how: str
) -> None:
    file = tmp_path / "network.toml"
    file.write_text("chain_id = 31337\n")
    rig = await make_rig(config=ConfigWatch((file,)))
    await rig.arm()
    await rig.mine()
    assert rig.wired.engine.view.protection is Protection.ARMED
    if how == "edited":
        file.write_text("chain_id = 31338\n")
    else:
        file.unlink()
    await rig.mine()
    await assert_disarmed(rig, "network.toml")
    await fall_unheeded(rig)
    with pytest.raises(CommandRefused, match="start again to use it"):
        await rig.arm()
    file.write_text("chain_id = 31337\n")
    await rig.mine()
    await rig.arm()


async def test_61_one_rule_edited_narrows_the_policy_and_leaves_the_other_armed(make_rig: MakeRig) -> None:
    two = RULE.format(mode="auto", usdc="20000") + "\n" + _without_step(RULE, "second", "1.20")
    rig = await make_rig(rules_text=two)
    await rig.arm("guard")
    await rig.arm("second")
    (both,) = rig.wired.engine.armory.policies.values()
    rig.trader.rules.write_text(two.replace('"1.25"', '"1.30"'))
    await rig.mine()
    view = rig.wired.engine.view
    assert (rule_of(rig, "guard").activity, rule_of(rig, "second").activity) == (
        RuleActivity.DISARMED,
        RuleActivity.ARMED,
    )
    assert view.protection is Protection.ARMED
    (left,) = rig.wired.engine.armory.policies.values()
    assert set(left.calls) < set(both.calls)
    assert {token for token, _ in left.daily_caps} == {rig.chain.token("USDC").address.lower()}
    assert (await signer_status(rig))["policies"]
    assert said(rig, "the signer left out") == 0
    rig.chain.set_price("WETH", Decimal(2500))  # under the other's trigger: it still can sign
    await rig.mine(5)
    (firing,) = rig.firings()
    assert firing.rule == "second"


def _without_step(text: str, name: str, trigger: str) -> str:
    """The rule with its repayment alone."""
    rule = text.format(mode="auto", usdc="15000").replace('"guard"', f'"{name}"').replace('"1.25"', f'"{trigger}"')
    start = rule.index('[[rule.step]]\naction = "add-collateral"')
    return rule[:start] + rule[rule.index("[rule.limits]") :]


async def test_the_signer_that_does_not_answer_is_told_and_asked_again(
    make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await make_rig()
    await rig.arm()
    assert rig.wired.signer is not None
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.2)
    os.kill(rig.wired.signer.pid, signal.SIGSTOP)
    await rig.wired.commands.disarm("guard", "by hand")
    view = rig.wired.engine.view
    assert view.protection is Protection.WATCHING
    assert any("the signer did not take what is armed now" in line for line in view.would_stop)
    await rig.mine(2)
    assert said(rig, "the signer did not take what is armed now") == 1


async def test_a_signer_that_is_gone_holds_no_key_and_needs_no_disarming(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    rig.wired.close_signer()
    await rig.wired.commands.disarm("guard", "by hand")
    view = rig.wired.engine.view
    assert view.protection is Protection.WATCHING
    assert not any("the signer did not take" in line for line in view.would_stop)


async def test_what_the_signer_withholds_is_shown(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    assert rig.wired.signer is not None
    # Only a policy that grows behind the arming makes the signer withhold, and the engine gives none.
    rig.wired.signer.withheld = ("the call 0x12345678",)
    await rig.mine()
    assert any("left out" in line and "0x12345678" in line for line in rig.wired.engine.view.would_stop)


async def test_a_wrong_password_leaves_nothing_armed(make_rig: MakeRig) -> None:
    rig = await make_rig()
    with pytest.raises(CommandRefused):
        await rig.wired.commands.arm("guard", "guard", PASSWORD + "!")
    assert (await signer_status(rig))["unlocked"] == []
    assert rig.wired.engine.view.protection is Protection.WATCHING
