"""What a position's own account does in a plan in which others pay, taken apart from what they do.

Transactions of two accounts are mined in any order, so that what the own account signs must hold its bounds where
nothing of the others' is there yet. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.model.plan import Action
from tui.model.position import Position
from tui.model.units import WAD
from tui.protocols.base import ActionImpossible, LendingMarket


@dataclass(frozen=True, slots=True)
class Apart:
    """The position as the own account's steps alone have left it so far. `others`: whether another account has a step
    before this. None: they could not be done without the others'.
    """

    position: Position | None
    others: bool = False

    def found_by(self, action: Action, current: Position) -> Position:
        """The state that an action is built on: for one of the own account, that without the others' steps."""
        if action.payer is not None or not self.others or self.position is None:
            return current
        return self.position

    def held(self, market: LendingMarket, action: Action) -> Action:
        """The action with a floor under the health that it keeps in every order: half of what it does for health by
        itself, and never under 1.
        """
        if action.sale is None or action.sale.swap is not None or not self.others:
            return action  # a swap of a wallet's own token touches no collateral and needs no floor
        floor, after = WAD, self._after(market, action)
        if self.position is not None and after is not None and self.position.health_factor is not None:
            before = self.position.health_factor
            floor = before if after.health_factor is None else (before + after.health_factor) // 2
        lowest = min(action.sale.min_health, max(floor, WAD))
        return replace(action, sale=replace(action.sale, min_health=lowest))

    def then(self, market: LendingMarket, action: Action) -> Apart:
        """After one action more, whoever signs it."""
        if action.payer is not None:
            return Apart(self.position, others=True)
        return Apart(self._after(market, action), self.others)

    def _after(self, market: LendingMarket, action: Action) -> Position | None:
        if self.position is None:
            return None
        try:
            return market.after(self.position, (action,))
        except ActionImpossible:
            return None


NOTHING_APART = Apart(None)
