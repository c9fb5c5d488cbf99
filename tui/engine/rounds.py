"""What a rule remembers of a firing that goes on in rounds: begun, booked, agreed to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tui.model.calls import Log
from tui.model.plan import Plan, Refusal
from tui.model.position import Position
from tui.model.rounds import DebtPart, PlannedRound, RoundsSoFar
from tui.model.rule import REPAYING, SALES, ActionKind, Rule, Step
from tui.model.units import usd_text
from tui.planning.shortfalls import ends_at, is_emergency
from tui.planning.texts import amount_text
from tui.protocols.base import LendingMarket
from tui.rules.state import RuleState

USEFUL_GAS = 10
"""A round that does not lead to the target is of use where gas costs no more than this part of what it moves (a tenth),
"""
USEFUL_PART = 10
"""... or where the rounds make up this part of what health lacks to the target (a tenth), and in any emergency.
"""


def so_far_of(state: RuleState) -> RoundsSoFar | None:
    """The rounds that a rule has done and goes on with; None where it is between no rounds."""
    return state.rounds if state.rounds is not None and state.rounds.rounds else None


def known_of(state: RuleState, rule: Rule, acting: Rule) -> RoundsSoFar | None:
    """What a plan is to know of rounds that were done, by the numbers of the steps as the rule may act now: those of
    this firing, or what those of an earlier one left in the wallet; None where there were none.
    """
    known = so_far_of(state) or (None if state.rounds is None else state.rounds.leftovers)
    if known is None:
        return None
    used = {rule.steps[number]: amount for number, amount in known.used}
    steps = tuple((number, used[step]) for number, step in enumerate(acting.steps) if step in used)
    return replace(known, used=steps, step=_number_in(acting, rule.steps[known.step]))


def _number_in(rule: Rule, step: Step) -> int:
    return rule.steps.index(step) if step in rule.steps else 0


def next_round(
    state: RuleState, plan: Plan, rule: Rule, acting: Rule, episode: str, agreed_usd: int | None = None
) -> RoundsSoFar | None:
    """What is remembered of the rounds once `plan` fires as `episode`; None where it is no round. Whatever follows on a
    round is one as well, until the target is met. The plan is of the rule as it may act (`acting`), `agreed_usd` is
    what a person said yes to.
    """
    before = so_far_of(state)
    if plan.rounds is None and before is None:
        return None
    taken = [rule.steps.index(acting.steps[number]) for number in plan.taken]
    if before is None:
        left = () if state.rounds is None else state.rounds.left
        before = RoundsSoFar(taken[-1], left=left)
    if plan.rounds is not None:
        before = replace(before, step=taken[-1], parts=plan.rounds.parts)
    agreed = before.confirmed_usd if agreed_usd is None else agreed_usd
    used: dict[int, int] = {}
    for number, one in zip(taken, plan.steps, strict=True):
        sale, amount = one.action.sale, one.action.amount
        if rule.steps[number].action in SALES:
            amount = 0 if sale is None else sale.most_sold  # what was bought before is repaid without selling anything
        used[number] = used.get(number, 0) + amount
    planned = PlannedRound(episode, plan.spend_usd, max(plan.cost.total_usd or 0, 0), tuple(used.items()))
    return replace(before, confirmed_usd=agreed, planned=planned)


def after_round(
    rounds: RoundsSoFar, market: LendingMarket, position: Position, rule: Rule, logs: Sequence[Sequence[Log]]
) -> RoundsSoFar:
    """The rounds with the one that was planned; `logs` are the events of each of its transactions. Without any, because
    nobody told them, all that was planned counts as used: no maximum is ever passed.
    """
    owner, left, planned = position.key.account, dict(rounds.left), rounds.planned
    taken = {rounds.step: 0} if planned is None or not planned.used else dict(planned.used)
    names = dict.fromkeys(name for number in taken for name in rule.steps[number].names)
    for asset in (market.find_asset(position, name) for name in names):
        if asset is not None:
            moved = sum(market.moved_in(one, owner, asset.address) for one in logs)
            left[asset.address] = max(left.get(asset.address, 0) + moved, 0)
    used = dict(rounds.used)
    for number, amount in taken.items():
        spent = _spent(rule.steps[number], amount, market, position, logs) if logs else amount
        used[number] = used.get(number, 0) + spent
    parts = repaid_by(rounds.parts, market, position, logs)
    return replace(
        rounds,
        rounds=rounds.rounds + 1,
        used=tuple(sorted((number, amount) for number, amount in used.items() if amount)),
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


def _spent(step: Step, planned: int, market: LendingMarket, position: Position, logs: Sequence[Sequence[Log]]) -> int:
    """Base units that a round took of the maximum of a step: what its receipts say where they tell it, else what was
    planned.
    """
    owner = position.key.account
    if step.action is ActionKind.DELEVERAGE:
        sold = market.find_asset(position, step.collateral or "")
        return planned if sold is None else sum(market.sold_in(one, owner, sold.address) or 0 for one in logs)
    debt = market.find_asset(position, step.asset)
    if step.action in SALES or step.action not in REPAYING or debt is None:
        return planned
    return min(planned, sum(market.repaid_in(one, owner, debt.address) for one in logs))


def left_words(rounds: RoundsSoFar, market: LendingMarket, position: Position) -> str:
    """`; 0.4 WETH and 1.20 USDC of its rounds are in the wallet`, or nothing where nothing is."""
    named = [(market.find_asset(position, token), amount) for token, amount in rounds.left]
    texts = [amount_text(amount, asset) for asset, amount in named if asset is not None]
    return f"; {' and '.join(texts)} of its rounds are in the wallet" if texts else ""


def refuse_scrap(rule: Rule, plan: Plan) -> Refusal | None:
    """Why a further round is waited with: it would do next to nothing of what is still to be done, for more gas than
    that is worth. None where it is carried out.
    """
    gas = plan.cost.gas_usd
    if plan.reaches_target or is_emergency(rule, plan.health_factor_before):
        return None
    if gas is None or gas * USEFUL_GAS <= plan.spend_usd:
        return None
    before, after, target = plan.health_factor_before, ends_at(plan), rule.target_health_factor
    if target is not None and (after is None or (after - before) * USEFUL_PART >= target - before):
        return None
    why = "" if plan.shortfall is None else f" ({plan.shortfall})"
    return Refusal(
        "adds-too-little",
        f"the next round would move ${usd_text(plan.spend_usd)} for ${usd_text(gas)} of gas{why}: it goes on as soon "
        "as more can be done",
    )


def agreed_to(plan: Plan, so_far: RoundsSoFar | None, room_percent: int) -> int:
    """The dollars (8 decimals) that all rounds together may move once a person says yes to `plan`."""
    coming = plan.spend_usd + (0 if plan.rounds is None else plan.rounds.spend_usd)
    return (0 if so_far is None else so_far.spent_usd) + coming * (100 + room_percent) // 100


def is_agreed(so_far: RoundsSoFar | None, plan: Plan) -> bool:
    """Whether a person said yes to this round already, when the first one was asked about: to one of what was asked
    then, or to the repayment of what those bought.
    """
    if so_far is None or so_far.confirmed_usd is None or len(plan.steps) > 1:
        return False
    repaid = plan.steps[0].action
    if plan.rounds is None and (
        repaid.kind is not ActionKind.REPAY or repaid.amount > so_far.left_of(repaid.asset.address)
    ):
        return False
    return so_far.spent_usd + plan.spend_usd <= so_far.confirmed_usd
