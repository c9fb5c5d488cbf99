"""Revert data and node errors in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.chain.reverts import is_limit, is_unknown_block, lacks_funds, revert_data, revert_reason
from tui.chain.rpc import RpcError


def solidity_error(text: bytes) -> bytes:
    padded = text.ljust(-(-len(text) // 32) * 32, b"\0")
    return bytes.fromhex("08c379a0") + (32).to_bytes(32) + len(text).to_bytes(32) + padded


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "reverted without a reason"),
        (solidity_error(b"35"), "35"),
        (solidity_error(b"bad \x1b[2J[red]name"), "bad [2J[red]name"),
        (bytes.fromhex("4e487b71") + (0x12).to_bytes(32), "panic 0x12 (division by zero)"),
        (bytes.fromhex("4e487b71") + (0x99).to_bytes(32), "panic 0x99 (unknown)"),
        (bytes.fromhex("2075cc10"), "custom error 0x2075cc10"),
        (bytes.fromhex("08c379a0") + b"\xff" * 64, "custom error 0x08c379a0" + "ff" * 32 + "…"),
    ],
)
def test_reasons(raw: bytes, words: str) -> None:
    assert revert_reason(raw) == words


@given(st.binary(max_size=300))
def test_any_revert_data_has_harmless_words(raw: bytes) -> None:
    words = revert_reason(raw)
    assert 0 < len(words) <= 160
    assert words.isprintable()


@pytest.mark.parametrize(
    "message",
    [
        "out of gas",
        "EVM error OutOfGas",
        "EVM error MemoryOOG",
        "gas required exceeds allowance (50000000)",
        "execution aborted (timeout = 5s)",
        "max initcode size exceeded: code size 60000, limit 49152",
        "EVM error CreateContractSizeLimit",
        "max code size exceeded",
        "response size exceeded the limit",
        "request timed out",
    ],
)
def test_limits(message: str) -> None:
    assert is_limit(RpcError(-32000, message))
    assert not is_unknown_block(RpcError(-32000, message))


@pytest.mark.parametrize(
    "message",
    [
        "header not found",
        "Resource not found",
        "block 0x12 not found",
        "unknown block",
        "request beyond head block: requested 12, head 11",
        "hash 0x12 is not currently canonical",
        "missing trie node 12 (path ) state 0x12 is not available",
    ],
)
def test_unknown_blocks(message: str) -> None:
    assert is_unknown_block(RpcError(-32000, message))


@pytest.mark.parametrize(
    "message",
    [
        "the method eth_simulateV1 does not exist/is not available",
        "Method not found",
        "invalid argument 2: json: cannot unmarshal",
        "execution reverted",
    ],
)
def test_neither(message: str) -> None:
    error = RpcError(-32601, message)
    assert not is_limit(error)
    assert not is_unknown_block(error)
    assert not lacks_funds(error)


def test_a_contracts_own_words_are_no_limit_of_the_node() -> None:
    assert not is_limit(RpcError(3, "execution reverted: deadline timeout out of gas"))


def test_revert_data_of_an_error() -> None:
    assert revert_data(RpcError(3, "x", "0xaabb")) == b"\xaa\xbb"
    assert revert_data(RpcError(3, "x", "Reverted 0xaabb")) == b"\xaa\xbb"
    assert revert_data(RpcError(3, "x", "aabb")) is None
    assert revert_data(RpcError(3, "x")) is None
