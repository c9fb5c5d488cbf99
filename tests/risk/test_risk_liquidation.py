"""Liquidation prices asked of an adapter, against the adapter's own; distances; the searches over bands."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocols.reference import CASES, position_of
from tui.model.units import WAD
from tui.protocols.aave_v3.market import AaveV3Market
from tui.risk.liquidation import at_level, distance_bps, highest_unsafe, liquidation_price, lowest_unsafe, prices_of

MARKET = AaveV3Market("core", "0x" + "1" * 40)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(range(len(CASES))), st.sampled_from([1, 5, 11]))
def test_the_general_search_agrees_with_the_adapters_own(index: int, revision: int) -> None:
    position = position_of(CASES[index], revision)
    both = {one.asset for one in position.collateral} & {one.asset for one in position.debt}
    sides = [(one, 1) for one in position.collateral if one.counts] + [(one, -1) for one in position.debt]
    for one, safe in sides:
        found = liquidation_price(MARKET, position, [one.asset])
        own = one.liquidation_price_usd
        if one.asset in both or found is None or own is None:
            continue
        if revision == 11:
            assert found == own
        # Where averages are cut to a basis point health can dip under 1 again: the adapter names the outermost dip.
        assert (found - own) * safe <= 0
        at = MARKET.repriced(position, {one.asset.address: found}).health_factor
        assert at is not None
        assert at < WAD


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(range(len(CASES))), st.sampled_from([1, 5, 11]))
def test_at_the_price_unsafe_and_beside_it_safe(index: int, revision: int) -> None:
    position = position_of(CASES[index], revision)
    both = {one.asset for one in position.collateral} & {one.asset for one in position.debt}
    sides = [(one, 1) for one in position.collateral if one.counts] + [(one, -1) for one in position.debt]
    for one, safe in sides:
        price = one.liquidation_price_usd
        if price is None or one.asset in both:
            continue
        at = MARKET.repriced(position, {one.asset.address: price}).health_factor
        assert at is not None
        assert at < WAD
        if price + safe > 0:
            beside = MARKET.repriced(position, {one.asset.address: price + safe}).health_factor
            assert beside is None or beside >= WAD


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(range(len(CASES))), st.sampled_from([5, 11]))
def test_a_group_turns_at_its_level(index: int, revision: int) -> None:
    position = position_of(CASES[index], revision)
    owed = {one.asset for one in position.debt}
    for group in position.groups:
        if owed & set(group.assets):
            continue
        prices = prices_of(position)
        at = MARKET.repriced(position, at_level(prices, group.assets, group.price_usd)).health_factor
        beside = MARKET.repriced(position, at_level(prices, group.assets, group.price_usd + 1)).health_factor
        assert at is not None
        assert at < WAD
        assert beside is None or beside >= WAD


def test_without_a_known_price_there_is_none() -> None:
    position = next(one for one in (position_of(case, 11) for case in CASES) if one.debt and one.collateral)
    asset = position.collateral[0].asset
    assert liquidation_price(MARKET, replace(position, health_factor=None), [asset]) is None
    assert liquidation_price(MARKET, replace(position, unknown="blind"), [asset]) is None
    priceless = replace(position, collateral=(replace(position.collateral[0], price_usd=None),), debt=())
    assert liquidation_price(MARKET, priceless, [asset]) is None


@given(st.integers(1, 10**12), st.integers(0, 10**13))
def test_a_distance_is_never_longer_than_the_way(price: int, liquidation: int) -> None:
    distance = distance_bps(price, liquidation)
    assert abs(distance) * price <= abs(liquidation - price) * 10_000
    assert abs(liquidation - price) * 10_000 < (abs(distance) + 1) * price


def test_a_distance_needs_a_price() -> None:
    assert distance_bps(300_000_000_000, 240_000_000_000) == -2_000
    assert distance_bps(10**8, 124_500_000) == 2_450
    with pytest.raises(ValueError, match="positive"):
        distance_bps(0, 1)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=6), st.data())
def test_no_band_is_overlooked(widths: list[int], data: st.DataObject) -> None:
    """Each band has its own turning point; the highest unsafe price over all of them is found."""
    starts = [1]
    for width in widths:
        starts.append(starts[-1] + width)
    turns = [data.draw(st.integers(start - 1, end - 1)) for start, end in pairwise(starts)]
    end = starts[-1] - 1

    def band(p: int) -> int:
        return sum(start <= p for start in starts[:-1])

    def unsafe(p: int) -> bool:
        return p <= turns[band(p) - 1]

    expected = max((p for p in range(1, end + 1) if unsafe(p)), default=None)
    guess = data.draw(st.integers(-5, end + 5))
    assert highest_unsafe(unsafe, 1, end, lambda _: guess, band) == expected
    mirrored = lowest_unsafe(lambda p: unsafe(end + 1 - p), 1, end, lambda _: guess, lambda p: -band(end + 1 - p))
    assert mirrored == (None if expected is None else end + 1 - expected)
