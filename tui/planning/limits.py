"""A plan held against the limits of its rule on what it may cost, and against the money there is for gas.

No limit on cost lets a position be liquidated to save gas: under the rule's `emergency` health the share of cost and
the base fee count no longer, up to the whole loss that acting avoids. A limit that holds a rule back says so, and until
when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tui.model.plan import FeeQuote, Plan, PlanCost, PlannedCall, Refusal, SwapCost
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.text import short_address
from tui.model.units import BPS, USD, WAD, format_units, usd_text
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances
from tui.planning.costs import GasBySender, gas_ceiling_wei, least_fee, offering, plan_cost, with_ceiling
from tui.planning.fee_caps import largest, over_cap
from tui.planning.payers import payer_wallet, refuse_signers
from tui.planning.texts import health_text, percent_text
from tui.risk.probability import HORIZON, health_worth_acting, liquidation_probability

UNSIMULATED_GAS = 450_000
"""Gas booked for a call before a simulation has said what it takes, where its market does not say it either."""
GAS_TIMES = 3
"""How many times the gas expected, at the fee of now, a daily limit leaves: a third more is in gas limits, and the rest
lets attempts be raised to twice that fee. Where that is more than half of the limit it is twice: an eighth more
than that fee and a third for gas limits. The whole ceiling, eight times the base fee, would eat small limits whole."""
_DAY = 24 * 60 * 60
_UNKNOWN_DATA_FEE = "what layer 1 charges for its data is not known: l1_fee_oracle of the network file gives no answer"


def refuse_before_sizing(
    rule: Rule, position: Position, wallet: Wallet, circumstances: Circumstances
) -> Refusal | None:
    """Why the rule does nothing, whatever its steps come to; None where they are to be looked at."""
    if position.unknown is not None:
        return Refusal("unknown", f"the position cannot be trusted now: {position.unknown}")
    health = position.health_factor
    if health is None:
        return Refusal("no-debt", "the position owes nothing")
    nobody = refuse_signers(rule, wallet, circumstances)
    if nobody is not None:
        return nobody
    limit, now, emergency = rule.limits.max_base_fee, circumstances.fees.base_fee, rule.limits.emergency
    if limit is not None and now > limit and health >= emergency:
        return Refusal(
            "max-base-fee",
            f"the base fee is {format_units(now, 9, 2)} gwei, over the rule's {format_units(limit, 9, 2)}: protection "
            f"is suspended until it falls, or until the health factor is under {health_text(emergency)} "
            f"(now {health_text(health, 4)})",
            acts_below=emergency,
        )
    daily = rule.limits.daily_spend_usd
    if daily is not None and circumstances.spent_today_usd >= daily:
        return Refusal("daily-spend", f"today's ${usd_text(daily)} are spent")
    left = 0 if daily is None else daily - circumstances.spent_today_usd
    if daily is not None and circumstances.reserved_usd >= left:
        return Refusal(
            "daily-spend",
            f"gas may take ${usd_text(circumstances.reserved_usd)}, which today's limit of ${usd_text(daily)} does not "
            f"leave (${usd_text(circumstances.spent_today_usd)} are spent): protection is suspended until gas costs "
            "less, or until tomorrow",
        )
    if daily is not None and daily < USD // 100:
        return Refusal("daily-spend", "the daily spend is nothing")
    return None


def price_plan(
    plan: Plan, rule: Rule, wallet: Wallet, circumstances: Circumstances, gas_by: GasBySender | None = None
) -> Plan | Refusal:
    """The plan with its cost at the fees quoted and a ceiling that keeps the rule's limits, or why it costs too much.

    Called again after simulation, when the gas of each call is known; `gas_by` says it (units) where it is not. Held
    against the limits is what the calls are expected to take; what no limit on gas keeps them from taking is in the
    ceiling, and in the money that has to be there.
    """
    most_by, most = gas_by, None
    if gas_by is None or most_by is None:
        gas_by = _units(plan, lambda call: call.gas_used or call.gas_limit or UNSIMULATED_GAS)
        most_by = _units(plan, lambda call: call.gas_limit or UNSIMULATED_GAS)
        most = sum(most_by.values())
    gas = sum(gas_by.values())
    swap, lost_yield = swap_of(plan), plan.cost.lost_yield_usd_year
    # Of several rounds the limits are held against all: one that is begun is to be ended.
    rounds = plan.rounds
    times = 1 if rounds is None else 1 + rounds.ahead
    all_swaps = swap if rounds is None else replace(swap, gap_usd=swap.gap_usd + rounds.swap_usd)
    all_most = None if most is None else most * times
    cost = plan_cost(gas * times, plan.calls * times, all_swaps, lost_yield, circumstances, all_most)
    refusal = (
        _over_cost(rule, cost, circumstances)
        or _over_base_fee(plan, rule, cost, circumstances)
        or _over_share(plan, rule, cost)
    )
    if refusal is not None and rounds is not None and times > 1:
        refusal = replace(refusal, reason=f"{rounds.in_short}: {refusal.reason}")
    if refusal is None and circumstances.signer_fees is not None:
        refusal = over_cap(circumstances.signer_fees, circumstances.fees, largest(plan.calls, UNSIMULATED_GAS))
    if refusal is not None:
        return refusal
    fees = with_ceiling(circumstances.fees, _ceiling(plan, rule, cost, circumstances, sum(most_by.values())))
    paid_for = _paid_for(plan, wallet, circumstances, fees, most_by)
    if isinstance(paid_for, Refusal):
        return paid_for
    fees = paid_for
    held_to = replace(circumstances, fees=replace(circumstances.fees, ceiling=fees.ceiling))
    cost = plan_cost(gas, plan.calls, swap, lost_yield, held_to, most)
    rounds = None if rounds is None else replace(rounds, gas_units=gas * rounds.ahead)
    return replace(plan, cost=cost, fees=fees, rounds=rounds)


def gas_reserve_usd(plan: Plan, rule: Rule, circumstances: Circumstances) -> int:
    """Dollars (8 decimals) that the day's limit is to leave for the gas of a plan that is not simulated yet. The
    ceiling of its fees is then held to what it does leave. 0 where the native coin has no price.
    """
    fees, price = circumstances.fees, circumstances.native_price_usd
    if price is None:
        return 0
    wei = plan.cost.gas_units * (fees.base_fee + fees.priority_fee) + (plan.cost.l1_fee_wei or 0)
    expected, most = wei * price // WAD, rule.limits.max_cost_usd
    left = (rule.limits.daily_spend_usd or 0) - circumstances.spent_today_usd
    usd = min(GAS_TIMES * expected, max(left // 2, 2 * expected))
    return usd if most is None else min(usd, most)  # the ceiling of its fees is held to that


def _units(plan: Plan, of: Callable[[PlannedCall], int]) -> GasBySender:
    """Units of gas by who signs, each call `of` so much."""
    found: dict[str | None, int] = {}
    for call in plan.calls:
        found[call.sender] = found.get(call.sender, 0) + of(call)
    return found


def swap_of(plan: Plan) -> SwapCost:
    """What all sales of a plan cost together."""
    costs = [step.action.sale.cost for step in plan.steps if step.action.sale is not None]
    return SwapCost(
        sum(one.fees_usd for one in costs),
        sum(one.impact_usd for one in costs),
        sum(one.gap_usd for one in costs),
        sum(one.premium_usd for one in costs),
    )


def _ceiling(plan: Plan, rule: Rule, cost: PlanCost, circumstances: Circumstances, units: int) -> int:
    """The most wei a unit of gas that any attempt may pay. A limit in dollars holds even for a call that takes all of
    its gas limit, that of a day for the `units` of what is signed now; a share, being one of what is expected, for what
    it is expected to take.
    """
    ceiling, limit, data = circumstances.fees.ceiling, rule.limits.max_cost_usd, cost.l1_fee_wei or 0
    if circumstances.signer_fees is not None:
        ceiling = min(ceiling, circumstances.signer_fees.ceiling(largest(plan.calls, UNSIMULATED_GAS)))
    if limit is not None:
        ceiling = min(ceiling, gas_ceiling_wei(limit - cost.swap_usd, cost.most_gas, data, circumstances))
    asked = circumstances.fees.base_fee + circumstances.fees.priority_fee
    daily = rule.limits.daily_spend_usd
    if daily is not None and circumstances.native_price_usd:
        # What is booked for gas is rounded up for each transaction.
        left = daily - circumstances.spent_today_usd - plan.spend_usd - len(plan.calls)
        # A plan that takes all that is left is sized anew with less, or refused as it is booked.
        ceiling = min(ceiling, max(gas_ceiling_wei(left, units, data, circumstances), asked))
    most = _most_worth_paying(plan, rule, circumstances.fees)
    if most is not None and cost.gas_usd:
        cap = gas_ceiling_wei(most - cost.swap_usd, cost.gas_units, data, circumstances)
        # Dollars are cut, wei are not: what was priced and found cheap enough is to go out all the same.
        ceiling = min(ceiling, max(cap, asked))
    return ceiling


def _most_worth_paying(plan: Plan, rule: Rule, fees: FeeQuote) -> int | None:
    """Dollars (8 decimals) that any attempt may come to by the limits that give way; None where nothing limits it, or
    where the loss is not known.
    """
    share = rule.limits.max_cost_share_bps
    if share is not None and plan.health_factor_before >= rule.limits.emergency:
        return None if plan.expected_loss_usd is None else plan.expected_loss_usd * share // BPS
    return plan.avoided_loss_usd if share is not None or _lifts_base_fee(rule, fees) else None


def _lifts_base_fee(rule: Rule, fees: FeeQuote) -> bool:
    """Whether the rule acts over its limit on the base fee: it gets this far only in an emergency."""
    return rule.limits.max_base_fee is not None and fees.base_fee > rule.limits.max_base_fee


def _over_cost(rule: Rule, cost: PlanCost, circumstances: Circumstances) -> Refusal | None:
    """Why a firing would pass the limit in dollars, or could: at the fee of now with all of its gas limit taken."""
    limit = rule.limits.max_cost_usd
    if limit is None:
        return None
    if cost.l1_fee_wei is None:
        return Refusal("cost-unknown", f"the rule limits its cost, but {_UNKNOWN_DATA_FEE}")
    if cost.total_usd is None or not cost.gas_usd:
        return Refusal(
            "cost-unknown",
            "the rule limits its cost, but the price of the native coin is not known; "
            "set native_usd_feed in the network file",
        )
    fees, data = circumstances.fees, cost.l1_fee_wei
    asked = fees.base_fee + fees.priority_fee
    most = (cost.most_gas * asked + data) * (circumstances.native_price_usd or 0) // WAD + cost.swap_usd
    if most <= limit:
        return None
    at_most = ""
    if cost.total_usd <= limit:
        at_most = f", and up to ${usd_text(most)} if it takes all of its gas limit"
    return Refusal(
        "max-cost",
        f"{_cost_words(cost)}{at_most}, over the rule's ${usd_text(limit)}: protection is suspended until it costs "
        "less, whatever the health factor",
    )


def _over_base_fee(plan: Plan, rule: Rule, cost: PlanCost, circumstances: Circumstances) -> Refusal | None:
    """In an emergency the limit on the base fee is lifted up to the whole loss; where that is not known it is lifted,
    too: what is unknown is no reason to be liquidated.
    """
    if not _lifts_base_fee(rule, circumstances.fees):
        return None
    if cost.total_usd is None or plan.avoided_loss_usd is None or cost.total_usd <= plan.avoided_loss_usd:
        return None
    return Refusal(
        "max-base-fee",
        f"the base fee is {format_units(circumstances.fees.base_fee, 9, 2)} gwei and {_cost_words(cost)}, more than "
        f"the ${usd_text(plan.avoided_loss_usd)} that a liquidation would take: protection is suspended until it falls",
    )


def _over_share(plan: Plan, rule: Rule, cost: PlanCost) -> Refusal | None:
    """Why the cost is too large a share of the loss to be expected, or None."""
    share, health = rule.limits.max_cost_share_bps, plan.health_factor_before
    if share is None:
        return None
    under = rule.limits.emergency
    emergency = health < under
    total, loss, expected = cost.total_usd, plan.avoided_loss_usd, plan.expected_loss_usd
    if total is None or loss is None or expected is None:
        if emergency:
            return None
        return Refusal(
            "cost-unknown",
            "the rule limits its cost to a share of the loss avoided, "
            f"{'which is not known now' if cost.l1_fee_wei is not None else f'but {_UNKNOWN_DATA_FEE}'}: protection is "
            f"suspended until it is, or until the health factor is under {health_text(under)}",
            acts_below=under,
        )
    if total <= loss if emergency else total * BPS <= expected * share:
        return None
    if emergency:
        return Refusal(
            "max-cost-share",
            f"{_cost_words(cost)}, more than the whole ${usd_text(loss)} that a liquidation would take: protection is "
            "suspended by cost until it costs less",
        )
    sigma = plan.volatility_bps
    assert sigma is not None
    chance = percent_text(liquidation_probability(health, sigma))
    acts = health_worth_acting(total, loss, share, sigma, under)
    until = (
        "it is more than the whole loss, so at no health factor"
        if acts is None
        else f"until the health factor is under {health_text(acts, 4)} (now {health_text(health, 4)})"
    )
    # A share of nothing would be no number.
    part = "" if not expected else f"{percent_text(total * WAD // expected)} of "
    return Refusal(
        "max-cost-share",
        f"{_cost_words(cost)}, {part}the ${usd_text(expected)} that waiting is expected to lose (${usd_text(loss)} "
        f"that a liquidation would take, with a chance of {chance} in {HORIZON // _DAY} days), over the rule's "
        f"{percent_text(share, BPS)}: protection is suspended by cost {until}",
        acts_below=acts,
    )


def _cost_words(cost: PlanCost) -> str:
    gas, total = cost.gas_usd or 0, cost.total_usd or 0
    data = f", ${usd_text(cost.l1_data_usd)} of it for data on layer 1" if cost.l1_data_usd else ""
    if not cost.swap_usd:
        return f"gas would cost ${usd_text(gas)}{data}"
    return f"it would cost ${usd_text(total)} (gas ${usd_text(gas)}{data}, sales ${usd_text(cost.swap_usd)})"


def _paid_for(
    plan: Plan, own: Wallet, circumstances: Circumstances, fees: FeeQuote, units_by: GasBySender
) -> FeeQuote | Refusal:
    """The fees that there is money for, or why the gas cannot be paid: each account pays for what it signs, `units_by`
    of gas at the most. Where there is less than the fee to be offered and enough for the next blocks, the first attempt
    offers what there is. Later ones may come to the ceiling of the rule all the same: money may be added meanwhile.
    """
    for sender, units in units_by.items():
        wallet = payer_wallet(sender, own, circumstances)
        called = "the account" if sender is None else short_address(sender)
        if wallet is None or wallet.native is None:
            whose = f"{called}'s"
            return Refusal("native-unknown", f"{whose} balance for gas could not be read")
        data = circumstances.l1_fee_wei(call for call in plan.calls if call.sender == sender) or 0
        left = wallet.native - sum(step.action.wrap for step in plan.steps if step.action.payer == sender)
        if left >= units * fees.max_fee + data:
            continue
        least = min(least_fee(circumstances.fees), fees.max_fee)
        if left < units * least + data:
            return Refusal(
                "no-gas",
                f"gas may take {format_units(units * least + data, 18, 6)} of the native coin, {called} has "
                f"{format_units(left, 18, 6)}; add some",
                account=plan.position.account if sender is None else sender,
            )
        fees = offering(fees, (left - data) // units)
    return fees
