"""A node's budget: reads wait and leave a share, a live defence does not wait, and the status says so."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.proxy import proxies
from tui.chain.budget import Budget, urgent_lane
from tui.chain.client import open_chain
from tui.model.network import Network
from tui.model.plan import PlannedCall
from tui.practice.node import Node

FUNDED = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"


async def test_reads_wait_as_soon_as_only_the_reserved_share_is_left() -> None:
    clock = FakeClock()
    budget = Budget(20, clock)
    await budget.take(15)
    assert (clock.slept, budget.throttled) == ([], False)
    await budget.take(1)
    assert sum(clock.slept) > 0.049
    assert budget.throttled
    clock.advance(60)
    assert not budget.throttled


async def test_what_is_urgent_never_waits_and_reads_pay_for_it() -> None:
    clock = FakeClock()
    budget = Budget(20, clock)
    with urgent_lane():
        await budget.take(500)
    assert clock.slept == []
    await budget.take(1)
    assert 1.2 < sum(clock.slept) < 1.4, "a second's worth that is owed, the reserved share and the read itself"


async def test_the_urgent_lane_reaches_tasks_made_inside_and_ends_with_it() -> None:
    clock = FakeClock()
    budget = Budget(1, clock)
    with urgent_lane():
        await asyncio.gather(*(budget.take(5) for _ in range(3)))
    assert clock.slept == []
    await asyncio.gather(*(budget.take(1) for _ in range(3)))
    assert clock.slept != []


async def test_reads_go_in_the_order_of_asking() -> None:
    clock = FakeClock()
    budget = Budget(4, clock)
    done: list[int] = []

    async def read(number: int) -> None:
        await budget.take(3 if number == 0 else 1)
        done.append(number)

    await asyncio.gather(*(read(number) for number in range(6)))
    assert done == list(range(6))
    assert budget.waiting == 0


async def test_a_read_that_is_given_up_leaves_its_place() -> None:
    clock = FakeClock()
    budget = Budget(4, clock)
    await budget.take(3)

    asked = asyncio.Event()

    async def forever(seconds: float) -> None:
        asked.set()
        await asyncio.Event().wait()

    clock.sleep = forever  # type: ignore[method-assign]
    waiting = asyncio.create_task(budget.take(1))
    await asked.wait()
    assert budget.short
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.waiting == 0


@given(st.integers(1, 50), st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_in_the_long_run_no_more_is_read_than_the_budget(rate: int, sizes: list[int]) -> None:
    clock = FakeClock()
    budget = Budget(rate, clock)

    async def read_all() -> None:
        for size in sizes:
            await budget.take(size)

    asyncio.run(read_all())
    # The last batch may be owed; all before it is paid for by the first bucket and the time that went by.
    assert sum(sizes[:-1]) <= max(rate, 4) + clock.monotonic() * rate + 1e-3


async def test_watching_yields_on_a_real_node_while_a_defence_goes_through(node: Node, network: Network) -> None:
    clock = FakeClock()
    async with proxies(node.url, 2) as made:
        chain = open_chain(replace(network, rpc=tuple(proxy.url for proxy in made), rpc_budget=8), clock)
        head = await chain.heads.poll()
        assert head is not None
        for _ in range(30):
            await chain.reader.block_by_hash(head.hash)
        # What one node does not allow, the other does; then reads wait.
        assert all(proxy.count("eth_getBlockByHash") > 5 for proxy in made)
        waited = sum(clock.slept)
        assert waited > 0.5
        said = [one.detail for one in chain.reader.providers()]
        assert any("budget of 8 requests a second" in detail for detail in said), said
        assert [one.state for one in chain.reader.providers()] == ["ok", "ok"]
        # All of this is asked with the budget used up, and none of it waits.
        call = PlannedCall(FUNDED, b"", 0, "nothing", None)
        for _ in range(5):
            await chain.simulator.simulate(head, FUNDED, [call], [])
            assert await chain.broadcaster.nonce(FUNDED) == 0
            assert await chain.broadcaster.receipt("0x" + "11" * 32) is None
            await chain.broadcaster.send(b"\x02", "0x" + "22" * 32)
        assert sum(clock.slept) == waited
        await chain.aclose()


async def test_without_a_budget_nothing_waits(node: Node, network: Network) -> None:
    clock = FakeClock()
    chain = open_chain(network, clock)
    for _ in range(50):
        await chain.reader.block_by_hash("0x" + "00" * 32)
    assert clock.slept == []
    assert chain.reader.providers()[0].detail == ""
    await chain.aclose()
