"""A part closed where health is high, on real contracts: once, exactly that part, and never on a price in doubt."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.e2e.conftest import MakeRig, Rig
from tests.support.strange import assert_held_back, assert_nothing_signed, publish_at, rule_of
from tui.headless.watch_commands import evaluate
from tui.model.intent import FiringState, IntentState
from tui.model.position import Status
from tui.model.units import USD, WAD
from tui.model.view import RuleActivity

pytestmark = [pytest.mark.node]

RULE = """\
[[rule]]
name = "guard"
position = "aave-v3/core"
mode = "{mode}"
when = {{ {when}, for_blocks = 2 }}
target = {{ close = "50%" }}

[[rule.step]]
action = "repay"
asset = "USDC"

[rule.limits]
max_cost_usd = "200"
daily_spend_usd = "100000"
cooldown = "0s"
"""
THERE = 3469 * USD + USD * 7 // 8
"""What ether costs, to a dollar, where 10 of it at a threshold of 83% are 1.6 times 18,000 dollars."""


def text_of(mode: str = "auto", when: str = 'health_factor_above = "1.6"') -> str:
    """A rule that closes half of the debt where health is so."""
    return RULE.format(mode=mode, when=when)


def debt_token(rig: Rig) -> str:
    """Where the pool keeps who owes USDC."""
    words = ["uint256"] * 8 + ["address"] * 3
    asset = rig.chain.token("USDC").address
    found = rig.chain.call(rig.chain.market.pool, "getReserveData(address)", words, asset)
    return str(found[-1])


def owed(rig: Rig) -> int:
    """Base units of USDC, by the contracts alone."""
    return int(rig.chain.call(debt_token(rig), "balanceOf(address)", ["uint256"], rig.trader.address))


def rise(rig: Rig, usd: str = "3600") -> None:
    """Health 1.66."""
    rig.chain.set_price("WETH", Decimal(usd))


async def test_it_closes_its_part_once_and_not_again_over_a_restart(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=text_of())
    before = owed(rig)
    assert before // 10**6 == 18_000
    report = await rig.wired.commands.arming_report("guard")
    assert report.problems == ()
    assert not any("fires at once" in line for line in report.warnings)
    await rig.arm()
    following = rig.wired.engine.view.next_fire
    assert following is not None
    assert abs(following.price_usd - THERE) <= USD
    assert following.distance_bps is not None
    assert following.distance_bps > 0
    rise(rig)
    await rig.mine(1)
    assert rig.firings() == (), "one block is not two in a row"
    rise(rig, "3400")
    await rig.mine(2)
    assert rig.firings() == ()
    rise(rig)
    await rig.mine(6)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason
    assert [intent.state for intent in firing.intents] == [IntentState.FINAL_OK]
    assert [intent.included_hash for intent in firing.intents] == rig.transactions_of(rig.trader.address)
    left = owed(rig)
    # Half of what was owed in the block before, and the interest of seconds.
    assert abs(2 * left - before) * 100_000 < before
    health = rig.health(rig.trader.address)
    assert firing.health_factor_after is not None
    assert abs(health - firing.health_factor_after) * 100_000 < health
    assert health > 33 * WAD // 10, "it is more than the trigger for good, and fires no more"
    assert "disarm it and arm it again" in rule_of(rig).detail
    assert not any("is still" in entry.text for entry in rig.wired.engine.view.activity), "that it stays there is meant"
    for usd in ("1500", "4000"):  # under the trigger, and over it once more
        rise(rig, usd)
        await rig.mine(4)
    assert len(rig.firings()) == 1
    assert owed(rig) < left + 10**6

    await rig.wired.aclose()
    again = await make_rig(rules_text=text_of())
    await again.arm()
    await again.mine(4)
    assert len(again.firings()) == 1, "a restart arms nothing anew"
    assert "disarm it and arm it again" in rule_of(again).detail
    await again.wired.commands.disarm("guard", "by hand")
    warned = await again.wired.commands.arming_report("guard")
    (told,) = [line for line in warned.warnings if "fires at once" in line]
    assert told.startswith("it fires at once: health factor 3.")
    assert told.endswith("above 1.60")
    await again.arm()
    await again.mine(6)
    assert len(again.firings()) == 2, "a person armed it anew"
    assert abs(4 * owed(again) - before) * 10_000 < before


async def test_52_it_does_nothing_on_a_price_in_doubt_whatever_it_says_of_stale_prices(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=text_of(), limits='stale_price = "act"\n', heartbeat=3_600)
    await rig.arm()
    rig.chain.advance(2 * 3_600)
    rise(rig)  # the collateral's feed speaks, that of the debt stays silent
    await rig.mine(4)
    assert_held_back(rig, "the price of USDC is 2 h old")
    engine = rig.wired.engine
    assert engine.snapshot is not None
    assert engine.fees is not None
    position = next(one for one in engine.snapshot.positions if one.key.account == rig.trader.address.lower())
    told = await evaluate(rig.wired, engine.book.rules[0], position, engine.snapshot, engine.fees)
    assert told.plan is not None
    assert (told.waits or "").startswith("held back: the price of USDC is 2 h old"), "`trimtab plan` says so too"
    rig.chain.set_price("USDC", 1)
    publish_at(rig.chain, "WETH", int(rig.chain.block()["timestamp"], 16) + 3_600)
    await rig.mine(4)
    assert_held_back(rig, "the price of WETH says it is from the future")
    rise(rig)
    await rig.mine(6)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason


@pytest.mark.parametrize("answer", [0, -1])
async def test_52_a_debt_that_is_worth_nothing_is_unknown_and_not_high_health(make_rig: MakeRig, answer: int) -> None:
    rig = await make_rig(rules_text=text_of())
    await rig.arm()
    rig.chain.set_answer("USDC", answer)
    await rig.mine(4)
    assert_nothing_signed(rig)
    assert {one.position.status for one in rig.wired.engine.view.positions} == {Status.UNKNOWN}
    assert rule_of(rig).activity is RuleActivity.HELD


async def test_a_no_is_for_good_until_it_is_armed_anew(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=text_of("confirm"))
    await rig.arm()
    rise(rig)
    await rig.mine(2)
    (asked,) = rig.wired.engine.view.confirmations
    assert asked.plan.closed_bps == 5_000
    await rig.wired.commands.answer(asked.id, False, asked.digest)
    for usd in ("3400", "3700"):
        rise(rig, usd)
        await rig.mine(3)
    assert rig.wired.engine.view.confirmations == ()
    assert any(
        "declined: it fires once: disarm it and arm it again" in entry.text for entry in rig.wired.engine.view.activity
    )
    assert_nothing_signed(rig)
