"""Simulation on a real node, both ways: the same ends, the pinned state, gas as a mined transaction uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.nodes import mined
from tests.support.proxy import proxies
from tui.chain.client import ChainClient
from tui.chain.clock import SystemClock
from tui.chain.evm import assemble, op
from tui.chain.providers import build_pool
from tui.chain.simulate import ChainSimulator, _most_gas, floor_gas, intrinsic_gas
from tui.model.block import BlockRef
from tui.model.calls import Call, Log, SimulatedCall, Simulation
from tui.model.pinned import AUTHORIZATION_GAS, NO_CODE, PinnedCode
from tui.model.plan import PlannedCall
from tui.ports.chain import ReadFailed
from tui.practice.node import Node

ACCOUNT = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
COUNTER = "0x" + "c0" * 20
COUNTER_CODE = "0x6000546001018060005560005260206000f3"
"""Adds one to its first slot and returns it."""
SENDER = "0x" + "c1" * 20
SENDER_CODE = "0x3360005260206000f3"
"""Returns who calls it."""
REFUSER = "0x" + "c2" * 20
REFUSER_CODE = (
    "0x"
    + assemble(
        [
            op("MSTORE", 0, op("SHL", 224, 0x08C379A0)),
            op("MSTORE", 4, 32),
            op("MSTORE", 36, 2),
            op("MSTORE", 68, op("SHL", 240, int.from_bytes(b"35"))),
            op("REVERT", 0, 100),
        ]
    ).hex()
)
"""Reverts as Solidity does with the text "35"."""
LENS = "0x" + "a1" * 20
TIME = bytes.fromhex("4260005260206000f3")


def planned(to: str, data: bytes = b"", value: int = 0, gas_limit: int = 0) -> PlannedCall:
    return PlannedCall(to, data, value, "a call", None, gas_limit=gas_limit)


@pytest.fixture
async def block(chain: ChainClient, node: Node) -> BlockRef:
    for address, code in ((COUNTER, COUNTER_CODE), (SENDER, SENDER_CODE), (REFUSER, REFUSER_CODE)):
        node.rpc.call("anvil_setCode", address, code)
    node.rpc.call("evm_mine")
    found = await chain.heads.poll()
    assert found is not None
    return found


@pytest.fixture(params=["simulateV1", "account code"])
def way(request: pytest.FixtureRequest, chain: ChainClient) -> str:
    chain.pool.providers[0].simulates = request.param == "simulateV1"
    return str(request.param)


async def test_calls_follow_each_other_and_reads_see_what_they_leave(
    chain: ChainClient, block: BlockRef, way: str
) -> None:
    calls = [planned(COUNTER), planned(COUNTER), planned(SENDER), planned("0x" + "77" * 20, value=5)]
    reads = [Call(COUNTER, b""), Call(LENS, b"", TIME), Call("0x" + "78" * 20, b"")]
    simulation = await chain.simulator.simulate(block, ACCOUNT, calls, reads)
    assert [call.ok for call in simulation.calls] == [True] * 4
    assert [int.from_bytes(call.return_data) for call in simulation.calls] == [1, 2, int(ACCOUNT, 16), 0]
    counted, time, missing = simulation.reads
    assert counted.data is not None
    assert int.from_bytes(counted.data) == 3
    assert time.data is not None
    assert int.from_bytes(time.data) == simulation.timestamp == block.timestamp + 2
    assert missing.data is None


async def test_each_call_goes_out_from_its_own_sender_and_out_of_its_own_money(
    chain: ChainClient, block: BlockRef, way: str
) -> None:
    other, poor, target = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8", "0x" + "d1" * 20, "0x" + "77" * 20
    calls = [
        planned(SENDER),
        planned(COUNTER),
        replace(planned(SENDER), sender=other),
        replace(planned(COUNTER), sender=other),
        replace(planned(target, value=7), sender=other),
        planned(COUNTER),
        replace(planned(REFUSER), sender=other),
    ]
    simulation = await chain.simulator.simulate(block, ACCOUNT, calls, [Call(COUNTER, b"")])
    assert [call.ok for call in simulation.calls] == [True] * 6 + [False]
    told = [int.from_bytes(call.return_data) for call in simulation.calls[:6]]
    assert told == [int(ACCOUNT, 16), 1, int(other, 16), 2, 0, 3]
    assert simulation.calls[-1].error == "35"
    assert simulation.reads[0].data is not None
    assert int.from_bytes(simulation.reads[0].data) == 4
    broke = [planned(COUNTER), replace(planned(target, value=7), sender=poor)]
    simulation = await chain.simulator.simulate(block, ACCOUNT, broke, [])
    assert not simulation.calls[1].ok, "the money of one is not the money of the other"


async def test_it_stands_on_the_pinned_block_whatever_came_after(
    chain: ChainClient, block: BlockRef, node: Node, way: str
) -> None:
    for _ in range(3):
        mined(node, {"from": ACCOUNT, "to": COUNTER})
    simulation = await chain.simulator.simulate(block, ACCOUNT, [planned(COUNTER)], [])
    assert int.from_bytes(simulation.calls[0].return_data) == 1


async def test_gas_is_what_the_mined_transaction_takes(
    chain: ChainClient, block: BlockRef, node: Node, way: str
) -> None:
    data = bytes(range(200))
    simulation = await chain.simulator.simulate(block, ACCOUNT, [planned(COUNTER, data)], [])
    receipt = mined(node, {"from": ACCOUNT, "to": COUNTER, "data": "0x" + data.hex()})
    assert simulation.calls[0].gas_used == int(receipt["gasUsed"], 16)


async def test_mere_calldata_pays_the_floor(chain: ChainClient, block: BlockRef, node: Node, way: str) -> None:
    data = b"\x01" * 1000 + b"\x00" * 100
    simulation = await chain.simulator.simulate(block, ACCOUNT, [planned(SENDER, data)], [])
    assert simulation.calls[0].gas_used == floor_gas(data) > intrinsic_gas(data)
    receipt = mined(node, {"from": ACCOUNT, "to": SENDER, "data": "0x" + data.hex()})
    assert int(receipt["gasUsed"], 16) == floor_gas(data)


async def test_a_revert_is_told_in_its_own_words_and_stops_nothing_else(
    chain: ChainClient, block: BlockRef, way: str
) -> None:
    simulation = await chain.simulator.simulate(block, ACCOUNT, [planned(REFUSER), planned(COUNTER)], [])
    refused, counted = simulation.calls
    assert (refused.ok, refused.error) == (False, "35")
    assert counted.ok


async def test_a_gas_limit_that_is_too_small_fails(chain: ChainClient, block: BlockRef, way: str) -> None:
    enough = (await chain.simulator.simulate(block, ACCOUNT, [planned(COUNTER)], [])).calls[0].gas_used
    fits = await chain.simulator.simulate(block, ACCOUNT, [planned(COUNTER, gas_limit=enough)], [])
    short = await chain.simulator.simulate(block, ACCOUNT, [planned(COUNTER, gas_limit=enough - 200)], [])
    assert fits.calls[0].ok
    assert (short.calls[0].ok, short.calls[0].error) == (False, "ran out of gas")


async def test_money_that_is_not_there(chain: ChainClient, block: BlockRef, way: str) -> None:
    simulation = await chain.simulator.simulate(block, "0x" + "d1" * 20, [planned(COUNTER, value=1)], [])
    assert not simulation.calls[0].ok


async def test_an_unknown_block_is_a_failed_read(chain: ChainClient, block: BlockRef, way: str) -> None:
    with pytest.raises(ReadFailed, match="unknown"):
        await chain.simulator.simulate(replace(block, hash="0x" + "12" * 32), ACCOUNT, [planned(COUNTER)], [])
    assert chain.pool.providers[0].simulates is (way == "simulateV1")


async def test_many_reads_and_none(chain: ChainClient, block: BlockRef, way: str) -> None:
    many = await chain.simulator.simulate(block, ACCOUNT, [planned(COUNTER)], [Call(LENS, b"", TIME)] * 50)
    assert len({read.data for read in many.reads}) == 1
    assert len(many.reads) == 50
    assert (await chain.simulator.simulate(block, ACCOUNT, [planned(COUNTER)], [])).reads == ()


# --- accounts that run code of their own (EIP-7702) -----------------------------------------------------------------

CALLER_BACK = "0x" + "c3" * 20
CALLER_BACK_CODE = (
    "0x"
    + assemble(
        [
            op("POP", op("CALL", op("GAS"), op("CALLER"), 0, 0, 0, 0, 32)),
            op("RETURN", 0, 32),
        ]
    ).hex()
)
"""Calls its caller with nothing and returns the word that it is answered."""
PINNED = PinnedCode(COUNTER, "0x" + "00" * 32, "0x" + "00" * 32, "0x" + "00" * 32)


@pytest.fixture
async def delegated(chain: ChainClient, node: Node, block: BlockRef) -> AsyncIterator[BlockRef]:
    """A block at which ACCOUNT runs the code of COUNTER: each call of it adds one to a word of its own storage."""
    node.rpc.call("anvil_setCode", CALLER_BACK, CALLER_BACK_CODE)
    node.rpc.call("anvil_setCode", ACCOUNT, "0x" + PINNED.account_code.hex())
    node.rpc.call("evm_mine")
    found = await chain.heads.poll()
    assert found is not None
    yield found
    node.rpc.call("anvil_setCode", ACCOUNT, "0x")
    node.rpc.call("evm_mine")


async def test_a_delegated_account_runs_its_code_whoever_calls_it(
    chain: ChainClient, delegated: BlockRef, way: str
) -> None:
    """Called by itself, and called back by what it calls: the same code, the account's own storage."""
    calls = [planned(ACCOUNT, b"\1"), planned(CALLER_BACK), planned(ACCOUNT, bytes(64)), planned(COUNTER)]
    simulation = await chain.simulator.simulate(delegated, ACCOUNT, calls, [Call(ACCOUNT, b"")])
    assert [call.ok for call in simulation.calls] == [True] * 4
    assert [int.from_bytes(call.return_data) for call in simulation.calls] == [1, 2, 3, 1]
    (after,) = simulation.reads
    assert after.data is not None
    assert int.from_bytes(after.data) == 4


