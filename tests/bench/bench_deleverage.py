"""What a deleverage from health 1.05 to 1.50 costs in gas: in one transaction, three ways, and by the plain loop.

Run: python -m tests.bench.bench_deleverage
The loop is withdraw -> swap -> repay in rounds, each withdrawal down to a floor of health. Gas is what receipts say;
compare the ratios.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import platformdirs

from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, deploy, transact
from tui.practice.abi import calldata
from tui.practice.artifacts import fetch
from tui.practice.market import AaveVersion
from tui.practice.node import NodeKind, find_program
from tui.practice.packages import AAVE_V30, CONTRACTS
from tui.practice.state import start_market
from tui.practice.tokens import ASSET_BY_SYMBOL, MAX_UINT256
from tui.protocols.aave_v3.helper import Helper, deleverage_data

TARGET = 150 * WAD // 100
FLOORS = (1005, 1010, 1020)
"""Thousandths of health that a round of the loop may go down to."""


@dataclass(frozen=True)
class Row:
    """One way: transactions, gas in all, the health reached and the lowest on the way (wad)."""

    way: str
    transactions: int
    gas: int
    reached: int
    lowest: int


def _one_transaction(chain: Chain, helper: Helper) -> list[Row]:
    rows = []
    holder = Holder(chain, 1).borrow_to()
    order, before = holder.order(150), holder.health
    approval = holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    rows.append(Row("helper, approval", 2, approval.gas + done.gas, holder.health, min(before, holder.health)))

    holder = Holder(chain, 2).borrow_to()
    order, before = holder.order(150), holder.health
    done = transact(chain, holder.address, helper.address, holder.signed_permit(helper, order))
    assert done.ok, done.reason
    rows.append(Row("helper, permit", 1, done.gas, holder.health, min(before, holder.health)))

    holder = Holder(chain, 3).borrow_to()
    order, before = holder.order(150), holder.health
    done = holder.delegated(helper.address, deleverage_data(order))
    assert done.ok, done.reason
    rows.append(Row("delegated in it", 1, done.gas, holder.health, min(before, holder.health)))

    holder = Holder(chain, 4).borrow_to()
    assert holder.delegated(helper.address).ok
    order, before = holder.order(150), holder.health
    done = holder.signed(deleverage_data(order))
    assert done.ok, done.reason
    rows.append(Row("delegated before", 1, done.gas, holder.health, min(before, holder.health)))
    return rows


def _loop(chain: Chain, number: int, floor: int) -> Row:
    """Rounds until the target is met."""
    holder, market = Holder(chain, number).borrow_to(), chain.market
    weth, usdc = chain.token("WETH"), chain.token("USDC")
    threshold = ASSET_BY_SYMBOL["WETH"].liquidation_threshold
    lowest, gas, count = holder.health, 0, 0

    def send(to: str, signature: str, *arguments: object) -> None:
        nonlocal gas, count
        done = transact(chain, holder.address, to, calldata(signature, *arguments))
        assert done.ok, done.reason
        gas, count = gas + done.gas, count + 1

    send(weth.address, "approve(address,uint256)", market.router02, MAX_UINT256)
    send(usdc.address, "approve(address,uint256)", market.pool, MAX_UINT256)
    while holder.health < TARGET * 9997 // 10_000 and count < 200:
        collateral, debt, *_ = chain.account_data(holder.address)
        most = collateral - debt * 10_000 * floor // (threshold * 1_000)
        last = (TARGET * debt - collateral * threshold * WAD // 10_000) * 1_000
        last = last // (TARGET * 998 // 1_000 - threshold * WAD // 10_000) // 1_000
        amount = min(most, last) * weth.unit // chain.price("WETH")
        send(market.pool, "withdraw(address,uint256,address)", weth.address, amount, holder.address)
        lowest = min(lowest, holder.health)
        swap = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
        send(market.router02, swap, (weth.address, usdc.address, 500, holder.address, amount, 0, 0))
        bought = chain.balance("USDC", holder.address)
        send(market.pool, "repay(address,uint256,uint256,address)", usdc.address, bought, 2, holder.address)
    return Row(f"loop, floor {floor / 1_000:.3f}", count, gas, holder.health, lowest)


def _measure(chain: Chain) -> list[Row]:
    helper = deploy(chain)
    return [*_one_transaction(chain, helper), *(_loop(chain, 10 + at, floor) for at, floor in enumerate(FLOORS))]


def main() -> int:
    """Print a table for each version of the market."""
    cache = platformdirs.user_cache_path("trimtab") / "practice"
    program = find_program(NodeKind.ANVIL, cache)
    folders = fetch((CONTRACTS, AAVE_V30), cache)
    for version in AaveVersion:
        node, market = start_market(program, version, folders, cache)
        try:
            rows = _measure(Chain(node, market))
        finally:
            node.stop()
        least = min(row.gas for row in rows)
        print(f"Aave {version.value}: health 1.05 to 1.50")
        print("way                 transactions        gas   ratio   reached    lowest")
        for row in rows:
            print(
                f"{row.way:20}{row.transactions:12}{row.gas:11,}{row.gas / least:8.2f}"
                f"{row.reached / WAD:10.4f}{row.lowest / WAD:10.4f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
