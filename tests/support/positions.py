"""Seeded positions worth defending, each with a key, opened for real; pools moved along with prices, or against them.

Plans are made as the engine makes them: its watch reads a block, its prospect sizes, asks and simulates.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tests.support.chain import Chain
from tests.support.clock import FakeClock
from tests.support.deleverage import WAD, Holder
from tui.config.paths import resolve_paths
from tui.engine.watch import without_permits
from tui.model.network import MarketConfig, Network, SwapConfig
from tui.model.plan import Plan, Refusal
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.units import format_units
from tui.practice.abi import calldata, decode_words
from tui.practice.accounts import ARBITRAGEUR, OWNER
from tui.practice.actors import arbitrage_moves
from tui.practice.tokens import ASSET_BY_SYMBOL, FEED_UNIT
from tui.rules.load import parse_rules
from tui.wiring import Wired, assemble

PPM = 1_000_000
VOLATILE = ("WETH", "wstETH", "WBTC")
STABLE = ("USDC", "DAI", "USDT")
E_MODES = {("wstETH", "WETH"): 1, ("WETH", "wstETH"): 1, ("DAI", "USDC"): 2, ("USDT", "DAI"): 2, ("USDC", "USDT"): 2}


# --- the exchange --------------------------------------------------------------------------------------------------


def follow(chain: Chain, factors: Mapping[str, int] | None = None) -> None:
    """Bring every pool to the oracle's prices, those of some symbols times a factor (parts in a million)."""
    market = chain.market
    answers = {one: chain.price(one) * (factors or {}).get(one, PPM) // PPM for one in market.tokens}
    prices = {
        pool.address: decode_words(
            ["uint160"], chain.rpc("eth_call", {"to": pool.address, "data": calldata("slot0()")}, "latest")[:66]
        )[0]
        for pool in market.pools
    }
    chain.rpc("anvil_impersonateAccount", ARBITRAGEUR)
    chain.rpc("evm_setAutomine", False)
    moves = arbitrage_moves(market, answers, prices)
    sent = [
        chain.rpc("eth_sendTransaction", {"from": move.sender, "to": move.to, "data": move.data, "gas": hex(move.gas)})
        for move in moves
    ]
    if sent:
        chain.rpc("evm_mine")
    chain.rpc("evm_setAutomine", chain.automine)
    for move, one in zip(moves, sent, strict=True):
        assert chain.rpc("eth_getTransactionReceipt", one)["status"] == "0x1", move.what


def set_price(chain: Chain, symbol: str, answer: int) -> None:
    """Have the feed publish an answer, and the pools follow."""
    chain.set_answer(symbol, answer)
    follow(chain)


# --- positions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """What a position is made of: its main collateral and debt, what is supplied and owed beside them."""

    collateral: str
    debt: str
    beside: tuple[str, ...] = ()
    owed: tuple[str, ...] = ()
    e_mode: int = 0


def shape_of(rng: random.Random, *, same: bool = False) -> Shape:
    """Some shape; with `same` a stablecoin that is supplied and owed at once."""
    if rng.random() < 0.25 and not same:
        (collateral, debt), e_mode = rng.choice(sorted(E_MODES.items()))
        return Shape(collateral, debt, e_mode=e_mode)
    collateral = rng.choice(VOLATILE)
    debt = rng.choice([one for one in (*STABLE, *STABLE, "WETH", "WBTC") if one != collateral])
    if same:
        debt = rng.choice(STABLE)
    others = [one for one in (*VOLATILE, "USDC", "DAI") if one not in (collateral, debt)]
    beside = tuple(rng.sample(others, rng.choice((0, 0, 1, 2))))
    owed = tuple(one for one in rng.sample(STABLE, rng.choice((0, 1))) if one not in (debt, *beside))
    return Shape(collateral, debt, (*beside, debt) if same else beside, owed)


def opened(chain: Chain, rng: random.Random, number: int, shape: Shape) -> Holder:
    """A position of this shape with health between 1.02 and 1.3 and some interest on it; its wallet is empty."""
    holder = Holder(chain, number, shape.collateral, shape.debt, rng.randint(2_000, 300_000))
    account = holder.address
    if shape.e_mode:
        chain.set_emode(account, shape.e_mode)
    size = chain.account_data(account)[0]
    for symbol in shape.beside:
        share = rng.randint(30, 70) if symbol == shape.debt else rng.randint(2, 40)
        chain.supply(account, symbol, size * share // 100 * chain.token(symbol).unit // chain.price(symbol))
    for symbol, share in (
        *((one, rng.uniform(0.05, 0.4)) for one in shape.owed),
        (shape.debt, rng.uniform(0.8, 0.995)),
    ):
        available = chain.account_data(account)[2]
        amount = int(available * share) * chain.token(symbol).unit // chain.price(symbol)
        chain.borrow(account, symbol, amount)
        chain.send(account, chain.token(symbol).address, "transfer(address,uint256)", OWNER, amount)
    _bring_to(chain, holder, rng.randint(102, 125) * WAD // 100)
    chain.advance(rng.randint(60, 40_000))
    return holder


def _bring_to(chain: Chain, holder: Holder, health: int) -> None:
    """Move the collateral's price until health is about `health`, where it depends on that price and falls with it."""
    symbol, first = holder.collateral, holder.health
    if symbol in STABLE or first <= health:
        return
    price = chain.price(symbol)
    chain.set_answer(symbol, price * 99 // 100)
    drop = first - holder.health
    wanted = price - price * (first - health) // (100 * drop) if drop > 0 else 0
    # Health is all but linear in it; what would have to fall by more than half stays as it is.
    set_price(chain, symbol, wanted if 2 * wanted > price else price)


def wallet_with(chain: Chain, holder: Holder, symbol: str, dollars: int) -> None:
    """So much of a token in the wallet."""
    chain.give(symbol, dollars * FEED_UNIT * ASSET_BY_SYMBOL[symbol].unit // chain.price(symbol), holder.address)


# --- the engine's own path -----------------------------------------------------------------------------------------


def network_of(chain: Chain) -> Network:
    """The practice chain with its exchange and its helper, as its network file names them."""
    market = chain.market
    swap: dict[str, object] = {
        "factory": market.uniswap_factory,
        "quoter_v2": market.quoter_v2,
        "router02": market.router02,
        "bases": [chain.token("USDC").address],
    }
    return Network(
        name="practice",
        chain_id=market.chain_id,
        block_time=2.0,
        confirmations=2,
        rpc=(chain.url,),
        wrapped_native=market.wrapped_native.lower(),
        native_usd_feed=chain.token("WETH").feed.lower(),
        markets=(MarketConfig("aave-v3", "core", {"pool_addresses_provider": market.provider.lower()}),),
        swaps=(SwapConfig("uniswap-v3", swap),),
        helpers={"deleverage": market.helper.lower()},
    )


def rule_of(
    steps: str, target: int, order: str = "written", limits: str = "", *, when: str = 'health_factor_below = "1.01"'
) -> Rule:
    """A rule as it is written in a file; `steps` and `limits` are its lines, `when` its trigger."""
    text = (
        '[[rule]]\nname = "guard"\nposition = "aave-v3/core"\nmode = "auto"\n'
        f'when = {{ {when} }}\ntarget = {{ health_factor = "{format_units(target, 18, 6)}" }}\n'
        f'order = "{order}"\n{steps}\n[rule.limits]\n{limits}'
    )
    rules = parse_rules(text, "rules.toml")
    assert len(rules.rules) == 1, [str(fault) for fault in rules.faults]
    return rules.rules[0]


def step(action: str, maximum: Decimal | None = None, **keys: str) -> str:
    """One `[[rule.step]]`."""
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    if maximum is not None:
        lines.append(f'max = "{maximum}"')
    return "\n".join(["[[rule.step]]", f'action = "{action}"', *lines, ""])


class Planner:
    """An engine that only looks: positions as it reads them, plans as it makes and simulates them."""

    def __init__(self, chain: Chain, wired: Wired) -> None:
        self.chain, self.wired = chain, wired

    async def plan(self, holder: Holder, rule: Rule, *, permits: bool = True) -> tuple[Position, Plan | Refusal]:
        """What `rule` would do at the head. Without `permits`: as where chain time and the clock are far apart."""
        watch, ports = self.wired.engine.watch, self.wired.engine.ports
        watch.accounts = (holder.address.lower(),)
        watch.defend(watch.accounts)
        block = await ports.reader.block_by_number(self.chain.block_number())
        assert block is not None
        snapshot = await watch.snapshot(block)
        if not permits:
            snapshot = without_permits(snapshot, 0)
        (position,) = snapshot.positions
        assert position.unknown is None
        fees = await ports.fees.quote(block)
        return position, await self.wired.engine.prospect.simulated_plan(rule, position, snapshot, fees)


@asynccontextmanager
async def planner(chain: Chain, directory: Path, network: Network | None = None) -> AsyncIterator[Planner]:
    """A planner on a chain, by `network_of` it unless it is said; its files are in `directory`."""
    wired = assemble(
        network or network_of(chain),
        resolve_paths(directory / "config", directory / "state"),
        accounts=["0x" + "11" * 20],
        rules_files=[],
        keystores={},
        signing=False,
        clock=FakeClock(),
    )
    try:
        yield Planner(chain, wired)
    finally:
        await wired.aclose()
