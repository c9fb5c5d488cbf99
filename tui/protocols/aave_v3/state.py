"""The exact state of a market and of an account in it at one block: what every later number is computed from.

Amounts in base units, prices with 8 decimals, indices and rates in ray, thresholds in basis points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from tui.model.network import PRICE_HEARTBEAT
from tui.model.position import Asset, Held
from tui.model.text import clean_text
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.math import (
    compounded_interest,
    compounded_interest_since_3_4,
    linear_interest,
    percent_mul,
    ray_div,
    ray_mul,
)
from tui.protocols.aave_v3.rules import Rules, rules_of
from tui.protocols.erc20 import MAX_DECIMALS

MAX_RESERVES = 128
_MAX_INDEX = 2**128 - 1


@dataclass(frozen=True, slots=True)
class Terms:
    """A reserve's configuration word, unpacked. Caps in whole tokens (0: none).

    `flash_loans`: the bit is there since 3.0.2; before it every reserve could be lent so, which is not counted on.
    `siloed`: who borrows it can borrow nothing else.
    """

    ltv: int
    threshold: int
    bonus: int
    decimals: int
    active: bool
    frozen: bool
    paused: bool
    reserve_factor: int
    supply_cap: int
    protocol_fee: int
    e_mode: int
    debt_ceiling: int
    flash_loans: bool
    borrowing: bool = False
    borrowable_in_isolation: bool = False
    siloed: bool = False
    borrow_cap: int = 0


@lru_cache(maxsize=1024)
def terms_of(configuration: int) -> Terms:
    """Unpack a ReserveConfigurationMap (bit positions of DataTypes.sol, the same since 3.0)."""

    def bits(start: int, width: int) -> int:
        return configuration >> start & ((1 << width) - 1)

    return Terms(
        ltv=bits(0, 16),
        threshold=bits(16, 16),
        bonus=bits(32, 16),
        decimals=bits(48, 8),
        active=bool(bits(56, 1)),
        frozen=bool(bits(57, 1)),
        paused=bool(bits(60, 1)),
        reserve_factor=bits(64, 16),
        supply_cap=bits(116, 36),
        protocol_fee=bits(152, 16),
        e_mode=bits(168, 8),
        debt_ceiling=bits(212, 40),
        flash_loans=bool(bits(63, 1)),
        borrowing=bool(bits(58, 1)),
        borrowable_in_isolation=bool(bits(61, 1)),
        siloed=bool(bits(62, 1)),
        borrow_cap=bits(80, 36),
    )


@dataclass(frozen=True, slots=True)
class Reserve:
    """One listed asset at the block. Indices, totals and `accrued` are grown to the block's time.

    `price` None: the oracle does not answer. `fault`: why nothing may be computed with this reserve, or None.
    `a_token` and `debt_token` (variable) in lower-case hex. `token_decimals` as the token itself says, `scaled_debt`
    all variable debt; None: could not be read.
    """

    id: int
    asset: Asset
    unit: int
    terms: Terms
    supply_index: int
    debt_index: int
    supply_rate: int
    borrow_rate: int
    price: int | None
    price_updated_at: int | None
    source: str
    a_token: str
    scaled_supply: int | None
    accrued: int
    fault: str | None = None
    token_decimals: int | None = None
    scaled_debt: int | None = None
    debt_token: str = ""


@dataclass(frozen=True, slots=True)
class Category:
    """One e-mode category. `price`: of its own price source (3.0), 0 where it has none. `borrowable_bitmap` None: what
    can be borrowed in it could not be read, or goes by the reserves' own numbers (until 3.1).
    """

    id: int
    label: str
    ltv: int
    threshold: int
    bonus: int
    price: int
    price_source: str
    collateral_bitmap: int
    ltvzero_bitmap: int
    isolated: bool
    fault: str | None = None
    borrowable_bitmap: int | None = None


@dataclass(frozen=True, slots=True)
class MarketState:
    """A market at one block. `swept`: balances outside the accounts' bitmaps were looked for.

    `price_heartbeat` in seconds: how old a price may be before it is worth a note.
    `order` are the reserve ids as the lens listed them; one whose data could not be read has a negative id there.
    """

    pool: str
    oracle: str
    revision: int
    rules: Rules
    timestamp: int
    swept: bool
    order: tuple[int, ...]
    reserves: Mapping[int, Reserve]
    ids: Mapping[str, int]
    categories: Mapping[int, Category]
    price_heartbeat: int = PRICE_HEARTBEAT

    def reserve(self, asset: str) -> Reserve | None:
        """The reserve of an asset by lower-case address."""
        return self.reserves[self.ids[asset]] if asset in self.ids else None


@dataclass(frozen=True, slots=True)
class Holding:
    """Scaled balances of one reserve; `stable_debt` (3.0 and 3.1) is already grown to the block."""

    supply: int
    debt: int
    stable_debt: int = 0


NOTHING = Holding(0, 0)


@dataclass(frozen=True, slots=True)
class AccountState:
    """One account: its configuration bitmap, e-mode and holdings by reserve id."""

    account: str
    configuration: int
    e_mode: int
    holdings: Mapping[int, Holding]

    def is_collateral(self, reserve_id: int) -> bool:
        """Whether the holder uses the reserve as collateral (odd bits of the map)."""
        return reserve_id >= 0 and bool(self.configuration >> (2 * reserve_id + 1) & 1)

    def is_borrowing(self, reserve_id: int) -> bool:
        """Whether the holder borrows the reserve (even bits of the map)."""
        return reserve_id >= 0 and bool(self.configuration >> (2 * reserve_id) & 1)


@dataclass(frozen=True, slots=True)
class PositionState:
    """What rides along in `Position.state`. `account` None: the position is unknown, only the market was read."""

    market: MarketState
    account: AccountState | None


def market_state(raw: lens.RawReading, price_heartbeat: int = PRICE_HEARTBEAT) -> MarketState:
    """The market of a reading, with every index grown to the time that the contract itself saw."""
    rules = rules_of(raw.revision)
    reserves: dict[int, Reserve] = {}
    for place, one in enumerate(raw.reserves):
        reserve = _reserve(one, raw.timestamp, rules)
        if one.flags & lens.NO_DATA or reserve.id in reserves or reserve.id >= MAX_RESERVES:
            reserve = replace(reserve, id=-1 - place, fault=reserve.fault or "its place in the list cannot be right")
        reserves[reserve.id] = reserve
    return MarketState(
        pool=raw.pool,
        oracle=raw.oracle,
        revision=raw.revision,
        rules=rules,
        timestamp=raw.timestamp,
        swept=raw.swept,
        order=tuple(reserves),
        reserves=reserves,
        ids={reserve.asset.address: reserve.id for reserve in reserves.values()},
        categories={one.id: _category(one, rules) for one in raw.categories},
        price_heartbeat=price_heartbeat,
    )


def account_state(raw: lens.RawAccount, market: MarketState) -> AccountState:
    """One account of a reading. Faults of its reads are for the caller to see to."""
    holdings = {
        market.order[one.reserve]: Holding(one.scaled_supply, one.scaled_debt, one.stable_debt) for one in raw.holdings
    }
    return AccountState(raw.account, raw.configuration, raw.e_mode, holdings)


def held_by(state: PositionState) -> Held | None:
    """The scaled balances of an account, those that are no collateral as nothing, and its e-mode. None where it owes at
    a stable rate, whose parts the contract does not tell, or holds what is not known.
    """
    account, reserves = state.account, state.market.reserves
    if account is None or any(one.stable_debt or number not in reserves for number, one in account.holdings.items()):
        return None
    found = [
        (reserves[number].asset.address, one.supply if account.is_collateral(number) else 0, one.debt)
        for number, one in account.holdings.items()
    ]
    mode = [(f"e-mode {account.e_mode}", 1, 0)] if account.e_mode else []
    return tuple(sorted([one for one in found if one[1] or one[2]] + mode))


@lru_cache(maxsize=1024)
def asset_of(address: str, symbol: bytes, length: int, decimals: int) -> Asset:
    """An asset from what its contract says, made fit to be shown. One without a symbol goes by its address."""
    text = symbol[:length].rstrip(b"\0").decode("utf-8", "replace")
    name = clean_text(text + ("…" if length > len(symbol) else "")) if text else "?"
    if name == "?":
        name = f"{address[:6]}…{address[-4:]}"
    return Asset(address, name, decimals)


def _reserve(raw: lens.RawReserve, timestamp: int, rules: Rules) -> Reserve:
    terms = terms_of(raw.configuration)
    asset = asset_of(raw.asset, raw.symbol, raw.symbol_length, min(terms.decimals, MAX_DECIMALS))
    fault = _fault(raw, terms, timestamp)
    seconds = 0 if fault else timestamp - raw.updated_at
    supply_index, debt_index = raw.liquidity_index, raw.borrow_index
    if seconds:
        grow = compounded_interest_since_3_4 if rules.exponential_interest else compounded_interest
        supply_index = ray_mul(linear_interest(raw.liquidity_rate, seconds), raw.liquidity_index)
        debt_index = ray_mul(grow(raw.borrow_rate, seconds), raw.borrow_index)
    return Reserve(
        id=raw.id,
        asset=asset,
        unit=10**asset.decimals,
        terms=terms,
        supply_index=supply_index,
        debt_index=debt_index,
        supply_rate=raw.liquidity_rate,
        borrow_rate=raw.borrow_rate,
        price=None if raw.flags & lens.NO_PRICE or raw.price == 0 else raw.price,
        price_updated_at=None if raw.flags & lens.NO_UPDATE else raw.price_updated_at,
        source=raw.source,
        a_token=raw.a_token,
        scaled_supply=None if raw.flags & (lens.NO_SUPPLY | lens.NO_DEBT_SUPPLY) else raw.scaled_supply,
        accrued=_accrued(raw, terms, supply_index, debt_index) if supply_index else 0,
        fault=fault,
        token_decimals=None if raw.flags & lens.NO_DECIMALS else raw.decimals,
        scaled_debt=None if raw.flags & lens.NO_DEBT_SUPPLY else raw.scaled_debt,
        debt_token=raw.variable_token,
    )


def _fault(raw: lens.RawReserve, terms: Terms, timestamp: int) -> str | None:
    if raw.flags & lens.NO_DATA:
        return "its reserve data cannot be read"
    if raw.updated_at > timestamp:
        return "its interest was updated in the future"
    if not 0 < raw.liquidity_index <= _MAX_INDEX or not 0 < raw.borrow_index <= _MAX_INDEX:
        return "its indices cannot be right"
    if terms.decimals > MAX_DECIMALS:
        return "its decimals cannot be right"
    if not raw.flags & lens.NO_DECIMALS and raw.decimals != terms.decimals:
        return f"the token says {raw.decimals} decimals, the market {terms.decimals}"
    return None


def _accrued(raw: lens.RawReserve, terms: Terms, supply_index: int, debt_index: int) -> int:
    """The treasury's scaled share as the next action will find it (ReserveLogic._accrueToTreasury)."""
    grown = ray_mul(raw.scaled_debt, debt_index) - ray_mul(raw.scaled_debt, raw.borrow_index)
    return raw.accrued_to_treasury + ray_div(percent_mul(grown, terms.reserve_factor), supply_index)


