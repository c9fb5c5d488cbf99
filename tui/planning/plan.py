"""From a rule and a position to a plan: sizes, calls, fees, costs, and every limit that may refuse it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tui.model.plan import Plan, PlanCost, PlannedCall, Refusal
from tui.model.position import Position
from tui.model.rule import Rule, StandingAllowance
from tui.model.text import short_address
from tui.model.units import BPS, USD, WAD, format_units, usd_text
from tui.model.wallet import Wallet
from tui.planning.circumstances import Circumstances as Circumstances
from tui.planning.waterfall import Waterfall, amount_text, run_waterfall
from tui.protocols.base import ActionImpossible, LendingMarket

UNSIMULATED_GAS = 450_000
"""Gas booked for a call before a simulation has said what it takes."""
EMERGENCY_HEALTH = 105 * WAD // 100
"""Under this health factor a limit on the share of cost gives way up to the whole loss that acting avoids."""
PERMIT_LIFETIME = 30 * 60
"""Seconds a permit may live: long enough to be bumped through a busy hour's worth of blocks, no longer."""


def build_plan(
    rule: Rule, market: LendingMarket, position: Position, wallet: Wallet, circumstances: Circumstances
) -> Plan | Refusal:
    """What `rule` would do to `position` now, or why it does nothing.

    The plan is not simulated yet: its gas is booked at `UNSIMULATED_GAS` a call.
    """
    refusal = _refuse_before_sizing(rule, position, wallet, circumstances)
    if refusal is not None:
        return refusal
    before = position.health_factor
    assert before is not None
    fall = run_waterfall(rule, market, position, wallet, circumstances)
    if not fall.steps:
        return Refusal("nothing-available", "; ".join(fall.skipped) or "no step adds anything")
    refusal = _refuse_standing_allowance(rule, market, fall, wallet)
    if refusal is not None:
        return refusal
    calls: list[PlannedCall] = []
    deadline = position.block.timestamp + PERMIT_LIFETIME
    held = wallet
    for step in fall.steps:
        try:
            made = market.calls_for(position, step.action, held, deadline)
        except ActionImpossible as impossible:
            return Refusal("action-impossible", str(impossible))
        calls.extend(made)
        held = _after_permits(held, made)
    plan = Plan(
        rule=rule.name,
        rule_digest=rule.digest,
        position=position.key,
        block=position.block,
        steps=fall.steps,
        calls=tuple(calls),
        health_factor_before=before,
        health_factor_after=fall.position.health_factor,
        reaches_target=fall.reaches_target,
        shortfall=None if fall.reaches_target else _shortfall(rule, fall),
        fees=circumstances.fees,
        cost=PlanCost(0, 0, None),
        avoided_loss_usd=position.liquidation_penalty_usd,
        spend_usd=fall.spend_usd,
    )
    return price_plan(plan, rule, wallet, circumstances)


