"""Crash soak: every scenario of the practice chain, many seeds, fault profiles; armed accounts against their twins.

Run: python -m tests.soak.crash [--seeds 20] [--scenario NAME ...] [--profile NAME ...]

Prints, for each scenario and profile: runs, who was liquidated with and without a rule, and what defending cost as a
share of the liquidation penalty that it avoided. Exit code 1 where an armed account was liquidated: its means suffice.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import platformdirs

from tests.support.clock import FakeClock
from tests.support.proxy import Proxy, proxies
from tui.config.networks import load_network
from tui.config.paths import resolve_paths
from tui.model.intent import FiringState
from tui.model.units import format_units
from tui.practice.scenarios import LEAD_IN_S, SCENARIOS, Quote
from tui.practice.session import PracticeOptions, PracticeSession
from tui.wiring import Wired, assemble

BLOCK_SECONDS = 2.0
AFTER_SECONDS = 20
REORG_SHARE = 1 / 15
REORG_BEHIND = 2 / 3
STORM_BEGINS = 40
STORM_FACTORS = (3, 6, 10)
FLAKY_SHARE = 0.25


@dataclass
class Tally:
    """What a scenario under a profile came to. Dollars with 8 decimals."""

    runs: int = 0
    armed_liquidated: int = 0
    twins_liquidated: int = 0
    firings: int = 0
    failed: int = 0
    cost_usd: int = 0
    avoided_usd: int = 0
    faults: int = 0
    lowest: list[int] = field(default_factory=list)


class Weather:
    """What befalls the engine beside the market. One a run; `before` every block, `after` it was mined."""

    def __init__(self, seed: int, session: PracticeSession, proxy: Proxy) -> None:
        self.random = random.Random(seed)
        self.session = session
        self.proxy = proxy
        self.faults = 0

    def before(self, block: int) -> None:
        """Before the market moves."""

    def after(self, block: int) -> None:
        """After the block was mined, before the engine sees it."""


class Flaky(Weather):
    """A quarter of the blocks meet a node that fails once: an error, a cut answer, too many requests."""

    def after(self, block: int) -> None:
        self.proxy.heal()
        if self.random.random() < FLAKY_SHARE:
            self.faults += 1
            kind = self.random.randrange(3)
            if kind == 0:
                self.proxy.http(500, times=1)
            elif kind == 1:
                self.proxy.cut(times=1)
            else:
                self.proxy.http(429, times=1)


class GasStorm(Weather):
    """Within three blocks the base fee becomes ten times what the scenario asks for, and stays there."""

    def __init__(self, seed: int, session: PracticeSession, proxy: Proxy) -> None:
        super().__init__(seed, session, proxy)
        self.begins = self.random.randrange(5, STORM_BEGINS)
        self.block = 0
        # The world sets every block's base fee from its driver's quote: the storm has to pass through there.
        calm = session.world.driver.next
        session.world.driver.next = lambda: self._raised(calm())  # type: ignore[method-assign]

    def before(self, block: int) -> None:
        self.block = block

    def _raised(self, quote: Quote) -> Quote:
        blocks = self.block - self.begins
        if blocks < 0:
            return quote
        self.faults += 1
        return replace(quote, base_fee=quote.base_fee * STORM_FACTORS[min(blocks, len(STORM_FACTORS) - 1)])


class Reorgs(Weather):
    """Every so often, and mostly where it holds a transaction of the engine's, the last block is replaced by an empty
    one. What it held is gone from the node's pool too. Deeper ones would be past what the network counts as final.
    """

    def __init__(self, seed: int, session: PracticeSession, proxy: Proxy) -> None:
        super().__init__(seed, session, proxy)
        self.sent = self._count()

    def after(self, block: int) -> None:
        acted = self._count() != self.sent
        if self.random.random() < (REORG_BEHIND if acted else REORG_SHARE):
            self.faults += 1
            self.session.node.rpc.call("anvil_reorg", 1, [])
        self.sent = self._count()

    def _count(self) -> int:
        return int(self.session.node.rpc.call("eth_getTransactionCount", self.session.accounts["trader"], "latest"), 16)


PROFILES: dict[str, Callable[[int, PracticeSession, Proxy], Weather]] = {
    "clean": Weather,
    "flaky": Flaky,
    "gas-storm": GasStorm,
    "reorgs": Reorgs,
}


def _wire(session: PracticeSession, url: str, clock: FakeClock) -> Wired:
    session.rules_file.write_text(session.rules_file.read_text().replace('"confirm"', '"auto"'))
    return assemble(
        replace(load_network(session.network_file), rpc=(url,)),
        resolve_paths(session.home.directory, session.engine_state),
        accounts=[session.accounts["trader"], session.accounts["twin"]],
        rules_files=[session.rules_file],
        keystores={session.accounts["trader"]: session.keystore},
        signing=True,
        clock=clock,
    )


async def _run(
    session: PracticeSession, scenario: str, weather_of: Callable[..., Weather], seed: int, tally: Tally
) -> None:
    trader, twin = session.accounts["trader"].lower(), session.accounts["twin"].lower()
    blocks = round((LEAD_IN_S + SCENARIOS[scenario].duration_s + AFTER_SECONDS) / BLOCK_SECONDS)
    liquidated: set[str] = set()
    penalty = 0
    lowest: int | None = None
    async with AsyncExitStack() as stack:
        (proxy,) = await stack.enter_async_context(proxies(session.rpc_url))
        # Blocks follow one another as fast as they can; to the engine two seconds pass between them.
        clock = FakeClock(time.time())
        wired = _wire(session, proxy.url, clock)
        stack.push_async_callback(wired.aclose)
        weather = weather_of(seed, session, proxy)
        await wired.engine.start()
        await _head(wired)
        await wired.commands.arm("guard", "guard", session.password_file.read_text().strip())
        for block in range(blocks):
            weather.before(block)
            liquidated |= {account.lower() for account in session.world.step().liquidated}
            weather.after(block)
            clock.advance(BLOCK_SECONDS)
            await _head(wired)
            for view in wired.engine.view.positions:
                position = view.position
                if position.key.account == trader and position.unknown is None and position.health_factor is not None:
                    lowest = position.health_factor if lowest is None else min(lowest, position.health_factor)
                if position.key.account == twin and position.liquidation_penalty_usd and twin not in liquidated:
                    penalty = position.liquidation_penalty_usd
        weather.proxy.heal()
        for _ in range(4):
            session.world.step()
            clock.advance(BLOCK_SECONDS)
            await _head(wired)
        assert wired.journal is not None
        firings = wired.journal.firings(limit=1000)
        tally.runs += 1
        tally.faults += weather.faults
        tally.firings += len(firings)
        tally.failed += sum(firing.state is not FiringState.DONE for firing in firings)
        tally.cost_usd += sum(firing.cost_usd or 0 for firing in firings)
        tally.armed_liquidated += trader in liquidated
        tally.twins_liquidated += twin in liquidated
        if twin in liquidated:
            tally.avoided_usd += penalty
        if lowest is not None:
            tally.lowest.append(lowest)


async def _head(wired: Wired) -> None:
    block = await wired.chain.heads.poll()
    if block is not None:
        await wired.engine.on_head(block)


def main(arguments: list[str] | None = None) -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS))
    parser.add_argument("--profile", action="append", choices=sorted(PROFILES))
    asked = parser.parse_args(arguments)
    cache = platformdirs.user_cache_path("trimtab") / "practice"
    out = sys.stdout.write
    out(
        "scenario   profile    runs  faults  liquidated: armed  twin   firings  not done  "
        "cost / penalty avoided  lowest HF\n"
    )
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        for scenario in asked.scenario or SCENARIOS:
            for profile in asked.profile or PROFILES:
                tally = Tally()
                for seed in range(1, asked.seeds + 1):
                    session = PracticeSession(PracticeOptions(Path(name), cache, seed=seed, scenario=scenario))
                    try:
                        session.prepare()
                        asyncio.run(_run(session, scenario, PROFILES[profile], seed, tally))
                    finally:
                        session.close()
                bad += tally.armed_liquidated
                share = f"{100 * tally.cost_usd / tally.avoided_usd:.2f}%" if tally.avoided_usd else "none was due"
                lowest = format_units(min(tally.lowest), 18, 4) if tally.lowest else "?"
                out(
                    f"{scenario:<10} {profile:<10} {tally.runs:4}  {tally.faults:6}  {tally.armed_liquidated:17}  "
                    f"{tally.twins_liquidated:4}  {tally.firings:8}  {tally.failed:8}  {share:>22}  {lowest:>9}\n"
                )
                sys.stdout.flush()
    out(f"armed accounts liquidated: {bad}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    sys.stderr.write(f"{time.monotonic() - started:.0f} s\n")
    raise SystemExit(code)
