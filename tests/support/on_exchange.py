"""Defences that trade: an armed engine whose network names the exchange, health that falls to 1.05 in one block, and
what a test asks of both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.contracts.test_deleverage import check_nothing_left
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, the_helper
from tests.support.fault_rig import FaultRig, World, open_rig
from tests.support.positions import PPM, follow, network_of
from tui.headless.watch_commands import evaluate
from tui.journal.reading import read_journal
from tui.model.plan import Evaluation, Plan

TARGET = 15 * WAD // 10
USD_AT_105 = Decimal("2277.11")
"""The price of WETH at which the position's health is 1.05."""
SELL = '[[rule.step]]\naction = "deleverage"\ncollateral = "WETH"\ndebt = "USDC"\nmax_slippage = "{}"\n'
SWAP = '[[rule.step]]\naction = "repay"\nasset = "USDC"\nswap_from = "WETH"\nmax_slippage = "{}"\n'

REVERTS = "0xfe"
"""Code that reverts whatever it is asked."""

Open = Callable[..., Awaitable[FaultRig]]
"""Opens an armed engine; the fixture of the name tells what it takes."""


def exchange_of(chain: Chain) -> dict[str, Any]:
    """What the practice chain's network file says of its exchange and helper, as options of `open_rig`."""
    network = network_of(chain)
    return {"swaps": network.swaps, "wrapped_native": network.wrapped_native, "helpers": network.helpers}


async def open_armed(stack: AsyncExitStack, world: World, directory: Path, steps: str, **options: Any) -> FaultRig:
    """An engine armed with a rule of these steps; closed with `stack`, the chain put back. Options: see `open_rig`."""
    rig = await open_rig(stack, world, directory, steps=steps, **{**exchange_of(world.chain), **options})
    await rig.arm()
    return rig


def usually(opens: Open, usual: str, **always: Any) -> Open:
    """The same with steps that need not be said, and options that are always given."""

    async def make(steps: str = usual, **options: Any) -> FaultRig:
        return await opens(steps, **{**always, **options})

    return make


async def fall(rig: FaultRig, below: int = 0, *, usd: Decimal = USD_AT_105, broken: str | None = None) -> None:
    """The oracle falls, the pools `below` it by so many parts in a million, a contract of the exchange breaks, and the
    engine sees it.
    """
    rig.chain.set_price("WETH", usd)
    follow(rig.chain, {"WETH": PPM - below})
    if broken is not None:
        rig.chain.rpc("anvil_setCode", broken, REVERTS)
    rig.clock.advance(2)
    await rig.head()


def close_instead(rig: FaultRig, part: str, when: str) -> None:
    """The rule closes a part of the debt, `when` this is so, in place of restoring health."""
    text = rig.rules.read_text().replace('{ health_factor_below = "1.25", for_blocks = 1 }', f"{{ {when} }}")
    rig.rules.write_text(text.replace('{ health_factor = "1.50" }', f'{{ close = "{part}" }}'))


def mine_in_moved_pools(chain: Chain, raws: Iterable[bytes], moved: dict[str, int]) -> None:
    """What was sent is mined while pools are off (parts in a million of the price, by symbol); then they are well."""
    chain.rpc("anvil_dropAllTransactions")
    follow(chain, moved)
    chain.send_raw(raws)
    chain.mine()
    follow(chain)


def resend(rig: FaultRig) -> None:
    """What was signed for the newest firing is sent once more, with the engine knowing nothing of it."""
    rig.chain.send_raw(intent.attempts[-1].raw for intent in rig.firing.intents)


def pools_fall_first(rig: FaultRig, below: int) -> None:
    """The pools fall `below` the oracle before the newest firing's transactions are mined, which still wait."""
    rig.chain.rpc("anvil_dropAllTransactions")
    follow(rig.chain, {"WETH": PPM - below})
    resend(rig)


# --- what came of it -------------------------------------------------------------------------------------------------


def evaluation_of(rig: FaultRig) -> Evaluation:
    """What came of the rule at the last block."""
    (evaluation,) = [one for one in rig.wired.engine.defender.evaluations.values() if one.rule == "guard"]
    return evaluation


async def looked_at(rig: FaultRig) -> Evaluation:
    """What `trimtab plan` finds at the newest block, with what is on record."""
    engine = rig.wired.engine
    assert engine.snapshot is not None
    assert engine.fees is not None
    record = read_journal(rig.wired.paths.state)
    try:
        (rule,), position = engine.book.rules, engine.snapshot.positions[0]
        return await evaluate(replace(rig.wired, record=record), rule, position, engine.snapshot, engine.fees)
    finally:
        record.close()


def plan_of(rig: FaultRig) -> Plan:
    """What the rule made of the last block."""
    evaluation = evaluation_of(rig)
    assert evaluation.plan is not None, evaluation.refused
    return evaluation.plan


def refusal_of(rig: FaultRig) -> str:
    """Why the rule made nothing of the last block."""
    evaluation = evaluation_of(rig)
    assert evaluation.refused is not None, evaluation.plan
    return evaluation.refused.reason


# --- what the chain holds --------------------------------------------------------------------------------------------


def health(rig: FaultRig) -> int:
    return rig.chain.health_factor(rig.account)


def on_target(rig: FaultRig, target: int = TARGET) -> None:
    """Health is what was asked for, by the contract, and no more than that."""
    assert target <= health(rig) <= target * 1_001 // 1_000, health(rig)


def wallet(rig: FaultRig, account: str | None = None) -> dict[str, int]:
    """What an account has of each token of the market: the position's own, unless it is said."""
    return {symbol: rig.chain.balance(symbol, account or rig.account) for symbol in rig.chain.market.tokens}


def allowed(rig: FaultRig, account: str | None = None) -> dict[tuple[str, str], int]:
    """What pool and router may still take of an account: the position's own, unless it is said."""
    chain, owner = rig.chain, account or rig.account
    return {
        (symbol, spender): amount
        for symbol, token in chain.market.tokens.items()
        for spender in (chain.market.pool, chain.market.router02)
        if (amount := chain.call(token.address, "allowance(address,address)", ["uint256"], owner, spender))
    }


def nothing_left(rig: FaultRig) -> None:
    """The helper holds nothing, and may take nothing of the account."""
    holder = Holder.__new__(Holder)
    holder.address = rig.account
    check_nothing_left(rig.chain, the_helper(rig.chain), holder)
