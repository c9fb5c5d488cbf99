"""Where a rule would fire, on a real market: the contract is under the threshold at the price and not beside it."""

from __future__ import annotations

import pytest

from tests.protocols.reading import adapter as adapter_of
from tests.protocols.reading import read_one
from tests.support.chain import ETHER, Chain
from tui.model.units import BPS, WAD
from tui.risk.trigger import trigger_price

THRESHOLD = 125 * WAD // 100


@pytest.mark.parametrize("present", [3000, 2600, 2000])
def test_the_trigger_is_where_the_contract_turns_whether_above_or_below_the_present_price(
    market_v32: Chain, present: int
) -> None:
    account = market_v32.new_account()
    market_v32.supply(account, "WETH", 10 * ETHER)
    market_v32.borrow(account, "USDC", 18_000 * 10**6)
    market_v32.set_price("WETH", present)
    adapter = adapter_of(market_v32)
    position = read_one(market_v32, account, adapter)
    found = trigger_price(position, THRESHOLD, lambda prices: adapter.repriced(position, prices).health_factor)
    assert found is not None
    asset, price, distance = found
    assert asset.symbol == "WETH"
    under = position.health_factor is not None and position.health_factor < THRESHOLD
    assert distance == 0 if under else distance == (price - present * 10**8) * BPS // (present * 10**8)
    assert (adapter.repriced(position, {asset.address: price}).health_factor or 0) < THRESHOLD
    assert (adapter.repriced(position, {asset.address: price + 1}).health_factor or 0) >= THRESHOLD
