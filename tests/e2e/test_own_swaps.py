"""A wallet's own token swapped for what it repays, through the whole engine: keystore, signer, journal, router, pool.

Health falls from the position's 1.38 to 1.05 in one block; the wallet holds 8 WETH and 2,000 USDC that are not to go.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.chain import Chain
from tests.support.deleverage import WAD
from tests.support.fault_rig import ADD, FaultRig, World
from tests.support.on_exchange import (
    SWAP,
    Open,
    allowed,
    fall,
    health,
    on_target,
    plan_of,
    pools_fall_first,
    refusal_of,
    wallet,
)
from tests.support.positions import follow
from tui.config.paths import resolve_paths
from tui.headless.watch_commands import evaluate
from tui.model.intent import FiringState, IntentState
from tui.model.plan import Plan
from tui.model.units import USD
from tui.quotes.router02 import EXACT_INPUT_SINGLE, FIRST_WORD, MULTICALL, within
from tui.wiring import assemble

pytestmark = pytest.mark.node


async def test_from_105_to_150_by_another_token_of_the_wallet(swapping: Open) -> None:
    rig = await swapping()
    before = wallet(rig)
    await fall(rig)
    assert 1049 * WAD // 1000 < health(rig) < 1051 * WAD // 1000
    plan = plan_of(rig)
    assert plan.reaches_target
    (step,) = plan.steps
    sale = step.action.sale
    assert sale is not None
    assert sale.swap is not None
    assert within(plan.calls[1].data)[:4] == EXACT_INPUT_SINGLE
    assert (await rig.settle()).state is FiringState.DONE
    assert [intent.state for intent in rig.firing.intents] == [IntentState.FINAL_OK] * 3
    on_target(rig)
    after = wallet(rig)
    assert before["WETH"] - after["WETH"] == sale.sold
    assert 0 <= after["USDC"] - before["USDC"] <= 2 * sale.surplus
    assert {one: after[one] for one in after if one not in ("WETH", "USDC")} == {
        one: before[one] for one in before if one not in ("WETH", "USDC")
    }
    assert allowed(rig) == {}
    assert plan.cost.swap_usd > 0
    rig.check()


async def test_what_came_of_it_is_booked_beside_what_was_expected(swapping: Open) -> None:
    rig = await swapping()
    await fall(rig)
    sale, plan_cost = plan_of(rig).steps[0].action.sale, plan_of(rig).cost.swap_usd
    assert sale is not None
    assert (await rig.settle()).state is FiringState.DONE
    assert rig.wired.journal is not None
    found = rig.wired.journal.outcome(rig.firing.id)
    assert found is not None
    assert [(one.symbol, one.expected, one.actual) for one in found.sales] == [("WETH", sale.sold, sale.sold)]
    (bought,) = found.buys
    assert bought.expected is not None
    assert bought.actual is not None
    assert abs(bought.actual - bought.expected) <= bought.expected // 1_000_000
    assert found.swap_actual_usd is not None
    assert abs(found.swap_actual_usd - plan_cost) < USD // 100
    assert found.health_actual is not None
    assert found.health_simulated is not None
    assert abs(found.health_actual - found.health_simulated) < WAD // 10_000


async def test_what_a_falling_pool_undid_goes_through_the_second_time(swapping: Open) -> None:
    rig = await swapping()
    rig.chain.take("USDC", rig.account)
    await rig.head()
    await fall(rig, usd=Decimal("2500"))
    assert await _mined_at_a_worse_price(rig, 3_000) is FiringState.FAILED
    if not rig.firing.state.is_open:
        await rig.mine()
    assert await _mined_at_a_worse_price(rig, 6_000) is FiringState.DONE
    assert len(rig.firings) == 2
    on_target(rig)
    rig.check()


async def test_the_app_and_a_look_from_outside_show_the_room_that_is_signed(swapping: Open) -> None:
    rig = await swapping()
    rig.chain.take("USDC", rig.account)
    await rig.head()
    await fall(rig, usd=Decimal("2500"))
    usual = _swap_of(plan_of(rig))
    assert await _shown(rig) == [usual, usual]
    assert await _mined_at_a_worse_price(rig, 3_000) is FiringState.FAILED
    if not rig.firing.state.is_open:
        await rig.mine()
    assert len(rig.firings) == 2
    wide = _swap_of(plan_of(rig))
    assert wide[0] * usual[1] > usual[0] * wide[1] * 101 // 100, "the undone one has all the room of its 2%"
    assert await _shown(rig) == [wide, wide]
    assert await _mined_at_a_worse_price(rig, 6_000) is FiringState.DONE


def _swap_of(plan: Plan | None) -> tuple[int, int]:
    """What goes into the swap of a plan, and what must come out."""
    assert plan is not None
    sale = plan.steps[0].action.sale
    assert sale is not None
    assert sale.swap is not None
    return sale.sold, sale.swap.least_out


async def _shown(rig: FaultRig) -> list[tuple[int, int]]:
    """The same as the editor's preview shows it, and `trimtab plan` in an engine of its own that finds the journal."""
    engine = rig.wired.engine
    assert engine.snapshot is not None
    assert engine.fees is not None
    (shown,) = (await rig.wired.commands.preview(rig.rules.read_text())).evaluations
    outside = assemble(
        rig.network,
        resolve_paths(*rig.paths),
        accounts=[rig.account],
        rules_files=[rig.rules],
        keystores={},
        signing=False,
        clock=rig.clock,
    )
    try:
        outside.engine.watch.defend(outside.engine.watch.accounts)
        snapshot = await outside.engine.watch.snapshot(engine.snapshot.block)
        (rule,) = engine.book.rules
        looked = await evaluate(outside, rule, snapshot.positions[0], snapshot, engine.fees)
    finally:
        await outside.aclose()
    return [_swap_of(shown.plan), _swap_of(looked.plan)]


