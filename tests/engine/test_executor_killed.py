"""The kill switch at every moment of a transaction, and the no-op that takes one back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.engine.conftest import FEES, Bench, signed_but_not_recorded
from tests.support.firings import ACCOUNT, CHAIN_ID, GWEI, a_plan
from tui.engine.executor import CannotCancel
from tui.model.intent import FiringState, Intent, IntentState
from tui.model.plan import FeeQuote, PlannedCall
from tui.model.signing import KILLED_LATE, SignedTransaction, SignerRefused, TransactionRequest
from tui.ports.chain import SendOutcome
from tui.ports.journal import SpendEntry


def kill_when_signed(bench: Bench, count: int) -> None:
    sign = bench.signer.sign_transaction

    async def signing(request: TransactionRequest) -> SignedTransaction:
        signed = await sign(request)
        if len(bench.signer.requests) == count:
            bench.killed = True
        return signed

    bench.signer.sign_transaction = signing  # type: ignore[method-assign]


@pytest.mark.parametrize("how", ["killed", "halted"])
async def test_stopped_while_it_is_simulated_the_signer_is_not_asked(bench: Bench, how: str) -> None:
    async def verify(calls: Sequence[PlannedCall]) -> str | None:
        if how == "killed":
            bench.killed = True
        else:
            bench.journal.halt(CHAIN_ID, ACCOUNT, "look at it", 1.0)
        return None

    firing = bench.fire()
    await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), verify)
    assert bench.firing(firing).state is FiringState.DROPPED
    assert bench.signer.requests == []
    assert bench.journal.next_nonce(CHAIN_ID, ACCOUNT) is None


@pytest.mark.parametrize("after", [1, 2])
async def test_killed_between_signature_and_send_it_is_never_sent(bench: Bench, after: int) -> None:
    kill_when_signed(bench, after)
    firing = await bench.run()
    assert bench.states(firing) == [IntentState.SIGNED] * 2
    assert all(intent.withheld for intent in firing.intents)
    for _ in range(5):
        bench.chain.mine()
        await bench.head()
        await bench.restart()
    bench.killed = False
    for _ in range(5):
        bench.chain.mine()
        await bench.head()
        await bench.restart()
    assert bench.chain.sent == []
    assert bench.states(firing) == [IntentState.SIGNED] * 2

    for intent in bench.firing(firing).intents:
        await bench.executor.cancel(intent.id)
    assert bench.states(firing) == [IntentState.CANCELLING] * 2
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED] * 2
    assert bench.firing(firing).state is FiringState.FAILED
    assert all(tx.is_no_op for tx in bench.chain.mined(ACCOUNT))


async def test_killed_between_two_sends_the_second_is_never_sent(bench: Bench) -> None:
    accept = bench.chain.send

    async def send(raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        bench.killed = True
        return await accept(raw, expected_hash)

    bench.chain.send = send  # type: ignore[method-assign]
    firing = await bench.run()
    assert [tx.nonce for tx in bench.chain.sent] == [0]
    assert bench.states(firing) == [IntentState.MAYBE_SENT] * 2
    assert [intent.withheld for intent in bench.firing(firing).intents] == [False, True]
    bench.killed = False
    bench.chain.send = accept  # type: ignore[method-assign]
    for _ in range(3):
        bench.chain.mine(2)
        await bench.head()
        await bench.restart()
    assert bench.states(firing) == [IntentState.FINAL_OK, IntentState.MAYBE_SENT]
    assert [tx.nonce for tx in bench.chain.sent] == [0]
    assert bench.said().count("call 1: not sent (kill switch between signature and send)") == 1

    await bench.executor.cancel(bench.intent(firing, 1).id)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK, IntentState.FINAL_CANCELLED]


def kill_after_maybe_sent(bench: Bench) -> None:
    """The kill switch is pulled once "maybe sent" is on the disk, before the first byte."""
    save = bench.journal.save_intents

    def late(changes: Sequence[tuple[Intent, Intent]], booked: Sequence[SpendEntry] = ()) -> None:
        save(changes, booked)
        if any(after.state is IntentState.MAYBE_SENT and not after.withheld for _, after in changes):
            bench.killed = True

    bench.journal.save_intents = late  # type: ignore[method-assign]


async def test_killed_before_the_first_byte_it_is_never_sent(bench: Bench) -> None:
    kill_after_maybe_sent(bench)
    firing = await bench.run()
    assert bench.states(firing) == [IntentState.MAYBE_SENT] * 2
    assert all(intent.withheld for intent in firing.intents)
    bench.killed = False
    for _ in range(5):
        bench.chain.mine()
        await bench.head()
        await bench.restart()
    assert bench.chain.sent == []
    for intent in bench.firing(firing).intents:
        await bench.executor.cancel(intent.id)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED] * 2


async def test_halted_while_the_signer_signs_nothing_is_sent_before_a_person_has_looked(bench: Bench) -> None:
    sign = bench.signer.sign_transaction

    async def signing(request: TransactionRequest) -> SignedTransaction:
        bench.journal.halt(CHAIN_ID, ACCOUNT, "look at it", 1.0)
        return await sign(request)

    bench.signer.sign_transaction = signing  # type: ignore[method-assign]
    firing = await bench.run()
    bench.chain.mine()
    await bench.head()
    assert bench.states(firing) == [IntentState.SIGNED] * 2
    assert bench.chain.sent == []
    # The tracker sends it then; where the kill switch comes before the first byte, never.
    bench.journal.resume(CHAIN_ID, ACCOUNT, 0)
    kill_after_maybe_sent(bench)
    bench.chain.mine()
    await bench.head()
    assert bench.chain.sent == []
    assert bench.states(firing) == [IntentState.MAYBE_SENT, IntentState.SIGNED]
    bench.chain.mine()
    await bench.head()
    assert all(intent.withheld for intent in bench.firing(firing).intents)


async def test_what_is_withheld_at_the_ceiling_can_be_cancelled(bench: Bench) -> None:
    """No byte of it is at any node, so its no-op has nothing to outbid."""
    kill_after_maybe_sent(bench)
    firing = bench.fire()
    plan = a_plan(firing, 1, block=bench.chain.head)
    at_ceiling = replace(plan, fees=FeeQuote(GWEI, 40 * GWEI, 2 * GWEI, 40 * GWEI))
    await bench.executor.execute(firing, at_ceiling, bench.verify)
    await bench.executor.cancel(bench.intent(firing).id)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED]


async def test_killed_while_the_signer_signs_the_nonce_is_kept_for_a_no_op(bench: Bench) -> None:
    async def signing(request: TransactionRequest) -> SignedTransaction:
        bench.killed = True  # after the signer had noted what the nonce means, as the real one may
        raise SignerRefused(KILLED_LATE)

    sign, bench.signer.sign_transaction = bench.signer.sign_transaction, signing  # type: ignore[method-assign]
    firing = await bench.run(calls=1)
    bench.signer.sign_transaction = sign  # type: ignore[method-assign]
    bench.killed = False
    assert (bench.states(firing), bench.intent(firing).withheld) == ([IntentState.RESERVED], True)
    assert bench.executor.resume_planned() == ()


async def test_killed_before_the_signer_looked_at_it_the_nonce_is_free(bench: Bench) -> None:
    async def signing(request: TransactionRequest) -> SignedTransaction:
        bench.killed = True
        raise SignerRefused("the kill switch is on")

    sign, bench.signer.sign_transaction = bench.signer.sign_transaction, signing  # type: ignore[method-assign]
    firing = await bench.run()
    bench.signer.sign_transaction = sign  # type: ignore[method-assign]
    bench.killed = False
    assert bench.firing(firing).state is FiringState.DROPPED
    assert bench.states(firing) == [IntentState.DROPPED] * 2
    again = await bench.run(2)
    assert bench.states(again) == [IntentState.MAYBE_SENT] * 2


async def test_killed_before_a_restart_what_was_signed_but_not_recorded_is_withheld(bench: Bench) -> None:
    await signed_but_not_recorded(bench)
    bench.killed = True
    await bench.restart()
    bench.killed = False
    await bench.restart()
    assert bench.executor.resume_planned() == ()
    assert bench.chain.sent == []
    (firing,) = bench.journal.open_firings(CHAIN_ID)
    assert all(intent.withheld for intent in firing.intents)
    for intent in firing.intents:
        await bench.executor.cancel(intent.id, FEES)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED] * 2


async def test_a_cancel_that_a_reorg_takes_out_goes_on_as_a_cancel(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    await bench.executor.cancel(bench.intent(firing).id)
    bench.chain.mine()
    await bench.head()
    assert bench.states(firing) == [IntentState.INCLUDED]
    bench.chain.reorg(1, keep=False)
    bench.chain.mine(include=False)
    sent = len(bench.chain.sent)
    await bench.head()
    assert bench.states(firing) == [IntentState.CANCELLING]
    assert [tx.is_no_op for tx in bench.chain.sent[sent:]] == [True]
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED]


async def test_a_halted_account_is_not_sent_for_after_a_restart(bench: Bench) -> None:
    firing = await bench.run()
    bench.chain.drop()
    bench.journal.halt(CHAIN_ID, ACCOUNT, "by hand", 1.0)
    await bench.restart()
    assert len(bench.chain.sent) == 2
    await bench.executor.resume_account(ACCOUNT)
    bench.chain.mine()
    await bench.head()
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2


async def test_killed_after_sending_it_is_followed_but_neither_sent_nor_raised(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    bench.killed = True
    bench.chain.drop()
    for _ in range(6):
        bench.chain.mine()
        await bench.head()
    await bench.restart()
    assert len(bench.chain.sent) == len(bench.signer.requests) == 1
    bench.killed = False
    bench.chain.mine()
    await bench.head()
    assert len(bench.signer.requests) == 2
    bench.killed = True
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK]


async def test_a_cancel_works_under_the_kill_switch(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    bench.killed = True
    await bench.executor.cancel(bench.intent(firing).id)
    await bench.executor.cancel(bench.intent(firing).id)
    bench.chain.drop()
    bench.chain.mine()
    await bench.head()
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED]
    assert [tx.is_no_op for tx in bench.chain.mined(ACCOUNT)] == [True]
    with pytest.raises(CannotCancel):
        await bench.executor.cancel(bench.intent(firing).id)
    with pytest.raises(CannotCancel):
        await bench.executor.cancel("nothing")


async def test_the_original_beats_its_cancel_and_is_reported_as_done(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    original = bench.chain.pool[(ACCOUNT, 0)]
    await bench.executor.cancel(bench.intent(firing).id)
    bench.chain.pool[(ACCOUNT, 0)] = original
    bench.chain.mine()
    await bench.head()
    await bench.restart()
    bench.chain.mine()
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK]
    assert bench.firing(firing).state is FiringState.DONE
