"""The circuit breaker: what counts, in a row, and what does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support import views
from tests.support.firings import BLOCK
from tui.engine.breaker import REFUSAL_SECONDS, REFUSALS_TO_HOLD, Breaker
from tui.model.block import BlockRef
from tui.model.plan import Evaluation, Refusal

REFUSED = "simulation-reverted"


def at(number: int, code: str | None, rule: str = "guard", position: str = "p", every: float = 12) -> Evaluation:
    block = BlockRef(number, BLOCK.hash, BLOCK.parent_hash, BLOCK.timestamp + int(number * every), BLOCK.base_fee)
    refused = None if code is None else Refusal(code, "because")
    return Evaluation(rule, position, block, True, "why", None if code else views.plan(), refused)


def test_errors_in_a_row() -> None:
    breaker = Breaker(errors=3)
    assert [breaker.failed("E"), breaker.failed("E")] == [None, None]
    breaker.passed()
    assert [breaker.failed("E"), breaker.failed("E")] == [None, None]
    assert breaker.failed("the last") == "3 unexpected errors in a row, the last: the last."
    breaker.reset()
    assert breaker.failed("E") is None


def test_refusals_count_distinct_blocks_of_armed_rules() -> None:
    breaker = Breaker(refusals=3, seconds=24)
    for _ in range(5):
        assert breaker.judged([at(1, REFUSED)], ["guard"], 1) is None
    assert breaker.judged([at(2, REFUSED), at(2, REFUSED, rule="other")], ["guard"], 2) is None
    why = breaker.judged([at(3, "simulation-disagrees")], ["guard"], 3)
    assert why == "guard: simulation refused it 3 blocks in a row, the last: because."


def test_blocks_of_a_quarter_of_a_second_hold_nothing_before_their_time() -> None:
    breaker = Breaker()
    held = [breaker.judged([at(number, REFUSED, every=0.25)], ["guard"], number) for number in range(1, 200)]
    first = next(number for number, why in enumerate(held, start=1) if why is not None)
    assert first * 0.25 >= REFUSAL_SECONDS
    assert first > 10 * REFUSALS_TO_HOLD
    fresh = Breaker()
    assert fresh.judged([at(1, REFUSED)], ["guard"], 1) is None
    assert "at 10, over 30 s at least, the engine holds itself" in fresh.counting[0]


def test_what_is_gone_or_disarmed_is_forgotten() -> None:
    breaker = Breaker(refusals=2, seconds=0)
    breaker.judged([at(1, REFUSED)], ["guard"], 1)
    breaker.judged([at(2, REFUSED)], [], 2)
    assert breaker.judged([at(3, REFUSED)], ["guard"], 3) is None


@given(
    st.lists(st.sampled_from([REFUSED, "simulation-unavailable", "not-acting: killed", "max-cost", None]), max_size=40),
    st.integers(2, 5),
)
def test_only_simulations_that_refuse_count_and_only_a_success_clears(codes: list[str | None], limit: int) -> None:
    breaker = Breaker(refusals=limit, seconds=0)
    count, tripped = 0, False
    for number, code in enumerate(codes, start=1):
        count = 0 if code is None else count + (code == REFUSED)
        tripped = breaker.judged([at(number, code)], ["guard"], number) is not None
        assert tripped == (code == REFUSED and count >= limit)