async def _mined_at_a_worse_price(rig: FaultRig, below: int) -> FiringState:
    """What comes of the newest firing where the pools are `below` the oracle (in millionths) from its block on: 0.3%
    lower than at its decision.
    """
    firing = rig.firing
    assert firing.state.is_open
    pools_fall_first(rig, below)
    for _ in range(8):
        await rig.mine()
        told = next(one.state for one in rig.firings if one.id == firing.id)
        if not told.is_open:
            return told
    raise AssertionError("it has no end")


async def test_what_a_swap_really_cost_is_booked_and_not_what_was_expected(swapping: Open) -> None:
    rig = await swapping()
    await fall(rig)
    plan, before = plan_of(rig), wallet(rig)
    assert await _mined_at_a_worse_price(rig, 800) is FiringState.DONE
    after, chain = wallet(rig), rig.chain
    given = (before["WETH"] - after["WETH"]) * chain.price("WETH") // WAD
    came = (after["USDC"] - before["USDC"] + plan.steps[0].action.amount) * chain.price("USDC") // 10**6
    found = rig.wired.journal.outcome(rig.firings[-1].id)
    assert found is not None
    assert found.swap_expected_usd == plan.cost.swap_usd
    assert found.swap_actual_usd is not None
    assert abs(found.swap_actual_usd - (given - came)) <= 1_000, "to a thousandth of a cent"
    assert found.swap_actual_usd > 2 * found.swap_expected_usd


async def test_a_maximum_counts_what_is_sold_and_the_next_step_does_the_rest(swapping: Open) -> None:
    rig = await swapping(f'{SWAP.format("2%")}max = "1.5"\n\n{ADD}')
    before = wallet(rig)
    await fall(rig)
    plan = plan_of(rig)
    assert [step.action.kind.word for step in plan.steps] == ["repay", "add-collateral"]
    assert plan.steps[0].note == "the rule's maximum is 1.5"
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    sold = plan.steps[0].action.sale
    assert sold is not None
    assert 1_499 * WAD // 1_000 < sold.sold <= 15 * WAD // 10
    assert before["WETH"] - wallet(rig)["WETH"] == sold.sold + plan.steps[1].action.amount
    assert allowed(rig) == {}


