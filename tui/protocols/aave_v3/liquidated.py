"""The pool's own word on a liquidation: which events tell of it, and what they say."""

from __future__ import annotations

from collections.abc import Sequence

from tui.model.calls import EventQuery, Log
from tui.protocols.base import Liquidation
from tui.protocols.erc20 import address_word

LIQUIDATION = bytes.fromhex("e413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286")
"""LiquidationCall(address indexed collateral, address indexed debt, address indexed user, uint256 debtToCover, uint256
liquidatedCollateral, address liquidator, bool receiveAToken) of a pool."""


def liquidation_query(pool: str, accounts: Sequence[str]) -> EventQuery:
    """The liquidations of `accounts` in a pool (lower-case hex)."""
    return EventQuery(pool, ((LIQUIDATION,), None, None, tuple(address_word(account) for account in accounts)))


def liquidation_told(pool: str, log: Log) -> Liquidation | None:
    """What such an event says; None for any other."""
    if log.address != pool or len(log.topics) != 4 or log.topics[0] != LIQUIDATION or len(log.data) < 64:
        return None
    collateral, debt, account = ("0x" + topic[12:].hex() for topic in log.topics[1:])
    cleared, taken = (int.from_bytes(log.data[at : at + 32], "big") for at in (0, 32))
    return Liquidation(account, collateral, taken, debt, cleared)
