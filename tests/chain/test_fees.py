"""Fees: bounded whatever a node says, and enough for a real one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.nodes import mined
from tui.chain.client import ChainClient
from tui.chain.fees import DEFAULT_LIMITS, GWEI, FeeLimits, fee_quote, limits_for, parse_history
from tui.chain.hexes import Malformed
from tui.model.block import BlockRef
from tui.model.fees import bump
from tui.model.units import UINT256_MAX
from tui.practice.node import Node

AMOUNTS = st.integers(0, UINT256_MAX)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["0x1", "0x"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["baseFeePerGas", "gasUsedRatio", "reward", "oldestBlock"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.integers(0, 10**13), st.lists(AMOUNTS, max_size=3), st.lists(AMOUNTS, max_size=30))
def test_no_node_can_talk_us_out_of_bounds(base_fee: int, following: list[int], tips: list[int]) -> None:
    quote = fee_quote(base_fee, following, tips, DEFAULT_LIMITS)
    assert base_fee // 2 <= quote.base_fee <= base_fee + base_fee // 8 + 1
    assert DEFAULT_LIMITS.least_tip <= quote.priority_fee <= DEFAULT_LIMITS.most_tip
    assert quote.max_fee == 2 * quote.base_fee + quote.priority_fee
    assert quote.ceiling == 4 * quote.max_fee
    assert quote.max_fee <= 4.5 * base_fee + DEFAULT_LIMITS.calm_tip + 5


@given(st.integers(1, 10**13), st.lists(st.integers(0, 10**12), min_size=1, max_size=30))
def test_the_cap_outlives_five_full_blocks(base_fee: int, tips: list[int]) -> None:
    quote = fee_quote(base_fee, [base_fee + base_fee // 8], tips, DEFAULT_LIMITS)
    grown = quote.base_fee
    for _ in range(5):
        grown += grown // 8
    assert quote.max_fee >= grown


@given(st.integers(0, 10**13), st.lists(st.integers(0, 10**12), max_size=30))
def test_a_quote_can_be_raised_and_stops_at_its_ceiling(base_fee: int, tips: list[int]) -> None:
    quote = fee_quote(base_fee, [base_fee], tips, DEFAULT_LIMITS)
    fees: tuple[int, int] | None = (quote.max_fee, quote.priority_fee)
    raises = 0
    while fees is not None:
        assert fees[1] <= fees[0] <= quote.ceiling
        fees = bump(*fees, quote.ceiling, quote.base_fee)
        raises += 1
    assert 10 <= raises <= 40


def test_the_middle_tip_counts_and_not_the_loudest() -> None:
    quote = fee_quote(GWEI, [GWEI], [0, 2 * GWEI, 900 * GWEI], FeeLimits())
    assert quote.priority_fee == 2 * GWEI


def test_a_chain_with_a_least_tip_of_its_own_gets_it() -> None:
    calm = fee_quote(15, [15], [], limits_for(137))
    assert calm.priority_fee == 30 * GWEI
    assert fee_quote(15, [15], [40 * GWEI], limits_for(137)).priority_fee == 40 * GWEI
    assert limits_for(1) == DEFAULT_LIMITS


def test_empty_blocks_say_nothing_of_tips() -> None:
    history = {
        "baseFeePerGas": ["0x1", "0x2", "0x3"],
        "gasUsedRatio": [0.0, 0.5],
        "reward": [["0x0"], ["0x7"]],
    }
    assert parse_history(history) == ([3], [7])


@given(JSON)
def test_any_history_is_read_or_refused(told: object) -> None:
    try:
        following, tips = parse_history(told)
    except Malformed:
        return
    assert all(type(fee) is int for fee in (*following, *tips))


async def test_a_real_node_takes_the_quote(chain: ChainClient, head: BlockRef, node: Node) -> None:
    account = node.rpc.call("eth_accounts")[0]
    tip = {"from": account, "to": account, "maxFeePerGas": hex(9 * GWEI), "maxPriorityFeePerGas": hex(3 * GWEI)}
    for _ in range(3):
        mined(node, tip)
    block = await chain.heads.poll()
    assert block is not None
    quote = await chain.fees.quote(block)
    assert quote.priority_fee == 3 * GWEI
    node.rpc.call("evm_mine")
    actual = int(node.rpc.call("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
    assert quote.base_fee == pytest.approx(actual, rel=0.01)
    taken = {"maxFeePerGas": hex(quote.max_fee), "maxPriorityFeePerGas": hex(quote.priority_fee)}
    assert mined(node, {"from": account, "to": account, **taken})["status"] == "0x1"
