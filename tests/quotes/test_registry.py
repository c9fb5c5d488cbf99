"""Quoters from a network file, and what is said where it does not make one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tui.config.networks import builtin_network
from tui.model.network import SwapConfig
from tui.quotes.registry import make_quoters
from tui.quotes.uniswap_v3 import UniswapV3

NETWORK = builtin_network("ethereum")


@pytest.mark.parametrize("name", ["ethereum", "arbitrum", "base", "optimism", "polygon"])
def test_every_built_in_chain_has_an_exchange(name: str) -> None:
    network = builtin_network(name)
    (quoter,) = make_quoters(network)
    assert isinstance(quoter, UniswapV3)
    assert quoter.bases[0] == network.wrapped_native
    assert len(set(quoter.bases)) == len(quoter.bases) > 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"factory": None}, "factory"),
        ({"quoter_v2": "0x12"}, "quoter_v2"),
        ({"quoter_v2": "0x" + "zz" * 20}, "quoter_v2"),
        ({"bases": "0x" + "12" * 20}, "bases"),
        ({"bases": (7,)}, "bases"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], said: str) -> None:
    (config,) = NETWORK.swaps
    wrong = replace(NETWORK, swaps=(SwapConfig(config.kind, {**config.options, **change}),))
    with pytest.raises(ValueError, match=said):
        make_quoters(wrong)


def test_an_unknown_exchange_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="curve"):
        make_quoters(replace(NETWORK, swaps=(SwapConfig("curve"),)))
