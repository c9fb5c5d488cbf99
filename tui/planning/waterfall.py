"""The waterfall: each step sized on the state that the earlier ones leave, until the target is met or means run out.

Pure and protocol-neutral: all arithmetic of health is asked of the market's adapter, in exact integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from tui.model.plan import Action, PlannedStep, SwapCost
from tui.model.position import Asset, Position
from tui.model.rounds import MOST_ROUNDS, Rounds, floor_of
from tui.model.rule import BORROWING, FROM_WALLET, REPAYING, SALES, ActionKind, Order, RoundsUse, Rule, Step
from tui.model.text import clean_text
from tui.model.units import LEAST_USD as LEAST_USD
from tui.model.units import UINT256_MAX, USD, parse_units, value_usd, whole
from tui.model.wallet import Wallet
from tui.planning.apart import NOTHING_APART, Apart
from tui.planning.circumstances import Circumstances, Offer, offer_key
from tui.planning.closing import Closing
from tui.planning.own_swaps import size_swap
from tui.planning.payers import paid_by, payer_wallet, why_passed_over
from tui.planning.purse import NO_PURSE, Purse
from tui.planning.rounds import Goal, Part, Restoring, RoundOrder, SizedRound, size_round
from tui.planning.rounds_rule import behind_a_round, less_by, parts_of
from tui.planning.selling import SaleOrder, SizedSale, size_close, size_sale
from tui.planning.texts import amount_text as amount_text
from tui.planning.texts import health_text, step_text
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.risk.sizing import size_action

INTEREST_ROOM = 5_000
"""A step aims above the target by this part of it (0.02%): until the transaction is in a block, and a while after,
interest eats into the health, which is to lie between the target and 0.1% above it.
"""
BOOST_ROOM = 200
"""A boost aims above its target by this part of it (0.5%), or by half the way to its trigger where that is less: under
the target the chain undoes it, and prices move until it is in a block. Twice as far above it has reached its target.
"""
NO_ROUTER = 'the network file names no router to swap with: add router02 to its [[swap]] table of kind "uniswap-v3"'
DAILY_SPENT = "the daily spend leaves no more"
"""The note of a step that the daily limit cuts short."""
LEAST_ROUND_USD = USD
"""Between two rounds less than a dollar is nothing: neither what is left of a maximum nor what a round bought too much.
"""
MOST_LEVERAGE = 50
DEFAULT_SLIPPAGE_BPS = 50
"""What a sale may lose where its step does not say it."""


@dataclass(frozen=True, slots=True)
class _Sized:
    """One step: the action, what bound it in words, the dollars it moves, and the rounds that it is one of."""

    action: Action
    note: str
    spends: int
    rounds: Rounds | None = None


@dataclass(frozen=True, slots=True)
class Waterfall:
    """What the steps come to. `position` is the exact state they leave; `skipped` says why steps add nothing.

    `taken` are the numbers of the steps in the rule, `befores` the states that each of them is built on, as `steps`.
    `closed_bps`: the part of the debts that they close, where that is the goal. `rounds`: the last step is one round of
    several, whose target the later ones meet; `swap_cost` is of what is done now.
    """

    steps: tuple[PlannedStep, ...]
    position: Position
    reaches_target: bool
    spend_usd: int
    skipped: tuple[str, ...]
    taken: tuple[int, ...] = ()
    befores: tuple[Position, ...] = ()
    closed_bps: int | None = None
    rounds: Rounds | None = None

    @property
    def actions(self) -> tuple[Action, ...]:
        """The actions that move something, in order."""
        return tuple(step.action for step in self.steps)

    @property
    def swap_cost(self) -> SwapCost:
        """What all its sales cost together."""
        costs = [step.action.sale.cost for step in self.steps if step.action.sale is not None]
        return SwapCost(
            sum(one.fees_usd for one in costs),
            sum(one.impact_usd for one in costs),
            sum(one.gap_usd for one in costs),
            sum(one.premium_usd for one in costs),
        )


def meets(health_factor: int | None, target: int) -> bool:
    """Whether a health factor (None: no debt left) is at or above a target in wad."""
    return health_factor is None or health_factor >= target


def run_waterfall(
    rule: Rule,
    market: LendingMarket,
    position: Position,
    wallet: Wallet,
    circumstances: Circumstances,
    order: Sequence[int] | None = None,
) -> Waterfall:
    """Size the steps of `rule` against `position` with what `wallet` holds (and the wallets of `circumstances.payers`,
    for the steps that name them), in `order` (None: as written).

    The rule's daily spend caps the value moved over all steps. The result's health factor is at least the target and
    less than 0.1% above it where the means suffice; otherwise every step gives all it may. Where a part of the debts
    is to be closed, each step repays what is left of that part.
    """
    flow = Flow.start(rule, market, position, wallet, circumstances)
    for number in range(len(rule.steps)) if order is None else order:
        if flow.is_over:
            break
        flow = flow.then(number)
    return flow.result()


@dataclass(frozen=True, slots=True)
class Flow:
    """A waterfall as far as it has come. Values are never changed: two orders share what they begin with."""

    rule: Rule
    market: LendingMarket
    circumstances: Circumstances
    current: Position
    wallet: Wallet
    purses: Mapping[str, Purse]
    spent: int = 0
    steps: tuple[PlannedStep, ...] = ()
    taken: tuple[int, ...] = ()
    befores: tuple[Position, ...] = ()
    skipped: tuple[str, ...] = ()
    closing: Closing | None = None
    apart: Apart = NOTHING_APART
    rounds: Rounds | None = None
    is_ahead: bool = False
    """Whether it only looks at what follows on a round."""

    @classmethod
    def start(
        cls, rule: Rule, market: LendingMarket, position: Position, wallet: Wallet, circumstances: Circumstances
    ) -> Flow:
        """Nothing done yet."""
        closing = Closing.start(rule, market, position, circumstances.parts)
        others = {account: Purse.of(one) for account, one in circumstances.payers.items()}
        purses = MappingProxyType({**others, position.key.account: Purse.of(wallet)})
        return cls(rule, market, circumstances, position, wallet, purses, closing=closing, apart=Apart(position))

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done now: the target is met, or the next round is to be final first."""
        return self.rounds is not None or self.meets_target

    @property
    def meets_target(self) -> bool:
        """Whether what is done meets the target, with the rounds that are to follow."""
        if self.rounds is not None:
            return self.rounds.reaches_target
        if self.closing is not None:
            return self.closing.is_done
        if self.rule.boosts:
            health = self.current.health_factor
            return health is not None and health <= self._target + 2 * self._boost_room
        return meets(self.current.health_factor, self._target)

    @property
    def _target(self) -> int:
        """The health (wad) that is to be reached, where that is the goal."""
        target = self.rule.target_health_factor
        if target is None:
            raise ValueError(f"rule {self.rule.name!r} restores no health factor")
        return target

    @property
    def aim(self) -> int:
        """The health (wad) that sizes aim at."""
        return self._target + (self._boost_room if self.rule.boosts else self._target // INTEREST_ROOM)

    @property
    def _boost_room(self) -> int:
        """What health (wad) may fall by while a boost is on its way."""
        half_way = (self.rule.trigger.level - self._target) // 2
        return max(min(self._target // BOOST_ROOM, half_way), self._target // INTEREST_ROOM)

    @property
    def reach(self) -> int:
        """How far it has come: a number that grows towards the goal."""
        if self.closing is not None:
            return self.closing.repaid_usd
        health = UINT256_MAX if self.current.health_factor is None else self.current.health_factor
        return UINT256_MAX - health if self.rule.boosts else health

    @property
    def spend_left(self) -> int | None:
        """Dollars (8 decimals) that may still be moved; None: no limit."""
        daily = self.rule.limits.daily_spend_usd
        return None if daily is None else max(daily - self.circumstances.spent_today_usd - self.spent, 0)

    def result(self) -> Waterfall:
        """What it comes to."""
        closed = None if self.closing is None else self.closing.closed_bps
        if self.rounds is not None:
            closed = self.rounds.closes_bps
        return Waterfall(
            self.steps,
            self.current,
            self.meets_target,
            self.spent,
            self.skipped,
            self.taken,
            self.befores,
            closed,
            self.rounds,
        )

    def then(self, number: int) -> Flow:
        """After the rule's step of this number (from 0) as well, or with the reason why it adds nothing."""
        step = self.rule.steps[number]
        if self._is_closed(step):
            return self
        if self.closing is not None and step.action not in REPAYING:
            return self._passing(step, "after it no less is owed")
        if self.spend_left is not None and self.spend_left < LEAST_USD:
            return self._passing(step, DAILY_SPENT)
        out = self.circumstances.left_out.get(number)
        found = self._sized(step, number) if out is None else f"{step_text(step)}: {out}"
        if isinstance(found, str):
            found = self._at_hand(step) or found
        if isinstance(found, str):
            return replace(self, skipped=(*self.skipped, found))
        note, spends = found.note, found.spends
        action = self.apart.held(self.market, found.action)
        if spends < LEAST_USD and not action.spare:  # the last of a debt is repaid, whatever it comes to
            return self._passing(step, "less than a cent is left for it")
        try:
            after = self.market.after(self.current, (action,))
        except ActionImpossible as refused:
            return self._passing(step, str(refused))
        before = self.current.health_factor
        if self.rule.boosts is not (action.kind is ActionKind.BOOST):
            return self._passing(step, "health is raised and lowered by rules of their own")
        if self.rule.boosts and not meets(after.health_factor, self._target):
            return self._passing(step, f"would bring the health factor under {health_text(self._target)}")
        falls = before is not None and after.health_factor is not None and after.health_factor <= before
        if falls and not self.rule.boosts:
            return self._passing(step, "would not raise the health factor")
        purses = self.purses
        pays = _paid_by_wallet(action)
        if pays is not None:
            payer = paid_by(action, self._account)
            purses = MappingProxyType({**purses, payer: purses[payer].after(*pays, action.wrap)})
        flow = replace(
            self,
            current=after,
            purses=purses,
            rounds=found.rounds,
            spent=self.spent + spends,
            closing=None if self.closing is None else _closed_by(self.closing, action, after),
            steps=(*self.steps, PlannedStep(action, after.health_factor, note)),
            taken=(*self.taken, number),
            befores=(*self.befores, self.apart.found_by(action, self.current)),
            apart=self._apart_after(action, after),
        )
        return flow._looking_ahead(number)

    def _apart_after(self, action: Action, after: Position) -> Apart:
        """As long as nobody else has a step there is nothing to take apart."""
        if action.payer is None and not self.apart.others:
            return Apart(after)
        return self.apart.then(self.market, action)

    def _is_closed(self, step: Step) -> bool:
        """Whether the debt of a step is closed already, as far as it is to be."""
        asset = None if self.closing is None else self.market.find_asset(self.current, step.asset)
        if self.closing is None or asset is None or asset.address not in self.closing.wanted:
            return False
        return self.closing.left_of(asset.address) == 0

    @property
    def _account(self) -> str:
        """Whose position it is."""
        return self.current.key.account

    def _payer(self, step: Step) -> str | None:
        """Whose wallet a step is paid from, where that is not the own account's."""
        return None if step.signer(self._account) == self._account else step.wallet

    def _purse(self, step: Step) -> Purse:
        """What is left in the wallet that a step is paid from."""
        return self.purses.get(step.signer(self._account), NO_PURSE)

    def _passing(self, step: Step, why: str) -> Flow:
        return replace(self, skipped=(*self.skipped, f"{step_text(step)}: {why}"))

    def _sized(self, step: Step, number: int) -> _Sized | str:
        """The action, what bound it in words, and the dollars it moves; or why there is none."""
        asset = self.market.find_asset(self.current, step.asset)
        if asset is None:
            return f"{step.action.word}: {self.market.key} lists no asset {clean_text(step.asset)}"
        if step.action not in self.market.actions:
            return f"{step_text(step)}: {self.market.key} cannot do it"
        barred = why_passed_over(step.signer(self._account), self.rule, self.wallet, self.circumstances)
        if barred is not None:
            return f"{step_text(step)}: {barred}"
        price = self.market.price_usd(self.current, asset)
        if price is None or price <= 0:
            return f"{step_text(step)}: its price is not known"
        if step.action in SALES:
            return self._sale(step, number, asset)
        return self._plain(step, asset, price)

    # -- what is paid for by the wallet, or by supply of the same asset

    def _plain(self, step: Step, asset: Asset, price: int) -> _Sized | str:
        bounds: list[tuple[int, str]] = []
        if step.action in FROM_WALLET:
            funds = self._funds(step, asset)
            if isinstance(funds, str):
                return funds
            bounds.append(funds)
        try:
            ceiling = self.market.ceiling(self.current, step.action, asset)
        except ActionImpossible as refused:
            return f"{step_text(step)}: {refused}"
        bounds.append((ceiling, f"{_ceiling_words(step.action)} is {amount_text(ceiling, asset)}"))
        maximum = self._maximum(step, asset)
        if isinstance(maximum, str):
            return maximum
        bounds.extend(maximum)
        bounds.extend(self._spendable(asset, price))
        most, why = min(bounds, key=lambda bound: bound[0])
        if self.closing is None:
            amount = size_action(self.market, self.current, step.action, asset, most, self.aim) if most > 0 else 0
        else:
            amount = min(most, self.closing.left_of(asset.address))
        if amount <= 0:
            return f"{step_text(step)}: {why}" if most <= 0 else f"{step_text(step)}: adds nothing"
        wrap = 0
        if step.action in FROM_WALLET:
            wrap = max(amount - self._own(step, asset), 0)
        action = Action(step.action, asset, amount, wrap=wrap, payer=self._payer(step))
        # What bounds a step is told only where it did bind: then it explains why the waterfall goes on.
        binds = amount == most and (self.closing is None or amount < self.closing.left_of(asset.address))
        return _Sized(action, why if binds else "", value_usd(amount, asset.decimals, price))

    def _funds(self, step: Step, asset: Asset) -> tuple[int, str] | str:
        """What the paying wallet has of `asset`, native coin that can be wrapped counted in, in units and in words."""
        purse = self._purse(step)
        if purse.balances.get(asset.address) is None:
            return f"{step_text(step)}: the wallet's balance could not be read"
        balance, spare = self._own(step, asset), 0
        if asset.address == self.circumstances.wrapped_native and purse.native is not None:
            spare = max(purse.native - self.circumstances.gas_reserve, 0)
        if balance + spare == 0:
            return f"{step_text(step)}: the wallet holds none"
        words = f"the wallet holds {amount_text(balance, asset)}"
        if spare:
            native = replace(asset, symbol="of the native coin")
            words += f" and {amount_text(spare, native)} that gas does not need"
        return balance + spare, words

    def _maximum(self, step: Step, asset: Asset) -> list[tuple[int, str]] | str:
        if step.maximum is None:
            return []
        try:
            most = parse_units(step.maximum, asset.decimals)
        except ValueError as wrong:
            return f"{step_text(step)}: max {wrong}"
        price, so_far = self.market.price_usd(self.current, asset), self.circumstances.so_far
        if so_far is not None and so_far.rounds and price and value_usd(most, asset.decimals, price) < LEAST_ROUND_USD:
            return [(0, "its rounds have used up its maximum")]
        return [(most, f"the rule's maximum is {step.maximum}")]

    def _spendable(self, asset: Asset, price: int) -> list[tuple[int, str]]:
        left = self.spend_left
        if left is None:
            return []
        return [(left * whole(asset.decimals) // price, DAILY_SPENT)]

    # -- what is paid for by a sale

    def _sale(self, step: Step, number: int, debt: Asset) -> _Sized | str:
        collateral = self.market.find_asset(self.current, step.collateral or "")
        if collateral is None:
            return f"{step_text(step)}: {self.market.key} lists no asset {clean_text(step.collateral or '')}"
        swaps, borrows = step.action is ActionKind.SWAP_TO_REPAY, step.action in BORROWING
        held = next((one for one in self.current.collateral if one.asset == collateral), None)
        if not borrows and not swaps and (held is None or held.amount <= 0):
            return f"{step_text(step)}: no {collateral.symbol} is supplied"
        price = self.market.price_usd(self.current, collateral)
        if price is None or price <= 0:
            return f"{step_text(step)}: the price of {collateral.symbol} is not known"
        maximum = self._maximum(step, collateral)
        if isinstance(maximum, str):
            return maximum
        there = self._credit(collateral, price)
        if swaps:
            funds = self._funds(step, collateral)
            if isinstance(funds, str):
                return funds
            there = funds
        elif held is not None and not borrows:
            # What earlier rounds took out and did not sell is still there to be sold.
            much = held.amount + self._left(collateral)
            there = (much, f"all that is supplied is {amount_text(held.amount, collateral)}")
        most, why = min([there, *maximum, *self._spendable(collateral, price)], key=lambda bound: bound[0])
        if most <= 0:
            return f"{step_text(step)}: {why}"
        offers, offer = self.circumstances.offers, None
        slippage = DEFAULT_SLIPPAGE_BPS if step.max_slippage_bps is None else step.max_slippage_bps
        pays = payer_wallet(step.wallet, self.wallet, self.circumstances)
        order = SaleOrder(debt, collateral, slippage, most, why, step.action, pays)
        if offers is not None:
            offer = offers.get(offer_key(step.action, collateral, debt))
            if offer is None:
                return self._not_offered(step, number, order, price)
        if self._by_rounds(step, collateral, offer):
            return self._round(number, step, order, offer, price)
        if swaps:
            sized = self._swap(step, order, offer)
        elif self.closing is None:
            sized = size_sale(self.market, self.current, order, offer, self._target, self.aim)
        else:
            sized = size_close(self.market, self.current, order, offer, self.closing.left_of(debt.address))
        if isinstance(sized, str):
            return f"{step.action.word}: {sized}"
        assert sized.action.sale is not None
        # What may be sold counts, not what is expected to be: a day's limit is one that holds.
        return _Sized(sized.action, sized.note, value_usd(sized.action.sale.most_sold, collateral.decimals, price))

    def _not_offered(self, step: Step, number: int, order: SaleOrder, price: int) -> _Sized | str:
        """Why nobody was asked what a sale costs; or the repayment that makes one needless."""
        if self._by_rounds(step, order.collateral, None):
            found = self._round(number, step, order, None, price)
            if isinstance(found, str) or found.action.sale is None:
                return found
        return f"{step_text(step)}: {self._why_not_asked(order)}"

    def _by_rounds(self, step: Step, collateral: Asset, offer: Offer | None) -> bool:
        """Whether a deleverage goes in rounds by the account itself."""
        if step.action is not ActionKind.DELEVERAGE or step.rounds is RoundsUse.NEVER:
            return False
        known = collateral.address in self.circumstances.absent if offer is None else offer.terms.absent
        return step.rounds is RoundsUse.ALWAYS or known

    def _left(self, asset: Asset) -> int:
        """Base units that earlier rounds of this firing left in the wallet, and that are still there."""
        so_far = self.circumstances.so_far
        return (
            0
            if so_far is None
            else min(so_far.left_of(asset.address), self.purses[self._account].balances.get(asset.address) or 0)
        )

    def _own(self, step: Step, asset: Asset) -> int:
        """Base units in the paying wallet that are its own: what rounds left there is for the rounds to use up."""
        there = self._purse(step).balances.get(asset.address) or 0
        sells = any(one.action is ActionKind.DELEVERAGE for one in self.rule.steps)
        return there - self._left(asset) if sells and step.signer(self._account) == self._account else there

    def _at_hand(self, step: Step) -> _Sized | None:
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
        return _Sized(action, "", spends) if spends >= LEAST_ROUND_USD else None

    def _part_of(self, debt: Asset) -> int:
        """Base units of a debt that are still to be closed."""
        return 0 if self.closing is None else self.closing.left_of(debt.address)

    def _round(self, number: int, step: Step, order: SaleOrder, offer: Offer | None, price: int) -> _Sized | str:
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
        return _Sized(sized.action, "", value_usd(sale.sold, order.collateral.decimals, price), rounds)

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

    def _looking_ahead(self, number: int) -> Flow:
        """This flow, whose last step is a round of the rule's step `number` that does not close all that is to be
        closed, with what the steps behind it are likely to close once its rounds are over.
        """
        first = self.rounds
        if first is None or first.reaches_target or self.closing is None or self.is_ahead:
            return self
        numbers = range(len(self.rule.steps))
        behind = [one for one in numbers if one > number or (self.rule.order is Order.CHEAPEST and one != number)]
        if not behind:
            return self
        flow = replace(self, circumstances=behind_a_round(self.circumstances), is_ahead=True)._next_round(number)
        for at in (number, *behind):
            for _ in range(MOST_ROUNDS):
                further = flow if flow.meets_target else flow.then(at)
                if len(further.steps) == len(flow.steps):
                    break
                flow = further._next_round(at)
                if further.rounds is None:
                    break  # what does not go in rounds is done once
        assert flow.closing is not None
        # They are taken to lose as much of what they sell as this one does by its quote.
        own = self.steps[-1].action.sale
        assert own is not None
        sold = value_usd(own.sold, own.collateral.decimals, own.price_usd or 0)
        spend = flow.spent - self.spent
        rounds = replace(
            first,
            ahead=max(len(flow.steps) - len(self.steps), first.ahead),
            reaches_target=flow.closing.is_done,
            closes_bps=flow.closing.closed_bps,
            spend_usd=spend,
            swap_usd=own.cost.total_usd * spend // sold if sold else first.swap_usd,
            ends_at=flow.current.health_factor,
        )
        return replace(self, rounds=rounds)

    def _next_round(self, number: int) -> Flow:
        """The flow once the rule's step `number`, which it took last, may go on."""
        return replace(self, rounds=None, rule=less_by(self.rule, number, self.steps[-1].action))

    def _keeps_floor(self, sized: SizedRound, position: Position) -> bool:
        """Whether a round's withdrawal leaves health at its floor on `position` too."""
        floor = None if position.health_factor is None else floor_of(position.health_factor)
        try:
            left = self.market.after(position, (replace(sized.action, amount=0),)).health_factor
        except ActionImpossible:
            return False
        return floor is not None and (left is None or left >= floor)

    def _repays(self, debt: Asset, at_hand: int) -> _Sized | None:
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
        return _Sized(action, "", value_usd(amount, debt.decimals, price))

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

    def _swap(self, step: Step, order: SaleOrder, offer: Offer | None) -> SizedSale | str:
        """A swap of the wallet's own token for what is then repaid."""
        swapper = self.circumstances.swapper
        if swapper is None:
            return f"{order.words}: {NO_ROUTER}"
        wanted = self._wanted(step, order.debt)
        if isinstance(wanted, str):
            return wanted
        given = self.circumstances.given.get(offer_key(step.action, order.collateral, order.debt))
        sized = size_swap(self.market, self.current, order, offer, swapper, wanted, given)
        if isinstance(sized, str) or sized.action.sale is None:
            return sized
        wrap = max(sized.action.sale.sold - self._own(step, order.collateral), 0)
        return replace(sized, action=replace(sized.action, wrap=wrap, payer=self._payer(step)))

    def _wanted(self, step: Step, debt: Asset) -> int | str:
        """Base units of a debt whose repayment is all that is wanted, or why none can be."""
        if self.closing is not None:
            return self.closing.left_of(debt.address)
        try:
            owed = self.market.ceiling(self.current, ActionKind.REPAY, debt)
            return size_action(self.market, self.current, ActionKind.REPAY, debt, owed, self.aim)
        except ActionImpossible as refused:
            return f"{step_text(step)}: {refused}"

    def _credit(self, asset: Asset, price: int) -> tuple[int, str]:
        """More than could ever be borrowed of an asset: where credit ends the market itself says."""
        worth = (self.current.collateral_usd or 0) * MOST_LEVERAGE
        return worth * whole(asset.decimals) // price, f"no more {asset.symbol} can be borrowed"

    def _why_not_asked(self, order: SaleOrder) -> str:
        """That the market cannot, that it would add nothing whatever it costs, or else that nobody was asked."""
        try:
            self.market.sale_shape(self.current, order.collateral, order.kind)
            if self.closing is None:
                sized = size_sale(self.market, self.current, order, None, self._target, self.aim)
                if isinstance(sized, str):
                    return sized
        except ActionImpossible as refused:
            return str(refused)
        return "no exchange was asked"


def _closed_by(closing: Closing, action: Action, after: Position) -> Closing:
    """What is left to be closed once an action has left `after`."""
    token = action.asset.address
    owed = sum(one.amount for one in after.debt if one.asset.address == token)
    return closing.after(action.kind, token, action.amount, owed)


def _paid_by_wallet(action: Action) -> tuple[str, int] | None:
    """The token that leaves the wallet for an action and how much of it (base units); None where none does, and for a
    round, behind which nothing more is done.
    """
    if action.kind in FROM_WALLET:
        return action.asset.address, action.amount
    if action.kind is ActionKind.SWAP_TO_REPAY and action.sale is not None:
        return action.sale.collateral.address, action.sale.sold
    return None


def _ceiling_words(kind: ActionKind) -> str:
    if kind is ActionKind.REPAY:
        return "all that is owed"
    return "all that is owed and supplied" if kind is ActionKind.REPAY_WITH_ATOKENS else "all that the market takes"
