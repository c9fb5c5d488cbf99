"""What many reads at one block cost: one eth_call by state override or as creation code, a batch, one by one.

Run: python -m tests.bench.bench_chain
All ways in one run on one bare node, answers checked to be the same; compare the ratios.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import platformdirs

from tui.chain.blocks import at_hash
from tui.chain.client import ChainClient, open_chain
from tui.chain.evm import assemble, op
from tui.chain.hexes import to_hex
from tui.chain.rpc import Request, RpcError
from tui.model.block import BlockRef
from tui.model.calls import Call
from tui.model.network import Network
from tui.practice.node import CHAIN_ID, NodeKind, find_program, start_node

ROUNDS = 15
SIZES = (10, 100, 400)
TARGET = "0x" + "ca" * 20
WORD = assemble([op("CALLDATACOPY", 0, 0, 32), op("MSTORE", 0, op("ADD", op("MLOAD", 0), 7)), op("RETURN", 0, 32)])
"""A deployed contract with a view: it answers the word it is given and seven."""

Read = Callable[[BlockRef, list[Call]], Awaitable[list[bytes | None]]]


async def main_async() -> int:
    """Print a row per number of reads."""
    node = start_node(find_program(NodeKind.ANVIL, platformdirs.user_cache_path("trimtab") / "practice"))
    client = open_chain(Network("bench", CHAIN_ID, 2.0, 2, (node.url,)))
    try:
        node.rpc.call("anvil_setCode", TARGET, to_hex(WORD))
        node.rpc.call("evm_mine")
        block = await client.heads.poll()
        assert block is not None
        ways: dict[str, Read] = {
            "override": _one_call(client, overrides=True),
            "creation": _one_call(client, overrides=False),
            "batch": _batch(client),
            "one by one": _single(client),
        }
        out = sys.stdout.write
        out("reads  " + "  ".join(f"{name:>10}" for name in ways) + "   (ms, median; then times the first)\n")
        for size in SIZES:
            calls = [Call(TARGET, index.to_bytes(32, "big")) for index in range(size)]
            times = {name: await _milliseconds(read, block, calls) for name, read in ways.items()}
            out(f"{size:5}  " + "  ".join(f"{took:10.2f}" for took in times.values()) + "\n")
            base = times["override"]
            out("       " + "  ".join(f"{took / base:9.1f}x" for took in times.values()) + "\n")
    finally:
        await client.aclose()
        node.stop()
    return 0


def _one_call(client: ChainClient, *, overrides: bool) -> Read:
    async def read(block: BlockRef, calls: list[Call]) -> list[bytes | None]:
        client.pool.providers[0].overrides = overrides
        return [result.data for result in await client.reader.read(block, calls)]

    return read


def _request(block: BlockRef, call: Call) -> Request:
    return Request("eth_call", ({"to": call.to, "data": to_hex(call.data)}, at_hash(block.hash)))


def _data(answer: object) -> bytes | None:
    return None if isinstance(answer, RpcError) else bytes.fromhex(str(answer)[2:])


def _batch(client: ChainClient) -> Read:
    async def read(block: BlockRef, calls: list[Call]) -> list[bytes | None]:
        answers = await client.pool.providers[0].ask([_request(block, call) for call in calls])
        return [_data(answer) for answer in answers]

    return read


def _single(client: ChainClient) -> Read:
    async def read(block: BlockRef, calls: list[Call]) -> list[bytes | None]:
        found = []
        for call in calls:
            (answer,) = await client.pool.providers[0].ask([_request(block, call)])
            found.append(_data(answer))
        return found

    return read


async def _milliseconds(read: Read, block: BlockRef, calls: list[Call]) -> float:
    expected = [(index + 7).to_bytes(32, "big") for index in range(len(calls))]
    assert await read(block, calls) == expected
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await read(block, calls)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1_000


def main() -> int:
    """Print the table."""
    return asyncio.run(main_async())


if __name__ == "__main__":
    raise SystemExit(main())
