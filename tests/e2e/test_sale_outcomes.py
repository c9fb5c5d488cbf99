"""What came of a sale, as the record has it: what the chain says of it in its own block, and nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_sales import SLIPPAGE_BPS
from tests.support.deleverage import WAD, the_helper
from tests.support.fault_rig import FaultRig
from tests.support.on_exchange import (
    USD_AT_105,
    Open,
    fall,
    health,
    on_target,
    plan_of,
)
from tests.support.program import run_trimtab
from tui.model.intent import FiringState, IntentState
from tui.model.units import BPS
from tui.ports.journal import Outcome

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]


def said_by_the_helper(rig: FaultRig) -> list[int]:
    """What the helper's events of all receipts on the node itself say was sold, without any code of the program."""
    owner = "0x" + rig.account[2:].lower().rjust(64, "0")
    receipts = [rig.chain.rpc("eth_getTransactionReceipt", one.included_hash) for one in rig.firing.intents]
    return [
        int(log["data"][2 + 64 : 2 + 128], 16)
        for receipt in receipts
        for log in receipt["logs"]
        if log["address"].lower() == the_helper(rig.chain).address.lower() and log["topics"][1] == owner
    ]


def outcome_of(rig: FaultRig) -> Outcome:
    assert rig.wired.journal is not None
    found = rig.wired.journal.outcome(rig.firing.id)
    assert found is not None
    return found


async def test_what_came_of_a_sale_is_of_its_own_block_whatever_the_market_does_next(
    selling: Open, tmp_path: Path
) -> None:
    rig = await selling()
    await fall(rig)
    plan = plan_of(rig)
    (step,) = plan.steps
    assert step.action.sale is not None
    await rig.mine()
    assert rig.intent.state is IntentState.INCLUDED
    rig.chain.set_price("WETH", USD_AT_105 * Decimal("1.1"))
    await rig.head()
    assert (await rig.settle()).state is FiringState.DONE
    (sold,) = said_by_the_helper(rig)
    found = outcome_of(rig)
    assert rig.intent.included_block is not None
    there = rig.chain.account_data(rig.account, block=hex(rig.intent.included_block))[5]
    assert found.health_actual == rig.firing.health_factor_after == there
    assert health(rig) > there * 109 // 100
    assert found.health_simulated is not None
    assert abs(there - found.health_simulated) < WAD // 10_000
    (of,) = found.sales
    assert (of.actual, of.expected) == (sold, step.action.sale.sold)
    assert of.price_usd == int(USD_AT_105 * 10**8)
    beyond = (sold - step.action.sale.sold) * of.price_usd / WAD
    assert found.swap_actual_usd is not None
    assert abs(found.swap_actual_usd - plan.cost.swap_usd - beyond) <= 1
    assert found.slippage_actual is not None
    assert 0 < found.slippage_actual < WAD * SLIPPAGE_BPS // BPS
    options = ("--state", rig.wired.paths.state, "--config", tmp_path / "config")
    code, out, _ = await run_trimtab("journal", "--outcomes", "--json", *options)
    row, means = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert (row["sold_actual"], row["sold_decimals"]) == (str(sold), 18)
    assert abs(float(means["health_actual_less_simulated"])) < 1e-4
    assert abs(float(means["slippage_actual_less_expected"])) < 1e-4
    rig.check()


def _with_lies(rig: FaultRig) -> Callable[[list[Any], Any], Any]:
    """Receipts in which another contract, and the helper for another owner, tell of sales as well."""

    def lie(_: list[Any], result: Any) -> Any:
        if not isinstance(result, dict):
            return result
        ours = [log for log in result["logs"] if log["address"].lower() == the_helper(rig.chain).address.lower()]
        false = [{**log, "address": "0x" + "66" * 20} for log in ours]
        for log in ours:
            topics = [log["topics"][0], "0x" + "77" * 20 + "00" * 12, *log["topics"][2:]]
            false.append({**log, "topics": topics})
        return {**result, "logs": [*false, *result["logs"]]}

    return lie


async def test_sales_that_others_tell_of_are_not_counted(selling: Open) -> None:
    rig = await selling()
    lies = [proxy.lie("eth_getTransactionReceipt", _with_lies(rig)) for proxy in rig.proxies]
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE
    assert all(lie.hits for lie in lies)
    assert [one.actual for one in outcome_of(rig).sales] == said_by_the_helper(rig)


@pytest.mark.parametrize("logs", [None, "0x", [{}], [{"address": 7, "topics": {}, "data": "0x"}], [None] * 300])
async def test_events_of_no_shape_leave_what_was_sold_unknown_and_nothing_else(selling: Open, logs: object) -> None:
    rig = await selling()

    def lie(_: list[Any], result: Any) -> Any:
        return {**result, "logs": logs} if isinstance(result, dict) else result

    for proxy in rig.proxies:
        proxy.lie("eth_getTransactionReceipt", lie)
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE
    found = outcome_of(rig)
    assert (found.sales[0].actual, found.swap_actual_usd, found.slippage_actual) == (None, None, None)
    assert found.health_actual is not None
    on_target(rig)
    rig.check()


async def test_after_a_restart_the_figures_are_booked_all_the_same(selling: Open) -> None:
    rig = await selling()
    await fall(rig)
    await rig.mine()
    await rig.restart()
    assert (await rig.settle()).state is FiringState.DONE
    found = outcome_of(rig)
    assert [one.actual for one in found.sales] == said_by_the_helper(rig)
    assert found.health_actual is not None
    assert found.health_actual == rig.firing.health_factor_after


async def test_a_block_that_nothing_saw_is_looked_up_for_what_the_sale_left(selling: Open) -> None:
    rig = await selling()
    await fall(rig)
    assert rig.intent.state is IntentState.MAYBE_SENT
    rig.chain.mine()
    rig.chain.set_price("WETH", USD_AT_105 * Decimal("1.1"))
    rig.clock.advance(4)
    await rig.restart()
    assert (await rig.settle()).state is FiringState.DONE
    await rig.mine()
    assert rig.intent.included_block is not None
    there = rig.chain.account_data(rig.account, block=hex(rig.intent.included_block))[5]
    assert health(rig) > there * 109 // 100
    assert outcome_of(rig).health_actual == there
    assert rig.firing.health_factor_after is not None
    assert rig.firing.health_factor_after > there, "what the rule goes by is the health of now"
