"""`trimtab run` killed with kill -9 within a round of a deleverage and between two: the rounds go on to their target.

Nothing is known of them but what the journal and the chain say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.fault_rig import World
from tests.support.mortal import Mortal, Point, journal_point, open_mortal, signer_point
from tests.support.on_exchange import SELL, TARGET, USD_AT_105
from tests.support.positions import follow

pytestmark = [pytest.mark.node, pytest.mark.timeout(300), pytest.mark.usefixtures("warm_programs", "without_helper")]

BLOCKS = 150
USD_AT_113 = "2450"
"""From a health of 1.13 four rounds lead to the target, from 1.05 nine: one of the kills is met on the long way."""


Open = Callable[[], Awaitable[Mortal]]


@pytest.fixture
async def mortal(world: World, tmp_path: Path) -> AsyncIterator[Open]:
    """A position at 1.05, and an exchange for its rounds."""
    async with AsyncExitStack() as stack:

        async def make() -> Mortal:
            one = await open_mortal(stack, world, tmp_path, steps=SELL.format("2%"))
            market = world.chain.market
            network = one.folder / "network.toml"
            head, brackets, tables = network.read_text().partition("[[market]]")
            swap = (
                f'[[swap]]\nkind = "uniswap-v3"\nfactory = "{market.uniswap_factory}"\n'
                f'quoter_v2 = "{market.quoter_v2}"\nrouter02 = "{market.router02}"\n\n'
            )
            network.write_text(f"{head}{swap}{brackets}{tables}")
            return one

        yield make


POINTS = {
    "before its latch": journal_point("open_firing"),
    "latched": journal_point("open_firing", late=True),
    "latched, the third of them": journal_point("open_firing", 3, late=True),
    "half signed": signer_point(2, late=True),
    "half signed, the second of them": signer_point(6),
    "half sent": journal_point("record_answer", 2, late=True),
    "half sent, the third of them": journal_point("record_answer", 10),
    "about to be booked": Point("tui.engine.rulebook", "RuleBook", "between_rounds"),
    "booked, before the next": Point("tui.engine.rulebook", "RuleBook", "between_rounds", 2, late=True),
}


@pytest.mark.parametrize("name", POINTS)
async def test_rounds_outlive_a_kill(mortal: Open, name: str) -> None:
    one = await mortal()
    chain, account = one.chain, one.world.account
    held = {symbol: chain.balance(symbol, account) for symbol in ("WETH", "USDC")}
    async with one.life(POINTS[name].prelude()) as program:
        chain.set_price("WETH", USD_AT_105 if name == "half sent, the third of them" else USD_AT_113)
        follow(chain)
        for _ in range(BLOCKS):
            if not await one.seen(program):
                break
    assert chain.health_factor(account) < TARGET, "it was killed before its end"
    async with one.life() as program:
        for _ in range(BLOCKS):
            if chain.health_factor(account) >= TARGET and one.ended():
                break
            assert await one.seen(program), program.text
        assert await program.stop() == 0
    assert TARGET <= chain.health_factor(account) <= TARGET * 1_001 // 1_000
    assert chain.balance("WETH", account) == held["WETH"]
    assert held["USDC"] <= chain.balance("USDC", account) < held["USDC"] + 30 * 10**6
    for symbol in ("WETH", "USDC"):
        for spender in (chain.market.pool, chain.market.router02):
            left = chain.call(chain.token(symbol).address, "allowance(address,address)", ["uint256"], account, spender)
            assert left == 0
    one.check()
