"""Answers of a node, spoiled on a real HTTP connection, into every part of the chain client."""

from __future__ import annotations

import random
from typing import Any

import orjson

from tests.fuzz.mutate import Mutator
from tests.support.clock import FakeClock
from tests.support.http import Reply, bad_server
from tui.chain.client import ChainClient, open_chain
from tui.model.block import BlockRef
from tui.model.calls import Call
from tui.model.network import MarketConfig, Network
from tui.model.plan import PlannedCall
from tui.model.wallet import WalletQuery
from tui.ports.chain import ChainUnreachable, ReadFailed

NAME = "node answers"
TOKEN = "kJ8sQ2vLx91TzR4mWb7cYd3e"
ACCOUNT = "0x" + "a1" * 20
HASH = "0x" + "11" * 32
BLOCK = BlockRef(20, HASH, "0x" + "10" * 32, 1_700_000_000, 10**9)
HEADER = {
    "number": "0x14", "hash": HASH, "parentHash": "0x" + "10" * 32, "timestamp": "0x6553f100",
    "baseFeePerGas": "0x3b9aca00",
    "gasLimit": "0x1c9c380", "transactions": [],
}  # fmt: skip
RECEIPT = {
    "transactionHash": HASH, "blockHash": HASH, "blockNumber": "0x14", "status": "0x1", "gasUsed": "0x5208",
    "effectiveGasPrice": "0x3b9aca00", "from": ACCOUNT, "to": ACCOUNT, "logs": [],
}  # fmt: skip
RESULTS: dict[str, object] = {
    "eth_chainId": "0x7a69",
    "eth_getBlockByNumber": HEADER,
    "eth_getBlockByHash": HEADER,
    "eth_call": "0x" + "00" * 64,
    "eth_getTransactionCount": "0x1",
    "eth_getStorageAt": "0x" + "00" * 32,
    "eth_getTransactionReceipt": RECEIPT,
    "eth_getTransactionByHash": {**RECEIPT, "hash": HASH, "nonce": "0x1"},
    "eth_sendRawTransaction": HASH,
    "eth_feeHistory": {
        "oldestBlock": "0x10", "baseFeePerGas": ["0x3b9aca00"] * 6, "gasUsedRatio": [0.5] * 5,
        "reward": [["0x1"] * 3] * 5,
    },
    "eth_simulateV1": [
        {"number": "0x15", "calls": [{"status": "0x1", "gasUsed": "0x5208", "returnData": "0x", "logs": []}]},
    ],
    "eth_estimateGas": "0x5208",
}  # fmt: skip
WORDS = (b'"id":', b'"result":', b'"error":{"code":-32000,"message":"', b'"0x', b"null", b"0x" + b"00" * 4_000)

HEADERS = (
    "retry-after", "content-encoding", "transfer-encoding", "content-type", "location", "set-cookie", "connection",
    "upgrade", "content-length", "age",
)  # fmt: skip
VALUES = (
    "1e9", "nan", "-1", "9" * 400, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "gzip", "gzip, gzip", "deflate",
    "br", "gzip," * 500, "chunked", "identity", "text/html; charset=nonsense", "http://xn--a/", "http://[::1",
    "a=b; expires=Mon, 01 Jan 99999 00:00:00 GMT", "close", "websocket", "\u0663\u0663",
)  # fmt: skip


class Node:
    """Answers properly now and then, and badly else."""

    def __init__(self, number: int) -> None:
        self.chance = random.Random(number)
        self.answered = 0
        self.url = ""

    def reply(self, request: Any) -> Reply:
        self.answered += 1
        rows = request if isinstance(request, list) else [request]
        told = [
            {"jsonrpc": "2.0", "id": row["id"], "result": RESULTS.get(row["method"])}
            if self.chance.random() < 0.9
            else {"jsonrpc": "2.0", "id": row["id"], "error": {"code": 3, "message": self.url, "data": "0x08c379a0"}}
            for row in rows
        ]
        body = orjson.dumps(told if isinstance(request, list) else told[0])
        if self.chance.random() < 0.3:
            return 200, {}, body
        if self.chance.random() < 0.05:
            return "close"
        status = self.chance.choice((200, 200, 200, 200, 400, 401, 402, 413, 429, 500, 503))
        spoiled = Mutator([body], WORDS, self.chance.randrange(1 << 30)).variant()
        return status, self._headers(), spoiled

    def _headers(self) -> dict[str, str]:
        """None, one that means something as it should not be, or one out of the mutator."""
        name = self.chance.choice(HEADERS)
        if self.chance.random() < 0.4:
            return {}
        if self.chance.random() < 0.6:
            return {name: self.chance.choice(VALUES)}
        value = Mutator([one.encode() for one in VALUES], (), self.chance.randrange(1 << 30)).variant()
        return {name: value.decode("latin-1").replace("\r", "").replace("\n", " ")}


async def run(number: int, cases: int) -> str:
    """So many requests of every kind; all that was said of the answers."""
    node = Node(number)
    said: list[str] = []
    clock = FakeClock()
    async with bad_server(node.reply) as server:
        node.url = f"{server.url}v2/{TOKEN}"
        market = MarketConfig("aave-v3", "core", {})
        network = Network(name="x", chain_id=31337, block_time=2.0, confirmations=2, rpc=(node.url,), markets=(market,))
        client = open_chain(network, clock)
        try:
            for case in range(cases):
                clock.advance(600)
                try:
                    said.append(repr(await _ask(client, case)))
                except (ChainUnreachable, ReadFailed) as error:
                    said.append(str(error))
                said += [f"{one.url} {one.state} {one.detail}" for one in client.reader.providers()]
        finally:
            await client.aclose()
    return "\n".join(said)


async def _ask(client: ChainClient, case: int) -> object:
    call = Call(ACCOUNT, b"\x95\xd8\x9b\x41")
    kind = case % 8
    if kind == 0:
        return await client.heads.poll()
    if kind == 1:
        return await client.reader.read(BLOCK, [call, call])
    if kind == 2:
        return await client.reader.read_wallets(BLOCK, [WalletQuery(ACCOUNT)])
    if kind == 3:
        return await client.fees.quote(BLOCK)
    if kind == 4:
        return await client.broadcaster.receipt(HASH)
    if kind == 5:
        return await client.broadcaster.nonce(ACCOUNT)
    if kind == 6:
        return await client.broadcaster.send(b"\x02" + b"\x01" * 100, HASH)
    planned = PlannedCall(ACCOUNT, call.data, 0, "a call", None, gas_limit=100_000)
    return await client.simulator.simulate(BLOCK, ACCOUNT, [planned], [call])
