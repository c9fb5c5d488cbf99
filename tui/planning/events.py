"""What a call that somebody else made does to an account, by the events of its simulation. Pure.

Balances tell the same of tokens that are looked at; events also tell of all others.
"""

from __future__ import annotations

from collections.abc import Sequence

from tui.model.calls import Log
from tui.model.plan import SwapCall
from tui.protocols.erc20 import address_word

TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
"""Transfer(address indexed from, address indexed to, ...) of tokens that are counted, and of those that are single."""
APPROVAL = bytes.fromhex("8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925")
"""Approval(address indexed owner, address indexed spender, ...) of both."""
APPROVAL_FOR_ALL = bytes.fromhex("17307eab39ab6107e8899845ad3d59bd9653f200f220920489ca2b5937696c31")
"""ApprovalForAll(address indexed owner, address indexed operator, bool)."""
TRANSFER_SINGLE = bytes.fromhex("c3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62")
TRANSFER_BATCH = bytes.fromhex("4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb")
"""TransferSingle and TransferBatch(address indexed operator, address indexed from, ...) of ERC-1155."""
_GIVES = {TRANSFER: 1, APPROVAL: 1, APPROVAL_FOR_ALL: 1, TRANSFER_SINGLE: 2, TRANSFER_BATCH: 2}
"""The topic that names whose things move, or are let."""


def strange_event(logs: Sequence[Log], account: str, swap: SwapCall, sold: str) -> str | None:
    """What a foreign call does that it was not ordered to, in words, or None: the account gives exactly what it sells,
    and lets nobody but the spender of the swap take that.
    """
    who, given = address_word(account), 0
    for log in logs:
        place = None if not log.topics else _GIVES.get(log.topics[0])
        if place is None or len(log.topics) <= place or log.topics[place] != who:
            continue
        kind = log.topics[0]
        counted = log.address == sold and len(log.topics) == 3 and len(log.data) == 32
        if kind == TRANSFER and counted:
            given += int.from_bytes(log.data, "big")
        elif not (kind == APPROVAL and counted and log.topics[2] == address_word(swap.spender)):
            verb = "takes" if kind in (TRANSFER, TRANSFER_SINGLE, TRANSFER_BATCH) else "lets somebody take"
            return f"{verb} something else of the account: {log.address}"
    if given != swap.amount_in:
        return f"takes {given} units of {sold} instead of {swap.amount_in}"
    return None
