"""What the chain makes of a transaction: reorgs, reverts, a nonce that somebody else took, a fork behind finality."""

from __future__ import annotations

import pytest

from tests.engine.conftest import Bench
from tests.support.firings import ACCOUNT, CHAIN_ID, GWEI, a_call, a_plan, with_calls
from tui.engine.budget import day_of
from tui.engine.history import FIRINGS, shown_firings
from tui.model.intent import FiringState, IntentState
from tui.ports.journal import SpendKind


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


def drop(bench: Bench, count: int) -> None:
    """So many firings of which nothing was signed: a rule that is refused at every block makes them."""
    for number in range(count):
        bench.executor.drop_firing(bench.fire(1_000 + number).id, "refused")


async def test_a_reorg_past_what_was_final_is_seen_behind_any_number_of_dropped_firings(bench: Bench) -> None:
    await bench.run(1, calls=1)
    bench.chain.mine(3)
    await bench.head()
    drop(bench, 60)
    await bench.restart()
    bench.chain.reorg(3, keep=False)
    bench.chain.mine(4)
    await bench.head()
    ((_, why),) = bench.executor.halted_accounts()
    assert "deeper than what counts as final" in why


async def test_a_lost_transaction_is_looked_for_behind_any_number_of_dropped_firings(bench: Bench) -> None:
    """Given up, dropped firings beside it, restarted; then a reorg brings it back instead of the foreign one."""
    firing = await bench.run(1, calls=1)
    bench.chain.foreign(ACCOUNT)
    bench.chain.mine(2)
    await bench.head()
    assert bench.states(firing) == [IntentState.NONCE_LOST]
    drop(bench, 60)
    await bench.restart()
    bench.chain.reorg(4, keep=False)
    raw = bench.intent(firing).attempts[0]
    await bench.chain.send(raw.raw, raw.hash)
    bench.chain.mine(5)
    await bench.head()
    assert "was not lost" in bench.intent(firing).reason


async def test_what_is_on_its_way_is_shown_behind_any_number_of_dropped_firings(bench: Bench) -> None:
    firing = await bench.run(1, calls=1)
    drop(bench, 60)
    shown = shown_firings(bench.journal, CHAIN_ID)
    assert len(shown) == FIRINGS + 1
    assert shown[-1].id == firing.id
    bench.chain.mine(3)
    await bench.head()
    assert [one.state for one in shown_firings(bench.journal, CHAIN_ID) if one.id == firing.id] == [FiringState.DONE]
    assert [one.id for one in bench.journal.signed_firings(CHAIN_ID)] == [firing.id]
    assert bench.journal.signed_firings(CHAIN_ID, firing.block_timestamp + 1) == ()
    assert bench.journal.signed_firings(CHAIN_ID, limit=0) == bench.journal.signed_firings(CHAIN_ID + 1) == ()


async def test_a_reorg_past_what_was_final_that_keeps_the_transactions_halts_nothing(bench: Bench) -> None:
    await bench.run(1)
    bench.chain.mine(3)
    await bench.head()
    bench.chain.reorg(3, keep=True)
    bench.chain.mine(4)
    await bench.head()
    assert bench.executor.halted_accounts() == ()
    assert (await bench.run(2)).state is FiringState.RUNNING
