"""Sales through the whole engine on real contracts: keystore, signer, journal, exchange, and what may go wrong on it.

Health falls from the position's 1.38 to 1.05 in one block; the wallet is of no use unless a test fills it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.chain import Chain
from tests.support.deleverage import WAD, remove_code, the_helper
from tests.support.fault_rig import ADD, FaultRig, World
from tests.support.on_exchange import (
    SELL,
    USD_AT_105,
    Open,
    fall,
    health,
    nothing_left,
    on_target,
    plan_of,
    pools_fall_first,
    refusal_of,
    wallet,
)
from tests.support.pool_rules import read_raw
from tests.support.positions import follow
from tui.engine.facade import CommandRefused
from tui.model.intent import FiringState, IntentState
from tui.model.units import BPS

pytestmark = pytest.mark.node

SLIPPAGE_BPS = 200
MOST_SOLD_WORD = 3


def within_the_bound(rig: FaultRig) -> None:
    """Whatever was signed lets the chain take no more than the oracle's price and the step's slippage allow."""
    price = rig.chain.price("WETH")
    for firing in rig.firings:
        for intent in firing.intents:
            for attempt in intent.attempts:
                data = read_raw("0x" + attempt.raw.hex()).data
                words = [int.from_bytes(data[at : at + 32], "big") for at in range(4, 4 + 32 * 6, 32)]
                repaid, most = words[2], words[MOST_SOLD_WORD]
                fair = (repaid * 10_005 // BPS + 1) * 10**8 * 10**12 // price
                assert most <= fair * BPS // (BPS - SLIPPAGE_BPS) + 10**10, "sells for less than the bound"


async def test_from_105_to_150_in_one_transaction(selling: Open) -> None:
    rig = await selling()
    before = wallet(rig)
    await fall(rig)
    assert 1049 * WAD // 1000 < health(rig) < 1051 * WAD // 1000
    plan = plan_of(rig)
    assert plan.reaches_target
    assert (await rig.settle()).state is FiringState.DONE
    (intent,) = rig.firing.intents
    assert [tx["hash"] for tx in rig.on_chain()] == [intent.included_hash]
    on_target(rig)
    assert rig.firing.health_factor_after is not None
    assert abs(rig.firing.health_factor_after - health(rig)) < WAD // 10**6
    assert wallet(rig) == before
    nothing_left(rig)
    within_the_bound(rig)
    rig.check()


async def test_its_own_way_costs_what_the_plan_does(selling: Open) -> None:
    rig = await selling()
    await fall(rig)
    plan = plan_of(rig)
    assert plan.simulated
    (own,) = [one for one in plan.alternatives if one.steps == plan.taken]
    assert own.cost == plan.cost


async def test_a_clock_far_from_chain_time_sells_by_an_exact_approval(selling: Open) -> None:
    rig = await selling()
    rig.clock.advance(-3 * 86_400)
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE
    assert len(rig.firing.intents) == 2
    on_target(rig)
    nothing_left(rig)
    rig.check()


async def test_where_the_sale_would_lose_too_much_the_next_step_does_it(selling: Open) -> None:
    rig = await selling(f"{SELL.format('0.3%')}\n{ADD}")
    await fall(rig, below=10_000)
    plan = plan_of(rig)
    (why,) = [one.why_not for one in plan.alternatives if one.steps == (0,)]
    assert why is not None
    assert "would lose" in why
    assert "over the step's 0.30%" in why
    assert [step.action.kind for step in plan.steps] == ["add-collateral"]
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()


async def test_where_no_step_may_sell_it_says_why(selling: Open) -> None:
    rig = await selling(SELL.format("0.3%"))
    await fall(rig, below=10_000)
    assert "selling WETH for USDC would lose 1.0" in refusal_of(rig)
    assert "would lose" in rig.said
    assert rig.firings == ()
    assert rig.on_chain() == []


async def test_what_no_pool_could_ever_do_is_not_armed(selling: Open) -> None:
    with pytest.raises(CommandRefused, match=r"the pool's fee alone is 0\.05%, the step allows 0\.04%"):
        await selling(SELL.format("0.04%"))


async def test_without_the_helper_the_step_is_passed_over_and_that_is_said_before(selling: Open, world: World) -> None:
    snapshot = world.chain.snapshot()
    try:
        remove_code(world.chain, the_helper(world.chain).address)
        rig = await selling(f'{SELL.format("2%")}rounds = "never"\n\n{ADD}')
        report = await rig.wired.commands.arming_report("guard")
        assert any("helper contract is not deployed" in warning for warning in report.warnings)
        assert any(
            "trimtab helper deploy" in line for line in rig.wired.engine.would_stop + rig.wired.engine.worth_knowing
        )
        await fall(rig)
        plan = plan_of(rig)
        (why,) = [one.why_not for one in plan.alternatives if one.steps == (0,)]
        assert why is not None
        assert "not deployed on this chain: run `trimtab helper deploy`" in why
        assert (await rig.settle()).state is FiringState.DONE
        on_target(rig)
        rig.check()
    finally:
        world.chain.revert(snapshot)


async def test_a_pool_that_moves_before_inclusion_undoes_it_and_it_is_planned_anew(selling: Open) -> None:
    rig = await selling(SELL.format("0.3%"))
    await fall(rig)
    assert [len(one.attempts) for one in rig.firing.intents] == [1]
    most = plan_of(rig).steps[0].action.sale
    assert most is not None
    pools_fall_first(rig, 10_000)
    before = health(rig)
    await rig.settle()
    assert rig.firings[-1].state is FiringState.FAILED
    reverted = rig.firings[-1].intents[0]
    assert reverted.state is IntentState.FINAL_REVERTED
    assert reverted.gas_paid_wei is not None
    assert reverted.gas_paid_wei > 0
    assert rig.firings[-1].cost_usd
    assert health(rig) <= before
    await rig.mine(2)
    # While the pool stands there a sale would lose more than the step allows: nothing is fired at it again.
    assert len(rig.firings) == 1
    assert "would lose" in refusal_of(rig)
    follow(rig.chain)
    await rig.mine()
    assert len(rig.firings) == 2
    assert rig.firing.block_number > rig.firings[-1].block_number, "planned at a block of its own"
    assert rig.firing.intents[0].nonce == (reverted.nonce or 0) + 1
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    nothing_left(rig)
    rig.check()


def _scaled(chain: Chain, hundredths: int) -> Callable[[list[Any], Any], Any]:
    """Answers in which everything that can be a price in WETH is scaled, where pools are asked."""
    asked = chain.market.quoter_v2[2:].lower()

    def lie(params: list[Any], result: Any) -> Any:
        if not isinstance(result, str) or asked not in json.dumps(params).lower():
            return result
        raw = bytearray.fromhex(result[2:])
        for at in range(0, len(raw) - 31):
            word = int.from_bytes(raw[at : at + 32], "big")
            if WAD // 10 < word < 20 * WAD and not any(raw[at : at + 22]):
                raw[at : at + 32] = (word * hundredths // 100).to_bytes(32, "big")
        return "0x" + raw.hex()

    return lie


@pytest.mark.parametrize("hundredths", [50, 90, 99, 101, 110, 200])
async def test_a_node_that_lies_about_prices_gets_nothing_signed_beyond_the_bound(
    selling: Open, hundredths: int
) -> None:
    rig = await selling()
    lie = rig.proxies[0].lie("eth_call", _scaled(rig.chain, hundredths))
    before = health(rig)
    await fall(rig)
    await rig.mine(2)
    assert lie.hits
    within_the_bound(rig)
    if rig.firings:
        assert (await rig.settle()).state is FiringState.DONE
        assert health(rig) > before * 75 // 100
    else:
        assert refusal_of(rig)
        lie.lift()
        await rig.mine()
        assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    within_the_bound(rig)
    nothing_left(rig)
    rig.check()


async def test_prices_of_a_block_that_a_reorg_took_back_are_not_used(selling: Open) -> None:
    rig = await selling()
    chain, asked = rig.chain, rig.chain.market.quoter_v2[2:].lower()
    snapshot = chain.snapshot()

    def reorg(params: list[Any], result: Any) -> Any:
        if asked in json.dumps(params).lower() and fault.left:
            fault.lift()
            chain.revert(snapshot)
            chain.set_automine(False)
            chain.set_price("WETH", USD_AT_105 + 1)
            follow(chain)
            chain.mine()
        return result

    fault = rig.proxies[0].lie("eth_call", reorg, times=10**6)
    await fall(rig)
    assert fault.left == 0, "no price was asked for"
    assert rig.attempts() == []
    assert refusal_of(rig)
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()
