"""A second account that pays, on real contracts: a cold position defended by a key that cannot withdraw from it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import PASSWORD, MakeRig, Rig
from tests.support.chain import ETHER, Chain, keyed_account
from tests.support.payer import HOT, fund, write_keystore
from tui.engine.facade import CommandRefused
from tui.model.intent import FiringState, IntentState
from tui.model.signing import SignerRefused, TransactionRequest
from tui.model.units import WAD
from tui.model.view import Protection, RuleActivity
from tui.protocols.erc20 import address_word, word

TARGET = 15 * WAD // 10
TRADER = keyed_account(7)[0].lower()
HOT_PASSWORD = "staple of another battery"
WITHDRAW = bytes.fromhex("69328dec")
"""withdraw(address,uint256,address)"""
TRANSFER = bytes.fromhex("a9059cbb")

HEAD = f"""\
[[rule]]
name = "guard"
position = "aave-v3/core/{TRADER}"
mode = "auto"
when = {{ health_factor_below = "1.25", for_blocks = 1 }}
target = {{ health_factor = "1.50" }}

"""
LIMITS = """
[rule.limits]
daily_spend_usd = "100000"
cooldown = "0s"
"""


def step(action: str, asset: str, *, paid: bool = True, maximum: str = "") -> str:
    lines = ["[[rule.step]]", f'action = "{action}"', f'asset = "{asset}"']
    lines += [f'wallet = "{HOT}"'] if paid else []
    lines += [f'max = "{maximum}"'] if maximum else []
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def hot_keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key file of the account that pays, under a password of its own."""
    folder = tmp_path_factory.mktemp("hot")
    folder.chmod(0o700)
    return write_keystore(folder, HOT_PASSWORD)


async def fall(rig: Rig, usd: str = "2600", blocks: int = 6) -> None:
    rig.chain.set_price("WETH", Decimal(usd))
    await rig.head()
    await rig.mine(blocks)


async def cold(make_rig: MakeRig, hot: Path, steps: str, **more: object) -> Rig:
    """An engine that has the key of the paying account alone."""
    return await make_rig(rules_text=HEAD + steps + LIMITS, keystores={HOT: hot}, wallet_usdc=0, wallet_weth=0, **more)


async def test_a_cold_position_is_defended_by_a_repayment_on_its_behalf(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path
) -> None:
    fund(market_v32)
    rig = await cold(make_rig, hot_keystore, step("repay", "USDC"))
    await rig.arm(passwords=HOT_PASSWORD)
    view = rig.wired.engine.view
    assert view.protection is Protection.ARMED
    (mine,) = [one for one in view.positions if one.position.key.account == TRADER]
    assert (mine.rule, mine.rule_activity, mine.own_key) == ("guard", RuleActivity.ARMED, False)
    await fall(rig)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason
    assert (firing.account, {intent.account for intent in firing.intents}) == (TRADER, {HOT})
    assert TARGET <= rig.health(TRADER) <= TARGET * 1001 // 1000
    assert rig.transactions_of(TRADER) == []
    assert [intent.included_hash for intent in firing.intents] == rig.transactions_of(HOT)
    assert len(firing.intents) == 1, "the payer permits by signature: one transaction"
    assert rig.allowances(HOT) == {}


async def test_what_a_payer_short_of_gas_money_signed_is_raised_once_it_has_more_and_it_is_told_who_lacks_it(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path
) -> None:
    """It fires with 28 gwei for each unit of gas at a base fee of 20, and then that is 60."""

    async def at(gwei: int, blocks: int) -> None:
        for _ in range(blocks):
            market_v32.rpc("anvil_setNextBlockBaseFeePerGas", hex(gwei * 10**9))
            await rig.mine()

    fund(market_v32)
    rig = await cold(make_rig, hot_keystore, step("repay", "USDC"))
    await rig.arm(passwords=HOT_PASSWORD)
    before = int(rig.chain.block()["baseFeePerGas"], 16)
    try:
        await at(20, 2)
        rig.chain.set_ether(HOT, 307_000 * 28 * 10**9)
        rig.chain.set_automine(False)
        rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * 10**9))
        rig.chain.set_price("WETH", Decimal("2600"))
        rig.chain.mine()
        await rig.head()
        await at(60, 4)
        (firing,) = rig.firings()
        (intent,) = firing.intents
        assert (intent.account, intent.state, len(intent.attempts)) == (HOT, IntentState.MAYBE_SENT, 1)
        (line,) = [one for one in rig.wired.engine.view.would_stop if "cannot be raised for want of money" in one]
        assert HOT[:6] in line
        assert TRADER[:6] not in line.split("waits")[1]
        rig.chain.set_ether(HOT, ETHER)
        await at(60, 4)
    finally:
        market_v32.rpc("anvil_setNextBlockBaseFeePerGas", hex(before))
        market_v32.set_automine(True)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason
    assert len(firing.intents[0].attempts) == 2
    assert TARGET <= rig.health(TRADER) <= TARGET * 1001 // 1000


