"""Positions, plans and journal entries as the JSON that users script against. Pure.

Amounts are texts of integers in base units beside `decimals`; ratios, prices and values are decimal texts; what cannot
be known is null, with its reason in `unknown`.
"""

from __future__ import annotations

from tui.model.block import BlockRef
from tui.model.intent import Attempt, Firing, Intent
from tui.model.plan import Action, Alternative, Evaluation, Plan, PlanCost, PlannedStep, Refusal, SwapCost
from tui.model.position import Collateral, Debt, Position
from tui.model.rounds import Behind, Rounds
from tui.model.rule import RuleProblem
from tui.model.snapshot import Snapshot
from tui.model.units import USD_DECIMALS, format_units
from tui.ports.journal import Decision

Json = dict[str, object]


def wad(value: int | None, places: int | None = None) -> str | None:
    """A wad as decimal text."""
    return None if value is None else format_units(value, 18, places)


def usd(value: int | None, places: int = 2) -> str | None:
    """8-decimal dollars as decimal text."""
    return None if value is None else format_units(value, USD_DECIMALS, places)


def ratio(value: int | None) -> str | None:
    """A wad with no more digits than it has: `0.83`."""
    if value is None:
        return None
    integer, _, fraction = format_units(value, 18).partition(".")
    return f"{integer}.{fraction.rstrip('0')}" if fraction.rstrip("0") else integer


def block_json(block: BlockRef) -> Json:
    """A block by number, hash and time."""
    return {"number": block.number, "hash": block.hash, "timestamp": block.timestamp}


def positions_json(snapshot: Snapshot, chain_id: int) -> Json:
    """All positions of a snapshot."""
    return {
        "chain_id": chain_id,
        "block": block_json(snapshot.block),
        "positions": [position_json(position) for position in snapshot.positions],
    }


def position_json(position: Position) -> Json:
    """One position."""
    key = position.key
    known = position.unknown is None
    return {
        "id": position.id,
        "protocol": key.market.protocol,
        "market": key.market.name,
        "account": key.account,
        "health_factor": wad(position.health_factor) if known else None,
        "status": str(position.status),
        "collateral_usd": usd(position.collateral_usd) if known else None,
        "debt_usd": usd(position.debt_usd) if known else None,
        "net_apy": wad(position.net_apy, 4) if known else None,
        "collateral": [_collateral_json(held) for held in position.collateral] if known else [],
        "debt": [_debt_json(held) for held in position.debt] if known else [],
        "native": dict(position.native),
        "groups": [
            {
                "assets": [asset.symbol for asset in group.assets],
                "lead": group.lead.symbol,
                "liquidation_price_usd": usd(group.price_usd, 8),
                "factor": wad(group.factor),
            }
            for group in position.groups
        ]
        if known
        else [],
        "seconds_to_liquidation": position.seconds_to_liquidation if known else None,
        "liquidation_penalty_usd": usd(position.liquidation_penalty_usd) if known else None,
        "notes": list(position.notes),
        "unknown": position.unknown,
    }


def _collateral_json(held: Collateral) -> Json:
    return {
        **_holding_json(held),
        "liquidation_threshold": ratio(held.liquidation_threshold),
        "used_as_collateral": held.counts,
        "apy": wad(held.supply_apy, 6),
    }


def _debt_json(held: Debt) -> Json:
    return {**_holding_json(held), "apy": wad(held.borrow_apy, 6)}


def _holding_json(held: Collateral | Debt) -> Json:
    return {
        "symbol": held.asset.symbol,
        "address": held.asset.address,
        "amount": str(held.amount),
        "decimals": held.asset.decimals,
        "price_usd": usd(held.price_usd, 8),
        "value_usd": usd(held.value_usd),
        "liquidation_price_usd": usd(held.liquidation_price_usd, 8),
    }


def evaluation_json(evaluation: Evaluation) -> Json:
    """What a rule would do at a block."""
    refused = evaluation.refused
    return {
        "rule": evaluation.rule,
        "position": evaluation.position,
        "fires": evaluation.fires,
        "why": evaluation.why,
        "waits": evaluation.waits,
        "plan": None if evaluation.plan is None else plan_json(evaluation.plan),
        "refused": None if refused is None else refused.reason,
        "refused_code": None if refused is None else refused.code,
        "refused_alternatives": [] if refused is None else [_alternative_json(one) for one in refused.alternatives],
        "problems": None if evaluation.problems is None else [_problem_json(one) for one in evaluation.problems],
        "at_trigger": plan_json(evaluation.ahead) if isinstance(evaluation.ahead, Plan) else None,
        "at_trigger_refused": evaluation.ahead.reason if isinstance(evaluation.ahead, Refusal) else None,
    }


