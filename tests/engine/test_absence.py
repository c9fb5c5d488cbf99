"""Looking back through blocks that nothing read: in parts that nodes take, and told where they take none."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.firings import ACCOUNT
from tui.engine.absence import MOST_FAILURES, SHORT_BLOCKS, WIDEST, Absence
from tui.engine.losses import Lost
from tui.engine.sending import Teller
from tui.journal.store import SqliteJournal, open_journal
from tui.model.block import BlockRef
from tui.model.calls import EventQuery, Log, PastEvent
from tui.model.position import MarketKey, Position, PositionKey
from tui.model.snapshot import Snapshot
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import Decision
from tui.protocols.aave_v3.liquidated import LIQUIDATION
from tui.protocols.aave_v3.market import AaveV3Market
from tui.protocols.erc20 import address_word, word

POOL, TOKEN, USD = "0x" + "b2" * 20, "0x" + "c3" * 20, "0x" + "d4" * 20
KEY = PositionKey(MarketKey("aave-v3", "core"), ACCOUNT)


def liquidation(block: int, account: str = ACCOUNT) -> PastEvent:
    topics = (LIQUIDATION, address_word(TOKEN), address_word(USD), address_word(account))
    return PastEvent(block, Log(POOL, topics, word(500) + word(7) + word(1) + word(0)))


def block(number: int) -> BlockRef:
    return BlockRef(number, f"0x{number:064x}", f"0x{number - 1:064x}", 1_700_000_000 + 12 * number, 1)


class Node:
    """Events of a node that looks through at most `widest` blocks at a time; it may be `down`."""

    def __init__(self, *happened: PastEvent) -> None:
        self.happened = happened
        self.widest = 10**9
        self.down = False
        self.asked: list[tuple[int, int]] = []

    async def between(self, first: int, last: int, query: EventQuery) -> tuple[PastEvent, ...]:
        self.asked.append((first, last))
        if self.down:
            raise ChainUnreachable("node \x1b[31mis away")
        if last - first >= self.widest:
            raise ReadFailed(f"query exceeds max block range {self.widest}")
        return tuple(one for one in self.happened if first <= one.block_number <= last and query.asks_for(one.log))

    async def find(self, number: int) -> BlockRef | None:
        return block(number) if not self.down else None


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    opened = open_journal(tmp_path / "state")
    yield opened
    opened.close()


class Bench:
    """An Absence as after a start, and what it said."""

    def __init__(self, journal: SqliteJournal, node: Node) -> None:
        self.said: list[Decision] = []
        market: Any = AaveV3Market("core", "0x" + "e5" * 20)
        market._pool = POOL
        teller = Teller(journal, FakeClock(), self.said.append)
        self.absence = Absence(journal, node, node.find, (market,), 1, teller)

    async def at(self, number: int, *, told: bool = False, unclear_since: int | None = None) -> None:
        """One block, and what is looked through beside it."""
        position = Position(KEY, block(number), (), (), None, 0, 0)
        self.absence.see(block(number), Lost(((position, "LIQUIDATED"),) if told else (), unclear_since))
        self.absence.look(Snapshot(block(number), (position,)), lambda one: one.id)
        await self.absence.looked()


async def test_a_span_that_is_too_wide_is_halved_until_the_node_takes_it(journal: SqliteJournal) -> None:
    node = Node(liquidation(40_123), liquidation(55_001))
    await Bench(journal, node).at(30_000)
    node.widest = 3_000
    bench = Bench(journal, node)
    number = 60_000
    for _ in range(40):
        number += 1
        await bench.at(number)
    assert [one.block for one in bench.said] == [40_123, 55_001]
    assert "7 base units of 0xc3c3" in bench.said[0].text
    taken = [span for span in node.asked if span[1] - span[0] < node.widest]
    assert taken[0][0] == 30_001
    assert taken[-1][1] == 60_001
    assert all(after[0] == before[1] + 1 for before, after in pairwise(taken)), "without a gap"
    assert node.asked[0] == (30_001, 30_000 + WIDEST)


async def test_what_was_not_looked_through_is_taken_up_after_the_next_start(journal: SqliteJournal) -> None:
    node = Node(liquidation(105))
    await Bench(journal, node).at(100)
    node.down = True
    bench = Bench(journal, node)
    for number in (200, 201, 202):
        await bench.at(number)
    assert bench.said == []
    node.down = False
    bench = Bench(journal, node)
    await bench.at(300)
    assert [one.block for one in bench.said] == [105]
    assert (101, 300) in node.asked


async def test_what_no_node_tells_is_said_to_be_unknown(journal: SqliteJournal) -> None:
    node = Node()
    await Bench(journal, node).at(100)
    node.down = True
    bench = Bench(journal, node)
    for number in range(200, 200 + MOST_FAILURES + 1):
        await bench.at(number)
    (one,) = bench.said
    assert "liquidated in blocks 101 to 200, while nothing watched, is not known" in one.text
    assert "eth_getLogs" in one.text
    assert "\x1b" not in one.text
    node.asked.clear()
    await bench.at(225)
    assert node.asked == [], "it is not asked for again"


async def test_a_machine_that_slept_looks_back_and_a_short_gap_is_left_to_the_readings(journal: SqliteJournal) -> None:
    node = Node(liquidation(150))
    bench = Bench(journal, node)
    await bench.at(100)
    await bench.at(100 + SHORT_BLOCKS)
    assert node.asked == []
    await bench.at(200)
    assert node.asked == [(101 + SHORT_BLOCKS, 200)]
    assert [one.block for one in bench.said] == [150]


async def test_readings_that_leave_it_unclear_are_looked_into(journal: SqliteJournal) -> None:
    node = Node(liquidation(110))
    bench = Bench(journal, node)
    await bench.at(100)
    await bench.at(101)
    await bench.at(110, unclear_since=101)
    assert node.asked == [(102, 110)]
    assert [one.block for one in bench.said] == [110]


async def test_what_readings_have_told_is_not_told_twice(journal: SqliteJournal) -> None:
    node = Node(liquidation(150))
    bench = Bench(journal, node)
    await bench.at(100)
    await bench.at(200, told=True)
    assert node.asked == [(101, 200)]
    assert bench.said == []


async def test_liquidations_of_others_are_nobodys_business(journal: SqliteJournal) -> None:
    node = Node(liquidation(150, "0x" + "99" * 20))
    bench = Bench(journal, node)
    await bench.at(100)
    await bench.at(200)
    assert bench.said == []


async def test_a_chain_that_begins_anew_is_not_looked_back_on(journal: SqliteJournal) -> None:
    node = Node()
    await Bench(journal, node).at(5_000)
    bench = Bench(journal, node)
    await bench.at(10)
    await bench.at(11)
    assert node.asked == []
    await Bench(journal, node).at(80)
    assert node.asked[0][1] == 80
