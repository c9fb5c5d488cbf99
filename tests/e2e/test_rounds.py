"""A deleverage in rounds where no helper stands: the whole engine, keystore, signer, journal, router and pool.

Health falls from the position's 1.38 to 1.05 in one block and is to be 1.50; the wallet's own tokens are not to go.
"""

from __future__ import annotations

import pytest

from tests.support.deleverage import WAD
from tests.support.fault_rig import ADD, FaultRig
from tests.support.on_exchange import (
    SELL,
    TARGET,
    Open,
    allowed,
    evaluation_of,
    fall,
    health,
    on_target,
    plan_of,
    pools_fall_first,
    wallet,
)
from tests.support.positions import follow
from tui.model.intent import FiringState, IntentState
from tui.model.rounds import FLOOR
from tui.protocols.aave_v3.own_swaps import WITHDRAW
from tui.quotes.router02 import EXACT_INPUT_SINGLE, within

pytestmark = [pytest.mark.node, pytest.mark.timeout(240), pytest.mark.usefixtures("without_helper")]


async def to_the_end(rig: FaultRig, blocks: int = 120) -> None:
    """Mine until nothing is under way and the target is met."""
    for _ in range(blocks):
        if health(rig) >= TARGET and not rig.firing.state.is_open:
            break
        await rig.mine()
    await rig.mine(3)


def lowest(rig: FaultRig) -> int:
    """The lowest health at any of the account's own transactions, by the contract itself after each block of them."""
    blocks = {intent.included_block for firing in rig.firings for intent in firing.intents if intent.included_block}
    return min(rig.chain.account_data(rig.account, block=hex(one))[5] for one in blocks)


def withdrawals(rig: FaultRig) -> list[int]:
    return [int.from_bytes(sent.data[36:68], "big") for sent in rig.attempts() if sent.data[:4] == WITHDRAW]


async def test_from_105_to_150_in_rounds(rounds: Open) -> None:
    rig = await rounds()
    before = wallet(rig)
    await fall(rig)
    first = plan_of(rig)
    assert first.rounds is not None
    assert first.rounds.reaches_target
    assert first.rounds.lowest >= FLOOR
    await to_the_end(rig)
    on_target(rig)
    print(len(rig.firings), first.rounds.words, [f.health_factor_after for f in reversed(rig.firings)])
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    assert abs(len(rig.firings) - (1 + first.rounds.ahead)) <= 1
    assert allowed(rig) == {}
    after = wallet(rig)
    assert after["WETH"] == before["WETH"]
    assert before["USDC"] <= after["USDC"] < before["USDC"] + 20 * 10**6
    rig.check()


async def mid_round(rig: FaultRig) -> list[bytes]:
    """The raw transactions of the first round, taken back from the node before any was mined."""
    await fall(rig)
    raws = [attempt.raw for intent in rig.firing.intents for attempt in intent.attempts]
    assert rig.intent.data[:4] == WITHDRAW
    rig.chain.rpc("anvil_dropAllTransactions")
    return raws


async def test_health_stays_above_the_floor_while_nothing_is_repaid_yet(rounds: Open) -> None:
    rig = await rounds()
    raws = await mid_round(rig)
    planned = plan_of(rig).rounds
    assert planned is not None
    found = []
    for raw in raws:
        rig.chain.rpc("eth_sendRawTransaction", "0x" + raw.hex())
        rig.chain.mine()
        found.append(health(rig))
    withdrawn, *_, repaid = found
    # To the wei but for the interest of the blocks between.
    assert abs(withdrawn - planned.lowest) < WAD // 10**6
    assert min(found) > FLOOR - WAD // 10**6
    assert repaid > 1055 * WAD // 1000


async def test_a_swap_that_reverts_leaves_collateral_that_the_next_round_sells_first(rounds: Open) -> None:
    rig = await rounds(SELL.format("0.6%"))
    chain = rig.chain
    # With nothing of the debt's token in hand the repayment cannot take the wallet's own.
    chain.take("USDC", rig.account)
    await rig.head()
    before = wallet(rig)
    await mid_round(rig)
    pools_fall_first(rig, 10_000)
    await rig.mine(4)
    first = rig.firings[-1]
    assert [one.state for one in first.intents] == [
        IntentState.FINAL_OK, IntentState.FINAL_OK, IntentState.FINAL_REVERTED, IntentState.FINAL_REVERTED,
    ]  # fmt: skip
    (out,) = withdrawals(rig)[:1]
    assert wallet(rig)["WETH"] == before["WETH"] + out
    assert health(rig) > FLOOR - WAD // 10**6
    assert "round 1 reverted on chain: it is planned anew" in rig.said
    assert "WETH of its rounds are in the wallet" in rig.said
    follow(chain)
    await rig.mine(2)
    swaps = [swap for sent in rig.attempts() if (swap := within(sent.data))[:4] == EXACT_INPUT_SINGLE]
    sold = int.from_bytes(swaps[0][4 + 4 * 32 : 4 + 5 * 32], "big")
    more = int.from_bytes(rig.firing.intents[0].data[36:68], "big")
    assert rig.firing.intents[0].data[:4] == WITHDRAW
    assert sold == out + more, "what lies in the wallet is sold first"
    await to_the_end(rig)
    on_target(rig)
    assert wallet(rig)["WETH"] == before["WETH"]
    assert allowed(rig) == {}
    rig.check()


