"""What a rule remembers of a firing that goes on in rounds: begun, booked, agreed to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tui.model.calls import Log
from tui.model.plan import Plan
from tui.model.position import Position
from tui.model.rounds import DebtPart, PlannedRound, RoundsSoFar
from tui.model.rule import Step
from tui.planning.texts import amount_text
from tui.protocols.base import LendingMarket
from tui.rules.state import RuleState


def so_far_of(state: RuleState) -> RoundsSoFar | None:
    """The rounds that a rule has done and goes on with; None where it is between no rounds."""
    return state.rounds if state.rounds is not None and state.rounds.rounds else None


def next_round(
    state: RuleState, plan: Plan, step: int, episode: str, agreed_usd: int | None = None
) -> RoundsSoFar | None:
    """What is remembered of the rounds once `plan` fires as `episode`; None where it is no round, and so the last that
    its firing does. `step` is its number in the rule (from 0), `agreed_usd` what a person said yes to.
    """
    if plan.rounds is None:
        return None
    before = so_far_of(state) or RoundsSoFar(step, parts=plan.rounds.parts)
    if before.step != step:
        before = replace(before, step=step, sold=0)  # the one before has done all it may: its maximum is its own
    agreed = before.confirmed_usd if agreed_usd is None else agreed_usd
    planned = PlannedRound(episode, plan.spend_usd, max(plan.cost.total_usd or 0, 0))
    return replace(before, confirmed_usd=agreed, planned=planned)


def after_round(
    rounds: RoundsSoFar, market: LendingMarket, position: Position, step: Step, logs: Sequence[Sequence[Log]]
) -> RoundsSoFar:
    """The rounds with the one that was planned; `logs` are the events of each of its transactions."""
    owner, left, planned = position.key.account, dict(rounds.left), rounds.planned
    sold = 0
    for name in step.names:
        asset = market.find_asset(position, name)
        if asset is None:
            continue
        moved = sum(market.moved_in(one, owner, asset.address) for one in logs)
        there = left.get(asset.address, 0) + moved
        left[asset.address] = max(there, 0)
        if name == step.collateral:
            sold = sum(market.sold_in(one, owner, asset.address) or 0 for one in logs)
    parts = repaid_by(rounds.parts, market, position, logs)
    return replace(
        rounds,
        rounds=rounds.rounds + 1,
        sold=rounds.sold + sold,
        spent_usd=rounds.spent_usd + (0 if planned is None else planned.spend_usd),
        cost_usd=rounds.cost_usd + (0 if planned is None else planned.cost_usd),
        left=tuple((token, amount) for token, amount in left.items() if amount),
        planned=None,
        parts=parts,
    )


def repaid_by(
    parts: Iterable[DebtPart], market: LendingMarket, position: Position, logs: Sequence[Sequence[Log]]
) -> tuple[DebtPart, ...]:
    """Debts of which a part is closed, with what transactions (the events of each) repaid of them."""
    owner = position.key.account
    return tuple(
        replace(part, repaid=part.repaid + sum(market.repaid_in(one, owner, part.token) for one in logs))
        for part in parts
    )


def left_words(rounds: RoundsSoFar, market: LendingMarket, position: Position) -> str:
    """`; 0.4 WETH and 1.20 USDC of its rounds are in the wallet`, or nothing where nothing is."""
    named = [(market.find_asset(position, token), amount) for token, amount in rounds.left]
    texts = [amount_text(amount, asset) for asset, amount in named if asset is not None]
    return f"; {' and '.join(texts)} of its rounds are in the wallet" if texts else ""


def agreed_to(plan: Plan, so_far: RoundsSoFar | None, room_percent: int) -> int:
    """The dollars (8 decimals) that all rounds together may move once a person says yes to `plan`."""
    coming = plan.spend_usd + (0 if plan.rounds is None else plan.rounds.spend_usd)
    return (0 if so_far is None else so_far.spent_usd) + coming * (100 + room_percent) // 100


def is_agreed(so_far: RoundsSoFar | None, plan: Plan) -> bool:
    """Whether a person said yes to this round already, when the first one was asked about."""
    if so_far is None or so_far.confirmed_usd is None or plan.rounds is None:
        return False
    return so_far.spent_usd + plan.spend_usd <= so_far.confirmed_usd
