"""The lens: its code is what its source compiles to, fits old chains, and its answers are cut without trust."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.protocols.reading import adapter, eth_call, head, read, read_one
from tests.support.chain import Chain
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.contracts.compile import COMPILED, compile_lens


def test_the_committed_code_is_what_the_source_compiles_to() -> None:
    pytest.importorskip("vyper")
    assert COMPILED.read_text() == compile_lens()


def test_the_code_holds_no_opcode_newer_than_the_merge() -> None:
    code = lens.lens_code()
    newer = {0x49, 0x4A, 0x5C, 0x5D, 0x5E, 0x5F}  # BLOBHASH, BLOBBASEFEE, TLOAD, TSTORE, MCOPY, PUSH0
    at = 0
    while at < len(code):
        assert code[at] not in newer, hex(at)
        at += 1 + (code[at] - 0x5F if 0x60 <= code[at] <= 0x7F else 0)


def test_calldata_is_that_of_the_signature() -> None:
    accounts = [f"0x{number:040x}" for number in (1, 2, 2**160 - 1)]
    call = lens.read_call("0x" + "ab" * 20, accounts, 17)
    assert call.data[:4] == keccak(text="read(address,address[],uint256)")[:4]
    assert call.data[4:] == encode(["address", "address[]", "uint256"], ["0x" + "ab" * 20, accounts, 17])
    assert call.to == lens.LENS_ADDRESS
    assert call.code == lens.lens_code()


def _answer(words: list[int]) -> bytes:
    return b"".join(word.to_bytes(32, "big") for word in [32, len(words), *words])


HEADER = [lens.FORMAT, 1_000, 7, 1, 2, 5, 10**8, 0, 1, 0, 0, 0, 0]


def test_an_empty_market_is_read() -> None:
    raw = lens.decode_reading(_answer(HEADER))
    assert (raw.timestamp, raw.block_number, raw.revision, raw.swept) == (1_000, 7, 5, True)
    assert raw.pool == "0x" + "0" * 39 + "1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 64,
        _answer(HEADER)[:-1],
        _answer(HEADER) + b"\0" * 32,
        _answer([2, *HEADER[1:]]),
        _answer([*HEADER, 0]),
        _answer([*HEADER[:9], 1, *HEADER[10:]]),
        _answer([*HEADER[:9], 10**9, *HEADER[10:]]),
        _answer([*HEADER[:10], 1, *HEADER[11:]]),
        _answer([*HEADER[:10], 201, *HEADER[11:]]),
        _answer([*HEADER[:11], 1, *HEADER[12:]]),
        _answer([*HEADER[:10], 1, 0, 0, *([0] * 10), 1, 0, 0, 0, 0]),
        _answer([*HEADER[:9], 0, 1, 0, 0, *([0] * 10), 2**200]),
    ],
)
def test_an_answer_that_does_not_fit_is_a_fault(data: bytes) -> None:
    with pytest.raises(lens.LensFault):
        lens.decode_reading(data)


@pytest.mark.node
def test_balances_outside_the_bitmap_are_swept_for(market: Chain) -> None:
    account = market.new_account()
    market.supply(account, "WETH", market.units("WETH", 10))
    market.supply(account, "WBTC", market.units("WBTC", 1))
    market.set_collateral(account, "WBTC", False)
    position = read_one(market, account)
    assert [(one.asset.symbol, one.counts) for one in position.collateral] == [("WETH", True), ("WBTC", False)]
    block = head(market)
    call = lens.read_call(market.market.provider, [account], sweep_pairs=0)
    answer = eth_call(market, block, call).data
    assert answer is not None
    raw = lens.decode_reading(answer)
    assert not raw.swept
    assert len(raw.accounts[0].holdings) == 1


@pytest.mark.node
@pytest.mark.pyevm
def test_the_lens_runs_on_the_python_node(pyevm_market: Chain) -> None:
    account = pyevm_market.new_account()
    pyevm_market.supply(account, "WETH", pyevm_market.units("WETH", 10))
    pyevm_market.borrow(account, "USDC", pyevm_market.units("USDC", 9_000))
    aave = adapter(pyevm_market)
    reading = read(pyevm_market, [account], aave)
    assert reading.error is None
    assert reading.positions[0].unknown is None
    assert reading.positions[0].debt_usd
