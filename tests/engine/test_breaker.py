"""The circuit breaker: what counts, in a row, and what does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support import views
from tests.support.firings import BLOCK
from tui.engine.breaker import Breaker
from tui.model.block import BlockRef
from tui.model.plan import Evaluation, Refusal

REFUSED = "simulation-reverted"


def at(number: int, code: str | None, rule: str = "guard", position: str = "p") -> Evaluation:
    block = BlockRef(number, BLOCK.hash, BLOCK.parent_hash, BLOCK.timestamp, BLOCK.base_fee)
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
    breaker = Breaker(refusals=3)
    for _ in range(5):
        assert breaker.judged([at(1, REFUSED)], ["guard"], 1) is None
    assert breaker.judged([at(2, REFUSED), at(2, REFUSED, rule="other")], ["guard"], 2) is None
    why = breaker.judged([at(3, "simulation-disagrees")], ["guard"], 3)
    assert why == "guard: simulation refused it 3 blocks in a row, the last: because."


def test_what_is_gone_or_disarmed_is_forgotten() -> None:
    breaker = Breaker(refusals=2)
    breaker.judged([at(1, REFUSED)], ["guard"], 1)
    breaker.judged([at(2, REFUSED)], [], 2)
    assert breaker.judged([at(3, REFUSED)], ["guard"], 3) is None


@given(
    st.lists(st.sampled_from([REFUSED, "simulation-unavailable", "not-acting: killed", "max-cost", None]), max_size=40),
    st.integers(2, 5),
)
def test_only_simulations_that_refuse_count_and_only_a_success_clears(codes: list[str | None], limit: int) -> None:
    breaker = Breaker(refusals=limit)
    count, tripped = 0, False
    for number, code in enumerate(codes, start=1):
        count = 0 if code is None else count + (code == REFUSED)
        tripped = breaker.judged([at(number, code)], ["guard"], number) is not None
        assert tripped == (code == REFUSED and count >= limit)
