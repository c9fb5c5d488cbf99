"""One round of a deleverage by the account itself, sized: withdraw, swap, repay, health never under a floor. Pure.

Where no helper stands collateral cannot be sold in one transaction. A round takes out as much as leaves health, until
the repayment, at or above a floor; more rounds follow until the target is met, each from what the chain then says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tui.model.plan import Action, Sale, SaleTerms
from tui.model.position import Position
from tui.model.rounds import LEAST_FLOOR, MOST_ROUNDS, Rounds, floor_of
from tui.model.rule import ActionKind
from tui.model.swap import SwapAnswer
from tui.model.units import UINT256_MAX, WAD, mul_div_up, value_usd, whole
from tui.planning.circumstances import Offer
from tui.planning.own_swaps import own_sale, with_room
from tui.planning.selling import SaleOrder, Sizing, sizing_of
from tui.planning.texts import health_text
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import Swapper
from tui.risk.deleverage import kept_share, sale_value, size_deleverage, weighted_collateral
from tui.risk.search import last_true

SPARE_PART = 10_000
"""To close all of a debt so much more of it (0.01%) is bought and may be taken: the interest of half an hour at 175% a
year. What it does not take stays in the wallet.
"""
LEAST_SPARE = 10
"""Base units of it at the least: roundings."""


@dataclass(frozen=True, slots=True)
class RoundOrder:
    """Which round it is (`number` from 1, `step` of the rule from 0), and what earlier ones left in the wallet that it
    uses first, in base units: `at_hand` of the collateral, `added` of the debt's token.
    """

    number: int = 1
    step: int = 0
    at_hand: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """What rounds that close a part of a debt are to repay still, in base units; `everything`: nothing is to be left of
    it.
    """

    left: int
    everything: bool

    @property
    def spare(self) -> int:
        """Base units beyond it that its last repayment may take."""
        return spare_of(self.left) if self.everything else 0


def spare_of(owed: int) -> int:
    """Base units that interest may add to all that is owed until its repayment is mined."""
    return max(owed // SPARE_PART, LEAST_SPARE)


@dataclass(frozen=True, slots=True)
class Restoring:
    """A health factor that rounds are to restore, and the one that their sizes aim at (wad)."""

    target: int
    aim: int


Goal = Restoring | Part


@dataclass(frozen=True, slots=True)
class SizedRound:
    """The action, and the rounds that it is one of. `unpaid`: base units of a part that is to be closed that are likely
    not to be repaid by any of them.
    """

    action: Action
    rounds: Rounds
    unpaid: int = 0


def size_round(
    market: LendingMarket,
    position: Position,
    order: SaleOrder,
    offer: Offer | None,
    swapper: Swapper,
    goal: Goal,
    which: RoundOrder,
    given: SwapAnswer | None = None,
) -> SizedRound | str:
    """The round that brings `position` to its `goal`, else the largest that its floor leaves; or why there is none.

    `order.most_out` is what may be sold, what is at hand counted in. A call that an aggregator made is `given` for a
    round that was sized before, at this block: that one is made, with no more going in, or none.
    """
    before = position.health_factor
    floor = None if before is None else floor_of(before)
    if before is None or (floor is None and not which.at_hand):
        return (
            f"{order.words} in rounds: at a health factor of {health_text(before, 4)} nothing can be taken out and "
            f"leave it above {health_text(LEAST_FLOOR, 3)} until it has repaid"
        )
    sizing = sizing_of(market, position, order, None if offer is None else _by_itself(offer))
    if isinstance(sizing, str):
        return sizing
    sizing.exchange.terms = _own(sizing.exchange.terms)
    one = _Round(sizing, swapper, before if floor is None else floor, which)
    sized = one.run(goal) if given is None else one.by(given, goal)
    if isinstance(sized, str) and order.hurried and given is None:
        # What goes in beyond the usual is collateral taken out: where that is too much, the usual room has to do.
        return size_round(market, position, replace(order, hurried=False), offer, swapper, goal, which)
    return sized


def _by_itself(offer: Offer) -> Offer:
    """The offer as it is without a helper: nothing is lent, and nobody else is let."""
    return replace(offer, terms=_own(offer.terms))


def _own(terms: SaleTerms) -> SaleTerms:
    return SaleTerms("", terms.receipt, 0, withdrawable=terms.withdrawable, absent=terms.absent)


class _Round:
    def __init__(self, sizing: Sizing, swapper: Swapper, floor: int, which: RoundOrder) -> None:
        self._sizing, self._swapper, self._floor, self._which = sizing, swapper, floor, which
        self._exchange, self._order = sizing.exchange, sizing.order
        self._part: Part | None = None

    def run(self, goal: Goal) -> SizedRound | str:
        return self._close(goal) if isinstance(goal, Part) else self._restore(goal)

    def by(self, given: SwapAnswer, goal: Goal) -> SizedRound | str:
        """The round whose swap is `given`: what must come out of it is what is bought, whatever the venue claims."""
        sizing, order, bought = self._sizing, self._order, given.order.least_out
        if isinstance(goal, Part):
            goal = replace(goal, left=min(goal.left, sizing.owed))
        self._part = goal if isinstance(goal, Part) else None
        asked = self._exchange.sold_for(bought)
        if asked is None:
            return f"{order.words} in rounds{sizing.why_nothing()}"
        sale = own_sale(sizing, self._swapper, bought, asked, given)
        if isinstance(sale, str):
            return f"{order.words}: {sale}"
        action = self._action(bought, sale)
        if self._part is not None and not self._is_of(action, self._part):
            return f"{order.words}: what {given.call.venue} offers is for another part of the debt"
        try:
            between, after = self._between(action), sizing.market.after(sizing.position, (action,)).health_factor
        except ActionImpossible as refused:
            return f"{order.words}: {refused}"
        health = UINT256_MAX if after is None else after
        if (action.sale is not None and action.sale.withdrawn and between < self._floor) or not sizing.improves(health):
            return f"{order.words} in rounds: what {given.call.venue} offers would bring health too low"
        if isinstance(goal, Part):
            return self._made(action, goal, action.amount == goal.left and action.spare == goal.spare)
        return self._made(action, goal, health >= goal.target)

    def _is_of(self, action: Action, part: Part) -> bool:
        """Whether no more of a debt is repaid than the part, and no more may be taken for it than interest may need."""
        return action.amount <= part.left and action.spare <= part.spare

    def _restore(self, goal: Restoring) -> SizedRound | str:
        sizing, order = self._sizing, self._order
        most = self._most(sizing.owed - self._which.added)
        if isinstance(most, str):
            return most
        room = (goal.aim - goal.target) // 2
        aim = goal.aim - room
        found = size_deleverage(self._health_after, self._exchange.sold_for, most, aim, most, 2 * room)
        if found.repaid <= 0 or not sizing.improves(found.health):
            return f"{order.words} in rounds would not raise the health factor"
        return self._sized(found.repaid, found.sold, goal, found.reaches)

    def _close(self, part: Part) -> SizedRound | str:
        """The round that repays all that is left of a part, or as much of it as its floor leaves."""
        sizing, order = self._sizing, self._order
        part = replace(part, left=min(part.left, sizing.owed))
        self._part = part
        bought = part.left + part.spare - self._which.added
        if bought <= 0:
            return f"{order.words} in rounds: what was bought before suffices"
        reaches = self._fits(bought)
        if not reaches:
            # All but a hair of it would leave dust that is another round: then half is left to that one.
            most = self._most(part.left - self._which.added)
            if isinstance(most, str):
                return most
            bought = most if most + self._which.added < part.left else max(most // 2, 1)
        sold = self._exchange.sold_for(bought)
        try:
            health = None if sold is None else self._health_after(bought, sold)
        except ActionImpossible as refused:
            return f"{order.words} in rounds: {refused}"
        if sold is None or not sizing.improves(UINT256_MAX if health is None else health):
            return f"{order.words} in rounds would not raise the health factor"
        return self._sized(bought, sold, part, reaches)

    def _most(self, wanted: int) -> int | str:
        """The most that may be bought at once, up to `wanted`; or why nothing may."""
        sizing, order = self._sizing, self._order
        most = min(sizing.most(), wanted)
        if most <= 0:
            return f"{order.words} in rounds{sizing.why_nothing()}"
        if not self._fits(most):
            most = last_true(self._fits, 1, most, min(max(self._guess(), 1), most)) or 0
        if most <= 0:
            least = health_text(self._floor, 3)
            return f"{order.words} in rounds: nothing can be withdrawn that leaves health at {least}"
        return most

    def _sized(self, bought: int, asked: int, goal: Goal, reaches: bool) -> SizedRound | str:
        sale = own_sale(self._sizing, self._swapper, bought, asked)
        if isinstance(sale, str):
            return f"{self._order.words}: {sale}"
        return self._made(self._action(bought, sale), goal, reaches)

    def _made(self, action: Action, goal: Goal, reaches: bool) -> SizedRound:
        rounds, unpaid_usd = self._told(action, reaches, goal)
        debt = self._order.debt
        return SizedRound(action, rounds, unpaid_usd * whole(debt.decimals) // self._exchange.prices[debt.address])

    def _action(self, bought: int, sale: Sale) -> Action:
        """The round that swaps `sale` for `bought` and repays it, with what is there already."""
        withdrawn = max(sale.sold - self._which.at_hand, 0)
        whole_sale = replace(sale, withdrawn=withdrawn, added=self._which.added)
        repaid = bought + self._which.added
        amount = repaid if self._part is None or not self._part.everything else min(repaid, self._part.left)
        return Action(ActionKind.DELEVERAGE, self._order.debt, amount, whole_sale, spare=repaid - amount)

    def _light(self, bought: int, asked: int) -> Sale:
        """A sale as far as the position is concerned."""
        amount_in = with_room(asked, self._exchange.limit(bought), self._order)
        return Sale(self._order.collateral, amount_in, amount_in, 0, b"", "", self._exchange.terms)

    def _health_after(self, bought: int, asked: int) -> int | None:
        position = self._sizing.position
        if not bought:
            return position.health_factor
        return self._sizing.market.after(position, (self._action(bought, self._light(bought, asked)),)).health_factor

    def _between(self, action: Action) -> int:
        """Health (wad) once the collateral is out and nothing is repaid yet. Raises ActionImpossible."""
        position = self._sizing.position
        if action.sale is not None and action.sale.withdrawn:
            position = self._sizing.market.after(position, (replace(action, amount=0),))
        return UINT256_MAX if position.health_factor is None else position.health_factor

    def _fits(self, bought: int) -> bool:
        asked = self._exchange.sold_for(bought)
        if asked is None:
            return False
        try:
            return self._between(self._action(bought, self._light(bought, asked))) >= self._floor
        except ActionImpossible:
            return False

    def _guess(self) -> int:
        """What the floor leaves, by the position's own values."""
        position, order, prices = self._sizing.position, self._order, self._exchange.prices
        weighted, owed = weighted_collateral(position), position.debt_usd
        if weighted is None or owed is None or not self._sizing.threshold:
            return 1
        out = max(weighted - owed * self._floor, 0) // self._sizing.threshold
        out += value_usd(self._which.at_hand, order.collateral.decimals, prices[order.collateral.address])
        return out * self._kept() // WAD * whole(order.debt.decimals) // prices[order.debt.address]

    def _unpaid(self, part: Part, action: Action, after: Position) -> int:
        """Base units of a part that a round leaves: of everything what is owed then, to the market's own rounding."""
        if not part.everything:
            return part.left - action.amount
        return sum(one.amount for one in after.debt if one.asset.address == self._order.debt.address)

    def _worth(self, repaid: int) -> int:
        """Dollars (8 decimals, up) of so much debt."""
        debt = self._order.debt
        return mul_div_up(repaid, self._exchange.prices[debt.address], whole(debt.decimals))

    def _kept(self) -> int:
        return kept_share(self._exchange.loss(max(self._sizing.most(), 1)))

    def _told(self, action: Action, reaches: bool, goal: Goal) -> tuple[Rounds, int]:
        """The rounds that this one is one of, and the dollars of debt that none of them is likely to repay."""
        sizing, sale = self._sizing, action.sale
        assert sale is not None
        after = sizing.market.after(sizing.position, (action,))
        lowest = min(self._between(action), sizing.position.health_factor or UINT256_MAX)
        kept = kept_share(self._exchange.loss(action.amount + action.spare - sale.added))
        left = value_usd(
            max(self._exchange.most_out - sale.sold, 0),
            self._order.collateral.decimals,
            self._exchange.prices[self._order.collateral.address],
        )
        last = Foreseen(0, 0, True, after.health_factor)
        seen = last
        if not reaches:
            missing = None if isinstance(goal, Restoring) else self._worth(self._unpaid(goal, action, after))
            aim = goal.aim if isinstance(goal, Restoring) else UINT256_MAX
            seen = foresee(after, sizing.threshold, kept, aim, left, missing)
        rounds = Rounds(
            step=self._which.step,
            number=self._which.number,
            ahead=seen.rounds,
            lowest=lowest,
            reaches_target=seen.reaches,
            spend_usd=seen.spend_usd,
            swap_usd=seen.spend_usd * (WAD - kept) // WAD,
            gas_units=0,
            ends_at=seen.health,
            collateral=self._order.collateral,
            debt=self._order.debt,
        )
        return rounds, seen.missing_usd


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What is likely to follow: so many rounds, what they sell (dollars with 8 decimals), whether they meet the target,
    the health (wad; None: no debt) that they end at, and the dollars of debt that are not repaid then of those that
    were to be.
    """

    rounds: int
    spend_usd: int
    reaches: bool
    health: int | None
    missing_usd: int = 0


def foresee(
    position: Position, threshold: int, kept: int, target: int, left_usd: int, missing_usd: int | None = None
) -> Foreseen:
    """The rounds that follow on `position`, by values alone: `threshold` (wad) of what is sold, the share `kept` (wad)
    of it that repays, at most `left_usd` of it. They end at the health `target` (wad), or once `missing_usd` of debt is
    repaid, where that is their goal.
    """
    weighted, debt = weighted_collateral(position), position.debt_usd
    rounds = spend = 0
    if weighted is None or not debt:
        return Foreseen(0, 0, position.health_factor is None, position.health_factor)
    while rounds < MOST_ROUNDS:
        if missing_usd is None:
            needed = sale_value(weighted, debt, target, threshold, kept)
        else:
            needed = mul_div_up(missing_usd, WAD, kept) if kept else None
        floor = floor_of(weighted // debt)
        if needed == 0:
            return Foreseen(rounds, spend, True, weighted // debt)
        if needed is None or floor is None:
            break
        free = (weighted - floor * debt) // threshold if threshold else left_usd
        sold = min(free, needed, left_usd)
        repaid = sold * kept // WAD
        if sold <= 0 or (repaid >= debt and missing_usd is None):
            break
        weighted, debt = weighted - sold * threshold, max(debt - repaid, 0)
        rounds, spend, left_usd = rounds + 1, spend + sold, left_usd - sold
        missing_usd = None if missing_usd is None else max(missing_usd - repaid, 0)
        if sold == needed:
            return Foreseen(rounds, spend, True, weighted // debt if debt else None)
        if not debt:
            break
    return Foreseen(rounds, spend, False, weighted // debt if debt else None, missing_usd or 0)