async def test_a_restart_between_two_rounds_goes_on_with_them(rounds: Open) -> None:
    rig = await rounds()
    await fall(rig)
    await rig.mine(4)
    assert any(one.state is FiringState.DONE for one in rig.firings)
    await rig.restart()
    count = len(rig.firings)
    await rig.mine(4)
    assert len(rig.firings) == count, "not armed yet"
    await rig.arm()
    await to_the_end(rig)
    on_target(rig)
    assert len(rig.firings) > count
    assert len({one.episode for one in rig.firings}) == len(rig.firings)
    assert allowed(rig) == {}
    rig.check()


async def test_rounds_go_on_though_health_is_above_the_trigger_and_end_when_disarmed(rounds: Open) -> None:
    rig = await rounds()
    await fall(rig)
    for _ in range(60):
        if health(rig) > 126 * WAD // 100:
            break
        await rig.mine()
    assert health(rig) > 125 * WAD // 100
    await rig.wired.commands.disarm("guard", "a test")
    await rig.mine(6)
    there, count = health(rig), len(rig.firings)
    assert 125 * WAD // 100 < there < TARGET
    assert not rig.firing.state.is_open
    await rig.arm()
    await rig.mine(6)
    assert len(rig.firings) == count, "a person ended its rounds"


async def test_disarmed_below_its_trigger_and_armed_again_it_begins_anew(rounds: Open) -> None:
    rig = await rounds()
    await fall(rig)
    await rig.wired.commands.disarm("guard", "a test")
    await rig.mine(6)
    assert len(rig.firings) == 1
    assert health(rig) < 11 * WAD // 10
    await rig.arm()
    await to_the_end(rig)
    on_target(rig)
    rig.check()


async def test_the_kill_switch_stops_between_two_rounds(rounds: Open) -> None:
    rig = await rounds()
    await fall(rig)
    await rig.mine(1)
    rig.wired.engine.kill_switch.pull("a test")
    await rig.mine(8)
    count = len(rig.firings)
    assert count == 1
    assert health(rig) < TARGET


async def test_a_maximum_holds_for_all_rounds_together(rounds: Open) -> None:
    rig = await rounds(f'{SELL.format("2%")}max = "1"\n', partial=True, cooldown="1h")
    before = rig.chain.call(rig.chain.token("WETH").a_token, "balanceOf(address)", ["uint256"], rig.account)
    await fall(rig)
    first = plan_of(rig)
    assert first.rounds is not None
    assert not first.rounds.reaches_target
    assert first.shortfall is not None
    await rig.mine(40)
    after = rig.chain.call(rig.chain.token("WETH").a_token, "balanceOf(address)", ["uint256"], rig.account)
    assert 99 * WAD // 100 < before - after <= WAD + 100  # wei: each withdrawal rounds what earns interest
    assert len(rig.firings) > 1
    assert sum(withdrawals(rig)) <= WAD


async def test_limits_on_cost_are_held_against_all_rounds(rounds: Open) -> None:
    rig = await rounds()
    rig.rules.write_text(rig.rules.read_text().replace('max_cost_usd = "200"', 'max_cost_usd = "1"'))
    await rig.head()
    await rig.mine(1)
    await rig.arm()
    await fall(rig)
    evaluation = evaluation_of(rig)
    assert evaluation.refused is not None
    assert evaluation.refused.code == "max-cost"
    assert "in about 9 rounds, because no helper is deployed" in evaluation.refused.reason
    assert rig.firings == ()


async def test_one_yes_is_for_all_rounds_within_its_sum(rounds: Open) -> None:
    rig = await rounds()
    rig.rules.write_text(rig.rules.read_text().replace('mode = "auto"', 'mode = "confirm"'))
    await rig.mine(1)
    await rig.arm()
    await fall(rig)
    (asked,) = rig.wired.engine.defender.confirmations
    assert asked.plan.rounds is not None
    await rig.wired.commands.answer(asked.id, True, asked.digest)
    await to_the_end(rig)
    on_target(rig)
    assert rig.wired.engine.defender.confirmations == ()
    assert len(rig.firings) >= 8
    rig.check()


async def test_a_step_that_never_goes_in_rounds_is_passed_over(rounds: Open) -> None:
    rig = await rounds(f'{SELL.format("2%")}rounds = "never"\n\n{ADD}')
    await fall(rig)
    plan = plan_of(rig)
    assert [step.action.kind.value for step in plan.steps] == ["add-collateral"]


async def test_what_arming_tells(rounds: Open) -> None:
    rig = await rounds()
    report = await rig.wired.commands.arming_report("guard")
    told = next(one for one in report.warnings if "rounds" in one and "about" in one)
    assert "in about" in told
    assert "`trimtab helper deploy` makes it one transaction" in told
