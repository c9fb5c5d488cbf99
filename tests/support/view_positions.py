"""Positions as a market would read them, and the accounts, tokens and block that views are made of."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from tui.model.block import BlockRef
from tui.model.position import (
    Asset,
    Collateral,
    Debt,
    GroupLiquidation,
    MarketKey,
    Position,
    PositionKey,
)
from tui.model.units import parse_units

NOW = 1_790_000_000.0
MARKET = MarketKey("aave-v3", "core")
ALICE = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
BOB = "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc"
CAROL = "0x90f79bf6eb2c4f870365e785982e1f101e93b906"
DAVE = "0x15d34aaf54267db7d7c367839aaf71a00a2c6a65"

WETH = Asset("0x" + "a1" * 20, "WETH", 18)
WSTETH = Asset("0x" + "a2" * 20, "wstETH", 18)
WBTC = Asset("0x" + "a3" * 20, "WBTC", 8)
USDC = Asset("0x" + "b1" * 20, "USDC", 6)
DAI = Asset("0x" + "b2" * 20, "DAI", 18)
POOL = "0x" + "c1" * 20

BLOCK = BlockRef(19_482_113, "0x" + "5e" * 32, "0x" + "5d" * 32, int(NOW) - 3, 12_340_000_000)


def wad(text: str) -> int:
    """A decimal text in wad."""
    return parse_units(text, 18)


def usd(text: str) -> int:
    """Dollars with 8 decimals."""
    return parse_units(text, 8)


def leveraged(health: str = "1.1810", symbol: str = "WETH") -> Position:
    """Ten WETH against USDC."""
    asset = replace(WETH, symbol=symbol)
    return Position(
        PositionKey(MARKET, ALICE),
        BLOCK,
        (
            Collateral(
                asset,
                wad("10.482"),
                usd("3012.44"),
                usd("31576.39608"),
                wad("0.83"),
                True,
                wad("0.0121"),
                usd("2550.75"),
            ),
        ),
        (Debt(USDC, 22_191_123_456, usd("0.9999"), usd("22188.90434365"), wad("0.0482"), usd("1.1808")),),
        wad(health),
        usd("31576.39608"),
        usd("22188.90434365"),
        wad("-0.0217"),
        groups=(),
        seconds_to_liquidation=139_000_000,
        liquidation_penalty_usd=usd("1109.44"),
        native=MappingProxyType({"ltv": "0.7027"}),
    )


def emode() -> Position:
    """wstETH against WETH in the ETH-correlated mode."""
    return Position(
        PositionKey(MARKET, BOB),
        BLOCK,
        (
            Collateral(
                WSTETH,
                wad("42.1337"),
                usd("3544.12"),
                usd("149326.89"),
                wad("0.95"),
                True,
                wad("0.0008"),
                usd("3394.10"),
            ),
        ),
        (Debt(WETH, wad("45.1"), usd("3012.44"), usd("135861.04"), wad("0.0264"), usd("3145.61")),),
        wad("1.044150382190001234"),
        usd("149326.89"),
        usd("135861.04"),
        wad("-0.0102"),
        seconds_to_liquidation=52_000_000,
        liquidation_penalty_usd=usd("1358.61"),
        native=MappingProxyType({"e-mode": "ETH correlated"}),
        notes=("e-mode ETH correlated: threshold 95%, penalty 1%",),
    )


def mixed() -> Position:
    """Three assets against DAI and USDC."""
    return Position(
        PositionKey(MARKET, CAROL),
        BLOCK,
        (
            Collateral(
                WETH, wad("55.5"), usd("3012.44"), usd("167190.42"), wad("0.83"), True, wad("0.0121"), usd("1104.08")
            ),
            Collateral(WSTETH, wad("12.25"), usd("3544.12"), usd("43415.47"), wad("0.81"), True, wad("0.0008"), None),
            Collateral(WBTC, 125_000_000, usd("64250.00"), usd("80312.50"), wad("0.78"), True, wad("0.0002"), None),
            Collateral(USDC, 1_500_000_000, usd("0.9999"), usd("1499.85"), wad("0.78"), False, wad("0.0391"), None),
        ),
        (
            Debt(DAI, wad("90000"), usd("1.0001"), usd("90009"), wad("0.0511"), usd("1.91")),
            Debt(USDC, 48_000_000_000, usd("0.9999"), usd("47995.2"), wad("0.0482"), usd("2.71")),
        ),
        wad("1.7124"),
        usd("290918.39"),
        usd("138004.2"),
        wad("-0.0144"),
        groups=(GroupLiquidation((WETH, WSTETH), WETH, wad("0.4417"), usd("1330.59")),),
        seconds_to_liquidation=None,
        liquidation_penalty_usd=usd("6900.21"),
        native=MappingProxyType({"ltv": "0.4744"}),
        notes=("WBTC supply cap is 97% used",),
    )


def no_debt() -> Position:
    """Only supplied."""
    return Position(
        PositionKey(MARKET, DAVE),
        BLOCK,
        (Collateral(USDC, 5_000_000_000, usd("0.9999"), usd("4999.5"), wad("0.78"), True, wad("0.0391")),),
        (),
        None,
        usd("4999.5"),
        0,
        wad("0.0391"),
    )
