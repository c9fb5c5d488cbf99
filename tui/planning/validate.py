"""What would keep a rule from working, found before it is armed and again when the chain's parameters change. Pure.

Everything is judged where the rule would fire: at the price at which health falls under its trigger (or rises
over it), or at the price that it waits for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from tui.model.plan import SaleTerms
from tui.model.position import Asset, Position
from tui.model.rule import (
    BORROWING,
    FROM_WALLET,
    SALES,
    ActionKind,
    Order,
    RoundsUse,
    Rule,
    RuleProblem,
    StandingAllowance,
    Step,
    TriggerKind,
)
from tui.model.text import clean_text, short_address
from tui.model.units import BPS, USD, WAD, parse_units, usd_text, value_usd
from tui.model.wallet import Allowance, Wallet
from tui.planning.calling import UNLIMITED, calls_of, left_by_us
from tui.planning.choice import Ways
from tui.planning.circumstances import Circumstances, Offer, OfferKey, offer_key
from tui.planning.payers import payer_wallet
from tui.planning.policy import PRICE_ROOM
from tui.planning.texts import amount_text, health_text, part_text, percent_text, step_text
from tui.planning.triggering import at_trigger as at_trigger
from tui.planning.triggering import beyond_words, liquidation_first
from tui.planning.waterfall import DAILY_SPENT, DEFAULT_SLIPPAGE_BPS, NO_ROUTER, Waterfall
from tui.protocols.base import ActionImpossible, LendingMarket
from tui.quotes.base import fair_in
from tui.risk.deleverage import feasible, kept_share
from tui.rules.prices import level_words, pair_text, price_text

_NOT_NOW = frozenset({"no-sale", "no-answer", "slippage-too-small", "loses-too-much"})
"""A step with one of these sells nothing as exchanges are now: the target has to be reached without it."""
_NEVER = frozenset(
    {"asset-unlisted", "action-missing", "no-router", "no-sale", "slippage-too-small", "sale-cannot-help"}
)
"""A step with one of these does nothing until somebody mends it. A wallet that is empty, a reserve that is paused, a
collateral that is sold are not among them: they pass by themselves while a rule is armed.
"""
FIRES_AT_ONCE = "fires-at-once"
"""The code of a trigger that is crossed already."""
BEYOND_LIQUIDATION = "stop-beyond-liquidation"
"""The code of a price that liquidation comes before."""
STANDING_ALLOWANCE = "standing-allowance"
"""The code of an allowance of which more stands than a plan needs."""
OUT_OF_REACH = "out-of-reach"
"""The code of a goal that the steps do not reach with what is there now."""
FEW_FIRINGS = 5
"""So many firings a day the signer is to sign at least: somebody who makes a few of them revert must not use it up."""
LITTLE_ROOM_BPS = 100
"""A trigger from which a fall by less than this leads to liquidation leaves hardly a block to act in."""


def validate(
    rule: Rule,
    market: LendingMarket,
    position: Position,
    wallet: Wallet,
    circumstances: Circumstances,
    best: int | None = None,
) -> tuple[RuleProblem, ...]:
    """What is wrong with `rule` on `position`, decisive problems first; none where the position says nothing (unknown,
    or without debt).

    `circumstances.offers`, where given, are looked at for what exchanges charge at least and what a sale would lose
    now. Sizes at the trigger price assume the worst that each step allows, and leave out what cannot be sold now.
    `best`: the best price seen (wad), for a trigger that trails.
    """
    if position.unknown is not None or position.health_factor is None:
        return ()
    there = at_trigger(rule, market, position, best)
    found = list(_of_trigger(rule, market, position, best))
    found += list(_of_steps(rule, market, there, position, wallet, circumstances))
    if rule.steps and all(any(one.step == at and one.code in _NEVER for one in found) for at in range(len(rule.steps))):
        found.append(_nothing_acts(found))
    aside = {one.step: one.words for one in found if one.step is not None and one.code in _NOT_NOW}
    # Quotes hold at the price they were asked at; at another one the worst is assumed.
    assumed = replace(circumstances, offers=None, spent_today_usd=0, left_out={**circumstances.left_out, **aside})
    ways = Ways(rule, market, there, wallet, assumed)
    fall = ways.best_reach()
    found = [_if_needed(one, fall) for one in found]
    if not fall.reaches_target:
        found.append(_out_of_reach(rule, fall))
    found.extend(_of_approvals(market, fall, wallet, circumstances))
    found.extend(_of_signers_day(rule, market, there, fall))
    unique = dict.fromkeys(found)
    return tuple(sorted(unique, key=lambda one: (not one.decisive, -1 if one.step is None else one.step)))


def _if_needed(problem: RuleProblem, fall: Waterfall) -> RuleProblem:
    """What may be taken of a token that the rule does not come to need where it fires keeps it from nothing there."""
    if problem.code != STANDING_ALLOWANCE or problem.step in fall.taken:
        return problem
    return replace(problem, decisive=False)


def _of_trigger(rule: Rule, market: LendingMarket, position: Position, best: int | None) -> Iterator[RuleProblem]:
    """What is crossed already, or that liquidation comes before; a health that liquidation follows at once."""
    said = beyond_words(rule, market, position, best)
    if said is not None:
        yield RuleProblem(
            FIRES_AT_ONCE, None, f"{said} already: it fires at once",
            f"write another {'price' if rule.trigger.is_price else 'health factor'} if that is not meant",
            decisive=False,
        )  # fmt: skip
    if not rule.trigger.by_value:
        yield from _of_health(rule)
        return
    late = liquidation_first(rule, market, position, best)
    if late is not None:
        level, at = late
        pair = pair_text(rule.trigger)
        other = "lower" if rule.trigger.kind is TriggerKind.PRICE_ABOVE else "higher"
        yield RuleProblem(
            BEYOND_LIQUIDATION,
            None,
            f"it fires at {pair} {level_words(rule.trigger, level)}, but the position is liquidated "
            f"at {price_text(at)} before that",
            f"write a {other} price, with room to act in before {price_text(at)}"
            if rule.trigger.is_price
            else f"write a smaller {rule.trigger.kind.value}",
            decisive=True,
        )


def _of_health(rule: Rule) -> Iterator[RuleProblem]:
    below = rule.health_factor_below
    if below is None or below <= WAD or (below - WAD) * BPS >= LITTLE_ROOM_BPS * below:
        return
    yield RuleProblem(
        "little-room",
        None,
        f"it fires under {health_text(below, 4)}: what backs the debt has {percent_text((below - WAD) * WAD // below)} "
        "left to fall from there until anybody may liquidate it, often less than one block moves it",
        "write a higher trigger",
        decisive=False,
    )


def _nothing_acts(found: Sequence[RuleProblem]) -> RuleProblem:
    why = dict.fromkeys(one.words for one in found if one.code in _NEVER)
    return RuleProblem(
        "nothing-acts",
        None,
        f"none of its steps can do anything ({'; '.join(why)})",
        "mend one of them, or write a step that can act",
        decisive=True,
    )


def _out_of_reach(rule: Rule, fall: Waterfall) -> RuleProblem:
    """That the goal is not reached, and how far it gets."""
    notes = [step.note for step in fall.steps if step.note] + list(fall.skipped)
    because = f" ({'; '.join(notes)})" if notes else ""
    if rule.close_bps is not None:
        gets = f"it closes {part_text(fall.closed_bps or 0)}, not {part_text(rule.close_bps)}"
        less = "close less"
    else:
        reached, wanted = health_text(fall.position.health_factor, 4), health_text(rule.target_health_factor)
        gets, less = f"it gets to {reached}, not to {wanted}", f"write a {'higher' if rule.boosts else 'lower'} target"
    # A boost borrows what it takes.
    mends = [*(() if rule.boosts else ("fund the wallet",)), "raise a max", "add a step", less]
    if any(DAILY_SPENT in note for note in notes):
        mends.insert(-1, "raise daily_spend_usd")
    if not rule.partial:
        mends.append("write partial = true to have it armed for as far as it gets")
    return RuleProblem(
        OUT_OF_REACH,
        None,
        f"where it fires, with what is there now, {gets}{because}",
        f"{', '.join(mends[:-1])}, or {mends[-1]}",
        decisive=not rule.partial,
    )


def _of_steps(
    rule: Rule,
    market: LendingMarket,
    position: Position,
    now: Position,
    wallet: Wallet,
    circumstances: Circumstances,
) -> Iterator[RuleProblem]:
    pairs: dict[OfferKey, int] = {}
    for number, step in enumerate(rule.steps):
        asset = market.find_asset(position, step.asset)
        if asset is None:
            yield _problem(number, step, "asset-unlisted", f"{market.key} lists no {clean_text(step.asset)}",
                           "write an asset that it lists", decisive=False)  # fmt: skip
            continue
        if step.action not in market.actions:
            yield _problem(
                number, step, "action-missing", f"{market.key} cannot do it", "take the step out", decisive=False
            )
            continue
        if step.action in SALES:
            collateral = market.find_asset(position, step.collateral or "")
            if collateral is None:
                yield _problem(
                    number, step, "asset-unlisted", f"{market.key} lists no {clean_text(step.collateral or '')}",
                    "write a collateral that it lists", decisive=False,
                )  # fmt: skip
                continue
            pair = offer_key(step.action, collateral, asset)
            if pair in pairs:
                yield _problem(
                    number, step, "sale-twice", f"step {pairs[pair] + 1} sells the same for the same debt",
                    "keep one of them, with the larger max",
                )  # fmt: skip
                continue
            pairs[pair] = number
            yield from _of_sale(rule, number, step, market, position, now, circumstances, collateral, asset)
        else:
            pays = payer_wallet(step.wallet, wallet, circumstances)
            pays = pays or Wallet("", None, None)
            yield from _of_plain(rule, number, step, market, position, pays, asset, circumstances.ours)


def _of_plain(
    rule: Rule,
    number: int,
    step: Step,
    market: LendingMarket,
    position: Position,
    wallet: Wallet,
    asset: Asset,
    ours: Collection[Allowance],
) -> Iterator[RuleProblem]:
    """A supply cap, nothing supplied, nothing owed, an allowance that stands."""
    symbol = asset.symbol
    try:
        ceiling = market.ceiling(position, step.action, asset)
    except ActionImpossible as refused:
        code, fix = "impossible", "take the step out, or another asset"
        if step.action is ActionKind.REPAY_WITH_ATOKENS and not _supplied(position, asset):
            code, fix = "nothing-supplied", f"supply some {symbol}, or repay it from the wallet"
        yield _problem(number, step, code, str(refused), fix, decisive=False)
        return
    wanted = _units(step.maximum, asset)
    if step.action is ActionKind.ADD_COLLATERAL and wanted is not None and ceiling < wanted:
        yield _problem(
            number, step, "supply-cap",
            f"the supply cap leaves {amount_text(ceiling, asset)}, less than the step's {step.maximum}",
            "add another collateral, or a step that repays", decisive=False,
        )  # fmt: skip
    if step.action not in FROM_WALLET:
        return
    spender, holding = market.spender(step.action), wallet.holding(asset.address)
    allowed = None if spender is None or holding is None else holding.allowances.get(spender)
    if allowed is None or holding is None:
        yield _problem(number, step, "allowance-unknown", f"what the market may take of {symbol} could not be read",
                       "check again later", decisive=False)  # fmt: skip
    elif left_by_us(wallet, asset.address, spender or "", ours) is not None:
        return  # it is taken back first
    elif rule.limits.standing_allowance is StandingAllowance.REFUSE and 0 < (holding.balance or 0) < allowed:
        much = "without limit" if allowed >= UNLIMITED else amount_text(allowed, asset)
        whose = "the wallet's" if step.wallet is None else f"{short_address(step.wallet)}'s"
        yield _problem(
            number, step, STANDING_ALLOWANCE,
            f"{short_address(spender or '')} may take more of {whose} {symbol} ({much}) than a plan will need: "
            "the step would not be done",
            'take that allowance back (approve 0), or write standing_allowance = "use" under [rule.limits]',
            decisive=rule.order is Order.WRITTEN,
        )  # fmt: skip


def _of_sale(
    rule: Rule,
    number: int,
    step: Step,
    market: LendingMarket,
    position: Position,
    now: Position,
    circumstances: Circumstances,
    collateral: Asset,
    debt: Asset,
) -> Iterator[RuleProblem]:
    """What cannot be sold at all, would not help, or is dearer than its step allows: always, or at prices of `now`."""
    held = next((one for one in position.collateral if one.asset.address == collateral.address), None)
    swaps, borrows = step.action is ActionKind.SWAP_TO_REPAY, step.action in BORROWING
    if swaps and circumstances.swapper is None:
        yield _problem(number, step, "no-router", NO_ROUTER, "mend the network file", decisive=False)
        return
    if not borrows and not swaps and (held is None or held.amount <= 0):
        yield _problem(number, step, "nothing-supplied", f"no {collateral.symbol} is supplied",
                       "name a collateral that is held", decisive=False)  # fmt: skip
        return
    try:
        market.ceiling(position, step.action, debt, collateral)
        terms = market.sale_shape(position, collateral, step.action)
    except ActionImpossible as refused:
        yield _problem(number, step, "impossible", str(refused), "take the step out", decisive=False)
        return
    slippage = DEFAULT_SLIPPAGE_BPS if step.max_slippage_bps is None else step.max_slippage_bps
    threshold = held.liquidation_threshold if held is not None and held.counts else 0
    offer = (circumstances.offers or {}).get(offer_key(step.action, collateral, debt))
    least, fees = 0, 0
    if offer is not None:
        why = offer.why_not or offer.terms.impossible
        if offer.terms.absent and step.rounds is not RoundsUse.NEVER:
            why = offer.why_not
            words = "no helper is deployed, so it goes in rounds of withdrawing, swapping and repaying"
            fix = "run `trimtab helper deploy`: it makes it one transaction"
            yield _problem(number, step, "in-rounds", words, fix, decisive=False)
        if why is not None:
            code = "no-answer" if offer.unanswered else "no-sale"
            yield _problem(number, step, code, why, _fix_of(offer.terms), decisive=False)
        losses = [one.loss for one in offer.quotes if one.loss is not None]
        least, fees = min(losses, default=0), min((one.fees for one in offer.quotes), default=0)
        terms = offer.terms
    lost = None if offer is None else _loss_now(offer, market, now, collateral, debt)
    if fees and fees * BPS >= slippage * WAD:
        yield _problem(
            number, step, "slippage-too-small",
            f"the pool's fee alone is {percent_text(fees)}, the step allows {percent_text(slippage, BPS)}",
            f"write a max_slippage above {percent_text(fees)}",
        )  # fmt: skip
    elif lost is not None and lost * BPS > slippage * WAD:
        yield _problem(
            number, step, "loses-too-much",
            f"now it would lose {percent_text(lost)}, over the step's {percent_text(slippage, BPS)}",
            f"write a max_slippage above {percent_text(lost)}, or wait for a better price", decisive=False,
        )  # fmt: skip
    if step.action is not ActionKind.DELEVERAGE:
        return
    # Closing a part is no question of how far health rises, but it is to rise.
    target = rule.target_health_factor or max(position.health_factor or 0, WAD)
    if not feasible(target, threshold, kept_share(least, terms.premium_bps)):
        yield _problem(number, step, "sale-cannot-help", _useless(target, threshold, least, terms),
                       "write a higher target, or sell a collateral with a lower threshold")  # fmt: skip
    elif not feasible(target, threshold, kept_share(slippage * WAD // BPS, terms.premium_bps)):
        yield _problem(
            number, step, "slippage-too-large",
            f"a sale that loses all of its {percent_text(slippage, BPS)} would not lift the health factor",
            "write a smaller max_slippage", decisive=False,
        )  # fmt: skip


def _loss_now(offer: Offer, market: LendingMarket, now: Position, paying: Asset, bought: Asset) -> int | None:
    """The least part (wad) that a sale loses against the market's prices of now, whatever price it was sized at; None
    where it was not quoted or a price is not known.
    """
    prices = {}
    for asset in (paying, bought):
        price = market.price_usd(now, asset)
        if not price:
            return None
        prices[asset.address] = price
    lost = []
    for quote in offer.quotes:
        fair = fair_in(replace(quote.request, prices_usd=prices))
        if fair is not None and quote.amount_in > 0:
            lost.append(WAD - fair * WAD // quote.amount_in)
    return min(lost, default=None)


def _useless(target: int, threshold: int, loss: int, terms: SaleTerms) -> str:
    kept = kept_share(loss, terms.premium_bps)
    return (
        f"it cannot lift the health factor to {health_text(target)}: {percent_text(kept)} of what is sold repays debt, "
        f"while {percent_text(threshold)} of it counted as cover"
    )


def _of_approvals(
    market: LendingMarket, fall: Waterfall, wallet: Wallet, circumstances: Circumstances
) -> Iterator[RuleProblem]:
    """Steps that cannot be built, and those that take a transaction more because a permit is missing."""
    try:
        calls = calls_of(market, fall, wallet, circumstances.payers)
    except ActionImpossible as impossible:
        yield RuleProblem("not-buildable", None, str(impossible), "check again later", decisive=True)
        return
    extra = 0
    for call in calls:
        if call.action is None:
            extra += 1
            continue
        # Before a market was asked for its terms, nobody knows whether its receipts have permits.
        known = call.action.sale is None or call.action.sale.is_quoted
        if extra and known:
            number = next(
                (at for at, step in zip(fall.taken, fall.steps, strict=True) if step.action.asset == call.action.asset
                 and step.action.kind is call.action.kind and step.action.payer == call.action.payer), None,
            )  # fmt: skip
            yield RuleProblem(
                "extra-transactions",
                number,
                f"{call.action.kind.word} {call.action.asset.symbol}: takes {extra + 1} transactions (there is no "
                "permit, or native coin is wrapped)",
                "nothing needs to be done; acting costs a little more and is a block slower",
                decisive=False,
            )
        extra = 0


def _of_signers_day(rule: Rule, market: LendingMarket, there: Position, fall: Waterfall) -> Iterator[RuleProblem]:
    """Steps of which the signer signs only a few firings a day: it counts those that revert, which move nothing."""
    daily = rule.limits.daily_spend_usd
    if not daily:
        return
    for number, one in zip(fall.taken, fall.steps, strict=True):
        sale = one.action.sale
        asset, amount = (one.action.asset, one.action.amount) if sale is None else (sale.collateral, sale.most_sold)
        price = market.price_usd(there, asset)
        usd = value_usd(amount, asset.decimals, price) if price else 0
        if usd and daily * PRICE_ROOM < FEW_FIRINGS * usd:
            times = daily * PRICE_ROOM // usd
            yield _problem(
                number, rule.steps[number], "few-firings",
                f"where it fires it moves ${usd_text(usd)} of {asset.symbol}, and the signer signs for "
                f"${usd_text(daily * PRICE_ROOM)} a day ({PRICE_ROOM} times daily_spend_usd): {times} firings, and "
                "those that revert count too, because it cannot see the chain",
                f"write a daily_spend_usd of {-(-FEW_FIRINGS * usd // (PRICE_ROOM * USD))} or more, to have "
                f"{FEW_FIRINGS} of them",
                decisive=False,
            )  # fmt: skip


def _supplied(position: Position, asset: Asset) -> bool:
    return any(one.asset.address == asset.address and one.amount for one in position.collateral)


def _units(maximum: str | None, asset: Asset) -> int | None:
    if maximum is None:
        return None
    try:
        return parse_units(maximum, asset.decimals)
    except ValueError:
        return None


def _fix_of(terms: SaleTerms) -> str:
    return "see `trimtab helper show`" if terms.impossible else "check again later, or sell another collateral"


def _problem(number: int, step: Step, code: str, words: str, fix: str, decisive: bool = True) -> RuleProblem:
    return RuleProblem(code, number, f"{step_text(step)}: {words}", fix, decisive)
