"""Uniswap's SwapRouter02 as an account calls it by itself: exact amounts in, everything that comes out to the account.

Exact input, because the approval of exactly that amount is used up by it: nothing may be taken afterwards. The router
takes tokens of the sender of a call alone. Its swaps know no deadline; its batches do, so each goes in a batch of one.

A call within a call begins four bytes off, where no argument of it stands in a word that the signer could read. But
where in the calldata it begins is for the caller to say: here it begins so that its arguments are whole words of the
batch's. The offsets, the count and the length are bound like the rest, so that there is one way to read it.
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
MULTICALL = bytes.fromhex("5ae401dc")
"""multicall(uint256 deadline,bytes[] data): all of them, by the sender of the batch, or none once the block's time is
past the deadline.
"""
FIRST_WORD = 6
"""Where the arguments of the swap begin among the words of a batch."""
_HEAD = (2 * 32, 1, 60, 0)
"""After the deadline: where the list begins, that it has one entry, where that begins after the count (28 bytes later
than the usual 32), and the empty word in which its length begins.
"""
_SINGLE_AMOUNT_WORD = FIRST_WORD + 4
_AMOUNT_WORD = FIRST_WORD + 3
_PATH_WORD = FIRST_WORD + 6
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

    def call(self, order: SwapOrder, path: bytes, deadline: int) -> SwapCall:
        """See Swapper.call; `path` is packed as for an exact output."""
        ends = (order.sold.address, order.bought.address)
        route = decode_path(path) if path else Route(ends, (_USUAL_FEE,))
        if (route.tokens[0], route.tokens[-1]) != ends:
            raise ValueError(f"the path does not lead from {order.sold.symbol} to {order.bought.symbol}")
        if not 0 < order.amount_in <= UINT256_MAX or not 0 < order.least_out <= UINT256_MAX:
            raise ValueError("a swap of nothing, or for nothing")
        return self._routed(order, route, deadline)

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
        return tuple(self._routed(order, route, UINT256_MAX) for route in (*direct, *through))

    def _routed(self, order: SwapOrder, route: Route, deadline: int) -> SwapCall:
        made = self._single(order, route) if len(route.fees) == 1 else self._along(order, route)
        return self._made(order, route, made, deadline)

    def _single(self, order: SwapOrder, route: Route) -> _Swap:
        sold, bought, account = (int(one, 16) for one in (order.sold.address, order.bought.address, order.account))
        words = (sold, bought, route.fees[0], account, order.amount_in, order.least_out, 0)
        rules = (
            WordRule(FIRST_WORD, equals=sold),
            WordRule(FIRST_WORD + 1, equals=bought),
            WordRule(FIRST_WORD + 2, equals=route.fees[0]),
            WordRule(FIRST_WORD + 3, equals=account),
            WordRule(_SINGLE_AMOUNT_WORD, maximum=order.amount_in),
            WordRule(FIRST_WORD + 5, minimum=1),
            WordRule(FIRST_WORD + 6, equals=0),
        )
        return _Swap(EXACT_INPUT_SINGLE, words, rules, _SINGLE_AMOUNT_WORD)

    def _along(self, order: SwapOrder, route: Route) -> _Swap:
        packed = pack_forwards(route)
        padded = packed + bytes(-len(packed) % 32)
        account = int(order.account, 16)
        path = [int.from_bytes(padded[at : at + 32], "big") for at in range(0, len(padded), 32)]
        words = (32, 128, account, order.amount_in, order.least_out, len(packed), *path)
        rules = (
            WordRule(FIRST_WORD, equals=32),
            WordRule(FIRST_WORD + 1, equals=128),
            WordRule(FIRST_WORD + 2, equals=account),
            WordRule(_AMOUNT_WORD, maximum=order.amount_in),
            WordRule(FIRST_WORD + 4, minimum=1),
            WordRule(FIRST_WORD + 5, equals=len(packed)),
            *(WordRule(_PATH_WORD + at, equals=word) for at, word in enumerate(path)),
        )
        return _Swap(EXACT_INPUT, words, rules, _AMOUNT_WORD)

    def _made(self, order: SwapOrder, route: Route, swap: _Swap, deadline: int) -> SwapCall:
        """The swap as a batch of one."""
        # The low end of the length of the swap's calldata, and the function that it calls.
        begins = ((4 + 32 * len(swap.words)) << 32) | int.from_bytes(swap.selector, "big")
        # Behind it as much as its last word lacks, and what is missing of a whole one.
        words = (deadline, *_HEAD, begins, *swap.words, 0)
        head = (WordRule(at, equals=word) for at, word in enumerate((*_HEAD, begins), start=1))
        return SwapCall(
            venue_of(route),
            self.router,
            self.router,
            MULTICALL + b"".join(word.to_bytes(32, "big") for word in words),
            order.amount_in,
            order.least_out,
            (*head, *swap.rules),
            swap.spend_word,
        )


@dataclass(frozen=True, slots=True)
class _Swap:
    """The swap within a batch: its function, its words, and what the signer insists on of the batch's."""

    selector: bytes
    words: tuple[int, ...]
    rules: tuple[WordRule, ...]
    spend_word: int


def within(data: bytes) -> bytes:
    """The calldata of the swap within a batch that `Router02` made; none where it is no such batch."""
    start = 4 + 32 * FIRST_WORD - 4
    length = int.from_bytes(data[start - 32 : start], "big")
    return data[start : start + length] if data[:4] == MULTICALL else b""


def pack_forwards(route: Route) -> bytes:
    """A route packed for an exact input: from the token sold to the token bought."""
    packed = bytes.fromhex(route.tokens[0][2:])
    for token, fee in zip(route.tokens[1:], route.fees, strict=True):
        packed += fee.to_bytes(3, "big") + bytes.fromhex(token[2:])
    return packed
