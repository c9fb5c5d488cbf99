"""A swap that an account makes by itself: what is ordered, and what somebody offers for it."""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.plan import SwapCall
from tui.model.position import Asset


@dataclass(frozen=True, slots=True)
class SwapOrder:
    """What an account (lower-case hex) is to swap by itself: exactly `amount_in` base units of `sold`, for at least
    `least_out` of `bought`, which go to the account. `hurried`: all that goes in is to, whatever comes out beyond it.
    """

    account: str
    sold: Asset
    bought: Asset
    amount_in: int
    least_out: int
    hurried: bool = False


@dataclass(frozen=True, slots=True)
class SwapAnswer:
    """What an aggregator offers for an order: a call that is held to it already, and how much of what is bought comes
    out as it says (base units). That is a claim, no more.
    """

    order: SwapOrder
    call: SwapCall
    out: int
