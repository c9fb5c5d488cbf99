"""The modelled probability against the textbook's function and against walks; the health at which a cost pays."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.model.position import Asset
from tui.model.units import BPS, USD, WAD
from tui.risk.probability import (
    CORRELATED_BPS,
    DOLLARS_BPS,
    HORIZON,
    VOLATILITY_BPS,
    expected_loss,
    health_worth_acting,
    liquidation_probability,
    volatility_between,
)

DAY = 86_400
EMERGENCY = 105 * WAD // 100
healths = st.integers(WAD // 2, 20 * WAD)
volatilities = st.integers(50, 40_000)
horizons = st.integers(3_600, 400 * DAY)


@given(healths, volatilities, horizons)
def test_it_is_the_complementary_error_function(health: int, volatility: int, horizon: int) -> None:
    found = liquidation_probability(health, volatility, horizon)
    if health <= WAD:
        assert found == WAD
        return
    deviations = math.log(health / WAD) / (volatility / BPS * math.sqrt(horizon / (365 * DAY)))
    assert found / WAD == pytest.approx(math.erfc(deviations / math.sqrt(2)), rel=1e-6, abs=2e-18)
    assert 1 <= found <= WAD


def test_figures_that_must_not_change() -> None:
    assert liquidation_probability(11 * WAD // 10) == 389_627_195_858_833_788
    assert liquidation_probability(15 * WAD // 10) == 252_382_630_810_456
    assert liquidation_probability(102 * WAD // 100, DOLLARS_BPS) == 4_237_801_232_916_252
    assert liquidation_probability(100 * WAD) == 1
    assert liquidation_probability(WAD) == liquidation_probability(0) == WAD


@given(healths, st.integers(0, WAD), volatilities, st.integers(0, 5_000), horizons)
def test_nearer_wilder_or_longer_is_likelier(
    health: int, more: int, volatility: int, wilder: int, horizon: int
) -> None:
    now = liquidation_probability(health, volatility, horizon)
    assert liquidation_probability(health + more, volatility, horizon) <= now
    assert liquidation_probability(health, volatility + wilder, horizon) >= now
    assert liquidation_probability(health, volatility, horizon + DAY) >= now


def test_walks_end_there_as_often_as_it_says() -> None:
    rng, walks, steps = random.Random(5), 3_000, 400
    step = 0.8 * math.sqrt(HORIZON / (365 * DAY) / steps)
    reached = 0
    for _ in range(walks):
        level = math.log(1.1)
        for _ in range(steps):
            level += rng.gauss(0, step)
            if level <= 0:
                reached += 1
                break
    # Seen only at its steps a walk misses a few passages (a shift of 0.58 steps), hence the one-sided room.
    told = liquidation_probability(11 * WAD // 10) / WAD
    assert told - 0.05 < reached / walks < told + 0.02


@pytest.mark.parametrize("bad", [(0, 1), (1, 0), (-1, 1)])
def test_no_time_and_no_movement_are_refused(bad: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        liquidation_probability(2 * WAD, *bad)


def test_what_moves_together_is_calmer() -> None:
    weth, wsteth, usdc, dai, odd = (Asset("0x", one, 18) for one in ("WETH", "wstETH", "USDC", "DAI", "ODD"))
    assert volatility_between([wsteth], [weth]) == CORRELATED_BPS
    assert volatility_between([dai], [usdc]) == DOLLARS_BPS
    assert volatility_between([weth], [usdc]) == VOLATILITY_BPS
    assert volatility_between([wsteth, dai], [weth]) == VOLATILITY_BPS
    assert volatility_between([odd], [odd]) == VOLATILITY_BPS
    assert volatility_between([], []) == VOLATILITY_BPS


@settings(max_examples=60)
@given(st.integers(1, 2_000 * USD), st.integers(1, 5_000 * USD), st.integers(1, BPS), volatilities)
def test_the_health_at_which_a_cost_pays(cost: int, loss: int, share: int, volatility: int) -> None:
    at = health_worth_acting(cost, loss, share, volatility, EMERGENCY)
    if cost > loss:
        assert at is None
        return
    assert at is not None
    assert at >= EMERGENCY
    if at > EMERGENCY:
        assert cost * BPS <= expected_loss(loss, at, volatility) * share
    above = at + WAD // 10_000
    assert cost * BPS > expected_loss(loss, above, volatility) * share or at == 1_000 * WAD


def test_a_loss_is_rounded_against_waiting() -> None:
    assert expected_loss(100 * USD, WAD, VOLATILITY_BPS) == 100 * USD
    assert expected_loss(1, 100 * WAD, VOLATILITY_BPS) == 1
    assert expected_loss(0, 100 * WAD, VOLATILITY_BPS) == 0
