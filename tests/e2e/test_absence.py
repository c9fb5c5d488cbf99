"""What befell a position while nothing ran is told at the next start, though its health shows nothing of it now."""

from __future__ import annotations

from decimal import Decimal

from tests.e2e.conftest import MakeRig, Rig
from tui.model.view import Severity


def told(rig: Rig) -> list[str]:
    """What the journal has of liquidations."""
    assert rig.wired.journal is not None
    return [one.text for one in rig.wired.journal.decisions(200) if one.kind == "liquidated"]


def liquidate(rig: Rig) -> int:
    """The price falls, somebody takes some of the position, the price rises again. The block of it."""
    rig.chain.set_price("WETH", Decimal("2150"))
    liquidator = rig.chain.new_account()
    rig.chain.give("USDC", rig.chain.units("USDC", 20_000), liquidator)
    rig.chain.approve(liquidator, "USDC", rig.chain.market.pool)
    rig.chain.send(
        liquidator, rig.chain.market.pool, "liquidationCall(address,address,address,uint256,bool)",
        rig.chain.token("WETH").address, rig.chain.token("USDC").address, rig.trader.address,
        rig.chain.units("USDC", 4_000), False,
    )  # fmt: skip
    block = rig.chain.block_number()
    rig.chain.set_price("WETH", Decimal("3500"))
    rig.chain.mine()
    return block


async def restarted(make_rig: MakeRig, rig: Rig) -> Rig:
    await rig.wired.aclose()
    return await make_rig()


async def looked(rig: Rig) -> None:
    await rig.mine(1)
    await rig.wired.engine.absence.looked()


async def test_a_liquidation_while_nothing_ran_is_told_once_at_the_next_start(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.mine(1)
    await rig.wired.aclose()
    block = liquidate(rig)

    rig = await make_rig()
    await looked(rig)
    (text,) = told(rig)
    assert f"LIQUIDATED while nothing watched, in block {block} (20" in text
    assert "WETH taken for 4,000.0000 USDC of debt" in text
    assert rig.health(rig.trader.address) > 15 * 10**17, "its health shows nothing of it"
    shown = [one for one in rig.wired.engine.view.activity if "LIQUIDATED" in one.text]
    assert [one.severity for one in shown] == [Severity.ALARM]

    rig = await restarted(make_rig, rig)
    await looked(rig)
    assert len(told(rig)) == 1


async def test_nothing_is_told_where_nothing_happened(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.mine(1)
    await rig.wired.aclose()
    rig.chain.set_price("WETH", Decimal("3400"))
    rig.chain.mine()
    rig = await make_rig()
    await looked(rig)
    assert told(rig) == []


async def test_a_liquidation_told_while_it_watched_is_not_told_again(make_rig: MakeRig) -> None:
    rig = await make_rig()
    await rig.mine(1)
    liquidate(rig)
    await rig.head()
    await rig.wired.engine.absence.looked()
    assert len(told(rig)) == 1, "though the price fell and rose between two readings"
    await looked(rig)
    rig = await restarted(make_rig, rig)
    await looked(rig)
    assert len(told(rig)) == 1
