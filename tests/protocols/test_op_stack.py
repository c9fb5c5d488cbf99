"""What layer 1 charges for data: answers of a GasPriceOracle decoded without trust, and fees between the sizes told."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tui.model.calls import CallResult
from tui.model.data_fee import ENVELOPE_BYTES, MOST_DATA_FEE, DataFees
from tui.protocols.erc20 import word
from tui.protocols.op_stack import (
    L1_FEE,
    L1_FEE_UPPER_BOUND,
    SENT_SIZES,
    SIZES,
    DataFeeReading,
    bound_calls,
    decode_bounds,
    decode_sent,
    sent_calls,
)

ORACLE = "0x420000000000000000000000000000000000000f"


@dataclass(frozen=True)
class Sent:
    data: bytes


def answers(*fees: int) -> list[CallResult]:
    return [CallResult(word(fee)) for fee in fees]


def fjord(size: int, scaled: int) -> int:
    """getL1FeeUpperBound as the Fjord specification has it, from the scaled fees of layer 1."""
    signed = size + 68
    estimated = max(-42_585_600 + 836_500 * (signed + signed // 255 + 16), 100_000_000)
    return estimated * scaled // 10**12


def test_the_selectors_are_those_of_the_signatures() -> None:
    assert keccak(b"getL1FeeUpperBound(uint256)")[:4] == L1_FEE_UPPER_BOUND
    assert keccak(b"getL1Fee(bytes)")[:4] == L1_FEE
    assert [call.data for call in bound_calls(ORACLE)] == [L1_FEE_UPPER_BOUND + word(size) for size in SIZES]
    assert {call.to for call in (*bound_calls(ORACLE), *sent_calls(ORACLE))} == {ORACLE}


def test_the_bytes_that_are_sent_are_those_of_the_size_and_do_not_shrink() -> None:
    for call, size in zip(sent_calls(ORACLE), SENT_SIZES, strict=True):
        assert call.data[:68] == L1_FEE + word(32) + word(size)
        body = call.data[68:]
        assert len(body) % 32 == 0
        assert body[size:] == bytes(len(body) - size)
        assert 0 not in body[:size]
        assert len(zlib.compress(body[:size], 9)) >= size


@given(size=st.integers(0, SIZES[-1]), scaled=st.integers(0, 10**20))
def test_a_fee_between_two_sizes_is_no_lower_than_the_chains_own(size: int, scaled: int) -> None:
    fees = decode_bounds(answers(*(fjord(one, scaled) for one in SIZES)))
    told = fees.of_size(size)
    assert told is not None
    a_byte = 2 * 836_500 * scaled // 10**12 + 1
    assert told + a_byte >= fjord(size, scaled)
    # Nor much above it: never more than what the least size costs, and 1% of it.
    assert told <= fjord(size, scaled) * 101 // 100 + fjord(SIZES[0], scaled) + 1


@given(st.lists(st.integers(0, MOST_DATA_FEE), min_size=len(SIZES), max_size=len(SIZES)), st.integers(0, 40_000))
def test_more_bytes_never_cost_less(told: list[int], size: int) -> None:
    fees = decode_bounds(answers(*sorted(told)))
    here, there = fees.of_size(size), fees.of_size(size + 1)
    assert (here is None) == (size > SIZES[-1])
    assert there is None or (here is not None and here <= there)
    for one, fee in zip(SIZES, sorted(told), strict=True):
        assert fees.of_size(one) == fee


def test_a_plan_is_charged_a_transaction_at_a_time() -> None:
    fees = DataFees(((200, 1_000), (1_200, 11_000)))
    short, long = Sent(bytes(200 - ENVELOPE_BYTES)), Sent(bytes(700 - ENVELOPE_BYTES))
    assert fees.of_calls([]) == 0
    assert fees.of_calls([short]) == 1_000
    assert fees.of_calls([short, long, long]) == 1_000 + 2 * 6_000
    assert fees.of_calls([short, Sent(bytes(1_200))]) is None
    assert DataFees().of_calls([short]) is None


@pytest.mark.parametrize(
    "told",
    [
        [CallResult(None, "reverted")] * 4,
        [*answers(1, 2, 3), CallResult(None, "reverted")],
        [*answers(1, 2, 3), CallResult(b"")],
        [*answers(1, 2, 3), CallResult(b"\0" * 31)],
        [*answers(1, 2, 3), CallResult(b"\0" * 64)],
        answers(1, 2, 3, 2**255),
        answers(2**256 - 1, 2**256 - 1, 2**256 - 1, 2**256 - 1),
        answers(1, 2, 3, MOST_DATA_FEE + 1),
        answers(4, 3, 2, 1),
        answers(5, 5, 4, 6),
    ],
)
def test_what_is_no_fee_is_unknown_and_not_zero(told: list[CallResult]) -> None:
    assert decode_bounds(told) == DataFees()
    assert decode_bounds(told).of_size(1) is None
    assert decode_sent(told[1:]) == DataFees()


def test_both_ways_are_asked_until_the_short_one_is_answered_and_again_once_it_is_not() -> None:
    reading = DataFeeReading(ORACLE)
    both = bound_calls(ORACLE) + sent_calls(ORACLE)
    refused = [CallResult(None, "execution reverted")] * len(SIZES)
    assert reading.calls() == both
    assert reading.decode([*refused, *answers(7, 8, 9)]) == DataFees(tuple(zip(SENT_SIZES, (7, 8, 9), strict=True)))
    assert reading.calls() == both
    assert reading.decode([*answers(1, 2, 3, 4), *answers(7, 8, 9)]).of_size(SIZES[0]) == 1
    assert reading.calls() == bound_calls(ORACLE)
    assert reading.decode(answers(2, 3, 4, 5)).of_size(SIZES[0]) == 2
    assert reading.decode(refused) == DataFees()
    assert reading.calls() == both
    assert reading.decode([*refused, *refused[1:]]) == DataFees()
