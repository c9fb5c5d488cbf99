"""A stop-loss where no helper stands: a part of the debt, or all of it, is closed in rounds by the plain account.

The whole engine, keystore, signer, journal, router and pool. The price falls from 3,000 to 2,650 in one block.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.e2e.test_rounds import lowest, withdrawals
from tests.support.fault_rig import FaultRig
from tests.support.on_exchange import (
    REVERTS,
    SELL,
    Open,
    allowed,
    close_instead,
    fall,
    health,
    plan_of,
    pools_fall_first,
    wallet,
)
from tests.support.positions import follow
from tui.model.intent import FiringState, IntentState
from tui.model.rounds import FLOOR
from tui.model.units import UINT256_MAX, WAD

pytestmark = [pytest.mark.node, pytest.mark.timeout(240), pytest.mark.usefixtures("without_helper")]

LEVEL, FALLEN = "2700", Decimal("2650")
OWED = 18_000 * 10**6
CENT = 10**4


async def stop_loss(
    opens: Open, part: str, steps: str = SELL.format("2%"), when: str = f'price_of = "WETH", below = "{LEVEL}"'
) -> FaultRig:
    """An engine armed with a stop at 2,700 (or what `when` says) that closes a part."""
    rig = await opens(steps)
    close_instead(rig, part, when)
    await rig.mine(1)
    await rig.arm()
    return rig


def owed(rig: FaultRig, symbol: str = "USDC") -> int:
    token = rig.chain.token(symbol).v_token
    return rig.chain.call(token, "balanceOf(address)", ["uint256"], rig.account)


async def to_the_end(rig: FaultRig, blocks: int = 60) -> None:
    """Mine until nothing is under way and no further round fires."""
    quiet, count = 0, 0
    for _ in range(blocks):
        await rig.mine()
        under_way = rig.firing.state.is_open or len(rig.firings) != count
        quiet, count = 0 if under_way else quiet + 1, len(rig.firings)
        if quiet == 4:
            return
    raise AssertionError(rig.said)


async def test_half_is_closed_to_the_cent_and_no_more(rounds: Open) -> None:
    rig = await stop_loss(rounds, "50%")
    before, at_first = wallet(rig), owed(rig)
    await fall(rig, usd=FALLEN)
    plan = plan_of(rig)
    assert plan.rounds is not None
    assert (plan.goal_words, plan.reaches_target, plan.shortfall) == ("closes 50%", True, None)
    count = 1 + plan.rounds.ahead
    await to_the_end(rig)
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    assert 1 < len(rig.firings) <= count + 1
    # Half of what was owed when it fired; the rest has earned a few blocks' interest.
    assert abs(owed(rig) - at_first // 2) < at_first // 10**6 + CENT
    assert "its rounds have met their target" in rig.said
    assert lowest(rig) > FLOOR
    assert allowed(rig) == {}
    after = wallet(rig)
    assert after["WETH"] == before["WETH"]
    assert before["USDC"] <= after["USDC"] < before["USDC"] + 20 * 10**6
    rig.check()
    # The price goes to and fro over its level: it fires once.
    fired = len(rig.firings)
    for usd in ("3000", "2600", "2400"):
        await fall(rig, usd=Decimal(usd))
        await rig.mine(2)
    assert len(rig.firings) == fired


async def test_a_later_round_that_is_undone_whole_is_made_again(rounds: Open) -> None:
    """None of its transactions does anything, an approval neither: so no receipt tells anything of it."""
    rig = await stop_loss(rounds, "50%")
    chain, at_first = rig.chain, owed(rig)
    await fall(rig, usd=FALLEN)
    while len(rig.firings) == 1:
        await rig.mine()
    raws = [intent.attempts[-1].raw for intent in rig.firing.intents]
    chain.rpc("anvil_dropAllTransactions")
    broken = (chain.market.pool, chain.market.router02, chain.token("WETH").address, chain.token("USDC").address)
    with chain.code_as(REVERTS, *broken):
        chain.send_raw(raws)
        chain.mine()
    await to_the_end(rig)
    undone = rig.firings[-2]
    assert undone.state is FiringState.FAILED
    assert {intent.state for intent in undone.intents} == {IntentState.FINAL_REVERTED}
    assert "cannot be read" not in rig.said
    assert "round 2 reverted on chain: it is planned anew" in rig.said
    assert abs(owed(rig) - at_first // 2) < at_first // 10**6 + CENT
    rig.check()


async def test_a_part_is_closed_where_health_is_high_once_and_wherever_it_is_between_rounds(rounds: Open) -> None:
    """It rises to 3,300 and falls back once the first round is mined: the part is that of when it fired."""
    rig = await stop_loss(rounds, "80%", when='health_factor_above = "1.5"')
    at_first = owed(rig)
    await fall(rig, usd=Decimal("3300"))
    plan = plan_of(rig)
    assert plan.rounds is not None
    assert plan.goal_words == "closes 80%"
    await rig.mine()
    await fall(rig, usd=Decimal("3000"))
    await to_the_end(rig)
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    assert len(rig.firings) > 1
    assert abs(owed(rig) - at_first // 5) < at_first // 10**6 + CENT
    assert lowest(rig) > FLOOR
    assert allowed(rig) == {}
    fired = len(rig.firings)
    for usd in ("2000", "3600"):
        await fall(rig, usd=Decimal(usd))
        await rig.mine(2)
    assert len(rig.firings) == fired


async def test_a_first_round_that_reverts_whole_leaves_it_to_the_trigger_whether_it_fires(rounds: Open) -> None:
    """Health falls back before it is mined: the withdrawal is undone, and all behind it, for the wallet is empty."""
    rig = await stop_loss(rounds, "80%", when='health_factor_above = "1.5"')
    for symbol in ("WETH", "USDC"):
        rig.chain.take(symbol, rig.account)
    at_first = owed(rig)
    await fall(rig, usd=Decimal("3300"))
    await fall(rig, usd=Decimal("3000"))
    await rig.mine(6)
    assert [one.state for one in rig.firings] == [FiringState.FAILED], "health is not high any more"
    assert "its first round reverted on chain: it is planned anew" in rig.said
    assert at_first <= owed(rig) < at_first + CENT
    await fall(rig, usd=Decimal("3300"))
    await to_the_end(rig)
    done = [one.state for one in rig.firings]
    assert sorted(done) == sorted([*[FiringState.DONE] * (len(done) - 1), FiringState.FAILED])
    assert abs(owed(rig) - at_first // 5) < at_first // 10**6 + CENT
    assert allowed(rig) == {}


async def test_all_of_it_is_closed_and_no_dust_is_owed(rounds: Open) -> None:
    rig = await stop_loss(rounds, "100%")
    before = wallet(rig)
    await fall(rig, usd=FALLEN)
    plan = plan_of(rig)
    assert plan.rounds is not None
    assert (plan.goal_words, plan.rounds.ends_at) == ("closes 100%", None)
    await to_the_end(rig)
    assert owed(rig) == 0
    assert health(rig) == UINT256_MAX
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    last = [intent.words for intent in rig.firing.intents]
    assert last[-1].startswith("Take back the pool's allowance"), last
    assert any("all of the debt" in one for one in last)
    assert allowed(rig) == {}
    after = wallet(rig)
    assert after["WETH"] == before["WETH"]
    assert before["USDC"] <= after["USDC"] < before["USDC"] + 40 * 10**6
    assert lowest(rig) > FLOOR
    rig.check()


async def test_half_stays_half_where_a_swap_reverts_on_the_way(rounds: Open) -> None:
    rig = await stop_loss(rounds, "50%", SELL.format("0.6%"))
    chain = rig.chain
    chain.take("USDC", rig.account)
    await rig.mine(1)
    before, at_first = wallet(rig), owed(rig)
    await fall(rig, usd=FALLEN)
    pools_fall_first(rig, 10_000)
    await rig.mine(4)
    states = [one.state for one in rig.firings[-1].intents]
    assert states[-2:] == [IntentState.FINAL_REVERTED, IntentState.FINAL_REVERTED]
    assert owed(rig) >= at_first
    assert wallet(rig)["WETH"] == before["WETH"] + withdrawals(rig)[0]
    assert "round 1 reverted on chain: it is planned anew" in rig.said
    follow(chain)
    await to_the_end(rig)
    assert abs(owed(rig) - at_first // 2) < at_first // 10**6 + CENT
    assert wallet(rig)["WETH"] == before["WETH"]
    assert allowed(rig) == {}
    rig.check()


async def test_a_restart_between_two_rounds_closes_the_same_half(rounds: Open) -> None:
    rig = await stop_loss(rounds, "50%")
    at_first = owed(rig)
    await fall(rig, usd=Decimal("2400"))
    await rig.mine(4)
    done = len(rig.firings)
    assert owed(rig) < at_first
    await rig.restart()
    await rig.arm()
    await to_the_end(rig)
    assert len(rig.firings) > done
    assert abs(owed(rig) - at_first // 2) < at_first // 10**6 + CENT
    assert len({one.episode for one in rig.firings}) == len(rig.firings)
    rig.check()


async def test_what_arming_and_a_plan_tell_of_it(rounds: Open) -> None:
    rig = await stop_loss(rounds, "100%")
    report = await rig.wired.commands.arming_report("guard")
    assert report.problems == ()
    assert any("in about" in one and "rounds" in one for one in report.warnings)
    await fall(rig, usd=FALLEN)
    assert "(round 1 of about" in rig.said
    assert "closes 100%" in rig.said


async def test_two_debts_are_closed_one_after_the_other(rounds: Open) -> None:
    both = f"{SELL.format('2%')}\n{SELL.format('2%').replace('USDC', 'DAI')}"
    rig = await stop_loss(rounds, "100%", both)
    rig.chain.borrow(rig.account, "DAI", rig.chain.units("DAI", 2_000))
    await rig.mine(1)
    await rig.arm()
    before = wallet(rig)
    report = await rig.wired.commands.arming_report("guard")
    assert not any("it closes" in one for one in (*report.problems, *report.warnings)), report
    await fall(rig, usd=FALLEN)
    plan = plan_of(rig)
    assert (plan.goal_words, plan.reaches_target, plan.shortfall) == ("closes 100%", True, None)
    await to_the_end(rig)
    assert (owed(rig), owed(rig, "DAI")) == (0, 0)
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    paid = [one.intents[-1].words for one in reversed(rig.firings)]
    bought = ["DAI" if " DAI" in words else "USDC" for words in paid]
    assert bought == sorted(bought, reverse=True)
    assert set(bought) == {"USDC", "DAI"}
    after = wallet(rig)
    assert after["WETH"] == before["WETH"]
    assert after["DAI"] < before["DAI"] + 10 * WAD
    assert allowed(rig) == {}
    rig.check()
