"""What a block costs the engine, and what stands between a trigger and its broadcast. Ratios within one run.

Run: python -m tests.bench.bench_engine
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx
import orjson
import platformdirs

from tests.support.chain import ETHER, Chain, keyed_account
from tui.config.paths import resolve_paths
from tui.model.block import BlockRef
from tui.model.network import MarketConfig, Network
from tui.practice.artifacts import fetch
from tui.practice.market import AaveVersion
from tui.practice.node import NodeKind, find_program
from tui.practice.packages import CONTRACTS
from tui.practice.state import start_market
from tui.vault.keystore import create_keystore
from tui.wiring import Wired, assemble

PASSWORD = "benchmark password"
ROUNDS = 30
FALLS = 12

RULE = """\
[[rule]]
name = "guard"
position = "aave-v3/core/{account}"
mode = "auto"
when = {{ health_factor_below = "1.25" }}
target = {{ health_factor = "1.50" }}
[[rule.step]]
action = "repay"
asset = "USDC"
"""


def _network(chain: Chain) -> Network:
    market = MarketConfig("aave-v3", "core", {"pool_addresses_provider": chain.market.provider.lower()})
    feed = chain.token("WETH").feed.lower()
    return Network("bench", 31337, 2.0, 1, (chain.url,), native_usd_feed=feed, markets=(market,))


def _open_position(chain: Chain, account: str, weth: int, usdc: int) -> None:
    chain.supply(account, "WETH", weth * ETHER)
    chain.borrow(account, "USDC", usdc * 10**6)


def _median(values: list[float]) -> float:
    return statistics.median(values)


async def _block_cost(chain: Chain, accounts: list[str], directory: Path, count: int) -> tuple[int, float, float]:
    """eth_calls a block, local CPU from head to view, and the raw time of the same call, medians in seconds."""
    paths = resolve_paths(directory / "config", directory / f"state-{count}")
    wired = assemble(_network(chain), paths, accounts=accounts[:count], rules_files=(), keystores={}, signing=False)
    engine, calls, cpu, raw = wired.engine, [], [], []
    await engine.start()
    for _ in range(ROUNDS):
        chain.mine()
        block = await wired.chain.heads.poll()
        assert block is not None
        before, started = wired.chain.stats.eth_calls, time.process_time()
        await engine.on_head(block)
        cpu.append(time.process_time() - started)
        calls.append(wired.chain.stats.eth_calls - before)
        raw.append(await _raw_call(wired, block))
    assert all(view.position.unknown is None for view in engine.view.positions)
    await wired.aclose()
    return max(calls), _median(cpu), _median(raw)


async def _raw_call(wired: Wired, block: BlockRef) -> float:
    """Wall time of the node answering the market read of the block, prepared before and with nothing decoded."""
    watch = wired.engine.watch
    calls = [call for market in watch.markets for call in market.read_calls(watch.accounts)]
    codes = {call.to: {"code": "0x" + call.code.hex()} for call in calls if call.code is not None}
    bodies = [
        orjson.dumps(
            {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "eth_call",
                "params": [{"to": call.to, "data": "0x" + call.data.hex()}, {"blockHash": block.hash}, codes],
            }
        )
        for call in calls
    ]
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.post(
            wired.network.rpc[0], content=b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}', headers=headers
        )
        started = time.perf_counter()
        for body in bodies:
            answer = await client.post(wired.network.rpc[0], content=body, headers=headers)
        took = time.perf_counter() - started
    assert b'"result"' in answer.content[:200], answer.content[:200]
    return took


async def _trigger(chain: Chain, directory: Path) -> tuple[list[int], list[float], list[float]]:
    """Round trips, local CPU and wall time from the head that triggers to the broadcast, one of each a fall."""
    account, key = keyed_account(99)
    keystore = directory / "keys" / "bench.json"
    create_keystore(keystore, PASSWORD, key=key)
    chain.set_ether(account, 100 * ETHER)
    rules = directory / "rules.toml"
    trips: list[int] = []
    cpu: list[float] = []
    wall: list[float] = []
    rules.write_text(RULE.format(account=account.lower()))
    saved = chain.snapshot()
    for fall in range(FALLS):
        _open_position(chain, account, 10, 18_000)
        paths = resolve_paths(directory / "config", directory / f"fall-{fall}")
        wired = assemble(
            _network(chain), paths, accounts=[account], rules_files=[rules], keystores={account: keystore}, signing=True
        )
        await wired.engine.start()
        chain.mine()
        await _take(wired)
        await wired.commands.arm("guard", "guard", PASSWORD)
        chain.set_price("WETH", 2600)
        block = await wired.chain.heads.poll()
        assert block is not None
        before, started, clock = wired.chain.stats.round_trips, time.process_time(), time.perf_counter()
        await wired.engine.on_head(block)
        cpu.append(time.process_time() - started)
        wall.append(time.perf_counter() - clock)
        trips.append(wired.chain.stats.round_trips - before)
        assert wired.journal is not None
        (firing,) = wired.journal.firings()
        assert firing.intents[0].attempts, "nothing was broadcast"
        await wired.aclose()
        chain.revert(saved)
        saved = chain.snapshot()
    return trips, cpu, wall


async def _take(wired: Wired) -> None:
    block = await wired.chain.heads.poll()
    assert block is not None
    await wired.engine.on_head(block)


def main() -> int:
    """Print the table."""
    cache = platformdirs.user_cache_path("trimtab") / "practice"
    folders = fetch((CONTRACTS,), cache)
    node, market = start_market(find_program(NodeKind.ANVIL, cache), AaveVersion.V3_2, folders, cache)
    try:
        chain = Chain(node, market)
        accounts = [chain.new_account() for _ in range(200)]
        for index, account in enumerate(accounts):
            _open_position(chain, account, 5 + index % 7, 6_000 + 13 * index)
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            out = sys.stdout.write
            out("positions  eth_calls a block  local CPU a block   raw call   CPU / raw\n")
            for count in (1, 20, 50, 200):
                calls, cpu, raw = asyncio.run(_block_cost(chain, accounts, directory, count))
                out(f"{count:9}  {calls:17}  {cpu * 1000:14.1f} ms  {raw * 1000:6.1f} ms  {cpu / raw:8.2f}\n")
            trips, cpu_times, walls = asyncio.run(_trigger(chain, directory))
            ordered = sorted(cpu_times)
            p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
            out(f"\ntrigger to broadcast, {len(trips)} falls, counted from the new head (its own read included):\n")
            out(f"round trips   median {statistics.median(trips):.0f}, most {max(trips)}\n")
            out(f"local CPU     median {_median(cpu_times) * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms\n")
            out(f"wall          median {_median(walls) * 1000:.1f} ms\n")
    finally:
        node.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
