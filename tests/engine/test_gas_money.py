"""What an account can pay for, and what it lacks: all that it has waiting is counted together, as nodes count it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.conftest import Bench
from tests.support.firings import ACCOUNT, BLOCK, GWEI, a_firing, an_attempt, an_intent
from tui.engine.gas_money import GasMoney, affordable_together, read_gas_money
from tui.engine.sending import CANCEL_GAS
from tui.model.intent import AttemptKind, Intent, IntentState

HEAD = replace(BLOCK, base_fee=16 * GWEI)
"""The next base fee is 18 gwei at the most: with a tip of 1.125 gwei an attempt wants 19.125."""
WANTED = 19_125_000_000


def waiting(place: int, max_fee: int = 10 * GWEI, value: int = 0, kinds: tuple[AttemptKind, ...] = ()) -> Intent:
    """An intent of 100,000 gas at the most, sent with one attempt, and further ones of `kinds` at the same fee."""
    intent = replace(an_intent(a_firing(), 5 + place, place), value=value)
    for kind in (AttemptKind.ORIGINAL, *kinds):
        attempt = an_attempt(intent, IntentState.MAYBE_SENT, kind, max_fee).attempt
        intent = replace(intent, state=IntentState.MAYBE_SENT, attempts=(*intent.attempts, attempt))
    return intent


def test_what_one_may_offer_is_what_the_others_leave() -> None:
    first, second = waiting(0), waiting(1, value=10**16)
    money = GasMoney(ACCOUNT, 10**16 + 300_000 * 10 * GWEI, (first, second), CANCEL_GAS)
    assert money.affordable(first) == 20 * GWEI
    assert money.affordable(second) == 20 * GWEI
    assert replace(money, balance=10**15).affordable(second) == 0, "less than nothing is nothing"
    alone = replace(money, waiting=(first,), balance=10**16)
    assert alone.affordable(first) == 100 * GWEI
    assert alone.affordable(first, cancel=True) == 10**16 // CANCEL_GAS


def test_a_no_op_takes_its_own_gas_and_no_value() -> None:
    closing = waiting(0, value=10**18, kinds=(AttemptKind.CANCEL,))
    money = GasMoney(ACCOUNT, 10**15, (closing,), 2 * CANCEL_GAS)
    assert money.cost(closing, GWEI) == 2 * CANCEL_GAS * GWEI
    assert money.affordable(closing) == 10**15 // (2 * CANCEL_GAS)
    assert money.missing(HEAD) == 0


def test_what_is_missing_is_enough_to_raise_all_and_no_more_than_their_rules_allow() -> None:
    both = (waiting(0), waiting(1, value=10**16))
    money = GasMoney(ACCOUNT, 10**16 + 200_000 * 10 * GWEI, both, CANCEL_GAS)
    assert money.missing(HEAD) == 200_000 * (WANTED - 10 * GWEI)
    assert money.missing_at_most == 200_000 * 90 * GWEI
    richer = replace(money, balance=money.balance + money.missing(HEAD))
    assert richer.missing(HEAD) == 0
    raised = replace(both[0], attempts=(replace(both[0].attempts[0], max_fee=WANTED),))
    assert replace(richer, waiting=(raised, both[1])).affordable(both[1]) == WANTED, "one after the other"


@given(st.lists(st.integers(1, 100), min_size=1, max_size=4), st.integers(0, 10**17))
def test_whoever_is_raised_to_what_is_affordable_takes_nothing_from_the_others(fees: list[int], balance: int) -> None:
    intents = tuple(waiting(place, fee * GWEI) for place, fee in enumerate(fees))
    money = GasMoney(ACCOUNT, balance, intents, CANCEL_GAS)
    for intent in intents:
        most = money.affordable(intent)
        others = sum(money.cost(one, one.attempts[-1].max_fee) for one in intents if one is not intent)
        assert most == 0 or money.cost(intent, most) + others <= balance


@pytest.mark.parametrize("down", [True, False])
async def test_what_waits_is_of_the_record_and_a_balance_that_cannot_be_read_is_not_nothing(
    bench: Bench, down: bool
) -> None:
    firing = await bench.run()
    bench.chain.down, bench.chain.money = down, 5 * 10**15
    money = await read_gas_money(bench.journal, bench.chain, bench.intent(firing))
    together = await affordable_together(bench.journal, bench.chain, bench.firing(firing).intents)
    if down:
        assert (money, together) == (None, None)
        return
    assert money is not None
    assert money.waiting == bench.firing(firing).intents
    assert together == (5 * 10**15 - 2 * 100_000 * 10 * GWEI) // 200_000
    bench.chain.mine(2)
    await bench.head()
    after = await read_gas_money(bench.journal, bench.chain, bench.intent(firing))
    assert after is not None
    assert after.waiting == (), "what is mined is paid"


async def test_what_is_withheld_takes_no_money_from_what_goes_out(bench: Bench) -> None:
    firing = await bench.run(calls=1)
    intent = bench.intent(firing)
    bench.journal.save_intents([(intent, replace(intent, withheld=True))])
    money = await read_gas_money(bench.journal, bench.chain, bench.intent(firing))
    assert money is not None
    assert money.waiting == ()