async def test_the_gas_of_a_call_of_ones_own_code_is_at_least_what_is_mined(
    chain: ChainClient, delegated: BlockRef, node: Node, way: str
) -> None:
    data = bytes(range(100))
    simulation = await chain.simulator.simulate(delegated, ACCOUNT, [planned(ACCOUNT, data)], [])
    receipt = mined(node, {"from": ACCOUNT, "to": ACCOUNT, "data": "0x" + data.hex()})
    used = int(receipt["gasUsed"], 16)
    assert used <= simulation.calls[0].gas_used <= used + 4_000


async def test_a_call_that_sets_code_is_simulated_with_it_and_pays_for_the_authorization(
    chain: ChainClient, block: BlockRef, way: str
) -> None:
    setting = replace(planned(ACCOUNT), delegate=PINNED)
    simulation = await chain.simulator.simulate(block, ACCOUNT, [setting], [Call(ACCOUNT, b"")])
    assert simulation.calls[0].ok
    assert simulation.calls[0].gas_used >= 21_000 + AUTHORIZATION_GAS
    (after,) = simulation.reads
    assert after.data is not None
    assert int.from_bytes(after.data) == 2


async def test_a_call_that_takes_code_away_is_simulated_without_it(
    chain: ChainClient, delegated: BlockRef, way: str
) -> None:
    clearing = replace(planned(ACCOUNT), delegate=NO_CODE)
    simulation = await chain.simulator.simulate(delegated, ACCOUNT, [clearing, planned(CALLER_BACK)], [])
    assert [call.ok for call in simulation.calls] == [True, True]
    assert int.from_bytes(simulation.calls[1].return_data) == 0, "called back, it does nothing"


