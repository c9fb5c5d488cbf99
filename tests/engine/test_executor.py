"""The executor step by step, on a chain in memory with a real journal: each fault of the path, and what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.engine.conftest import Bench
from tests.support.firings import ACCOUNT, CHAIN_ID, GWEI, TOKEN, a_call, a_plan, with_calls
from tests.support.memory_chain import decode
from tui.engine.budget import day_of
from tui.engine.executor import CannotCancel
from tui.engine.intents import intents_of
from tui.model.block import BlockRef
from tui.model.intent import AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.plan import FeeQuote, PermitNeed, PlannedCall
from tui.model.signing import KILLED_LATE, SignedTransaction, SignerRefused, TransactionRequest
from tui.model.transitions import IllegalTransition, advance
from tui.model.units import USD, WAD
from tui.model.view import Severity
from tui.ports.chain import ReadFailed, SendOutcome
from tui.ports.journal import JournalFull, SpendEntry, SpendKind
from tui.protocols.erc20 import APPROVE

FEES = FeeQuote(GWEI, 10 * GWEI, 2 * GWEI, 40 * GWEI)


async def test_two_calls_are_signed_sent_included_and_final(bench: Bench) -> None:
    firing = await bench.run()
    assert bench.states(firing) == [IntentState.MAYBE_SENT] * 2
    assert [tx.nonce for tx in bench.chain.pool.values()] == [0, 1]
    assert firing.state is FiringState.RUNNING

    bench.chain.mine()
    assert await bench.head() == ()
    assert bench.states(firing) == [IntentState.INCLUDED] * 2
    bench.chain.mine()
    ended = await bench.head()
    assert [(one.id, one.state) for one in ended] == [(firing.id, FiringState.DONE)]
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2
    price = bench.chain.base_fee + 2 * GWEI
    assert bench.intent(firing).gas_paid_wei == 100_000 * price
    day = day_of(bench.chain.head.timestamp)
    assert bench.journal.spent(SpendKind.GAS, day, "guard") == 200_000 * price
    assert bench.journal.spent(SpendKind.USD, day, "guard") == 5 * USD
    assert len(bench.chain.sent) == 2
    assert [line.text for line in bench.lines] == [
        "call 0: signed, nonce 0",
        "call 1: signed, nonce 1",
        "call 0: sent to 1 node",
        "call 1: sent to 1 node",
        "call 0: in block 1",
        "call 1: in block 1",
        "call 0: final",
        "call 1: final",
        "guard: done",
    ]
    assert bench.journal.decisions() == tuple(bench.lines)


async def test_nothing_leaves_before_it_is_durable(bench: Bench) -> None:
    seen: list[IntentState] = []
    accept = bench.chain.send

    async def send(raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        tx = decode(raw)
        intent = next(one for one in bench.journal.unsettled(CHAIN_ID) if one.nonce == tx.nonce)
        assert raw in [attempt.raw for attempt in intent.attempts]
        seen.append(intent.state)
        return await accept(raw, expected_hash)

    bench.chain.send = send  # type: ignore[method-assign]
    await bench.run()
    assert seen == [IntentState.MAYBE_SENT] * 2


async def test_an_episode_fires_once(bench: Bench) -> None:
    firing = await bench.run(1)
    again = bench.executor.open_firing(
        rule="guard",
        rule_digest="digest",
        episode="episode-1",
        position=firing.position,
        account=ACCOUNT,
        block=bench.chain.head,
        health_factor=None,
    )
    assert again is None
    await bench.executor.execute(firing, a_plan(firing), bench.verify)
    assert len(bench.signer.requests) == 2


async def test_the_permit_is_signed_put_in_and_simulated_before_the_transaction(bench: Bench) -> None:
    firing = bench.fire()
    need = PermitNeed(TOKEN, "USD Coin", "2", "0x" + "dd" * 32, "0x" + "b2" * 20, 5_000, 0, 1_800_000_000)
    call = replace(a_call(b"\0" * 160), permit=need, stand_in=(a_call(b"stand in"),))
    await bench.executor.execute(firing, with_calls(a_plan(firing), call), bench.verify)

    words = (27).to_bytes(32, "big") + (2**255 + 1).to_bytes(32, "big") + (3).to_bytes(32, "big")
    ((verified,),) = bench.verified
    assert verified.data == call.data[:-96] + words
    assert (verified.permit, verified.stand_in) == (None, ())
    (asked,) = bench.signer.permits
    assert (asked.token, asked.owner, asked.spender, asked.value) == (TOKEN, ACCOUNT, need.spender, 5_000)
    assert bench.signer.requests[0].data == verified.data == bench.intent(firing).data


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda bench: setattr(bench, "verdict", "health after is 1.31, not 1.50"), "health after is 1.31"),
        (lambda bench: setattr(bench, "killed", True), "kill switch"),
        (lambda bench: setattr(bench.chain, "down", True), "nonce cannot be read"),
        (lambda bench: setattr(bench.signer, "refuse_from", 0), "above the limit"),
        (lambda bench: bench.journal.halt(CHAIN_ID, ACCOUNT, "look at it", 1.0), "look at it"),
    ],
)
async def test_what_is_refused_before_a_signature_is_dropped_whole(
    bench: Bench, break_it: Callable[[Bench], None], reason: str
) -> None:
    break_it(bench)
    firing = await bench.run()
    assert firing.state is FiringState.DROPPED
    assert reason in firing.reason
    assert reason in bench.said()
    assert bench.chain.sent == []
    assert bench.signer.requests == []
    assert bench.journal.unsettled(CHAIN_ID) == ()
    assert bench.journal.next_nonce(CHAIN_ID, ACCOUNT) is None
    assert bench.journal.spent(SpendKind.USD, day_of(bench.chain.head.timestamp)) == 0


async def test_a_failing_simulation_is_a_reason_too(bench: Bench) -> None:
    async def verify(calls: object) -> str | None:
        raise ReadFailed("the node forgot the block")

    firing = bench.fire()
    await bench.executor.execute(firing, a_plan(firing), verify)
    assert bench.firing(firing).state is FiringState.DROPPED
    assert "forgot the block" in bench.firing(firing).reason


async def test_a_cancelled_task_leaves_nothing_reserved(bench: Bench) -> None:
    async def verify(calls: object) -> str | None:
        raise asyncio.CancelledError

    firing = bench.fire()
    with pytest.raises(asyncio.CancelledError):
        await bench.executor.execute(firing, a_plan(firing), verify)
    assert bench.firing(firing).state is FiringState.TRIGGERED
    assert bench.journal.unsettled(CHAIN_ID) == ()
    assert [one.id for one in bench.executor.resume_planned()] == [firing.id]


async def test_a_dropped_firing_may_be_tried_again_in_its_episode(bench: Bench) -> None:
    bench.verdict = "the price moved"
    firing = await bench.run()
    bench.verdict = None
    again = bench.executor.reopen_firing(firing.id, "tried again")
    await bench.executor.execute(again, a_plan(again, block=bench.chain.head), bench.verify)
    done = bench.firing(firing)
    assert done.state is FiringState.RUNNING
    assert [(one.state, one.nonce, one.sequence) for one in done.intents] == [
        (IntentState.DROPPED, None, 0),
        (IntentState.DROPPED, None, 1),
        (IntentState.MAYBE_SENT, 0, 2),
        (IntentState.MAYBE_SENT, 1, 3),
    ]
    with pytest.raises(IllegalTransition):
        bench.executor.reopen_firing(firing.id, "once more")
    with pytest.raises(IllegalTransition):
        bench.executor.drop_firing(firing.id, "no")


async def test_one_plan_an_account_at_a_time(bench: Bench) -> None:
    await bench.run(1)
    second = await bench.run(2)
    assert second.state is FiringState.TRIGGERED
    assert "under way" in bench.said()
    bench.chain.mine(2)
    await bench.head()
    waiting = bench.executor.resume_planned()
    assert [one.id for one in waiting] == [second.id]
    await bench.executor.execute(waiting[0], a_plan(waiting[0], block=bench.chain.head), bench.verify)
    assert [one.nonce for one in bench.firing(second).intents] == [2, 3]


async def test_the_daily_cap_counts_what_was_reserved_before(bench: Bench) -> None:
    await bench.run(1)
    bench.chain.mine(2)
    await bench.head()
    await bench.restart()
    firing = bench.fire(2)
    plan = a_plan(firing, block=bench.chain.head)
    await bench.executor.execute(firing, plan, bench.verify, daily_cap_usd=10 * USD - 1)
    assert "daily limit" in bench.firing(firing).reason
    again = bench.executor.reopen_firing(firing.id, "cap raised")
    await bench.executor.execute(again, plan, bench.verify, daily_cap_usd=10 * USD)
    assert bench.firing(firing).state is FiringState.RUNNING


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plan: replace(plan, rule_digest="edited"),
        lambda plan: replace(plan, calls=()),
        lambda plan: replace(plan, calls=(replace(plan.calls[0], gas_limit=0),)),
        lambda plan: replace(plan, fees=FeeQuote(GWEI, 41 * GWEI, GWEI, 40 * GWEI)),
        lambda plan: replace(plan, fees=FeeQuote(GWEI, GWEI, 2 * GWEI, 40 * GWEI)),
    ],
)
async def test_a_plan_that_is_not_of_one_piece_is_not_signed(bench: Bench, spoil: Callable[[object], object]) -> None:
    firing = bench.fire()
    await bench.executor.execute(firing, spoil(a_plan(firing)), bench.verify)  # type: ignore[arg-type]
    assert bench.firing(firing).state is FiringState.DROPPED
    assert bench.signer.requests == []


# --- the mempool ------------------------------------------------------------------------------------------------------


async def test_dropped_by_the_pool_it_is_sent_again_as_it_was(bench: Bench) -> None:
    firing = await bench.run()
    bench.chain.drop()
    bench.chain.mine()
    await bench.head()
    assert [tx.hash for tx in bench.chain.sent[:2]] == [tx.hash for tx in bench.chain.sent[2:]]
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2


async def test_a_silent_node_changes_nothing(bench: Bench) -> None:
    bench.chain.silent = True
    firing = await bench.run()
    assert bench.states(firing) == [IntentState.MAYBE_SENT] * 2
    assert "may have been sent" in bench.said()
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2


async def test_an_unreachable_chain_changes_nothing(bench: Bench) -> None:
    firing = await bench.run()
    before = bench.firing(firing)
    bench.chain.mine(5)
    bench.chain.down = True
    for _ in range(3):
        await bench.head()
    assert bench.firing(firing) == before
    assert bench.said().count("cannot be followed") == 1
    bench.chain.down = False
    await bench.head()
    assert bench.firing(firing).state is FiringState.DONE


async def test_fees_rise_with_the_blocks_and_stop_at_the_ceiling(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    bench.chain.base_fee = 1_000 * GWEI
    for _ in range(60):
        bench.chain.mine()
        await bench.head()
    intent = bench.intent(firing)
    assert intent.state is IntentState.MAYBE_SENT
    kinds = [attempt.kind for attempt in intent.attempts]
    assert kinds == [AttemptKind.ORIGINAL] + [AttemptKind.BUMP] * (len(kinds) - 1)
    assert len(kinds) > 1
    blocks = [attempt.block for attempt in intent.attempts]
    assert all(later - earlier == 3 for earlier, later in pairwise(blocks))
    assert intent.attempts[-1].max_fee <= intent.fee_ceiling == 40 * GWEI
    assert {tx.meaning for tx in bench.chain.sent} == {bench.chain.sent[0].meaning}
    assert bench.said().count("at the ceiling") == 1
    assert [line.severity for line in bench.lines if "at the ceiling" in line.text] == [Severity.ALARM]
    assert len(bench.chain.sent) >= 60
    bench.chain.base_fee = GWEI
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK]


async def test_local_time_raises_no_fee_and_ends_nothing(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    bench.chain.drop()
    bench.clock.advance(10**7)
    await bench.head()
    await bench.restart()
    bench.clock.advance(-(10**7))
    await bench.head()
    intent = bench.intent(firing)
    assert (intent.state, len(intent.attempts)) == (IntentState.MAYBE_SENT, 1)


async def test_an_underpriced_replacement_is_raised_again_within_the_ceiling(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    mine = bench.chain.pool[(ACCOUNT, 0)]
    rival = replace(mine, hash="0xrival", data=b"", max_fee=10 * GWEI, priority_fee=2 * GWEI)
    bench.chain.pool[(ACCOUNT, 0)] = rival
    bench.chain.mine(include=False)
    await bench.head()
    intent = bench.intent(firing)
    assert [attempt.kind for attempt in intent.attempts] == [AttemptKind.ORIGINAL, AttemptKind.BUMP]
    assert bench.chain.pool[(ACCOUNT, 0)].hash == intent.attempts[-1].hash
    assert "from elsewhere has nonce 0" in bench.said()


async def test_where_no_fee_can_be_signed_the_old_bytes_are_sent(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    bench.signer.gone = True
    bench.chain.drop()
    for _ in range(4):
        bench.chain.mine(include=False)
        await bench.head()
        bench.chain.drop()
    assert len(bench.intent(firing).attempts) == 1
    assert len(bench.chain.sent) == 5
    assert bench.said().count("cannot be raised") == 1


async def test_a_node_without_money_for_gas_is_reported_and_it_stays(bench: Bench) -> None:
    async def send(raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        return (SendOutcome("insufficient-funds", "have 0 \x1b[31mwant 1"),)

    bench.chain.send = send  # type: ignore[method-assign]
    firing = await bench.run(calls=1)
    bench.chain.mine()
    await bench.head()
    assert bench.states(firing) == [IntentState.MAYBE_SENT]
    assert bench.said().count("cannot pay for the gas") == 1
    assert "\x1b" not in bench.said()


# --- the chain --------------------------------------------------------------------------------------------------------


async def test_a_reorg_takes_it_out_and_it_comes_back(bench: Bench) -> None:
    firing = await bench.run()
    bench.chain.mine()
    await bench.head()
    bench.chain.reorg(1, keep=False)
    bench.chain.mine(include=False)
    await bench.head()
    intent = bench.intent(firing)
    assert intent.state is IntentState.MAYBE_SENT
    assert (intent.included_block, intent.gas_paid_wei) == (None, None)
    assert "is gone" in bench.said()
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2
    assert len(bench.chain.mined(ACCOUNT)) == 2


async def test_a_reorg_includes_another_attempt(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    original = bench.chain.pool[(ACCOUNT, 0)]
    bench.chain.base_fee = 30 * GWEI
    for _ in range(3):
        bench.chain.mine()
        await bench.head()
    assert len(bench.intent(firing).attempts) == 2
    bench.chain.base_fee = GWEI
    bench.chain.mine()
    await bench.head()
    assert bench.intent(firing).included_hash == bench.intent(firing).attempts[1].hash
    bench.chain.reorg(1, keep=False)
    bench.chain.pool[(ACCOUNT, 0)] = original
    bench.chain.mine()
    await bench.head()
    assert bench.intent(firing).included_hash == original.hash
    bench.chain.mine()
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK]
    assert bench.intent(firing).included_hash == original.hash


async def test_a_revert_is_final_booked_and_not_tried_again(bench: Bench) -> None:
    firing = bench.fire()
    plan = with_calls(a_plan(firing, block=bench.chain.head), a_call(b"revert"), a_call(b"fine"))
    await bench.executor.execute(firing, plan, bench.verify)
    for _ in range(6):
        bench.chain.mine()
        await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_REVERTED, IntentState.FINAL_OK]
    assert bench.firing(firing).state is FiringState.FAILED
    assert "said no" in bench.firing(firing).reason
    assert len(bench.chain.mined(ACCOUNT)) == 2
    assert bench.journal.spent(SpendKind.GAS, day_of(bench.chain.head.timestamp)) > 0
    assert len(bench.signer.requests) == 2


async def test_a_foreign_transaction_takes_the_nonce_and_the_account_is_halted(bench: Bench) -> None:
    firing = await bench.run()
    bench.chain.drop()
    bench.chain.foreign(ACCOUNT)
    sent = len(bench.chain.sent)
    await bench.head()
    # Not final yet: nothing is decided, and nothing is sent under the used nonce.
    assert bench.states(firing)[0] is IntentState.MAYBE_SENT
    assert [tx.nonce for tx in bench.chain.sent[sent:]] == [1]
    bench.chain.mine(include=False)
    ended = await bench.head()
    assert bench.states(firing) == [IntentState.NONCE_LOST, IntentState.MAYBE_SENT]
    assert [one.state for one in ended] == [FiringState.HALTED]
    assert [account for account, _ in bench.executor.halted_accounts()] == [ACCOUNT]
    assert "halted until you resume" in bench.said()

    # Nothing of the account is sent or signed while it is halted; what is out there is still followed.
    sent, signed = len(bench.chain.sent), len(bench.signer.requests)
    for _ in range(5):
        bench.chain.mine(include=False)
        await bench.head()
    await bench.restart()
    assert (len(bench.chain.sent), len(bench.signer.requests)) == (sent, signed)
    second = await bench.run(2)
    assert second.state is FiringState.DROPPED
    await bench.executor.resume_account(ACCOUNT)
    bench.chain.mine(3)
    await bench.head()
    bench.chain.mine(3)
    await bench.head()
    assert bench.states(firing) == [IntentState.NONCE_LOST, IntentState.FINAL_OK]
    third = await bench.run(3)
    assert [one.nonce for one in third.intents] == [2, 3]


async def test_a_nonce_that_this_journal_does_not_explain_halts(bench: Bench) -> None:
    await bench.run()
    bench.chain.mine(2)
    await bench.head()
    bench.chain.foreign(ACCOUNT)
    firing = await bench.run(2)
    assert firing.state is FiringState.DROPPED
    assert "this journal explains 2" in firing.reason
    assert "the chain counts 3" in firing.reason
    await bench.executor.resume_account(ACCOUNT)
    again = bench.executor.reopen_firing(firing.id, "resumed")
    await bench.executor.execute(again, a_plan(again, block=bench.chain.head), bench.verify)
    assert [one.nonce for one in bench.firing(firing).intents if one.nonce is not None] == [3, 4]


async def test_a_foreign_transaction_taken_out_below_ours_is_told(bench: Bench) -> None:
    bench.chain.foreign(ACCOUNT)
    firing = await bench.run()
    bench.chain.reorg(1, keep=False)
    for _ in range(3):
        bench.chain.mine()
        await bench.head()
    assert bench.states(firing) == [IntentState.MAYBE_SENT] * 2
    assert bench.said().count("the chain counts only 0 transactions") == 1
    bench.chain.foreign(ACCOUNT)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2


async def test_a_reorg_past_what_was_final_leaves_no_gap(bench: Bench) -> None:
    await bench.run(1)
    bench.chain.mine(3)
    await bench.head()
    bench.chain.reorg(3, keep=False)
    bench.chain.mine(4)
    firing = await bench.run(2)  # no head was seen since
    assert firing.state is FiringState.DROPPED
    assert "the chain counts 0" in firing.reason
    assert "deeper than what counts as final" in firing.reason
    assert len(bench.signer.requests) == 2


@pytest.mark.parametrize("while_down", [False, True])
async def test_a_reorg_past_what_was_final_halts_and_a_person_has_the_same_bytes_sent(
    bench: Bench, while_down: bool
) -> None:
    first = await bench.run(1)
    bench.chain.mine(3)
    await bench.head()
    sent = [tx.hash for tx in bench.chain.sent]
    bench.chain.reorg(3, keep=False)
    bench.chain.mine(4)
    bench.chain.down = True  # not to be seen at first: looked at again with the next head
    if while_down:
        await bench.restart()
    await bench.head()
    assert bench.executor.halted_accounts() == ()
    bench.chain.down = False
    bench.chain.mine()
    for _ in range(3):
        bench.chain.mine()
        await bench.head()
    ((account, why),) = bench.executor.halted_accounts()
    assert account == ACCOUNT
    assert why.startswith("a reorg deeper than what counts as final took back block 1")
    assert bench.said().count("is halted") == 2, "once for each of the two transactions"
    refused = await bench.run(2)
    assert refused.state is FiringState.DROPPED
    assert len(bench.signer.requests) == 2
    assert bench.chain.sent[2:] == []
    await bench.executor.resume_account(ACCOUNT)
    assert [tx.hash for tx in bench.chain.sent[2:]] == sent
    bench.chain.mine(3)
    await bench.head()
    assert bench.executor.halted_accounts() == ()
    assert [tx.hash for tx in bench.chain.mined(ACCOUNT)] == sent
    assert bench.states(first) == [IntentState.FINAL_OK] * 2
    second = await bench.run(3)
    assert [intent.nonce for intent in second.intents] == [2, 3]


async def test_a_reorg_past_what_was_final_that_keeps_the_transactions_halts_nothing(bench: Bench) -> None:
    await bench.run(1)
    bench.chain.mine(3)
    await bench.head()
    bench.chain.reorg(3, keep=True)
    bench.chain.mine(4)
    await bench.head()
    assert bench.executor.halted_accounts() == ()
    assert (await bench.run(2)).state is FiringState.RUNNING


# --- the kill switch --------------------------------------------------------------------------------------------------


def kill_when_signed(bench: Bench, count: int) -> None:
    sign = bench.signer.sign_transaction

    async def signing(request: TransactionRequest) -> SignedTransaction:
        signed = await sign(request)
        if len(bench.signer.requests) == count:
            bench.killed = True
        return signed

    bench.signer.sign_transaction = signing  # type: ignore[method-assign]


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


async def test_killed_between_two_sends_the_second_is_not_sent(bench: Bench) -> None:
    accept = bench.chain.send

    async def send(raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        bench.killed = True
        return await accept(raw, expected_hash)

    bench.chain.send = send  # type: ignore[method-assign]
    firing = await bench.run()
    assert [tx.nonce for tx in bench.chain.sent] == [0]
    assert bench.states(firing) == [IntentState.MAYBE_SENT] * 2
    bench.killed = False
    bench.chain.send = accept  # type: ignore[method-assign]
    await bench.head()
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2


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


# --- restarts ---------------------------------------------------------------------------------------------------------


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


async def signed_but_not_recorded(bench: Bench) -> None:
    """The disk fills up between the signature and its record."""
    record = bench.journal.record_attempts

    def full(attempts: object) -> None:
        raise JournalFull("the disk is full", "here", "make room")

    bench.journal.record_attempts = full  # type: ignore[method-assign]
    firing = bench.fire()
    with pytest.raises(JournalFull):
        await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), bench.verify)
    bench.journal.record_attempts = record  # type: ignore[method-assign]


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


async def test_a_receipt_on_a_block_that_is_not_canonical_is_no_receipt(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    bench.chain.mine(include=False)
    stale = bench.chain.head
    receipt = await bench.chain.receipt("0x0")
    assert receipt is None
    intent = bench.intent(firing)

    async def lying(tx_hash: str) -> object:
        from tui.ports.chain import Receipt

        return Receipt(intent.attempts[0].hash, stale.number, "0x" + "ff" * 32, True, 1, 1)

    bench.chain.receipt = lying  # type: ignore[assignment, method-assign]
    bench.chain.mine(5, include=False)
    await bench.head()
    assert bench.states(firing) == [IntentState.MAYBE_SENT]


async def test_two_heads_at_once_are_looked_at_one_after_the_other(bench: Bench) -> None:
    firing = await bench.run()
    first = bench.chain.mine()
    second = bench.chain.mine()
    await asyncio.gather(bench.head(first), bench.head(second), bench.head(first))
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2


async def test_it_counts_confirmations_from_the_block_it_is_in(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    bench.chain.mine()
    behind = BlockRef(0, bench.chain.blocks[0].block.hash, "0x", 1, GWEI)
    await bench.head(behind)
    assert bench.states(firing) == [IntentState.INCLUDED]
    await bench.head()
    assert bench.states(firing) == [IntentState.INCLUDED]
    bench.chain.mine()
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_OK]


async def test_calls_of_resumed_firings_are_the_recorded_ones(bench: Bench) -> None:
    await signed_but_not_recorded(bench)
    await bench.restart()
    (firing,) = bench.executor.resume_planned()
    await bench.executor.resume_reserved(firing, FEES, bench.verify)
    assert bench.verified[-1] == tuple(
        PlannedCall(one.to, one.data, one.value, one.words, None, gas_limit=one.gas_limit) for one in firing.intents
    )


PRICE = 3_000 * USD
MOST_GAS = 100_000 * 40 * GWEI * PRICE // WAD
"""A call's gas limit at the ceiling of the plan, in dollars."""


