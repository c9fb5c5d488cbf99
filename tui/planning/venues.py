"""Swaps by the account itself at other venues than the one that is asked on the chain: what is ordered of them, what a
plan with their calls comes to, and which of two proven plans is taken. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tui.model.plan import Action, Alternative, Plan, Refusal
from tui.model.position import Asset, Position
from tui.model.rule import ActionKind, RoundsUse, Rule, Step
from tui.model.swap import SwapAnswer, SwapOrder
from tui.model.units import WAD, mul_div_up, value_usd
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances, Offer, OfferKey, kind_of, offer_key
from tui.planning.limits import refuse_before_sizing
from tui.planning.own_swaps import PRICE_ROOM, is_hurried
from tui.planning.payers import paid_by
from tui.planning.texts import step_text
from tui.planning.waterfall import run_waterfall
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import Quote, SwapRequest, fair_in

Orders = Mapping[OfferKey, SwapOrder]
Answers = Mapping[OfferKey, SwapAnswer]


@dataclass(frozen=True, slots=True)
class Proven:
    """A plan that was simulated and is within its limits, and what the wallets hold after it: base units by account and
    token.
    """

    plan: Plan
    left: Mapping[str, Mapping[str, int]]


def orders_of(
    plan: Plan | Refusal, rule: Rule, market: LendingMarket, position: Position, wallet: Wallet, around: Circumstances
) -> Orders:
    """What to ask other venues for, by the keys of offers; nothing where the rule swaps nothing by the account itself,
    or does nothing now whatever a swap comes to.

    It is what `plan` swaps where that reaches its target, or is one round of several: exactly the same amount goes in.
    Where it does not, because the exchange on the chain has too little or is too dear, it is the most that the rule's
    steps allow.
    """
    if not any(map(may_swap_itself, rule.steps)) or refuse_before_sizing(rule, position, wallet, around) is not None:
        return {}
    hurried = is_hurried(rule, position, around)
    if isinstance(plan, Plan) and (plan.reaches_target or plan.rounds is not None):
        return _orders(position, (step.action for step in plan.steps), hurried)
    fall = run_waterfall(rule, market, position, wallet, replace(around, offers=None))
    return _orders(position, fall.actions, hurried)


def ordered_steps(orders: Orders, rule: Rule, market: LendingMarket, position: Position) -> frozenset[int]:
    """The numbers of a rule's steps (from 0) that other venues are asked for."""
    found = set()
    for number, step in enumerate(rule.steps):
        pays = None if step.collateral is None else market.find_asset(position, step.collateral)
        bought = market.find_asset(position, step.asset)
        if pays is not None and bought is not None and offer_key(step.action, pays, bought) in orders:
            found.add(number)
    return frozenset(found)


def may_swap_itself(step: Step) -> bool:
    """Whether an account may have to swap for a step by itself, its own or one that pays: then it may do so anywhere. A
    deleverage does where it goes in rounds.
    """
    if step.action is ActionKind.DELEVERAGE:
        return step.rounds is not RoundsUse.NEVER
    return step.action is ActionKind.SWAP_TO_REPAY


def _orders(position: Position, actions: Iterable[Action], hurried: bool) -> Orders:
    found = {}
    for action in actions:
        # What a helper sells is sized by its own cost, and goes by nobody else's calls.
        if action.sale is None or action.sale.swap is None:
            continue
        sold, swap = action.sale.collateral, action.sale.swap
        account = paid_by(action, position.key.account)
        order = SwapOrder(account, sold, action.asset, swap.amount_in, swap.least_out, hurried)
        found[offer_key(action.kind, sold, action.asset)] = order
    return found


def smaller(answer: SwapAnswer) -> SwapOrder | None:
    """The order that is worth another question: as much less goes in as more would come out than is needed. None where
    that is no more than the room for the price anyway, and in a hurry, when that room is all that goes in.
    """
    order = answer.order
    if order.hurried:
        return None
    needed = mul_div_up(order.amount_in, order.least_out, answer.out)
    amount_in = needed + needed // PRICE_ROOM
    return None if order.amount_in - amount_in <= order.amount_in // PRICE_ROOM else replace(order, amount_in=amount_in)


def with_answers(around: Circumstances, market: LendingMarket, position: Position, answers: Answers) -> Circumstances:
    """Circumstances in which the swaps that `answers` are for go by their calls, at their prices."""
    offers = dict(around.offers or {})
    for key, answer in answers.items():
        order, known = answer.order, offers.get(key)
        try:
            # Of rounds the terms tell that no helper is there, and what the market can give out.
            terms = market.sale_shape(position, order.sold, kind_of(key)) if known is None else known.terms
        except ActionImpossible:
            continue
        prices = {one.address: market.price_usd(position, one) or 0 for one in (order.sold, order.bought)}
        request = SwapRequest(order.sold, order.bought, answer.out, prices)
        fair = fair_in(request)
        loss = None if fair is None else WAD - fair * WAD // order.amount_in
        # Where the money goes nobody says: all of it is told as the distance to the market's own prices.
        quote = Quote(request, answer.call.venue, b"", order.amount_in, 0, 0, loss, loss, 0)
        offers[key] = Offer(terms, (quote,))
    return replace(around, offers=offers, given=answers)


