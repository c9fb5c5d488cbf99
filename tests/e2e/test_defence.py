"""The main job on real contracts: an armed account is brought back to its target, to the wei of what was planned."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.e2e.conftest import MakeRig, Rig
from tui.engine.facade import CommandRefused
from tui.model.intent import FiringState, IntentState
from tui.model.units import WAD
from tui.model.view import Confirmation, Protection, RuleActivity, Severity

TARGET = 15 * WAD // 10


def _lower_price(rig: Rig, usd: str) -> None:
    rig.chain.set_price("WETH", Decimal(usd))


async def _asked(make_rig: MakeRig) -> tuple[Rig, Confirmation]:
    """An armed engine that asks first, and what it asks after the price has fallen."""
    rig = await make_rig(mode="confirm")
    await rig.arm()
    _lower_price(rig, "2600")
    await rig.head()
    (asked,) = rig.wired.engine.view.confirmations
    return rig, asked


@pytest.mark.cold_signer
async def test_a_repay_by_permit_reaches_the_target_and_the_journal_is_the_chain(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    assert rig.wired.engine.view.protection is Protection.ARMED
    _lower_price(rig, "2600")  # health 1.199
    await rig.head()
    await rig.mine(4)
    health = rig.health(rig.trader.address)
    assert TARGET <= health <= TARGET * 1001 // 1000
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE
    assert firing.health_factor_after is not None
    assert TARGET <= firing.health_factor_after <= TARGET * 1001 // 1000
    assert all(intent.state is IntentState.FINAL_OK for intent in firing.intents)
    assert [intent.included_hash for intent in firing.intents] == rig.transactions_of(rig.trader.address)
    assert len(firing.intents) == 1, "USDC has permits: one transaction"
    # What the twin had is gone: it is liquidatable where the trader is safe.
    _lower_price(rig, "2100")
    assert rig.health(rig.twin) < WAD < rig.health(rig.trader.address)


async def test_the_waterfall_goes_on_where_the_first_step_does_not_suffice(make_rig: MakeRig) -> None:
    rig = await make_rig(usdc="1000")
    await rig.arm()
    _lower_price(rig, "2600")
    await rig.head()
    await rig.mine(5)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE
    assert TARGET <= rig.health(rig.trader.address) <= TARGET * 1001 // 1000
    words = " / ".join(intent.words for intent in firing.intents)
    assert "USDC" in words
    assert "WETH" in words
    assert rig.allowances(rig.trader.address) == {}


async def test_nothing_fires_twice_in_one_fall_and_a_second_fall_fires_again(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    _lower_price(rig, "2600")
    await rig.mine(6)
    assert len(rig.firings()) == 1
    _lower_price(rig, "2100")  # under the trigger again after having been above it
    await rig.mine(6)
    assert len(rig.firings()) == 2
    assert rig.health(rig.trader.address) >= TARGET


async def test_unarmed_nothing_is_signed_and_it_is_said(make_rig: MakeRig) -> None:
    rig = await make_rig()
    _lower_price(rig, "2600")
    await rig.mine(2)
    assert rig.firings() == ()
    assert rig.transactions_of(rig.trader.address) == []
    (rule,) = rig.wired.engine.view.rules
    assert rule.activity is RuleActivity.DISARMED
    assert any("not armed" in entry.text for entry in rig.wired.engine.view.activity)


async def test_confirm_mode_asks_and_a_yes_fires(make_rig: MakeRig) -> None:
    rig, asked = await _asked(make_rig)
    assert asked.plan.simulated
    assert rig.firings() == ()
    await rig.wired.commands.answer(asked.id, True, asked.digest)
    await rig.mine(4)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE
    assert rig.health(rig.trader.address) >= TARGET


SUPPLY_FIRST = """\
[[rule]]
name = "guard"
position = "aave-v3/core"
mode = "confirm"
when = { health_factor_below = "1.25", for_blocks = 1 }
target = { health_factor = "1.50" }

[[rule.step]]
action = "add-collateral"
asset = "WETH"

