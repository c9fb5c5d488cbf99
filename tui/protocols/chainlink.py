"""A Chainlink-style price feed, sans-IO: `latestRoundData()` and `decimals()` out, a price in 8 decimals in."""

from __future__ import annotations

from tui.model.calls import Call, CallResult
from tui.model.units import USD_DECIMALS, whole

LATEST_ROUND_DATA = bytes.fromhex("feaf968c")
DECIMALS = bytes.fromhex("313ce567")
OLDEST_SECONDS = 25 * 60 * 60
"""Feeds of native coins beat at least daily; what is older is no price."""
FUTURE_SECONDS = 60 * 60


def price_calls(feed: str) -> tuple[Call, Call]:
    """The two reads that give a feed's price."""
    return Call(feed, LATEST_ROUND_DATA), Call(feed, DECIMALS)


def decode_price(round_data: CallResult, decimals: CallResult, now: int) -> int | None:
    """The feed's price with 8 decimals, None where it is missing, not positive, stale or from the future.

    `now` is the timestamp of the block that was read, in unix seconds.
    """
    if round_data.data is None or decimals.data is None or len(round_data.data) < 160 or len(decimals.data) < 32:
        return None
    answer = int.from_bytes(round_data.data[32:64], "big", signed=True)
    updated_at = int.from_bytes(round_data.data[96:128], "big")
    places = int.from_bytes(decimals.data[:32], "big")
    if answer <= 0 or places > 36 or not now - OLDEST_SECONDS <= updated_at <= now + FUTURE_SECONDS:
        return None
    return answer * whole(USD_DECIMALS) // whole(places)
