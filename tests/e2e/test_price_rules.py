"""Stop-loss, take-profit and a trailing stop on a real node: fired by the oracle, carried out by one sale each."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.soak.empty_wallet import empty
from tests.support.clock import FakeClock
from tui.config.networks import load_network
from tui.config.paths import resolve_paths
from tui.model.intent import FiringState
from tui.model.position import Position
from tui.model.units import USD
from tui.practice.scenarios import LEAD_IN_S, ONE, Keyframes, PriceDriver, Scenario
from tui.practice.session import PracticeOptions, PracticeSession
from tui.wiring import Wired, assemble

pytestmark = pytest.mark.node

SECONDS = 2

RULE = """\
[[rule]]
name = "price"
position = "aave-v3/core/{trader}"
mode = "auto"
when = {when}
target = {{ close = "{close}" }}

[[rule.step]]
action = "deleverage"
collateral = "WETH"
debt = "USDC"
max_slippage = "3%"

[rule.limits]
cooldown = "0s"
"""


class Rig:
    """The practice market under an engine, block by block."""

    def __init__(self, session: PracticeSession) -> None:
        self.session = session
        self.trader = session.accounts["trader"].lower()
        self.clock = FakeClock(time.time())
        self.wired: Wired | None = None

    def write(self, when: str, close: str) -> None:
        self.session.rules_file.write_text(RULE.format(trader=self.trader, when=when, close=close))

    def drive(self, ether: Keyframes) -> None:
        """Move ether along keyframes (seconds, percent), beginning with the next block."""
        frames = tuple((at, ONE // 100 * percent) for at, percent in ether)
        driver = PriceDriver(Scenario("moves", "", frames[-1][0], ether=frames), 3, SECONDS * 1000)
        driver.elapsed_ms = LEAD_IN_S * 1000
        self.session.world.driver = driver

    @asynccontextmanager
    async def engine(self, arm: bool = True) -> AsyncIterator[Wired]:
        """An engine on the same record as the one before."""
        wired = assemble(
            load_network(self.session.network_file),
            resolve_paths(self.session.home.directory, self.session.engine_state),
            accounts=[self.trader],
            rules_files=[self.session.rules_file],
            keystores={self.trader: self.session.keystore},
            signing=True,
            clock=self.clock,
        )
        self.wired = wired
        try:
            await wired.engine.start()
            await self.head()
            if arm:
                await wired.commands.arm("price", "price", self.session.password)
            yield wired
        finally:
            await wired.aclose()

    async def head(self) -> None:
        assert self.wired is not None
        block = await self.wired.chain.heads.poll()
        if block is not None:
            await self.wired.engine.on_head(block)

    async def steps(self, blocks: int) -> None:
        for _ in range(blocks):
            self.session.world.step()
            self.clock.advance(SECONDS)
            await self.head()

    def position(self) -> Position:
        assert self.wired is not None
        snapshot = self.wired.engine.snapshot
        assert snapshot is not None
        return next(one for one in snapshot.positions if one.key.account == self.trader)

    def owed(self) -> int:
        return sum(one.amount for one in self.position().debt)

    def price(self) -> int:
        return next(one.price_usd or 0 for one in self.position().collateral if one.asset.symbol == "WETH")

    def why(self) -> list[str]:
        assert self.wired is not None
        return [str(entry.text) for entry in self.wired.engine.view.activity]


@pytest.fixture
def rig(tmp_path: Path, artifacts_dir: Path, warm_signers: None) -> Iterator[Rig]:
    session = PracticeSession(PracticeOptions(tmp_path, artifacts_dir, seed=3, scenario="calm"))
    session.prepare()
    empty(session, session.accounts["trader"])
    yield Rig(session)
    session.close()


async def test_a_stop_loss_closes_everything(rig: Rig) -> None:
    rig.write('{ price_of = "WETH", below = "2850" }', "100%")
    rig.drive(((0, 100), (20, 100), (40, 93), (80, 93)))
    async with rig.engine() as wired:
        assert rig.owed() > 0
        assert wired.engine.view.next_fire is not None
        assert wired.engine.view.next_fire.price_usd == 2850 * USD
        await rig.steps(40)
        firings = wired.journal.firings() if wired.journal else ()
        assert [firing.state for firing in firings] == [FiringState.DONE], rig.why()
        assert rig.price() < 2850 * USD
        assert rig.owed() == 0, rig.why()
        assert rig.position().health_factor is None
        assert any("closes 100%, no debt" in line for line in rig.why()), rig.why()


async def test_a_take_profit_closes_half(rig: Rig) -> None:
    rig.write('{ price_of = "WETH", above = "3150", for_blocks = 2 }', "50%")
    rig.drive(((0, 100), (20, 108), (80, 108)))
    async with rig.engine() as wired:
        before = rig.owed()
        await rig.steps(30)
        firings = wired.journal.firings() if wired.journal else ()
        assert [firing.state for firing in firings] == [FiringState.DONE], rig.why()
        assert abs(rig.owed() * 2 - before) * 10_000 < before
        assert rig.position().health_factor is not None
        assert any("→ closes 50%, HF" in line for line in rig.why()), rig.why()


async def test_a_trailing_stop_remembers_its_best_over_a_restart(rig: Rig) -> None:
    rig.write('{ price_of = "WETH", trailing = "6%" }', "100%")
    rig.drive(((0, 100), (20, 112), (24, 112), (28, 109), (60, 109)))
    async with rig.engine() as wired:
        start = rig.price()
        await rig.steps(16)
        assert not (wired.journal.firings() if wired.journal else ())
    rig.drive(((0, 109), (20, 103), (60, 103)))
    async with rig.engine() as wired:
        level = next(one for one in wired.engine.view.positions[0].trigger_prices)
        assert level.price_usd > start, "what it trails was forgotten"
        await rig.steps(28)
        firings = wired.journal.firings() if wired.journal else ()
        assert [firing.state for firing in firings] == [FiringState.DONE], rig.why()
        # It fired above where it was armed: on its own memory of the rise alone.
        assert rig.price() > start
        assert rig.owed() == 0, rig.why()


@pytest.mark.parametrize("level", ['below = "100"', 'trailing = "90%"'])
async def test_a_stop_that_comes_too_late_is_refused_with_that_reason_once(rig: Rig, level: str) -> None:
    rig.write(f'{{ price_of = "WETH", {level} }}', "100%")
    async with rig.engine(arm=False) as wired:
        report = await wired.commands.arming_report("price")
        assert len([one for one in report.problems if "is liquidated at" in one]) == 1, report.problems


async def test_half_of_it_is_sold_off_where_health_is_high_by_the_same_rise(rig: Rig) -> None:
    """One sale through the helper: the floor, the size and the part are those of any rule that closes."""
    rig.write('{ health_factor_above = "90" }', "50%")
    async with rig.engine(arm=False):
        start = rig.position().health_factor or 0
    rig.write(f'{{ health_factor_above = "{start * 104 // 100 // 10**15 / 1000}", for_blocks = 2 }}', "50%")
    rig.drive(((0, 100), (20, 108), (80, 108)))
    async with rig.engine() as wired:
        before, level = rig.owed(), wired.engine.book.rules[0].trigger.level
        following = wired.engine.view.next_fire
        assert following is not None
        assert following.health_factor == level
        await rig.steps(30)
        firings = wired.journal.firings() if wired.journal else ()
        assert [firing.state for firing in firings] == [FiringState.DONE], rig.why()
        # Not before its level, and not long after it.
        assert (firings[0].health_factor_before or 0) > level
        assert (firings[0].health_factor_before or 0) < level * 103 // 100
        assert abs(rig.owed() * 2 - before) * 10_000 < before
        assert (rig.position().health_factor or 0) > level
        assert any("→ closes 50%, HF" in line for line in rig.why()), rig.why()
