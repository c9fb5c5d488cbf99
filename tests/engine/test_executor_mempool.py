"""What was sent and is not mined: the same bytes go out again, and fees rise, to a ceiling and no further."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.engine.conftest import Bench
from tests.support.firings import ACCOUNT, GWEI
from tui.engine.sending import Sender, Teller
from tui.model.intent import AttemptKind, FiringState, IntentState
from tui.model.view import Severity
from tui.ports.chain import SendOutcome


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


async def test_the_tracker_may_be_faster_than_the_one_who_sends(bench: Bench) -> None:
    """A yes is acted on beside the blocks: a node is slow with the first call, and both are final before it answers."""
    accept = bench.chain.send
    out, gate = asyncio.Event(), asyncio.Event()

    async def send(raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        outcomes = await accept(raw, expected_hash)
        if len(bench.chain.sent) == 1:
            out.set()
            await gate.wait()
        return outcomes

    bench.chain.send = send  # type: ignore[method-assign]
    acting = asyncio.create_task(bench.run())
    await out.wait()
    for _ in range(3):
        bench.chain.mine()
        await bench.head()
    gate.set()
    firing = await acting
    assert bench.states(firing) == [IntentState.FINAL_OK] * 2
    assert firing.state is FiringState.DONE
    assert [tx.nonce for tx in bench.chain.mined(ACCOUNT)] == [0, 1]


async def test_no_attempt_is_signed_above_its_ceiling(bench: Bench) -> None:
    """Whoever asks for it: the last look at the fees is beside the signer."""
    firing = await bench.run(calls=1)
    intent = bench.intent(firing)
    asked = len(bench.signer.requests)
    teller = Teller(bench.journal, bench.clock, bench.lines.append)
    sender = Sender(bench.journal, bench.signer, bench.chain, bench.clock, lambda: False, teller)
    with pytest.raises(AssertionError, match="above its ceiling"):
        await sender.sign(intent, intent.state, AttemptKind.BUMP, (intent.fee_ceiling + 1, GWEI), 1)
    assert len(bench.signer.requests) == asked