async def run_priced(bench: Bench, number: int = 1, *calls: PlannedCall) -> Firing:
    firing = bench.fire(number)
    plan = with_calls(a_plan(firing, block=bench.chain.head), *(calls or (a_call(b"one"), a_call(b"two"))))
    await bench.executor.execute(firing, plan, bench.verify, native_price_usd=PRICE)
    return bench.firing(firing)


def spent(bench: Bench) -> tuple[int, int]:
    """Dollars moved and dollars of gas of the day."""
    day = day_of(bench.chain.head.timestamp)
    return bench.journal.spent(SpendKind.USD, day, "guard"), bench.journal.spent(SpendKind.GAS_USD, day, "guard")


def paid_usd(bench: Bench, firing: Firing) -> int:
    paid = [one.gas_paid_wei for one in bench.firing(firing).intents if one.gas_paid_wei is not None]
    return sum(-(-one * PRICE // WAD) for one in paid)


async def asked_and_freed(bench: Bench) -> Firing:
    """A firing of which the signer was asked, signed nothing, and was cancelled by hand."""
    bench.signer.gone = True
    firing = await run_priced(bench)
    bench.signer.gone = False
    await bench.executor.cancel(firing.intents[0].id, FEES)
    assert bench.firing(firing).state is FiringState.DROPPED
    return bench.firing(firing)


async def test_what_an_earlier_try_freed_does_not_hold_a_restart(bench: Bench) -> None:
    firing = await asked_and_freed(bench)
    again = bench.executor.reopen_firing(firing.id, "again")
    running = replace(again, state=FiringState.PLANNED)
    bench.journal.save_firing(again, running)
    plan = a_plan(again, 1, block=bench.chain.head)
    after = replace(running, state=FiringState.RUNNING)
    debit = SpendEntry(SpendKind.USD, "guard", day_of(plan.block.timestamp), plan.spend_usd, again.id)
    bench.journal.reserve(running, after, intents_of(again, plan, 0), debit, None)

    await bench.restart()
    assert bench.firing(firing).state is FiringState.TRIGGERED
    assert bench.states(firing) == [IntentState.DROPPED] * 3
    assert spent(bench) == (0, 0)
    await bench.executor.execute(bench.firing(firing), plan, bench.verify)
    assert [one.nonce for one in bench.journal.unsettled(CHAIN_ID)] == [0]


async def test_what_an_earlier_try_freed_does_not_hold_a_refusal(bench: Bench) -> None:
    firing = await asked_and_freed(bench)
    bench.verdict = "it disagrees"
    again = bench.executor.reopen_firing(firing.id, "again")
    await bench.executor.execute(again, a_plan(again, 1, block=bench.chain.head), bench.verify, native_price_usd=PRICE)
    assert bench.firing(firing).state is FiringState.DROPPED
    assert "it disagrees" in bench.firing(firing).reason
    assert spent(bench) == (0, 0)


async def test_freed_nonces_and_the_end_of_their_firing_are_one_commit(bench: Bench) -> None:
    """Ending anywhere in it leaves all of it or nothing: no firing that runs with nothing left to run."""
    bench.signer.gone = True
    firing = await run_priced(bench)
    bench.signer.gone = False
    begun: list[str] = []

    def trace(statement: str) -> None:
        if statement.startswith(("BEGIN", "COMMIT")):
            begun.append(statement.split()[0])

    bench.journal._connection.set_trace_callback(trace)
    bench.killed = True
    free = bench.journal.free
    frees: list[list[str]] = []

    def watched(intents: Sequence[Intent], reason: str) -> Firing:
        begun.clear()
        result = free(intents, reason)
        frees.append(list(begun))
        return result

    bench.journal.free = watched  # type: ignore[method-assign]
    await bench.executor.cancel(firing.intents[0].id, FEES)
    assert frees == [["BEGIN", "COMMIT"]]
    assert bench.firing(firing).state is FiringState.DROPPED
    assert spent(bench) == (0, 0)


async def test_a_firing_that_an_older_engine_left_running_with_nothing_is_dropped(bench: Bench) -> None:
    bench.signer.gone = True
    firing = await run_priced(bench)
    freed = [(one, advance(one, IntentState.DROPPED, nonce=None, reason="free")) for one in firing.intents]
    bench.journal.save_intents(freed)
    await bench.restart()
    assert bench.firing(firing).state is FiringState.DROPPED
    assert spent(bench) == (0, 0)
    bench.signer.gone = False
    assert (await run_priced(bench, 2)).state is FiringState.RUNNING


async def test_freed_behind_a_no_op_gives_its_gas_back_at_once(bench: Bench) -> None:
    """The first was signed for and is closed by a no-op; the second was not, and its nonce is free."""
    bench.signer.refuse_from = 1
    firing = await run_priced(bench)
    bench.signer.refuse_from = None
    assert spent(bench) == (5 * USD, 2 * MOST_GAS)
    await bench.executor.cancel(firing.intents[0].id, FEES)
    await bench.executor.cancel(firing.intents[1].id, FEES)
    assert bench.states(firing) == [IntentState.CANCELLING, IntentState.DROPPED]
    assert spent(bench) == (5 * USD, MOST_GAS)
    bench.chain.mine(2)
    (ended,) = await bench.head()
    assert ended.state is FiringState.FAILED
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED, IntentState.DROPPED]
    assert spent(bench) == (0, paid_usd(bench, firing))
    assert paid_usd(bench, firing) > 0


async def test_what_the_kill_switch_withheld_and_a_no_op_closed_ends_at_its_gas(bench: Bench) -> None:
    sign = bench.signer.sign_transaction

    async def sign_and_kill(request: TransactionRequest) -> SignedTransaction:
        signed = await sign(request)
        bench.killed = True
        return signed

    bench.signer.sign_transaction = sign_and_kill  # type: ignore[method-assign]
    firing = await run_priced(bench)
    assert all(one.withheld for one in firing.intents)
    assert spent(bench) == (5 * USD, 2 * MOST_GAS)
    for intent in firing.intents:
        await bench.executor.cancel(intent.id, FEES)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.FINAL_CANCELLED] * 2
    assert spent(bench) == (0, paid_usd(bench, firing))
    assert paid_usd(bench, firing) > 0


