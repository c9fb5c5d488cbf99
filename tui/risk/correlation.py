"""Which assets share one price root, by symbol: they fall together, so a liquidation price must move them together.

The table is a judgement, not chain data. A symbol is whatever a token calls itself, so grouping may only ever add a
second, more cautious price beside the single one; nothing is decided by it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from tui.model.position import Asset

_MEMBERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ETH": (
            "WETH", "ETH", "stETH", "wstETH", "weETH", "eETH", "rETH", "cbETH", "ezETH", "rsETH", "osETH", "ETHx",
            "swETH", "rswETH", "mETH", "cmETH", "frxETH", "sfrxETH", "ankrETH", "wrsETH", "tETH", "pufETH", "OETH",
            "WETH.e", "WBETH", "lsETH", "LsETH",
        ),
        "BTC": (
            "WBTC", "BTC", "cbBTC", "tBTC", "LBTC", "eBTC", "FBTC", "renBTC", "sBTC", "BTC.b", "WBTC.e", "BTCB",
            "solvBTC", "pumpBTC", "uniBTC", "kBTC",
        ),
        "AVAX": ("WAVAX", "AVAX", "sAVAX", "ggAVAX"),
        "POL": ("WPOL", "WMATIC", "MATIC", "POL", "stMATIC", "MaticX"),
        "BNB": ("WBNB", "BNB", "slisBNB", "ankrBNB", "BNBx", "wclisBNB"),
        "SOL": ("SOL", "WSOL", "mSOL", "jitoSOL", "bSOL", "cbSOL"),
    }
)  # fmt: skip

_DOLLARS = frozenset({
    "USDC", "USDT", "DAI", "USDS", "sUSDS", "sDAI", "GHO", "LUSD", "FRAX", "crvUSD", "PYUSD", "USDe", "sUSDe", "TUSD",
    "USDP", "RLUSD", "USDtb", "BUSD", "sUSD", "USDC.e", "USDT.e", "USDbC", "USD₮0", "USDT0", "DAI.e",
    "axlUSDC", "FDUSD",
})  # fmt: skip
_ROOT = {symbol: root for root, symbols in _MEMBERS.items() for symbol in symbols}
_LEADS = ("WETH", "WBTC", "WAVAX", "WPOL", "WMATIC", "WBNB", "SOL", "cbBTC")


def root_of(symbol: str) -> str | None:
    """The price root of a symbol (case counts: symbols differ by it), or None for an asset that stands alone."""
    return _ROOT.get(symbol)


def is_dollar(symbol: str) -> bool:
    """Whether a symbol is one of a token that is kept at a dollar (or grows out of one)."""
    return symbol in _DOLLARS


def groups_of(assets: Iterable[Asset]) -> tuple[tuple[Asset, ...], ...]:
    """Groups of two or more of `assets` with one root. The first of each names the level: the plainest, else the
    first given.
    """
    by_root: dict[str, list[Asset]] = {}
    for asset in assets:
        root = _ROOT.get(asset.symbol)
        if root is not None:
            by_root.setdefault(root, []).append(asset)
    return tuple(
        tuple(sorted(members, key=lambda asset: asset.symbol not in _LEADS))
        for members in by_root.values()
        if len(members) > 1
    )
