"""A signer that cannot be believed: the parent's own client, with a test at the other end of its pipe."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eth_account.datastructures import SignedTransaction

from tui.vault import protocol
from tui.vault.client import SignerClient

Wire = dict[str, Any]


@contextmanager
def forged_signer(answer: Callable[[Wire], Wire]) -> Iterator[SignerClient]:
    """A client whose one request is answered with what `answer` makes of the transaction that is asked for."""
    mine, theirs = socket.socketpair()
    mine.setblocking(False)

    def serve() -> None:
        theirs.sendall(protocol.encode_frame({"id": 0, "ok": True, "result": {}}))
        length = protocol.frame_length(theirs.recv(4, socket.MSG_WAITALL))
        asked = protocol.decode_body(theirs.recv(length, socket.MSG_WAITALL))["request"]
        theirs.sendall(protocol.encode_frame({"id": 1, "ok": True, "result": answer(asked)}))

    thread = threading.Thread(target=serve)
    thread.start()
    client = SignerClient(subprocess.Popen(["true"]), mine)
    try:
        yield client
    finally:
        client.close()
        thread.join(60)
        theirs.close()


def fields_of(asked: Wire) -> Wire:
    """The type-2 transaction that is asked for, as eth_account signs it."""
    return {
        "type": 2, "chainId": asked["chain_id"], "nonce": asked["nonce"], "to": bytes.fromhex(asked["to"][2:]),
        "value": asked["value"], "data": asked["data"], "gas": asked["gas"],
        "maxFeePerGas": asked["max_fee_per_gas"], "maxPriorityFeePerGas": asked["max_priority_fee_per_gas"],
    }  # fmt: skip


def result_of(signed: SignedTransaction) -> Wire:
    """A signed transaction as a signer answers it."""
    return {
        "raw": "0x" + signed.raw_transaction.hex(), "hash": "0x" + signed.hash.hex(),
        "y_parity": signed.v, "r": signed.r, "s": signed.s,
    }  # fmt: skip