def claims_more(answers: Answers, plan: Plan, market: LendingMarket, position: Position) -> bool:
    """Whether what comes out, as the venue says, is worth more beyond what goes in than in `plan`, gas left aside: only
    then it is simulated.
    """
    claimed, planned = 0, 0
    for action in (step.action for step in plan.steps):
        if action.sale is None or action.sale.swap is None:
            continue
        sold, bought = action.sale.collateral, action.asset
        answer = answers.get(offer_key(action.kind, sold, bought))
        gains = [(action.sale.swap.amount_in, action.sale.swap.least_out + action.sale.surplus)]
        gains.append(gains[0] if answer is None else (answer.order.amount_in, answer.out))
        mine, theirs = (_gain(market, position, sold, bought, *one) for one in gains)
        if mine is None or theirs is None:
            return False
        planned, claimed = planned + mine, claimed + theirs
    return claimed > planned


def _gain(
    market: LendingMarket, position: Position, sold: Asset, bought: Asset, amount_in: int, out: int
) -> int | None:
    prices = [market.price_usd(position, one) for one in (sold, bought)]
    if prices[0] is None or prices[1] is None:
        return None
    return value_usd(out, bought.decimals, prices[1]) - value_usd(amount_in, sold.decimals, prices[0])


def is_better(one: Proven, than: Proven, market: LendingMarket, position: Position) -> bool:
    """Whether `one` is to be taken instead: it reaches a target that the other does not, or does the same deeds and
    leaves the wallet more than its gas costs more. By what simulation showed, not by what anybody says.
    """
    if one.plan.reaches_target is not than.plan.reaches_target:
        return one.plan.reaches_target
    if _deeds(one.plan) != _deeds(than.plan):
        return False
    # What is not taken out of the position is as good as what is left in the wallet.
    gained = _withdrawn_usd(than.plan) - _withdrawn_usd(one.plan)
    for owner, asset in _moved(one.plan):
        after = one.left.get(owner, {}).get(asset.address)
        before = than.left.get(owner, {}).get(asset.address)
        price = market.price_usd(position, asset)
        if after is None or before is None or price is None:
            return False
        difference = value_usd(abs(after - before), asset.decimals, price)
        gained += difference if after > before else -difference
    dear, cheap = one.plan.cost.gas_usd, than.plan.cost.gas_usd
    if dear is None or cheap is None:
        return gained > 0 and one.plan.cost.gas_units <= than.plan.cost.gas_units
    return gained > dear - cheap


def _deeds(plan: Plan) -> Sequence[tuple[ActionKind, str, int]]:
    return [(step.action.kind, step.action.asset.address, step.action.amount) for step in plan.steps]


def _withdrawn_usd(plan: Plan) -> int:
    """Dollars (8 decimals) of collateral that a round of a plan takes out of the position."""
    sales = [step.action.sale for step in plan.steps if step.action.sale is not None]
    return sum(value_usd(one.withdrawn or 0, one.collateral.decimals, one.price_usd or 0) for one in sales)


def _moved(plan: Plan) -> tuple[tuple[str, Asset], ...]:
    """The tokens of which a plan's own swaps change what a wallet holds, with whose it is, each once."""
    found: dict[tuple[str, str], tuple[str, Asset]] = {}
    for action in (step.action for step in plan.steps):
        if action.sale is None or action.sale.swap is None:
            continue
        owner = paid_by(action, plan.position.account)
        for asset in (action.sale.collateral, action.asset):
            found[owner, asset.address] = (owner, asset)
    return tuple(found.values())


def venue_way(
    plan: Plan, rule: Rule, market: LendingMarket, position: Position, why_not: str | None = None
) -> Alternative:
    """A plan as one more way at the same block, named by where its own swaps go; `why_not` it was not taken."""
    sales = (step.action.sale for step in plan.steps)
    venues = dict.fromkeys(sale.venue for sale in sales if sale is not None and sale.swap is not None)
    numbers = _numbers(plan, rule, market, position)
    words = ", then ".join(step_text(rule.steps[number]) for number in numbers)
    return Alternative(
        words=f"{words} on {' and '.join(venues)}",
        steps=numbers,
        cost=plan.cost,
        health_factor_after=plan.health_factor_after,
        reaches_target=plan.reaches_target,
        why_not=why_not,
        simulated=plan.simulated,
    )


def _numbers(plan: Plan, rule: Rule, market: LendingMarket, position: Position) -> tuple[int, ...]:
    """The numbers of the rule's steps that a plan's steps are."""
    found: list[int] = []
    for action in (step.action for step in plan.steps):
        paid_by = None if action.sale is None else action.sale.collateral
        for number, step in enumerate(rule.steps):
            pays = None if step.collateral is None else market.find_asset(position, step.collateral)
            same = step.action is action.kind and market.find_asset(position, step.asset) == action.asset
            if same and pays == paid_by and number not in found:
                found.append(number)
                break
    return tuple(found)
