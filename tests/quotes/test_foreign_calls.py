"""Calls that aggregators make, held to an order: what fits is taken with our own bound, every other word is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from tui.model.position import Asset
from tui.model.signing import AllowedCall, SignerRefused, SigningPolicy, TransactionRequest
from tui.model.swap import SwapOrder
from tui.quotes.base import Dialect
from tui.quotes.foreign import MOST_BYTES
from tui.quotes.one_inch import SWAP, OneInch
from tui.quotes.zero_x import EXEC, EXECUTE, ZeroX
from tui.vault.policy import Usage, check_transaction

ROUTER, ACCOUNT, OTHER, DEALER = ("0x" + pair * 20 for pair in ("4e", "ac", "07", "de"))
REGISTRY = "0x" + "4e9" * 13 + "0"
NOBODY = "0x" + "0" * 40
WETH, USDC = Asset("0x" + "1" * 40, "WETH", 18), Asset("0x" + "2a" * 20, "USDC", 6)
ORDER = SwapOrder(ACCOUNT, WETH, USDC, 2 * 10**18, 3_000 * 10**6)
ONE_INCH, ZERO_X = OneInch(ROUTER), ZeroX(ROUTER, ROUTER, REGISTRY)
DESCRIPTION = "(address,address,address,address,uint256,uint256,uint256)"
amounts = st.integers(1, 2**255)


def one_inch(
    sold: str = WETH.address,
    bought: str = USDC.address,
    payer: str = DEALER,
    receiver: str = ACCOUNT,
    amount: int = ORDER.amount_in,
    least: int = 1,
    flags: int = 0,
    executor: str = DEALER,
    route: bytes = b"route",
) -> bytes:
    description = (sold, bought, payer, receiver, amount, least, flags)
    return SWAP + encode(["address", DESCRIPTION, "bytes"], [executor, description, route])


def zero_x(
    sold: str = WETH.address,
    bought: str = USDC.address,
    operator: str = DEALER,
    target: str = DEALER,
    receiver: str = ACCOUNT,
    amount: int = ORDER.amount_in,
    least: int = 1,
    execute: bytes = EXECUTE,
    actions: tuple[bytes, ...] = (b"action",),
) -> bytes:
    inner = execute + encode(
        ["(address,address,uint256)", "bytes[]", "bytes32"], [(receiver, bought, least), list(actions), bytes(32)]
    )
    return EXEC + encode(["address", "address", "uint256", "address", "bytes"], [operator, sold, amount, target, inner])


@given(amounts, amounts, amounts, st.binary(max_size=200))
def test_what_must_come_out_of_a_swap_is_written_in_by_us(amount: int, least: int, theirs: int, route: bytes) -> None:
    order = SwapOrder(ACCOUNT, WETH, USDC, amount, least)
    call = ONE_INCH.adopt(order, ROUTER, one_inch(amount=amount, least=theirs, route=route))
    executor, described, told = decode(["address", DESCRIPTION, "bytes"], call.data[4:])
    assert (executor, told) == (DEALER, route)
    assert described == (WETH.address, USDC.address, DEALER, ACCOUNT, amount, least, 0)
    assert (call.to, call.spender, call.amount_in, call.least_out) == (ROUTER, ROUTER, amount, least)
    assert (call.source, call.registry) == ("1inch", ())


@given(amounts, amounts, amounts, st.binary(max_size=200))
def test_what_must_come_out_of_a_settlement_is_written_in_by_us(
    amount: int, least: int, theirs: int, action: bytes
) -> None:
    order = SwapOrder(ACCOUNT, WETH, USDC, amount, least)
    call = ZERO_X.adopt(order, ROUTER, zero_x(amount=amount, least=theirs, actions=(action,)))
    outer = decode(["address", "address", "uint256", "address", "bytes"], call.data[4:])
    assert outer[:4] == (DEALER, WETH.address, amount, DEALER)
    assert outer[4][:4] == EXECUTE
    slippage, actions, _ = decode(["(address,address,uint256)", "bytes[]", "bytes32"], outer[4][4:])
    assert slippage == (ACCOUNT, USDC.address, least)
    assert actions == (action,)
    assert (call.leads_to, {one.to for one in call.registry}) == (DEALER, {REGISTRY})


LIES: dict[str, tuple[Dialect, Callable[[], bytes], str]] = {
    "1inch, another token sold": (ONE_INCH, lambda: one_inch(sold=OTHER), "another token to sell"),
    "1inch, another token bought": (ONE_INCH, lambda: one_inch(bought=OTHER), "another token to buy"),
    "1inch, another receiver": (ONE_INCH, lambda: one_inch(receiver=OTHER), "another receiver"),
    "1inch, nobody receives": (ONE_INCH, lambda: one_inch(receiver=NOBODY), "another receiver"),
    "1inch, more is sold": (ONE_INCH, lambda: one_inch(amount=ORDER.amount_in + 1), "another amount"),
    "1inch, less is sold": (ONE_INCH, lambda: one_inch(amount=ORDER.amount_in - 1), "another amount"),
    "1inch, nothing must come out": (ONE_INCH, lambda: one_inch(least=0), "does not say what must come out"),
    "1inch, partly": (ONE_INCH, lambda: one_inch(flags=1), "another way of filling"),
    "1inch, by Permit2": (ONE_INCH, lambda: one_inch(flags=4), "another way of filling"),
    "1inch, nobody swaps": (ONE_INCH, lambda: one_inch(executor=NOBODY), "names no executor"),
    "1inch, a compact form": (ONE_INCH, lambda: bytes.fromhex("83800a8e") + bytes(128), "0x83800a8e, and only"),
    "1inch, an approval": (ONE_INCH, lambda: bytes.fromhex("095ea7b3") + bytes(64), "and only 0x07ed2379"),
    "1inch, cut short": (ONE_INCH, lambda: one_inch()[:-31], "cut short"),
    "1inch, nothing": (ONE_INCH, lambda: b"", "and only"),
    "1inch, hardly anything": (ONE_INCH, lambda: SWAP, "4 bytes, which cannot be right"),
    "1inch, no end of it": (ONE_INCH, lambda: one_inch(route=bytes(MOST_BYTES)), "bytes, which cannot be right"),
    "1inch, laid out otherwise": (ONE_INCH, lambda: one_inch()[:291] + b"\x01" + one_inch()[292:], "another layout"),
    "0x, another token sold": (ZERO_X, lambda: zero_x(sold=OTHER), "another token to sell"),
    "0x, another token bought": (ZERO_X, lambda: zero_x(bought=OTHER), "another token to buy"),
    "0x, another receiver": (ZERO_X, lambda: zero_x(receiver=OTHER), "another receiver"),
    "0x, more is sold": (ZERO_X, lambda: zero_x(amount=ORDER.amount_in + 1), "another amount"),
    "0x, nothing must come out": (ZERO_X, lambda: zero_x(least=0), "does not say what must come out"),
    "0x, nothing is bound": (
        ZERO_X, lambda: zero_x(bought=NOBODY, receiver=NOBODY, least=0), "leaves what must come out to its actions"
    ),
    "0x, somebody else may take it": (ZERO_X, lambda: zero_x(operator=OTHER), "another operator"),
    "0x, nobody trades": (
        ZERO_X, lambda: zero_x(operator=NOBODY, target=NOBODY), "names no Settler"
    ),
    "0x, a transfer inside": (ZERO_X, lambda: zero_x(execute=bytes.fromhex("a9059cbb")), "0xa9059cbb, and only"),
    "0x, another function": (ZERO_X, lambda: one_inch(), "0x07ed2379, and only 0x2213bc0b"),
    "0x, cut short": (ZERO_X, lambda: zero_x()[:-64], "cut short"),
    "0x, the inside cut short": (
        ZERO_X,
        lambda: EXEC + encode(["address", "address", "uint256", "address", "bytes"],
                              [DEALER, WETH.address, ORDER.amount_in, DEALER, EXECUTE + bytes(32)]),
        "36 bytes, which cannot be right",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", list(LIES))
def test_a_call_that_does_not_fit_the_order_is_refused(lie: str) -> None:
    dialect, data, said = LIES[lie]
    with pytest.raises(ValueError, match=said):
        dialect.adopt(ORDER, ROUTER, data())


@pytest.mark.parametrize(("dialect", "data"), [(ONE_INCH, one_inch()), (ZERO_X, zero_x())])
def test_another_contract_than_the_pinned_one_is_refused(dialect: Dialect, data: bytes) -> None:
    assert dialect.adopt(ORDER, ROUTER, data).to == ROUTER
    with pytest.raises(ValueError, match="another contract called than the router"):
        dialect.adopt(ORDER, OTHER, data)


# --- the signer ----------------------------------------------------------------------------------------------------


def signs(dialect: Dialect, data: bytes, value: int = 0) -> tuple[tuple[str, int], ...]:
    """What the signer counts for a call, armed with the shape of the order. Raises SignerRefused."""
    shape = dialect.shape(ORDER)
    allowed = AllowedCall(
        shape.to, "0x" + shape.data[:4].hex(), shape.rules, spend_token=WETH.address, spend_word=shape.spend_word
    )
    caps = ((WETH.address, 10**30),)
    policy = SigningPolicy(1, ACCOUNT, (allowed,), (), caps, 10**12, 10**7, 10**19, 10**19, 2**40)
    request = TransactionRequest("i", 1, ACCOUNT, 0, ROUTER, value, data, 10**6, 10**9, 10**9)
    return check_transaction(policy, request, "meaning", Usage(), now=1, killed=False).spends


@pytest.mark.parametrize(("dialect", "data"), [(ONE_INCH, one_inch()), (ZERO_X, zero_x())])
def test_the_signer_signs_what_was_adopted_and_counts_what_goes_in(dialect: Dialect, data: bytes) -> None:
    assert signs(dialect, dialect.adopt(ORDER, ROUTER, data).data) == ((WETH.address, ORDER.amount_in),)
    with pytest.raises(SignerRefused, match="value"):
        signs(dialect, data, value=1)


@pytest.mark.parametrize(
    ("dialect", "data"),
    [
        (ONE_INCH, one_inch(sold=OTHER)),
        (ONE_INCH, one_inch(bought=OTHER)),
        (ONE_INCH, one_inch(receiver=OTHER)),
        (ONE_INCH, one_inch(amount=ORDER.amount_in + 1)),
        (ONE_INCH, one_inch(least=0)),
        (ONE_INCH, one_inch(flags=1)),
        (ZERO_X, zero_x(sold=OTHER)),
        (ZERO_X, zero_x(bought=OTHER)),
        (ZERO_X, zero_x(bought=USDC.address[:-1] + "b")),
        (ZERO_X, zero_x(receiver=OTHER)),
        (ZERO_X, zero_x(receiver=ACCOUNT[:-1] + "d")),
        (ZERO_X, zero_x(amount=ORDER.amount_in + 1)),
        (ZERO_X, zero_x(execute=bytes.fromhex("a9059cbb"))),
    ],
)
def test_the_signer_holds_these_words_by_itself(dialect: Dialect, data: bytes) -> None:
    with pytest.raises(SignerRefused):
        signs(dialect, data)


@pytest.mark.parametrize(("dialect", "data"), [(ONE_INCH, one_inch(executor=OTHER)), (ZERO_X, zero_x(target=OTHER))])
def test_who_trades_the_signer_does_not_know(dialect: Dialect, data: bytes) -> None:
    """As docs/design.md says: that is held by the router of the one, and by the registry of the other."""
    assert signs(dialect, data) == ((WETH.address, ORDER.amount_in),)
