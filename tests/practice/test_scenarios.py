"""Each scenario does what its name says, for every seed, and a seed repeats it exactly."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.practice.errors import PracticeError
from tui.practice.scenarios import (
    CALM_BASE_FEE,
    LEAD_IN_S,
    ONE,
    SCENARIOS,
    PriceDriver,
    Quote,
    factor_at,
    scenario_named,
)

BLOCK_MS = 2000
START = 3000 * 10**8


def play(name: str, seed: int = 1, extra_s: int = 20, block_ms: int = BLOCK_MS) -> list[Quote]:
    scenario = SCENARIOS[name]
    driver = PriceDriver(scenario, seed, block_ms)
    return [driver.next() for _ in range((LEAD_IN_S + scenario.duration_s + extra_s) * 1000 // block_ms)]


def ether(quotes: list[Quote]) -> list[float]:
    """Ether's price as a share of where it began."""
    return [quote.answers["WETH"] / START for quote in quotes]


def at(quotes: list[Quote], seconds: int) -> Quote:
    """The quote ``seconds`` after the scenario began."""
    return quotes[(LEAD_IN_S + seconds) * 1000 // BLOCK_MS - 1]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_lead_in_is_calm(name: str) -> None:
    assert all(abs(share - 1) < 0.01 for share in ether(play(name)[: LEAD_IN_S * 1000 // BLOCK_MS]))


@pytest.mark.parametrize("name", SCENARIOS)
def test_after_the_end_it_goes_on_calmly_at_the_last_price(name: str) -> None:
    quotes = play(name, extra_s=400)
    last = at(quotes, SCENARIOS[name].duration_s).answers
    for quote in quotes[(LEAD_IN_S + SCENARIOS[name].duration_s) * 1000 // BLOCK_MS :]:
        for symbol, answer in quote.answers.items():
            assert answer == pytest.approx(last[symbol], rel=0.02)
        assert quote.pinned is None
        assert quote.seconds == BLOCK_MS // 1000


def test_calm_stays() -> None:
    assert all(abs(share - 1) < 0.01 for share in ether(play("calm", extra_s=1200)))


def test_slide_loses_a_fifth_in_five_minutes() -> None:
    quotes = play("slide")
    assert at(quotes, 150).answers["WETH"] / START == pytest.approx(0.9, abs=0.01)
    assert at(quotes, 300).answers["WETH"] / START == pytest.approx(0.8, abs=0.01)


def test_crash_loses_45_percent_in_three_minutes() -> None:
    quotes = play("crash")
    assert at(quotes, 180).answers["WETH"] / START == pytest.approx(0.55, abs=0.01)
    assert min(ether(quotes)) > 0.54


def test_wick_is_down_a_quarter_and_back_within_half_a_minute() -> None:
    quotes = play("wick")
    assert min(ether(quotes)) == pytest.approx(0.75, abs=0.01)
    assert at(quotes, 30).answers["WETH"] / START == pytest.approx(1.0, abs=0.01)


def test_gas_storm_is_the_crash_with_a_base_fee_twenty_times_as_high() -> None:
    quotes = play("gas-storm", extra_s=120)
    assert at(quotes, 180).answers["WETH"] / START == pytest.approx(0.55, abs=0.01)
    assert max(quote.base_fee for quote in quotes) > 19 * CALM_BASE_FEE
    assert quotes[-1].base_fee < 2 * CALM_BASE_FEE
    for before, after in pairwise(quotes):
        assert abs(after.base_fee - before.base_fee) <= before.base_fee // 8


def test_depeg_lifts_the_dollar_debt_to_108_and_back() -> None:
    quotes = play("depeg")
    dollars = [quote.answers["USDC"] for quote in quotes]
    assert max(dollars) == 108_000_000
    assert dollars[0] == dollars[-1] == 100_000_000
    assert all(abs(share - 1) < 0.01 for share in ether(quotes))


def test_rates_lets_half_a_day_pass_a_second_and_pins_the_debt() -> None:
    quotes = play("rates")
    running = [quote for quote in quotes if quote.pinned]
    assert {quote.pinned for quote in running} == {"USDC"}
    assert {quote.seconds for quote in running} == {86_400}
    assert len(running) * BLOCK_MS // 1000 == SCENARIOS["rates"].duration_s


def test_staked_ether_moves_with_ether_and_bitcoin_follows_at_a_distance() -> None:
    for quote in play("crash"):
        assert quote.answers["wstETH"] * 10 == pytest.approx(quote.answers["WETH"] * 12, rel=1e-6)
    last = at(play("crash"), 180).answers["WBTC"] / (90_000 * 10**8)
    assert last == pytest.approx(1 - 0.45 * 0.7, abs=0.01)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_seed_repeats_a_run_exactly_and_another_does_not(name: str) -> None:
    assert play(name, seed=42) == play(name, seed=42)
    assert play(name, seed=42) != play(name, seed=43)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**64), name=st.sampled_from(sorted(SCENARIOS)), block_ms=st.integers(100, 30_000))
def test_no_seed_leads_astray(seed: int, name: str, block_ms: int) -> None:
    driver = PriceDriver(SCENARIOS[name], seed, block_ms)
    for _ in range(200):
        quote = driver.next()
        assert quote.seconds >= 1
        assert quote.base_fee > 0
        assert quote.answers["WETH"] > START // 2
        for symbol in ("DAI", "USDT"):
            assert quote.answers[symbol] == pytest.approx(10**8, rel=0.005)


@given(st.integers(-10_000, 400_000))
def test_keyframes_join_without_jumps(milliseconds: int) -> None:
    frames = SCENARIOS["crash"].ether
    here, next_ = factor_at(frames, milliseconds), factor_at(frames, milliseconds + 1)
    assert abs(next_ - here) < ONE // 10_000
    assert ONE * 55 // 100 <= here <= ONE


def test_an_unknown_scenario_names_the_known_ones() -> None:
    with pytest.raises(PracticeError) as raised:
        scenario_named("moon")
    assert "crash" in raised.value.mend