async def test_without_permits_the_payer_approves_exactly_what_it_supplies_and_wraps_what_it_lacks(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path
) -> None:
    fund(market_v32, usdc=0, weth=1, ether=10)
    rig = await cold(make_rig, hot_keystore, step("add-collateral", "WETH"), wrapped=True)
    await rig.arm(passwords=HOT_PASSWORD)
    await fall(rig)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason
    assert [intent.words.split()[0] for intent in firing.intents] == ["Wrap", "Let", "Supply"]
    assert [intent.nonce for intent in firing.intents] == [0, 1, 2]
    assert TARGET <= rig.health(TRADER) <= TARGET * 1001 // 1000
    assert rig.chain.balance("WETH", HOT) == 0
    assert rig.chain.account_data(HOT)[0] == 0, "what it supplied is the position's, not its own"
    assert rig.allowances(HOT) == {}


async def test_the_paying_key_signs_nothing_that_could_take_from_the_position_or_from_itself(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path
) -> None:
    fund(market_v32)
    rig = await cold(make_rig, hot_keystore, step("repay", "USDC", maximum="5000"))
    await rig.arm(passwords=HOT_PASSWORD)
    signer, pool = rig.wired.signer, rig.chain.market.pool.lower()
    usdc, weth = (rig.chain.token(name).address.lower() for name in ("USDC", "WETH"))
    assert signer is not None
    repay = bytes.fromhex("573ade81") + address_word(usdc) + word(10**6) + word(2)
    wrong = [
        (pool, WITHDRAW + address_word(weth) + word(1) + address_word(HOT)),
        (pool, repay + address_word(HOT)),
        (pool, repay + address_word(rig.twin)),
        (pool, repay.replace(word(10**6), word(5_001 * 10**6)) + address_word(TRADER)),
        (pool, bytes.fromhex("617ba037") + address_word(usdc) + word(1) + address_word(TRADER) + word(0)),
        (usdc, TRANSFER + address_word(TRADER) + word(1)),
        (usdc, bytes.fromhex("095ea7b3") + address_word(TRADER) + word(1)),
        (weth, bytes.fromhex("d0e30db0")),
        (TRADER, b""),
    ]
    asked = TransactionRequest("i", 31337, HOT, 0, pool, 0, b"", 300_000, 10**10, 10**9)
    for number, (to, data) in enumerate(wrong):
        with pytest.raises(SignerRefused):
            await signer.sign_transaction(replace(asked, intent_id=f"i{number}", to=to, data=data))
    with pytest.raises(SignerRefused, match="not unlocked"):
        await signer.sign_transaction(replace(asked, account=TRADER, data=repay + address_word(TRADER)))
    assert await signer.sign_transaction(replace(asked, data=repay + address_word(TRADER)))


