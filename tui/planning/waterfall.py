"""The waterfall: each step sized on the state that the earlier ones leave, until the target is met or means run out.

Pure and protocol-neutral: all arithmetic of health is asked of the market's adapter, in exact integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from tui.model.plan import Action, PlannedStep, SwapCost
from tui.model.position import Asset, Position
from tui.model.rounds import MOST_ROUNDS, Rounds
from tui.model.rule import FROM_WALLET, REPAYING, SALES, ActionKind, Order, Rule, Step
from tui.model.text import clean_text
from tui.model.units import LEAST_USD as LEAST_USD
from tui.model.units import UINT256_MAX, value_usd
from tui.model.wallet import Wallet
from tui.planning.apart import Apart
from tui.planning.circumstances import Circumstances
from tui.planning.closing import Closing
from tui.planning.own_swaps import is_hurried
from tui.planning.payers import paid_by, why_passed_over
from tui.planning.purse import Purse
from tui.planning.rounds_rule import behind_a_round, less_by, steps_behind
from tui.planning.sale_steps import DEFAULT_SLIPPAGE_BPS as DEFAULT_SLIPPAGE_BPS
from tui.planning.sale_steps import MOST_LEVERAGE as MOST_LEVERAGE
from tui.planning.sale_steps import SaleSteps
from tui.planning.standing import DAILY_SPENT as DAILY_SPENT
from tui.planning.standing import NO_ROUTER as NO_ROUTER
from tui.planning.standing import Sized
from tui.planning.standing import meets as meets
from tui.planning.texts import amount_text as amount_text
from tui.planning.texts import health_text, step_text
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.risk.sizing import size_action


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
class Flow(SaleSteps):
    """A waterfall as far as it has come. Values are never changed: two orders share what they begin with."""

    @classmethod
    def start(
        cls, rule: Rule, market: LendingMarket, position: Position, wallet: Wallet, circumstances: Circumstances
    ) -> Flow:
        """Nothing done yet."""
        so_far = circumstances.so_far
        in_rounds = so_far is not None and bool(so_far.parts)
        closing = Closing.start(rule, market, position, circumstances.parts, in_rounds=in_rounds)
        others = {account: Purse.of(one) for account, one in circumstances.payers.items()}
        purses = MappingProxyType({**others, position.key.account: Purse.of(wallet)})
        flow = cls(rule, market, circumstances, position, wallet, purses, closing=closing, apart=Apart(position))
        return replace(flow, hurried=is_hurried(rule, position, circumstances))

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
    def reach(self) -> int:
        """How far it has come: a number that grows towards the goal."""
        if self.closing is not None:
            return self.closing.repaid_usd
        health = UINT256_MAX if self.current.health_factor is None else self.current.health_factor
        return UINT256_MAX - health if self.rule.boosts else health

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
            moved=(*self.moved, spends),
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

    def _passing(self, step: Step, why: str) -> Flow:
        return replace(self, skipped=(*self.skipped, f"{step_text(step)}: {why}"))

    def _sized(self, step: Step, number: int) -> Sized | str:
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

    def _plain(self, step: Step, asset: Asset, price: int) -> Sized | str:
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
        return Sized(action, why if binds else "", value_usd(amount, asset.decimals, price))

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
        done = len(self.steps)
        foreseen = zip(flow.taken[done:], flow.steps[done:], flow.moved[done:], strict=True)
        rounds = replace(
            first,
            ahead=max(len(flow.steps) - len(self.steps), first.ahead),
            reaches_target=flow.closing.is_done,
            closes_bps=flow.closing.closed_bps,
            spend_usd=spend,
            swap_usd=own.cost.total_usd * spend // sold if sold else first.swap_usd,
            ends_at=flow.current.health_factor,
            behind=steps_behind((taken, one.action, usd) for taken, one, usd in foreseen if taken != number),
        )
        return replace(self, rounds=rounds)

    def _next_round(self, number: int) -> Flow:
        """The flow once the rule's step `number`, which it took last, may go on."""
        return replace(self, rounds=None, rule=less_by(self.rule, number, self.steps[-1].action))


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
