"""Integer searches: the answer is right for every range, turning point and guess, and a good guess is cheap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.risk.search import first_true, last_true

numbers = st.integers(-(10**30), 10**30)


@given(numbers, numbers, numbers, st.none() | numbers)
def test_the_first_true_is_found(low: int, high: int, turn: int, guess: int | None) -> None:
    found = first_true(lambda n: n >= turn, low, high, guess)
    assert found == (max(low, turn) if max(low, turn) <= high else None)


@given(numbers, numbers, numbers, st.none() | numbers)
def test_the_last_true_is_found(low: int, high: int, turn: int, guess: int | None) -> None:
    found = last_true(lambda n: n <= turn, low, high, guess)
    assert found == (min(high, turn) if min(high, turn) >= low else None)


@given(st.integers(0, 10**30), st.integers(-1_000, 1_000))
def test_a_guess_that_is_nearly_right_costs_little(turn: int, error: int) -> None:
    for search, holds in ((first_true, lambda n: n >= turn), (last_true, lambda n: n <= turn)):
        asked = 0

        def counted(n: int, holds=holds) -> bool:  # type: ignore[no-untyped-def]
            nonlocal asked
            asked += 1
            return bool(holds(n))

        assert search(counted, -(10**31), 10**31, turn + error) == turn
        assert asked <= 2 * max(abs(error), 1).bit_length() + 3
