"""The pure rules of a transaction's life, for every state and every sight of the chain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.firings import BLOCK, GWEI, a_firing, an_attempt, an_intent
from tui.engine.lifecycle import (
    AtCeiling,
    Effect,
    Include,
    Lose,
    Replace,
    Send,
    Settle,
    Short,
    Sight,
    Unmine,
    decide,
    firing_outcome,
    included,
    lost,
    settled,
    unmined,
)
from tui.model.intent import Attempt, AttemptKind, FiringState, Intent, IntentState
from tui.model.transitions import FIRING_TRANSITIONS, INTENT_TRANSITIONS, IllegalTransition, advance
from tui.ports.chain import Receipt

NONCE = 5
OURS = ["0xaa", "0xbb"]


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    """An intent in any state, with one or two attempts from SIGNED on."""
    state = draw(st.sampled_from(IntentState))
    intent = an_intent(a_firing(), NONCE)
    unsigned = state in (IntentState.PLANNED, IntentState.RESERVED, IntentState.DROPPED)
    if not unsigned:
        first = an_attempt(intent, IntentState.SIGNED).attempt
        attempts = [replace(first, hash=OURS[0], block=draw(st.integers(80, 100)))]
        if draw(st.booleans()) or state is IntentState.CANCELLING:
            cancel = state is IntentState.CANCELLING or draw(st.booleans())
            kind = AttemptKind.CANCEL if cancel else AttemptKind.BUMP
            fee = draw(st.sampled_from([12, 50, 99])) * GWEI
            attempts.append(replace(attempts[0], number=1, kind=kind, hash=OURS[1], max_fee=fee, priority_fee=2 * GWEI))
        intent = replace(intent, attempts=tuple(attempts), withheld=draw(st.booleans()))
    intent = replace(intent, state=state, nonce=None if state is IntentState.DROPPED else NONCE)
    if state is IntentState.INCLUDED:
        intent = replace(intent, included_hash=OURS[0], included_block=90, included_block_hash="0x90")
    return intent


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    """Anything the chain may show at block 100."""
    receipt = None
    if draw(st.booleans()):
        number = draw(st.integers(85, 102))
        receipt = Receipt(draw(st.sampled_from(OURS)), number, hex(number), draw(st.booleans()), 21_000, GWEI)
    latest = draw(st.none() | st.integers(NONCE - 2, NONCE + 2))
    final = None if latest is None else draw(st.none() | st.integers(0, latest))
    head = replace(BLOCK, number=100)
    affordable = draw(st.none() | st.integers(0, 120).map(lambda gwei: gwei * GWEI))
    may_send, unpaid = draw(st.booleans()), draw(st.booleans())
    confirmations = draw(st.integers(1, 10))
    return Sight(head, confirmations, receipt, latest, final, may_send, affordable=affordable, unpaid=unpaid)


def kinds(effects: tuple[Effect, ...]) -> set[type]:
    return {type(effect) for effect in effects}


@given(intents(), sights())
def test_what_is_done_is_what_may_be_done(intent: Intent, sight: Sight) -> None:
    effects = decide(intent, sight)
    done = kinds(effects)
    cancelling = any(attempt.kind is AttemptKind.CANCEL for attempt in intent.attempts)
    if intent.state.is_final or not intent.attempts:
        assert effects == ()
        return
    if sight.receipt is not None:
        assert done <= {Include, Settle}
        assert (Settle in done) == (100 - sight.receipt.block_number + 1 >= sight.confirmations)
        known = (intent.included_hash, intent.included_block_hash) == (sight.receipt.hash, sight.receipt.block_hash)
        assert (Include in done) == (not known)
        return
    assert done <= {Unmine, Lose, Send, Replace, AtCeiling, Short}
    assert Short not in done or (sight.affordable is not None and not sight.unpaid)
    assert (Unmine in done) == (intent.state is IntentState.INCLUDED)
    if Lose in done:
        assert sight.nonce_final is not None
        assert sight.nonce_final > NONCE
    pushed = bool(done & {Send, Replace})
    if pushed:
        assert sight.nonce_latest is not None
        assert sight.nonce_latest <= NONCE
        assert Lose not in done
        assert cancelling or (sight.may_send and not intent.withheld)
    elif sight.nonce_latest is not None and sight.nonce_latest <= NONCE and sight.may_send and not intent.withheld:
        pytest.fail("left alone although it may be sent")
    for effect in effects:
        if isinstance(effect, Replace):
            latest = intent.attempts[-1]
            assert latest.max_fee < effect.max_fee <= intent.fee_ceiling
            assert 100 - latest.block >= sight.bump_after
            assert sight.affordable is None or effect.max_fee <= sight.affordable
            assert not sight.unpaid
        if isinstance(effect, Send):
            assert effect.attempt is intent.attempts[-1]


@pytest.mark.parametrize(
    ("affordable", "effects", "raised"),
    [
        (None, (Replace,), 13.5 * GWEI + 1),
        (14, (Replace,), 13.5 * GWEI + 1),
        (13.4, (Short, Replace), 13.4 * GWEI),
        (12, (Short, Send), None),  # enough of a raise, and not over the base fee
        (11, (Short, Send), None),  # no raise that nodes would take
        (0, (Short, Send), None),
    ],
)
def test_it_is_raised_as_far_as_it_can_be_paid(
    affordable: float | None, effects: tuple[type, ...], raised: float | None
) -> None:
    """Ten gwei are offered, and a base fee of twelve may be 13.5 in the next block; the tip is nothing."""
    intent = an_intent(a_firing(), NONCE)
    first = replace(an_attempt(intent, IntentState.SIGNED).attempt, priority_fee=0, block=97)
    intent = replace(intent, state=IntentState.MAYBE_SENT, attempts=(first,))
    head = replace(BLOCK, number=100, base_fee=12 * GWEI)
    wei = None if affordable is None else int(affordable * GWEI)
    found = decide(intent, Sight(head, 2, None, NONCE, None, True, affordable=wei))
    assert tuple(type(one) for one in found) == effects
    assert [one.max_fee for one in found if isinstance(one, Replace)] == ([] if raised is None else [raised])
    assert decide(intent, Sight(head, 2, None, NONCE, None, True, affordable=wei, unpaid=True)) == (Send(first),)


@given(intents(), sights())
def test_every_effect_leads_to_a_state_that_may_follow(intent: Intent, sight: Sight) -> None:
    intent = replace(intent, state=IntentState.MAYBE_SENT) if intent.state is IntentState.SIGNED else intent
    if intent.state is IntentState.MAYBE_SENT and any(one.kind is AttemptKind.CANCEL for one in intent.attempts):
        intent = replace(intent, state=IntentState.CANCELLING)
    nonce, attempts = intent.nonce, intent.attempts
    for effect in decide(intent, sight):
        match effect:
            case Include(receipt):
                if receipt.hash not in [attempt.hash for attempt in attempts]:
                    return
                intent = included(intent, receipt)
                assert intent.gas_paid_wei == receipt.gas_used * receipt.gas_price
            case Settle(receipt):
                if receipt.hash not in [attempt.hash for attempt in attempts]:
                    return
                intent = settled(intent, receipt)
                winner = next(attempt for attempt in attempts if attempt.hash == receipt.hash)
                assert (intent.state is IntentState.FINAL_CANCELLED) == (winner.kind is AttemptKind.CANCEL)
            case Unmine():
                intent = unmined(intent)
                assert (intent.included_hash, intent.gas_paid_wei) == (None, None)
            case Lose():
                intent = lost(intent)
        assert (intent.nonce, intent.attempts) == (nonce, attempts)


def test_no_state_follows_a_final_one_and_each_can_be_left() -> None:
    assert set(INTENT_TRANSITIONS) == set(IntentState)
    assert set(FIRING_TRANSITIONS) == set(FiringState)
    for state, after in INTENT_TRANSITIONS.items():
        assert state.is_final == (after == frozenset())
    signed = {IntentState.SIGNED, IntentState.MAYBE_SENT, IntentState.CANCELLING, IntentState.INCLUDED}
    for state in signed:
        assert IntentState.DROPPED not in INTENT_TRANSITIONS[state]
        assert IntentState.RESERVED not in INTENT_TRANSITIONS[state]
    with pytest.raises(IllegalTransition):
        advance(an_intent(a_firing(), NONCE), IntentState.MAYBE_SENT)


@given(st.lists(st.sampled_from(IntentState), max_size=4))
def test_a_firing_ends_when_all_that_was_signed_has(states: list[IntentState]) -> None:
    made = [replace(an_intent(a_firing(), NONCE), state=state) for state in states]
    outcome = firing_outcome(made)
    counted = [state for state in states if state is not IntentState.DROPPED]
    if IntentState.NONCE_LOST in counted:
        assert outcome is FiringState.HALTED
    elif not counted or not all(state.is_final for state in counted):
        assert outcome is None
    else:
        assert outcome is (FiringState.DONE if set(counted) == {IntentState.FINAL_OK} else FiringState.FAILED)


def test_gas_of_a_transaction_without_a_receipt_is_not_known() -> None:
    firing = a_firing()
    sent = Attempt(1, AttemptKind.ORIGINAL, "0x" + "aa" * 32, b"", 1, 1, 0.0)
    known = replace(an_intent(firing, 1), state=IntentState.FINAL_OK, attempts=(sent,), gas_paid_wei=5)
    lost = replace(an_intent(firing, 2, 1), state=IntentState.NONCE_LOST, attempts=(sent,))
    unsigned = replace(an_intent(firing, 3, 2), state=IntentState.DROPPED)
    assert replace(firing, intents=(known, unsigned)).gas_paid_wei == 5
    assert replace(firing, intents=(known, lost, unsigned)).gas_paid_wei is None
    assert firing.gas_paid_wei == 0
