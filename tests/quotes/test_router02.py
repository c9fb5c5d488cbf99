"""Calldata of SwapRouter02 held against its ABI, and what the signer is told of it. Its doing is seen in tests/e2e."""

from __future__ import annotations

import pytest
from eth_abi.abi import decode
from hypothesis import given
from hypothesis import strategies as st

from tui.model.position import Asset
from tui.model.signing import AllowedCall, SignerRefused, SigningPolicy, TransactionRequest
from tui.quotes.base import SwapOrder
from tui.quotes.router02 import EXACT_INPUT, EXACT_INPUT_SINGLE, FIRST_WORD, MULTICALL, Router02, pack_forwards, within
from tui.quotes.uniswap_v3 import FEE_TIERS, Route, encode_path
from tui.vault.policy import Usage, check_transaction

ROUTER, ACCOUNT = "0x" + "4e" * 20, "0x" + "ac" * 20
WETH, USDC, DAI = (
    Asset("0x" + digit * 40, symbol, 18) for digit, symbol in (("1", "WETH"), ("2", "USDC"), ("3", "DAI"))
)
SWAPPER = Router02(ROUTER, (DAI.address, WETH.address))
amounts = st.integers(1, 2**128)
fees = st.sampled_from(FEE_TIERS)


LATE = 1_700_001_800


def batched(data: bytes) -> bytes:
    """The one call in a batch, as anybody reads it by the ABI; the deadline is what was asked for."""
    assert data[:4] == MULTICALL
    deadline, (call,) = decode(["uint256", "bytes[]"], data[4:])
    assert deadline == LATE
    assert call == within(data)
    return call


def order(amount_in: int = 10**18, least_out: int = 3_000 * 10**6) -> SwapOrder:
    return SwapOrder(ACCOUNT, WETH, USDC, amount_in, least_out)


@given(amounts, amounts, fees)
def test_one_pool_goes_by_exact_input_single(amount_in: int, least_out: int, fee: int) -> None:
    path = encode_path(Route((WETH.address, USDC.address), (fee,)))
    call = SWAPPER.call(order(amount_in, least_out), path, LATE)
    data = batched(call.data)
    assert (call.to, call.spender, data[:4]) == (ROUTER, ROUTER, EXACT_INPUT_SINGLE)
    words = decode(["(address,address,uint24,address,uint256,uint256,uint160)"], data[4:])
    assert words[0] == (WETH.address, USDC.address, fee, ACCOUNT, amount_in, least_out, 0)


@given(amounts, amounts, fees, fees)
def test_two_pools_go_by_exact_input_forwards(amount_in: int, least_out: int, first: int, second: int) -> None:
    route = Route((WETH.address, DAI.address, USDC.address), (first, second))
    data = batched(SWAPPER.call(order(amount_in, least_out), encode_path(route), LATE).data)
    assert data[:4] == EXACT_INPUT
    ((path, recipient, given_in, least),) = decode(["(bytes,address,uint256,uint256)"], data[4:])
    assert (recipient, given_in, least) == (ACCOUNT, amount_in, least_out)
    assert path == pack_forwards(route)
    assert path[:20].hex() == WETH.address[2:]
    assert path[-20:].hex() == USDC.address[2:]


@pytest.mark.parametrize(
    "tokens",
    [(USDC.address, WETH.address), (WETH.address, DAI.address), (DAI.address, USDC.address)],
)
def test_a_path_that_leads_elsewhere_is_refused(tokens: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="does not lead from WETH to USDC"):
        SWAPPER.call(order(), encode_path(Route(tokens, (500,))), LATE)


def _policy(most: int) -> SigningPolicy:
    calls = tuple(
        AllowedCall(one.to, "0x" + one.data[:4].hex(), one.rules, WETH.address, one.spend_word)
        for one in SWAPPER.shapes(order(most, 1))
    )
    return SigningPolicy(1, ACCOUNT, calls, (), ((WETH.address, 2**255),), 10**12, 10**7, 10**19, 10**20, 2**40)


def _asked(data: bytes) -> TransactionRequest:
    return TransactionRequest("i", 1, ACCOUNT, 0, ROUTER, 0, data, 10**6, 10**9, 10**9)


