"""What a plan depends on beside rule, position and wallet: fees, prices, what was spent, and what exchanges offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tui.model.plan import FeeQuote, SaleTerms
from tui.quotes.base import Quote

GAS_RESERVE_UNITS = 2_000_000
"""Gas kept back when native coin is wrapped: a plan of four calls at the usual half million each."""
GAS_RESERVE_FACTOR = 2
"""Three raised attempts, an eighth more each, come to 1.43 times the first fee; the rest is for a rising base fee."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one sale costs now: the market's terms, and the quotes of one route at rising sizes.

    `why_not` says why there is none. The `amount_out` of each quote's request counts the premium in.
    """

    terms: SaleTerms
    quotes: tuple[Quote, ...]
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan depends on beside rule, position and wallet.

    `native_price_usd` with 8 decimals (None: unknown), `spent_today_usd` what this rule already moved today.
    `offers` by (collateral, debt) address; None: exchanges were not asked, and the worst that each step allows is
    assumed (such a plan is for looking at, never for signing). `wrapped_native` is the address of the wrapped native
    coin; `l1_fee_wei` what a rollup charges for a plan's data beside gas.
    """

    fees: FeeQuote
    native_price_usd: int | None
    spent_today_usd: int
    offers: Mapping[tuple[str, str], Offer] | None = None
    wrapped_native: str | None = None
    l1_fee_wei: int = 0

    @property
    def gas_reserve(self) -> int:
        """Wei that wrapping leaves for gas."""
        return GAS_RESERVE_UNITS * self.fees.max_fee * GAS_RESERVE_FACTOR + self.l1_fee_wei * GAS_RESERVE_FACTOR