@pytest.mark.parametrize(
    ("calls", "cancel", "moved"),
    [
        ((a_call(b"one"), a_call(b"two")), 1, 5 * USD),
        ((replace(a_call(b"x"), data=APPROVE + bytes(64)), a_call(b"two")), 1, 0),
        ((a_call(b"revert"),), None, 0),
        ((a_call(b"revert"), a_call(b"two")), None, 5 * USD),
    ],
    ids=["a part went through", "an approval alone moves nothing", "reverted", "one of two reverted"],
)
async def test_dollars_stay_debited_where_any_may_have_moved(
    bench: Bench, calls: tuple[PlannedCall, ...], cancel: int | None, moved: int
) -> None:
    firing = await run_priced(bench, 1, *calls)
    if cancel is not None:
        await bench.executor.cancel(firing.intents[cancel].id, FEES)
    bench.chain.mine(2)
    await bench.head()
    assert bench.firing(firing).state is FiringState.FAILED
    assert spent(bench) == (moved, paid_usd(bench, firing))


@pytest.mark.parametrize("how", ["done", "reverted", "cancelled"])
async def test_what_was_mined_after_all_corrects_both_budgets(bench: Bench, how: str) -> None:
    """Lost by the word of a node that lied; nothing is taken back until it is known what its nonce was used for."""
    firing = await run_priced(bench, 1, a_call(b"revert" if how == "reverted" else b"one"))
    if how == "cancelled":
        await bench.executor.cancel(firing.intents[0].id, FEES)
    bench.chain.mine(2)
    receipt, knows = bench.chain.receipt, bench.chain.knows

    async def none(tx_hash: str) -> None:
        return None

    async def unknown(tx_hash: str) -> bool:
        return False

    bench.chain.receipt, bench.chain.knows = none, unknown  # type: ignore[method-assign]
    await bench.head()
    assert bench.states(firing) == [IntentState.NONCE_LOST]
    assert spent(bench) == (5 * USD, MOST_GAS)
    bench.chain.receipt, bench.chain.knows = receipt, knows  # type: ignore[method-assign]
    bench.chain.mine()
    for _ in range(2):
        await bench.head()
        assert spent(bench) == (5 * USD if how == "done" else 0, paid_usd(bench, firing))
    assert 0 < paid_usd(bench, firing) < MOST_GAS
    words = {"done": "did what it was for", "reverted": "and reverted", "cancelled": "the no-op that cancels it"}
    assert words[how] in bench.intent(firing).reason
    assert bench.firing(firing).reason == bench.intent(firing).reason
