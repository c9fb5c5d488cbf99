"""The helper deployed on a practice market, and contracts of the tests' own that mean harm."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode

from tests.support.chain import Chain
from tests.support.deleverage import code_at, deploy, transact
from tui.practice.abi import created_address
from tui.practice.accounts import OWNER
from tui.protocols.aave_v3.helper import Helper

HERE = Path(__file__).parent
Maker = Callable[..., str]


@cache
def _bytecode(name: str) -> str:
    from vyper.compiler import compile_code

    return str(compile_code((HERE / f"{name}.vy").read_text(), output_formats=["bytecode"])["bytecode"])


@pytest.fixture
def helper(market: Chain) -> Helper:
    """The helper, deployed on both Aave versions in turn."""
    return deploy(market)


@pytest.fixture
def helper_v32(market_v32: Chain) -> Helper:
    """The helper, deployed on Aave 3.2."""
    return deploy(market_v32)


def make(chain: Chain, name: str, types: list[str], *args: Any) -> str:
    """Deploy a contract of this folder."""
    pytest.importorskip("vyper")
    nonce = int(chain.rpc("eth_getTransactionCount", OWNER, "latest"), 16)
    receipt = transact(chain, OWNER, None, _bytecode(name) + encode(types, list(args)).hex())
    assert receipt.ok, receipt.reason
    return created_address(OWNER, nonce)


def turn_hostile(
    chain: Chain, symbol: str, accomplice: str = "0x" + "0" * 40, fee_bps: int = 0, silent: bool = False
) -> None:
    """Put Hostile.vy in the place of a real token of the market; its balances and allowances stay what they are."""
    token = chain.token(symbol).address
    real = "0x" + "12ea1" * 8
    chain.rpc("anvil_setCode", real, "0x" + code_at(chain, token).hex())
    types = ["address", "address", "address", "uint256", "bool"]
    hostile = make(chain, "Hostile", types, real, accomplice, "0x" + "fee" * 13 + "0", fee_bps, silent)
    chain.rpc("anvil_setCode", token, "0x" + code_at(chain, hostile).hex())
