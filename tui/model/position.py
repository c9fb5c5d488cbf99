"""A borrowing position on any protocol, in one unit of health.

Protocol-specific exact state rides along in `Position.state`; only the adapter that made it looks inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from tui.model.block import BlockRef
from tui.model.units import WAD

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Asset:
    """A token. `address` is lower-case hex, `symbol` already cleaned for display."""

    address: str
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class MarketKey:
    """A lending market of a network: `aave-v3/core`."""

    protocol: str
    name: str

    def __str__(self) -> str:
        return f"{self.protocol}/{self.name}"


@dataclass(frozen=True, slots=True)
class PositionKey:
    """One account in one market; its text `aave-v3/core/0x...` is the position's id everywhere."""

    market: MarketKey
    account: str

    def __str__(self) -> str:
        return f"{self.market}/{self.account}"


class Status(StrEnum):
    """How near a position is to liquidation, as a word."""

    NO_DEBT = "no-debt"
    SAFE = "safe"
    WATCH = "watch"
    AT_RISK = "at-risk"
    LIQUIDATABLE = "liquidatable"
    UNKNOWN = "unknown"


WATCH_BELOW = 15 * WAD // 10
"""Without a rule to say so, health under 1.5 is worth watching."""
AT_RISK_BELOW = 12 * WAD // 10
"""Without a rule to say so, health under 1.2 is at risk."""


def status_of(health_factor: int | None, unknown: str | None) -> Status:
    """The status word of a health factor (wad; None without debt). What is unknown is never anything else."""
    if unknown is not None:
        return Status.UNKNOWN
    if health_factor is None:
        return Status.NO_DEBT
    if health_factor < WAD:
        return Status.LIQUIDATABLE
    if health_factor < AT_RISK_BELOW:
        return Status.AT_RISK
    return Status.WATCH if health_factor < WATCH_BELOW else Status.SAFE


@dataclass(frozen=True, slots=True)
class Collateral:
    """Something supplied. `amount` in base units with interest to the block; dollars and prices with 8 decimals.

    `liquidation_threshold` in wad, as it applies now (e-mode included). `counts` is False where the holder switched
    it off as collateral. `liquidation_price_usd` is the price of this asset, others held, at which health reaches 1;
    None where no such price exists. `supply_apy` in wad a year. What could not be read is None.
    """

    asset: Asset
    amount: int
    price_usd: int | None
    value_usd: int | None
    liquidation_threshold: int
    counts: bool
    supply_apy: int | None = None
    liquidation_price_usd: int | None = None
    price_updated_at: int | None = None


@dataclass(frozen=True, slots=True)
class Debt:
    """Something owed. `amount` in base units with interest to the block; dollars and prices with 8 decimals."""

    asset: Asset
    amount: int
    price_usd: int | None
    value_usd: int | None
    borrow_apy: int | None = None
    liquidation_price_usd: int | None = None
    price_updated_at: int | None = None


@dataclass(frozen=True, slots=True)
class GroupLiquidation:
    """Where health reaches 1 when assets of one price root move together.

    `factor` (wad) is what all their prices are multiplied by; `lead` the asset whose price names the level and
    `price_usd` its price there (8 decimals).
    """

    assets: tuple[Asset, ...]
    lead: Asset
    factor: int
    price_usd: int


Held = tuple[tuple[str, int, int], ...]
"""What a position is made of, whatever prices and interest do: (name, parts of it that back the debt, parts owed)."""


@dataclass(frozen=True, slots=True)
class Position:
    """One position at one block.

    `health_factor` is in wad as the protocol itself would answer, None without debt. `unknown` is None, or the reason
    why this position cannot be trusted now: then nothing else here may be used to act or to reassure.
    `native` holds the protocol's own ratios as display texts (`{"ltv": "0.6667"}`); `notes` what is strange about the
    market ("WETH is frozen"). `seconds_to_liquidation` is by interest alone, None where that never happens.
    """

    key: PositionKey
    block: BlockRef
    collateral: tuple[Collateral, ...]
    debt: tuple[Debt, ...]
    health_factor: int | None
    collateral_usd: int | None
    debt_usd: int | None
    net_apy: int | None = None
    unknown: str | None = None
    groups: tuple[GroupLiquidation, ...] = ()
    seconds_to_liquidation: int | None = None
    liquidation_penalty_usd: int | None = None
    native: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    notes: tuple[str, ...] = ()
    state: object | None = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str:
        """`protocol/market/account`."""
        return str(self.key)

    @property
    def holdings(self) -> tuple[Collateral | Debt, ...]:
        """Collateral, then debt."""
        held: list[Collateral | Debt] = [*self.collateral, *self.debt]
        return tuple(held)

    @property
    def status(self) -> Status:
        """The status word."""
        return status_of(self.health_factor, self.unknown)


def unknown_position(key: PositionKey, block: BlockRef, reason: str) -> Position:
    """A position of which nothing is known but why."""
    return Position(key, block, (), (), None, None, None, unknown=reason)
