"""Raised fees are always taken by nodes and never pass the ceiling; a day is the chain's; a cap is a cap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.engine.budget import day_of, refuse_spend
from tui.model.fees import bump, highest_next_base_fee
from tui.model.units import USD

WEI = st.integers(0, 10**13)


@given(WEI, WEI, WEI, WEI)
def test_a_bump_is_taken_by_nodes_and_stays_under_the_ceiling(
    max_fee: int, priority: int, ceiling: int, base: int
) -> None:
    priority = min(priority, max_fee)
    fees = bump(max_fee, priority, ceiling, base)
    if fees is None:
        assert max(-(-max_fee * 9 // 8), max_fee + 1, -(-priority * 9 // 8), priority + 1) > ceiling
        return
    new_max, new_priority = fees
    assert new_priority <= new_max <= ceiling
    assert new_max * 8 >= max_fee * 9
    assert new_priority * 8 >= priority * 9
    assert new_max > max_fee
    assert new_priority > priority
    # Where the ceiling allows, the cap covers the base fee to come and the tip.
    assert new_max >= min(ceiling, base + new_priority)


def test_bumps_end_at_the_ceiling() -> None:
    fees, steps = (10**9, 10**8), 0
    while (raised := bump(*fees, 10**11, 0)) is not None:
        fees, steps = raised, steps + 1
    assert 10**11 * 8 // 9 <= fees[0] <= 10**11
    assert steps == 39


@given(st.integers(0, 10**15), st.integers(1, 10**8))
def test_no_base_fee_rises_faster(base_fee: int, target: int) -> None:
    # EIP-1559: a full block is twice the target.
    rise = max(base_fee * target // target // 8, 1)
    assert base_fee + rise <= highest_next_base_fee(base_fee)


def test_the_day_is_the_chains_own_in_utc() -> None:
    assert day_of(1_700_006_399) == "2023-11-14"
    assert day_of(1_700_006_400) == "2023-11-15"


@given(st.integers(0, 10**14), st.integers(0, 10**14), st.integers(0, 10**14))
def test_a_cap_is_never_passed(spent: int, more: int, cap: int) -> None:
    assert (refuse_spend(spent, more, cap) is None) == (spent + more <= cap)


def test_a_refused_spend_names_the_sums() -> None:
    assert refuse_spend(1, 10**30, None) is None
    words = refuse_spend(900 * USD, 1_200 * USD, 2_000 * USD)
    assert words == "$1,200.00 more would pass the daily limit of $2,000.00: $900.00 are spent today"
