"""The table and the JSON of `trimtab journal --outcomes`, from given figures."""

from __future__ import annotations

from dataclasses import replace

from tests.support.firings import a_firing
from tui.headless.outcomes import differences_json, outcome_json, outcome_lines
from tui.model.intent import FiringState
from tui.model.outcome import Outcome, Row, SoldAsset
from tui.model.units import USD, WAD

WETH = SoldAsset("WETH", 7 * WAD, 7 * WAD + WAD // 1_000, "0x" + "ee" * 20, 18, 2_000 * USD)
SALE = Outcome(
    "f1",
    health_expected=15 * WAD // 10,
    health_simulated=1_500_010 * WAD // 10**6,
    health_actual=1_500_030 * WAD // 10**6,
    gas_expected_usd=2 * USD,
    gas_actual_usd=USD,
    swap_expected_usd=14 * USD,
    sales=(WETH,),
)
"""7 WETH for $14,000 at a cost of 0.1 percent; a thousandth of a WETH more was sold, which is $2."""


def selling(**changed: int | str | None) -> Outcome:
    """The same sale with something of it changed."""
    return replace(SALE, sales=(replace(WETH, **changed),))


def a_row(outcome: Outcome, state: FiringState = FiringState.DONE, number: int = 1) -> Row:
    return replace(a_firing(number), state=state), outcome


def test_what_a_sale_really_cost_is_what_was_sold_beyond_what_was_expected() -> None:
    assert SALE.swap_actual_usd == 16 * USD
    assert SALE.slippage_expected == WAD // 1_000
    assert SALE.slippage_actual == round(16 * WAD / 14_002)
    less = selling(actual=7 * WAD - WAD // 100)
    assert less.swap_actual_usd == -6 * USD
    assert less.slippage_actual is not None
    assert less.slippage_actual < 0


def test_what_own_swaps_brought_in_counts_as_well() -> None:
    came = SoldAsset("USDC", 13_986 * 10**6, 13_979 * 10**6, "0x" + "cc" * 20, 6, USD)
    swapped = replace(selling(actual=7 * WAD), buys=(came,))
    assert swapped.swap_actual_usd == 21 * USD
    assert swapped.slippage_actual == 21 * WAD // 14_000
    told = {"asset": "USDC", "expected": "13986000000", "actual": "13979000000", "decimals": 6}
    assert outcome_json(a_row(swapped))["buys"] == [told]
    for gone in (replace(came, actual=None), SoldAsset("", None)):
        unknown = replace(swapped, buys=(gone,))
        assert unknown.swap_actual_usd is None
        assert unknown.slippage_actual is None


def test_what_is_not_known_is_not_made_up() -> None:
    for gone in ("actual", "price_usd", "decimals", "expected", ""):
        one = selling(**{gone: None}) if gone else replace(SALE, swap_expected_usd=None)
        assert one.swap_actual_usd is None
        assert one.slippage_actual is None
        written = outcome_json(a_row(one))
        assert (written["swap_actual_usd"], written["slippage_actual"]) == (None, None)
        assert "?" in list(outcome_lines([a_row(one)]))[1]
    assert selling(actual=0).slippage_actual is None


def test_the_table_shows_both_sides_and_how_far_off_they_are() -> None:
    nothing_sold = Outcome("f2", health_simulated=2 * WAD, health_actual=2 * WAD, gas_expected_usd=USD)
    head, sale, repaid, empty, means = outcome_lines([a_row(SALE), a_row(nothing_sold, number=2)])
    assert "slippage expected" in head
    for shown in ("$14.0000", "$16.0000", "7.000000 WETH", "7.001000 WETH", "0.100%", "0.114%"):
        assert shown in sale
    assert "WETH" not in repaid
    assert repaid.rstrip().endswith("-")
    assert empty == ""
    assert means == (
        "2 done; on average health came out +0.000010 off what was simulated, "
        "gas cost -$1.0000 and sales lost +0.0142% off what was expected"
    )


def test_where_several_assets_pay_the_slippage_is_of_them_all() -> None:
    dai = SoldAsset("DAI", 14_000 * WAD, 14_014 * WAD, "0x" + "dd" * 20, 18, USD)
    both = replace(SALE, sales=(WETH, dai))
    assert both.swap_actual_usd == (14 + 2 + 14) * USD
    assert both.slippage_expected == WAD // 2_000
    assert both.slippage_actual == round(30 * WAD / 28_016)
    (_, line, _, _) = outcome_lines([a_row(both)])
    assert "7.000000 WETH + 14000.000000 DAI" in line
    assert "7.001000 WETH + 14014.000000 DAI" in line
    written = outcome_json(a_row(both))
    assert [one["asset"] for one in written["sales"]] == ["WETH", "DAI"]
    assert replace(SALE, sales=(WETH, replace(dai, actual=None))).slippage_actual is None


def test_a_gain_is_shown_with_its_sign() -> None:
    (_, line, _, means) = outcome_lines([a_row(selling(actual=7 * WAD - WAD // 100))])
    assert "-$6.0000" in line
    assert "-0.042%" in line
    assert "sales lost -0.1429%" in means


def test_amounts_of_an_earlier_version_say_what_they_are() -> None:
    old = selling(decimals=None, price_usd=None, token="", actual=None)
    line = list(outcome_lines([a_row(old)]))[1]
    assert "7000000000000000000 base units of WETH" in line


def test_json_keeps_its_keys_and_has_more() -> None:
    row = outcome_json(a_row(SALE))
    assert (row["sold_expected"], row["sold_actual"]) == ("7000000000000000000", "7001000000000000000")
    assert (row["sold_asset"], row["sold_decimals"]) == ("WETH", 18)
    assert (row["swap_expected_usd"], row["swap_actual_usd"]) == ("14.0000", "16.0000")
    assert (row["slippage_expected"], row["slippage_actual"]) == ("0.001000", "0.001142")
    means = differences_json([a_row(SALE)])
    assert means["slippage_actual_less_expected"] == "0.000142"
    assert means["gas_actual_less_expected_usd"] == "-1.0000"


def test_only_what_ended_done_counts_in_the_means() -> None:
    rows = [a_row(SALE, FiringState.FAILED), a_row(SALE, FiringState.DROPPED, 2)]
    assert differences_json(rows) == {
        "kind": "outcomes",
        "done": 0,
        "health_actual_less_simulated": None,
        "gas_actual_less_expected_usd": None,
        "slippage_actual_less_expected": None,
    }
