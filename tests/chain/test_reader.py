"""Reads on a real node: the packed batch against plain calls, with overrides and without, split where it must be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.clock import FakeClock
from tests.support.http import bad_server, relay
from tests.support.nodes import mined
from tui.chain.batch import (
    BATCH_ADDRESS,
    BATCH_CODE,
    BadBatchAnswer,
    Entry,
    Kind,
    Outcome,
    pack,
    pack_creation,
    unpack,
)
from tui.chain.client import ChainClient
from tui.chain.evm import assemble, op
from tui.chain.providers import build_pool
from tui.chain.reader import ChainReader
from tui.model.block import BlockRef
from tui.model.calls import Call
from tui.model.position import Asset
from tui.model.wallet import WalletQuery
from tui.ports.chain import ReadFailed
from tui.practice.node import Node

LENS = "0x" + "a1" * 20
OTHER = "0x" + "a2" * 20
DEPLOYED = "0x" + "a3" * 20
NOBODY = "0x" + "ee" * 20
FUNDED = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"

ECHO = assemble([op("CALLDATACOPY", 0, 0, op("CALLDATASIZE")), op("RETURN", 0, op("CALLDATASIZE"))])


ZEROS = bytes.fromhex("6000356000f3")
"""Returns as many zero bytes as its argument word says."""
REVERTING = bytes.fromhex("60006000fd")
REVERTING_WITH_CALLDATA = assemble([op("CALLDATACOPY", 0, 0, op("CALLDATASIZE")), op("REVERT", 0, op("CALLDATASIZE"))])
BURNING = bytes.fromhex("5b600056")
TIMESTAMP_AND_NUMBER = bytes.fromhex("426000524360205260406000f3")


async def test_answers_in_order_with_failures_in_their_places(chain: ChainClient, head: BlockRef) -> None:
    calls = [
        Call(LENS, b"first", ECHO),
        Call(NOBODY, b"anything"),
        Call(OTHER, b"", REVERTING),
        Call(LENS, b"", ECHO),
        Call(LENS, b"last" * 100, ECHO),
    ]
    results = await chain.reader.read(head, calls)
    assert [result.data for result in results] == [b"first", None, None, b"", b"last" * 100]
    assert results[1].error == "no contract is deployed at this address"
    assert results[2].error == "reverted without a reason"


async def test_one_eth_call_and_one_round_trip(chain: ChainClient, head: BlockRef) -> None:
    before = chain.stats
    calls = [Call(LENS, bytes([i]), ECHO) for i in range(200)]
    queries = [WalletQuery(FUNDED), WalletQuery(NOBODY)]
    results, wallets = await chain.reader.read_all(head, calls, queries)
    after = chain.stats
    assert (after.eth_calls - before.eth_calls, after.round_trips - before.round_trips) == (1, 1)
    assert [result.data for result in results] == [bytes([i]) for i in range(200)]
    assert [wallet.account for wallet in wallets] == [FUNDED, NOBODY]


async def test_both_ways_and_plain_calls_answer_alike(chain: ChainClient, head: BlockRef, node: Node) -> None:
    node.rpc.call("anvil_setCode", DEPLOYED, "0x" + TIMESTAMP_AND_NUMBER.hex())
    node.rpc.call("evm_mine")
    block = await chain.heads.poll()
    assert block is not None
    node.rpc.call("anvil_mine", "0x5")
    calls = [
        Call(DEPLOYED, b""),
        Call(LENS, b"x" * 5000, ECHO),
        Call(OTHER, b"", REVERTING),
        Call(NOBODY, b"\x01"),
        Call(LENS, b"", ECHO),
        Call(DEPLOYED, b"ignored"),
    ]
    queries = [WalletQuery(FUNDED), WalletQuery(DEPLOYED)]
    provider = chain.pool.providers[0]
    by_override = await chain.reader.read_all(block, calls, queries)
    provider.overrides = False
    deployless = await chain.reader.read_all(block, calls, queries)
    assert provider.overrides is False
    assert by_override == deployless
    pinned = {"blockHash": block.hash}
    plain = node.rpc.call("eth_call", {"to": DEPLOYED}, pinned)
    assert by_override[0][0].data == by_override[0][5].data == bytes.fromhex(plain[2:])
    assert int.from_bytes(bytes.fromhex(plain[2:])[32:]) == block.number
    funded, contract = by_override[1]
    assert funded.native == int(node.rpc.call("eth_getBalance", FUNDED, pinned), 16)
    assert funded.nonce == int(node.rpc.call("eth_getTransactionCount", FUNDED, pinned), 16)
    assert (funded.has_code, contract.has_code) == (False, True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([LENS, OTHER, NOBODY, DEPLOYED]), st.binary(max_size=300), st.sampled_from([0, 90_000])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_the_packed_program_is_the_calls_one_by_one(bare_node: Node, asked: list[tuple[str, bytes, int]]) -> None:
    codes = {LENS: ECHO, OTHER: REVERTING_WITH_CALLDATA}
    overrides = {address: {"code": "0x" + code.hex()} for address, code in codes.items()}
    entries = [Entry(target, data, gas_cap=cap) for target, data, cap in asked]
    batch = {BATCH_ADDRESS: {"code": "0x" + BATCH_CODE.hex()}}
    told = bare_node.rpc.call(
        "eth_call", {"to": BATCH_ADDRESS, "data": "0x" + pack(entries).hex()}, "latest", overrides | batch
    )
    created = bare_node.rpc.call("eth_call", {"data": "0x" + pack_creation(entries, codes).hex()}, "latest")
    answers = unpack(bytes.fromhex(told[2:]), len(entries))
    views = pack([replace(entry, kind=Kind.VIEW) for entry in entries])
    told = bare_node.rpc.call(
        "eth_call", {"to": BATCH_ADDRESS, "data": "0x" + views.hex()}, "latest", overrides | batch
    )
    seen = unpack(bytes.fromhex(told[2:]), len(entries))
    assert [(view.outcome, view.data) for view in seen] == [(answer.outcome, answer.data) for answer in answers]
    for entry, answer, other in zip(entries, answers, unpack(bytes.fromhex(created[2:]), len(entries)), strict=True):
        assert (answer.outcome, answer.data) == (other.outcome, other.data)
        (single,) = bare_node.rpc.try_batch(
            [("eth_call", [{"to": entry.target, "data": "0x" + entry.data.hex()}, "latest", overrides])]
        )
        if isinstance(single, Exception):
            assert answer.outcome is Outcome.FAILED
            assert "0x" + answer.data.hex() == single.data  # type: ignore[attr-defined]
        else:
            assert answer.outcome is (Outcome.OK if entry.target == LENS else Outcome.NO_CODE)
            assert "0x" + answer.data.hex() == single


@given(st.binary(max_size=120), st.integers(0, 4))
def test_any_bytes_unpack_or_are_refused(raw: bytes, count: int) -> None:
    try:
        answers = unpack(raw, count)
    except BadBatchAnswer:
        return
    assert len(answers) == count
    assert sum(15 + len(answer.data) for answer in answers) == len(raw)


async def test_a_call_that_burns_all_gas_starves_no_other(chain: ChainClient, head: BlockRef) -> None:
    calls = [Call(LENS, b"before", ECHO), Call(OTHER, b"", BURNING), *(Call(LENS, bytes([i]), ECHO) for i in range(40))]
    results = await chain.reader.read(head, calls)
    assert results[1].data is None
    assert results[1].error is not None
    assert [result.data for result in results if result is not results[1]] == [
        b"before",
        *(bytes([i]) for i in range(40)),
    ]


@pytest.mark.parametrize("overrides", [True, False])
async def test_answers_too_large_for_one_are_split(chain: ChainClient, head: BlockRef, overrides: bool) -> None:
    provider = chain.pool.providers[0]
    provider.overrides = overrides
    provider.client.max_answer_bytes = 60_000
    before = chain.stats.eth_calls
    calls = [Call(OTHER, (10_000).to_bytes(32), ZEROS) for _ in range(6)]
    results = await chain.reader.read(head, calls)
    assert [result.data for result in results] == [bytes(10_000)] * 6
    assert chain.stats.eth_calls - before > 1
    assert chain.reader.providers()[0].state == "ok"


async def test_what_cannot_be_split_is_unknown_alone(chain: ChainClient, head: BlockRef) -> None:
    provider = chain.pool.providers[0]
    provider.overrides = False
    calls = [Call(LENS, b"small", ECHO), Call(OTHER, (40_000).to_bytes(32), ZEROS), Call(LENS, bytes(60_000), ECHO)]
    small, large_answer, large_request = await chain.reader.read(head, calls)
    assert small.data == b"small"
    assert large_answer.data is None
    assert large_request.data is None
    assert "limit" in (large_answer.error or "")


async def test_a_node_without_overrides_is_found_out_once(head: BlockRef, node: Node, clock: FakeClock) -> None:
    def ignoring(method: str, params: list[Any]) -> dict[str, Any] | None:
        if method == "eth_call":
            del params[2:]
        return None

    def refusing(method: str, params: list[Any]) -> dict[str, Any] | None:
        if method == "eth_call" and len(params) > 2:
            return {"error": {"code": -32602, "message": "too many arguments, want at most 2"}}
        return None

    for change in (ignoring, refusing):
        async with bad_server(relay(node.rpc, change)) as server:
            pool = build_pool([server.url], 31337, clock)
            reader = ChainReader(pool, 31337)
            for _ in range(2):
                results, (wallet,) = await reader.read_all(head, [Call(LENS, b"x", ECHO)], [WalletQuery(FUNDED)])
                assert results[0].data == b"x"
                assert wallet.native
            assert pool.stats().eth_calls == 3
            await pool.aclose()


async def test_a_block_that_comes_late_is_waited_for(head: BlockRef, node: Node, clock: FakeClock) -> None:
    def late(method: str, params: list[Any]) -> dict[str, Any] | None:
        if method in ("eth_call", "eth_getTransactionCount") and len(clock.slept) < 2:
            return {"error": {"code": -32000, "message": "header not found"}}
        return None

    async with bad_server(relay(node.rpc, late)) as server:
        pool = build_pool([server.url], 31337, clock)
        (result,) = await ChainReader(pool, 31337).read(head, [Call(LENS, b"there", ECHO)])
        assert result.data == b"there"
        assert clock.slept == [0.05, 0.1]
        await pool.aclose()


async def test_an_unknown_block_fails_after_patience(chain: ChainClient, head: BlockRef, clock: FakeClock) -> None:
    with pytest.raises(ReadFailed, match="unknown"):
        await chain.reader.read(replace(head, hash="0x" + "12" * 32), [Call(LENS, b"", ECHO)])
    assert len(clock.slept) == 4
    assert chain.reader.providers()[0].state == "ok"


async def test_an_orphaned_block_is_not_read(chain: ChainClient, node: Node) -> None:
    mined(node, {"from": FUNDED, "to": NOBODY, "value": "0x1"})
    orphan = await chain.heads.poll()
    assert orphan is not None
    node.rpc.call("anvil_reorg", 1, [])
    with pytest.raises(ReadFailed, match="unknown"):
        await chain.reader.read(orphan, [Call(LENS, b"", ECHO)])


async def test_tokens_that_answer_with_megabytes_spoil_only_themselves(chain: ChainClient, node: Node) -> None:
    loud = [Asset("0x" + f"b{number}" * 20, "LOUD", 18) for number in range(8)]
    for asset in loud:
        node.rpc.call("anvil_setCode", asset.address, "0x620a00006000f3")
    node.rpc.call("anvil_setCode", DEPLOYED, "0x602a60005260206000f3")
    node.rpc.call("evm_mine")
    block = await chain.heads.poll()
    assert block is not None
    before = chain.stats.eth_calls
    honest = Asset(DEPLOYED, "FINE", 18)
    query = WalletQuery(FUNDED, (*loud[:4], honest, *loud[4:]), (LENS,), permits=True)
    (result,), (wallet,) = await chain.reader.read_all(block, [Call(LENS, b"market", ECHO)], [query])
    assert result.data == b"market"
    assert [wallet.tokens[asset.address].balance for asset in (loud[0], honest, loud[-1])] == [None, 42, None]
    assert chain.stats.eth_calls - before == 1


async def test_lenses_that_answer_with_megabytes_are_read_apart(chain: ChainClient, head: BlockRef) -> None:
    large = Call(OTHER, (700_000).to_bytes(32), ZEROS)
    calls = [Call(LENS, b"x", ECHO), *[large] * 8, Call(LENS, b"y", ECHO)]
    results = await chain.reader.read(head, calls)
    assert [result.data for result in results] == [b"x", *[bytes(700_000)] * 8, b"y"]


async def test_blocks_by_number_and_hash(chain: ChainClient, head: BlockRef) -> None:
    assert await chain.reader.block_by_number(head.number) == head
    assert await chain.reader.block_by_number(head.number + 1000) is None
    assert await chain.reader.block_by_hash(head.hash) == head
    assert await chain.reader.block_by_hash("0x" + "12" * 32) is None


async def test_words_of_storage_come_in_the_same_round_trip(chain: ChainClient, node: Node) -> None:
    node.rpc.call("anvil_setStorageAt", DEPLOYED, "0x" + f"{7:064x}", "0x" + f"{0xABCDEF:064x}")
    node.rpc.call("evm_mine")
    block = await chain.heads.poll()
    assert block is not None
    before = chain.stats
    calls = [Call(DEPLOYED, b"", slot=7), Call(LENS, b"x", ECHO), Call(DEPLOYED, b"", slot=2**255)]
    results, (wallet,) = await chain.reader.read_all(block, calls, [WalletQuery(FUNDED)])
    after = chain.stats
    assert (after.eth_calls - before.eth_calls, after.round_trips - before.round_trips) == (1, 1)
    assert [result.data for result in results] == [(0xABCDEF).to_bytes(32), b"x", bytes(32)]
    assert wallet.native
    (alone,) = await chain.reader.read(block, [Call(DEPLOYED, b"", slot=7)])
    assert alone.data == (0xABCDEF).to_bytes(32)


async def test_a_node_that_tells_no_storage_still_reads(head: BlockRef, node: Node, clock: FakeClock) -> None:
    def refusing(method: str, params: list[Any]) -> dict[str, Any] | None:
        if method == "eth_getStorageAt":
            return {"error": {"code": -32601, "message": "the method does not exist"}}
        return None

    async with bad_server(relay(node.rpc, refusing)) as server:
        pool = build_pool([server.url], 31337, clock)
        calls = [Call(LENS, b"x", ECHO), Call(DEPLOYED, b"", slot=1)]
        results, (wallet,) = await ChainReader(pool, 31337).read_all(head, calls, [WalletQuery(FUNDED)])
        assert results[0].data == b"x"
        assert results[1].data is None
        assert "tells no storage" in (results[1].error or "")
        assert wallet.nonce is not None
        await pool.aclose()


async def test_nothing_asked_is_nothing_sent(chain: ChainClient, head: BlockRef) -> None:
    before = chain.stats.round_trips
    assert await chain.reader.read_all(head, [], []) == ((), ())
    assert chain.stats.round_trips == before


async def test_two_codes_at_one_address_are_a_mistake(chain: ChainClient, head: BlockRef) -> None:
    with pytest.raises(ValueError, match="different code"):
        await chain.reader.read(head, [Call(LENS, b"", ECHO), Call(LENS, b"", ZEROS)])
