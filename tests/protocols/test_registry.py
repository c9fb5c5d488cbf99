"""Configured markets find their adapters; what is wrong is said with the key to mend."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tui.model.network import MarketConfig, Network, SwapConfig
from tui.model.rule import SALES, ActionKind
from tui.protocols.registry import make_market, protocols

PROVIDER = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
ROUTER = "0x68b3465833fb72A70ecDF485E0e4C7bD8665Fc45"
MARKET = MarketConfig("aave-v3", "core", {"pool_addresses_provider": PROVIDER})
WITH_POOL = {ActionKind.REPAY, ActionKind.ADD_COLLATERAL, ActionKind.REPAY_WITH_ATOKENS}


def _network(*swaps: SwapConfig) -> Network:
    return Network("ethereum", 1, 12, 2, ("http://127.0.0.1:1",), swaps=swaps)


def test_a_configured_market_gets_its_adapter() -> None:
    market = make_market(MarketConfig("aave-v3", "core", {"pool_addresses_provider": PROVIDER}))
    assert str(market.key) == "aave-v3/core"
    assert market.actions == WITH_POOL
    assert market.spender(ActionKind.REPAY) is None
    (call,) = market.read_calls(["0x" + "1" * 40])
    assert bytes.fromhex(PROVIDER[2:]) in call.data


def test_a_market_with_a_router_sells() -> None:
    router = SwapConfig("uniswap-v3", {"router02": ROUTER})
    assert make_market(MARKET, _network(router)).actions == WITH_POOL | SALES
    assert make_market(MARKET, _network(SwapConfig("uniswap-v3"), router)).actions > WITH_POOL
    assert make_market(MARKET, _network()).actions == WITH_POOL
    assert make_market(MARKET, _network(SwapConfig("other", {"router02": ROUTER}))).actions == WITH_POOL


@pytest.mark.parametrize("value", ["", "0x12", 5, "0x" + "g" * 40])
def test_a_router_that_is_no_address_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="router02 must be an address"):
        make_market(MARKET, _network(SwapConfig("uniswap-v3", {"router02": value})))


def test_protocols_are_listed() -> None:
    assert protocols() == tuple(sorted(protocols()))
    assert "aave-v3" in protocols()


def test_an_unknown_protocol_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="use one of: aave-v3"):
        make_market(MarketConfig("aave-v9", "core"))


@pytest.mark.parametrize("value", [None, "", "0x12", 5, "0x" + "g" * 40, PROVIDER + "0", "x" * 42])
def test_a_market_without_a_provider_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"aave-v3/core: pool_addresses_provider"):
        make_market(MarketConfig("aave-v3", "core", {"pool_addresses_provider": value}))


def test_the_registry_loads_no_adapter_before_it_is_asked() -> None:
    code = "import sys, tui.protocols.registry; print([m for m in sys.modules if 'aave' in m or 'web3' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
