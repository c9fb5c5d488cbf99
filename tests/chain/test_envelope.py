"""What signed bytes mean, read back from real signatures, and nothing read out of anything else."""

from __future__ import annotations

from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from tests.support.chain import keyed_account
from tui.chain.envelope import meaning_of

ADDRESS, KEY = keyed_account(5)
OTHER = keyed_account(6)[0]


def signed(nonce: int, value: int, data: bytes, fee: int = 10**9, to: str = OTHER) -> bytes:
    fields = {
        "chainId": 31337, "nonce": nonce, "to": to, "value": value, "data": data, "gas": 21_000,
        "maxFeePerGas": fee, "maxPriorityFeePerGas": fee // 2, "accessList": [{"address": OTHER, "storageKeys": []}],
    }  # fmt: skip
    return bytes(Account.sign_transaction(fields, KEY).raw_transaction)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**96), st.binary(max_size=400), st.integers(2, 10**15))
def test_fees_do_not_change_the_meaning_and_all_else_does(nonce: int, value: int, data: bytes, fee: int) -> None:
    meaning = meaning_of(signed(nonce, value, data))
    assert meaning is not None
    assert int.from_bytes(meaning.nonce, "big") == nonce
    assert (int.from_bytes(meaning.value, "big"), meaning.data) == (value, data)
    assert "0x" + meaning.to.hex() == OTHER.lower()
    assert meaning.nothing is (value == 0 and data == b"")
    assert meaning_of(signed(nonce, value, data, fee)) == meaning
    assert meaning_of(signed(nonce, value, data + b"x")) != meaning
    assert meaning_of(signed(nonce, value + 1, data)) != meaning
    assert meaning_of(signed(nonce, value, data, to=ADDRESS)) != meaning


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda tail: b"\x02\xf8" + tail)))
def test_any_bytes_have_a_meaning_or_none(raw: bytes) -> None:
    meaning = meaning_of(raw)
    told = () if meaning is None else (meaning.chain_id, meaning.nonce, meaning.to, meaning.value, meaning.data)
    assert all(one in raw for one in told), "what is told stands in the bytes"


def test_cut_short_it_has_none() -> None:
    raw = signed(3, 7, b"abc" * 40)
    assert all(meaning_of(raw[:end]) is None for end in range(len(raw)))


def setting(nonce: int, delegate: str, fee: int = 10**9) -> bytes:
    authorization = Account.sign_authorization({"chainId": 31337, "address": delegate, "nonce": nonce + 1}, KEY)
    fields = {
        "type": 4, "chainId": 31337, "nonce": nonce, "to": ADDRESS, "value": 0, "data": b"", "gas": 50_000,
        "maxFeePerGas": fee, "maxPriorityFeePerGas": fee // 2, "accessList": [], "authorizationList": [authorization],
    }  # fmt: skip
    return bytes(Account.sign_transaction(fields, KEY).raw_transaction)


@given(st.integers(0, 2**64 - 2), st.integers(2, 10**15))
def test_whose_code_a_transaction_sets_is_its_meaning_and_not_nothing(nonce: int, fee: int) -> None:
    """Without value and data it looks like the no-op that frees a nonce, but for its authorization."""
    meaning = meaning_of(setting(nonce, OTHER))
    assert meaning is not None
    assert not meaning.nothing
    assert meaning_of(setting(nonce, OTHER, fee)) == meaning
    assert meaning_of(setting(nonce, ADDRESS)) != meaning
    no_op = meaning_of(signed(nonce, 0, b"", to=ADDRESS))
    assert no_op is not None
    assert no_op.nothing
    assert no_op != meaning


def test_a_type_that_nobody_knows_has_no_meaning() -> None:
    for raw in (signed(3, 7, b"abc"), setting(3, OTHER)):
        assert all(meaning_of(bytes([kind]) + raw[1:]) is None for kind in range(256) if kind not in (2, 4))
        assert all(meaning_of(raw[:end]) is None for end in range(0, len(raw) - 1, 7))