async def test_own_wallet_first_then_the_vault(market_v32: Chain, make_rig: MakeRig, hot_keystore: Path,
                                               keystore_file: Path) -> None:  # fmt: skip
    fund(market_v32)
    both = {TRADER: keystore_file, HOT: hot_keystore}
    rig = await make_rig(
        rules_text=HEAD + step("repay", "USDC", paid=False) + step("repay", "USDC") + LIMITS,
        keystores=both, wallet_usdc=1_000, wallet_weth=0,
    )  # fmt: skip
    report = await rig.wired.commands.arming_report("guard")
    assert [use.account for use in report.keys] == [TRADER, HOT]
    assert [use.signs for use in report.keys] == [
        ("step 1 (repay USDC)",), (f"step 2 (repay USDC from {HOT[:6]}…{HOT[-4:]})",)
    ]  # fmt: skip
    with pytest.raises(CommandRefused, match="not given"):
        await rig.arm(passwords={TRADER: PASSWORD})
    assert rig.wired.engine.view.protection is Protection.WATCHING
    await rig.arm(passwords={TRADER: PASSWORD, HOT: HOT_PASSWORD})
    await fall(rig)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason
    assert [intent.account for intent in firing.intents] == [TRADER, HOT]
    assert [intent.nonce for intent in firing.intents if intent.account == HOT] == [0]
    assert TARGET <= rig.health(TRADER) <= TARGET * 1001 // 1000
    assert rig.chain.balance("USDC", TRADER) == 0


async def test_disarming_one_rule_takes_only_the_keys_that_no_other_needs(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path, keystore_file: Path
) -> None:
    fund(market_v32)
    mine = HEAD.replace('"guard"', '"mine"').replace("1.25", "1.20") + step("repay", "USDC", paid=False) + LIMITS
    rig = await make_rig(
        rules_text=HEAD + step("repay", "USDC") + LIMITS + "\n" + mine,
        keystores={TRADER: keystore_file, HOT: hot_keystore},
    )
    await rig.arm("guard", HOT_PASSWORD)
    await rig.arm("mine", PASSWORD)
    signer = rig.wired.signer
    assert signer is not None
    status = await signer.status()
    assert status["unlocked"] == sorted((TRADER, HOT))
    assert [one["account"] for one in status["policies"]] == sorted((TRADER, HOT))
    await rig.wired.commands.disarm("guard", "a test")
    status = await signer.status()
    assert status["unlocked"] == [TRADER]
    assert rig.wired.engine.view.protection is Protection.ARMED
    await rig.wired.commands.disarm("mine", "a test")
    assert (await signer.status())["unlocked"] == []


async def test_a_strangers_position_is_paid_for_only_where_the_rule_names_it(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path
) -> None:
    fund(market_v32)
    everybody = HEAD.replace(f"/{TRADER}", "") + step("repay", "USDC") + LIMITS
    rig = await make_rig(rules_text=everybody, keystores={HOT: hot_keystore})
    with pytest.raises(CommandRefused, match="only if the rule names it"):
        await rig.arm(passwords=HOT_PASSWORD)
    assert rig.wired.engine.view.protection is Protection.WATCHING


async def test_a_payer_whose_key_is_not_here_is_named(
    market_v32: Chain, make_rig: MakeRig, keystore_file: Path
) -> None:
    fund(market_v32)
    rig = await make_rig(rules_text=HEAD + step("repay", "USDC") + LIMITS, keystores={TRADER: keystore_file})
    with pytest.raises(CommandRefused, match=f"the key of {HOT}, which signs step 1 .*, is not here"):
        await rig.arm()


async def test_a_foreign_transaction_of_the_payer_halts_it_alone_and_own_means_go_on(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path, keystore_file: Path
) -> None:
    """The payer's key is used elsewhere: nothing more is signed for it, the position's own wallet acts."""
    fund(market_v32)
    rig = await make_rig(
        rules_text=HEAD + step("repay", "USDC", maximum="1000") + step("repay", "USDC", paid=False) + LIMITS,
        keystores={TRADER: keystore_file, HOT: hot_keystore},
    )
    await rig.arm(passwords={TRADER: PASSWORD, HOT: HOT_PASSWORD})
    await fall(rig)
    assert [firing.state for firing in rig.firings()] == [FiringState.DONE]
    rig.chain.send(HOT, rig.chain.token("USDC").address, "transfer(address,uint256)", TRADER, 1)
    await fall(rig, "2100", blocks=7)
    halted = dict(rig.wired.engine.executor.halted_accounts())  # type: ignore[union-attr]
    assert set(halted) == {HOT}
    second = rig.firings()[0]
    assert second.state is FiringState.DONE, second.reason
    assert {intent.account for intent in second.intents} == {TRADER}
    assert rig.health(TRADER) >= TARGET
    view = rig.wired.engine.view
    assert view.protection is Protection.ARMED
    assert HOT in view.protection_why
    await rig.wired.commands.resume()
    assert HOT not in rig.wired.engine.view.protection_why


