"""Groups of one price root."""

from __future__ import annotations

from tui.model.position import Asset
from tui.risk.correlation import groups_of, root_of


def _asset(symbol: str, number: int = 0) -> Asset:
    return Asset(f"0x{hash(symbol) % 2**32 + number:040x}", symbol, 18)


def test_roots() -> None:
    assert {root_of(symbol) for symbol in ("WETH", "wstETH", "weETH", "rETH", "cbETH")} == {"ETH"}
    assert {root_of(symbol) for symbol in ("WBTC", "cbBTC", "tBTC")} == {"BTC"}
    assert root_of("USDC") is None
    # A symbol differs by case: what only looks alike is not grouped.
    assert root_of("weth") is None


def test_a_group_needs_two_and_is_led_by_the_plainest() -> None:
    weth, wsteth, wbtc, usdc = (_asset(symbol) for symbol in ("WETH", "wstETH", "WBTC", "USDC"))
    assert groups_of([wsteth, usdc, weth, wbtc]) == ((weth, wsteth),)
    assert groups_of([weth, usdc, wbtc]) == ()
    weeth = _asset("weETH")
    assert groups_of([weeth, wsteth]) == ((weeth, wsteth),)
    cbbtc = _asset("cbBTC")
    assert groups_of([cbbtc, weth, wbtc, wsteth]) == ((cbbtc, wbtc), (weth, wsteth))
