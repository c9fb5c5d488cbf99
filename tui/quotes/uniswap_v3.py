"""Uniswap V3 asked on chain: what QuoterV2 wants for an exact output over every fee tier and two-pool route.

Pools are found by arithmetic (CREATE2 of the factory), their prices read from slot0 at the same block as the quotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from tui.model.calls import Call, CallResult
from tui.model.units import WAD
from tui.quotes.base import Quote, SwapRequest, fair_ratio

QUOTE_EXACT_OUTPUT = bytes.fromhex("2f80bb1d")
"""quoteExactOutput(bytes,uint256) of QuoterV2"""
SLOT0 = bytes.fromhex("3850c7bd")
"""slot0()"""
FEE_TIERS = (100, 500, 3000, 10000)
"""In hundredths of a basis point."""
FEE_UNIT = 1_000_000
POOL_CODE_HASH = "0xe34f199b19b2b4f47f68442619d555527d244f78a3297ea89325f843f87b8b54"
"""keccak256 of a pool's creation code, the same on every chain where Uniswap itself deployed it."""
MAX_POOLS = 3
_FEE_BYTES = 3
_HOP = 20 + _FEE_BYTES
_Q96 = 2**96


@dataclass(frozen=True, slots=True)
class Route:
    """A way through pools: `tokens` (lower-case hex) from the one sold to the one bought, `fees` of the pools."""

    tokens: tuple[str, ...]
    fees: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.fees) <= MAX_POOLS or len(self.tokens) != len(self.fees) + 1:
            raise ValueError(f"a route goes through one to {MAX_POOLS} pools")


@dataclass(frozen=True, slots=True)
class UniswapV3:
    """The quoter of one chain's Uniswap V3. Addresses in lower-case hex.

    `bases`: tokens through which a route may go in between (the wrapped native coin, the large dollars).
    """

    factory: str
    quoter: str
    bases: tuple[str, ...] = ()
    fee_tiers: tuple[int, ...] = FEE_TIERS
    pool_code_hash: str = POOL_CODE_HASH

    def routes(self, request: SwapRequest) -> tuple[Route, ...]:
        """Every route that is asked about: each fee tier, then each pair of tiers through each base."""
        sold, bought = request.sold.address, request.bought.address
        if sold == bought:
            return ()
        direct = [Route((sold, bought), (fee,)) for fee in self.fee_tiers]
        through = [
            Route((sold, base, bought), fees)
            for base in dict.fromkeys(self.bases)
            if base not in (sold, bought)
            for fees in product(self.fee_tiers, repeat=2)
        ]
        return (*direct, *through)

    def calls(self, request: SwapRequest) -> tuple[Call, ...]:
        """The price of every pool, then a quote for every route; see Quoter.calls."""
        routes = self.routes(request)
        pools = [Call(self.pool(*pair, fee), SLOT0) for pair, fee in _pools(routes)]
        return (*pools, *(Call(self.quoter, quote_data(route, request.amount_out)) for route in routes))

    def decode(self, request: SwapRequest, results: Sequence[CallResult]) -> tuple[Quote, ...]:
        """Quotes by `amount_in`, then by the number of pools; see Quoter.decode."""
        routes = self.routes(request)
        pools = _pools(routes)
        if len(results) != len(pools) + len(routes) or request.amount_out <= 0:
            return ()
        prices = {pool: decode_sqrt_price(result.data) for pool, result in zip(pools, results, strict=False)}
        quotes = []
        for route, result in zip(routes, results[len(pools) :], strict=True):
            answer = decode_quote(result.data)
            spot = [prices[pool] for pool in _pools((route,))]
            if answer is not None and all(spot):
                quotes.append(_quote(request, route, answer, [one or 0 for one in spot]))
        return tuple(sorted(quotes, key=lambda quote: (quote.amount_in, len(quote.path))))

    def pool(self, one: str, other: str, fee: int) -> str:
        """The address of a pool (lower-case hex), whether it exists or not."""
        token0, token1 = sorted((one, other), key=lambda address: int(address, 16))
        salt = _keccak(_word(int(token0, 16)) + _word(int(token1, 16)) + _word(fee))
        code_hash = bytes.fromhex(self.pool_code_hash[2:])
        return "0x" + _keccak(b"\xff" + bytes.fromhex(self.factory[2:]) + salt + code_hash)[12:].hex()


def encode_path(route: Route) -> bytes:
    """A route packed for an exact output: backwards, from the token bought to the token sold."""
    packed = bytes.fromhex(route.tokens[-1][2:])
    for token, fee in zip(reversed(route.tokens[:-1]), reversed(route.fees), strict=True):
        packed += fee.to_bytes(_FEE_BYTES, "big") + bytes.fromhex(token[2:])
    return packed