[[rule.step]]
action = "repay"
asset = "USDC"
"""


async def test_a_yes_is_one_to_the_plan_that_was_looked_at(make_rig: MakeRig) -> None:
    """The wallet's WETH goes, and the plan that is made anew repays: it moves less, and is another one all the same."""
    rig = await make_rig(rules_text=SUPPLY_FIRST)
    await rig.arm()
    _lower_price(rig, "2600")
    await rig.head()
    (asked,) = rig.wired.engine.view.confirmations
    assert [step.action.kind for step in asked.plan.steps] == ["add-collateral"]
    rig.chain.take("WETH", rig.trader.address)
    await rig.mine()
    (now,) = rig.wired.engine.view.confirmations
    assert now.id == asked.id
    assert [step.action.kind for step in now.plan.steps] == ["repay"]
    assert now.plan.spend_usd < asked.plan.spend_usd
    with pytest.raises(CommandRefused, match="does it in another way now; look at the new figures and answer again"):
        await rig.wired.commands.answer(asked.id, True, asked.digest)
    with pytest.raises(CommandRefused, match="the plan is another one now"):
        await rig.wired.commands.answer(asked.id, True, "of no plan")
    assert rig.firings() == ()
    (again,) = rig.wired.engine.view.confirmations
    await rig.wired.commands.answer(again.id, True, again.digest)
    await rig.mine(4)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE
    assert rig.health(rig.trader.address) >= TARGET


async def test_a_yes_that_meets_an_unexpected_error_says_so(make_rig: MakeRig) -> None:
    rig, asked = await _asked(make_rig)
    executor = rig.wired.engine.executor
    assert executor is not None

    async def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing")

    executor.execute = fails  # type: ignore[method-assign]
    with pytest.raises(CommandRefused, match="unexpected error"):
        await rig.wired.commands.answer(asked.id, True, asked.digest)
    assert "the answer was not carried out whole" in rig.wired.engine.view.activity[-1].text


async def test_one_refused_block_closes_no_question_and_the_yes_to_it_counts(make_rig: MakeRig) -> None:
    rig, asked = await _asked(make_rig)
    tokens = [rig.chain.token(symbol).address for symbol in ("USDC", "WETH")]
    codes = {token: rig.chain.rpc("eth_getCode", token, "latest") for token in tokens}
    transfer_from = "23b872dd"
    assert all(transfer_from in code for code in codes.values())
    for token, code in codes.items():
        rig.chain.rpc("anvil_setCode", token, code.replace(transfer_from, "deadbeef"))
    await rig.mine()
    assert next(iter(rig.wired.engine.defender.evaluations.values())).refused is not None
    assert [one.id for one in rig.wired.engine.view.confirmations] == [asked.id]
    with pytest.raises(CommandRefused, match="simulated"):
        await rig.wired.commands.answer(asked.id, True, asked.digest)
    for token, code in codes.items():
        rig.chain.rpc("anvil_setCode", token, code)
    await rig.mine()
    (still,) = rig.wired.engine.view.confirmations
    assert still.id == asked.id
    await rig.wired.commands.answer(asked.id, True, still.digest)
    assert len(rig.firings()) == 1


async def test_a_question_of_a_rule_that_went_blind_is_taken_back_loudly_and_asked_anew(make_rig: MakeRig) -> None:
    rig, asked = await _asked(make_rig)
    feed = rig.chain.token("WETH").feed
    code = rig.chain.rpc("eth_getCode", feed, "latest")
    rig.chain.rpc("anvil_setCode", feed, "0xfe")
    await rig.mine()
    assert rig.wired.engine.view.confirmations == ()
    (told,) = [one for one in rig.wired.engine.view.activity if "cannot be answered now" in one.text]
    assert told.severity is Severity.ALARM
    assert "no need to answer" not in "".join(one.text for one in rig.wired.engine.view.activity)
    rig.chain.rpc("anvil_setCode", feed, code)
    await rig.mine(2)
    (anew,) = rig.wired.engine.view.confirmations
    assert anew.id != asked.id
    assert sum("asks for your yes" in one.text for one in rig.wired.engine.view.activity) == 2


async def test_confirm_mode_a_no_latches(make_rig: MakeRig) -> None:
    rig, asked = await _asked(make_rig)
    await rig.wired.commands.answer(asked.id, False, asked.digest)
    await rig.mine(3)
    assert rig.wired.engine.view.confirmations == ()
    assert rig.firings() == ()
    (rule,) = rig.wired.engine.view.rules
    assert rule.activity is RuleActivity.LATCHED


