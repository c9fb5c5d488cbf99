"""Gas counts against the day's limit in dollars: the most when it is reserved, what was paid once it is final."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.conftest import Bench, bench
from tests.support.fault_rig import OpenRig
from tests.support.firings import ACCOUNT, CHAIN_ID, GWEI, a_call, a_debit, a_firing, a_plan, an_intent, with_calls
from tests.support.program import run_trimtab
from tui.engine.budget import day_of, gas_correction, gas_debits
from tui.journal import schema
from tui.journal.reading import JOURNAL_FILE
from tui.journal.store import open_journal
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.transitions import advance_firing
from tui.model.units import USD, WAD, format_units
from tui.ports.journal import SpendKind

pytestmark = pytest.mark.usefixtures("warm_programs")

__all__ = ["bench"]

PRICE = 3_000 * USD


def gas_usd(bench: Bench) -> int:
    return bench.journal.spent(SpendKind.GAS_USD, day_of(bench.chain.head.timestamp), "guard")


async def fire(bench: Bench, number: int = 1, cap: int | None = None, revert: bool = False) -> Firing:
    firing = bench.fire(number)
    plan = a_plan(firing, 1, block=bench.chain.head)
    if revert:
        plan = with_calls(plan, a_call(b"revert"))
    await bench.executor.execute(firing, plan, bench.verify, daily_cap_usd=cap, native_price_usd=PRICE)
    return bench.firing(firing)


MOST = 100_000 * 40 * GWEI * PRICE // WAD
"""A call's gas limit at the ceiling of the plan, in dollars."""


