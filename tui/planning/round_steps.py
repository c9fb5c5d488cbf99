"""How the waterfall takes one round of a deleverage: what earlier ones left first, on to the rounds' goal. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.model.plan import Action
from tui.model.position import Asset, Position
from tui.model.rounds import Rounds, floor_of
from tui.model.rule import ActionKind, RoundsUse, Step
from tui.model.units import value_usd
from tui.planning.circumstances import Offer, offer_key
from tui.planning.rounds import Goal, Part, Restoring, RoundOrder, SizedRound, size_round
from tui.planning.rounds_rule import parts_of
from tui.planning.selling import SaleOrder
from tui.planning.standing import LEAST_ROUND_USD, NO_ROUTER, Sized, Standing, meets
from tui.protocols.base import ActionImpossible
from tui.risk.sizing import size_action


@dataclass(frozen=True, slots=True)
class RoundSteps(Standing):
    """The sizes of rounds."""

    def _at_hand(self, step: Step) -> Sized | None:
        """The repayment by what earlier rounds of a deleverage bought, where none of it can be done now: as much of it
        as helps, whether that meets the target or not.
        """
        debt = self.market.find_asset(self.current, step.asset)
        if step.action is not ActionKind.DELEVERAGE or debt is None:
            return None
        there, price = self._left(debt), self.market.price_usd(self.current, debt)
        if not there or not price:
            return None
        try:
            most = min([there, self.market.ceiling(self.current, ActionKind.REPAY, debt),
                        *(bound for bound, _ in self._spendable(debt, price))])  # fmt: skip
            action = self._repayment(debt, most, most) or Action(ActionKind.REPAY, debt, min(most, self._part_of(debt)))
        except ActionImpossible:
            return None
        spends = value_usd(action.amount, debt.decimals, price)
        return Sized(action, "", spends) if spends >= LEAST_ROUND_USD else None

    def _part_of(self, debt: Asset) -> int:
        """Base units of a debt that are still to be closed."""
        return 0 if self.closing is None else self.closing.left_of(debt.address)

    def _round(self, number: int, step: Step, order: SaleOrder, offer: Offer | None, price: int) -> Sized | str:
        """One round of a deleverage, after what earlier rounds left is used up."""
        swapper, so_far = self.circumstances.swapper, self.circumstances.so_far
        if swapper is None:
            return f"{order.words} in rounds: {NO_ROUTER}"
        which = RoundOrder(
            number=1 if so_far is None else so_far.rounds + 1,
            step=number,
            at_hand=self._left(order.collateral),
            added=self._left(order.debt),
        )
        if which.added and (enough := self._repays(order.debt, which.added)) is not None:
            return enough
        goal = self._goal_of_rounds(order.debt)
        given = self.circumstances.given.get(offer_key(step.action, order.collateral, order.debt))
        sized = size_round(self.market, self.current, order, offer, swapper, goal, which, given)
        alone = self.apart.position
        if (
            self.apart.others
            and alone is not None
            and not isinstance(sized, str)
            and not self._keeps_floor(sized, alone)
        ):
            # Nobody knows which account's transactions come first: its own floor must not stand on the others'.
            sized = size_round(self.market, alone, order, offer, swapper, goal, which, given)
        if isinstance(sized, str):
            return f"{ActionKind.DELEVERAGE}: {sized}"
        sale = sized.action.sale
        assert sale is not None
        rounds = replace(self._closing_by(sized), by_choice=step.rounds is RoundsUse.ALWAYS)
        return Sized(sized.action, "", value_usd(sale.sold, order.collateral.decimals, price), rounds)

    def _goal_of_rounds(self, debt: Asset) -> Goal:
        if self.closing is None:
            return Restoring(self._target, self.aim)
        return Part(self.closing.left_of(debt.address), self.closing.is_of_all)

    def _closing_by(self, sized: SizedRound) -> Rounds:
        """The rounds with what they close, where that is their goal: they meet it where no other debt is left to."""
        if self.closing is None:
            return sized.rounds
        token = sized.action.asset.address
        at_end = self.closing.after(sized.action.kind, token, max(self.closing.left_of(token) - sized.unpaid, 0))
        if sized.rounds.reaches_target:
            at_end = self.closing.after(sized.action.kind, token, self.closing.left_of(token))
        reaches = sized.rounds.reaches_target and at_end.is_done
        so_far = self.circumstances.so_far
        if so_far is not None and so_far.parts:
            parts = so_far.parts
        else:
            before, out = {one.token: one for one in self.circumstances.closing}, self.circumstances.left_out
            begun = parts_of(self.rule, sized.rounds.step, self.market, self.current, self.closing.owed, out)
            parts = tuple(before.get(one.token, one) for one in begun)
        return replace(sized.rounds, reaches_target=reaches, parts=parts, closes_bps=at_end.closed_bps)

    def _keeps_floor(self, sized: SizedRound, position: Position) -> bool:
        """Whether a round's withdrawal leaves health at its floor on `position` too."""
        floor = None if position.health_factor is None else floor_of(position.health_factor)
        try:
            left = self.market.after(position, (replace(sized.action, amount=0),)).health_factor
        except ActionImpossible:
            return False
        return floor is not None and (left is None or left >= floor)

    def _repays(self, debt: Asset, at_hand: int) -> Sized | None:
        """The repayment by what earlier rounds bought, where that alone meets the target."""
        try:
            most = min(at_hand, self.market.ceiling(self.current, ActionKind.REPAY, debt))
            action = self._repayment(debt, at_hand, most)
            if action is None:
                return None
            amount = action.amount
            after = self.market.after(self.current, (action,))
        except ActionImpossible:
            return None
        price = self.market.price_usd(self.current, debt)
        if not price or (self.closing is None and not meets(after.health_factor, self._target)):
            return None
        return Sized(action, "", value_usd(amount, debt.decimals, price))

    def _repayment(self, debt: Asset, at_hand: int, most: int) -> Action | None:
        """The repayment out of `at_hand`, of at most `most`; None where it could not close all that is to be closed."""
        if self.closing is None:
            amount = size_action(self.market, self.current, ActionKind.REPAY, debt, most, self.aim)
            return Action(ActionKind.REPAY, debt, amount)
        owed = self.market.ceiling(self.current, ActionKind.REPAY, debt)
        part = Part(min(self.closing.left_of(debt.address), owed), self.closing.is_of_all)
        if at_hand < part.left + part.spare:
            return None
        return Action(ActionKind.REPAY, debt, part.left, spare=part.spare)