async def test_a_pool_that_is_worse_than_the_step_allows_is_refused(swapping: Open) -> None:
    rig = await swapping(SWAP.format("0.3%"))
    await fall(rig, below=10_000)
    assert "repay: swapping WETH of the wallet for USDC would lose 1.0" in refusal_of(rig)
    assert rig.firings == ()


async def test_a_swap_that_reverts_sells_nothing_and_is_planned_anew(swapping: Open, world: World) -> None:
    rig = await swapping(SWAP.format("0.6%"))
    chain: Chain = rig.chain
    # With nothing of the debt token in hand the repayment cannot take the wallet's own.
    chain.take("USDC", rig.account)
    await rig.head()
    await fall(rig)
    assert [len(one.attempts) for one in rig.firing.intents] == [1, 1, 1]
    before = wallet(rig)
    pools_fall_first(rig, 10_000)
    await rig.mine(4)
    first = rig.firings[-1]
    assert first.state is FiringState.FAILED
    assert [one.state for one in first.intents] == [
        IntentState.FINAL_OK, IntentState.FINAL_REVERTED, IntentState.FINAL_REVERTED,
    ]  # fmt: skip
    assert wallet(rig) == before
    follow(chain)
    await rig.mine(2)
    assert len(rig.firings) == 2
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    assert allowed(rig) == {}
    rig.check()


async def test_the_signer_holds_router_tokens_recipient_pools_and_caps(swapping: Open) -> None:
    rig = await swapping(f'{SWAP.format("2%")}max = "3"\n')
    (policy,) = rig.wired.engine.armory.policies.values()
    assert policy is not None
    chain = rig.chain
    weth, usdc = (chain.token(one).address.lower() for one in ("WETH", "USDC"))
    function = int.from_bytes(EXACT_INPUT_SINGLE, "big")
    batches = [one for one in policy.calls if one.selector == "0x" + MULTICALL.hex()]
    singles = [one for one in batches if (one.rules[4].equals or 0) & 0xFFFFFFFF == function]
    assert {one.to for one in singles} == {chain.market.router02.lower()}
    assert len(singles) == 4
    for one in singles:
        assert [rule.equals for rule in one.rules[:4]] == [64, 1, 60, 0]
        rules = {rule.index - FIRST_WORD: rule for rule in one.rules}
        assert rules[0].equals == int(weth, 16)
        assert rules[1].equals == int(usdc, 16)
        assert rules[2].equals in (100, 500, 3000, 10000)
        assert rules[3].equals == int(rig.account, 16)
        assert rules[4].maximum == 3 * WAD
        assert (one.spend_token, one.spend_word) == (weth, FIRST_WORD + 4)
    caps = dict(policy.daily_caps)
    day = 100_000 * USD * 3
    assert caps[weth] == day * WAD // chain.price("WETH")
    assert usdc in caps
    approvals = [one for one in policy.calls if one.selector == "0x095ea7b3" and one.to == weth]
    assert all(
        rule.equals == int(chain.market.router02, 16) for one in approvals for rule in one.rules if not rule.index
    )


def false_quoter(amount: int) -> str:
    """Code that answers any quote with this amount, and a gas that looks like one."""
    return "0x" + (b"\x7f" + amount.to_bytes(32, "big")).hex() + "5f52" + "620186a0606052" + "60805ff3"


@pytest.mark.parametrize(
    ("amount", "why"),
    [
        (10**15, "simulated, “Swap exactly 0.001"),
        (10**24, "would lose 99.99% now, over the step's 2.00%"),
    ],
)
async def test_a_quote_that_lies_is_refused(swapping: Open, amount: int, why: str) -> None:
    rig = await swapping()
    rig.chain.rpc("anvil_setCode", rig.chain.market.quoter_v2, false_quoter(amount))
    before = wallet(rig)
    await fall(rig)
    assert why in refusal_of(rig)
    await rig.mine(2)
    assert rig.firings == ()
    assert wallet(rig) == before
