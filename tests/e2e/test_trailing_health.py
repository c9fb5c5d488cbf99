"""A stop that trails health, on real contracts: the best outlives a restart, and what is done to the position counts.

10 WETH at a threshold of 83% back 18,000 USDC: health is 1.383 at 3,000 dollars.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.e2e.conftest import MakeRig, Rig
from tests.e2e.test_profit_on_health import owed, rise, text_of
from tests.support.strange import assert_held_back, assert_nothing_signed, rule_of
from tui.headless.watch_commands import evaluate
from tui.model.intent import FiringState
from tui.model.position import Held
from tui.model.units import WAD
from tui.rules.prices import lessened

pytestmark = [pytest.mark.node]

TEXT = text_of(when='health_factor_trailing = "10%"')


async def at(rig: Rig, usd: str, blocks: int = 3) -> None:
    """The price of ether, for so many blocks."""
    rise(rig, usd)
    await rig.mine(blocks)


def level_of(rig: Rig) -> int:
    """The health (wad) under which it fires now."""
    mine = [one for one in rig.wired.engine.view.positions if one.position.key.account == rig.trader.address.lower()]
    (one,) = [one for shown in mine for one in shown.trigger_prices]
    assert one.health_factor is not None
    return one.health_factor


def near(one: int, thousandths: int) -> bool:
    return abs(one - thousandths * WAD // 1_000) < 2 * WAD // 1_000


async def test_it_fires_under_a_best_that_it_remembers_over_a_restart(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=TEXT)
    before = owed(rig)
    await rig.arm()
    assert near(level_of(rig), 1_245)
    await at(rig, "3600")
    assert near(level_of(rig), 1_494)
    await rig.wired.aclose()

    again = await make_rig(rules_text=TEXT)
    await again.arm()
    assert near(level_of(again), 1_494), "what it trails was forgotten"
    following = again.wired.engine.view.next_fire
    assert following is not None
    assert abs(following.price_usd - 324_000_000_000) < 10**9
    await at(again, "3300", 4)
    assert_nothing_signed(again)
    await at(again, "3200", 6)
    (firing,) = again.firings()
    assert firing.state is FiringState.DONE, firing.reason
    # Above where it was armed: on its own memory of the rise alone.
    assert (firing.health_factor_before or 0) > 14 * WAD // 10
    assert abs(2 * owed(again) - before) * 100_000 < before
    assert "(10% under the best seen, 1.6" in "".join(entry.text for entry in again.wired.engine.view.activity)
    await at(again, "2000", 6)
    assert len(again.firings()) == 1, "it fires once"
    assert "disarm it and arm it again" in rule_of(again).detail


async def test_what_the_owner_borrows_or_takes_out_is_no_fall(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=TEXT)
    await rig.arm()
    await at(rig, "3600")
    rig.chain.borrow(rig.trader.address, "USDC", rig.chain.units("USDC", 4_000))
    await rig.mine(5)
    assert near(rig.health(rig.trader.address), 1_358)
    assert_nothing_signed(rig)
    assert near(level_of(rig), 1_222)
    await rig.wired.aclose()
    rig.chain.withdraw(rig.trader.address, "WETH", rig.chain.units("WETH", 1) * 12 // 10)

    again = await make_rig(rules_text=TEXT)
    await again.arm()
    await again.mine(5)
    assert near(again.health(again.trader.address), 1_195), "under the level that it had"
    assert_nothing_signed(again)
    assert near(level_of(again), 1_075)
    await at(again, "3200", 6)
    (firing,) = again.firings()
    assert firing.state is FiringState.DONE, firing.reason


async def test_who_pays_a_little_for_it_at_each_block_keeps_it_from_nothing(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=TEXT)
    chain, stranger = rig.chain, rig.twin
    await rig.arm()
    await at(rig, "3600")
    chain.give("WETH", chain.units("WETH", 1), stranger)
    chain.send(stranger, chain.token("WETH").address, "approve(address,uint256)", chain.market.pool, 10**18)
    for usd in ("3500", "3400", "3300", "3200", "3200", "3200", "3200"):
        rise(rig, usd)
        chain.send(stranger, chain.market.pool, "supply(address,uint256,address,uint16)", chain.token("WETH").address,
                   10**12, rig.trader.address, 0)  # fmt: skip
        await rig.mine(1)
    await rig.mine(3)
    (firing,) = rig.firings()
    assert firing.state is FiringState.DONE, firing.reason


async def test_a_repayment_raises_the_best_with_health(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=TEXT)
    await rig.arm()
    rig.chain.repay(rig.trader.address, "USDC", rig.chain.units("USDC", 3_000))
    await rig.mine(4)
    assert near(rig.health(rig.trader.address), 1_660)
    assert near(level_of(rig), 1_494)
    assert_nothing_signed(rig)


async def test_a_price_in_doubt_moves_no_best_and_sets_nothing_off(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=TEXT, limits='stale_price = "act"\n', heartbeat=3_600)
    await rig.arm()
    await rig.mine(3)
    rig.chain.advance(2 * 3_600)
    rise(rig, "3600")  # the collateral's feed speaks, that of the debt stays silent
    await rig.mine(4)
    assert near(level_of(rig), 1_245)
    rise(rig, "2600")
    await rig.mine(4)
    assert_held_back(rig, "the price of USDC is 2 h old")
    rig.chain.set_price("USDC", 1)
    await rig.mine(5)
    assert [one.state for one in rig.firings()] == [FiringState.DONE]


async def test_one_that_liquidation_would_come_before_is_refused_and_another_is_shown_where_it_fires(
    make_rig: MakeRig,
) -> None:
    rig = await make_rig(rules_text=text_of(when='health_factor_trailing = "30%"'))
    report = await rig.wired.commands.arming_report("guard")
    (said,) = report.problems
    assert said.startswith("it fires at health factor 0.968")
    assert said.endswith("liquidated at 1.0000 before that: write a smaller health_factor_trailing")
    (shown,) = (await rig.wired.commands.preview(TEXT)).evaluations
    assert shown.why.startswith("health factor 1.383")
    assert "(10% under the best seen, 1.383" in shown.why
    assert shown.plan is not None
    assert shown.problems == ()
    engine = rig.wired.engine
    assert engine.snapshot is not None
    assert engine.fees is not None
    position = next(one for one in engine.snapshot.positions if one.key.account == rig.trader.address.lower())
    told = await evaluate(rig.wired, engine.book.rules[0], position, engine.snapshot, engine.fees)
    assert any("liquidated at 1.0000 before that" in str(one) for one in told.problems)


async def test_without_debt_it_waits_and_says_so(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=TEXT)
    await rig.arm()
    rig.chain.repay(rig.trader.address, "USDC", 2**256 - 1)
    await rig.mine(2)
    assert rule_of(rig).detail.startswith("no debt")
    await at(rig, str(Decimal("2000")), 4)
    assert_nothing_signed(rig)


async def test_of_what_a_position_is_made_only_its_owner_makes_less(make_rig: MakeRig) -> None:
    rig = await make_rig(rules_text=TEXT)
    chain, account = rig.chain, rig.trader.address
    engine = rig.wired.engine

    async def held() -> Held:
        await rig.mine(1)
        assert engine.snapshot is not None
        (position,) = [one for one in engine.snapshot.positions if one.key.account == account.lower()]
        found = engine.prospect.market(position).held(position)
        assert found is not None
        return found

    first = await held()
    chain.advance(30 * 86_400)
    chain.set_price("WETH", 3000)
    assert await held() == first, "interest and prices are nobody's doing"
    chain.set_emode(account, 2)
    inside = await held()
    assert not lessened(first, inside)
    chain.set_emode(account, 0)
    assert lessened(inside, await held())
    chain.supply(account, "DAI", chain.units("DAI", 100))
    more = await held()
    assert not lessened(first, more)
    assert more != first
    chain.send(
        account, chain.market.pool, "setUserUseReserveAsCollateral(address,bool)", chain.token("DAI").address, False
    )
    assert lessened(more, await held())
    chain.repay(account, "USDC", chain.units("USDC", 1))
    assert not lessened(first, await held())
    chain.withdraw(account, "WETH", 1)
    assert lessened(first, await held())
