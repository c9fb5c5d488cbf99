"""Uniswap's SwapRouter02 as an account calls it by itself: exact amounts in, everything that comes out to the account.

Exact input, because the approval of exactly that amount is used up by it: nothing may be taken afterwards. The router
takes tokens of the sender of a call alone. Its single calls know no deadline, and a batch with one would hide its words
from the signer: what bounds a late one is the least that must come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from tui.model.plan import SwapCall
from tui.model.signing import WordRule
from tui.model.units import UINT256_MAX
from tui.quotes.base import SwapOrder
from tui.quotes.uniswap_v3 import FEE_TIERS, Route, decode_path, venue_of

EXACT_INPUT_SINGLE = bytes.fromhex("04e45aaf")
"""exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"""
EXACT_INPUT = bytes.fromhex("b858183f")
"""exactInput((bytes,address,uint256,uint256))"""
_SINGLE_AMOUNT_WORD = 4
_AMOUNT_WORD = 3
_PATH_WORD = 6
"""Where the bytes of a path begin, after their length."""
_USUAL_FEE = 3000
"""The pool of a call that is only a shape."""


@dataclass(frozen=True, slots=True)
class Router02:
    """The router of one chain, lower-case hex. `bases` and `fee_tiers` as its quoter has them: no route leads through
    anything else.
    """

    router: str
    bases: tuple[str, ...] = ()
    fee_tiers: tuple[int, ...] = FEE_TIERS

    @property
    def spender(self) -> str:
        """The router itself."""
        return self.router

    def call(self, order: SwapOrder, path: bytes) -> SwapCall:
        """See Swapper.call; `path` is packed as for an exact output."""
        ends = (order.sold.address, order.bought.address)
        route = decode_path(path) if path else Route(ends, (_USUAL_FEE,))
        if (route.tokens[0], route.tokens[-1]) != ends:
            raise ValueError(f"the path does not lead from {order.sold.symbol} to {order.bought.symbol}")
        if not 0 < order.amount_in <= UINT256_MAX or not 0 < order.least_out <= UINT256_MAX:
            raise ValueError("a swap of nothing, or for nothing")
        return self._single(order, route) if len(route.fees) == 1 else self._along(order, route)

    def shapes(self, order: SwapOrder) -> tuple[SwapCall, ...]:
        """Every fee tier, then each pair of tiers through each base: their pools are bound one by one."""
        sold, bought = order.sold.address, order.bought.address
        direct = [Route((sold, bought), (fee,)) for fee in self.fee_tiers]
        through = [
            Route((sold, base, bought), fees)
            for base in dict.fromkeys(self.bases)
            if base not in (sold, bought)
            for fees in product(self.fee_tiers, repeat=2)
        ]
        return tuple(
            self._single(order, route) if len(route.fees) == 1 else self._along(order, route)
            for route in (*direct, *through)
        )

    def _single(self, order: SwapOrder, route: Route) -> SwapCall:
        sold, bought, account = (int(one, 16) for one in (order.sold.address, order.bought.address, order.account))
        words = (sold, bought, route.fees[0], account, order.amount_in, order.least_out, 0)
        rules = (
            WordRule(0, equals=sold),
            WordRule(1, equals=bought),
            WordRule(2, equals=route.fees[0]),
            WordRule(3, equals=account),
            WordRule(_SINGLE_AMOUNT_WORD, maximum=order.amount_in),
            WordRule(5, minimum=1),
            WordRule(6, equals=0),
        )
        return self._made(order, route, EXACT_INPUT_SINGLE, words, rules, _SINGLE_AMOUNT_WORD)

    def _along(self, order: SwapOrder, route: Route) -> SwapCall:
        packed = pack_forwards(route)
        padded = packed + bytes(-len(packed) % 32)
        account = int(order.account, 16)
        path = [int.from_bytes(padded[at : at + 32], "big") for at in range(0, len(padded), 32)]
        words = (32, 128, account, order.amount_in, order.least_out, len(packed), *path)
        rules = (
            WordRule(0, equals=32),
            WordRule(1, equals=128),
            WordRule(2, equals=account),
            WordRule(_AMOUNT_WORD, maximum=order.amount_in),
            WordRule(4, minimum=1),
            WordRule(5, equals=len(packed)),
            *(WordRule(_PATH_WORD + at, equals=word) for at, word in enumerate(path)),
        )
        return self._made(order, route, EXACT_INPUT, words, rules, _AMOUNT_WORD)

    def _made(
        self,
        order: SwapOrder,
        route: Route,
        selector: bytes,
        words: tuple[int, ...],
        rules: tuple[WordRule, ...],
        spend_word: int,
    ) -> SwapCall:
        data = selector + b"".join(word.to_bytes(32, "big") for word in words)
        return SwapCall(
            venue_of(route), self.router, self.router, data, order.amount_in, order.least_out, rules, spend_word
        )


def pack_forwards(route: Route) -> bytes:
    """A route packed for an exact input: from the token sold to the token bought."""
    packed = bytes.fromhex(route.tokens[0][2:])
    for token, fee in zip(route.tokens[1:], route.fees, strict=True):
        packed += fee.to_bytes(3, "big") + bytes.fromhex(token[2:])
    return packed
