"""What the signer lets gas cost: in wei of the day of arming, wide enough for a coin that falls, and planned within."""

from __future__ import annotations

import pytest

from tests.support.plain_rules import rule_of, sell
from tui.model.plan import FeeQuote, Refusal
from tui.model.units import USD, WAD
from tui.planning.fee_caps import MAX_FEE_PER_GAS, FeeCap, cap_words, fee_cap, over_cap

GWEI = 10**9


def test_a_limit_in_dollars_has_room_for_a_coin_that_loses_half_of_its_price() -> None:
    rule = rule_of(sell(), max_cost_usd=200 * USD)
    cap = fee_cap(rule, 3_000 * USD, GWEI)
    spent_later = 200 * USD * WAD // (1_500 * USD)
    assert cap.wei >= 2 * spent_later, "gas limits are booked dearer than what is used"


@pytest.mark.parametrize(("price", "base_fee"), [(3_000 * USD, 30 * GWEI), (USD // 5, 300 * GWEI), (None, 300 * GWEI)])
def test_a_rule_without_a_limit_can_pay_ten_times_the_usual_on_any_chain(price: int | None, base_fee: int) -> None:
    """A coin of 20 cents and a base fee of 300 gwei: half a coin would not pay for one transaction of a bad day."""
    cap = fee_cap(rule_of(sell()), price, base_fee)
    assert cap.ceiling(600_000) >= 10 * base_fee


def test_gas_is_bounded_by_the_unit_as_well() -> None:
    assert fee_cap(rule_of(sell()), 3_000 * USD, GWEI).ceiling(21_000) == MAX_FEE_PER_GAS
    assert fee_cap(rule_of(sell()), 3_000 * USD, 1_000 * GWEI).per_gas == 50_000 * GWEI


def test_what_the_signer_would_refuse_is_refused_in_planning_with_what_to_do() -> None:
    cap = FeeCap(WAD // 2, MAX_FEE_PER_GAS)
    fits = FeeQuote(999 * GWEI, 2_000 * GWEI, GWEI, 5_000 * GWEI)
    dear = FeeQuote(1_000 * GWEI, 2_000 * GWEI, GWEI, 5_000 * GWEI)
    assert over_cap(cap, fits, 500_000) is None
    refused = over_cap(cap, dear, 500_000)
    assert isinstance(refused, Refusal)
    assert refused.code == "signer-fee"
    assert "gas costs 1001.00 gwei" in refused.reason
    assert "armed to pay 1000.00 at the most" in refused.reason
    assert "until the rule is armed again" in refused.reason


def test_the_cap_is_told_in_coin_and_dollars() -> None:
    told = cap_words(FeeCap(WAD // 2, MAX_FEE_PER_GAS), 3_000 * USD)
    assert told == (
        "the signer pays at most 0.5000 of the native coin, $1,500.00 now, and 5000 gwei, for gas of a transaction"
    )