@pytest.mark.parametrize("revert", [False, True])
async def test_31_the_most_is_debited_and_what_was_paid_stays_reverted_or_not(bench: Bench, revert: bool) -> None:
    firing = await fire(bench, revert=revert)
    assert gas_usd(bench) == MOST == 12 * USD
    bench.chain.mine(2)
    await bench.head()
    ended = bench.firing(firing)
    assert ended.state is (FiringState.FAILED if revert else FiringState.DONE)
    paid = ended.intents[0].gas_paid_wei
    assert paid is not None
    assert 0 < gas_usd(bench) == -(-paid * PRICE // WAD) < MOST


async def test_what_a_cancel_paid_is_counted(bench: Bench) -> None:
    firing = await fire(bench)
    await bench.executor.cancel(bench.intent(firing).id)
    bench.chain.mine(2)
    await bench.head()
    ended = bench.intent(firing)
    assert ended.state is IntentState.FINAL_CANCELLED
    assert ended.gas_paid_wei is not None
    assert gas_usd(bench) == -(-ended.gas_paid_wei * PRICE // WAD) > 0


async def test_gas_of_reverted_attempts_uses_the_day_up(bench: Bench) -> None:
    """A reverted firing moved nothing, but its gas was paid: the next would fit, did gas cost nothing."""
    cap = 5 * USD + MOST + USD // 100
    await fire(bench, 1, cap, revert=True)
    bench.chain.mine(2)
    await bench.head()
    refused = await fire(bench, 2, cap)
    assert refused.state is FiringState.DROPPED
    assert "$5.00 and up to $12.00 of gas more would pass the daily limit" in refused.reason
    assert (await fire(bench, 3, cap + 5 * USD)).state is FiringState.RUNNING


async def test_what_is_released_gives_its_gas_back(bench: Bench) -> None:
    bench.verdict = "not now"
    assert (await fire(bench)).state is FiringState.DROPPED
    assert gas_usd(bench) == 0


async def test_without_a_price_it_goes_on_and_says_that_gas_is_not_counted(bench: Bench) -> None:
    firing = bench.fire()
    plan = a_plan(firing, 1, block=bench.chain.head)
    await bench.executor.execute(firing, plan, bench.verify, daily_cap_usd=5 * USD)
    assert bench.firing(firing).state is FiringState.RUNNING
    assert "not counted against the daily limit" in bench.said()
    bench.chain.mine(2)
    await bench.head()
    assert bench.firing(firing).state is FiringState.DONE
    assert gas_usd(bench) == 0
    assert bench.journal.gas_debit(bench.intent(firing).id) is None


@given(
    price=st.integers(1, 10**14), limit=st.integers(21_000, 30_000_000), ceiling=st.integers(1, 10**13), share=st.data()
)
def test_a_correction_never_gives_back_more_than_was_not_paid(
    price: int, limit: int, ceiling: int, share: st.DataObject
) -> None:
    firing = a_firing()
    intent = an_intent(firing, 0)
    object.__setattr__(intent, "gas_limit", limit)
    object.__setattr__(intent, "fee_ceiling", ceiling)
    paid = share.draw(st.integers(0, limit * ceiling))
    (debit,) = gas_debits("guard", "2026-01-31", [intent], price)
    (back,) = gas_correction(intent, "guard", (debit.day, debit.amount), paid)
    left = debit.amount + back.amount
    assert paid * price / WAD <= left + 1e-6 * left
    assert left * WAD >= paid * price - price  # rounded up, never down
    assert -debit.amount <= back.amount <= 0


def test_a_journal_of_the_first_version_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    monkeypatch.setattr("tui.journal.file.MIGRATIONS", schema.MIGRATIONS[:1])
    monkeypatch.setattr("tui.journal.reading.MIGRATIONS", schema.MIGRATIONS[:1])
    old = open_journal(state)
    firing = a_firing()
    old.open_firing(firing)
    planned = advance_firing(firing, FiringState.PLANNED)
    old.save_firing(firing, planned)
    old.close()
    with sqlite3.connect(state / JOURNAL_FILE) as file:
        sql = (
            "INSERT INTO budget (kind, rule, day, amount, firing_id) VALUES ('usd', 'guard', '2023-11-14', '700', 'f1')"
        )
        file.execute(sql)
    file.close()
    monkeypatch.undo()
    new = open_journal(state)
    try:
        assert new.spent(SpendKind.USD, "2023-11-14", "guard") == 700
        assert [(one.kind, one.amount, one.intent_id) for one in new.budget_of("f1")] == [(SpendKind.USD, 700, None)]
        intent = an_intent(firing, 4)
        gas = gas_debits("guard", a_debit(firing).day, [intent], PRICE)
        new.reserve(planned, advance_firing(planned, FiringState.RUNNING), [intent], a_debit(firing), None, gas)
        assert new.gas_debit(intent.id) == (a_debit(firing).day, gas[0].amount)
        assert new.next_nonce(CHAIN_ID, ACCOUNT) == 5
        new.verify()
    finally:
        new.close()


# --- the whole engine -----------------------------------------------------------------------------------------------


@pytest.mark.node
async def test_a_defence_that_the_days_limit_cuts_short_leaves_room_for_its_gas(open_faulty: OpenRig) -> None:
    """Its size is what the limit leaves beside the gas, not what the limit is: else its own gas would refuse it."""
    rig = await open_faulty(daily="1500", partial=True)
    await rig.fall()
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    journal = rig.wired.journal
    assert journal is not None
    entries = journal.budget_of(rig.firing.id)
    moved = sum(one.amount for one in entries if one.kind is SpendKind.USD)
    gas = [one for one in entries if one.kind is SpendKind.GAS_USD]
    assert len(gas) == 2
    assert 1_000 * USD < moved <= 1_500 * USD - gas[0].amount
    assert sum(one.amount for one in gas) > 0
    assert rig.view.rules[0].spent_today_usd == moved + sum(one.amount for one in gas)


@pytest.mark.node
async def test_what_was_expected_stands_beside_what_came_of_it(open_faulty: OpenRig, tmp_path: Path) -> None:
    rig = await open_faulty()
    await rig.fall()
    await rig.settle()
    if rig.firing.health_factor_after is None:
        await rig.mine()
    journal, firing = rig.wired.journal, rig.firing
    assert journal is not None
    ((_, outcome),) = journal.outcomes()
    assert outcome.health_expected is not None
    assert outcome.health_simulated == firing.health_factor_expected
    last = max(one.included_block or 0 for one in firing.intents)
    included = rig.chain.account_data(rig.account, block=hex(last))
    assert outcome.health_actual == firing.health_factor_after == included[5]
    assert outcome.gas_actual_usd == firing.cost_usd
    assert outcome.gas_expected_usd is not None
    assert outcome.gas_actual_usd is not None
    assert 0 < outcome.gas_actual_usd <= outcome.gas_expected_usd
    assert (outcome.swap_expected_usd, outcome.sales) == (None, ())
    options = ("--state", rig.wired.paths.state, "--config", tmp_path / "config")
    code, out, _ = await run_trimtab("journal", "--outcomes", "--json", *options)
    row, means = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert row["health_actual"] == format_units(outcome.health_actual or 0, 18)
    off = (outcome.health_actual or 0) - (outcome.health_simulated or 0)
    assert means["done"] == 1
    assert means["health_actual_less_simulated"] == format_units(off, 18)
    code, out, _ = await run_trimtab("journal", "--outcomes", *options)
    assert "1 done; on average health came out" in out
