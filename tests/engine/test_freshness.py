"""How old what is known is: each way of being old, and what is none."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tui.engine.freshness import Freshness
from tui.model.block import BlockRef
from tui.model.network import Network

START = 1_790_000_000


@dataclass
class Clocks:
    """A wall clock that can be set, and one that cannot."""

    wall: float = START
    steady: float = 500.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    async def sleep(self, seconds: float) -> None:
        self.pass_(seconds)


def network(chain_id: int = 1, block_time: float = 12.0) -> Network:
    return Network("a", chain_id, block_time, 2, ())


def block(timestamp: float) -> BlockRef:
    return BlockRef(7, "0x07", "0x06", int(timestamp), 1)


def fresh(clocks: Clocks, net: Network, lag: float = 0.0, reading: float = 0.0) -> Freshness:
    """One that has just read a block: `lag` seconds old by the clock when its head came, `reading` seconds to read."""
    freshness = Freshness(net, clocks)
    assert freshness.fault() is None
    assert freshness.head_age() is None
    newest = block(clocks.now() - lag)
    freshness.came()
    clocks.pass_(reading)
    freshness.was_read(newest)
    return freshness


@pytest.mark.parametrize(("block_time", "limit"), [(12.0, 37.0), (0.25, 1.75)])
def test_silence_is_a_fault_after_three_block_times(block_time: float, limit: float) -> None:
    clocks = Clocks()
    freshness = fresh(clocks, network(block_time=block_time))
    clocks.pass_(limit)
    assert freshness.fault() is None
    clocks.pass_(0.01)
    assert freshness.head_age() == pytest.approx(limit + 0.01)
    assert freshness.fault() == f"no new block for {int(limit)} s"


@pytest.mark.parametrize(("block_time", "limit"), [(12.0, 37.0), (0.25, 15.0)])
def test_what_was_read_is_as_old_as_its_head_and_not_as_the_end_of_the_reading(block_time: float, limit: float) -> None:
    """A chain of four blocks a second may be read slowly; a machine that slept meanwhile has read nothing of use."""
    assert fresh(Clocks(), network(block_time=block_time), reading=limit).fault() is None
    slept = fresh(Clocks(), network(block_time=block_time), reading=600)
    assert slept.fault() == "what was read is 600 s old"


def test_a_node_that_is_behind_is_no_news_however_fast_it_catches_up() -> None:
    clocks = Clocks()
    freshness = fresh(clocks, network(), lag=6 * 3600)
    assert freshness.fault() is not None
    assert "block 7 is 21600 s old by this machine's clock" in str(freshness.fault())
    assert fresh(clocks, network(), lag=60).fault() is None
    assert fresh(clocks, network(block_time=30.0), lag=149).fault() is None
    assert fresh(clocks, network(), lag=61).fault() is not None


def test_blocks_from_the_future_are_told_apart() -> None:
    assert "block 7 is 120 s ahead of this machine's clock" in str(fresh(Clocks(), network(), lag=-120).fault())
    assert fresh(Clocks(), network(), lag=-60).fault() is None


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_makes_no_block_old(hours: int) -> None:
    """Set wrong while it runs, or set right after a start with a wrong one: one of the two readings is right."""
    clocks = Clocks()
    freshness = fresh(clocks, network())
    clocks.wall += hours * 3600
    assert freshness.fault() is None
    clocks = Clocks(wall=START + hours * 3600)
    freshness = Freshness(network(), clocks)
    freshness.came()
    freshness.was_read(block(START))
    assert freshness.fault() is not None
    clocks.wall = START
    assert freshness.fault() is None


def test_a_practice_chain_keeps_a_time_of_its_own() -> None:
    assert fresh(Clocks(), network(31337), lag=3 * 86_400).fault() is None
