"""What an executor does with what an earlier life left in the journal and at the signer."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.conftest import FEES, Bench, signed_but_not_recorded
from tests.support.firings import ACCOUNT, GWEI, a_plan
from tui.engine.budget import day_of
from tui.engine.executor import CannotCancel
from tui.model.intent import FiringState, IntentState
from tui.model.view import Severity
from tui.ports.journal import JournalFull, SpendKind


async def test_a_restart_before_anything_was_signed_frees_the_nonce_and_plans_again(bench: Bench) -> None:
    firing = bench.fire()
    hold = asyncio.Event()
    reached = asyncio.Event()

    async def verify(calls: object) -> str | None:
        reached.set()
        await hold.wait()
        return None

    task = asyncio.create_task(bench.executor.execute(firing, a_plan(firing), verify))
    await reached.wait()
    assert bench.executor.resume_planned() == ()  # it is at work
    assert bench.states(firing) == [IntentState.RESERVED] * 2
    await bench.restart()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(one.id, one.state) for one in bench.executor.resume_planned()] == [(firing.id, FiringState.TRIGGERED)]
    await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), bench.verify)
    assert [intent.nonce for intent in bench.firing(firing).intents] == [None, None, 0, 1]


async def test_signed_but_not_recorded_nothing_was_sent_and_the_same_is_signed_again(bench: Bench) -> None:
    await signed_but_not_recorded(bench)
    assert bench.chain.sent == []
    await bench.restart()
    (firing,) = bench.executor.resume_planned()
    assert (firing.state, bench.states(firing)) == (FiringState.RUNNING, [IntentState.RESERVED] * 2)
    await bench.executor.resume_reserved(firing, FEES, bench.verify)
    assert bench.states(firing) == [IntentState.MAYBE_SENT] * 2
    first, second = bench.signer.requests[:2], bench.signer.requests[2:]
    assert [(one.nonce, one.data) for one in first] == [(one.nonce, one.data) for one in second]
    assert [call.data for call in bench.verified[-1]] == [one.data for one in second]
    assert bench.executor.resume_planned() == ()


async def test_signed_but_not_recorded_and_poorer_since_it_is_offered_what_there_is(bench: Bench) -> None:
    """Two calls of 100,000 gas: at the fees of now they may take 10 gwei each, and the next blocks want 3.125."""
    await signed_but_not_recorded(bench)
    bench.chain.money = 200_000 * 3 * GWEI
    await bench.restart()
    (firing,) = bench.executor.resume_planned()
    asked = len(bench.signer.requests)
    for _ in range(2):
        await bench.executor.resume_reserved(firing, FEES, bench.verify)
    assert len(bench.signer.requests) == asked, "nothing is signed that could not be mined"
    assert bench.said().count("can pay 3.00 gwei a unit of gas") == 1
    assert [line.severity for line in bench.lines if "can pay" in line.text] == [Severity.ALARM]
    bench.chain.money = 200_000 * 4 * GWEI
    await bench.executor.resume_reserved(firing, FEES, bench.verify)
    assert [one.max_fee_per_gas for one in bench.signer.requests[asked:]] == [4 * GWEI] * 2
    assert {intent.fee_ceiling for intent in bench.firing(firing).intents} == {40 * GWEI}
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2


async def test_signed_but_not_recorded_and_no_longer_wanted_the_nonces_are_closed(bench: Bench) -> None:
    await signed_but_not_recorded(bench)
    await bench.restart()
    (firing,) = bench.executor.resume_planned()
    bench.verdict = "health is fine again"
    for _ in range(2):
        await bench.executor.resume_reserved(firing, FEES, bench.verify)
    assert bench.said().count("health is fine again") == 1
    assert bench.chain.sent == []
    with pytest.raises(CannotCancel, match="fees"):
        await bench.executor.cancel(firing.intents[0].id)
    for intent in firing.intents:
        await bench.executor.cancel(intent.id, FEES)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED] * 2
    assert all(tx.is_no_op for tx in bench.chain.mined(ACCOUNT))


async def test_a_signer_that_refuses_later_frees_no_nonce(bench: Bench) -> None:
    await signed_but_not_recorded(bench)
    await bench.restart()
    (firing,) = bench.executor.resume_planned()
    bench.signer.refuse_from = 0
    for _ in range(2):
        await bench.executor.resume_reserved(firing, FEES, bench.verify)
    assert bench.said().count("signing stopped half way") == 1
    with pytest.raises(CannotCancel, match="above the limit"):
        await bench.executor.cancel(firing.intents[0].id, FEES)
    assert [(one.state, one.nonce) for one in bench.firing(firing).intents] == [
        (IntentState.RESERVED, 0),
        (IntentState.RESERVED, 1),
    ]


async def test_killed_while_it_is_simulated_again_nothing_is_signed(bench: Bench) -> None:
    await signed_but_not_recorded(bench)
    await bench.restart()
    (firing,) = bench.executor.resume_planned()

    async def verify(calls: object) -> str | None:
        bench.killed = True
        return None

    await bench.executor.resume_reserved(firing, FEES, verify)
    assert len(bench.signer.requests) == 2
    assert bench.chain.sent == []


async def test_asked_but_never_signed_the_nonces_are_free_again(bench: Bench) -> None:
    bench.signer.gone = True
    firing = await bench.run()
    assert bench.states(firing) == [IntentState.RESERVED] * 2
    assert "signing stopped half way" in bench.said()
    bench.signer.gone = False
    await bench.executor.cancel(firing.intents[0].id, FEES)
    assert bench.firing(firing).state is FiringState.DROPPED
    assert bench.states(firing) == [IntentState.DROPPED] * 2
    assert bench.journal.spent(SpendKind.USD, day_of(bench.chain.head.timestamp)) == 0
    assert [one.nonce for one in (await bench.run(2)).intents] == [0, 1]


async def test_a_signer_that_stops_half_way_leaves_nothing_sent(bench: Bench) -> None:
    bench.signer.refuse_from = 1
    firing = await bench.run()
    assert bench.states(firing) == [IntentState.RESERVED] * 2
    assert bench.chain.sent == []
    bench.signer.refuse_from = None
    (waiting,) = bench.executor.resume_planned()
    await bench.executor.resume_reserved(waiting, FEES, bench.verify)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2


async def test_signed_and_recorded_the_identical_bytes_are_sent_after_a_restart(bench: Bench) -> None:
    save = bench.journal.save_intents

    def crash(*changes: object) -> None:
        raise JournalFull("the disk is full", "here", "make room")

    bench.journal.save_intents = crash  # type: ignore[method-assign]
    firing = bench.fire()
    with pytest.raises(JournalFull):
        await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), bench.verify)
    bench.journal.save_intents = save  # type: ignore[method-assign]
    assert bench.states(firing) == [IntentState.SIGNED] * 2
    assert bench.chain.sent == []
    hashes = [intent.attempts[0].hash for intent in bench.firing(firing).intents]
    await bench.restart()
    assert [tx.hash for tx in bench.chain.sent] == hashes
    assert bench.states(firing) == [IntentState.MAYBE_SENT] * 2
    await bench.restart()
    assert [tx.hash for tx in bench.chain.sent] == hashes * 2
    assert len(bench.signer.requests) == 2


async def test_a_firing_whose_transactions_are_all_final_is_closed_after_a_restart(bench: Bench) -> None:
    firing = await bench.run()
    close = bench.journal.save_firing
    bench.journal.save_firing = lambda *_, **__: (_ for _ in ()).throw(JournalFull("f", "h", "m"))  # type: ignore[method-assign]
    bench.chain.mine(2)
    with pytest.raises(JournalFull):
        await bench.head()
    bench.journal.save_firing = close  # type: ignore[method-assign]
    assert bench.firing(firing).state is FiringState.RUNNING
    bench.journal.close()
    bench.start()
    ended = await bench.executor.recover()
    assert [one.state for one in ended] == [FiringState.DONE]


async def test_the_outcome_is_booked_on_a_firing_that_ended(bench: Bench) -> None:
    firing = await bench.run()
    bench.chain.mine(2)
    await bench.head()
    bench.executor.book_outcome(firing.id, 15 * 10**17, 41_000_000)
    kept = bench.firing(firing)
    assert (kept.state, kept.health_factor_after, kept.cost_usd) == (FiringState.DONE, 15 * 10**17, 41_000_000)
