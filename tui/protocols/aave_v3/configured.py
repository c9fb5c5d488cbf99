"""An Aave V3 market as a network file names it."""

from __future__ import annotations

from tui.model.network import MarketConfig, Network
from tui.protocols.aave_v3.market import HELPER_KEY, ROUTER_KEY, UNISWAP, AaveV3Market


def make_market(config: MarketConfig, network: Network | None = None) -> AaveV3Market:
    """The market of a `[[market]]` table of `network`, whose exchange, helper and wrapped native coin it uses.

    Raises ValueError that names the key to mend.
    """
    provider = config.options.get("pool_addresses_provider")
    if not isinstance(provider, str) or not _is_address(provider):
        raise ValueError(
            f"market {config.protocol}/{config.name}: pool_addresses_provider must be an address (0x and 40 hex digits)"
        )
    if network is None:
        return AaveV3Market(config.name, provider.lower(), config.price_heartbeat)
    named, wrapped = network.helpers.get(HELPER_KEY), network.wrapped_native
    return AaveV3Market(
        config.name,
        provider.lower(),
        config.price_heartbeat,
        router=_router_of(network),
        named_helper=None if named is None else named.lower(),
        chain_id=network.chain_id,
        wrapped_native=None if wrapped is None else wrapped.lower(),
    )


def _router_of(network: Network) -> str | None:
    """SwapRouter02 of the first exchange that names it, lower-case; None where none does. Raises ValueError."""
    for swap in network.swaps:
        router = swap.options.get(ROUTER_KEY)
        if swap.kind != UNISWAP or router is None:
            continue
        if not isinstance(router, str) or not _is_address(router):
            raise ValueError(f"swap {swap.kind}: {ROUTER_KEY} must be an address (0x and 40 hex digits)")
        return router.lower()
    return None


def _is_address(text: str) -> bool:
    if len(text) != 42 or not text.startswith("0x"):
        return False
    return all(digit in "0123456789abcdefABCDEF" for digit in text[2:])
