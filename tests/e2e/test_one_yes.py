"""Confirm mode where no helper stands: what one yes to a deleverage in rounds covers, and what is asked about again.

The whole engine, keystore, signer, journal, router and pool. Health falls from 1.38 to 1.05 in one block.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.e2e.test_rounds_that_close import owed
from tests.e2e.test_rounds_that_stop import keep
from tests.support.deleverage import remove_code, the_helper
from tests.support.fault_rig import GWEI, REPAY, FaultRig, World
from tests.support.on_exchange import (
    SELL,
    SWAP,
    TARGET,
    Open,
    allowed,
    close_instead,
    fall,
    health,
    mine_in_moved_pools,
    on_target,
    usually,
)
from tests.support.positions import PPM
from tui.model.intent import IntentState
from tui.model.view import Confirmation
from tui.screen.draw.sales import rounds_lines

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]

SALE = SELL.format("2%")
BY_WBTC = SWAP.format("1%").replace("WETH", "WBTC")


@pytest.fixture(scope="module")
def world(world: World) -> World:
    """A world in which nobody ever deployed the helper."""
    remove_code(world.chain, the_helper(world.chain).address)
    return world


@pytest.fixture
def rounds(defending: Open) -> Open:
    return usually(defending, SALE, helpers={})


async def asking(opens: Open, steps: str, **options: object) -> FaultRig:
    """An engine armed with a rule of these steps that asks first."""
    rig = await opens(steps, **options)
    rig.rules.write_text(rig.rules.read_text().replace('mode = "auto"', 'mode = "confirm"'))
    await rig.mine(1)
    await rig.arm()
    return rig


def asked(rig: FaultRig) -> Confirmation | None:
    """What waits for a yes."""
    return next(iter(rig.wired.engine.defender.confirmations), None)


async def say_yes(rig: FaultRig) -> Confirmation:
    """Answer what is asked, which it returns."""
    found = asked(rig)
    assert found is not None
    await rig.wired.commands.answer(found.id, True, found.digest)
    return found


async def to_the_end(rig: FaultRig, blocks: int = 120) -> None:
    """Mine until the target is met and nothing is under way, or a question is open."""
    for _ in range(blocks):
        if asked(rig) is not None or (health(rig) >= TARGET and not rig.firing.state.is_open):
            break
        await rig.mine()


async def test_one_yes_is_for_the_wallets_steps_and_all_rounds_behind_them(rounds: Open) -> None:
    """What a swap brings in beyond its repayment is of the rounds, and no reason for another step of the wallet."""
    rig = await asking(rounds, f"{REPAY}\n\n{SALE}")
    await keep(rig, 2_000)
    await fall(rig)
    first = await say_yes(rig)
    assert [str(step.action.kind) for step in first.plan.steps] == ["repay", "deleverage"]
    assert first.plan.rounds is not None
    assert first.plan.rounds.ahead > 1
    await rig.mine(3)
    await rig.restart()
    await rig.arm()
    await to_the_end(rig)
    assert asked(rig) is None
    on_target(rig)
    assert len(rig.firings) >= 3
    assert rig.said.count("asks for your yes") == 1
    assert allowed(rig) == {}
    rig.check()


async def test_a_swap_of_the_wallet_that_was_undone_is_made_by_a_later_round_without_another_question(
    rounds: Open,
) -> None:
    rig = await asking(rounds, f"{BY_WBTC}\n{SALE}")
    chain = rig.chain
    await keep(rig, 0)
    chain.give("WBTC", chain.units("WBTC", 1) // 50, rig.account)
    await rig.mine(1)
    await fall(rig)
    first = await say_yes(rig)
    assert [str(step.action.kind) for step in first.plan.steps] == ["swap-to-repay", "deleverage"]
    held = chain.balance("WBTC", rig.account)
    raws = [attempt.raw for intent in rig.firing.intents for attempt in intent.attempts]
    mine_in_moved_pools(chain, raws, {"WBTC": PPM - 15_000})
    await rig.mine(3)
    assert IntentState.FINAL_REVERTED in [one.state for one in rig.firings[-1].intents]
    await to_the_end(rig)
    assert asked(rig) is None, rig.said
    on_target(rig)
    assert chain.balance("WBTC", rig.account) < held // 10
    assert rig.said.count("asks for your yes") == 1
    rig.check()


async def test_what_the_wallet_came_to_hold_after_the_yes_is_asked_about(rounds: Open) -> None:
    rig = await asking(rounds, f"{REPAY}\n\n{SALE}")
    chain = rig.chain
    await keep(rig, 1_000)
    await fall(rig)
    first = await say_yes(rig)
    assert first.plan.steps[0].action.amount == 1_000 * 10**6
    chain.give("USDC", chain.units("USDC", 500), rig.account)
    await to_the_end(rig)
    again = asked(rig)
    assert again is not None
    assert 499 * 10**6 < again.plan.steps[0].action.amount < 501 * 10**6
    assert "asks for your yes once more: repay USDC would take more than what was agreed to" in rig.said
    assert len(rig.firings) == 1
    await say_yes(rig)
    await to_the_end(rig)
    assert asked(rig) is None
    on_target(rig)
    rig.check()


async def test_a_step_that_was_not_shown_is_asked_about_whatever_little_it_moves(rounds: Open) -> None:
    rig = await asking(rounds, f"{REPAY}\n\n{SALE}")
    chain = rig.chain
    await keep(rig, 0)
    await fall(rig)
    first = await say_yes(rig)
    assert [str(step.action.kind) for step in first.plan.steps] == ["deleverage"]
    chain.give("USDC", chain.units("USDC", 20), rig.account)
    await to_the_end(rig)
    again = asked(rig)
    assert again is not None
    assert [str(step.action.kind) for step in again.plan.steps] == ["repay", "deleverage"]
    assert "asks for your yes once more: repay USDC was not among what was agreed to" in rig.said
    assert len(rig.firings) == 1
    rig.check()


async def test_rounds_that_cost_far_more_gas_than_was_shown_are_asked_about(rounds: Open) -> None:
    rig = await asking(rounds, SALE)
    rig.rules.write_text(rig.rules.read_text().replace('max_cost_usd = "200"\n', ""))
    await rig.mine(1)
    await rig.arm()
    await fall(rig)
    await say_yes(rig)
    await rig.mine(1)
    usual = rig.chain.block()["baseFeePerGas"]
    for _ in range(40):
        rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(120 * GWEI))
        await rig.mine()
        if asked(rig) is not None:
            break
    assert asked(rig) is not None
    assert "asks for your yes once more: all rounds would cost $" in rig.said
    assert health(rig) < TARGET
    rig.check()
    # The node keeps what it charges where the chain is put back.
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", usual)
    rig.chain.mine()


async def test_one_yes_is_for_the_rounds_of_another_debt_that_it_showed(rounds: Open) -> None:
    rig = await asking(rounds, f"{SALE}\n{SALE.replace('USDC', 'DAI')}")
    chain = rig.chain
    chain.borrow(rig.account, "DAI", chain.units("DAI", 1_000))
    close_instead(rig, "50%", 'price_of = "WETH", below = "2900"')
    await rig.mine(1)
    await rig.arm()
    at_first = {symbol: owed(rig, symbol) for symbol in ("USDC", "DAI")}
    await fall(rig, usd=Decimal("2800"))
    first = await say_yes(rig)
    assert first.plan.rounds is not None
    (behind,) = first.plan.rounds.behind
    assert (behind.asset.symbol, behind.pays.symbol, behind.by_rounds) == ("DAI", "WETH", True)
    assert abs(behind.amount - at_first["DAI"] // 2) < at_first["DAI"] // 100
    assert "sell some 0.1" in "".join(row.text for row in rounds_lines(first.plan, 300))
    await rig.mine(60)
    assert asked(rig) is None
    for symbol, before in at_first.items():
        assert abs(owed(rig, symbol) - before // 2) < before // 10**4, symbol
    assert rig.said.count("asks for your yes") == 1
    rig.check()
