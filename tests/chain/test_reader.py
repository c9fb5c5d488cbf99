"""Reads on a real node: the packed batch against plain calls, with overrides and without, split where it must be."""

from __future__ import annotations

from tui.chain.client import ChainClient
from tui.chain.evm import assemble, op
from tui.model.block import BlockRef
from tui.model.calls import Call
from tui.model.wallet import WalletQuery

LENS = "0x" + "a1" * 20
OTHER = "0x" + "a2" * 20
NOBODY = "0x" + "ee" * 20
FUNDED = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"

ECHO = assemble([op("CALLDATACOPY", 0, 0, op("CALLDATASIZE")), op("RETURN", 0, op("CALLDATASIZE"))])


ZEROS = bytes.fromhex("6000356000f3")
"""Returns as many zero bytes as its argument word says."""
REVERTING = bytes.fromhex("60006000fd")
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
