"""The GasPriceOracle of OP chains, sans-IO: what layer 1 charges for bytes of some sizes, out of bytes from anywhere.

`getL1FeeUpperBound(uint256)` came with the Fjord upgrade and takes the size of an unsigned transaction; before it there
is only `getL1Fee(bytes)`, which wants the transaction itself. Both add the signature by themselves. Source: the Fjord
specification of the OP stack (predeploys), https://specs.optimism.io/protocol/fjord/predeploys.html.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tui.model.calls import Call, CallResult
from tui.model.data_fee import MOST_DATA_FEE, DataFees
from tui.protocols.erc20 import decode_uint, word

L1_FEE_UPPER_BOUND = bytes.fromhex("f1c7a58b")
"""getL1FeeUpperBound(uint256)"""
L1_FEE = bytes.fromhex("49948e0e")
"""getL1Fee(bytes)"""
SIZES = (200, 1_024, 8_192, 32_768)
"""Bytes of an unsigned transaction at which an upper bound is asked for: from a plain call to a deployed contract."""
SENT_SIZES = (200, 1_024, 4_096)
"""The same where the bytes themselves must be sent along."""


def bound_calls(oracle: str) -> tuple[Call, ...]:
    """The reads of upper bounds, one a size; decode with `decode_bounds`."""
    return tuple(Call(oracle, L1_FEE_UPPER_BOUND + word(size)) for size in SIZES)


def sent_calls(oracle: str) -> tuple[Call, ...]:
    """The reads for chains before Fjord: bytes that no compression shortens; decode with `decode_sent`."""
    calls = []
    for size in SENT_SIZES:
        padded = _incompressible(size) + bytes(-size % 32)
        calls.append(Call(oracle, L1_FEE + word(32) + word(size) + padded))
    return tuple(calls)


def decode_bounds(results: Sequence[CallResult]) -> DataFees:
    """The fees of `bound_calls`; unknown where any answer is missing or cannot be one."""
    return _fees(SIZES, results)


def decode_sent(results: Sequence[CallResult]) -> DataFees:
    """The fees of `sent_calls`; unknown where any answer is missing or cannot be one."""
    return _fees(SENT_SIZES, results)


class DataFeeReading:
    """The fees of one oracle, block after block: upper bounds, and while it has not told any, the long way as well."""

    def __init__(self, oracle: str) -> None:
        self._oracle = oracle
        self._tells_bounds = False

    def calls(self) -> tuple[Call, ...]:
        """The reads of this block; decode with `decode`."""
        bounds = bound_calls(self._oracle)
        return bounds if self._tells_bounds else bounds + sent_calls(self._oracle)

    def decode(self, results: Sequence[CallResult]) -> DataFees:
        """The fees out of the answers to `calls`, whichever these were."""
        fees = decode_bounds(results[: len(SIZES)])
        self._tells_bounds = bool(fees.known)
        if fees.known or len(results) == len(SIZES):
            return fees
        return decode_sent(results[len(SIZES) :])


def _fees(sizes: Sequence[int], results: Sequence[CallResult]) -> DataFees:
    """More bytes never cost less, and no transaction costs `MOST_DATA_FEE`: what says so is no fee at all."""
    known: list[tuple[int, int]] = []
    least = 0
    for size, result in zip(sizes, results, strict=True):
        fee = decode_uint(result.data)
        if fee is None or not least <= fee <= MOST_DATA_FEE:
            return DataFees()
        known.append((size, fee))
        least = fee
    return DataFees(tuple(known))


def _incompressible(size: int) -> bytes:
    """Bytes that look like chance and are the same every time; zeros, which chains before Fjord count at less, are
    made ones.
    """
    drawn = hashlib.shake_256(b"trimtab").digest(size)
    return drawn.replace(b"\0", b"\1")
