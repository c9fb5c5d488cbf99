"""`trimtab run` killed with kill -9 while it closes all of a debt in rounds: it is closed all the same, and no more is
done after that.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.test_crashed_rounds import BLOCKS, Open, mortal
from tests.support.mortal import Point, journal_point, signer_point
from tests.support.positions import follow

pytestmark = [pytest.mark.node, pytest.mark.timeout(300), pytest.mark.usefixtures("warm_programs", "without_helper")]

__all__ = ["mortal"]  # the fixture: a position, and an exchange for its rounds

POINTS = {
    "half signed, the second of them": signer_point(6),
    "half sent, the last but one of the first": journal_point("record_answer", 3),
    "about to be booked": Point("tui.engine.rulebook", "RuleBook", "between_rounds"),
}


def stops(rules: Path) -> None:
    """Make the rule of the rig a stop at 2,700 that closes everything."""
    text = rules.read_text().replace('{ health_factor_below = "1.25", for_blocks = 1 }',
                                     '{ price_of = "WETH", below = "2700" }')  # fmt: skip
    rules.write_text(text.replace('{ health_factor = "1.50" }', '{ close = "100%" }'))


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
async def test_a_stop_loss_in_rounds_outlives_a_kill(mortal: Open, point: Point) -> None:
    one = await mortal()
    stops(one.folder / "rules.toml")
    chain, account = one.chain, one.world.account
    held = {symbol: chain.balance(symbol, account) for symbol in ("WETH", "USDC")}

    def owed() -> int:
        return chain.call(chain.token("USDC").v_token, "balanceOf(address)", ["uint256"], account)

    async with one.life(point.prelude()) as program:
        chain.set_price("WETH", "2600")
        follow(chain)
        for _ in range(BLOCKS):
            if not await one.seen(program):
                break
    assert owed(), "it was killed before its end"
    async with one.life() as program:
        for _ in range(BLOCKS):
            if not owed() and one.ended():
                break
            assert await one.seen(program), program.text
        count = len(one.firings())
        for _ in range(4):
            assert await one.seen(program)
        assert len(one.firings()) == count
        assert await program.stop() == 0
    assert owed() == 0
    assert chain.balance("WETH", account) == held["WETH"]
    assert held["USDC"] <= chain.balance("USDC", account) < held["USDC"] + 40 * 10**6
    for symbol in ("WETH", "USDC"):
        for spender in (chain.market.pool, chain.market.router02):
            left = chain.call(chain.token(symbol).address, "allowance(address,address)", ["uint256"], account, spender)
            assert left == 0
    one.check()
