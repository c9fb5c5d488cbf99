"""What real clients refuse and the practice node takes: replacement prices, a fee cap of the node's own, their words.

`GethRules` stands in a `Proxy` before eth_sendRawTransaction. Prices follow go-ethereum's legacy pool: a tenth more on
both tip and cap (`PriceBump`), `RPCTxFeeCap` in the API before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import rlp
from eth_account import Account
from eth_utils.crypto import keccak

from tests.support.proxy import Fault, Proxy, Row, Told
from tui.practice.rpc import Rpc

ETHER = 10**18
SEND = "eth_sendRawTransaction"

ALREADY_KNOWN = {
    "geth": "already known",
    "nethermind": "AlreadyKnown",
    "besu": "Known transaction",
    "erigon": "ALREADY_EXISTS: already known",
    "reth": "already known",
    "anvil": "transaction already imported",
}
UNDERPRICED = {
    "geth": "replacement transaction underpriced",
    "nethermind": "ReplacementNotAllowed",
    "besu": "Replacement transaction underpriced",
    "erigon": "INTERNAL_ERROR: could not replace existing tx",
    "reth": "replacement transaction underpriced",
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A type-2 transaction as it stands in its bytes."""

    hash: str
    sender: str
    nonce: int
    tip: int
    cap: int
    gas: int
    to: str
    value: int
    data: bytes

    @property
    def meaning(self) -> tuple[str, int, bytes]:
        """What it does, whatever it pays."""
        return self.to, self.value, self.data


def read_raw(raw: str) -> Sent:
    """What signed bytes say."""
    encoded = bytes.fromhex(raw[2:])
    fields: list[Any] = rlp.decode(encoded[1:])
    nonce, tip, cap, gas = (int.from_bytes(field, "big") for field in fields[1:5])
    return Sent(
        "0x" + keccak(encoded).hex(),
        Account.recover_transaction(raw).lower(),
        nonce,
        tip,
        cap,
        gas,
        "0x" + fields[5].hex(),
        int.from_bytes(fields[6], "big"),
        fields[7],
    )


def hash_of(params: list[Any]) -> str:
    """The hash that a node answers to a send."""
    return read_raw(params[0]).hash


@dataclass
class GethRules:
    """The rules of go-ethereum's pool over what waits in the node's own."""

    rpc: Rpc
    client: str = "geth"
    fee_cap: int = 0
    refused: list[str] = field(default_factory=list)

    def before(self, proxy: Proxy) -> Fault:
        """Stand in front of a proxy's sends."""
        return proxy.add(Told(frozenset((SEND,)), instead=self._judge))

    def refusal(self, raw: str) -> str | None:
        """The client's words against a transaction, None where it would take it."""
        sent = read_raw(raw)
        if self.fee_cap and sent.cap * sent.gas > self.fee_cap:
            asked, most = sent.cap * sent.gas / ETHER, self.fee_cap / ETHER
            return f"tx fee ({asked:.2f} ether) exceeds the configured cap ({most:.2f} ether)"
        there = self._waiting(sent.sender, sent.nonce)
        if there is None:
            return None
        if there["hash"] == sent.hash:
            return ALREADY_KNOWN[self.client]
        tip, cap = int(there["maxPriorityFeePerGas"], 16), int(there["maxFeePerGas"], 16)
        return UNDERPRICED[self.client] if 10 * sent.tip < 11 * tip or 10 * sent.cap < 11 * cap else None

    def _waiting(self, sender: str, nonce: int) -> dict[str, str] | None:
        content = self.rpc.call("txpool_content")
        for part in ("pending", "queued"):
            for owner, waiting in content[part].items():
                if owner.lower() == sender and str(nonce) in waiting:
                    found: dict[str, str] = waiting[str(nonce)]
                    return found
        return None

    def _judge(self, params: list[Any]) -> Row | None:
        words = self.refusal(params[0])
        if words is None:
            return None
        self.refused.append(words)
        return {"error": {"code": -32000, "message": words}}
