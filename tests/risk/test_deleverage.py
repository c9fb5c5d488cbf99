"""Sizing a sale: the closed form against what another's code sizes, the search against brute force."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tui.model.impossible import ActionImpossible
from tui.model.units import BPS, UINT256_MAX, WAD
from tui.risk.deleverage import (
    SaleCurve,
    SaleSize,
    feasible,
    kept_share,
    sale_value,
    size_deleverage,
    with_premium,
)

_FILE = Path(__file__).parents[1] / "data" / "rebalance_ref.json.gz"
CASES: list[dict[str, Any]] = json.loads(gzip.decompress(_FILE.read_bytes()))["cases"]
UNIT = 10**30


def _wad(text: str) -> int:
    return int(Decimal(text) * WAD)


def _kept(case: dict[str, Any]) -> int:
    """Of a share that is also lost in the pool's fee: (1 - slippage) * (1 - fee), then the premium."""
    loss = 1 - (1 - Decimal(case["slippage"])) * (1 - Decimal(case["swap_fee"]))
    return kept_share(int(loss * WAD), int(Decimal(case["flash_fee"]) * BPS))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_closed_form_is_what_others_compute(case: dict[str, Any]) -> None:
    values = [int(Decimal(amount) * Decimal(price) * UNIT) for amount, price, *_ in case["supplied"]]
    weighted = sum(value * _wad(row[2]) for value, row in zip(values, case["supplied"], strict=True))
    debts = [int(Decimal(amount) * Decimal(price) * UNIT) for amount, price, _ in case["borrowed"]]
    debt, target, kept = sum(debts), _wad(case["target"]), _kept(case)
    assert weighted / debt / WAD == pytest.approx(float(case["before"]), rel=1e-12)
    (at,) = (index for index, row in enumerate(case["supplied"]) if row[3])
    (owed,) = (value for value, row in zip(debts, case["borrowed"], strict=True) if row[2])
    threshold = _wad(case["supplied"][at][2])
    sold = sale_value(weighted, debt, target, threshold, kept)
    possible = sold is not None and sold <= values[at] and sold * kept // WAD <= owed
    if case["sold"] is not None:
        assert possible
        assert sold is not None
        told = Decimal(case["sold"]) * Decimal(case["supplied"][at][1])
        assert float(Decimal(sold) / UNIT / told) == pytest.approx(1, rel=1e-12)
    else:
        assert not possible
        most = min(values[at], owed * WAD // kept)
        limit = Fraction(weighted - most * threshold, (debt - most * kept // WAD) * WAD)
        assert float(limit) == pytest.approx(float(case["at_limit"]), rel=1e-5)  # they stop a millionth short of it


@given(
    st.integers(1, 10**18),
    st.integers(1, 10**18),
    st.integers(WAD, 3 * WAD),
    st.integers(0, WAD),
    st.integers(0, WAD // 2),
    st.integers(0, 100),
)
def test_the_closed_form_reaches_and_nothing_less_does(
    collateral: int, debt: int, target: int, threshold: int, loss: int, premium: int
) -> None:
    weighted, kept = collateral * threshold, kept_share(loss, premium)
    sold = sale_value(weighted, debt, target, threshold, kept)
    if target * debt <= weighted:
        assert sold == 0
        return
    if not feasible(target, threshold, kept):
        assert sold is None
        # Selling makes it no better, however much.
        assert (weighted - 10**6 * threshold) * WAD - target * (debt * WAD - 10**6 * kept) <= (
            weighted - target * debt
        ) * WAD
        return
    assert sold is not None

    def over(value: int) -> int:
        """Sign of health - target after a sale, cross-multiplied: exact."""
        return (weighted - value * threshold) * WAD - target * (debt * WAD - value * kept)

    assert over(sold) >= 0
    assert over(sold - 1) < 0


def test_what_is_kept() -> None:
    assert kept_share(0) == WAD
    assert kept_share(WAD // 100) == 99 * WAD // 100
    assert kept_share(0, 5) == WAD * 10_000 // 10_005
    assert kept_share(WAD) == kept_share(2 * WAD) == 0
    assert not feasible(11 * WAD // 10, WAD, 9 * WAD // 10)
    assert feasible(15 * WAD // 10, 83 * WAD // 100, 99 * WAD // 100)


def test_a_premium_is_never_less_than_the_pools() -> None:
    for amount in (1, 999, 1_000, 10**6 + 1, 10**18):
        assert with_premium(amount, 5) >= amount + -(-amount * 5 // BPS)
        assert with_premium(amount, 0) == amount


# -- curves


def test_between_quotes_a_curve_is_dearer_than_the_pool() -> None:
    def pool(out: int) -> int:
        return -(-(10**24) * out // (10**24 - out))

    curve = SaleCurve.through((out, pool(out)) for out in (10**22, 10**21, 5 * 10**21))
    for out in range(10**20, 10**22 + 1, 10**20):
        sold = curve.sold_for(out)
        assert sold is not None
        assert sold >= pool(out)
        assert sold <= pool(out) * 102 // 100
    assert curve.sold_for(10**22 + 1) is None
    assert curve.sold_for(0) == 0
    assert curve.sold_for(10**21) == pool(10**21)
    assert SaleCurve.through(()).sold_for(1) is None
    with pytest.raises(ValueError, match="contradict"):
        SaleCurve.through([(1, 5), (2, 4)])
    with pytest.raises(ValueError, match="contradict"):
        SaleCurve.through([(1, 5), (1, 6)])


# -- the search, on small markets where every amount can be tried


def _market(collateral: int, debt: int, threshold: int, depth: int, fee: int) -> tuple[Any, Any]:
    """Health and cost of a market of whole units at equal prices with one pool of x*y = k."""

    def sold_for(repaid: int) -> int | None:
        return None if repaid >= depth else -(-depth * repaid * (10_000 + fee) // ((depth - repaid) * 10_000))

    def health_after(repaid: int, sold: int) -> int | None:
        if sold > collateral or repaid > debt:
            raise ActionImpossible("more than there is")
        return None if repaid == debt else (collateral - sold) * threshold * WAD // BPS // (debt - repaid)

    return health_after, sold_for


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(0, 10_000),
    st.integers(1, 5_000),
    st.integers(0, 500),
    st.integers(WAD, 3 * WAD),
    st.integers(0, 500),
)
def test_the_search_finds_the_smallest(
    collateral: int, debt: int, threshold: int, depth: int, fee: int, target: int, guess: int
) -> None:
    health_after, sold_for = _market(collateral, debt, threshold, depth, fee)

    def health(repaid: int) -> int:
        sold = sold_for(repaid)
        if sold is None:
            return -1
        try:
            found = health_after(repaid, sold)
        except ActionImpossible:
            return -1
        return UINT256_MAX if found is None else int(found)

    every = [health(repaid) for repaid in range(debt + 1)]
    found = size_deleverage(health_after, sold_for, debt, target, guess)
    assert found.health == every[found.repaid]
    assert found.reaches == (found.health >= target)
    if found.reaches:
        assert found.repaid == 0 or every[found.repaid - 1] < target
    if found.repaid:
        assert found.sold == sold_for(found.repaid)
    # Whole units make health jump about on small numbers: what is one stretch there is one in the search too.
    reaching = [repaid for repaid, one in enumerate(every) if one >= target]
    assume(reaching == list(range(reaching[0], reaching[-1] + 1)) if reaching else True)
    if len(reaching) > max(8, debt // 8):
        assert found.reaches
        assert found.repaid == reaching[0]
    if not reaching:
        assert not found.reaches


@settings(max_examples=60)
@given(
    st.integers(10**20, 10**26),
    st.integers(101, 140),
    st.integers(5_000, 9_500),
    st.integers(0, 100),
    st.integers(10, 1_000),
    st.integers(0, 300),
)
def test_on_real_sizes_it_is_quick_and_exact(
    debt: int, now: int, threshold: int, fee: int, depth: int, more: int
) -> None:
    collateral = debt * now * BPS // (threshold * 100)
    target = (now + 1 + more) * WAD // 100
    health_after, sold_for = _market(collateral, debt, threshold, debt * depth // 10, fee)
    asked = 0

    def counted(repaid: int, sold: int) -> int | None:
        nonlocal asked
        asked += 1
        found: int | None = health_after(repaid, sold)
        return found

    value = sale_value(collateral * threshold, debt, target * BPS // WAD, threshold, kept_share(fee * WAD // BPS))
    guess = debt if value is None else min(value, debt)
    found = size_deleverage(counted, sold_for, debt, target, guess)
    if found.reaches:
        before = found.repaid - 1
        assert (health_after(before, sold_for(before)) or UINT256_MAX) < target
        assert found.health < UINT256_MAX or found.repaid == debt
        assert asked < 100  # 128 bits of range; 81 is the worst that was found
    else:
        # The true top, by calculus on the smooth curve: nothing above it is missed by more than a rounding.
        best = max(_try(health_after, sold_for, debt * step // 200) for step in range(201))
        assert best < target or best - found.health < WAD // 10**4


@settings(max_examples=60)
@given(st.integers(10**20, 10**26), st.integers(101, 140), st.integers(5_000, 9_500), st.integers(10, 1_000))
def test_what_hardly_passes_the_target_is_found_in_a_few_questions(
    debt: int, now: int, threshold: int, depth: int
) -> None:
    collateral = debt * now * BPS // (threshold * 100)
    target = (now + 20) * WAD // 100
    health_after, sold_for = _market(collateral, debt, threshold, debt * depth // 10, 5)
    asked = 0

    def counted(repaid: int, sold: int) -> int | None:
        nonlocal asked
        asked += 1
        found: int | None = health_after(repaid, sold)
        return found

    value = sale_value(collateral * threshold, debt, target * BPS // WAD, threshold, kept_share(5 * WAD // BPS))
    guess = debt if value is None else min(value, debt)
    slack = target // 5_000
    found = size_deleverage(counted, sold_for, debt, target, guess, slack)
    exact = size_deleverage(health_after, sold_for, debt, target, guess)
    assert found.reaches == exact.reaches
    if found.reaches:
        assert target <= found.health <= target + slack
        assert asked <= 16


def _try(health_after: Any, sold_for: Any, repaid: int) -> int:
    sold = sold_for(repaid)
    if sold is None:
        return -1
    try:
        return int(health_after(repaid, sold) or UINT256_MAX)
    except ActionImpossible:
        return -1


def test_a_target_that_is_met_asks_for_nothing() -> None:
    found = size_deleverage(lambda repaid, sold: 2 * WAD, lambda repaid: repaid, 100, 2 * WAD, 50)
    assert found == SaleSize(0, 0, 2 * WAD, True)


def test_where_nothing_can_be_sold_nothing_is() -> None:
    found = size_deleverage(lambda repaid, sold: WAD, lambda repaid: None, 100, 2 * WAD, 50)
    assert found == SaleSize(0, 0, WAD, False)
