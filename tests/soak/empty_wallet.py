"""A crash met with nothing in the wallet: selling collateral for debt is all there is. Against the liquidated twin.

Run: python -m tests.soak.empty_wallet [--seeds 20] [--scenario crash]

For each run it prints what the armed account and its twin gave up at the prices of each block (what sales, or
liquidators, took from the position; gas is the armed account's own), and their ratio. Exit code 1 where an armed
account was liquidated.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from tests.support.clock import FakeClock
from tui.config.networks import load_network
from tui.config.paths import resolve_paths
from tui.model.intent import FiringState
from tui.model.position import Position
from tui.model.units import format_units, value_usd
from tui.practice.abi import calldata, decode_words
from tui.practice.scenarios import LEAD_IN_S, SCENARIOS
from tui.practice.session import PracticeOptions, PracticeSession
from tui.wiring import Wired, assemble

BLOCK_SECONDS = 2.0
AFTER_SECONDS = 20

RULE = """\
[[rule]]
name = "guard"
position = "aave-v3/{market}/{trader}"
mode = "auto"
when = {{ health_factor_below = "1.20" }}
target = {{ health_factor = "1.45" }}

[[rule.step]]
action = "deleverage"
collateral = "WETH"
debt = "USDC"
max_slippage = "2%"

[rule.limits]
max_cost_usd = "2000"
cooldown = "0s"
"""


@dataclass
class Outcome:
    """One run. Dollars with 8 decimals; health factor in wad."""

    armed_liquidated: bool = False
    twin_liquidated: bool = False
    firings: int = 0
    done: int = 0
    armed_gave_up: int = 0
    armed_gas: int = 0
    twin_gave_up: int = 0
    lowest: int | None = None

    @property
    def ratio(self) -> float | None:
        """What defending cost as a share of what the twin lost; None where the twin lost nothing."""
        if self.twin_gave_up <= 0:
            return None
        return (self.armed_gave_up + self.armed_gas) / self.twin_gave_up


class Purse:
    """What one position gave up: the change of each amount at the price of the block in which it changed."""

    def __init__(self) -> None:
        self.gave_up = 0
        self._before: Mapping[str, int] | None = None

    def see(self, position: Position) -> None:
        """Take a reading in."""
        now: dict[str, int] = {}
        prices: dict[str, tuple[int, int]] = {}
        for sign, holdings in ((1, position.collateral), (-1, position.debt)):
            for one in holdings:
                now[one.asset.address] = now.get(one.asset.address, 0) + sign * one.amount
                prices[one.asset.address] = (one.asset.decimals, one.price_usd or 0)
        for token, before in (self._before or {}).items():
            decimals, price = prices.get(token, (0, 0))
            lost = before - now.get(token, 0)
            worth = value_usd(abs(lost), decimals, price)
            self.gave_up += worth if lost > 0 else -worth
        self._before = now


def empty(session: PracticeSession, account: str) -> None:
    """Take every token out of an account's wallet; its ether stays."""
    rpc = session.node.rpc
    rpc.call("anvil_impersonateAccount", account)
    for token in session.market.tokens.values():
        raw = rpc.call("eth_call", {"to": token.address, "data": calldata("balanceOf(address)", account)}, "latest")
        (balance,) = decode_words(["uint256"], raw)
        if balance:
            data = calldata("transfer(address,uint256)", session.accounts["multi"], balance)
            rpc.call("eth_sendTransaction", {"from": account, "to": token.address, "data": data})
            rpc.call("evm_mine")
    rpc.call("anvil_stopImpersonatingAccount", account)


async def run(session: PracticeSession, scenario: str) -> Outcome:
    """One scenario with an armed trader whose wallet is empty, beside the twin."""
    trader, twin = session.accounts["trader"].lower(), session.accounts["twin"].lower()
    empty(session, session.accounts["trader"])
    session.rules_file.write_text(RULE.format(market="core", trader=trader))
    blocks = round((LEAD_IN_S + SCENARIOS[scenario].duration_s + AFTER_SECONDS) / BLOCK_SECONDS)
    purses = {trader: Purse(), twin: Purse()}
    outcome = Outcome()
    liquidated: set[str] = set()
    async with AsyncExitStack() as stack:
        clock = FakeClock(time.time())
        wired = _wire(session, clock)
        stack.push_async_callback(wired.aclose)
        await wired.engine.start()
        await _head(wired)
        await wired.commands.arm("guard", "guard", session.password)
        for _ in range(blocks):
            liquidated |= {account.lower() for account in session.world.step().liquidated}
            clock.advance(BLOCK_SECONDS)
            await _head(wired)
            for view in wired.engine.view.positions:
                position = view.position
                if position.unknown is None and position.key.account in purses:
                    purses[position.key.account].see(position)
                    if position.key.account == trader and position.health_factor is not None:
                        known = outcome.lowest
                        outcome.lowest = position.health_factor if known is None else min(known, position.health_factor)
        assert wired.journal is not None
        firings = wired.journal.firings(limit=1000)
    outcome.armed_liquidated, outcome.twin_liquidated = trader in liquidated, twin in liquidated
    outcome.firings = len(firings)
    outcome.done = sum(firing.state is FiringState.DONE for firing in firings)
    outcome.armed_gas = sum(firing.cost_usd or 0 for firing in firings)
    outcome.armed_gave_up, outcome.twin_gave_up = purses[trader].gave_up, purses[twin].gave_up
    return outcome


def _wire(session: PracticeSession, clock: FakeClock) -> Wired:
    return assemble(
        load_network(session.network_file),
        resolve_paths(session.home.directory, session.engine_state),
        accounts=[session.accounts["trader"], session.accounts["twin"]],
        rules_files=[session.rules_file],
        keystores={session.accounts["trader"].lower(): session.keystore},
        signing=True,
        clock=clock,
    )


async def _head(wired: Wired) -> None:
    block = await wired.chain.heads.poll()
    if block is not None:
        await wired.engine.on_head(block)


def main(arguments: list[str] | None = None) -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS))
    asked = parser.parse_args(arguments)
    cache = platformdirs.user_cache_path("trimtab") / "practice"
    sys.stdout.write("scenario   seed  liquidated: armed  twin  sales done  gave up: armed  + gas  twin     ratio\n")
    bad, ratios = 0, []
    with tempfile.TemporaryDirectory() as name:
        for scenario in asked.scenario or ["crash"]:
            for seed in range(1, asked.seeds + 1):
                session = PracticeSession(PracticeOptions(Path(name), cache, seed=seed, scenario=scenario))
                try:
                    session.prepare()
                    one = asyncio.run(run(session, scenario))
                finally:
                    session.close()
                bad += one.armed_liquidated
                if one.ratio is not None:
                    ratios.append(one.ratio)
                ratio = "none" if one.ratio is None else f"{one.ratio:.3f}"
                armed, gas, twin = (
                    format_units(amount, 8, 2) if amount >= 0 else f"-{format_units(-amount, 8, 2)}"
                    for amount in (one.armed_gave_up, one.armed_gas, one.twin_gave_up)
                )
                sys.stdout.write(
                    f"{scenario:<10} {seed:4}  {one.armed_liquidated!s:>17}  {one.twin_liquidated!s:>5}  "
                    f"{one.done:>3} of {one.firings:<3}  {armed:>14}  {gas:>5}  {twin:>8}  {ratio:>7}\n"
                )
                sys.stdout.flush()
    mean = f", mean ratio {sum(ratios) / len(ratios):.3f}" if ratios else ""
    sys.stdout.write(f"armed accounts liquidated: {bad}{mean}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
