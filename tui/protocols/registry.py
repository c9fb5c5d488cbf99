"""From a configured market to the adapter of its protocol. Adapters are imported when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType

from tui.model.network import MarketConfig, Network
from tui.protocols.base import LendingMarket

_FACTORIES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "aave-v3": ("tui.protocols.aave_v3.configured", "make_market"),
    }
)


def protocols() -> tuple[str, ...]:
    """The protocol names that a network file may use, sorted."""
    return tuple(sorted(_FACTORIES))


def make_market(config: MarketConfig, network: Network | None = None) -> LendingMarket:
    """The adapter of one `[[market]]` table of `network`. Without a network it knows no exchange to sell on.

    Raises ValueError, fit to be shown, for a protocol that is not known or keys that do not make a market.
    """
    where = _FACTORIES.get(config.protocol)
    if where is None:
        known = ", ".join(protocols())
        raise ValueError(f"market {config.name}: the protocol {config.protocol!r} is not known; use one of: {known}")
    module, name = where
    factory: Callable[[MarketConfig, Network | None], LendingMarket] = getattr(import_module(module), name)
    return factory(config, network)