def _problem_json(problem: RuleProblem) -> Json:
    """What would be said of a rule were it armed now. `step` is a number in the rule, from 1, or null."""
    return {
        "code": problem.code,
        "step": None if problem.step is None else problem.step + 1,
        "words": problem.words,
        "fix": problem.fix,
        "refuses_arming": problem.decisive,
    }


def plan_json(plan: Plan) -> Json:
    """A plan: sizes, calls, costs, health before and after."""
    return {
        "steps": [_step_json(step) for step in plan.steps],
        "calls": [
            {
                "to": call.to,
                "words": call.words,
                "selector": "0x" + call.selector.hex(),
                "gas_limit": call.gas_limit or None,  # null until it is simulated
                "gas_expected": call.gas_used or None,
            }
            for call in plan.calls
        ],
        "health_factor_before": wad(plan.health_factor_before),
        "health_factor_after": wad(plan.health_factor_after),
        "cost_usd": _cost_json(plan.cost),
        "swap_parts_usd": _swap_json(plan.cost.swap),
        "gas_ceiling_usd": usd(plan.cost.gas_ceiling_usd, 4),
        "lost_yield_usd_year": usd(plan.cost.lost_yield_usd_year),
        "alternatives": [_alternative_json(one) for one in plan.alternatives],
        "spend_usd": usd(plan.spend_usd),
        "avoided_loss_usd": usd(plan.avoided_loss_usd),
        "expected_loss_usd": usd(plan.expected_loss_usd),
        "volatility": None if plan.volatility_bps is None else ratio(plan.volatility_bps * 10**14),
        "reaches_target": plan.reaches_target,
        "closes": None if plan.closed_bps is None else ratio(plan.closed_bps * 10**14),
        "shortfall": plan.shortfall,
        "left_out": list(plan.left_out),
        "simulated": plan.simulated,
        "rounds": None if plan.rounds is None else _rounds_json(plan.rounds),
    }


def _step_json(step: PlannedStep) -> Json:
    action = step.action
    return {
        "action": action.kind.word,
        "asset": action.asset.symbol,
        "address": action.asset.address,
        "amount": str(action.amount),
        "decimals": action.asset.decimals,
        "health_factor_after": wad(step.health_factor_after),
        "wrap_wei": str(action.wrap),
        "wallet": action.payer,  # null: the position's own account pays
        "note": step.note or None,
        "sale": _sale_json(action),
    }


def _sale_json(action: Action) -> Json | None:
    """What is sold, in base units of the collateral, and the limits that the chain itself holds it to. `by`: who sells;
    where it is the account itself no floor under the health holds, but `least_out` of the debt must come out.
    """
    sale = action.sale
    if sale is None:
        return None
    return {
        "collateral": sale.collateral.symbol,
        "address": sale.collateral.address,
        "decimals": sale.collateral.decimals,
        "sold": str(sale.sold),
        "most_sold": str(sale.most_sold),
        "venue": sale.venue,
        "min_health": wad(sale.min_health) if sale.swap is None else None,
        "by": "helper" if sale.swap is None else "account",
        "least_out": None if sale.swap is None else str(sale.swap.least_out),
        "cost_usd": _swap_json(sale.cost),
    }


def _rounds_json(rounds: Rounds) -> Json:
    """Which round of a deleverage by the account itself the plan is, and what those ahead are likely to be."""
    return {
        "number": rounds.number,
        "ahead": rounds.ahead,
        "health_factor_lowest": wad(rounds.lowest),
        "health_factor_at_end": wad(rounds.ends_at),
        "reaches_target": rounds.reaches_target,
        "ahead_spend_usd": usd(rounds.spend_usd),
        "ahead_swap_usd": usd(rounds.swap_usd, 4),
        "ahead_gas_units": rounds.gas_units,
        "behind": [_behind_json(one) for one in rounds.behind],
    }