async def test_the_kill_switch_stops_a_firing_rule(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    await rig.wired.commands.kill(True, "test")
    _lower_price(rig, "2600")
    await rig.mine(3)
    assert rig.firings() == ()
    assert rig.wired.engine.view.protection is Protection.HELD
    await rig.wired.commands.kill(False, "test")
    await rig.mine(4)
    assert len(rig.firings()) == 1


async def test_a_rule_edited_behind_the_engine_is_disarmed(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    rig.trader.rules.write_text(rig.trader.rules.read_text().replace('"1.25"', '"1.30"'))
    _lower_price(rig, "2600")
    await rig.mine(2)
    assert rig.firings() == ()
    assert rig.wired.engine.view.protection is Protection.WATCHING
    assert any("disarmed" in entry.text for entry in rig.wired.engine.view.activity)


async def test_a_broken_edit_leaves_the_last_good_rules_in_force(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    rig.trader.rules.write_text("[[rule]\nname = ")
    await rig.mine(1)
    assert rig.wired.engine.view.protection is Protection.ARMED
    assert rig.wired.engine.view.rule_faults
    _lower_price(rig, "2600")
    await rig.mine(4)
    assert len(rig.firings()) == 1


async def test_a_stuck_transaction_can_be_cancelled_by_hand_also_under_the_kill_switch(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    rig.chain.set_automine(False)
    _lower_price(rig, "2600")
    await rig.head()
    (firing,) = rig.firings()
    (intent,) = firing.intents
    assert intent.state is IntentState.MAYBE_SENT
    rig.chain.rpc("anvil_dropAllTransactions")  # nobody will ever mine it
    await rig.wired.commands.kill(True, "changed my mind")
    await rig.wired.commands.cancel(intent.id)
    await rig.mine(4)
    (firing,) = rig.firings()
    (intent,) = firing.intents
    assert intent.state is IntentState.FINAL_CANCELLED
    assert rig.transactions_of(rig.trader.address) == [intent.included_hash]
    assert firing.state is not FiringState.DONE


async def test_a_rule_that_names_what_the_market_lacks_is_not_armed(make_rig: MakeRig) -> None:
    rig = await make_rig()
    rig.trader.rules.write_text(rig.trader.rules.read_text().replace('"USDC"', '"USDX"'))
    await rig.mine(1)
    report = await rig.wired.commands.arming_report("guard")
    assert any("USDX" in problem and "did you mean" in problem for problem in report.problems)
    with pytest.raises(CommandRefused, match="USDX"):
        await rig.arm()


async def test_a_rule_that_has_fired_and_waits_is_not_shown_as_next_to_fire(make_rig: MakeRig) -> None:
    rig, asked = await _asked(make_rig)
    await rig.wired.commands.answer(asked.id, False, asked.digest)
    await rig.mine(1)
    view = rig.wired.engine.view
    assert view.next_fire is None
    assert "will not fire now" in view.protection_why
    assert any(line.startswith("guard: will not fire now") for line in view.would_stop)


async def test_what_a_limit_leaves_over_is_no_step(make_rig: MakeRig) -> None:
    rig = await make_rig(usdc="500", daily="500.0000001", partial=True)
    await rig.arm()
    _lower_price(rig, "2600")
    await rig.mine(5)
    (firing,) = rig.firings()
    assert len(firing.intents) == 1, "a ten-millionth of a dollar in WETH is not worth a transaction"


async def test_the_twins_liquidation_is_told(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.mine(1)
    _lower_price(rig, "2150")
    liquidator = rig.chain.new_account()
    rig.chain.give("USDC", rig.chain.units("USDC", 20_000), liquidator)
    rig.chain.approve(liquidator, "USDC", rig.chain.market.pool)
    rig.chain.send(
        liquidator, rig.chain.market.pool, "liquidationCall(address,address,address,uint256,bool)",
        rig.chain.token("WETH").address, rig.chain.token("USDC").address, rig.twin, 2**256 - 1, False,
    )  # fmt: skip
    await rig.head()
    told = [entry.text for entry in rig.wired.engine.view.activity if "LIQUIDATED" in entry.text]
    assert len(told) == 1
    assert "WETH taken for" in told[0]


async def test_gas_over_a_share_of_the_loss_avoided_waits_until_it_is_an_emergency(make_rig: MakeRig) -> None:
    rig = await make_rig(limits='\nmax_cost_share = "0.01%"\n')
    await rig.arm()
    _lower_price(rig, "2600")
    await rig.mine(2)
    assert rig.firings() == ()
    assert any("that a liquidation would take" in entry.text for entry in rig.wired.engine.view.activity)
    _lower_price(rig, "2250")  # health 1.04
    await rig.mine(4)
    assert len(rig.firings()) == 1


async def test_where_chain_time_and_the_machines_clock_are_far_apart_exact_approvals_are_used(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(heartbeat=10**9)
    await rig.arm()
    rig.chain.advance(60 * 86_400)
    _lower_price(rig, "2600")
    await rig.mine(5)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE
    assert len(firing.intents) == 2, "an approval of the amount, and the repayment"
    assert rig.allowances(rig.trader.address) == {}