def price_plan(plan: Plan, rule: Rule, wallet: Wallet, circumstances: Circumstances) -> Plan | Refusal:
    """The plan with its cost at the fees quoted and a ceiling that keeps the rule's limit, or why it costs too much.

    Called again after simulation, when the gas of each call is known.
    """
    fees = circumstances.fees
    gas = sum(call.gas_limit or UNSIMULATED_GAS for call in plan.calls)
    # What is likely to be paid: the whole gas limit at the next base fee and the tip, which errs on the dear side.
    wei = gas * (fees.base_fee + fees.priority_fee)
    price = circumstances.native_price_usd
    cost = PlanCost(gas, wei, None if price is None else wei * price // WAD)
    limit = rule.limits.max_cost_usd
    ceiling = fees.ceiling
    if limit is not None:
        if price is None or price <= 0 or cost.total_usd is None:
            return Refusal(
                "cost-unknown",
                "the rule limits its cost, but the price of the native coin is not known; "
                "set native_usd_feed in the network file",
            )
        if cost.total_usd > limit:
            return Refusal(
                "max-cost", f"gas would cost ${usd_text(cost.total_usd)}, over the rule's ${usd_text(limit)}"
            )
        ceiling = min(ceiling, limit * WAD // price // gas)
    refusal = _costs_too_large_a_share(plan, rule, cost)
    if refusal is not None:
        return refusal
    if ceiling < fees.max_fee:
        fees = replace(fees, max_fee=ceiling, priority_fee=min(fees.priority_fee, ceiling))
    fees = replace(fees, ceiling=max(ceiling, 1))
    if wallet.native is None:
        return Refusal("native-unknown", "the account's balance for gas could not be read")
    if wallet.native < gas * fees.max_fee:
        short = format_units(gas * fees.max_fee, 18, 6)
        return Refusal(
            "no-gas",
            f"gas may take {short} of the native coin, the account has {format_units(wallet.native, 18, 6)}; add some",
        )
    return replace(plan, cost=cost, fees=fees)


def _costs_too_large_a_share(plan: Plan, rule: Rule, cost: PlanCost) -> Refusal | None:
    """Why the cost is too large a share of the loss that acting avoids, or None.

    Under `EMERGENCY_HEALTH` the share rises to the whole: no position is left to be liquidated to save gas.
    """
    share = rule.limits.max_cost_share_bps
    if share is None:
        return None
    if cost.total_usd is None or plan.avoided_loss_usd is None:
        return Refusal(
            "cost-unknown", "the rule limits its cost to a share of the loss avoided, which is not known now"
        )
    if plan.health_factor_before < EMERGENCY_HEALTH:
        share = max(share, BPS)
    if cost.total_usd * BPS <= plan.avoided_loss_usd * share:
        return None
    return Refusal(
        "max-cost-share",
        f"gas would cost ${usd_text(cost.total_usd)}, over {share / 100:g}% of the ${usd_text(plan.avoided_loss_usd)} "
        f"that a liquidation would take; under {format_units(EMERGENCY_HEALTH, 18, 2)} it acts up to the whole of it",
    )


def _refuse_before_sizing(
    rule: Rule, position: Position, wallet: Wallet, circumstances: Circumstances
) -> Refusal | None:
    if position.unknown is not None:
        return Refusal("unknown", f"the position cannot be trusted now: {position.unknown}")
    if position.health_factor is None:
        return Refusal("no-debt", "the position owes nothing")
    if wallet.has_code:
        return Refusal("account-has-code", "the account carries code or a delegation: it is not a plain account")
    if wallet.nonce is None:
        return Refusal("nonce-unknown", "the account's nonce could not be read")
    limit = rule.limits.max_base_fee
    if limit is not None and circumstances.fees.base_fee > limit:
        return Refusal(
            "max-base-fee",
            f"the base fee is {format_units(circumstances.fees.base_fee, 9, 2)} gwei, "
            f"over the rule's {format_units(limit, 9, 2)}: protection is suspended until it falls",
        )
    daily = rule.limits.daily_spend_usd
    if daily is not None and circumstances.spent_today_usd >= daily:
        return Refusal("daily-spend", f"today's ${usd_text(daily)} are spent")
    if daily is not None and daily < USD // 100:
        return Refusal("daily-spend", "the daily spend is nothing")
    return None


def _refuse_standing_allowance(rule: Rule, market: LendingMarket, fall: Waterfall, wallet: Wallet) -> Refusal | None:
    """Why the rule does not act where the market may take more than this plan needs; None where it may act.

    A token with permits is no exception: a permit would silently replace an allowance that its owner gave for
    something else, and a pool that swallows a failed permit falls back to what stands.
    """
    if rule.limits.standing_allowance is StandingAllowance.USE:
        return None
    needed: dict[tuple[str, str], int] = {}
    for step in fall.steps:
        spender = market.spender(step.action.kind)
        if spender is not None:
            key = (step.action.asset.address, spender)
            needed[key] = needed.get(key, 0) + step.action.amount
    for (token, spender), amount in needed.items():
        holding = wallet.holding(token)
        allowed = None if holding is None else holding.allowances.get(spender)
        if holding is None or allowed is None or allowed <= amount:
            continue
        much = "without limit" if allowed >= 2**255 else amount_text(allowed, holding.asset)
        return Refusal(
            "standing-allowance",
            f"{short_address(spender)} may take more of the wallet's {holding.asset.symbol} ({much}) than the "
            f"{amount_text(amount, holding.asset)} that is needed: take that allowance back (approve 0), or write "
            'standing_allowance = "use" under [rule.limits]',
        )
    return None


def _after_permits(wallet: Wallet, calls: tuple[PlannedCall, ...]) -> Wallet:
    """The wallet as later calls of the same plan will find it: a used permit moves the token's permit nonce on."""
    tokens = dict(wallet.tokens)
    for call in calls:
        if call.permit is not None:
            holding = tokens[call.permit.token]
            if holding.permit is not None:
                tokens[call.permit.token] = replace(
                    holding, permit=replace(holding.permit, nonce=holding.permit.nonce + 1)
                )
    return replace(wallet, tokens=tokens)


def _shortfall(rule: Rule, fall: Waterfall) -> str:
    reached = "no debt" if fall.position.health_factor is None else format_units(fall.position.health_factor, 18, 4)
    notes = [step.note for step in fall.steps if step.note] + list(fall.skipped)
    return (
        f"reaches {reached} of {format_units(rule.target_health_factor, 18, 2)}: {'; '.join(notes)}"
        if notes
        else f"reaches {reached} of {format_units(rule.target_health_factor, 18, 2)}"
    )


def balances_of(wallet: Wallet) -> Mapping[str, int]:
    """Token balances that could be read, by address."""
    return {token: holding.balance for token, holding in wallet.tokens.items() if holding.balance is not None}