def _behind_json(one: Behind) -> Json:
    """What another step is likely to do once the rounds are over; what they move ahead has it in it. `paid`: base units
    of what its maximum is of.
    """
    return {
        "action": one.kind.word,
        "asset": one.asset.symbol,
        "address": one.asset.address,
        "amount": str(one.amount),
        "decimals": one.asset.decimals,
        "pays": one.pays.symbol,
        "pays_address": one.pays.address,
        "paid": str(one.taken),
        "pays_decimals": one.pays.decimals,
        "spend_usd": usd(one.spend_usd),
        "in_rounds": one.by_rounds,
    }


def _swap_json(cost: SwapCost) -> Json:
    """The parts of what a sale costs; a gap under nothing is a gain."""
    parts = {"fees": cost.fees_usd, "impact": cost.impact_usd, "gap": cost.gap_usd, "premium": cost.premium_usd}
    return {name: usd(part, 4) for name, part in parts.items()}


def _cost_json(cost: PlanCost) -> Json:
    return {
        "gas": usd(cost.gas_usd, 4),
        "swap": usd(cost.swap_usd, 4),
        "total": usd(cost.total_usd, 4),
        "l1_data": usd(cost.l1_data_usd, 4),  # a part of gas
    }


def _alternative_json(way: Alternative) -> Json:
    """Another way at the same block. `steps` are numbers in the rule, from 1."""
    return {
        "words": way.words,
        "steps": [number + 1 for number in way.steps],
        "cost_usd": None if way.cost is None else _cost_json(way.cost),
        "health_factor_after": wad(way.health_factor_after),
        "reaches_target": way.reaches_target,
        "why_not": way.why_not,
        "simulated": way.simulated,
    }


def firing_json(firing: Firing) -> Json:
    """A firing with its intents and attempts."""
    return {
        "kind": "firing",
        "id": firing.id,
        "rule": firing.rule,
        "position": firing.position,
        "account": firing.account,
        "chain_id": firing.chain_id,
        "episode": firing.episode,
        "state": str(firing.state),
        "block": {
            "number": firing.block_number,
            "hash": firing.block_hash,
            "timestamp": firing.block_timestamp,
        },
        "health_factor_before": wad(firing.health_factor_before),
        "health_factor_expected": wad(firing.health_factor_expected),
        "health_factor_after": wad(firing.health_factor_after),
        "spend_usd": usd(firing.spend_usd),
        "cost_usd": usd(firing.cost_usd, 4),
        "summary": firing.summary,
        "reason": firing.reason,
        "intents": [intent_json(intent) for intent in firing.intents],
    }


def intent_json(intent: Intent) -> Json:
    """One transaction to be; signed bytes are not shown, their hashes are."""
    return {
        "id": intent.id,
        "sequence": intent.sequence,
        "account": intent.account,
        "state": str(intent.state),
        "nonce": intent.nonce,
        "to": intent.to,
        "data": "0x" + intent.data.hex(),
        "value": str(intent.value),
        "words": intent.words,
        "gas_limit": intent.gas_limit,
        "attempts": [_attempt_json(attempt) for attempt in intent.attempts],
        "included": None
        if intent.included_hash is None
        else {
            "hash": intent.included_hash,
            "block": intent.included_block,
            "block_hash": intent.included_block_hash,
            "gas_used": intent.gas_used,
            "gas_paid_wei": None if intent.gas_paid_wei is None else str(intent.gas_paid_wei),
        },
        "reason": intent.reason,
    }


def _attempt_json(attempt: Attempt) -> Json:
    return {
        "number": attempt.number,
        "kind": str(attempt.kind),
        "hash": attempt.hash,
        "max_fee": str(attempt.max_fee),
        "priority_fee": str(attempt.priority_fee),
        "signed_at": attempt.signed_at,
        "sent_at": attempt.sent_at,
        "answer": attempt.answer,
    }


def decision_json(decision: Decision) -> Json:
    """One line of what was decided or seen."""
    return {
        "kind": "decision",
        "at": decision.at,
        "block": decision.block,
        "what": decision.kind,
        "severity": str(decision.severity),
        "text": decision.text,
        "rule": decision.rule,
        "position": decision.position,
        "firing": decision.firing_id,
    }
