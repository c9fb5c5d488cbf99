"""The practice market's assets: their figures, token contracts and price feeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tui.practice.deploy import Deployer

FEED = Path(__file__).parent / "contracts" / "Feed.json"
FEED_UNIT = 10**8
"""Feeds answer USD with 8 decimals."""

ETH_EMODE = 1
STABLE_EMODE = 2
MAX_UINT256 = 2**256 - 1


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset's start price and Aave parameters; ratios in bps, amounts in whole tokens."""

    symbol: str
    name: str
    decimals: int
    price_usd: int
    ltv: int
    liquidation_threshold: int
    liquidation_bonus: int
    emode: int
    reserve_factor: int
    base_rate: int
    slope1: int
    slope2: int
    optimal_usage: int
    supplied: int
    borrowed: int

    @property
    def unit(self) -> int:
        """Base units in one token."""
        return int(10**self.decimals)


# The figures are close to the largest public market's; supplied and borrowed make rates worth looking at.
ASSETS = (
    Asset("WETH", "Wrapped Ether", 18, 3000, 8050, 8300, 10500, ETH_EMODE, 1500, 0, 270, 8000, 9000, 40_000, 28_000),
    Asset(
        "wstETH", "Wrapped staked Ether", 18, 3600, 7850, 8100, 10600, ETH_EMODE, 500, 0, 100, 8000, 8000, 16_000, 1_600
    ),
    Asset("WBTC", "Wrapped Bitcoin", 8, 90000, 7300, 7800, 10500, 0, 2000, 0, 400, 30000, 4500, 3_000, 300),
    Asset(
        "USDC",
        "USD Coin",
        6,
        1,
        7500,
        7800,
        10450,
        STABLE_EMODE,
        1000,
        0,
        550,
        4000,
        9200,
        80_000_000,
        62_000_000,
    ),
    Asset(
        "DAI",
        "Dai Stablecoin",
        18,
        1,
        6300,
        7700,
        10500,
        STABLE_EMODE,
        2500,
        0,
        550,
        4000,
        9200,
        30_000_000,
        22_000_000,
    ),
    Asset(
        "USDT",
        "Tether USD",
        6,
        1,
        7500,
        7800,
        10450,
        STABLE_EMODE,
        1000,
        0,
        550,
        4000,
        9200,
        40_000_000,
        30_000_000,
    ),
)
ASSET_BY_SYMBOL = {asset.symbol: asset for asset in ASSETS}


def deploy_tokens(deployer: Deployer, contracts: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Deploy every token and its feed at its start price; returns symbol -> token and symbol -> feed."""
    tokens: dict[str, str] = {}
    feeds: dict[str, str] = {}
    owner = deployer.sender
    for asset in ASSETS:
        if asset.symbol == "WETH":
            tokens["WETH"] = deployer.create(contracts / "aave_v3/WETH9.json")
        elif asset.symbol == "USDC":
            tokens["USDC"] = _deploy_usdc(deployer, contracts)
        else:
            tokens[asset.symbol] = deployer.create(
                contracts / "aave_v3/MintableERC20.json", asset.name, asset.symbol, asset.decimals
            )
        feeds[asset.symbol] = deployer.create(FEED, f"{asset.symbol} / USD", asset.price_usd * FEED_UNIT)
    deployer.do(tokens["USDC"], "configureMinter(address,uint256)", owner, MAX_UINT256)
    deployer.flush()
    return tokens, feeds


def _deploy_usdc(deployer: Deployer, contracts: Path) -> str:
    """Circle's token without its proxy, brought to version 2.1, where permit works."""
    owner = deployer.sender
    usdc = deployer.create(contracts / "centre/FiatTokenV2_1.json")
    deployer.do(
        usdc,
        "initialize(string,string,string,uint8,address,address,address,address)",
        "USD Coin",
        "USDC",
        "USD",
        6,
        owner,
        owner,
        owner,
        owner,
    )
    deployer.do(usdc, "initializeV2(string)", "USD Coin")
    # Version 2.1 sends what the token itself holds to this address, and holds nothing.
    deployer.do(usdc, "initializeV2_1(address)", "0x000000000000000000000000000000000000dEaD")
    return usdc


def give(deployer: Deployer, tokens: dict[str, str], symbol: str, amount: int, to: str) -> None:
    """Queue ``amount`` base units of ``symbol`` for ``to``: minted, or wrapped from the sender's ether."""
    if amount == 0:
        return
    if symbol == "WETH":
        deployer.do(tokens["WETH"], "deposit()", value=amount)
        if to != deployer.sender:
            deployer.do(tokens["WETH"], "transfer(address,uint256)", to, amount)
    else:
        deployer.do(tokens[symbol], "mint(address,uint256)", to, amount)
