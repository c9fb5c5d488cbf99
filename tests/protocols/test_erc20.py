"""Token answers decoded without trust, and permits only where the token proves that it has EIP-2612's."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.reading import eth_call, head
from tests.support.chain import Chain
from tui.model.calls import CallResult
from tui.protocols import erc20

TOKEN = "0x" + "ab" * 20


def _string(text: bytes) -> bytes:
    return encode(["string"], [text.decode()])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (_string(b"USD Coin"), "USD Coin"),
        (b"MKR".ljust(32, b"\0"), "MKR"),
        (_string("‮evil\x1b[0m".encode()), "evil[0m"),
        (b"\xff" * 31 + b"\0", "�" * 31),
        (b"", None),
        (b"\0" * 32, None),
        (b"\0" * 64, None),
        (encode(["uint256", "uint256"], [32, 10**9]), None),
        (encode(["uint256", "uint256"], [64, 1]) + b"x", None),
        (None, None),
    ],
)
def test_texts(data: bytes | None, text: str | None) -> None:
    assert erc20.decode_text(data) == text


@given(st.binary(max_size=200))
def test_no_bytes_make_a_decoder_fail(data: bytes) -> None:
    text = erc20.decode_text(data)
    assert text is None or len(text) <= 48
    number = erc20.decode_uint(data)
    assert (number is None) is (len(data) != 32)
    decimals = erc20.decode_decimals(data)
    assert decimals is None or decimals <= 77
    answers = [CallResult(data)] * 5
    assert erc20.decode_permit(answers, TOKEN, 1) is None


def _answers(
    name: bytes = b"Tok", version: bytes | None = b"2", typehash: bytes | None = None, chain_id: int = 5
) -> list[CallResult]:
    separator = erc20.domain_separator(name, version or b"1", chain_id, TOKEN)
    return [
        CallResult(_string(name)),
        CallResult(None, "reverted") if version is None else CallResult(_string(version)),
        CallResult((7).to_bytes(32, "big")),
        CallResult(separator),
        CallResult(typehash) if typehash else CallResult(None, "reverted"),
    ]


def test_a_permit_is_known_by_its_own_domain() -> None:
    facts = erc20.decode_permit(_answers(), TOKEN, 5)
    assert facts is not None
    assert (facts.name, facts.version, facts.nonce) == ("Tok", "2", 7)
    assert erc20.decode_permit(_answers(version=None), TOKEN, 5) is not None
    assert erc20.decode_permit(_answers(typehash=keccak(erc20.PERMIT_TYPE)), TOKEN, 5) is not None


def test_what_is_not_an_eip_2612_permit_is_none() -> None:
    assert erc20.decode_permit(_answers(chain_id=6), TOKEN, 5) is None
    assert erc20.decode_permit(_answers(), "0x" + "cd" * 20, 5) is None
    other_kind = keccak(text="Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)")
    assert erc20.decode_permit(_answers(typehash=other_kind), TOKEN, 5) is None
    for missing in (0, 2, 3):
        answers = _answers()
        answers[missing] = CallResult(None, "reverted")
        assert erc20.decode_permit(answers, TOKEN, 5) is None
    assert erc20.decode_permit([], TOKEN, 5) is None


@pytest.mark.node
def test_tokens_of_a_real_market(market: Chain) -> None:
    block, account = head(market), market.new_account()
    market.give("USDC", 123, account)
    for symbol, token in market.market.tokens.items():
        answer = eth_call(market, block, erc20.symbol(token.address))
        assert erc20.decode_text(answer.data) == symbol
        assert erc20.decode_decimals(eth_call(market, block, erc20.decimals(token.address)).data) == token.decimals
    usdc = market.token("USDC").address
    block = head(market)
    assert erc20.decode_uint(eth_call(market, block, erc20.balance_of(usdc, account)).data) == 123
    assert erc20.decode_uint(eth_call(market, block, erc20.allowance(usdc, account, usdc)).data) == 0
    assert erc20.decode_uint(eth_call(market, block, erc20.balance_of(account, account)).data) is None
