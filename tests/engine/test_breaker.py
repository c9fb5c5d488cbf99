"""The circuit breaker: what counts, in a row, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import views
from tests.support.clock import FakeClock
from tests.support.firings import BLOCK
from tui.engine.breaker import (
    BETWEEN,
    DRAWING,
    ERROR_SECONDS,
    ERRORS_TO_HOLD,
    REFUSAL_SECONDS,
    REFUSALS_TO_HOLD,
    Breaker,
)
from tui.model.block import BlockRef
from tui.model.plan import Evaluation, Refusal

REFUSED = "simulation-reverted"


def at(number: int, code: str | None, rule: str = "guard", position: str = "p", every: float = 12) -> Evaluation:
    block = BlockRef(number, BLOCK.hash, BLOCK.parent_hash, BLOCK.timestamp + int(number * every), BLOCK.base_fee)
    refused = None if code is None else Refusal(code, "because")
    return Evaluation(rule, position, block, True, "why", None if code else views.plan(), refused)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_000.0)


def test_errors_in_a_row(clock: FakeClock) -> None:
    breaker = Breaker(clock.monotonic, errors=3)

    def failed(trouble: str) -> str | None:
        clock.advance(2)
        return breaker.failed(trouble)

    assert [failed("E"), failed("E")] == [None, None]
    breaker.passed()
    assert [failed("E"), failed("E")] == [None, None]
    assert failed("the last") == "3 unexpected errors in a row, the last: the last."
    breaker.reset()
    assert failed("E") is None


def test_errors_that_come_within_a_moment_hold_nothing_until_they_have_lasted(clock: FakeClock) -> None:
    breaker = Breaker(clock.monotonic)
    for _ in range(10 * ERRORS_TO_HOLD):
        assert breaker.failed("E", DRAWING) is None
    assert "50 unexpected errors in a row; at 5, over 4 s at least, the engine holds itself" in breaker.counting
    clock.advance(ERROR_SECONDS - 0.1)
    assert breaker.failed("E", DRAWING) is None
    clock.advance(0.1)
    assert breaker.failed("E", DRAWING) is not None
    breaker.passed(DRAWING)
    assert breaker.failed("E", DRAWING) is None, "counted from nothing, time included"


def test_looks_a_second_apart_hold_at_the_fifth(clock: FakeClock) -> None:
    breaker = Breaker(clock.monotonic)
    held = []
    for _ in range(ERRORS_TO_HOLD):
        held.append(breaker.failed("E", BETWEEN))
        clock.advance(1)
    assert [why is not None for why in held] == [False] * (ERRORS_TO_HOLD - 1) + [True]


def test_one_bad_block_counts_once_however_often_it_is_taken(clock: FakeClock) -> None:
    breaker = Breaker(clock.monotonic)
    for _ in range(3 * ERRORS_TO_HOLD):
        clock.advance(5)
        assert breaker.failed("E", block=7) is None
    for number in range(8, 7 + ERRORS_TO_HOLD - 1):
        assert breaker.failed("E", block=number) is None
    assert breaker.failed("E", block=7 + ERRORS_TO_HOLD - 1) is not None


def test_refusals_count_distinct_blocks_of_armed_rules(clock: FakeClock) -> None:
    breaker = Breaker(clock.monotonic, refusals=3, seconds=24)
    for _ in range(5):
        assert breaker.judged([at(1, REFUSED)], ["guard"], 1) is None
    assert breaker.judged([at(2, REFUSED), at(2, REFUSED, rule="other")], ["guard"], 2) is None
    why = breaker.judged([at(3, "simulation-disagrees")], ["guard"], 3)
    assert why == "guard: simulation refused it 3 blocks in a row, the last: because."


def test_blocks_of_a_quarter_of_a_second_hold_nothing_before_their_time(clock: FakeClock) -> None:
    breaker = Breaker(clock.monotonic)
    held = [breaker.judged([at(number, REFUSED, every=0.25)], ["guard"], number) for number in range(1, 200)]
    first = next(number for number, why in enumerate(held, start=1) if why is not None)
    assert first * 0.25 >= REFUSAL_SECONDS
    assert first > 10 * REFUSALS_TO_HOLD
    fresh = Breaker(clock.monotonic)
    assert fresh.judged([at(1, REFUSED)], ["guard"], 1) is None
    assert "at 10, over 30 s at least, the engine holds itself" in fresh.counting[0]


def test_what_is_gone_or_disarmed_is_forgotten(clock: FakeClock) -> None:
    breaker = Breaker(clock.monotonic, refusals=2, seconds=0)
    breaker.judged([at(1, REFUSED)], ["guard"], 1)
    breaker.judged([at(2, REFUSED)], [], 2)
    assert breaker.judged([at(3, REFUSED)], ["guard"], 3) is None


@given(
    st.lists(st.sampled_from([REFUSED, "simulation-unavailable", "not-acting", "max-cost", None]), max_size=40),
    st.integers(2, 5),
)
def test_only_simulations_that_refuse_count_and_only_a_success_clears(codes: list[str | None], limit: int) -> None:
    breaker = Breaker(lambda: 0.0, refusals=limit, seconds=0)
    count, tripped = 0, False
    for number, code in enumerate(codes, start=1):
        count = 0 if code is None else count + (code == REFUSED)
        tripped = breaker.judged([at(number, code)], ["guard"], number) is not None
        assert tripped == (code == REFUSED and count >= limit)


def test_what_simulation_refuses_between_two_rounds_holds_no_other_rule(clock: FakeClock) -> None:
    breaker = Breaker(clock.monotonic)
    for number in range(REFUSALS_TO_HOLD * 3):
        assert breaker.judged([replace(at(number, REFUSED), in_rounds=True)], ["guard"], number) is None
    assert breaker.counting == ()
    whys = [breaker.judged([replace(at(n, "signer-refused"), in_rounds=True)], ["guard"], n) for n in range(100, 110)]
    assert whys[-1] is not None
