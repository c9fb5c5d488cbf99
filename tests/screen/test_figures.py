"""Numbers on screen are cut, never rounded towards comfort, and what is unknown is never zero."""

from __future__ import annotations

from datetime import UTC
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.model.units import USD, WAD
from tui.screen import figures


def number(text: str) -> Fraction:
    """A shown number back as a number."""
    return Fraction(text.replace("$", "").replace(",", "").replace(figures.MINUS, "-").replace("%", ""))


@given(st.integers(0, 999 * WAD))
def test_health_is_never_shown_higher_than_it_is(value: int) -> None:
    shown = number(figures.health(value))
    assert shown <= Fraction(value, WAD)
    assert Fraction(value, WAD) - shown < Fraction(1, 100)


def test_health_a_wei_under_one_is_not_one() -> None:
    assert figures.health(WAD - 1) == "0.9999"
    assert figures.health(WAD) == "1.0000"
    assert figures.health(10**9 * WAD) == ">999"


@given(st.integers(1, 10**20))
def test_dollars_are_cut_to_cents(value: int) -> None:
    shown = figures.dollars(value)
    if value < USD // 100:
        assert shown == "<$0.01"
    else:
        assert number(shown) == Fraction(value * 100 // USD, 100)


@given(st.integers(0, 10**30), st.integers(0, 24))
def test_an_amount_is_cut_and_never_a_false_zero(value: int, decimals: int) -> None:
    shown = figures.amount(value, decimals)
    if shown.startswith("<"):
        assert value > 0
        assert Fraction(value, 10**decimals) < number(shown[1:])
    else:
        assert number(shown) <= Fraction(value, 10**decimals)
        assert (number(shown) == 0) == (value == 0)


@given(st.integers(1, 10**14), st.integers(0, 10**14))
def test_a_distance_is_never_further_than_it_is(now: int, there: int) -> None:
    bps = figures.distance_bps(now, there)
    assert bps is not None
    assert abs(bps) * now <= abs(there - now) * 10_000
    assert bps == 0 or (bps > 0) == (there > now)


def test_unknown_is_a_word() -> None:
    assert figures.dollars(None) == figures.price(None) == figures.percent(None) == figures.distance(None) == "unknown"
    assert figures.dollars_short(None) == "unknown"
    assert figures.distance_bps(None, 5) is None
    assert figures.distance_bps(5, None) is None


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.price(301_244_000_000), "$3,012.44"),
        (figures.price(99_990_000), "$0.9999"),
        (figures.price(1_234), "$0.00001234"),
        (figures.dollars_short(3_157_639_608_000), "$31,576"),
        (figures.dollars_short(123_456_789 * USD), "$123.45M"),
        (figures.dollars_short(-5 * USD), "−$5.00"),
        (figures.distance(-1532), "−15.32%"),
        (figures.distance(1809), "+18.09%"),
        (figures.distance(-7), "−0.07%"),
        (figures.percent(-21_700_000_000_000_000), "−2.17%"),
        (figures.threshold(830_000_000_000_000_000), "83%"),
        (figures.threshold(825_000_000_000_000_000), "82.5%"),
        (figures.gwei(12_340_000_000), "12.3 gwei"),
        (figures.gwei(1), "<0.01 gwei"),
        (figures.gwei(0), "0 gwei"),
        (figures.gwei(2_400_000_000_000), "2,400 gwei"),
        (figures.age(58.9), "58 s"),
        (figures.age(200), "3 min"),
        (figures.age(7500), "2 h 05 min"),
        (figures.age(4 * 86400), "4 d"),
        (figures.age(-3), "0 s"),
        (figures.horizon(139_000_000), "4 years"),
        (figures.horizon(50 * 86400), "50 days"),
        (figures.countdown(65.9), "1:05"),
        (figures.countdown(-1), "0:00"),
        (figures.ratio(1_500_000_000_000_000_000), "1.50"),
        (figures.ratio(1_275_500_000_000_000_000), "1.2755"),
        (figures.time_of_day(1_790_000_000, UTC), "14:13:20"),
    ],
)
def test_figures(shown: str, expected: str) -> None:
    assert shown == expected
