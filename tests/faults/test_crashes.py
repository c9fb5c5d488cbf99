"""Faults 1 to 8: `trimtab run` is killed, at a point of its own code, and another life goes on with what it left.

After each: same nonce, same meaning, nothing fired twice, nothing forgotten, and the chain is what the journal says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.fault_rig import World
from tests.support.mortal import HAND, SEND, Mortal, Point, journal_point, open_mortal, signer_point
from tui.model.intent import FiringState, IntentState

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]


@pytest.fixture
async def mortal(world: World, tmp_path: Path) -> AsyncIterator[Mortal]:
    async with AsyncExitStack() as stack:
        yield await open_mortal(stack, world, tmp_path)


def states(mortal: Mortal) -> list[IntentState]:
    return [intent.state for intent in mortal.intents()]


@pytest.mark.parametrize("point", [journal_point("open_firing"), journal_point("_insert", late=True, word="firings")])
async def test_01_killed_before_the_latch_commits_it_is_judged_again(mortal: Mortal, point: Point) -> None:
    """SIGKILL before the firing's row is written, and with the row written in a transaction that never commits."""
    await mortal.dies_at(point)
    assert mortal.firings() == ()
    firing = await mortal.carry_on()
    assert firing.state is FiringState.DONE
    assert len(mortal.mined()) == 1
    mortal.check()


async def test_02_killed_after_the_reservation_the_nonce_is_used_again(mortal: Mortal) -> None:
    """SIGKILL just after the commit that binds the nonce and debits the budget; the signer was not asked."""
    await mortal.dies_at(journal_point("reserve", late=True))
    (reserved,) = mortal.intents()
    assert (reserved.state, reserved.signing_began, mortal.sent()) == (IntentState.RESERVED, False, [])
    spent = mortal.firing().spend_usd
    firing = await mortal.carry_on()
    assert firing.state is FiringState.DONE
    (intent,) = mortal.intents()
    assert intent.nonce == reserved.nonce
    assert [one.nonce for one in mortal.dropped()] == [None]
    assert mortal.debited() == firing.spend_usd == pytest.approx(spent, rel=1e-3)
    mortal.check()


async def test_02_given_up_in_one_life_and_killed_in_the_next_the_third_still_defends(mortal: Mortal) -> None:
    """One defence is done; the second is killed when reserved, and the life that sets its nonce free is killed too."""
    async with mortal.life(journal_point("reserve", 2, late=True).prelude()) as program:
        mortal.chain.set_price("WETH", "2600")
        await mortal.until(program, mortal.ended)
        for _ in range(3):
            await mortal.seen(program)
        mortal.chain.set_price("WETH", "2050")
        await mortal.until_dead(program)
    async with mortal.life(journal_point("save_rule_state", late=True).prelude(), armed=False) as program:
        await mortal.until_dead(program)
    assert [firing.state for firing in mortal.firings()] == [FiringState.DROPPED, FiringState.DONE]
    async with mortal.life() as program:
        await mortal.until(program, lambda: len(mortal.done()) == 2)
        assert await program.stop() == 0
    assert [intent.nonce for intent in mortal.intents()] == [int(tx["nonce"], 16) for tx in mortal.mined()]
    assert len(mortal.mined()) == 2
    mortal.check()


async def test_03_killed_between_signature_and_record_nothing_was_sent_and_the_same_is_signed_again(
    mortal: Mortal,
) -> None:
    """SIGKILL when the signer has answered and the bytes are not yet in the journal."""
    await mortal.dies_at(signer_point(late=True))
    (asked,) = mortal.intents()
    assert (asked.state, asked.signing_began, asked.attempts, mortal.sent()) == (IntentState.RESERVED, True, (), [])
    firing = await mortal.carry_on()
    assert firing.state is FiringState.DONE
    (intent,) = mortal.intents()
    assert (intent.id, intent.nonce, intent.data) == (asked.id, asked.nonce, asked.data)
    assert {(one.nonce, one.data) for one in mortal.sent()} == {(asked.nonce, asked.data)}
    # The signer's own book, which outlived it: one nonce, one meaning, though it signed twice.
    assert [(nonce, len(found)) for nonce, found in mortal.signed_for().items()] == [(asked.nonce, 1)]
    mortal.check()


async def test_04_killed_after_the_signature_is_durable_the_identical_bytes_are_sent(mortal: Mortal) -> None:
    """SIGKILL just after the commit of the signed bytes, before anything was sent."""
    await mortal.dies_at(journal_point("record_attempts", late=True))
    (signed,) = mortal.intents()
    assert (signed.state, mortal.sent()) == (IntentState.SIGNED, [])
    firing = await mortal.carry_on()
    assert firing.state is FiringState.DONE
    assert {sent.hash for sent in mortal.sent()} == {signed.attempts[0].hash}
    (intent,) = mortal.intents()
    assert [attempt.raw for attempt in intent.attempts] == [signed.attempts[0].raw]
    mortal.check()


