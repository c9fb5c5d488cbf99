"""What reading a market costs: the lens against its sub-calls packed into one eth_call, and against a JSON-RPC batch.

Run: python -m tests.bench.bench_read
Times in one run on one node; compare the ratios. The plain ways must ask for every account and reserve, since they
cannot look at a bitmap before they ask.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable

import platformdirs

from tests.protocols.random_positions import open_position
from tests.protocols.reading import adapter, eth_call, head
from tests.support.chain import Chain
from tui.chain.batch import BATCH_ADDRESS, BATCH_CODE, Entry, pack, unpack
from tui.model.block import BlockRef
from tui.practice.abi import calldata
from tui.practice.artifacts import fetch
from tui.practice.market import AaveVersion
from tui.practice.node import NodeKind, find_program
from tui.practice.packages import CONTRACTS
from tui.practice.state import start_market
from tui.protocols.aave_v3 import lens

ROUNDS = 12
PEOPLE = 60
"""Accounts with positions; larger reads repeat them."""


def _sub_calls(chain: Chain, accounts: list[str]) -> list[Entry]:
    """Everything that the lens asks, one by one."""
    market = chain.market
    calls = [(market.provider, "getPool()"), (market.provider, "getPriceOracle()"), (market.pool, "getReservesList()")]
    calls += [(market.pool, "POOL_REVISION()"), (market.oracle, "BASE_CURRENCY_UNIT()")]
    entries = [(to, calldata(signature)) for to, signature in calls]
    for token in market.tokens.values():
        entries += [
            (market.pool, calldata("getReserveData(address)", token.address)),
            (market.oracle, calldata("getAssetPrice(address)", token.address)),
            (market.oracle, calldata("getSourceOfAsset(address)", token.address)),
            (token.feed, calldata("latestRoundData()")),
            (token.a_token, calldata("scaledTotalSupply()")),
            (token.v_token, calldata("scaledTotalSupply()")),
            (token.address, calldata("decimals()")),
            (token.address, calldata("symbol()")),
        ]
    for account in accounts:
        for signature in ("getUserConfiguration(address)", "getUserEMode(address)", "getUserAccountData(address)"):
            entries.append((market.pool, calldata(signature, account)))
        for token in market.tokens.values():
            entries.append((token.a_token, calldata("scaledBalanceOf(address)", account)))
            entries.append((token.v_token, calldata("scaledBalanceOf(address)", account)))
    return [Entry(to, bytes.fromhex(data[2:])) for to, data in entries]


def _by_batch(chain: Chain, block: BlockRef, entries: list[Entry]) -> None:
    request = {"to": BATCH_ADDRESS, "data": "0x" + pack(entries).hex()}
    code = {BATCH_ADDRESS: {"code": "0x" + BATCH_CODE.hex()}}
    answer = chain.rpc("eth_call", request, {"blockHash": block.hash}, code)
    unpack(bytes.fromhex(answer[2:]), len(entries))


def _by_json_rpc(chain: Chain, block: BlockRef, entries: list[Entry]) -> None:
    at = {"blockHash": block.hash}
    chain.node.rpc.batch([("eth_call", [{"to": one.target, "data": "0x" + one.data.hex()}, at]) for one in entries])


def _milliseconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1_000


def _gas(chain: Chain, accounts: list[str]) -> int:
    call = lens.read_call(chain.market.provider, accounts)
    assert call.code is not None
    request = {"to": call.to, "data": "0x" + call.data.hex(), "gas": hex(10**9)}
    return int(chain.rpc("eth_estimateGas", request, "latest", {call.to: {"code": "0x" + call.code.hex()}}), 16)


def main() -> int:
    """Print one row per number of accounts."""
    cache = platformdirs.user_cache_path("trimtab") / "practice"
    program = find_program(NodeKind.ANVIL, cache)
    node, market = start_market(program, AaveVersion.V3_2, fetch((CONTRACTS,), cache), cache)
    try:
        chain = Chain(node, market)
        rng = random.Random(3)
        people = [chain.new_account() for _ in range(PEOPLE)]
        for account in people:
            open_position(chain, rng, account)
        aave, block = adapter(chain), head(chain)
        print("accounts  lens ms  packed ms  json ms   packed/lens  json/lens  decode ms  lens gas  sub-calls")
        for count in (1, 20, 200):
            accounts = [people[index % PEOPLE].lower() for index in range(count)]
            (call,) = aave.read_calls(accounts)
            entries = _sub_calls(chain, accounts)
            by_lens = _milliseconds(lambda call=call: eth_call(chain, block, call))
            packed = _milliseconds(lambda entries=entries: _by_batch(chain, block, entries))
            single = _milliseconds(lambda entries=entries: _by_json_rpc(chain, block, entries))
            answer = eth_call(chain, block, call)
            decode = _milliseconds(lambda accounts=accounts, answer=answer: aave.decode(block, accounts, [answer]))
            print(
                f"{count:8} {by_lens:8.1f} {packed:10.1f} {single:8.1f} {packed / by_lens:12.2f} "
                f"{single / by_lens:10.2f} {decode:10.1f} {_gas(chain, accounts):9} {len(entries):10}"
            )
    finally:
        node.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
