"""A network as configured: where its nodes are, what is deployed on it, how it keeps time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

PRICE_HEARTBEAT = 25 * 60 * 60
"""Seconds: the slowest feeds beat once a day, and may be an hour late."""


@dataclass(frozen=True, slots=True)
class MarketConfig:
    """One `[[market]]` table: the protocol's name, the market's name, and the protocol's own keys as texts.

    `price_heartbeat` in seconds: a price whose feed has not spoken for longer is stale.
    """

    protocol: str
    name: str
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    price_heartbeat: int = PRICE_HEARTBEAT


@dataclass(frozen=True, slots=True)
class SwapConfig:
    """One `[[swap]]` table."""

    kind: str
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class AggregatorConfig:
    """A `[[swap]]` table of an aggregator: where it is asked, the one contract that its calls may go to, who must be
    let to take tokens where that is another, the registry that knows its contracts (0x), the file that holds the
    user's key, and how many seconds it may take. Addresses in lower-case hex.
    """

    kind: str
    url: str = field(repr=False)
    router: str
    spender: str | None = None
    registry: str | None = None
    key_file: str | None = None
    timeout: float = 1.5


AGGREGATORS = ("0x", "1inch")
"""What the `kind` of such a table may be."""


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """`[relay]`: a private relay that gets transactions first, and after how many blocks everyone does."""

    url: str = field(repr=False)
    public_after: int = 3


LOCAL_CHAINS = frozenset({1337, 31337})
"""Ids that development nodes use, the practice chain among them."""
LATE_SECONDS, LATE_BLOCKS = 60.0, 5
"""A newest block that is older than both by this machine's clock is no newest block."""
DE_RISK = "de-risk"
"""`degraded`: while nodes are down, fewer than the quorum suffice to repay or add collateral, with halved caps."""


@dataclass(frozen=True, slots=True)
class Network:
    """One chain. `block_time` in seconds; addresses lower-case hex. `degraded` is empty or DE_RISK. `l1_fee_oracle`
    tells what an OP chain charges for data on layer 1.

    `rpc_budget` in requests a second and node; None: as many as it takes. `max_lag` in seconds: see `late_after`.
    """

    name: str
    chain_id: int
    block_time: float
    confirmations: int
    rpc: tuple[str, ...]
    quorum: int = 1
    wrapped_native: str | None = None
    native_usd_feed: str | None = None
    multicall3: str | None = None
    markets: tuple[MarketConfig, ...] = ()
    swaps: tuple[SwapConfig, ...] = ()
    aggregators: tuple[AggregatorConfig, ...] = ()
    helpers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    relay: RelayConfig | None = None
    degraded: str = ""
    rpc_budget: int | None = None
    l1_fee_oracle: str | None = None
    max_lag: float | None = None

    @property
    def late_after(self) -> float | None:
        """Seconds by which the time of the newest block may differ from this machine's clock: `max_lag`, else a minute
        or five block times. None on a development chain, whose blocks keep a time of their own: there it says nothing.
        """
        if self.max_lag is not None:
            return self.max_lag
        return None if self.chain_id in LOCAL_CHAINS else max(LATE_SECONDS, LATE_BLOCKS * self.block_time)
