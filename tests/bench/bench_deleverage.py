"""What the helper's four functions cost: in one transaction, several ways, in rounds as they are planned where no
helper stands, and by the plain loop.

Run: python -m tests.bench.bench_deleverage
The loops take something out of the position, swap it and put it in again, in rounds, each down to a floor of health (to
the loan-to-value, where they borrow), with allowances that stand without limit; the rounds let exactly what is used and
bound each swap. Gas is what receipts say; `lost` is what position and wallet are worth less, by the oracle, gas aside.
Compare the ratios.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import platformdirs

from tests.contracts.reshaping import BOOST, COLLATERAL, DEBT, GAS, Move, move
from tests.protocols.carry_out import carry_out, read_terms
from tests.protocols.reading import asset, eth_call, head, read_one, selling_adapter, wallet
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, deploy, transact
from tests.support.plain_market import circumstances
from tests.support.positions import network_of
from tui.model.position import Position
from tui.model.rounds import RoundsSoFar
from tui.model.rule import ActionKind, Limits, Mode, RoundsUse, Rule, Step, health_below, restore
from tui.model.units import UINT256_MAX, USD
from tui.model.wallet import Wallet
from tui.planning.calling import calls_of
from tui.planning.sales import offers_of, wanted_sales
from tui.planning.waterfall import run_waterfall
from tui.practice.abi import calldata
from tui.practice.artifacts import fetch
from tui.practice.market import AaveVersion
from tui.practice.node import NodeKind, find_program
from tui.practice.packages import AAVE_V30, CONTRACTS
from tui.practice.state import start_market
from tui.practice.tokens import ASSET_BY_SYMBOL, MAX_UINT256
from tui.protocols.aave_v3.helper import ALL_OF_IT, Helper, deleverage_data
from tui.protocols.aave_v3.market import AaveV3Market
from tui.quotes.registry import make_quoters, make_swapper

TARGET = 150 * WAD // 100
FLOORS = (1005, 1010, 1020)
"""Thousandths of health that a round of the loop may go down to."""


@dataclass(frozen=True)
class Row:
    """One way: transactions, gas in all, dollars lost (8 decimals), health reached and the lowest on the way (wad)."""

    way: str
    transactions: int
    gas: int
    lost: int
    reached: int
    lowest: int


def worth(holder: Holder) -> int:
    """Dollars (8 decimals) of the position and the wallet, the native coin aside."""
    chain = holder.chain
    collateral, debt, *_ = chain.account_data(holder.address)
    tokens = chain.market.tokens.items()
    held = (chain.balance(symbol, holder.address) * chain.price(symbol) // token.unit for symbol, token in tokens)
    return int(collateral - debt + sum(held))


class Beginning:
    """What a way begins at."""

    def __init__(self, holder: Holder) -> None:
        self.holder, self.health, self.worth = holder, holder.health, worth(holder)

    def row(self, way: str, *gas: int, lowest: int | None = None) -> Row:
        """What a way has come to: the gas of each transaction."""
        health = self.holder.health
        lowest = min(self.health, health) if lowest is None else lowest
        return Row(way, len(gas), sum(gas), self.worth - worth(self.holder), health, lowest)


def _approved(chain: Chain, helper: Helper) -> Row:
    holder = Holder(chain, 1).borrow_to()
    order, before = holder.order(150), Beginning(holder)
    approval = holder.approve(helper, order.max_sold)
    done = holder.call(helper, order)
    assert done.ok, done.reason
    return before.row("helper, approval", approval.gas, done.gas)


def _permitted(chain: Chain, helper: Helper) -> Row:
    holder = Holder(chain, 1).borrow_to()
    order, before = holder.order(150), Beginning(holder)
    done = transact(chain, holder.address, helper.address, holder.signed_permit(helper, order))
    assert done.ok, done.reason
    return before.row("helper, permit", done.gas)


def _delegated_in_it(chain: Chain, helper: Helper) -> Row:
    holder = Holder(chain, 1).borrow_to()
    order, before = holder.order(150), Beginning(holder)
    done = holder.delegated(helper.address, deleverage_data(order))
    assert done.ok, done.reason
    return before.row("delegated in it", done.gas)


def _delegated_before(chain: Chain, helper: Helper) -> Row:
    holder = Holder(chain, 1).borrow_to()
    assert holder.delegated(helper.address).ok
    order, before = holder.order(150), Beginning(holder)
    done = holder.signed(deleverage_data(order))
    assert done.ok, done.reason
    return before.row("delegated before", done.gas)


class Plain:
    """A plain account's transactions, counted."""

    def __init__(self, holder: Holder, *symbols: str) -> None:
        self.holder, self.chain = holder, holder.chain
        self.before, self.gas = Beginning(holder), list[int]()
        self.lowest = holder.health
        for symbol in symbols:
            for spender in (self.chain.market.router02, self.chain.market.pool):
                self.send(self.chain.token(symbol).address, "approve(address,uint256)", spender, MAX_UINT256)

    def send(self, to: str, signature: str, *arguments: object) -> None:
        done = transact(self.chain, self.holder.address, to, calldata(signature, *arguments))
        assert done.ok, done.reason
        self.gas.append(done.gas)
        self.lowest = min(self.lowest, self.holder.health)

    def pool(self, signature: str, *arguments: object) -> None:
        self.send(self.chain.market.pool, signature, *arguments)

    def swap(self, sold: str, bought: str, fee: int) -> int:
        """All that is in the wallet; base units bought."""
        chain, own = self.chain, self.holder.address
        pair = chain.token(sold).address, chain.token(bought).address
        signature = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
        self.send(chain.market.router02, signature, (*pair, fee, own, chain.balance(sold, own), 0, 0))
        return chain.balance(bought, own)

    def row(self, way: str) -> Row:
        return self.before.row(way, *self.gas, lowest=self.lowest)


