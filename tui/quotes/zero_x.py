"""Calls of 0x's AllowanceHolder that somebody else made, held to an order: a Settler may take exactly what is sold,
for the length of the call, and must have so much of what is bought come out at the account.

AllowanceHolder itself sees to nothing but the first: it calls whomever the call names. That this is a Settler of 0x,
which holds to what must come out, only the registry of 0x can tell; it is asked at the block of the decision.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.calls import Call
from tui.model.plan import SwapCall
from tui.model.signing import WordRule
from tui.model.swap import SwapOrder
from tui.quotes.foreign import Unbound, an_address, check_order, hold, tail, words_of, written

VENUE = "0x"
EXEC = bytes.fromhex("2213bc0b")
"""exec(address operator,address token,uint256 amount,address target,bytes data) of AllowanceHolder"""
EXECUTE = bytes.fromhex("1fff991f")
"""execute((address recipient,address buyToken,uint256 minAmountOut),bytes[] actions,bytes32) of a Settler"""
OWNER_OF, PREVIOUS = bytes.fromhex("6352211e"), bytes.fromhex("e2603dc2")
"""ownerOf(uint256) and prev(uint128) of the registry: the Settler in use, and the one before it."""
TAKER_SUBMITTED = 2
"""The feature by which the registry knows Settlers for trades that the trader sends."""
_OPERATOR, _TOKEN, _AMOUNT, _TARGET, _OFFSET, _LENGTH = range(6)
_OFFSET_OF_DATA = 32 * _LENGTH
_INNER = 4 + 32 * (_LENGTH + 1)
"""Where the Settler's own calldata begins."""
_INNER_WORDS = 5


@dataclass(frozen=True, slots=True)
class ZeroX:
    """AllowanceHolder (`router`), who must be let to take what is sold (`allowed`), and the registry of Settlers, of
    one chain in lower-case hex.
    """

    router: str
    allowed: str
    registry: str

    @property
    def venue(self) -> str:
        """0x."""
        return VENUE

    @property
    def spender(self) -> str:
        """AllowanceHolder, where the network file names no other."""
        return self.allowed

    def adopt(self, order: SwapOrder, to: str, data: bytes) -> SwapCall:
        """See Dialect.adopt."""
        check_order(order)
        if to != self.router:
            raise ValueError("it wants another contract called than the router of the network file")
        words = words_of(data, EXEC, _LENGTH + 1)
        settler = an_address("Settler", words[_TARGET])
        hold("operator", words[_OPERATOR], words[_TARGET])
        hold("token to sell", words[_TOKEN], int(order.sold.address, 16))
        hold("amount", words[_AMOUNT], order.amount_in)
        hold("layout", words[_OFFSET], _OFFSET_OF_DATA)
        recipient, bought, least, *_ = words_of(tail(data, _LENGTH), EXECUTE, _INNER_WORDS)
        if recipient == bought == least == 0:
            # So it is where the last of its actions pays out by itself: what binds that cannot be told from here.
            raise Unbound("its call leaves what must come out to its actions")
        hold("receiver", recipient, int(order.account, 16))
        hold("token to buy", bought, int(order.bought.address, 16))
        if least == 0:
            raise ValueError("its call does not say what must come out")
        return self._made(order, written(data, _INNER + 4 + 64, order.least_out), settler)

    def shape(self, order: SwapOrder) -> SwapCall:
        """See Dialect.shape. What stays open is who swaps."""
        account, sold, bought = (int(one, 16) for one in (order.account, order.sold.address, order.bought.address))
        inner = EXECUTE + b"".join(word.to_bytes(32, "big") for word in (account, bought, order.least_out, 96, 0))
        words = (1, sold, order.amount_in, 1, _OFFSET_OF_DATA, len(inner))
        data = EXEC + b"".join(word.to_bytes(32, "big") for word in words) + inner
        return self._made(order, data + bytes(-len(inner) % 32), "")

    def _made(self, order: SwapOrder, data: bytes, settler: str) -> SwapCall:
        feature = TAKER_SUBMITTED.to_bytes(32, "big")
        return SwapCall(
            VENUE,
            self.router,
            self.allowed,
            data,
            order.amount_in,
            order.least_out,
            (
                WordRule(_TOKEN, equals=int(order.sold.address, 16)),
                WordRule(_AMOUNT, maximum=order.amount_in),
                WordRule(_OFFSET, equals=_OFFSET_OF_DATA),
                *_inner_rules(order),
            ),
            _AMOUNT,
            source=VENUE,
            leads_to=settler,
            registry=(Call(self.registry, OWNER_OF + feature), Call(self.registry, PREVIOUS + feature)),
        )


def _inner_rules(order: SwapOrder) -> tuple[WordRule, ...]:
    """Function, receiver and bought token of the inner call. Its arguments stand four bytes off the words of the outer
    one, so each begins in one word and ends in the next.
    """
    account, bought = (bytes.fromhex(one[2:]) for one in (order.account, order.bought.address))
    first = EXECUTE + bytes(12) + account[:16]
    second = account[16:] + bytes(12) + bought[:16]
    third = int.from_bytes(bought[16:], "big") << 224
    at = _LENGTH + 1
    return (
        WordRule(at, equals=int.from_bytes(first, "big")),
        WordRule(at + 1, equals=int.from_bytes(second, "big")),
        WordRule(at + 2, minimum=third, maximum=third | (1 << 224) - 1),
    )