def decode_path(path: bytes) -> Route:
    """The route of a path packed for an exact output. Raises ValueError for bytes that are none."""
    pools, rest = divmod(len(path) - 20, _HOP)
    if rest or not 1 <= pools <= MAX_POOLS:
        raise ValueError(f"{len(path)} bytes are not a path through one to {MAX_POOLS} pools")
    tokens = tuple("0x" + path[at : at + 20].hex() for at in range(0, len(path), _HOP))
    fees = tuple(int.from_bytes(path[at : at + _FEE_BYTES], "big") for at in range(20, len(path), _HOP))
    return Route(tokens[::-1], fees[::-1])


def venue_of(route: Route) -> str:
    """`Uniswap V3 0.05%`, `Uniswap V3 0.3% + 0.05%`."""
    return "Uniswap V3 " + " + ".join(_percent(fee) for fee in route.fees)


def quote_data(route: Route, amount_out: int) -> bytes:
    """Calldata of QuoterV2.quoteExactOutput."""
    path = encode_path(route)
    padded = path + bytes(-len(path) % 32)
    return QUOTE_EXACT_OUTPUT + _word(64) + _word(amount_out) + _word(len(path)) + padded


def decode_quote(data: bytes | None) -> tuple[int, int] | None:
    """amountIn and gas estimate of QuoterV2's answer; None for anything that is not one."""
    if data is None or len(data) < 128 or len(data) % 32:
        return None
    amount, gas = int.from_bytes(data[:32], "big"), int.from_bytes(data[96:128], "big")
    return (amount, gas) if 0 < amount < 2**255 and gas < 2**64 else None


def decode_sqrt_price(data: bytes | None) -> int | None:
    """sqrtPriceX96 of an answer of slot0; None where there is no pool, or one without a price."""
    if data is None or len(data) != 7 * 32:
        return None
    price = int.from_bytes(data[:32], "big")
    return price if 0 < price < 2**160 else None


def spot_ratio(route: Route, sqrt_prices: Sequence[int]) -> tuple[int, int]:
    """How many base units of the token sold buy how many of the token bought at the pools' prices, before fees.

    An exact fraction; `sqrt_prices` (X96) in the order of the route.
    """
    sold = bought = 1
    for pair, sqrt_price in zip(pairwise(route.tokens), sqrt_prices, strict=True):
        price1, price0 = sqrt_price * sqrt_price, _Q96 * _Q96  # so many of token1 for so many of token0
        if int(pair[0], 16) < int(pair[1], 16):
            sold, bought = sold * price0, bought * price1
        else:
            sold, bought = sold * price1, bought * price0
    return sold, bought


def _quote(request: SwapRequest, route: Route, answer: tuple[int, int], spot: Sequence[int]) -> Quote:
    amount_in, gas = answer
    out = request.amount_out
    sold, bought = spot_ratio(route, spot)
    kept_over, kept_under = 1, 1
    for fee in route.fees:
        kept_over, kept_under = kept_over * (FEE_UNIT - fee), kept_under * FEE_UNIT
    # What is left of a unit sold: out * sold/bought is its worth at the pools' prices, of which fees take their part.
    impact = WAD - out * sold * kept_under * WAD // (bought * kept_over * amount_in)
    gap = loss = None
    fair = fair_ratio(request)
    if fair is not None:
        loss = WAD - out * fair[0] * WAD // (fair[1] * amount_in)
        gap = WAD - fair[0] * bought * WAD // (fair[1] * sold)
    return Quote(
        request=request,
        venue=venue_of(route),
        path=encode_path(route),
        amount_in=amount_in,
        fees=WAD - kept_over * WAD // kept_under,
        impact=max(impact, 0),
        gap=gap,
        loss=loss,
        gas=gas,
    )


def _percent(fee: int) -> str:
    whole, part = divmod(fee, 10_000)
    return f"{whole}.{part:04}".rstrip("0").rstrip(".") + "%"


def _pools(routes: Sequence[Route]) -> tuple[tuple[tuple[str, str], int], ...]:
    """Every pool on the routes once, in order; a pair as the route passes it, or as it did the first time."""
    found: dict[tuple[tuple[str, str], int], None] = {}
    for route in routes:
        for pair, fee in zip(pairwise(route.tokens), route.fees, strict=True):
            found.setdefault(((min(pair), max(pair)), fee))
    return tuple(found)


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _keccak(data: bytes) -> bytes:
    from eth_hash.auto import keccak  # loads a native library: not at import time

    return bytes(keccak(data))
