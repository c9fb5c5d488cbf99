"""Terms of a sale out of whatever a node answers: nothing raises, nothing unknown passes for known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.model.calls import CallResult
from tui.model.plan import Action, Sale, SaleTerms
from tui.model.position import Asset
from tui.model.rule import ActionKind
from tui.model.signing import WordRule
from tui.model.units import UINT256_MAX, WAD
from tui.model.wallet import PermitFacts
from tui.protocols.aave_v3.helper import ALL_OF_IT
from tui.protocols.aave_v3.sales import sale_calls_for, terms_of
from tui.protocols.erc20 import address_word, domain_separator, word

WETH = Asset("0x" + "aa" * 20, "WETH", 18)
USDC = Asset("0x" + "bb" * 20, "USDC", 6)
SHAPE = SaleTerms("0x" + "cc" * 20, "0x" + "dd" * 20, 9)
FACTS = PermitFacts("Aave WETH", "1", "0x" + "ee" * 32, 4)
CHAIN_ID = 31_337
SILENT = CallResult(None, "execution reverted")


def _text(text: bytes) -> bytes:
    return word(32) + word(len(text)) + text.ljust(32, b"\0")


def _answers() -> list[CallResult]:
    name = b"Aave WETH"
    permit = (
        _text(name), None, word(7), domain_separator(name, b"1", CHAIN_ID, SHAPE.receipt), None
    )  # fmt: skip
    answers = [word(5), address_word(SHAPE.helper), word(11), *permit, word(900), word(800), word(70), word(80)]
    return [SILENT if one is None else CallResult(one) for one in answers]


def test_answers_make_terms() -> None:
    terms = terms_of(SHAPE, WETH, CHAIN_ID, _answers())
    assert terms.impossible is None
    assert (terms.premium_bps, terms.allowed) == (5, 11)
    assert terms.permit is not None
    assert (terms.permit.name, terms.permit.version, terms.permit.nonce) == ("Aave WETH", "1", 7)
    assert (terms.withdrawable, terms.available) == (800, 70)
    assert terms_of(SHAPE, WETH, CHAIN_ID, _answers()[:-2]).available is None
    for other in (None, CHAIN_ID + 1):
        without = terms_of(SHAPE, WETH, other, _answers())
        assert (without.impossible, without.permit) == (None, None)


def test_before_3_1_the_balance_is_all_there_is_to_know() -> None:
    answers = _answers()
    answers[9] = answers[11] = SILENT
    terms = terms_of(SHAPE, WETH, CHAIN_ID, answers)
    assert (terms.withdrawable, terms.available) == (900, 70)
    answers[8] = SILENT
    assert terms_of(SHAPE, WETH, CHAIN_ID, answers).withdrawable is None


@pytest.mark.parametrize(
    ("at", "answer", "reason"),
    [
        (0, SILENT, "flash loan costs: execution reverted"),
        (0, CallResult(word(10_000)), "flash loan costs: its answer makes no sense"),
        (1, SILENT, "run `trimtab helper deploy`"),
        (1, CallResult(b""), "run `trimtab helper deploy`"),
        (1, CallResult(word(1)), "run `trimtab helper deploy`"),
        (2, SILENT, "what the helper may take of the WETH supplied could not be read"),
    ],
)
def test_what_is_not_known_is_impossible(at: int, answer: CallResult, reason: str) -> None:
    answers = _answers()
    answers[at] = answer
    assert reason in (terms_of(SHAPE, WETH, CHAIN_ID, answers).impossible or "")


@given(st.lists(st.one_of(st.none(), st.binary(max_size=96)), max_size=14))
def test_no_answers_make_it_fail(answers: list[bytes | None]) -> None:
    terms = terms_of(SHAPE, WETH, CHAIN_ID, [SILENT if one is None else CallResult(one) for one in answers])
    assert terms.impossible is not None or (len(answers) >= 10 and terms.premium_bps < 10_000)
    assert (terms.helper, terms.receipt) == (SHAPE.helper, SHAPE.receipt)


amounts = st.integers(min_value=1, max_value=2**128)


@given(amounts, amounts, st.integers(0, 2**64), st.one_of(st.just(0), amounts, st.just(UINT256_MAX)), st.booleans(),
       st.booleans(), st.integers(1, 3))  # fmt: skip
def test_the_calls_of_a_sale(
    repaid: int, most: int, deadline: int, allowed: int, permits: bool, everything: bool, pools: int
) -> None:
    """Whatever stands and whatever the size: exactly what may be sold is let go, and the words are bound to it."""
    between = b"".join((500).to_bytes(3, "big") + bytes([9] * 20) for _ in range(pools - 1)) + (500).to_bytes(3, "big")
    path = bytes.fromhex(USDC.address[2:]) + between + bytes.fromhex(WETH.address[2:])
    terms = replace(SHAPE, allowed=allowed, permit=FACTS if permits else None)
    sale = Sale(WETH, most // 2, most, 11 * WAD // 10, path, "Uniswap V3 0.05%", terms)
    action = Action(ActionKind.DELEVERAGE, USDC, repaid, sale)
    calls = sale_calls_for(action, sale, everything, deadline, "0x" + "aa" * 20)
    call = calls[-1]
    words = [int.from_bytes(call.data[start : start + 32], "big") for start in range(4, len(call.data), 32)]
    assert words[:7] == [
        int(USDC.address, 16), int(WETH.address, 16), ALL_OF_IT if everything else repaid, most, 11 * WAD // 10,
        deadline, pools,
    ]  # fmt: skip
    assert call.data[4 + 7 * 32 :][:96] == path.ljust(96, b"\0")
    assert (call.to, call.action, call.spend_token, call.spend_word) == (SHAPE.helper, action, WETH.address, 3)
    assert WordRule(3, maximum=most) in call.rules
    assert WordRule(4, minimum=WAD) in call.rules
    if allowed >= most:
        assert len(calls) == 1
        assert call.permit is None
        return
    assert (call.permit is not None) is permits
    lets = call.stand_in[:-1] if permits else calls[:-1]
    assert len(lets) == (2 if allowed else 1)
    assert all((one.to, one.action, one.spend_token) == (SHAPE.receipt, None, None) for one in lets)
    assert [int.from_bytes(one.data[36:68], "big") for one in lets] == ([0, most] if allowed else [most])
    if call.permit is not None:
        assert len(calls) == 1
        assert (call.permit.value, call.permit.spender, call.permit.deadline) == (most, SHAPE.helper, deadline)
        assert (call.permit.token, call.permit.nonce) == (SHAPE.receipt, FACTS.nonce)
        assert call.data[-96:] == bytes(96)
