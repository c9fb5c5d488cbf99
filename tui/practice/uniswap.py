"""Deploys Uniswap V3 with full-range pools at the oracle's price, and says where a pool's price should be."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from pathlib import Path

from tui.practice.deploy import CREATE_GAS, Deployer
from tui.practice.tokens import ASSET_BY_SYMBOL, FEED_UNIT, MAX_UINT256, give

_MAX_TICK = 887272
_TICK_SPACING = {100: 1, 500: 10, 3000: 60}
_FAR_FUTURE = 2**40
_ZERO_ADDRESS = "0x" + "00" * 20


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool: its symbols in the order of their addresses, fee in hundredths of a bp."""

    address: str
    symbol0: str
    symbol1: str
    fee: int


@dataclass(frozen=True, slots=True)
class UniswapAddresses:
    """Where Uniswap V3 lives on the practice chain."""

    factory: str
    quoter_v2: str
    router02: str
    position_manager: str
    pools: tuple[Pool, ...]


# symbol, symbol, fee, liquidity in USD (both sides together)
POOLS = (
    ("WETH", "USDC", 500, 200_000_000),
    ("WBTC", "USDC", 500, 120_000_000),
    ("WETH", "WBTC", 500, 60_000_000),
    ("wstETH", "WETH", 100, 120_000_000),
    ("DAI", "USDC", 100, 120_000_000),
    ("USDT", "USDC", 100, 120_000_000),
    ("WETH", "DAI", 500, 40_000_000),
)


def sqrt_price_x96(symbol0: str, symbol1: str, answers: dict[str, int]) -> int:
    """The pool price sqrt(token1/token0)*2**96 that equals the feeds' ``answers`` (USD, 8 decimals)."""
    unit0, unit1 = ASSET_BY_SYMBOL[symbol0].unit, ASSET_BY_SYMBOL[symbol1].unit
    return isqrt(((answers[symbol0] * unit1) << 192) // (answers[symbol1] * unit0))


def deploy_uniswap(deployer: Deployer, contracts: Path, tokens: dict[str, str]) -> UniswapAddresses:
    """Deploy the factory, position manager, router and quoter, and fill every pool of ``POOLS``."""
    folder = contracts / "uniswap_v3"
    weth = tokens["WETH"]
    factory = deployer.create(folder / "UniswapV3Factory.json")
    deployer.do(factory, "enableFeeAmount(uint24,int24)", 100, 1)  # a factory is born without the 1 bp tier
    manager = deployer.create(folder / "NonfungiblePositionManager.json", factory, weth, _ZERO_ADDRESS)
    router = deployer.create(
        contracts / "uniswap-swap-contracts/SwapRouter02.json", _ZERO_ADDRESS, factory, manager, weth
    )
    quoter = deployer.create(folder / "QuoterV2.json", factory, weth)
    for token in tokens.values():
        deployer.do(token, "approve(address,uint256)", manager, MAX_UINT256)
        deployer.do(token, "approve(address,uint256)", router, MAX_UINT256)
    answers = {symbol: asset.price_usd * FEED_UNIT for symbol, asset in ASSET_BY_SYMBOL.items()}
    ordered = [_ordered(a, b, tokens) for a, b, *_ in POOLS]
    for (symbol0, symbol1), (_, _, fee, usd) in zip(ordered, POOLS, strict=True):
        pair = (tokens[symbol0], tokens[symbol1])
        deployer.do(
            manager,
            "createAndInitializePoolIfNecessary(address,address,uint24,uint160)",
            *pair,
            fee,
            sqrt_price_x96(symbol0, symbol1, answers),
            gas=CREATE_GAS,
        )
        amounts = [
            usd // 2 * ASSET_BY_SYMBOL[each].unit // ASSET_BY_SYMBOL[each].price_usd for each in (symbol0, symbol1)
        ]
        for symbol, amount in zip((symbol0, symbol1), amounts, strict=True):
            give(deployer, tokens, symbol, amount, deployer.sender)
        edge = _MAX_TICK // _TICK_SPACING[fee] * _TICK_SPACING[fee]
        deployer.do(
            manager,
            "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))",
            (*pair, fee, -edge, edge, *amounts, 0, 0, deployer.sender, _FAR_FUTURE),
        )
    deployer.flush()
    found = deployer.read_many(
        [
            (factory, "getPool(address,address,uint24)", ["address"], (tokens[a], tokens[b], fee))
            for a, b, fee, _ in POOLS
        ]
    )
    pools = tuple(Pool(row[0], *pair, fee) for row, pair, (_, _, fee, _) in zip(found, ordered, POOLS, strict=True))
    return UniswapAddresses(factory, quoter, router, manager, pools)


def _ordered(a: str, b: str, tokens: dict[str, str]) -> tuple[str, str]:
    return (a, b) if int(tokens[a], 16) < int(tokens[b], 16) else (b, a)
