"""The committed feed bytecode is what its source compiles to."""

from __future__ import annotations

from tests.support.chain import Chain
from tui.practice.contracts.compile import COMPILED, compile_feed


def test_feed_json_is_what_vyper_makes_of_the_source() -> None:
    assert COMPILED.read_text() == compile_feed()


def test_only_the_owner_publishes(market_v32: Chain) -> None:
    feed = market_v32.token("WETH").feed
    stranger = market_v32.new_account()
    request = {"from": stranger, "to": feed, "data": "0x99213cd8" + "0" * 63 + "1"}
    answer = market_v32.node.rpc.try_batch([("eth_call", [request, "latest"])])[0]
    assert "only the owner sets the price" in str(answer)


def test_each_answer_is_a_round(market_v32: Chain) -> None:
    kinds = ["uint80", "int256", "uint256", "uint256", "uint80"]
    feed = market_v32.token("WBTC").feed
    before = market_v32.call(feed, "latestRoundData()", kinds)
    market_v32.set_price("WBTC", "91000.5")
    after = market_v32.call(feed, "latestRoundData()", kinds)
    assert (after[0], after[1], after[4]) == (before[0] + 1, 9_100_050_000_000, before[0] + 1)
    assert after[3] == int(market_v32.block()["timestamp"], 16)