@pytest.mark.parametrize("arrived", [True, False])
async def test_05_killed_in_the_middle_of_a_send_it_is_sent_again(mortal: Mortal, arrived: bool) -> None:
    """SIGKILL with the request open: the node has taken the bytes and its answer is lost, or has never seen them."""
    silence = mortal.proxy.silence(SEND, after=arrived)
    async with mortal.life() as program:
        mortal.chain.set_price("WETH", "2600")
        mortal.chain.mine()
        await silence.reached.wait()
        program.process.kill()
        await program.ended()
    silence.lift()
    (sent,) = mortal.intents()
    assert sent.state is IntentState.MAYBE_SENT
    assert mortal.pooled() == ([sent.attempts[0].hash] if arrived else [])
    async with mortal.life() as program:
        await mortal.until(program, lambda: bool(mortal.intents()[0].attempts[0].answer))
        if arrived:
            assert mortal.intents()[0].attempts[0].answer.startswith("already-known")
        await mortal.until(program, mortal.ended)
        assert await program.stop() == 0
    assert mortal.firing().state is FiringState.DONE
    assert {one.hash for one in mortal.sent()} == {sent.attempts[0].hash}
    assert len(mortal.sent()) > 1
    mortal.check()


@pytest.mark.parametrize("winner", [0, 1])
async def test_06_killed_in_the_middle_of_a_replacement_both_attempts_are_followed(mortal: Mortal, winner: int) -> None:
    """SIGKILL when the raised fee is signed and durable and not sent; then one is mined, or the other."""
    lost = mortal.swallow()
    await mortal.dies_at(journal_point("record_attempts", 2, late=True))
    lost.lift()
    (raised,) = mortal.intents()
    original, bump = raised.attempts
    assert bump.max_fee > original.max_fee
    assert {one.hash for one in mortal.sent()} == {original.hash}
    if winner == 0:
        mortal.arrive(original)
        mortal.proxy.refuse(SEND, "temporarily out of order")
    firing = await mortal.carry_on()
    (intent,) = mortal.intents()
    assert (firing.state, intent.included_hash) == (FiringState.DONE, intent.attempts[winner].hash)
    assert [attempt.hash for attempt in intent.attempts[:2]] == [original.hash, bump.hash]
    mortal.check()


async def test_06_killed_with_a_replacement_signed_and_not_recorded_it_is_signed_again(mortal: Mortal) -> None:
    """SIGKILL when the signer has raised the fee and the journal does not know."""
    lost = mortal.swallow()
    await mortal.dies_at(journal_point("record_attempts", 2))
    lost.lift()
    (known,) = mortal.intents()
    assert len(known.attempts) == 1
    firing = await mortal.carry_on()
    assert firing.state is FiringState.DONE
    assert [(nonce, len(found)) for nonce, found in mortal.signed_for().items()] == [(known.nonce, 1)]
    mortal.check()


@pytest.mark.parametrize("arrives", [True, False])
async def test_07_killed_while_cancelling_the_actual_winner_is_reported(mortal: Mortal, arrives: bool) -> None:
    """SIGKILL when the no-op is signed and not sent; afterwards it reaches the node, or the original is mined first."""
    lost = mortal.swallow()
    await mortal.dies_at(journal_point("record_attempts", 2, late=True), prelude=HAND)
    lost.lift()
    (cancelling,) = mortal.intents()
    original, no_op = cancelling.attempts
    assert cancelling.state is IntentState.CANCELLING
    mortal.arrive(original)
    if not arrives:
        mortal.proxy.refuse(SEND, "temporarily out of order")
    firing = await mortal.carry_on()
    (intent,) = mortal.intents()
    if arrives:
        assert (firing.state, intent.state) == (FiringState.FAILED, IntentState.FINAL_CANCELLED)
        assert intent.included_hash != original.hash
        assert "cancelled, finally" in mortal.decisions()
    else:
        assert (firing.state, intent.state) == (FiringState.DONE, IntentState.FINAL_OK)
        assert intent.included_hash == original.hash
        assert "cancelled, finally" not in mortal.decisions()
    assert no_op.hash in {attempt.hash for attempt in intent.attempts}
    mortal.check()


@pytest.mark.parametrize("torn", [1000, 4200])
async def test_08_power_lost_at_the_first_byte_no_signed_row_is_lost(mortal: Mortal, torn: int) -> None:
    """The files as they are when the first byte is on its way, a torn frame at the log's end, its index gone."""
    silence = mortal.proxy.silence(SEND, after=False)
    async with mortal.life() as program:
        mortal.chain.set_price("WETH", "2600")
        mortal.chain.mine()
        await silence.reached.wait()
        mortal.lose_power(torn)
        program.process.kill()
        await program.ended()
    silence.lift()
    (signed,) = mortal.intents()
    (attempt,) = signed.attempts
    assert [one.hash for one in mortal.sent()] == [attempt.hash]
    firing = await mortal.carry_on()
    assert firing.state is FiringState.DONE
    assert {one.hash for one in mortal.sent()} == {attempt.hash}
    mortal.check()
