"""The executor step by step, on a chain in memory with a real journal: each fault of the path, and what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.engine.conftest import FEES, Bench, signed_but_not_recorded
from tests.support.firings import ACCOUNT, CHAIN_ID, GWEI, TOKEN, a_call, a_plan, with_calls
from tests.support.memory_chain import decode
from tui.engine.budget import day_of
from tui.engine.intents import intents_of
from tui.model.block import BlockRef
from tui.model.intent import AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.plan import FeeQuote, PermitNeed, PlannedCall, Refusal
from tui.model.signing import SignedTransaction, TransactionRequest
from tui.model.transitions import IllegalTransition, advance
from tui.model.units import USD, WAD
from tui.ports.chain import ReadFailed, SendOutcome
from tui.ports.journal import SpendEntry, SpendKind
from tui.protocols.erc20 import APPROVE


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


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("call 0x01020304 is not on the list", "signer-refused"),
        (f"daily limit of token {TOKEN}: 5 spent, 4 asked, 8 allowed", "signer-day"),
        ("daily fee limit: 5 wei used, 4 asked, 8 allowed", "signer-day"),
    ],
)
async def test_what_the_signer_would_not_sign_whole_is_not_begun(bench: Bench, reason: str, code: str) -> None:
    """It is asked before any nonce gets a meaning: the nonces are free, and what is next takes them."""
    bench.signer.judges = reason
    firing = bench.fire()
    refused = await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), bench.verify)
    assert refused == Refusal(code, reason, account=ACCOUNT)
    assert bench.firing(firing).state is FiringState.DROPPED
    assert bench.states(firing) == [IntentState.DROPPED] * 2
    assert bench.signer.requests == []
    assert bench.journal.spent(SpendKind.USD, day_of(bench.chain.head.timestamp)) == 0
    bench.signer.judges = None
    assert [one.nonce for one in (await bench.run(2)).intents] == [0, 1]


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
        PlannedCall(one.to, one.data, one.value, one.words, None, gas_limit=one.gas_limit, sender=one.account)
        for one in firing.intents
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
    bench.journal.reserve(running, after, intents_of(again, plan, {again.account: 0}), debit, None)

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


@pytest.mark.parametrize(("blocks", "state"), [(5, FiringState.RUNNING), (6, FiringState.DROPPED)])
async def test_what_was_planned_long_before_the_newest_block_is_not_signed(
    bench: Bench, blocks: int, state: FiringState
) -> None:
    """A yes is acted on beside the blocks: the machine sleeps while it is simulated, and wakes up to a new block."""

    async def sleeps(calls: Sequence[PlannedCall]) -> str | None:
        bench.chain.mine(blocks)
        await bench.head()
        return None

    firing = bench.fire()
    await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), sleeps)
    assert bench.firing(firing).state is state
    assert bool(bench.signer.requests) is (state is FiringState.RUNNING)
    if state is FiringState.DROPPED:
        assert "it was planned at block 0, and there is one now that is 72 s younger" in bench.firing(firing).reason


# --- checks that stand between a plan and the first byte -----------------------------------------------------------


@pytest.mark.parametrize("what", ["killed", "halted"])
async def test_what_comes_while_a_plan_is_verified_keeps_it_from_being_signed(bench: Bench, what: str) -> None:
    firing = bench.fire()

    async def verify(calls: Sequence[PlannedCall]) -> str | None:
        if what == "killed":
            bench.killed = True
        else:
            bench.journal.halt(CHAIN_ID, ACCOUNT, "somebody has to look", 0.0)
        return None

    refused = await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), verify)
    assert refused is not None
    assert bench.firing(firing).state is FiringState.DROPPED
    assert bench.signer.requests == []
    assert bench.journal.next_nonce(CHAIN_ID, ACCOUNT) in (None, 0), "its nonces are free"


async def test_an_account_that_is_halted_while_it_is_signed_for_sends_nothing(bench: Bench) -> None:
    sign = bench.signer.sign_transaction

    async def halting(request: TransactionRequest) -> SignedTransaction:
        bench.journal.halt(CHAIN_ID, ACCOUNT, "somebody has to look", 0.0)
        return await sign(request)

    bench.signer.sign_transaction = halting  # type: ignore[method-assign]
    firing = await bench.run()
    assert bench.states(firing) == [IntentState.SIGNED] * 2
    assert bench.chain.sent == []
    bench.chain.mine()
    await bench.head()
    assert bench.chain.sent == []


async def test_nobody_is_asked_for_a_signature_above_the_ceiling(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    intent = bench.intent(firing)
    asked = len(bench.signer.requests)
    with pytest.raises(AssertionError, match="above its ceiling"):
        await bench.executor._sender.sign(
            intent, IntentState.MAYBE_SENT, AttemptKind.BUMP, (intent.fee_ceiling + 1, GWEI), 0
        )
    assert len(bench.signer.requests) == asked
