"""Sends transactions in bulk from unlocked accounts, with created addresses known before they are mined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tui.practice.abi import calldata, created_address, decode_words, load_code
from tui.practice.accounts import BLOCK_GAS_LIMIT
from tui.practice.errors import PracticeError
from tui.practice.rpc import Rpc, RpcError

CREATE_GAS = 8_000_000
CALL_GAS = 1_500_000
HEAVY_CALL_GAS = 14_000_000
"""Below the 16.7M cap of one transaction (EIP-7825)."""
MAX_FEE_WEI = 5_000 * 10**9
TIP_WEI = 10**9


class Deployer:
    """Queues transactions of several unlocked senders; ``flush`` sends them as one batch and checks each.

    Order holds among transactions of one sender, not across senders: flush in between where that matters.
    Blocks are mined by ``flush`` itself, so that the chain grows the same way each time; ``automine`` says
    whether the node mines by itself afterwards.
    """

    def __init__(self, rpc: Rpc, sender: str, *, automine: bool = True) -> None:
        self.rpc = rpc
        self.sender = sender
        self._automine = automine
        self._nonces: dict[str, int] = {}
        self._queue: list[dict[str, str]] = []

    def create(
        self, artifact: Path, *args: object, libraries: dict[str, str] | None = None, sender: str | None = None
    ) -> str:
        """Queue a deployment and return the address it will have."""
        maker = sender or self.sender
        nonce = self._nonce(maker)
        self.send(None, load_code(artifact).init_code(args, libraries or {}), sender=maker, gas=CREATE_GAS)
        return created_address(maker, nonce)

    def do(
        self, to: str, signature: str, *args: object, sender: str | None = None, value: int = 0, gas: int = CALL_GAS
    ) -> None:
        """Queue a call of the function ``signature`` of contract ``to``, with ``value`` wei."""
        self.send(to, calldata(signature, *args), sender=sender, value=value, gas=gas)

    def send(
        self, to: str | None, data: str, *, sender: str | None = None, value: int = 0, gas: int = CALL_GAS
    ) -> None:
        """Queue a transaction; ``to`` None creates a contract."""
        maker = sender or self.sender
        nonce = self._nonce(maker)
        self._nonces[maker] = nonce + 1
        transaction = {
            "from": maker,
            "nonce": hex(nonce),
            "data": data,
            "value": hex(value),
            "gas": hex(gas),
            "maxFeePerGas": hex(MAX_FEE_WEI),
            "maxPriorityFeePerGas": hex(TIP_WEI),
        }
        if to is not None:
            transaction["to"] = to
        self._queue.append(transaction)

    def flush(self) -> None:
        """Send what is queued and wait until all of it is mined.

        Raises:
            PracticeError: a transaction reverted or was refused, with the reason the node gives.
        """
        queue, self._queue = self._queue, []
        if not queue:
            return
        try:
            self.rpc.call("evm_setAutomine", False)
            receipts = [receipt for block in _blocks(queue) for receipt in self._mine(block)]
            if self._automine:
                self.rpc.call("evm_setAutomine", True)
        except RpcError as error:
            raise PracticeError(
                f"A transaction was refused by the practice node: {error}", "Please report this."
            ) from error
        for transaction, receipt in zip(queue, receipts, strict=True):
            if int(receipt["status"], 16) != 1:
                reason = self._reason(transaction)
                raise PracticeError(f"Deploying the practice market failed: {reason}", "Please report this.")

    def read(self, to: str, signature: str, returns: list[str], *args: object) -> tuple[Any, ...]:
        """Call a view function at the latest block and decode its result as types ``returns``."""
        request = {"to": to, "data": calldata(signature, *args)}
        return decode_words(returns, self.rpc.call("eth_call", request, "latest"))

    def read_many(self, calls: list[tuple[str, str, list[str], tuple[object, ...]]]) -> list[tuple[Any, ...]]:
        """``read`` for many (to, signature, returns, args) in one batch."""
        results = self.rpc.batch(
            [
                ("eth_call", [{"to": to, "data": calldata(signature, *args)}, "latest"])
                for to, signature, _, args in calls
            ]
        )
        return [decode_words(call[2], result) for call, result in zip(calls, results, strict=True)]

    def _nonce(self, sender: str) -> int:
        if sender not in self._nonces:
            self._nonces[sender] = int(self.rpc.call("eth_getTransactionCount", sender, "latest"), 16)
        return self._nonces[sender]

    def _mine(self, transactions: list[dict[str, str]]) -> list[dict[str, str]]:
        hashes = self.rpc.batch([("eth_sendTransaction", [transaction]) for transaction in transactions])
        self.rpc.call("evm_mine")
        receipts = self.rpc.batch([("eth_getTransactionReceipt", [each]) for each in hashes])
        if None in receipts:
            raise PracticeError("The practice node does not mine what it was sent.", "Start the practice chain again.")
        return receipts

    def _reason(self, transaction: dict[str, str]) -> str:
        request = {key: transaction[key] for key in ("from", "to", "data", "value") if key in transaction}
        try:
            self.rpc.call("eth_call", request, "latest")
        except RpcError as error:
            return f"{request.get('to', 'a new contract')} said {error.message}"
        return f"the transaction to {request.get('to', 'a new contract')} ran out of gas"


def _blocks(transactions: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    """Split into runs whose gas limits fit into one block: a node may drop what does not."""
    block: list[dict[str, str]] = []
    gas = 0
    for transaction in transactions:
        limit = int(transaction["gas"], 16)
        if block and gas + limit > BLOCK_GAS_LIMIT:
            yield block
            block, gas = [], 0
        block.append(transaction)
        gas += limit
    if block:
        yield block
