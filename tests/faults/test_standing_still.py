"""Chains that take back, stall or halt, and days that end: nothing is signed on what is not so any more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.conftest import RULE, MakeRig, Rig
from tests.support.clock import FakeClock
from tests.support.strange import assert_nothing_signed, rule_of, said, signer_status
from tui.engine.armory import RENEW_AFTER
from tui.model.intent import FiringState, IntentState
from tui.model.units import WAD
from tui.model.view import Protection, RuleActivity
from tui.planning.policy import POLICY_LIFETIME

TARGET = 15 * WAD // 10

pytestmark = [pytest.mark.node]


class _After:
    """Passes every call on, and does something once a simulation has been answered."""

    def __init__(self, inner: Any, then: Any) -> None:
        self._inner = inner
        self._then = then

    async def simulate(self, *args: Any) -> Any:
        answer = await self._inner.simulate(*args)
        self._then()
        return answer


def _reorg_after_simulation(rig: Rig, depth: int, after: int = 1) -> list[int]:
    """A real reorg of `depth` blocks right after the `after`-th simulation. What was mined there is gone."""
    prospect = rig.wired.engine.prospect
    done: list[int] = []

    def strike() -> None:
        done.append(rig.chain.block_number())
        if len(done) == after:
            rig.chain.rpc("anvil_reorg", depth, [])

    prospect._simulator = _After(prospect._simulator, strike)
    return done


# --- 34 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("usdc", ["20000", None])
async def test_34_trigger_price_taken_back_between_verdict_and_signature(make_rig: MakeRig, usdc: str | None) -> None:
    """By permit, which is simulated again with its signature; and with a plain approval, which is not."""
    rig = await make_rig(usdc=usdc or "20000", wallet_usdc=20_000 if usdc else 0)
    await rig.arm()
    struck = _reorg_after_simulation(rig, 1)
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.head()
    assert struck, "the rule did not want to fire"
    assert_nothing_signed(rig)
    assert said(rig, "a reorg took back block") == 1
    (firing,) = rig.firings()
    assert firing.state is FiringState.DROPPED
    assert rig.chain.price("WETH") > 2_600 * 10**8, "the price was taken back"
    await rig.mine(4)
    assert_nothing_signed(rig)
    assert rig.transactions_of(rig.trader.address) == []
    assert rule_of(rig).activity is RuleActivity.ARMED
    # The fall that stays is a fall: the rule is free for it.
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.mine(5)
    assert [one.state for one in rig.firings()].count(FiringState.DONE) == 1
    assert TARGET <= rig.health(rig.trader.address) <= TARGET * 1001 // 1000


async def test_34_reorg_that_keeps_the_price_is_decided_anew_on_the_new_block(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.arm()
    rig.chain.set_price("WETH", Decimal(2600))
    rig.chain.give("DAI", 1, rig.twin)  # an empty block could come back as the very same one
    _reorg_after_simulation(rig, 1)
    await rig.head()
    assert said(rig, "nothing was signed") == 1
    assert_nothing_signed(rig)
    await rig.mine(5)
    states = [one.state for one in rig.firings()]
    assert states.count(FiringState.DONE) == 1
    assert len(rig.transactions_of(rig.trader.address)) == 1


# --- 36, 37 --------------------------------------------------------------------------------------------------------


async def test_36_finality_stalls_no_re_arm_and_it_is_shown(make_rig: MakeRig) -> None:
    rig = await make_rig(confirmations=4)
    await rig.arm()
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.head()
    await rig.mine(1)  # included, far from final
    rig.chain.set_price("WETH", Decimal(2000))  # and down again: health far below the trigger
    await rig.head()
    (firing,) = rig.firings()
    assert [intent.state for intent in firing.intents] == [IntentState.INCLUDED]
    assert rig.health(rig.trader.address) < 125 * WAD // 100
    rule = rule_of(rig)
    assert (rule.activity, rule.detail) == (RuleActivity.FIRING, "a rebalance is under way")
    told = "guard is carrying out a rebalance, mined in block {}, which is not final yet ({} of 4 blocks)"
    view = rig.wired.engine.view
    block = firing.intents[0].included_block
    assert view.chain.block is not None
    assert block is not None
    assert told.format(block, view.chain.block.number - block + 1) in view.protection_why
    assert any("not final yet" in line for line in view.would_stop)
    for _ in range(3):
        await rig.wired.engine.on_head(rig.wired.engine.snapshot.block)  # type: ignore[union-attr]
    assert len(rig.firings()) == 1
    assert len(rig.transactions_of(rig.trader.address)) == 1


async def test_37_chain_halts_is_shown_as_blind_and_not_as_safe(make_rig: MakeRig) -> None:
    clock = FakeClock(time.time())
    rig = await make_rig(clock=clock)
    await rig.arm()
    await rig.mine()
    assert rig.wired.engine.view.protection is Protection.ARMED
    rig.chain.set_price("WETH", Decimal(2600))  # in a block that the engine is not told of
    clock.advance(3 * 2.0 + 1.5)
    rig.wired.engine.publish()
    view = rig.wired.engine.view
    assert view.protection is Protection.HELD
    assert view.protection_why.startswith("Blind: no new block for 7 s")
    assert view.chain.blind is not None
    assert rule_of(rig).activity is RuleActivity.HELD
    assert "no new block" in (rig.wired.engine.why_not_act() or "")
    report = await rig.wired.commands.arming_report("guard")
    assert any("cannot be seen" in line for line in report.problems)
    assert_nothing_signed(rig)
    # 38: back, with everything that happened meanwhile in one block.
    await rig.mine(5)
    assert rig.wired.engine.view.protection is Protection.ARMED
    assert [one.state for one in rig.firings()] == [FiringState.DONE]


# --- 62 ------------------------------------------------------------------------------------------------------------


async def test_62_daily_cap_holds_across_a_restart(make_rig: MakeRig) -> None:
    cap = 'daily_spend_usd = "100000"'
    text = RULE.format(mode="auto", usdc="3000").replace(cap, 'daily_spend_usd = "3500"')
    rig = await make_rig(rules_text=text)
    await rig.arm()
    rig.chain.set_price("WETH", Decimal(2600))
    await rig.mine(6)
    (first,) = rig.firings()
    assert first.state is FiringState.DONE
    spent = rule_of(rig).spent_today_usd
    assert 0 < spent <= 3_500 * 10**8
    await rig.wired.aclose()

    again = await make_rig(rules_text=text)
    await again.arm()
    assert rule_of(again).spent_today_usd == spent
    again.chain.set_price("WETH", Decimal(3000))
    await again.mine(2)
    again.chain.set_price("WETH", Decimal(2200))
    await again.mine(6)
    total = sum(one.spend_usd for one in again.firings() if one.state is FiringState.DONE)
    assert total <= 3_500 * 10**8
    later = [one for one in again.firings() if one.id != first.id]
    assert sum(one.spend_usd for one in later) <= 3_500 * 10**8 - spent
    assert any("today's" in line or "daily spend" in line for line in _told(again))


def _told(rig: Rig) -> Sequence[str]:
    return [*(entry.text for entry in rig.wired.engine.view.activity), *rig.wired.engine.view.would_stop]


# --- the signer's permission -----------------------------------------------------------------------------------------


async def test_the_policy_is_renewed_daily_while_armed_and_never_after(make_rig: MakeRig) -> None:
    clock = FakeClock(time.time())
    rig = await make_rig(clock=clock)
    await rig.arm()
    first = await _expiry(rig)
    assert first == int(clock.now()) + POLICY_LIFETIME
    await rig.mine()
    assert await _expiry(rig) == first, "not before it is due"
    clock.advance(RENEW_AFTER + 1)
    await rig.mine()
    assert await _expiry(rig) == first + RENEW_AFTER + 1
    assert rig.wired.engine.view.policy_until == first + RENEW_AFTER + 1
    await rig.wired.commands.disarm("guard", "by hand")
    clock.advance(RENEW_AFTER + 1)
    await rig.mine()
    assert (await signer_status(rig))["policies"] == []
    assert rig.wired.engine.view.policy_until is None


async def _expiry(rig: Rig) -> int:
    policies: Any = (await signer_status(rig))["policies"]
    return int(policies[0]["expires_at"])