TALKER = "0x" + "c4" * 20
TALKER_CODE = "0x600760005233607760206000a200"
"""Says 7, of 119 and its caller."""


async def test_events_are_told_where_blocks_are_simulated_and_unknown_elsewhere(
    chain: ChainClient, block: BlockRef, node: Node, way: str
) -> None:
    node.rpc.call("anvil_setCode", TALKER, TALKER_CODE)
    node.rpc.call("evm_mine")
    later = await chain.heads.poll()
    assert later is not None
    talked, silent = (await chain.simulator.simulate(later, ACCOUNT, [planned(TALKER), planned(COUNTER)], [])).calls
    if way == "account code":
        assert (talked.logs, silent.logs) == (None, None)
        return
    assert silent.logs == ()
    topics = ((0x77).to_bytes(32, "big"), bytes(12) + bytes.fromhex(ACCOUNT[2:]))
    assert talked.logs == (Log(TALKER, topics, (7).to_bytes(32, "big")),)


def test_events_count_only_where_all_that_agree_tell_the_same() -> None:
    said = (Log(TALKER, (bytes(32),), b""),)
    told = [Simulation((SimulatedCall(True, gas, b"", logs=logs),), (), 1) for gas, logs in ((5, said), (9, None))]
    assert _most_gas(told).calls[0] == SimulatedCall(True, 9, b"", logs=None)
    assert _most_gas(told[:1] * 2).calls[0].logs == said


@pytest.mark.parametrize("poster", [0, 80_000])
async def test_gas_that_a_chain_asks_for_beside_execution_is_counted_where_no_block_is_simulated(
    node: Node, block: BlockRef, poster: int
) -> None:
    """A chain that adds the price of data on layer 1, in gas, to what every transaction must bring."""
    data = b"\x00\x11" * 400
    async with proxies(node.url) as (proxy,):
        proxy.lie("eth_estimateGas", lambda _params, told: hex(int(told, 16) + poster))
        pool = build_pool([proxy.url], 31337, SystemClock())
        pool.providers[0].simulates = False
        simulation = await ChainSimulator(pool, 2.0).simulate(block, ACCOUNT, [planned(COUNTER, data)], [])
        await pool.aclose()
    (call,) = simulation.calls
    plain = max(intrinsic_gas(data) + 22_000, floor_gas(data))
    assert call.ok
    assert plain + poster <= call.gas_used + 3_000
    assert call.gas_used <= plain + poster + floor_gas(data) - intrinsic_gas(data) + 3_000
