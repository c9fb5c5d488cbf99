"""Limits of the signer's day: it counts what it signed, reverted or not, and that is told where it is used up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.fault_rig import ADD, REPAY, FaultRig, OpenRig
from tui.engine.breaker import REFUSALS_TO_HOLD
from tui.engine.carrying import DAY_IS_USED
from tui.model.intent import FiringState, IntentState
from tui.model.signing import day_used
from tui.model.units import WAD
from tui.model.view import Protection, Severity

pytestmark = pytest.mark.node


async def capped(rig: FaultRig, symbol: str = "", amount: int = 0, gas: int | None = None) -> None:
    """The signer may sign for no more than `amount` (base units) a day of one token, or for so many wei of gas."""
    (policy,) = rig.wired.engine.armory.policies.values()
    signer = rig.wired.engine.ports.signer
    assert policy is not None
    assert signer is not None
    if gas is not None:
        await signer.set_policy(replace(policy, max_daily_fee_wei=gas))
        return
    token = rig.chain.token(symbol).address.lower()
    assert token in dict(policy.daily_caps)
    await signer.set_policy(replace(policy, daily_caps=tuple({**dict(policy.daily_caps), token: amount}.items())))


def refused_code(rig: FaultRig) -> str | None:
    (evaluation,) = [view.evaluation for view in rig.view.rules]
    return None if evaluation is None or evaluation.refused is None else evaluation.refused.code


async def test_what_reverts_uses_the_signers_day_up_and_that_is_told_with_what_to_do(open_faulty: OpenRig) -> None:
    """A day of 1,500 dollars is one of 4,500 in the signer: somebody makes three firings revert, and it signs no more
    for today. Nothing was moved.
    """
    rig = await open_faulty(daily="1500", partial=True)
    await rig.fall("2240")
    assert rig.chain.health_factor(rig.account) < 105 * WAD // 100
    for _ in range(30):
        if refused_code(rig) == DAY_IS_USED:
            break
        waits = bool(rig.firings) and rig.intent_states == [IntentState.MAYBE_SENT]
        await (rig.refuse_one_block() if waits else rig.mine())
    assert refused_code(rig) == DAY_IS_USED, rig.said
    failed = [firing for firing in rig.firings if firing.state is FiringState.FAILED]
    assert len(failed) == 3
    signed, lines = len(rig.attempts()), rig.said.count("nothing was signed")
    for _ in range(REFUSALS_TO_HOLD + 2):
        rig.chain.rpc("evm_increaseTime", 4)
        await rig.mine()
    assert rig.view.protection is not Protection.HELD, "it ends by itself: nobody has to go on by hand"
    assert len(rig.attempts()) == signed
    assert rig.said.count("nothing was signed") == lines <= 1, "it is not asked at every block"
    (line,) = [line for line in rig.view.would_stop if "the signer" in line]
    for words in (
        "guard",
        "USDC",
        "protection is suspended until tomorrow",
        "daily_spend_usd",
        "rules.toml",
        "reverted",
    ):
        assert words in line, line
    assert rig.wired.journal is not None
    told = [one for one in rig.wired.journal.decisions() if "protection is suspended until tomorrow" in one.text]
    assert [one.severity for one in told] == [Severity.ALARM]
    # What it says is what mends it.
    rig.rules.write_text(rig.rules.read_text().replace('"1500"', '"20000"'))
    await rig.mine()
    await rig.arm()
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    rig.check()


async def test_of_a_plan_that_the_signer_would_not_sign_whole_nothing_is_signed(open_faulty: OpenRig) -> None:
    """It would sign the approval, and not the supply: the account would be held until somebody cancels the approval."""
    rig = await open_faulty(steps=ADD)
    await capped(rig, "WETH", 10**18)
    await rig.fall()
    assert rig.attempts() == []
    assert rig.firing.state is FiringState.DROPPED
    assert {intent.state for intent in rig.firing.intents} <= {IntentState.DROPPED}
    assert refused_code(rig) == DAY_IS_USED
    await rig.arm()
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    rig.check()


async def test_what_the_day_leaves_no_room_for_is_left_out_and_the_rest_is_done(open_faulty: OpenRig) -> None:
    rig = await open_faulty(steps=f"{REPAY}\n\n{ADD}")
    await capped(rig, "USDC", 10**6)
    await rig.fall("2400")
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    assert {intent.words.split()[0] for intent in rig.firing.intents if intent.attempts} == {"Let", "Supply"}
    assert "left out: " in rig.said
    rig.check()


async def test_gas_of_the_day_that_does_not_last_for_the_whole_plan_goes_to_what_it_lasts_for(
    open_faulty: OpenRig,
) -> None:
    little = REPAY.replace('"20000"', '"2000"')
    rig = await open_faulty(steps=f"{little}\n\n{ADD}", partial=True)
    await capped(rig, gas=1)
    await rig.fall("2450")
    assert rig.attempts() == []
    used = day_used(rig.firings[-1].reason)
    assert used is not None
    assert (used.token, used.spent) == (None, 0), "what is asked for is not signed yet"
    await rig.arm()
    await capped(rig, gas=used.asked * 5 // 4)
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    assert {intent.words.split()[0] for intent in rig.firing.intents if intent.attempts} == {"Repay"}
    assert "repay 2,000.00 USDC, add-collateral" in rig.said
    assert "add-collateral" in rig.said.rpartition("left out: ")[2]
    rig.check()


async def test_a_limit_of_few_firings_is_told_before_it_is_used_up(open_faulty: OpenRig) -> None:
    rig = await open_faulty(daily="3000", partial=True)
    report = await rig.wired.commands.arming_report("guard")
    (line,) = [one for one in report.warnings if "the signer signs for" in one]
    assert "write a daily_spend_usd of" in line
    await rig.mine(21)  # what a rule stands on is looked at again every 20 blocks
    assert [one for one in rig.view.worth_knowing if "the signer signs for" in one], rig.view.worth_knowing
    assert not [one for one in rig.view.would_stop if "the signer signs for" in one]
