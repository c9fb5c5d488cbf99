"""Opens the positions a practice run is about: the trader's, its twin, an e-mode one and a mixed one."""

from __future__ import annotations

from dataclasses import dataclass

from tui.practice.accounts import OWNER
from tui.practice.deploy import Deployer
from tui.practice.market import VARIABLE_RATE, Market
from tui.practice.node import Node
from tui.practice.tokens import ASSET_BY_SYMBOL, ETH_EMODE, MAX_UINT256, give

ETHER = 10**18


@dataclass(frozen=True, slots=True)
class Recipe:
    """A position to open. Amounts are (symbol, thousandths of a token)."""

    label: str
    collateral: tuple[tuple[str, int], ...]
    debt: tuple[tuple[str, int], ...]
    wallet: tuple[tuple[str, int], ...] = ()
    ether: int = 10 * ETHER
    emode: int = 0


_LEVERAGED_COLLATERAL = (("WETH", 20_000),)
_LEVERAGED_DEBT = (("USDC", 36_889_000),)
DEFENCE_WALLET = (("USDC", 30_000_000), ("WETH", 5_000))
"""What the trader (and the twin) can defend with: 30,000 USDC and 5 WETH, enough for the whole crash."""

TRADER_RECIPE = Recipe("leveraged WETH/USDC", _LEVERAGED_COLLATERAL, _LEVERAGED_DEBT, DEFENCE_WALLET)
"""Health factor 1.35 at the start prices: 20 x 3000 x 0.83 / 36,889."""
TWIN_RECIPE = Recipe("the same without a rule", _LEVERAGED_COLLATERAL, _LEVERAGED_DEBT, DEFENCE_WALLET)
EMODE_RECIPE = Recipe("wstETH/WETH in e-mode", (("wstETH", 100_000),), (("WETH", 105_500),), emode=ETH_EMODE)
MULTI_RECIPE = Recipe(
    "WETH and WBTC against USDC and DAI",
    (("WETH", 8_000), ("WBTC", 600)),
    (("USDC", 26_000_000), ("DAI", 16_000_000)),
)


def _units(symbol: str, thousandths: int) -> int:
    return thousandths * ASSET_BY_SYMBOL[symbol].unit // 1000


def open_positions(node: Node, market: Market, recipes: dict[str, Recipe]) -> None:
    """Open ``recipes`` (by account) on a market; mines its own blocks and leaves the node mining by itself.

    The accounts need no key: collateral is supplied on their behalf, and the node sends their borrows for them.

    Raises:
        PracticeError: a transaction failed.
    """
    tokens = {symbol: token.address for symbol, token in market.tokens.items()}
    owner = Deployer(node.rpc, OWNER)
    for symbol in {symbol for recipe in recipes.values() for symbol, _ in recipe.collateral}:
        owner.do(tokens[symbol], "approve(address,uint256)", market.pool, MAX_UINT256)
    for account, recipe in recipes.items():
        owner.send(account, "0x", value=recipe.ether)
        for symbol, thousandths in recipe.collateral:
            amount = _units(symbol, thousandths)
            give(owner, tokens, symbol, amount, OWNER)
            owner.do(market.pool, "supply(address,uint256,address,uint16)", tokens[symbol], amount, account, 0)
        for symbol, thousandths in recipe.wallet:
            give(owner, tokens, symbol, _units(symbol, thousandths), account)
    owner.flush()
    node.rpc.batch([("anvil_impersonateAccount", [account]) for account in recipes])
    borrower = Deployer(node.rpc, OWNER)
    for account, recipe in recipes.items():
        if recipe.emode:
            borrower.do(market.pool, "setUserEMode(uint8)", recipe.emode, sender=account)
        for symbol, thousandths in recipe.debt:
            # What was borrowed has been spent: the wallet holds only what the recipe gives it.
            amount = _units(symbol, thousandths)
            borrower.do(
                market.pool,
                "borrow(address,uint256,uint256,uint16,address)",
                tokens[symbol],
                amount,
                VARIABLE_RATE,
                0,
                account,
                sender=account,
            )
            borrower.do(tokens[symbol], "transfer(address,uint256)", OWNER, amount, sender=account)
    borrower.flush()
    node.rpc.batch([("anvil_stopImpersonatingAccount", [account]) for account in recipes])
