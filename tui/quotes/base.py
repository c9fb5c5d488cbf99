"""The one interface of everything that can tell what a swap costs: calls out, bytes in. A quote is a claim, no more.

Whatever a quoter answers is simulated and bounded before anything is signed; nothing here is trusted for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tui.model.calls import Call, CallResult
from tui.model.plan import SwapCall
from tui.model.position import Asset
from tui.model.swap import SwapOrder as SwapOrder
from tui.model.units import BPS, WAD, mul_div_up


@dataclass(frozen=True, slots=True)
class SwapRequest:
    """Buy exactly `amount_out` base units of `bought` with as little of `sold` as may be.

    `prices_usd`: the lending market's own prices of the two (8 decimals a whole token, by address); without them the
    gap between that market and the exchange stays unknown.
    """

    sold: Asset
    bought: Asset
    amount_out: int
    prices_usd: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Quote:
    """What one route wants for a request at one block, and where the money goes.

    `amount_in` and `gas` (units, as the exchange itself estimates the swap). `path` as the exchange wants it for an
    exact output, `venue` for people ("Uniswap V3 0.05%"). Shares are of what is sold, in wad, rounded against the
    trader: `fees` to the pools, `impact` of this size on the price, `gap` by which the exchange's price is worse than
    the lending market's (negative where it is better; None: not known), `loss` all of them together as sizing wants
    it (k; None where the gap is not known).
    """

    request: SwapRequest
    venue: str
    path: bytes
    amount_in: int
    fees: int
    impact: int
    gap: int | None
    loss: int | None
    gas: int

    @property
    def impact_bps(self) -> int:
        """Whole basis points, up."""
        return -(-self.impact * BPS // WAD)

    @property
    def gap_bps(self) -> int | None:
        """Whole basis points, up; None where not known."""
        return None if self.gap is None else -(-self.gap * BPS // WAD)


class Quoter(Protocol):
    """One source of quotes."""

    def calls(self, request: SwapRequest) -> tuple[Call, ...]:
        """The reads, at one block, that tell what `request` costs."""

    def decode(self, request: SwapRequest, results: Sequence[CallResult]) -> tuple[Quote, ...]:
        """The routes that can do it, cheapest first, from the answers of `calls(request)`; none where none can.

        Never raises for what a node may answer: a route whose answers mean nothing is not there.
        """


class Swapper(Protocol):
    """One source of calls by which an account swaps by itself. What it makes is simulated, and bounded by what must
    come out; what it could ever make is told to the signer before.
    """

    @property
    def spender(self) -> str:
        """Who must be let to take what is sold (lower-case hex)."""

    def call(self, order: SwapOrder, path: bytes, deadline: int) -> SwapCall:
        """The call that does `order` along the `path` of a quote, in a block whose time is no later than `deadline`
        (unix seconds), or not at all. Without a path it is only a shape, for looking at.

        Raises ValueError for a path that is none, or that leads elsewhere.
        """

    def shapes(self, order: SwapOrder) -> tuple[SwapCall, ...]:
        """Every call that `call` could make for an order of at most `amount_in`, as far as the signer is concerned."""


class Dialect(Protocol):
    """How the calls of one aggregator read: which words of a foreign call can be held to an order, and by whom.

    Nothing of such a call is believed: its words are held to the order, the signer knows its shape, it is simulated.
    """

    @property
    def venue(self) -> str:
        """The aggregator, for people."""

    @property
    def router(self) -> str:
        """The contract that all of its calls go to (lower-case hex)."""

    @property
    def spender(self) -> str:
        """Who must be let to take what is sold (lower-case hex)."""

    def adopt(self, order: SwapOrder, to: str, data: bytes) -> SwapCall:
        """A call that the aggregator made, with `order.least_out` written in as what must come out.

        Raises ValueError, with what does not fit the order, for any call that is not exactly its own kind; Unbound for
        one that is, and binds nothing.
        """

    def shape(self, order: SwapOrder) -> SwapCall:
        """What every call for an order of at most `amount_in` has in common, as far as the signer is concerned."""


def most_sold(request: SwapRequest, max_slippage_bps: int) -> int | None:
    """Base units of `sold` that may at most be given by the lending market's own prices, less `max_slippage_bps`.

    The bound that holds whatever a quoter says: value_out / (1 - slippage), down. None where a price is not known.
    Raises ValueError for a slippage that is not under one.
    """
    if not 0 <= max_slippage_bps < BPS:
        raise ValueError("a slippage is from 0 to 9999 basis points")
    ratio = fair_ratio(request)
    if ratio is None:
        return None
    sold_units, bought_units = ratio
    return request.amount_out * sold_units * BPS // (bought_units * (BPS - max_slippage_bps))


def fair_in(request: SwapRequest) -> int | None:
    """Base units of `sold` that are worth `amount_out` by the lending market's prices, up; None where not known."""
    ratio = fair_ratio(request)
    return None if ratio is None else mul_div_up(request.amount_out, *ratio)


def fair_ratio(request: SwapRequest) -> tuple[int, int] | None:
    """How many base units of `sold` are worth how many of `bought`, exactly; None where a price is not known."""
    price_sold = request.prices_usd.get(request.sold.address)
    price_bought = request.prices_usd.get(request.bought.address)
    if not price_sold or not price_bought:
        return None
    return price_bought * int(10**request.sold.decimals), price_sold * int(10**request.bought.decimals)
