"""Calls of 1inch's AggregationRouterV6 that somebody else made, held to an order. Only its `swap` is taken: the compact
forms (unoswap and the like) pack tokens and bounds into words that cannot be checked one by one.

The router takes what is sold of the sender alone, has an executor swap it, and pays out itself, at least what the call
says: the executor may be anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.plan import SwapCall
from tui.model.signing import WordRule
from tui.model.swap import SwapOrder
from tui.quotes.foreign import an_address, check_order, hold, tail, words_of, written

VENUE = "1inch"
SWAP = bytes.fromhex("07ed2379")
"""swap(address,(address,address,address,address,uint256,uint256,uint256),bytes)"""
_EXECUTOR, _SOLD, _BOUGHT, _PAYER, _RECEIVER, _AMOUNT, _LEAST, _FLAGS, _OFFSET, _LENGTH = range(10)
_OFFSET_OF_DATA = 32 * _LENGTH


@dataclass(frozen=True, slots=True)
class OneInch:
    """The router of one chain, lower-case hex."""

    router: str

    @property
    def venue(self) -> str:
        """1inch."""
        return VENUE

    @property
    def spender(self) -> str:
        """The router itself."""
        return self.router

    def adopt(self, order: SwapOrder, to: str, data: bytes) -> SwapCall:
        """See Dialect.adopt."""
        check_order(order)
        if to != self.router:
            raise ValueError("it wants another contract called than the router of the network file")
        words = words_of(data, SWAP, _LENGTH + 1)
        an_address("executor", words[_EXECUTOR])
        an_address("receiver of what is sold", words[_PAYER])
        hold("token to sell", words[_SOLD], int(order.sold.address, 16))
        hold("token to buy", words[_BOUGHT], int(order.bought.address, 16))
        hold("receiver", words[_RECEIVER], int(order.account, 16))
        hold("amount", words[_AMOUNT], order.amount_in)
        if words[_LEAST] == 0:
            raise ValueError("its call does not say what must come out")
        hold("way of filling", words[_FLAGS], 0)  # no part of it, no native coin, no Permit2
        hold("layout", words[_OFFSET], _OFFSET_OF_DATA)
        tail(data, _LENGTH)
        return self._made(order, written(data, 4 + 32 * _LEAST, order.least_out))

    def shape(self, order: SwapOrder) -> SwapCall:
        """See Dialect.shape. What stays open is who swaps, and to whom of them the router hands what is sold."""
        account, sold, bought = (int(one, 16) for one in (order.account, order.sold.address, order.bought.address))
        words = (1, sold, bought, 1, account, order.amount_in, order.least_out, 0, _OFFSET_OF_DATA, 0)
        return self._made(order, SWAP + b"".join(word.to_bytes(32, "big") for word in words))

    def _made(self, order: SwapOrder, data: bytes) -> SwapCall:
        rules = (
            WordRule(_SOLD, equals=int(order.sold.address, 16)),
            WordRule(_BOUGHT, equals=int(order.bought.address, 16)),
            WordRule(_RECEIVER, equals=int(order.account, 16)),
            WordRule(_AMOUNT, maximum=order.amount_in),
            WordRule(_LEAST, minimum=1),
            WordRule(_FLAGS, equals=0),
            WordRule(_OFFSET, equals=_OFFSET_OF_DATA),
        )
        return SwapCall(
            VENUE, self.router, self.router, data, order.amount_in, order.least_out, rules, _AMOUNT, source=VENUE
        )
