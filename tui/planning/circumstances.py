"""What a plan depends on beside rule, position and wallet: fees, prices, what was spent, and what exchanges offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tui.model.data_fee import DataFees
from tui.model.plan import FeeQuote, PlannedCall, SaleTerms
from tui.model.position import Asset
from tui.model.rounds import DebtPart, RoundsSoFar
from tui.model.rule import ActionKind
from tui.model.swap import SwapAnswer
from tui.model.units import WAD
from tui.model.wallet import Allowance, Wallet
from tui.planning.fee_caps import FeeCap
from tui.quotes.base import Quote, Swapper

LIFETIME = 30 * 60
"""Seconds from the block of the decision in which what is signed may do something: a permit, a sale by the helper, a
swap by the account itself. Long enough to be bumped through a busy hour's worth of blocks, no longer.
"""
GAS_RESERVE_UNITS = 2_000_000
"""Gas kept back when native coin is wrapped: a plan of four calls at the usual half million each."""
GAS_RESERVE_FACTOR = 2
"""Three raised attempts, an eighth more each, come to 1.43 times the first fee; the rest is for a rising base fee."""
DATA_RESERVE_CALLS = 4
DATA_RESERVE_BYTES = 1_024
"""What a plan's data is taken to be when native coin is kept back for it: four transactions of a long call each."""
UNKNOWN_DATA_RESERVE = WAD // 100
"""Kept back for data whose fee is not known, in wei: a plan of four kilobytes comes to a tenth of it on a dear day."""


OfferKey = tuple[str, ...]
"""Which sale an offer is for: addresses of what pays and of what is bought, and the kind where it is no deleverage."""


def offer_key(kind: ActionKind, paying: Asset, bought: Asset) -> OfferKey:
    """The key of an offer in `Circumstances.offers`."""
    pair = (paying.address, bought.address)
    return pair if kind is ActionKind.DELEVERAGE else (*pair, kind.value)


def kind_of(key: OfferKey) -> ActionKind:
    """The kind of the sale that a key of `offer_key` is for."""
    return ActionKind(key[2]) if len(key) > 2 else ActionKind.DELEVERAGE


@dataclass(frozen=True, slots=True)
class Offer:
    """What one sale costs now: the market's terms, and the quotes of one route at rising sizes.

    `why_not` says why there is none, and `unanswered` that nobody gave any answer: the next block may bring one. The
    `amount_out` of each quote's request counts the premium in.
    """

    terms: SaleTerms
    quotes: tuple[Quote, ...]
    why_not: str | None = None
    unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan depends on beside rule, position and wallet.

    `native_price_usd` with 8 decimals (None: unknown), `spent_today_usd` what this rule already moved today.
    `offers` by (collateral, debt) address; None: exchanges were not asked, and the worst that each step allows is
    assumed (such a plan is for looking at, never for signing). `wrapped_native` is the address of the wrapped native
    coin; `data_fees` what a rollup charges for data beside gas (None: nothing, or nothing that is asked for). `swapper`
    makes the calls by which an account swaps by itself (None: it cannot). `left_out` are steps of the rule, by number
    from 0, that add nothing now, and why. `signer_fees`: what the signer lets a transaction's gas come to (None: nobody
    asks it). `given`, by the keys of offers, are calls that an aggregator made for own swaps: where there is one, that
    very call is made or none. `payers` are the wallets of other accounts that steps name to pay, `barred` the accounts
    for which nothing may be signed now and why; both by lower-case account. `absent` are the collaterals (addresses)
    that no helper is there to sell, as far as that is known before offers are. `so_far`: the rounds that a firing has
    done already; the rule is then only what is left of it. `closing`: the debts of which an earlier firing closed less
    than its part, with what was owed of them then. `ours` are the allowances that stand because we gave them, and
    what was to use them was undone. `reserved_usd`: what the day's limit is to leave for gas.
    `undone`: the chain undid the last firing of the rule. `goes_on`: the last firing is gone on with, and the rule has
    only what that left of its maxima.
    """

    fees: FeeQuote
    native_price_usd: int | None
    spent_today_usd: int
    offers: Mapping[OfferKey, Offer] | None = None
    wrapped_native: str | None = None
    data_fees: DataFees | None = None
    swapper: Swapper | None = None
    left_out: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    signer_fees: FeeCap | None = None
    given: Mapping[OfferKey, SwapAnswer] = field(default_factory=lambda: MappingProxyType({}))
    payers: Mapping[str, Wallet] = field(default_factory=lambda: MappingProxyType({}))
    barred: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    absent: frozenset[str] = frozenset()
    so_far: RoundsSoFar | None = None
    closing: tuple[DebtPart, ...] = ()
    ours: frozenset[Allowance] = frozenset()
    reserved_usd: int = 0
    undone: bool = False
    goes_on: bool = False

    @property
    def continues(self) -> bool:
        """Whether the rule has only what is left of its maxima, by rounds or by a firing that is gone on with."""
        return self.goes_on or (self.so_far is not None and self.so_far.rounds > 0)

    @property
    def parts(self) -> tuple[DebtPart, ...]:
        """The debts of which a part is closed already, or was to be; none where the rule begins anew."""
        return self.so_far.parts if self.so_far is not None and self.so_far.rounds else self.closing

    def l1_fee_wei(self, calls: Iterable[PlannedCall]) -> int | None:
        """What layer 1 charges for the data of `calls`, a transaction each: 0 where nothing is charged apart, None
        where it is not known.
        """
        return 0 if self.data_fees is None else self.data_fees.of_calls(calls)

    @property
    def gas_reserve(self) -> int:
        """Wei that wrapping leaves for gas."""
        return GAS_RESERVE_UNITS * self.fees.max_fee * GAS_RESERVE_FACTOR + self._data_reserve

    @property
    def _data_reserve(self) -> int:
        if self.data_fees is None:
            return 0
        one = self.data_fees.of_size(DATA_RESERVE_BYTES)
        return UNKNOWN_DATA_RESERVE if one is None else one * DATA_RESERVE_CALLS * GAS_RESERVE_FACTOR