WITHDRAW = "withdraw(address,uint256,address)"
BORROW = "borrow(address,uint256,uint256,uint16,address)"
REPAY = "repay(address,uint256,uint256,address)"
SUPPLY = "supply(address,uint256,address,uint16)"


def _loop(chain: Chain, floor: int) -> Row:
    """Withdraw, swap, repay, until the target is met."""
    plain = Plain(Holder(chain, 1).borrow_to(), "WETH", "USDC")
    holder, weth, usdc = plain.holder, chain.token("WETH"), chain.token("USDC")
    threshold = ASSET_BY_SYMBOL["WETH"].liquidation_threshold
    while holder.health < TARGET * 9997 // 10_000 and len(plain.gas) < 200:
        collateral, debt, *_ = chain.account_data(holder.address)
        most = collateral - debt * 10_000 * floor // (threshold * 1_000)
        last = (TARGET * debt - collateral * threshold * WAD // 10_000) * 1_000
        last = last // (TARGET * 998 // 1_000 - threshold * WAD // 10_000) // 1_000
        plain.pool(WITHDRAW, weth.address, min(most, last) * weth.unit // chain.price("WETH"), holder.address)
        plain.pool(REPAY, usdc.address, plain.swap("WETH", "USDC", 500), 2, holder.address)
    return plain.row(f"loop, floor {floor / 1_000:.3f}")


def _rounds(chain: Chain) -> Row:
    """The rounds as the engine plans them, each from what the chain says once the one before is mined."""
    holder, network = Holder(chain, 1).borrow_to(), network_of(chain)
    aave, (quoter,), swapper = selling_adapter(chain), make_quoters(network), make_swapper(network)
    step = Step(ActionKind.DELEVERAGE, "USDC", None, "WETH", 200, rounds=RoundsUse.ALWAYS)
    trigger = health_below(125 * WAD // 100)
    rule = Rule("bench", "*", Mode.AUTO, trigger, 1, restore(TARGET), (step,), Limits(), "digest")
    before, gas, lowest, done = Beginning(holder), list[int](), holder.health, 0
    while holder.health < TARGET:
        position, block = read_one(chain, holder.address, aave), head(chain)
        pays = _wallet(chain, holder, aave, position)
        left = tuple((token, held.balance) for token, held in pays.tokens.items() if held.balance)
        so_far = RoundsSoFar(0, rounds=done, left=left) if done else None
        around = circumstances(swapper=swapper, so_far=so_far)
        wanted = wanted_sales(rule, aave, position, pays, around)
        terms = [read_terms(chain, aave, position, one.collateral, one.debt) for one in wanted]
        quotes = [
            [
                quoter.decode(asked, [eth_call(chain, block, call) for call in quoter.calls(asked)])
                for asked in one.requests
            ]
            for one in wanted
        ]
        fall = run_waterfall(rule, aave, position, pays, replace(around, offers=offers_of(wanted, terms, quotes)))
        assert fall.steps, fall.skipped
        lowest = min(lowest, UINT256_MAX if fall.rounds is None else fall.rounds.lowest)
        made = carry_out(holder, calls_of(aave, fall, pays))
        assert all(one.ok for one in made)
        gas, done = [*gas, *(one.gas for one in made)], done + 1
    return before.row(f"rounds, {done} of them", *gas, lowest=lowest)


def _wallet(chain: Chain, holder: Holder, aave: AaveV3Market, position: Position) -> Wallet:
    """What the holder has of both tokens, with what pool and router may take."""
    tokens = [asset(aave, position, symbol) for symbol in ("WETH", "USDC")]
    spenders = chain.market.pool.lower(), chain.market.router02.lower()
    both = [wallet(chain, holder.address, spender, tokens) for spender in spenders]
    merged = {
        token: replace(held, allowances={**held.allowances, **both[1].tokens[token].allowances})
        for token, held in both[0].tokens.items()
    }
    return replace(both[0], tokens=merged)


def _switch_collateral_loop(holder: Holder) -> Row:
    """Withdraw down to health 1.01, swap, supply, until three quarters of the WETH are WBTC."""
    chain, plain = holder.chain, Plain(holder, "WETH", "WBTC")
    weth, wbtc = chain.token("WETH"), chain.token("WBTC")
    threshold, rest = ASSET_BY_SYMBOL["WETH"].liquidation_threshold, holder.supplied() * 3 // 4
    while rest > 0 and len(plain.gas) < 200:
        collateral, debt, _, average, _, _ = chain.account_data(holder.address)
        most = (collateral * average - debt * 10_000 * 101 // 100) // threshold * weth.unit // chain.price("WETH")
        amount = min(rest, most)
        plain.pool(WITHDRAW, weth.address, amount, holder.address)
        plain.pool(SUPPLY, wbtc.address, plain.swap("WETH", "WBTC", 500), holder.address, 0)
        rest -= amount
    return plain.row("loop, floor 1.010")


def _switch_debt_loop(holder: Holder) -> Row:
    """Borrow all that the loan-to-value leaves, swap, repay, until no USDC is owed."""
    chain, plain = holder.chain, Plain(holder, "USDC", "DAI")
    usdc, dai = chain.token("USDC"), chain.token("DAI")
    while (owed := holder.owed("USDC")) > 0 and len(plain.gas) < 200:
        most = chain.account_data(holder.address)[2] * dai.unit // chain.price("DAI") * 999 // 1_000
        last = owed * 1_010 // 1_000 * dai.unit // usdc.unit
        plain.pool(BORROW, dai.address, min(most, last), 2, 0, holder.address)
        bought = plain.swap("DAI", "USDC", 100)
        plain.pool(REPAY, usdc.address, MAX_UINT256 if bought > owed else bought, 2, holder.address)
    return plain.row("loop to the LTV")


def _boost_loop(holder: Holder) -> Row:
    """Borrow all that the loan-to-value leaves, swap, supply, until as much is supplied as the boost supplies."""
    chain, plain = holder.chain, Plain(holder, "USDC", "WETH")
    usdc, weth, rest = chain.token("USDC"), chain.token("WETH"), _boosted(holder)
    while rest > 0 and len(plain.gas) < 200:
        most = chain.account_data(holder.address)[2] * usdc.unit // chain.price("USDC") * 999 // 1_000
        last = rest * chain.price("WETH") * 1_005 // 1_000 * usdc.unit // weth.unit // chain.price("USDC")
        plain.pool(BORROW, usdc.address, min(most, last), 2, 0, holder.address)
        bought = plain.swap("USDC", "WETH", 500)
        plain.pool(SUPPLY, weth.address, bought, holder.address, 0)
        rest -= bought
    return plain.row("loop to the LTV")


def _boosted(holder: Holder) -> int:
    return holder.supplied() * 9 // 10


def _to_wbtc(holder: Holder) -> Move:
    amount = holder.supplied() * 3 // 4 * holder.chain.price("WETH") // holder.chain.price("WBTC") // 10**10
    return move(COLLATERAL, holder, "WBTC", amount * 998 // 1_000)


def _to_dai(holder: Holder) -> Move:
    return move(DEBT, holder, "DAI", ALL_OF_IT)


def _more_weth(holder: Holder) -> Move:
    return move(BOOST, holder, "USDC", _boosted(holder))


@dataclass(frozen=True)
class Case:
    """A move from a health (hundredths), and the loop that does the same."""

    title: str
    health: int
    make: Callable[[Holder], Move]
    loop: Callable[[Holder], Row]


CASES = (
    Case(
        "switch-collateral: three quarters of the WETH into WBTC, health 1.40", 140, _to_wbtc, _switch_collateral_loop
    ),
    Case("switch-debt: all USDC into DAI, health 1.20", 120, _to_dai, _switch_debt_loop),
    Case("boost: nine tenths more WETH, health 2.00 down to 1.20", 200, _more_weth, _boost_loop),
)


def _moved(chain: Chain, helper: Helper, case: Case) -> list[Row]:
    """One move all ways, each from the same state."""
    rows: list[Row] = []
    base = chain.snapshot()

    def let(holder: Holder) -> Row:
        asked, before = case.make(holder), Beginning(holder)
        approval, done = asked.let(helper), asked.run(helper)
        assert done.ok, done.reason
        return before.row("helper, let before", approval.gas, done.gas)

    def signed(holder: Holder) -> Row:
        asked, before = case.make(holder), Beginning(holder)
        done = transact(chain, holder.address, helper.address, asked.signed(helper), gas=GAS)
        assert done.ok, done.reason
        return before.row("helper, signature", done.gas)

    def delegated(holder: Holder) -> Row:
        asked, before = case.make(holder), Beginning(holder)
        done = holder.delegated(helper.address, asked.data, gas=GAS)
        assert done.ok, done.reason
        return before.row("delegated in it", done.gas)

    def own(holder: Holder) -> Row:
        assert holder.delegated(helper.address).ok
        asked, before = case.make(holder), Beginning(holder)
        done = holder.signed(asked.data, gas=GAS)
        assert done.ok, done.reason
        return before.row("delegated before", done.gas)

    for way in (let, signed, delegated, own, case.loop):
        rows.append(way(Holder(chain, 30).borrow_to(case.health * WAD // 100)))
        chain.revert(base)
        base = chain.snapshot()
    return rows


def _measure(chain: Chain, helper: Helper) -> list[Row]:
    """A deleverage all ways, each from the same state: what one sells moves the price for the next."""
    ways: list[Callable[[], Row]] = [
        partial(way, chain, helper) for way in (_approved, _permitted, _delegated_in_it, _delegated_before)
    ]
    ways += [partial(_rounds, chain), *(partial(_loop, chain, floor) for floor in FLOORS)]
    rows, base = [], chain.snapshot()
    for way in ways:
        rows.append(way())
        chain.revert(base)
        base = chain.snapshot()
    return rows


def _print(title: str, rows: list[Row]) -> None:
    least, least_lost = min(row.gas for row in rows), max(min(row.lost for row in rows), 1)
    print(title)
    print("way                 transactions        gas   ratio    lost $   ratio   reached    lowest")
    for row in rows:
        print(
            f"{row.way:20}{row.transactions:12}{row.gas:11,}{row.gas / least:8.2f}"
            f"{row.lost / USD:10.2f}{row.lost / least_lost:8.2f}{row.reached / WAD:10.4f}{row.lowest / WAD:10.4f}"
        )


def main() -> int:
    """Print the tables for each version of the market."""
    cache = platformdirs.user_cache_path("trimtab") / "practice"
    program = find_program(NodeKind.ANVIL, cache)
    folders = fetch((CONTRACTS, AAVE_V30), cache)
    for version in AaveVersion:
        node, market = start_market(program, version, folders, cache)
        try:
            chain = Chain(node, market)
            helper = deploy(chain)
            base = chain.snapshot()
            tables = [("deleverage: health 1.05 to 1.50", _measure(chain, helper))]
            for case in CASES:
                chain.revert(base)
                base = chain.snapshot()
                tables.append((case.title, _moved(chain, helper, case)))
        finally:
            node.stop()
        for title, rows in tables:
            _print(f"Aave {version.value}, {title}", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
