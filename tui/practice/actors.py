"""Who else is in the market: the arbitrageur, the liquidator and the whale that pins a reserve. Calldata only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tui.practice.abi import calldata, decode_words
from tui.practice.accounts import ARBITRAGEUR, BORROWER, LIQUIDATOR, OWNER
from tui.practice.market import VARIABLE_RATE, Market
from tui.practice.scenarios import GWEI
from tui.practice.tokens import ASSET_BY_SYMBOL, FEED_UNIT, MAX_UINT256
from tui.practice.uniswap import Pool, sqrt_price_x96

WAD = 10**18
BORROW_TOPIC = "0xb3d084820fb1a9decffb176436bd02558d15fac9b0ddfed8c465bc7359d7dce0"
"""keccak of Borrow(address,address,address,uint256,uint8,uint256,uint16), the pool's event."""

_SWAP = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
_SWAP_BUDGET_USD = 300_000_000
_DUST_USD = 1
_PIN_LEAVES_TOKENS = 20_000
_MAX_DEVIATION_PPM = {100: 150, 500: 500, 3000: 3000}
"""How far a pool may stand from the oracle before arbitrage pays its fee, by the pool's fee."""


@dataclass(frozen=True, slots=True)
class Move:
    """One transaction of an actor."""

    sender: str
    to: str
    data: str
    tip: int
    gas: int
    what: str


@dataclass(frozen=True, slots=True)
class Holding:
    """One reserve of an account: base units supplied and owed, and whether the supply is collateral."""

    supplied: int
    owed: int
    is_collateral: bool


def publish_moves(market: Market, answers: Mapping[str, int], published: Mapping[str, int]) -> list[Move]:
    """Feed updates for every answer that moved by a basis point or more since it was last published."""
    return [
        Move(
            OWNER,
            market.tokens[symbol].feed,
            calldata("setAnswer(int256)", answer),
            5 * GWEI,
            150_000,
            f"publish {symbol}",
        )
        for symbol, answer in answers.items()
        if symbol not in published or abs(answer - published[symbol]) * 10_000 >= published[symbol]
    ]


def arbitrage_moves(market: Market, answers: Mapping[str, int], prices: Mapping[str, int]) -> list[Move]:
    """Swaps that bring each pool (address -> sqrtPriceX96 in ``prices``) to the oracle's price."""
    moves = []
    for pool in market.pools:
        target = sqrt_price_x96(pool.symbol0, pool.symbol1, dict(answers))
        current = prices[pool.address]
        # The price is the square of what is compared, so its deviation is twice as large.
        if 2 * abs(current - target) * 1_000_000 < target * _MAX_DEVIATION_PPM[pool.fee]:
            continue
        moves.append(_swap(market, pool, target, answers, sell0=current > target))
    return moves


def _swap(market: Market, pool: Pool, target: int, answers: Mapping[str, int], *, sell0: bool) -> Move:
    sold, bought = (pool.symbol0, pool.symbol1) if sell0 else (pool.symbol1, pool.symbol0)
    amount = _SWAP_BUDGET_USD * FEED_UNIT * ASSET_BY_SYMBOL[sold].unit // answers[sold]
    tokens = market.tokens
    arguments = (tokens[sold].address, tokens[bought].address, pool.fee, ARBITRAGEUR, amount, 0, target)
    return Move(
        ARBITRAGEUR,
        market.router02,
        calldata(_SWAP, arguments),
        GWEI,
        500_000,
        f"arbitrage {pool.symbol0}/{pool.symbol1}",
    )


def pin_moves(market: Market, symbol: str | None, available: int) -> list[Move]:
    """The whale borrows all but a little of what a reserve has left (``available`` base units)."""
    if symbol is None:
        return []
    token = market.tokens[symbol]
    amount = available - _PIN_LEAVES_TOKENS * token.unit
    if amount < token.unit:
        return []
    data = calldata("borrow(address,uint256,uint256,uint16,address)", token.address, amount, VARIABLE_RATE, 0, BORROWER)
    return [Move(BORROWER, market.pool, data, GWEI, 600_000, f"borrow out {symbol}")]


def liquidation_move(
    market: Market, account: str, holdings: Mapping[str, Holding], answers: Mapping[str, int]
) -> Move | None:
    """Liquidate ``account``'s largest debt against its largest collateral; None where only dust is left.

    How much of the debt may be covered is the pool's rule (its close factor), so all of it is offered.
    """

    def value(symbol: str, amount: int) -> int:
        return amount * answers[symbol] // market.tokens[symbol].unit

    debts = {symbol: value(symbol, holding.owed) for symbol, holding in holdings.items() if holding.owed}
    collateral = {
        symbol: value(symbol, holding.supplied)
        for symbol, holding in holdings.items()
        if holding.is_collateral and holding.supplied
    }
    if not debts or not collateral:
        return None
    debt = max(debts, key=lambda symbol: debts[symbol])
    taken = max(collateral, key=lambda symbol: collateral[symbol])
    if min(debts[debt], collateral[taken]) < _DUST_USD * FEED_UNIT:
        return None
    data = calldata(
        "liquidationCall(address,address,address,uint256,bool)",
        market.tokens[taken].address,
        market.tokens[debt].address,
        account,
        MAX_UINT256,
        False,
    )
    return Move(LIQUIDATOR, market.pool, data, 2 * GWEI, 1_200_000, f"liquidate {account}: {debt} for {taken}")


def holdings_calls(market: Market, account: str) -> list[tuple[str, str]]:
    """(to, calldata) of the reads that ``decode_holdings`` understands, one for each token."""
    return [
        (
            market.data_provider,
            calldata("getUserReserveData(address,address)", token.address, account),
        )
        for token in market.tokens.values()
    ]


def decode_holdings(market: Market, results: Iterable[str]) -> dict[str, Holding]:
    """Symbol -> holding from the results of ``holdings_calls``."""
    kinds = ["uint256"] * 7 + ["uint40", "bool"]
    rows = (decode_words(kinds, result) for result in results)
    return {symbol: Holding(row[0], row[1] + row[2], row[8]) for symbol, row in zip(market.tokens, rows, strict=True)}
