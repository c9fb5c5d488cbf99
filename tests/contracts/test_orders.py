"""Calldata, digests and events of the helper's other three functions, without a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tui.model.calls import Log
from tui.model.units import UINT256_MAX
from tui.model.wallet import PermitFacts
from tui.protocols.aave_v3 import helper_orders as room
from tui.protocols.aave_v3.helper import ALL_OF_IT
from tui.protocols.aave_v3.helper_orders import Boost, Outcome, SwitchCollateral, SwitchDebt
from tui.protocols.erc20 import domain_separator

ARGUMENTS = "address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3]"
SIGNATURE = "uint8,bytes32,bytes32"
TYPES = [*["address"] * 2, *["uint256"] * 5, "bytes32[3]"]
EVENT = "(address,address,address,uint256,uint256,uint256,uint256)"
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
numbers = st.integers(min_value=0, max_value=UINT256_MAX - 1)

Plain = Callable[[Any], bytes]
Signed = Callable[..., bytes]
KINDS: tuple[tuple[Any, Plain, Signed, bytes, bytes, bool], ...] = (
    (
        SwitchCollateral,
        room.switch_collateral_data,
        room.switch_collateral_with_permit_data,
        room.SWITCH_COLLATERAL,
        room.SWITCH_COLLATERAL_WITH_PERMIT,
        False,
    ),
    (
        SwitchDebt,
        room.switch_debt_data,
        room.switch_debt_with_signature_data,
        room.SWITCH_DEBT,
        room.SWITCH_DEBT_WITH_SIGNATURE,
        False,
    ),
    (Boost, room.boost_data, room.boost_with_signature_data, room.BOOST, room.BOOST_WITH_SIGNATURE, True),
)
"""Order, its two builders and selectors, and whether the path leads from the second token to the first."""


def test_selectors_and_topics_are_those_of_the_signatures() -> None:
    for name in ("switch_collateral", "switch_debt", "boost"):
        assert getattr(room, name.upper()) == keccak(text=f"{name}({ARGUMENTS})")[:4]
    for name in ("switch_collateral_with_permit", "switch_debt_with_signature", "boost_with_signature"):
        assert getattr(room, name.upper()) == keccak(text=f"{name}({ARGUMENTS},{SIGNATURE})")[:4]
    assert keccak(text="approveDelegation(address,uint256)")[:4] == room.APPROVE_DELEGATION
    assert keccak(text="borrowAllowance(address,address)")[:4] == room.BORROW_ALLOWANCE
    events = {"Deleveraged": room.DELEVERAGED, "CollateralSwitched": room.COLLATERAL_SWITCHED}
    events |= {"DebtSwitched": room.DEBT_SWITCHED, "Boosted": room.BOOSTED}
    for name, topic in events.items():
        assert topic == keccak(text=name + EVENT)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0].__name__)
@given(
    tokens=st.lists(addresses, min_size=2, max_size=2, unique=True),
    amounts=st.tuples(numbers, numbers, numbers, numbers),
    pools=st.integers(1, 3),
    data=st.data(),
)
def test_calldata_is_abi_encoded(
    kind: Any, tokens: list[str], amounts: tuple[int, int, int, int], pools: int, data: st.DataObject
) -> None:
    make, plain, signed, selector, signed_selector, turned = kind
    between = data.draw(st.binary(min_size=23 * pools - 20, max_size=23 * pools - 20))
    first, last = (bytes.fromhex(one[2:]) for one in (tokens[::-1] if turned else tokens))
    path = first + between + last
    order = make(*tokens, *amounts, path)
    words = [path.ljust(96, b"\0")[start : start + 32] for start in (0, 32, 64)]
    expected = encode(TYPES, [*tokens, *amounts, pools, words])
    assert plain(order) == selector + expected
    tail = encode(["uint8"], [27]) + b"\1" * 32 + b"\2" * 32
    assert signed(order, 27, b"\1" * 32, b"\2" * 32) == signed_selector + expected + tail
    assert signed(order) == signed_selector + expected + bytes(96)


ONE, TWO = b"\1" * 20, b"\2" * 20
FEE = (500).to_bytes(3, "big")


def _order(make: Any, turned: bool, path: bytes | None = None, **changes: int) -> Any:
    ends = (TWO, ONE) if turned else (ONE, TWO)
    most = "max_sold" if make is SwitchCollateral else "max_borrowed"
    words = {"amount": 1, most: 1, "min_health": 1, "deadline": 1}
    words |= {most if name == "most" else name: value for name, value in changes.items()}
    names = list(make.__dataclass_fields__)[:2]
    tokens = dict(zip(names, ("0x" + ONE.hex(), "0x" + TWO.hex()), strict=True))
    return make(**tokens, **words, path=ends[0] + FEE + ends[1] if path is None else path)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0].__name__)
def test_what_the_helper_could_not_take_is_no_order(kind: Any) -> None:
    make, plain, signed, _, _, turned = kind
    first, last = (TWO, ONE) if turned else (ONE, TWO)
    assert len(plain(_order(make, turned))) == 4 + 10 * 32
    for path in (first + last, first + FEE + last + b"\0", first + (FEE + b"\3" * 20) * 3 + FEE + last):
        with pytest.raises(ValueError, match="not one through one to 3 pools"):
            plain(_order(make, turned, path))
    for path in (last + FEE + first, b"\3" * 20 + FEE + last, first + FEE + b"\3" * 20):
        with pytest.raises(ValueError, match="does not lead from"):
            plain(_order(make, turned, path))
    with pytest.raises(ValueError, match="without a limit"):
        plain(_order(make, turned, most=UINT256_MAX))
    for field in ("amount", "most", "min_health", "deadline"):
        with pytest.raises(ValueError, match="does not fit"):
            plain(_order(make, turned, None, **{field: -1}))
    with pytest.raises(ValueError, match="does not fit"):
        plain(_order(make, turned, deadline=UINT256_MAX + 1))
    with pytest.raises(ValueError, match="half a signature"):
        signed(_order(make, turned), 27, b"\1" * 33, b"\1" * 32)
    same = make("0x" + ONE.hex(), "0x" + ONE.hex(), 1, 1, 1, 1, ONE + FEE + ONE)
    with pytest.raises(ValueError, match="for itself"):
        plain(same)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0].__name__)
def test_a_route_that_is_not_known_yet_is_no_pools(kind: Any) -> None:
    make, plain, *_, turned = kind
    assert plain(_order(make, turned, b""))[4 + 6 * 32 :] == bytes(4 * 32)


def test_all_of_it_is_for_debts() -> None:
    assert room.switch_debt_data(_order(SwitchDebt, False, amount=ALL_OF_IT))[68:100] == b"\xff" * 32
    for make, plain, turned in ((SwitchCollateral, room.switch_collateral_data, False), (Boost, room.boost_data, True)):
        with pytest.raises(ValueError, match="needs an amount"):
            plain(_order(make, turned, amount=ALL_OF_IT))


@given(st.text(max_size=20), addresses, addresses, numbers, numbers, numbers, st.integers(1, 2**32))
def test_a_delegation_digest_is_the_typed_data_hash(
    name: str, token: str, delegatee: str, value: int, nonce: int, deadline: int, chain_id: int
) -> None:
    separator = domain_separator(name.encode(), b"1", chain_id, token)
    facts = PermitFacts(name, "1", "0x" + separator.hex(), nonce)
    fields = {"delegatee": "address", "value": "uint256", "nonce": "uint256", "deadline": "uint256"}
    message = encode_typed_data(
        {"name": name, "version": "1", "chainId": chain_id, "verifyingContract": token},
        {"DelegationWithSig": [{"name": one, "type": kind} for one, kind in fields.items()]},
        {"delegatee": delegatee, "value": value, "nonce": nonce, "deadline": deadline},
    )
    assert room.delegation_digest(facts, delegatee, value, deadline) == bytes(_hash_eip191_message(message))


def test_a_delegation_digest_needs_its_facts() -> None:
    facts = PermitFacts("x", "1", "0x" + "11" * 31, 0)
    with pytest.raises(ValueError, match="separator"):
        room.delegation_digest(facts, "0x" + "22" * 20, 1, 1)
    with pytest.raises(ValueError, match="does not fit"):
        room.delegation_digest(PermitFacts("x", "1", "0x" + "11" * 32, 0), "0x" + "22" * 20, -1, 1)


def test_delegating_is_abi_encoded() -> None:
    one, two = "0x" + ONE.hex(), "0x" + TWO.hex()
    data = room.approve_delegation_data(one, UINT256_MAX)
    assert data == room.APPROVE_DELEGATION + encode(["address", "uint256"], [one, UINT256_MAX])
    assert room.borrow_allowance_data(one, two) == room.BORROW_ALLOWANCE + encode(["address"] * 2, [one, two])
    with pytest.raises(ValueError, match="does not fit"):
        room.approve_delegation_data(one, UINT256_MAX + 1)


def test_events_are_four_words() -> None:
    assert room.outcome_of(encode(["uint256"] * 4, [1, 2, 3, 4])) == Outcome(1, 2, 3, 4)
    for size in (0, 96, 127, 129, 160):
        with pytest.raises(ValueError, match="four words"):
            room.outcome_of(bytes(size))


ME, ANOTHER, TOKEN, HELPER = ("0x" + byte * 20 for byte in ("a1", "b2", "c3", "d4"))


def an_event(
    event: bytes, *, paid: int = 70, owner: str = ME, sold: str = TOKEN, by: str = HELPER, data: bytes | None = None
) -> Log:
    words = [bytes(12) + bytes.fromhex(one[2:]) for one in (owner, ANOTHER, ANOTHER)]
    words[1 if event == room.BOOSTED else 2] = bytes(12) + bytes.fromhex(sold[2:])
    return Log(by, (event, *words), encode(["uint256"] * 4, [5, paid, 1, 2]) if data is None else data)


EVENTS = (room.DELEVERAGED, room.COLLATERAL_SWITCHED, room.DEBT_SWITCHED, room.BOOSTED)


@pytest.mark.parametrize("event", EVENTS)
def test_what_was_sold_is_what_the_helper_says_of_this_owner_and_token(event: bytes) -> None:
    true = an_event(event)
    others = [
        an_event(event, paid=10**30, by=ANOTHER),
        an_event(event, paid=10**30, owner=ANOTHER),
        an_event(event, paid=10**30, sold=ANOTHER),
        an_event(keccak(text="Deleveraged()"), paid=10**30),
        an_event(event, data=bytes(96)),
        Log(HELPER, true.topics[:3], true.data),
        Log(HELPER, (), b""),
    ]
    assert room.sold_in([*others, true], HELPER, ME, TOKEN) == 70
    assert room.sold_in([*others, true, an_event(EVENTS[0], paid=5)], HELPER, ME, TOKEN) == 75
    assert room.sold_in(others, HELPER, ME, TOKEN) is None
    assert room.sold_in([], HELPER, ME, TOKEN) is None
