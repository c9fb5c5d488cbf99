"""The helper without a chain: its code is what its source compiles to, its address and calldata follow from it."""

from __future__ import annotations

import json

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tui.model.units import UINT256_MAX
from tui.practice.abi import created_address
from tui.protocols.aave_v3 import helper as room
from tui.protocols.aave_v3.contracts.compile import HELPER_COMPILED, compile_helper
from tui.protocols.aave_v3.helper import Helper, Order, delegate_of, deleverage_data, deleverage_with_permit_data

WRITES = {
    "deleverage",
    "deleverage_with_permit",
    "switch_collateral",
    "switch_collateral_with_permit",
    "switch_debt",
    "switch_debt_with_signature",
    "boost",
    "boost_with_signature",
    "executeOperation",
    "uniswapV3SwapCallback",
}
ARGUMENTS = "address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3]"
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
numbers = st.integers(min_value=0, max_value=UINT256_MAX - 1)


def test_the_committed_code_is_what_the_source_compiles_to() -> None:
    pytest.importorskip("vyper")
    assert HELPER_COMPILED.read_text() == compile_helper()


def test_the_helper_has_no_owner_and_no_setter() -> None:
    abi = json.loads(HELPER_COMPILED.read_text())["abi"]
    writes = {one["name"] for one in abi if one["type"] == "function" and one["stateMutability"] != "view"}
    assert writes == WRITES


def test_it_fits_into_a_contract() -> None:
    code = bytes.fromhex(json.loads(HELPER_COMPILED.read_text())["bytecode_runtime"][2:])
    assert len(code) + 3 * 32 <= 24_576


def test_the_code_stores_nothing() -> None:
    """No SSTORE and no SLOAD, no SELFDESTRUCT, no DELEGATECALL anywhere: what it is, it stays."""
    code = bytes.fromhex(json.loads(HELPER_COMPILED.read_text())["bytecode_runtime"][2:])
    at, seen = 0, set()
    end = code.rindex(b"\x5b")  # past the last jump destination lies data: messages and the jump table
    while at <= end:
        seen.add(code[at])
        at += 1 + (code[at] - 0x5F if 0x60 <= code[at] <= 0x7F else 0)
    assert seen.isdisjoint({0x54, 0x55, 0xFF, 0xF4, 0xF2})


def test_selectors_are_those_of_the_signatures() -> None:
    assert keccak(text=f"deleverage({ARGUMENTS})")[:4] == room.DELEVERAGE
    assert keccak(text=f"deleverage_with_permit({ARGUMENTS},uint8,bytes32,bytes32)")[:4] == room.DELEVERAGE_WITH_PERMIT


def test_the_deployer_is_what_its_transaction_makes() -> None:
    maker = Account.recover_transaction(room.DEPLOYER_TRANSACTION)
    assert maker.lower() == room.DEPLOYER_MAKER
    assert created_address(maker, 0).lower() == room.DEPLOYER
    assert room.DEPLOYER_CODE in room.DEPLOYER_TRANSACTION


def test_another_pool_or_router_is_another_address() -> None:
    pool, router, other = ("0x" + digit * 40 for digit in "123")
    found = {Helper(*pair).address for pair in ((pool, router), (other, router), (pool, other), (router, pool))}
    assert len(found) == 4
    assert Helper(pool, router).address == Helper(pool, router).address


@given(addresses, addresses, numbers, numbers, numbers, numbers, st.integers(1, 3), st.data())
def test_calldata_is_abi_encoded(
    debt: str,
    collateral: str,
    amount: int,
    max_sold: int,
    health: int,
    deadline: int,
    pools: int,
    data: st.DataObject,
) -> None:
    between = data.draw(st.binary(min_size=23 * pools - 20, max_size=23 * pools - 20))
    path = bytes.fromhex(debt[2:]) + between + bytes.fromhex(collateral[2:])
    order = Order(debt, collateral, amount, max_sold, health, deadline, path)
    words = [path.ljust(96, b"\0")[start : start + 32] for start in (0, 32, 64)]
    types = [*["address"] * 2, *["uint256"] * 5, "bytes32[3]"]
    expected = encode(types, [debt, collateral, amount, max_sold, health, deadline, pools, words])
    assert deleverage_data(order) == room.DELEVERAGE + expected
    signed = deleverage_with_permit_data(order, 27, b"\1" * 32, b"\2" * 32)
    assert signed == room.DELEVERAGE_WITH_PERMIT + expected + encode(["uint8"], [27]) + b"\1" * 32 + b"\2" * 32
    assert deleverage_with_permit_data(order)[:-96] == signed[:-96]


@pytest.mark.parametrize("change", ["short", "long", "four", "start", "end"])
def test_a_path_that_leads_elsewhere_is_no_order(change: str) -> None:
    debt, collateral = b"\1" * 20, b"\2" * 20
    fee = (500).to_bytes(3, "big")
    path = {
        "short": debt + collateral,
        "long": debt + fee + collateral + b"\0",
        "four": debt + (fee + b"\3" * 20) * 3 + fee + collateral,
        "start": b"\3" * 20 + fee + collateral,
        "end": debt + fee + b"\3" * 20,
    }[change]
    with pytest.raises(ValueError, match="path"):
        deleverage_data(Order("0x" + debt.hex(), "0x" + collateral.hex(), 1, 1, 1, 1, path))


def test_a_sale_without_a_limit_is_no_order() -> None:
    path = b"\1" * 20 + b"\0\0\1" + b"\2" * 20
    with pytest.raises(ValueError, match="limit"):
        deleverage_data(Order("0x" + "01" * 20, "0x" + "02" * 20, 1, UINT256_MAX, 1, 1, path))


def test_delegations_are_read_from_code() -> None:
    one = Helper("0x" + "1" * 40, "0x" + "2" * 40)
    assert delegate_of(one.delegation) == one.address
    for code in (b"", one.delegation[:-1], one.delegation + b"\0", b"\xef\x02\0" + one.delegation[3:], one.code):
        assert delegate_of(code) is None