async def test_a_lost_nonce_of_the_payer_waits_for_what_the_owner_sent(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path, keystore_file: Path
) -> None:
    """Its transaction is taken out of the pool and another one of its key mined: the owner's half is followed on."""
    fund(market_v32)
    rig = await make_rig(
        rules_text=HEAD + step("repay", "USDC", paid=False) + step("repay", "USDC") + LIMITS,
        keystores={TRADER: keystore_file, HOT: hot_keystore}, wallet_usdc=1_000, wallet_weth=0,
    )  # fmt: skip
    await rig.arm(passwords={TRADER: PASSWORD, HOT: HOT_PASSWORD})
    rig.chain.set_price("WETH", Decimal("2600"))
    rig.chain.set_automine(False)
    await rig.head()
    firing = rig.firings()[0]
    payer = next(intent for intent in firing.intents if intent.account == HOT)
    rig.chain.rpc("anvil_dropTransaction", payer.attempts[0].hash)
    rig.chain.send(HOT, rig.chain.token("USDC").address, "transfer(address,uint256)", TRADER, 1)
    rig.chain.set_automine(True)
    await rig.head()
    await rig.mine(6)
    firing = rig.firings()[0]
    states = {intent.account: intent.state for intent in firing.intents}
    assert states == {TRADER: IntentState.FINAL_OK, HOT: IntentState.NONCE_LOST}
    assert firing.state is FiringState.HALTED
    assert set(dict(rig.wired.engine.executor.halted_accounts())) == {HOT}  # type: ignore[union-attr]


async def test_a_delegation_on_the_payer_disarms_and_names_it(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path
) -> None:
    fund(market_v32)
    rig = await cold(make_rig, hot_keystore, step("repay", "USDC"))
    await rig.arm(passwords=HOT_PASSWORD)
    rig.chain.rpc("anvil_setCode", HOT, "0xef0100" + "11" * 20)
    await rig.mine()
    (rule,) = rig.wired.engine.view.rules
    assert rule.activity is RuleActivity.DISARMED
    assert f"{HOT[:6]}…{HOT[-4:]}, which pays, carries code" in rule.detail


async def test_a_contract_wallet_can_be_defended_by_a_plain_account(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path
) -> None:
    """The position's account signs nothing, so it may be what it is: a multisig, a smart wallet."""
    fund(market_v32)
    rig = await cold(make_rig, hot_keystore, step("repay", "USDC"))
    rig.chain.rpc("anvil_setCode", TRADER, "0x6001600155")
    await rig.mine()
    await rig.arm(passwords=HOT_PASSWORD)
    await fall(rig)
    assert [firing.state for firing in rig.firings()] == [FiringState.DONE]
    assert rig.health(TRADER) >= TARGET


async def test_a_payer_without_gas_is_told_before_and_passed_over_when_it_counts(
    market_v32: Chain, make_rig: MakeRig, hot_keystore: Path, keystore_file: Path
) -> None:
    fund(market_v32)
    rig = await make_rig(
        rules_text=HEAD + step("repay", "USDC") + step("repay", "USDC", paid=False) + LIMITS,
        keystores={TRADER: keystore_file, HOT: hot_keystore},
    )
    rig.chain.set_ether(HOT, 0)
    await rig.mine()
    await rig.arm(passwords={TRADER: PASSWORD, HOT: HOT_PASSWORD})
    await fall(rig)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason
    assert {intent.account for intent in firing.intents} == {TRADER}


async def test_a_payer_alone_without_gas_is_named(market_v32: Chain, make_rig: MakeRig, hot_keystore: Path) -> None:
    fund(market_v32, ether=0)
    rig = await cold(make_rig, hot_keystore, step("repay", "USDC"))
    await rig.arm(passwords=HOT_PASSWORD)
    await rig.mine()
    view = rig.wired.engine.view
    assert [account for account, _ in view.low_gas] == [HOT]
    assert any(f"{HOT[:6]}…{HOT[-4:]} has" in line for line in view.would_stop)
