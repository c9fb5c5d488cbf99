"""The rules of 3.7 and the yields, against others: its health calculation run on a node, and yields told elsewhere."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.protocols.reference import CASES, LIQUIDATIONS, raw_of, state_of
from tui.model.position import Asset
from tui.model.units import RAY, UINT256_MAX
from tui.protocols.aave_v3.health import Figures, figures, lines_of
from tui.protocols.aave_v3.liquidation import liquidation_penalty
from tui.protocols.aave_v3.math import apy, compounded_interest, compounded_interest_since_3_4
from tui.protocols.aave_v3.rules import V3_2, V3_7, rules_of
from tui.protocols.aave_v3.state import market_state


def _figures(case: dict[str, Any], revision: int) -> Figures:
    market, account = state_of(case, revision)
    return figures(market.rules, lines_of(market, account))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_health_by_the_newest_rules(case: dict[str, Any]) -> None:
    ours = _figures(case, 11)
    collateral, debt, _, threshold, ltv, health = case["answer"]
    assert (ours.collateral, ours.debt, ours.threshold, ours.ltv) == (collateral, debt, threshold, ltv)
    assert (UINT256_MAX if ours.health_factor is None else ours.health_factor) == health


def test_the_rules_differ_where_it_shows() -> None:
    """Older rules give other answers on many of these: the comparison can tell them apart."""
    differ = sum(_figures(case, 5) != _figures(case, 11) for case in CASES)
    assert differ > len(CASES) // 3


def test_an_unknown_revision_gets_the_newest_rules() -> None:
    assert rules_of(10**6) is V3_7
    assert rules_of(5) is V3_2


def test_yields_are_those_of_others() -> None:
    compared = 0
    for case in CASES:
        for row in case["reserves"]:
            for rate, told in ((row[7], row[15]), (row[9], row[16])):
                ours = apy(rate)
                assert ours is not None
                assert abs(Decimal(ours) / 10**18 - Decimal(told)) < Decimal("1e-15")
                compared += 1
    assert compared > 1_000


def test_what_cannot_be_a_rate_has_no_yield() -> None:
    assert apy(0) == 0
    assert apy(10**40) is None


def test_interest_series_agree_but_for_rounding() -> None:
    for rate in (RAY // 100, RAY // 20, RAY // 2):
        for seconds in (1, 2, 3, 3_600, 86_400 * 30):
            old, new = compounded_interest(rate, seconds), compounded_interest_since_3_4(rate, seconds)
            assert abs(old - new) < RAY // 10**7
            assert new > RAY


def test_a_symbol_is_made_fit_to_be_shown() -> None:
    case = CASES[0]
    raw = raw_of(case, 11)
    for symbol, length, shown in (
        (b"\x1b[31mRED\x1b[0m", 12, "[31mRED[0m"),
        (b"[bold]X[/bold]", 14, "[bold]X[/bold]"),
        ("‮ETH".encode(), 6, "ETH"),
        (b"A" * 32, 10_000, "A" * 32 + "…"),
        (b"\xff\xfe", 2, "��"),
        (b"", 0, "0x0000…0001"),
        (b"\x00\x01", 2, "0x0000…0001"),
    ):
        reserve = raw.reserves[0]
        hostile = replace(
            raw,
            reserves=(replace(reserve, asset=f"0x{1:040x}", symbol=symbol.ljust(32, b"\0"), symbol_length=length),),
        )
        (one,) = market_state(hostile).reserves.values()
        assert one.asset == Asset(f"0x{1:040x}", shown, reserve.decimals), symbol


def test_decimals_that_the_token_denies_make_its_holders_unknown() -> None:
    case = CASES[0]
    raw = raw_of(case, 11)
    changed = replace(
        raw, reserves=(replace(raw.reserves[0], decimals=raw.reserves[0].decimals + 1), *raw.reserves[1:])
    )
    reserve = market_state(changed).reserves[raw.reserves[0].id]
    assert reserve.fault is not None
    assert "decimals" in reserve.fault


@pytest.mark.parametrize("case", LIQUIDATIONS, ids=[case["id"] for case in LIQUIDATIONS])
def test_the_penalty_is_what_a_liquidation_by_the_newest_rules_took(case: dict[str, Any]) -> None:
    market, account = state_of(case, 11)
    lines = lines_of(market, account)
    totals = figures(market.rules, lines)
    assert [totals.collateral, totals.debt, totals.health_factor] == case["before"]
    collateral, debt = case["pair"]
    pair = [
        replace(
            line,
            counts=line.counts and line.reserve.asset.symbol == collateral,
            borrowed=line.borrowed and line.reserve.asset.symbol == debt,
        )
        for line in lines
    ]
    of_pair = liquidation_penalty(market.rules, pair, totals)
    worst = liquidation_penalty(market.rules, lines, totals)
    assert of_pair is not None
    assert worst is not None
    taken = (case["before"][0] - case["after"][0]) - (case["before"][1] - case["after"][1])
    # The contract rounds to units of tokens, some of which are cents.
    room = 3 * 10**6 + abs(taken) // 500
    assert abs(of_pair - taken) <= room
    assert worst >= of_pair
