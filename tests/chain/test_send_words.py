"""Every client's own words for what may happen to a transaction that is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.chain.send_words import classify_send_error

WORDS = [
    # go-ethereum, and reth, bor, op-geth and nitro after it
    ("already known", "already-known"),
    ("nonce too low: next nonce 5, tx nonce 3", "nonce-too-low"),
    ("nonce too low: address 0xAb, tx: 3 state: 5", "nonce-too-low"),
    ("nonce too high", "nonce-too-high"),
    ("nonce too high: address 0xAb, tx: 9 state: 5", "nonce-too-high"),
    ("gapped-nonce tx from delegated accounts", "nonce-too-high"),
    ("in-flight transaction limit reached for delegated accounts", "one-at-a-time"),
    ("authority already reserved", "one-at-a-time"),
    ("replacement transaction underpriced", "underpriced-replacement"),
    ("replacement transaction underpriced: new tx gas fee cap 11 <= 10 queued", "underpriced-replacement"),
    ("transaction underpriced", "fee-too-low"),
    ("transaction underpriced: gas tip cap 0, minimum needed 1", "fee-too-low"),
    ("max fee per gas less than block base fee: address 0xAb, maxFeePerGas: 1, baseFee: 7", "fee-too-low"),
    ("insufficient funds for gas * price + value: balance 0, tx cost 21, overshot 21", "insufficient-funds"),
    ("insufficient funds for gas * price + value: have 0 want 21", "insufficient-funds"),
    ("tx fee (1.20 ether) exceeds the configured cap (1.00 ether)", "fee-cap-exceeded"),
    ("txpool is full", "other-error"),
    ("exceeds block gas limit", "other-error"),
    ("intrinsic gas too low", "other-error"),
    # erigon
    ("INTERNAL_ERROR: existing tx with same hash", "already-known"),
    ("INTERNAL_ERROR: could not replace existing tx", "underpriced-replacement"),
    ("INTERNAL_ERROR: nonce too low", "nonce-too-low"),
    ("INTERNAL_ERROR: fee too low", "fee-too-low"),
    ("INTERNAL_ERROR: insufficient funds", "insufficient-funds"),
    # nethermind
    ("AlreadyKnown", "already-known"),
    ("OldNonce, Current nonce: 5, nonce of rejected tx: 3", "nonce-too-low"),
    ("NonceGap, Future nonce. Expected nonce: 6", "nonce-too-high"),
    ("ReplacementNotAllowed", "underpriced-replacement"),
    ("FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1, BaseFee: 7", "fee-too-low"),
    ("FeeTooLowToCompete", "fee-too-low"),
    ("InsufficientFunds, Account balance: 0, cumulative cost: 21", "insufficient-funds"),
    # besu
    ("Known transaction", "already-known"),
    ("Nonce too low", "nonce-too-low"),
    ("Transaction nonce is too distant from current sender nonce", "nonce-too-high"),
    ("Replacement transaction underpriced", "underpriced-replacement"),
    ("Upfront cost exceeds account balance", "insufficient-funds"),
    ("Transaction fee cap exceeded", "fee-cap-exceeded"),
    ("Gas price below configured minimum gas price", "fee-too-low"),
    ("gasPrice is less than the current BaseFee", "fee-too-low"),
    # anvil
    ("transaction already imported", "already-known"),
    ("Insufficient funds for gas * price + value", "insufficient-funds"),
    ("max fee per gas less than block base fee", "fee-too-low"),
    # what gateways in front of older clients still answer
    ("Transaction with the same hash was already imported.", "already-known"),
    ("Transaction nonce is too low. Try incrementing the nonce.", "nonce-too-low"),
    (
        "Transaction gas price is too low. There is another transaction with same nonce in the queue.",
        "underpriced-replacement",
    ),
    ("The account you tried to send transaction from does not have enough funds.", "insufficient-funds"),
    ("internal error", "other-error"),
    ("", "other-error"),
]
KINDS = {kind for _, kind in WORDS}


@pytest.mark.parametrize(("words", "kind"), WORDS)
def test_words(words: str, kind: str) -> None:
    assert classify_send_error(words) == kind


@given(st.text())
def test_any_words_have_a_kind(words: str) -> None:
    assert classify_send_error(words) in KINDS
