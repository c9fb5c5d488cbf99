"""What the engine needs of an aggregator of swaps: an offer for an order, soon, or why there is none."""

from __future__ import annotations

from typing import Protocol

from tui.model.swap import SwapAnswer, SwapOrder


class NoOffer(Exception):
    """There is none; the text says why, fit to be shown. `fault`: the aggregator fails, or is not to be trusted, so
    that it is left alone for a while; else it just has nothing for this order.
    """

    def __init__(self, why: str, *, fault: bool = True) -> None:
        super().__init__(why)
        self.fault = fault


class Aggregator(Protocol):
    """One service that makes calls for swaps. Whatever it answers is held to the order before it gets here."""

    @property
    def venue(self) -> str:
        """Its name, for people."""

    @property
    def timeout(self) -> float:
        """Seconds that it may take in all."""

    async def ask(self, order: SwapOrder) -> SwapAnswer:
        """What it offers for exactly `order.amount_in`. Takes no longer than its timeout. Raises NoOffer."""
