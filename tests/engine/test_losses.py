"""What a position lost is a liquidation only where our own transactions do not account for it."""

from __future__ import annotations

from dataclasses import replace

from tests.support.firings import ACCOUNT, a_firing, an_intent
from tui.engine.losses import MOST_WAIT_BLOCKS, Losses
from tui.engine.own_work import OwnWork, own_work
from tui.model.block import BlockRef
from tui.model.intent import Attempt, AttemptKind, Firing, FiringState, IntentState
from tui.model.position import Asset, Collateral, Debt, MarketKey, Position, PositionKey
from tui.model.snapshot import Snapshot
from tui.model.units import USD, WAD
from tui.protocols.erc20 import APPROVE

WETH, USDC = Asset("0x" + "01" * 20, "WETH", 18), Asset("0x" + "02" * 20, "USDC", 6)
KEY = PositionKey(MarketKey("aave-v3", "core"), ACCOUNT)


def at(number: int, weth: float, usdc: int, price: int = 2_200) -> Position:
    block = BlockRef(number, f"0x{number}", f"0x{number - 1}", 12 * number, 1)
    supplied, owed = int(weth * 1_000) * WAD // 1_000, usdc * 10**6
    value = int(weth * 1_000) * price * USD // 1_000
    held = Collateral(WETH, supplied, price * USD, value, 83 * WAD // 100, True)
    health = value * 83 * WAD // 100 // (usdc * USD)
    return Position(KEY, block, (held,), (Debt(USDC, owed, USD, usdc * USD),), health, value, usdc * USD)


def ours(state: IntentState, moved_usd: int, included: int | None) -> Firing:
    """Our own firing of one transaction."""
    firing = replace(a_firing(), position=str(KEY), state=FiringState.RUNNING, spend_usd=moved_usd * USD)
    sent = Attempt(1, AttemptKind.ORIGINAL, "0x" + "aa" * 32, b"", 1, 1, 0.0)
    intent = replace(an_intent(firing, 0), state=state, included_block=included, attempts=(sent,))
    return replace(firing, intents=(intent,))


class Watched:
    """Losses beside what our own record tells."""

    def __init__(self) -> None:
        self.firings: tuple[Firing, ...] = ()
        self.losses = Losses(lambda: self.firings)

    def see(self, position: Position) -> list[str]:
        return [text for _, text in self.losses.see(Snapshot(position.block, (position,))).liquidated]


def test_our_own_rescue_under_one_is_no_liquidation() -> None:
    watched = Watched()
    assert watched.see(at(10, 20, 36_889)) == []
    watched.firings = (ours(IntentState.FINAL_OK, 19_989, 11),)
    assert watched.see(at(11, 10.9, 16_900)) == []
    assert watched.see(at(12, 10.9, 16_900)) == []


def test_a_fall_and_our_own_rescue_between_two_readings_are_no_liquidation() -> None:
    watched = Watched()
    watched.see(at(10, 20, 36_889, 2_750))
    watched.firings = (ours(IntentState.FINAL_OK, 19_989, 12),)
    assert watched.see(at(13, 10.9, 16_900, 2_210)) == []


def test_what_may_be_ours_waits_until_it_is_final() -> None:
    watched = Watched()
    watched.see(at(10, 20, 36_889))
    watched.firings = (ours(IntentState.INCLUDED, 19_989, 11),)
    assert watched.see(at(11, 10.9, 16_900)) == []
    watched.firings = (ours(IntentState.FINAL_REVERTED, 19_989, 11),)
    told = watched.see(at(12, 10.9, 16_900))
    assert told == ["LIQUIDATED: 9.1000 WETH taken for 19,989.0000 USDC of debt"]
    assert watched.see(at(13, 10.9, 16_900)) == [], "once"


def test_our_own_sale_at_good_health_is_not_unclear_while_it_may_be_undone_yet() -> None:
    watched = Watched()
    watched.see(at(10, 20, 30_000))
    after = at(11, 15, 19_000)
    watched.firings = (ours(IntentState.INCLUDED, 11_000, 11),)
    assert watched.losses.see(Snapshot(after.block, (after,))).unclear_since is None
    watched.firings = (ours(IntentState.FINAL_OK, 11_000, 11),)
    final = at(12, 15, 19_000)
    assert watched.losses.see(Snapshot(final.block, (final,))).unclear_since is None
    sold = at(13, 14, 16_800)
    assert watched.losses.see(Snapshot(sold.block, (sold,))).unclear_since == 12, "not ours"


def test_what_of_ours_is_never_final_becomes_unclear() -> None:
    watched = Watched()
    watched.see(at(10, 20, 30_000))
    watched.firings = (ours(IntentState.MAYBE_SENT, 11_000, None),)
    late = at(10 + MOST_WAIT_BLOCKS, 15, 19_000)
    assert watched.losses.see(Snapshot(late.block, (late,))).unclear_since == 10


def test_what_is_never_final_is_not_waited_for_without_end() -> None:
    watched = Watched()
    watched.see(at(10, 20, 36_889))
    watched.firings = (ours(IntentState.MAYBE_SENT, 19_989, None),)
    assert watched.see(at(9 + MOST_WAIT_BLOCKS, 10.9, 16_900)) == []
    assert watched.see(at(10 + MOST_WAIT_BLOCKS, 10.9, 16_900)) != []


def test_a_liquidation_beside_our_own_work_is_told_at_once() -> None:
    watched = Watched()
    watched.see(at(10, 20, 36_889))
    watched.firings = (ours(IntentState.INCLUDED, 5_000, 11),)
    assert watched.see(at(11, 10.9, 16_900)) == ["LIQUIDATED: 9.1000 WETH taken for 19,989.0000 USDC of debt"]


def test_what_others_took_is_told_without_any_record() -> None:
    losses = Losses()
    before, after = at(10, 20, 36_889), at(11, 10.9, 16_900)
    losses.see(Snapshot(before.block, (before,)))
    assert len(losses.see(Snapshot(after.block, (after,))).liquidated) == 1


def test_only_what_moved_this_position_since_then_counts() -> None:
    firing = ours(IntentState.FINAL_OK, 100, 11)
    assert own_work((firing,), str(KEY), 10, 11) == OwnWork(100 * USD, 100 * USD)
    assert own_work((firing,), str(KEY), 11, 12) == OwnWork(), "before the first reading"
    assert own_work((firing,), str(KEY), 9, 10) == OwnWork(), "after the second"
    assert own_work((firing,), "aave-v3/core/another", 10, 11) == OwnWork()
    undone = replace(firing.intents[0], id="undone", state=IntentState.FINAL_REVERTED)
    approval = replace(firing.intents[0], data=APPROVE + bytes(64))
    assert own_work((replace(firing, intents=(approval, undone)),), str(KEY), 10, 11) == OwnWork(), "only approved"
    unsigned = replace(firing, intents=(replace(firing.intents[0], attempts=(), included_block=None),))
    assert own_work((unsigned,), str(KEY), 10, 11) == OwnWork()