def _category(raw: lens.RawCategory, rules: Rules) -> Category:
    fault = None
    if raw.flags & lens.NO_CATEGORY:
        fault = f"e-mode {raw.id} cannot be read"
    elif raw.flags & lens.NO_CATEGORY_PRICE:
        fault = f"the price source of e-mode {raw.id} does not answer"
    elif rules.liquid_e_modes and raw.flags & lens.NO_COLLATERAL_BITMAP:
        fault = f"the collateral of e-mode {raw.id} cannot be read"
    label = raw.label[: raw.label_length].rstrip(b"\0").decode("utf-8", "replace")
    return Category(
        id=raw.id,
        label=clean_text(label) if label else f"e-mode {raw.id}",
        ltv=raw.ltv,
        threshold=raw.threshold,
        bonus=raw.bonus,
        price=0 if rules.liquid_e_modes else raw.price,
        price_source=raw.price_source,
        collateral_bitmap=raw.collateral_bitmap,
        ltvzero_bitmap=raw.ltvzero_bitmap if rules.own_e_mode_terms else 0,
        isolated=raw.isolated and not rules.isolation_mode,
        fault=fault,
        borrowable_bitmap=_borrowable(raw, rules),
    )


def _borrowable(raw: lens.RawCategory, rules: Rules) -> int | None:
    known = rules.liquid_e_modes and not raw.flags & lens.NO_BORROWABLE_BITMAP
    return raw.borrowable_bitmap if known else None
