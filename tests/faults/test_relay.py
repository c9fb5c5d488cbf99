"""Fault 28: a private relay that gives up, refuses, is down, or works."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.test_mempool import ended_well
from tests.support.fault_rig import OpenRig
from tests.support.pool_rules import SEND, hash_of
from tui.model.intent import IntentState
from tui.model.network import RelayConfig

pytestmark = pytest.mark.node


def with_relay(**options: Any) -> dict[str, Any]:
    return {"extra": 1, "relay": lambda url: RelayConfig(url, 3), **options}


async def test_28_a_relay_that_gives_up_and_the_public_nodes_get_the_same_nonce(open_faulty: OpenRig) -> None:
    rig = await open_faulty(**with_relay(providers=2))
    (relay,) = rig.extra
    relay.swallow(SEND, hash_of)
    await rig.fall()
    assert (relay.count(SEND), [proxy.count(SEND) for proxy in rig.proxies]) == (1, [0, 0])
    await rig.mine(2)
    assert relay.count(SEND) >= 2
    assert [proxy.count(SEND) for proxy in rig.proxies] == [0, 0]
    assert rig.pooled() == []
    await rig.mine()
    assert all(proxy.count(SEND) for proxy in rig.proxies)
    assert rig.pooled() == [rig.intent.attempts[-1].hash]
    await ended_well(rig)
    assert len({sent.nonce for sent in rig.attempts()}) == 1


async def test_28_a_relay_that_refuses_or_is_down_costs_no_block(open_faulty: OpenRig) -> None:
    rig = await open_faulty(**with_relay())
    rig.extra[0].down()
    await rig.fall()
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    await rig.mine()
    relay = rig.view.chain.providers[-1]
    assert (relay.role, relay.state) == ("relay", "failing")
    assert relay.detail.startswith("last answer: no-answer (has trouble of its own (HTTP 503)")
    await ended_well(rig)


async def test_28_a_relay_that_works_keeps_it_private_and_a_cancel_is_public_at_once(open_faulty: OpenRig) -> None:
    rig = await open_faulty(**with_relay())
    (relay,) = rig.extra
    hidden = relay.swallow(SEND, hash_of)
    shown = rig.view.chain.providers[-1]
    assert (shown.role, shown.state, shown.detail) == ("relay", "ok", "nothing was sent to it yet")
    await rig.fall()
    assert rig.proxies[0].count(SEND) == 0
    shown = rig.statuses[-1]
    assert (shown.role, shown.state, shown.detail) == ("relay", "ok", "last answer: accepted")
    await rig.cancel()
    assert rig.proxies[0].count(SEND) == 1
    assert rig.pooled() == [rig.intent.attempts[-1].hash]
    hidden.lift()
    await rig.settle()
    assert rig.intent_states == [IntentState.FINAL_CANCELLED]
    rig.check()


async def test_28_after_a_restart_what_waits_at_a_relay_goes_to_everyone(open_faulty: OpenRig) -> None:
    rig = await open_faulty(**with_relay())
    rig.extra[0].swallow(SEND, hash_of)
    await rig.fall()
    assert rig.pooled() == []
    await rig.restart()
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    await ended_well(rig)
    assert len(rig.attempts()) == 1
