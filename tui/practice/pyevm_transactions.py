"""Transactions the Python node makes itself, for accounts it holds no key of, and the words of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.vm.forks.london.transactions import DynamicFeeTransaction
from eth.vm.forks.prague.transactions import PragueTypedTransaction
from eth_typing import Address

from tui.practice.accounts import CHAIN_ID

_DYNAMIC_FEE_TYPE = 2


class NodeError(Exception):
    """An error answer of the node: JSON-RPC code, message, and data where there is any."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class UnlockedTransaction(DynamicFeeTransaction):
    """A transaction of an account the node unlocks. In place of a signature it carries the sender in r, and s = 1."""

    def get_sender(self) -> Address:
        """The sender, as carried."""
        return Address(int(self.r).to_bytes(20, "big"))

    def check_signature_validity(self) -> None:
        """There is nothing to check."""


def quantity(value: object, default: int) -> int:
    """A JSON-RPC quantity (hex text, or a number as some tools send), ``default`` for none."""
    if value is None:
        return default
    return int(value, 16) if isinstance(value, str) else int(str(value))


def address_bytes(text: str) -> Address:
    """20 bytes; raises ``NodeError`` for anything but an address."""
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except (ValueError, AttributeError):
        raw = b""
    if len(raw) != 20:
        raise NodeError(-32602, "invalid address")
    return Address(raw)


def unlocked_transaction(
    request: Mapping[str, Any], sender: Address, nonce: int, gas: int, cap: int, tip: int
) -> PragueTypedTransaction:
    """An unsigned request of an unlocked account as a transaction; amounts are wei, ``cap`` and ``tip`` a gas unit."""
    to = request.get("to")
    data = request.get("data") or request.get("input") or "0x"
    inner = UnlockedTransaction(
        CHAIN_ID,
        nonce,
        tip,
        cap,
        gas,
        address_bytes(to) if to else CREATE_CONTRACT_ADDRESS,
        quantity(request.get("value"), 0),
        bytes.fromhex(data.removeprefix("0x")),
        (),
        0,
        int.from_bytes(sender, "big"),
        1,
    )
    return PragueTypedTransaction(_DYNAMIC_FEE_TYPE, inner)
