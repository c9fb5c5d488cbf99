"""From the configured exchanges to the quoters that ask them."""

from __future__ import annotations

from collections.abc import Mapping

from tui.model.network import Network, SwapConfig
from tui.quotes.base import Quoter, Swapper
from tui.quotes.router02 import Router02
from tui.quotes.uniswap_v3 import UniswapV3


def make_quoters(network: Network) -> tuple[Quoter, ...]:
    """A quoter for each `[[swap]]` table. Raises ValueError that names the key to mend."""
    return tuple(_make(config, network.wrapped_native) for config in network.swaps)


def make_swapper(network: Network) -> Swapper | None:
    """What an account swaps with by itself: the router of the first `[[swap]]` table that names one; None where none
    does. Raises ValueError that names the key to mend.
    """
    for config in network.swaps:
        if config.kind == "uniswap-v3" and config.options.get("router02") is not None:
            router = _address(config, "router02", config.options["router02"])
            return Router02(router, _bases(config, network.wrapped_native))
    return None


def _make(config: SwapConfig, wrapped_native: str | None) -> Quoter:
    if config.kind != "uniswap-v3":
        raise ValueError(f"swap {config.kind}: not known; use: uniswap-v3")
    options: Mapping[str, object] = config.options
    return UniswapV3(
        factory=_address(config, "factory", options.get("factory")),
        quoter=_address(config, "quoter_v2", options.get("quoter_v2")),
        bases=_bases(config, wrapped_native),
    )


def _bases(config: SwapConfig, wrapped_native: str | None) -> tuple[str, ...]:
    """The tokens that a route may lead through, the wrapped native coin first."""
    bases = config.options.get("bases", ())
    if not isinstance(bases, (list, tuple)):
        raise ValueError(f'swap {config.kind}: bases must be a list of addresses, like ["0x..."]')
    through = [_address(config, "bases", base) for base in bases]
    if wrapped_native is not None:
        through.insert(0, wrapped_native.lower())
    return tuple(dict.fromkeys(through))


def _address(config: SwapConfig, key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) != 42 or not value.startswith("0x"):
        raise ValueError(f"swap {config.kind}: {key} must be an address (0x and 40 hex digits)")
    try:
        int(value[2:], 16)
    except ValueError as error:
        raise ValueError(f"swap {config.kind}: {key} must be an address (0x and 40 hex digits)") from error
    return value.lower()
