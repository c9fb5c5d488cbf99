"""``python -m tui.practice.pyevm_node --port N``: the Python chain behind JSON-RPC over HTTP on loopback.

The same methods, errors and addresses as the usual local node, as far as Trimtab, its tests and its actors need them.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
from eth_utils.exceptions import ValidationError

from tui.practice.accounts import CHAIN_ID, DEV_ACCOUNTS
from tui.practice.pyevm_chain import Chain, raise_if_failed
from tui.practice.pyevm_json import pending_json
from tui.practice.pyevm_transactions import NodeError, address_bytes, quantity

_MAX_BODY = 64 * 1024 * 1024
_TIP = 10**9


class Node:
    """Answers JSON-RPC methods on one chain. Not safe for two threads at once."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self._methods: dict[str, Callable[..., Any]] = {
            "web3_clientVersion": lambda: "trimtab/py-evm",
            "net_version": lambda: str(CHAIN_ID),
            "eth_chainId": lambda: hex(CHAIN_ID),
            "eth_accounts": lambda: [account.lower() for account in DEV_ACCOUNTS],
            "eth_blockNumber": lambda: hex(chain.height),
            "eth_gasPrice": lambda: hex(chain.headers[-1].base_fee_per_gas + _TIP),
            "eth_maxPriorityFeePerGas": lambda: hex(_TIP),
            "eth_syncing": lambda: False,
            "eth_feeHistory": self.fee_history,
            "eth_getBlockByNumber": self.block_by_number,
            "eth_getBlockByHash": self.block_by_hash,
            "eth_getTransactionByHash": self.transaction_by_hash,
            "eth_getTransactionReceipt": lambda name: chain.receipts.get(name.lower()),
            "eth_getTransactionCount": self.transaction_count,
            "eth_getBalance": lambda account, at="latest": hex(self._state(at).get_balance(address_bytes(account))),
            "eth_getCode": lambda account, at="latest": "0x" + self._state(at).get_code(address_bytes(account)).hex(),
            "eth_getStorageAt": self.storage_at,
            "eth_getLogs": self.logs,
            "eth_call": self.call,
            "eth_estimateGas": self.estimate_gas,
            "eth_sendTransaction": chain.submit_unlocked,
            "eth_sendRawTransaction": lambda raw: chain.submit_raw(bytes.fromhex(raw.removeprefix("0x"))),
            "evm_mine": self.mine,
            "evm_setAutomine": self.set_automine,
            "evm_increaseTime": self.increase_time,
            "evm_setNextBlockTimestamp": self.set_next_timestamp,
            "evm_snapshot": chain.snapshot,
            "evm_revert": lambda name: chain.revert(hex(quantity(name, 0))),
            "anvil_setBalance": self.set_balance,
            "anvil_setCode": self.set_code,
            "anvil_setNonce": self.set_nonce,
            "anvil_setStorageAt": self.set_storage,
            "anvil_setNextBlockBaseFeePerGas": self.set_next_base_fee,
            "anvil_impersonateAccount": lambda account: chain.impersonated.add(address_bytes(account)),
            "anvil_stopImpersonatingAccount": lambda account: chain.impersonated.discard(address_bytes(account)),
            "anvil_dropAllTransactions": chain.pool.clear,
            "anvil_dropTransaction": self.drop_transaction,
            "anvil_dumpState": lambda: "0x" + chain.dump().hex(),
        }

    def answer(self, request: object) -> dict[str, Any]:
        """The JSON-RPC response to one request."""
        if not isinstance(request, dict):
            return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "invalid request"}}
        response: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
        method = self._methods.get(str(request.get("method")))
        try:
            if method is None:
                raise NodeError(-32601, "Method not found")
            response["result"] = method(*(request.get("params") or []))
        except NodeError as error:
            response["error"] = {"code": error.code, "message": error.message}
            if error.data is not None:
                response["error"]["data"] = error.data
        except (ValidationError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            response["error"] = {"code": -32602, "message": f"invalid params: {type(error).__name__}: {error}"}
        except Exception as error:  # noqa: BLE001  # whatever the machine raises, the asker gets an answer
            response["error"] = {"code": -32603, "message": f"internal error: {type(error).__name__}: {error}"}
        return response

    # -- reading

    def _number(self, at: object) -> int:
        """The height a block parameter means: a tag, a number, or an object with a hash or number."""
        chain = self.chain
        if isinstance(at, dict):
            name = at.get("blockHash")
            if name is None:
                return self._number(at.get("blockNumber"))
            number = chain.number_by_hash.get(str(name).lower())
            if number is None:
                raise NodeError(-32001, "header for hash not found")
            return number
        if at in (None, "latest", "pending", "safe", "finalized"):
            return chain.height
        if at == "earliest":
            return 0
        number = quantity(at, 0)
        if not 0 <= number <= chain.height:
            raise NodeError(-32001, "header not found")
        return number

    def _state(self, at: object) -> Any:
        return self.chain.state_at(self._number(at))

    def _full(self, block: dict[str, Any], *, bodies: bool) -> dict[str, Any]:
        if not bodies:
            return block
        return {**block, "transactions": [self.chain.transactions[name] for name in block["transactions"]]}

    def block_by_number(self, at: object, bodies: bool = False) -> dict[str, Any] | None:
        try:
            return self._full(self.chain.blocks[self._number(at)], bodies=bodies)
        except NodeError:
            return None

    def block_by_hash(self, name: str, bodies: bool = False) -> dict[str, Any] | None:
        number = self.chain.number_by_hash.get(name.lower())
        return None if number is None else self._full(self.chain.blocks[number], bodies=bodies)

    def transaction_by_hash(self, name: str) -> dict[str, Any] | None:
        found = self.chain.transactions.get(name.lower())
        if found is not None:
            return found
        for pending in self.chain.pool.values():
            if pending.transaction.hash.hex() == name.lower().removeprefix("0x"):
                return pending_json(pending.transaction, pending.sender)
        return None

    def transaction_count(self, account: str, at: object = "latest") -> str:
        sender = address_bytes(account)
        nonce = self._state(at).get_nonce(sender)
        while at == "pending" and (sender, nonce) in self.chain.pool:
            nonce += 1
        return hex(nonce)

    def storage_at(self, account: str, slot: str, at: object = "latest") -> str:
        value = self._state(at).get_storage(address_bytes(account), quantity(slot, 0))
        return "0x" + int(value).to_bytes(32, "big").hex()

    def call(
        self,
        request: dict[str, Any],
        at: object = "latest",
        overrides: dict[str, dict[str, Any]] | None = None,
    ) -> str:
        computation = self.chain.call(self._number(at), request, overrides)
        raise_if_failed(computation)
        return "0x" + bytes(computation.output).hex()

    def estimate_gas(self, request: dict[str, Any], at: object = "latest") -> str:
        return hex(self.chain.estimate_gas(self._number(at), request))

    def logs(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        chain = self.chain
        if wanted.get("blockHash") is not None:
            first = last = self._number({"blockHash": wanted["blockHash"]})
        else:
            first = self._number(wanted.get("fromBlock"))
            last = (
                min(quantity(wanted["toBlock"], 0), chain.height) if _is_number(wanted.get("toBlock")) else chain.height
            )
        addresses = wanted.get("address") or []
        sources = {each.lower() for each in ([addresses] if isinstance(addresses, str) else addresses)}
        topics = [
            None if each is None else {one.lower() for one in ([each] if isinstance(each, str) else each)}
            for each in wanted.get("topics") or []
        ]
        return [
            log
            for block in chain.blocks[first : last + 1]
            for name in block["transactions"]
            for log in chain.receipts[name]["logs"]
            if (not sources or log["address"] in sources)
            and len(log["topics"]) >= len(topics)
            and all(want is None or have in want for want, have in zip(topics, log["topics"], strict=False))
        ]

    def fee_history(self, count: object, newest: object, percentiles: list[float] | None = None) -> dict[str, Any]:
        chain = self.chain
        last = self._number(newest)
        first = max(0, last - max(1, min(quantity(count, 1), 1024)) + 1)
        headers = chain.headers[first : last + 1]
        fees = [header.base_fee_per_gas for header in headers] + [chain.base_fee_after(last)]
        history = {
            "oldestBlock": hex(first),
            "baseFeePerGas": [hex(fee) for fee in fees],
            "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        }
        if percentiles is not None:
            history["reward"] = [self._rewards(header, percentiles) for header in headers]
        return history

    def _rewards(self, header: Any, percentiles: list[float]) -> list[str]:
        """Tips paid in a block, at percentiles of the gas it used."""
        chain = self.chain
        paid = sorted(
            (
                int(receipt["effectiveGasPrice"], 16) - header.base_fee_per_gas,
                int(receipt["gasUsed"], 16),
            )
            for receipt in (chain.receipts[name] for name in chain.blocks[header.block_number]["transactions"])
        )
        rewards = []
        for percentile in percentiles:
            tip = used = 0
            for tip, gas in paid:  # noqa: B007  # the last one looked at is the answer
                used += gas
                if used * 100 >= header.gas_used * percentile:
                    break
            rewards.append(hex(tip))
        return rewards

    # -- what only a practice node can do

    def mine(self, options: object = None) -> str:
        timestamp = options.get("timestamp") if isinstance(options, dict) else options
        self.chain.mine(None if timestamp is None else quantity(timestamp, 0))
        return "0x0"

    def set_automine(self, on: bool) -> None:
        self.chain.automine = bool(on)
        if on and self.chain.pool:
            self.chain.mine()

    def increase_time(self, seconds: object) -> str:
        self.chain.time_offset += quantity(seconds, 0)
        return hex(self.chain.time_offset)

    def set_next_timestamp(self, timestamp: object) -> None:
        wanted = quantity(timestamp, 0)
        if wanted < self.chain.headers[-1].timestamp:
            raise NodeError(-32602, "Timestamp error: lower than the latest block's")
        self.chain.next_timestamp = wanted

    def set_next_base_fee(self, fee: object) -> None:
        self.chain.next_base_fee = quantity(fee, 0)

    def set_balance(self, account: str, balance: object) -> None:
        with self.chain.edit() as state:
            state.set_balance(address_bytes(account), quantity(balance, 0))

    def set_nonce(self, account: str, nonce: object) -> None:
        with self.chain.edit() as state:
            state.set_nonce(address_bytes(account), quantity(nonce, 0))

    def set_code(self, account: str, code: str) -> None:
        with self.chain.edit() as state:
            state.set_code(address_bytes(account), bytes.fromhex(code.removeprefix("0x")))

    def set_storage(self, account: str, slot: str, value: str) -> bool:
        with self.chain.edit() as state:
            state.set_storage(address_bytes(account), quantity(slot, 0), quantity(value, 0))
        return True

    def drop_transaction(self, name: str) -> str | None:
        for slot, pending in list(self.chain.pool.items()):
            if pending.transaction.hash.hex() == name.lower().removeprefix("0x"):
                del self.chain.pool[slot]
                return name
        return None


def _is_number(at: object) -> bool:
    return isinstance(at, int) or (isinstance(at, str) and at.startswith("0x"))


def serve(node: Node, port: int) -> None:
    """Answer on loopback until the process ends."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without these two every answer waits for the peer's delayed acknowledgement, some 40 ms.
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            if not 0 < length <= _MAX_BODY:
                self.send_error(413)
                return
            try:
                body = orjson.loads(self.rfile.read(length))
            except orjson.JSONDecodeError:
                answer: object = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}}
            else:
                with lock:
                    answer = [node.answer(each) for each in body] if isinstance(body, list) else node.answer(body)
            content = orjson.dumps(answer)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Requests are not logged."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main() -> None:
    """Command line of the child process."""
    parser = argparse.ArgumentParser(description="The practice chain's Python node.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--timestamp", type=int, help="of the genesis block")
    parser.add_argument("--load-state", type=Path)
    options = parser.parse_args()
    if options.load_state is not None:
        chain = Chain.load(options.load_state.read_bytes())
    else:
        chain = Chain(genesis_time=options.timestamp or int(time.time()))
    serve(Node(chain), options.port)


if __name__ == "__main__":
    main()
