"""Money for less than the usual fee: it is offered, raised once there is more, and nothing that is signed is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.chain import ETHER
from tests.support.fault_rig import ADD, GWEI, FaultRig, OpenRig, World
from tests.support.pool_rules import SEND
from tests.support.proxy import Row, Told
from tui.engine.cancelling import CannotCancel
from tui.model.intent import AttemptKind, FiringState, IntentState
from tui.model.units import parse_units
from tui.model.view import Severity

pytestmark = pytest.mark.node

CALM, DEAR = 20, 60
"""Gwei of the base fee when it fires, and after that."""
REPAYING, ADDING = 307_000, 296_000
"""About the gas limits of what is signed."""


@pytest.fixture(autouse=True)
def calm(world: World) -> Iterator[None]:
    """The node goes on with the base fee of its last block, also where the chain is put back: it gets its own again."""
    yield
    world.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    world.chain.mine()


async def at(rig: FaultRig, gwei: int, blocks: int = 1) -> None:
    """Blocks at a base fee, each taken by the engine."""
    for _ in range(blocks):
        rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(gwei * GWEI))
        await rig.mine()


async def fires_poor(rig: FaultRig, gas: int = REPAYING) -> int:
    """It fires with money for 28 gwei a unit of gas, where twice the base fee is usual; then the base fee rises over
    that, and what was sent waits. What there is, in wei.
    """
    await at(rig, CALM, 2)
    money = gas * 28 * GWEI
    rig.chain.set_ether(rig.account, money)
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(CALM * GWEI))
    await rig.fall()
    assert all(intent.state is IntentState.MAYBE_SENT for intent in rig.firing.intents), rig.said
    for intent in rig.firing.intents:
        assert intent.attempts[0].max_fee < 34 * GWEI
        assert intent.fee_ceiling > 2 * DEAR * GWEI, "the ceiling is the rule's"
    assert money * 9 // 10 < signed_for(rig) <= money
    await at(rig, DEAR, 4)
    return money


def signed_for(rig: FaultRig) -> int:
    """Wei that the newest attempts may take together."""
    return sum(intent.gas_limit * intent.attempts[-1].max_fee for intent in rig.firing.intents)


def alarms(rig: FaultRig) -> list[str]:
    """What was said of missing money."""
    assert rig.wired.journal is not None
    lines = rig.wired.journal.decisions()
    return [line.text for line in lines if line.kind == "short-of-gas" and line.severity is Severity.ALARM]


def told_to_add(rig: FaultRig) -> int:
    """Wei that the last of them says are missing at least."""
    found = re.search(r"add ([0-9.]+) at least", alarms(rig)[-1])
    assert found is not None, alarms(rig)
    return parse_units(found[1], 18)


def top_up(rig: FaultRig, wei: int) -> None:
    rig.chain.set_ether(rig.account, rig.chain.ether(rig.account) + wei)


async def ended_well(rig: FaultRig, gwei: int) -> None:
    for _ in range(4):
        await at(rig, gwei)
    assert rig.firing.state is FiringState.DONE, rig.said
    assert len(rig.firings) == 1
    rig.check()


async def test_25_what_was_offered_is_raised_at_the_block_after_money_was_added(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await fires_poor(rig)
    (alarm,) = alarms(rig)
    assert f"{rig.account[:6]}" in alarm
    assert any(alarm in line for line in rig.view.would_stop), rig.view.would_stop
    sends = rig.proxies[0].count(SEND)
    await at(rig, DEAR, 4)
    assert alarms(rig) == [alarm], "once, until it is over"
    assert len(rig.intent.attempts) == 1, "nothing is signed that could not be paid"
    assert rig.proxies[0].count(SEND) == sends + 4, "what is signed goes out again"
    top_up(rig, told_to_add(rig))
    await at(rig, DEAR)
    first, raised = rig.intent.attempts
    assert raised.max_fee > DEAR * GWEI > first.max_fee
    assert rig.pooled() == [raised.hash]
    assert not any(alarm in line for line in rig.view.would_stop)
    await ended_well(rig, DEAR)
    assert rig.intent.included_hash == raised.hash
    assert alarms(rig) == [alarm]


async def test_25_several_that_need_the_same_money_are_told_of_once_and_raised_together(open_faulty: OpenRig) -> None:
    rig = await open_faulty(steps=ADD)
    await fires_poor(rig, ADDING)
    assert len(rig.firing.intents) == 2
    assert len(alarms(rig)) == 1
    top_up(rig, told_to_add(rig) // 2)
    await at(rig, DEAR)
    assert len(alarms(rig)) == 2, "it has changed, and is too little still"
    top_up(rig, told_to_add(rig))
    await at(rig, DEAR)
    assert all(intent.attempts[-1].max_fee > DEAR * GWEI for intent in rig.firing.intents)
    await ended_well(rig, DEAR)


@pytest.mark.parametrize("added", [False, True])
async def test_25_where_the_raised_one_is_not_paid_for_the_older_one_goes_out_again(
    open_faulty: OpenRig, added: bool
) -> None:
    """The money goes between the signature of the raised attempt and its send, and the node forgets the older one."""
    rig = await open_faulty()
    money = await fires_poor(rig)
    top_up(rig, ETHER)

    def rob(params: list[Any]) -> Row | None:
        rig.chain.set_ether(rig.account, money)
        rig.chain.rpc("anvil_dropAllTransactions")
        return None

    rig.proxies[0].add(Told(frozenset((SEND,)), 1, instead=rob))
    await at(rig, DEAR)
    first, raised = rig.intent.attempts
    assert raised.answer.startswith("insufficient-funds")
    # Anvil takes no cap under its base fee: it is offered, and taken once the base fee allows.
    assert first.answer.startswith("fee-too-low")
    assert len(alarms(rig)) == 2, "its money has changed"
    await at(rig, DEAR, 5)
    assert rig.intent.attempts[1:] == (raised,), "no ladder of what nobody pays for"
    assert len(alarms(rig)) == 2
    if added:
        top_up(rig, ETHER)
        await ended_well(rig, DEAR)
    else:
        await ended_well(rig, CALM)
    assert (rig.intent.included_hash == first.hash) is not added


async def test_25_after_a_restart_it_is_raised_as_well(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await fires_poor(rig)
    await rig.restart()
    await rig.arm()
    await at(rig, DEAR, 2)
    assert len(rig.intent.attempts) == 1
    top_up(rig, told_to_add(rig))
    await ended_well(rig, DEAR)
    assert len(rig.intent.attempts) == 2


async def test_25_a_cancel_is_paid_for_where_the_call_is_not(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await fires_poor(rig)
    await rig.cancel()
    for _ in range(4):
        await at(rig, DEAR)
    assert rig.intent.state is IntentState.FINAL_CANCELLED, rig.said
    assert [one.kind for one in rig.intent.attempts] == [AttemptKind.ORIGINAL, AttemptKind.CANCEL]
    rig.check()


async def test_25_a_cancel_that_nobody_can_pay_takes_the_place_of_nothing(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    await fires_poor(rig)
    rig.chain.set_ether(rig.account, 10**14)
    with pytest.raises(CannotCancel, match=r"has 0\.000100 of the native coin, .* add some"):
        await rig.cancel()
    assert (rig.intent.state, len(rig.intent.attempts)) == (IntentState.MAYBE_SENT, 1)
    top_up(rig, ETHER)
    await ended_well(rig, DEAR)