def _check(policy: SigningPolicy, data: bytes) -> tuple[tuple[str, int], ...]:
    return check_transaction(policy, _asked(data), "m", Usage(), now=0, killed=False).spends


@given(st.integers(1, 10**18), amounts, st.lists(fees, min_size=1, max_size=2))
def test_the_signer_lets_through_every_route_that_is_asked_about(amount: int, least: int, tiers: list[int]) -> None:
    tokens = (WETH.address, *([DAI.address] if len(tiers) == 2 else []), USDC.address)
    call = SWAPPER.call(order(amount, least), encode_path(Route(tokens, tuple(tiers))), LATE)
    assert _check(_policy(10**18), call.data) == ((WETH.address, amount),)


OTHER = Asset("0x" + "9" * 40, "EVIL", 18)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (SwapOrder("0x" + "bb" * 20, WETH, USDC, 1, 1), b""),
        (SwapOrder(ACCOUNT, OTHER, USDC, 1, 1), b""),
        (SwapOrder(ACCOUNT, WETH, OTHER, 1, 1), b""),
        (SwapOrder(ACCOUNT, WETH, USDC, 10**18 + 1, 1), b""),
        (order(), encode_path(Route((WETH.address, USDC.address), (499,)))),
        (order(), encode_path(Route((WETH.address, OTHER.address, USDC.address), (500, 500)))),
        (order(10**18 + 1), encode_path(Route((WETH.address, DAI.address, USDC.address), (500, 500)))),
        (order(), encode_path(Route((WETH.address, DAI.address, USDC.address), (500, 501)))),
        (order(), encode_path(Route((WETH.address, DAI.address, DAI.address, USDC.address), (500, 500, 500)))),
    ],
)
def test_the_signer_refuses_what_it_was_not_told(wrong: SwapOrder, path: bytes) -> None:
    with pytest.raises(SignerRefused):
        _check(_policy(10**18), SWAPPER.call(wrong, path, LATE).data)


def test_a_swap_of_nothing_is_none() -> None:
    for amount_in, least_out in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="a swap of nothing"):
            SWAPPER.call(order(amount_in, least_out), b"", LATE)


@pytest.mark.parametrize("tiers", [(500,), (500, 500)])
def test_no_word_that_says_what_a_batch_does_can_be_another(tiers: tuple[int, ...]) -> None:
    """Every word but deadline, amount, the least that must come out, and what stands behind the last is bound."""
    tokens = (WETH.address, *([DAI.address] if len(tiers) == 2 else []), USDC.address)
    data = SWAPPER.call(order(), encode_path(Route(tokens, tiers)), LATE).data
    amount = FIRST_WORD + (4 if len(tiers) == 1 else 3)
    last = (len(data) - 4) // 32 - 1
    for at in range(1, last):
        if at == amount or at == amount + 1:
            continue
        for other in (0, 32, 64, 2**255, int(ACCOUNT, 16)):
            changed = data[: 4 + 32 * at] + other.to_bytes(32, "big") + data[36 + 32 * at :]
            if changed == data:
                continue
            with pytest.raises(SignerRefused):
                _check(_policy(10**18), changed)
    more = data[: 4 + 32 * amount] + (10**18 + 1).to_bytes(32, "big") + data[36 + 32 * amount :]
    with pytest.raises(SignerRefused):
        _check(_policy(10**18), more)
    for_nothing = data[: 36 + 32 * amount] + bytes(32) + data[68 + 32 * amount :]
    with pytest.raises(SignerRefused):
        _check(_policy(10**18), for_nothing)
    for cut in range(4, len(data) - 32, 32):
        with pytest.raises(SignerRefused):
            _check(_policy(10**18), data[:cut])


def test_a_swap_without_a_deadline_is_not_signed_any_more() -> None:
    call = SWAPPER.call(order(), encode_path(Route((WETH.address, USDC.address), (500,))), LATE)
    with pytest.raises(SignerRefused, match="not on the list"):
        _check(_policy(10**18), within(call.data))


@given(st.binary(max_size=300))
def test_other_calldata_has_no_swap_within(data: bytes) -> None:
    assert within(data) == b""
    assert len(within(MULTICALL + data)) <= len(data)
