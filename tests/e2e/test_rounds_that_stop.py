"""Between two rounds where the next cannot be had: the rule does whatever else it can, and goes on as any other.

The whole engine, keystore, signer, journal, router and pool. Health falls from 1.38 to 1.05 in one block.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.e2e.test_rounds_that_close import owed, to_the_end
from tests.support.deleverage import WAD
from tests.support.fault_rig import REPAY, FaultRig
from tests.support.on_exchange import (
    REVERTS,
    SELL,
    Open,
    allowed,
    close_instead,
    evaluation_of,
    fall,
    health,
    refusal_of,
    wallet,
)
from tui.engine.breaker import REFUSALS_TO_HOLD
from tui.model.intent import FiringState

pytestmark = [pytest.mark.node, pytest.mark.timeout(240), pytest.mark.usefixtures("without_helper")]

SALE = SELL.format("2%")


ROUNDING = 100
"""Wei: the pool rounds a balance that earns interest at every withdrawal."""


def supplied(rig: FaultRig) -> int:
    token = rig.chain.token("WETH").a_token
    return int(rig.chain.call(token, "balanceOf(address)", ["uint256"], rig.account))


async def keep(rig: FaultRig, usdc: int) -> None:
    """Take all USDC out of the wallet but so many."""
    rig.chain.take("USDC", rig.account, but=rig.chain.units("USDC", usdc))
    await rig.mine(1)


async def swapped_alone(rig: FaultRig, usd: str) -> None:
    """Mine the round that is under way in a block in which the pool refuses whatever it is asked, so that of all its
    transactions only the swap goes through, paid by the wallet; then the price is another one.
    """
    with rig.chain.code_as(REVERTS, rig.chain.market.pool):
        rig.chain.mine()
    rig.chain.set_price("WETH", usd)
    rig.clock.advance(2)
    await rig.head()


async def hours(rig: FaultRig, seconds: int = 3_700) -> None:
    rig.chain.advance(seconds)
    rig.clock.advance(seconds)
    await rig.head()


async def between_two(rig: FaultRig) -> None:
    """Let the round under way end and no other begin, until the kill switch is released."""
    rig.wired.engine.kill_switch.pull("a test")
    for _ in range(8):
        if not rig.firing.state.is_open:
            break
        await rig.mine()
    assert rig.firing.state is FiringState.DONE


async def test_a_maximum_that_is_used_up_is_told_and_given_anew_once_its_cooldown_is_over(rounds: Open) -> None:
    rig = await rounds(f'{SALE}max = "1"\n', partial=True, cooldown="1h")
    at_first = supplied(rig)
    await fall(rig)
    await rig.mine(40)
    first = len(rig.firings)
    assert 99 * WAD // 100 < at_first - supplied(rig) <= WAD + ROUNDING
    assert "its rounds have used up its maximum" in refusal_of(rig)
    assert any("its rounds have used up its maximum" in text for _, text in rig.view.troubles)
    assert any("its rounds have used up its maximum" in text for text in rig.view.would_stop)
    await rig.restart()
    await rig.arm()
    await rig.mine(3)
    assert len(rig.firings) == first
    await hours(rig)
    assert "its rounds end, because the next cannot be had" in rig.said
    assert "it begins anew" in rig.said
    await rig.mine(40)
    assert len(rig.firings) > first
    assert 198 * WAD // 100 < at_first - supplied(rig) <= 2 * WAD + ROUNDING
    assert health(rig) > 11 * WAD // 10
    assert len({one.episode for one in rig.firings}) == len(rig.firings)
    rig.check()


async def test_without_a_cooldown_maxima_take_it_over_its_trigger_as_one_sale_after_the_other_would(
    rounds: Open,
) -> None:
    rig = await rounds(f'{SALE}max = "3"\n', partial=True)
    await fall(rig)
    await rig.mine(40)
    assert health(rig) > 125 * WAD // 100
    assert rig.said.count("it begins anew") == 1
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    await fall(rig, usd=Decimal("2200"))
    await rig.mine(20)
    assert health(rig) > 125 * WAD // 100
    rig.check()


async def test_what_is_in_the_wallet_is_repaid_though_health_is_too_low_to_take_anything_out(rounds: Open) -> None:
    """Of a first round that repays by the wallet and sells only the swap goes through, and health falls to 1.007."""
    rig = await rounds(f"{REPAY}\n\n{SALE}")
    await keep(rig, 5_000)
    at_first = owed(rig)
    await fall(rig)
    await swapped_alone(rig, "2184")
    bought = wallet(rig)["USDC"]
    assert bought > 5_800 * 10**6
    await to_the_end(rig)
    assert at_first - owed(rig) > 5_800 * 10**6
    assert health(rig) > 125 * WAD // 100
    assert allowed(rig) == {}
    rig.check()


async def test_what_a_round_bought_is_repaid_though_nothing_else_can_be_done(rounds: Open) -> None:
    rig = await rounds()
    await keep(rig, 0)
    at_first = owed(rig)
    await fall(rig)
    await swapped_alone(rig, "2184")
    bought = wallet(rig)["USDC"]
    assert bought > 500 * 10**6
    assert health(rig) < 101 * WAD // 100
    await rig.mine(3)
    assert at_first - owed(rig) > bought * 99 // 100
    assert rig.firings[1].state is FiringState.DONE
    rig.check()


async def test_a_wallet_that_is_filled_between_two_rounds_defends_though_the_exchange_is_broken(rounds: Open) -> None:
    rig = await rounds(f"{REPAY}\n\n{SALE}", cooldown="6h")
    chain = rig.chain
    await keep(rig, 0)
    await fall(rig)
    await rig.mine(5)
    assert health(rig) < 125 * WAD // 100
    await between_two(rig)
    chain.rpc("anvil_setCode", chain.market.router02, REVERTS)
    rig.wired.engine.kill_switch.release()
    await rig.mine(2)
    chain.give("USDC", chain.units("USDC", 20_000), rig.account)
    await rig.mine(3)
    assert health(rig) >= 15 * WAD // 10
    await rig.mine(5)
    assert "its rounds have met their target" in rig.said
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    rig.check()


async def test_a_rule_that_is_stuck_between_two_rounds_is_told_and_does_not_hold_the_engine(rounds: Open) -> None:
    rig = await rounds(cooldown="6h")
    await fall(rig)
    await rig.mine(5)
    await between_two(rig)
    with rig.chain.code_as(REVERTS, rig.chain.market.router02):
        rig.wired.engine.kill_switch.release()
        for _ in range(REFUSALS_TO_HOLD + 4):
            rig.chain.rpc("evm_increaseTime", 4)
            await rig.mine()
        evaluation = evaluation_of(rig)
        assert evaluation.in_rounds
        assert evaluation.refused is not None
        assert evaluation.refused.code == "simulation-reverted"
        assert rig.wired.engine.why_not_act() is None
        assert any("cannot act" in text for _, text in rig.view.troubles)
    await to_the_end(rig)
    assert health(rig) >= 15 * WAD // 10
    rig.check()


async def test_a_step_behind_the_rounds_acts_where_the_sale_is_out_for_a_stale_price(rounds: Open) -> None:
    rig = await rounds(f"{SALE}\n\n{REPAY}", limits='stale_price = "act"\n')
    # The price of the native coin is as old: without it no limit in dollars can be held.
    rig.rules.write_text(rig.rules.read_text().replace('max_cost_usd = "200"\n', ""))
    await rig.mine(1)
    await rig.arm()
    await fall(rig)
    await rig.mine(5)
    await between_two(rig)
    count, before = len(rig.firings), owed(rig)
    await hours(rig, 26 * 3_600)  # a price may be 25 old, and quick blocks add no second
    rig.wired.engine.kill_switch.release()
    await rig.mine(4)
    assert len(rig.firings) > count
    assert before - owed(rig) > 1_000 * 10**6
    assert health(rig) >= 15 * WAD // 10
    rig.check()


async def test_under_the_cheapest_order_all_debts_are_closed(rounds: Open) -> None:
    rig = await rounds(f'order = "cheapest"\n\n{SALE}\n{SALE.replace("USDC", "DAI")}')
    rig.chain.borrow(rig.account, "DAI", rig.chain.units("DAI", 3_000))
    close_instead(rig, "100%", 'price_of = "WETH", below = "2900"')
    await rig.mine(1)
    await rig.arm()
    await fall(rig, usd=Decimal("2800"))
    await to_the_end(rig, 120)
    assert (owed(rig), owed(rig, "DAI")) == (0, 0)
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    assert allowed(rig) == {}
    rig.check()


async def test_a_part_is_closed_once_though_its_maximum_takes_two_firings(rounds: Open) -> None:
    rig = await rounds(f'{SALE}max = "2"\n', partial=True, cooldown="1h")
    close_instead(rig, "50%", 'price_of = "WETH", below = "2700"')
    await rig.mine(1)
    await rig.arm()
    at_first, held = owed(rig), supplied(rig)
    await fall(rig, usd=Decimal("2650"))
    await to_the_end(rig)
    assert 199 * WAD // 100 < held - supplied(rig) <= 2 * WAD + ROUNDING
    assert owed(rig) > at_first * 6 // 10
    assert any("its rounds have used up its maximum" in text for text in rig.view.would_stop)
    await rig.restart()
    await rig.arm()
    await hours(rig)
    await to_the_end(rig)
    assert abs(owed(rig) - at_first // 2) < at_first // 10**4
    count = len(rig.firings)
    await hours(rig)
    await fall(rig, usd=Decimal("2400"))
    await rig.mine(6)
    assert len(rig.firings) == count
    assert len({one.episode for one in rig.firings}) == count
    rig.check()


async def test_half_of_each_debt_is_closed_where_one_is_repaid_by_the_wallet_beside_the_first_round(
    rounds: Open,
) -> None:
    by_wallet = '[[rule.step]]\naction = "repay"\nasset = "DAI"\nmax = "900"\n'
    rig = await rounds(f"{by_wallet}\n{SALE}", partial=True)
    chain = rig.chain
    chain.borrow(rig.account, "DAI", chain.units("DAI", 2_000))
    chain.give("DAI", chain.units("DAI", 5_000), rig.account)
    close_instead(rig, "50%", 'price_of = "WETH", below = "2700"')
    await rig.mine(1)
    await rig.arm()
    at_first = {symbol: owed(rig, symbol) for symbol in ("USDC", "DAI")}
    await fall(rig, usd=Decimal("2650"))
    await to_the_end(rig)
    for symbol, before in at_first.items():
        assert abs(owed(rig, symbol) - before // 2) < before // 10**4, symbol
    count = len(rig.firings)
    await fall(rig, usd=Decimal("2500"))
    await rig.mine(6)
    assert len(rig.firings) == count
    rig.check()
