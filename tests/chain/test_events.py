"""Past events from a real node, and what a node may say instead."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clock import FakeClock
from tests.support.http import bad_server, relay
from tui.chain.client import ChainClient
from tui.chain.events import ChainEvents
from tui.chain.hexes import Malformed
from tui.chain.logs import MOST_LOGS, past_events
from tui.chain.providers import build_pool
from tui.model.calls import EventQuery
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.practice.node import Node

TELLER = "0x" + "b7" * 20
FUNDED = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
ONE, TWO = b"\1" * 32, b"\2" * 32
QUERY = EventQuery(TELLER, ((ONE,), None))
TELLS = bytes.fromhex("36600060003760205160005160206040a200")
"""Tells an event of the two topics and the word that it is given."""


@pytest.fixture
def told(node: Node) -> list[int]:
    """The blocks in which events happened: of topic one, of topic two, of topic one again."""
    node.rpc.call("anvil_setCode", TELLER, "0x" + TELLS.hex())
    blocks = []
    for topic, beside in ((ONE, ONE), (TWO, ONE), (ONE, TWO)):
        data = "0x" + (topic + beside + (7).to_bytes(32, "big")).hex()
        node.rpc.call("eth_sendTransaction", {"from": FUNDED, "to": TELLER, "data": data})
        node.rpc.call("evm_mine")
        blocks.append(int(node.rpc.call("eth_blockNumber"), 16))
    return blocks


async def test_events_of_a_topic_come_in_order_with_their_blocks(chain: ChainClient, told: list[int]) -> None:
    first, middle, last = told
    found = await chain.events.between(first, last, QUERY)
    assert [(one.block_number, one.log.topics) for one in found] == [(first, (ONE, ONE)), (last, (ONE, TWO))]
    assert found[0].log.data == (7).to_bytes(32, "big")
    assert [one.block_number for one in await chain.events.between(first, middle, QUERY)] == [first]
    either = EventQuery(TELLER, ((ONE, TWO), (ONE,)))
    assert [one.block_number for one in await chain.events.between(first, last, either)] == [first, middle]
    assert await chain.events.between(first, last, EventQuery(FUNDED, ((ONE,),))) == ()


async def test_a_node_that_refuses_the_span_is_a_failed_read(node: Node, told: list[int]) -> None:
    def refuse(method: str, params: list[Any]) -> dict[str, Any] | None:
        if method != "eth_getLogs":
            return None
        return {"error": {"code": -32005, "message": "query returned more than 10000 results"}}

    async with bad_server(relay(node.rpc, refuse)) as server:
        pool = build_pool((server.url,), 31337, FakeClock())
        with pytest.raises(ReadFailed, match="more than 10000"):
            await ChainEvents(pool).between(told[0], told[-1], QUERY)
        await pool.aclose()


@pytest.mark.parametrize(
    "odd",
    [
        {"blockNumber": "0x5"},
        {"address": "0x" + "11" * 20},
        {"topics": ["0x" + TWO.hex(), "0x" + ONE.hex()]},
        {"topics": []},
        {"removed": True},
        {"data": "0x1"},
        {"blockNumber": None},
    ],
)
def test_an_event_that_was_not_asked_for_spoils_the_answer(odd: dict[str, Any]) -> None:
    good = {"address": TELLER, "topics": ["0x" + ONE.hex(), "0x" + TWO.hex()], "data": "0x", "blockNumber": "0x7"}
    assert len(past_events([good], 7, 8, QUERY)) == 1
    with pytest.raises(Malformed):
        past_events([good, {**good, **odd}], 7, 8, QUERY)
    with pytest.raises(Malformed):
        past_events([good] * (MOST_LOGS + 1), 7, 8, QUERY)


async def test_a_node_that_makes_events_up_is_not_believed(node: Node, told: list[int]) -> None:
    def forge(method: str, params: list[Any]) -> dict[str, Any] | None:
        if method != "eth_getLogs":
            return None
        event = {"address": TELLER, "topics": ["0x" + TWO.hex()], "data": "0x", "blockNumber": hex(told[0])}
        return {"result": [event]}

    async with bad_server(relay(node.rpc, forge)) as server:
        pool = build_pool((server.url,), 31337, FakeClock())
        with pytest.raises(ChainUnreachable, match="not asked for"):
            await ChainEvents(pool).between(told[0], told[-1], QUERY)
        await pool.aclose()
