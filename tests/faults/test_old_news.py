"""Faults 13 and 37 where the news is old though blocks come: a machine that sleeps in the middle of a block's work, a
node that is hours behind and catches up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.fault_rig import ADD, OpenRig
from tui.model.block import BlockRef
from tui.model.intent import FiringState, IntentState
from tui.model.plan import Plan, PlannedCall, Refusal
from tui.model.snapshot import Snapshot
from tui.model.view import Protection

pytestmark = pytest.mark.node


async def test_13_asleep_while_a_block_is_read_nothing_is_signed_before_the_next(open_faulty: OpenRig) -> None:
    rig = await open_faulty(steps=ADD)
    watch = rig.wired.engine.watch
    read = watch.snapshot

    async def slow(block: BlockRef) -> Snapshot:
        snapshot = await read(block)
        rig.clock.advance(600)
        return snapshot

    watch.snapshot = slow  # type: ignore[method-assign]
    await rig.fall()
    assert rig.attempts() == []
    assert rig.view.protection is Protection.HELD
    assert "what was read is 600 s old" in rig.view.protection_why
    watch.snapshot = read  # type: ignore[method-assign]
    await rig.mine(5)
    assert rig.firing.state is FiringState.DONE
    assert rig.view.protection is Protection.ARMED


async def test_13_asleep_while_it_is_simulated_nothing_is_signed_before_the_next(open_faulty: OpenRig) -> None:
    """Once while it is planned, once while the very bytes are simulated with the nonce bound already."""
    rig = await open_faulty(steps=ADD)
    prospect = rig.wired.engine.prospect
    check = prospect.verify
    slept: list[int] = []

    async def sleeps(plan: Plan, snapshot: Snapshot, calls: Sequence[PlannedCall]) -> Refusal | None:
        refused = await check(plan, snapshot, calls)
        if not slept:
            slept.append(rig.chain.block_number())
            rig.clock.advance(600)
        return refused

    prospect.verify = sleeps  # type: ignore[method-assign]
    await rig.fall()
    assert slept
    assert rig.attempts() == []
    assert rig.firing.state is FiringState.DROPPED
    assert "no new block for 600 s" in rig.firing.reason
    await rig.mine(6)
    assert rig.firing.state is FiringState.DONE
    rig.check()


async def test_37_a_node_that_is_hours_behind_is_blind_however_fast_its_blocks_come(open_faulty: OpenRig) -> None:
    rig = await open_faulty(max_lag=60.0)
    assert rig.view.protection is Protection.ARMED
    rig.clock.advance(6 * 3600)
    await rig.fall()
    await rig.mine(3)
    assert rig.view.protection is Protection.HELD
    assert "s old by this machine's clock: the node is behind" in rig.view.protection_why
    assert rig.view.chain.blind is not None
    assert rig.attempts() == []
    rig.chain.rpc("evm_increaseTime", 6 * 3600)
    await rig.mine(6)
    assert rig.view.protection is Protection.ARMED
    assert rig.firing.state is FiringState.DONE


async def test_37_what_a_rebalance_left_is_judged_on_no_block_before_its_own(open_faulty: OpenRig) -> None:
    """It becomes final at a block whose position cannot be read; then the node gives that of the fall once more."""
    rig = await open_faulty()
    await rig.fall()
    fell = rig.wired.engine.snapshot
    assert fell is not None
    (position,) = fell.positions
    (rule,) = rig.wired.engine.book.rules
    await rig.mine()
    assert rig.intent_states == [IntentState.INCLUDED]
    watch = rig.wired.engine.watch
    read = watch.snapshot

    async def unknown(block: BlockRef) -> Snapshot:
        snapshot = await read(block)
        return replace(snapshot, positions=tuple(replace(one, unknown="not read") for one in snapshot.positions))

    watch.snapshot = unknown  # type: ignore[method-assign]
    await rig.mine()
    watch.snapshot = read  # type: ignore[method-assign]
    assert rig.firing.state is FiringState.DONE

    def is_open() -> bool:
        state = rig.wired.engine.book.state(rule, position)
        return state.latched and state.ended_block is None and rig.firing.health_factor_after is None

    assert is_open()
    await rig.wired.engine.on_head(fell.block)
    assert is_open()
    assert "is still below its trigger" not in rig.said
    await rig.mine()
    assert not is_open()
    assert rig.firing.health_factor_after is not None
    assert rig.firing.health_factor_after >= 149 * 10**16
