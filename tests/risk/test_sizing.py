"""Sizes of defences: exactly enough, never more than the target by a tenth of a percent, all of it where not enough."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.protocols.reference import CASES, position_of
from tui.model.impossible import ActionImpossible
from tui.model.plan import Action
from tui.model.position import Asset, Position
from tui.model.rule import ActionKind
from tui.model.units import WAD
from tui.protocols.aave_v3.market import AaveV3Market
from tui.risk.sizing import size_action

MARKET = AaveV3Market("core", "0x" + "1" * 40)
REPAY, SUPPLY = ActionKind.REPAY, ActionKind.ADD_COLLATERAL
LARGE = 1_000 * 10**8
"""Positions in dollars (8 decimals) in which one unit of rounding does not move health by a tenth of a percent."""


class Counting:
    """A market that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def after(self, position: Position, actions: object) -> Position:
        self.asked += 1
        return MARKET.after(position, actions)  # type: ignore[arg-type]


def _health(position: Position, actions: list[Action]) -> int:
    health = MARKET.after(position, actions).health_factor
    return 2**256 - 1 if health is None else health


def _choices(position: Position) -> list[tuple[ActionKind, Asset]]:
    return [(REPAY, one.asset) for one in position.debt] + [
        (SUPPLY, one.asset) for one in position.collateral if one.counts
    ]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([1, 5, 11]))
def test_a_size_reaches_the_target_and_no_further(data: st.DataObject, revision: int) -> None:
    position = position_of(data.draw(st.sampled_from(CASES)), revision)
    assume(position.health_factor is not None and (position.debt_usd or 0) > LARGE)
    assert position.health_factor is not None
    assume((position.collateral_usd or 0) > LARGE)
    kind, asset = data.draw(st.sampled_from(_choices(position)))
    target = data.draw(st.integers(position.health_factor - WAD // 10, max(position.health_factor * 2, 2 * WAD)))
    assume(target > 0)
    ceiling = MARKET.ceiling(position, kind, asset)
    available = data.draw(st.integers(0, min(ceiling, 10 ** (asset.decimals + 7))))
    counting = Counting()
    amount = size_action(counting, position, kind, asset, available, target)
    assert 0 <= amount <= available
    assert counting.asked < 140
    if position.health_factor >= target or available == 0:
        assert amount == 0
        return
    reached = _health(position, [Action(kind, asset, amount)]) if amount else position.health_factor
    if reached < target:
        try:
            MARKET.after(position, [Action(kind, asset, available)])
        except ActionImpossible:
            assert amount == 0
        else:
            assert amount == available
        return
    if amount > 1:
        with suppress(ActionImpossible):  # one less may be too little to count
            assert _health(position, [Action(kind, asset, amount - 1)]) < target
    one_unit = max(one.price_usd or 0 for one in (*position.collateral, *position.debt) if one.asset == asset)
    # A tenth of a percent, or what the last unit of the token is worth where that is more.
    coarse = one_unit // 10**asset.decimals * 1_000 > LARGE
    assert coarse or reached <= target + target // 1_000


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_was_done_before_counts(data: st.DataObject) -> None:
    position = position_of(data.draw(st.sampled_from(CASES)), 5)
    assume(position.health_factor is not None and (position.debt_usd or 0) > LARGE and position.collateral)
    assert position.health_factor is not None
    assume(any(one.counts for one in position.collateral))
    target = position.health_factor + WAD // 5
    debt = position.debt[0].asset
    owed = MARKET.ceiling(position, REPAY, debt)
    first = Action(REPAY, debt, owed // 3 or 1)
    collateral = next(one.asset for one in position.collateral if one.counts)
    available = 10 ** (collateral.decimals + 9)
    alone = size_action(MARKET, position, SUPPLY, collateral, available, target)
    after_it = size_action(MARKET, position, SUPPLY, collateral, available, target, [first])
    assert after_it <= alone
    if after_it not in (0, available):
        assert _health(position, [first, Action(SUPPLY, collateral, after_it)]) >= target


def test_repaying_everything_is_enough_for_any_target() -> None:
    position = next(one for one in (position_of(case, 11) for case in CASES) if len(one.debt) == 1 and one.collateral)
    owed = MARKET.ceiling(position, REPAY, position.debt[0].asset)
    amount = size_action(MARKET, position, REPAY, position.debt[0].asset, owed, 10**40)
    assert 0 < amount <= owed
    assert _health(position, [Action(REPAY, position.debt[0].asset, amount)]) >= 10**40


def test_an_impossible_action_is_not_sized() -> None:
    position = next(one for one in (position_of(case, 5) for case in CASES) if one.debt)
    owed = MARKET.ceiling(position, REPAY, position.debt[0].asset)
    debt = position.debt[0].asset
    assert size_action(MARKET, position, REPAY, debt, owed + 10**9, 100 * WAD) == 0
    with pytest.raises(ActionImpossible):
        size_action(MARKET, position, REPAY, debt, owed, 100 * WAD, [Action(REPAY, debt, owed + 10**9)])


def test_a_unit_that_rounds_to_nothing_is_not_used() -> None:
    case = next(case for case in CASES if case["id"] == "aave-ref-95")
    position = position_of(case, 11)
    counted = next(one.asset for one in position.collateral if one.counts)
    assert position.health_factor is not None
    assert size_action(MARKET, position, SUPPLY, counted, 1, position.health_factor + 1) == 0
