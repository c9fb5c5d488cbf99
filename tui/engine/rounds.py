"""What a rule remembers of a firing that goes on in rounds: begun, booked, agreed to. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tui.engine.agreed import round_usd, taken_of
from tui.engine.numbering import numbered, numbers_of, written_number
from tui.model.calls import Log
from tui.model.plan import Plan, Refusal
from tui.model.position import Asset, Position
from tui.model.rounds import Agreed, DebtPart, PlannedRound, RoundsSoFar
from tui.model.rule import FROM_WALLET, REPAYING, SALES, ActionKind, Rule, Step
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
    return replace(known, used=tuple(numbered(acting, used).items()), step=_number_in(acting, rule.steps[known.step]))


def _number_in(rule: Rule, step: Step) -> int:
    return rule.steps.index(step) if step in rule.steps else 0


def next_round(
    state: RuleState, plan: Plan, rule: Rule, acting: Rule, episode: str, agreed: Agreed | None = None
) -> RoundsSoFar | None:
    """What is remembered of the rounds once `plan` fires as `episode`; None where it is no round. Whatever follows on a
    round is one as well, until the target is met. The plan is of the rule as it may act (`acting`), `agreed` is
    what a person said yes to just now.
    """
    before = so_far_of(state)
    if plan.rounds is None and before is None:
        return None
    taken = numbers_of(plan, rule, acting)
    if before is None:
        left = () if state.rounds is None else state.rounds.left
        # A firing that is gone on with in rounds is one firing: its maxima hold for all of it.
        gone_on = tuple(sorted((written_number(rule, acting, number), amount) for number, amount in plan.before))
        before = RoundsSoFar(taken[-1], used=gone_on, left=left)
    if plan.rounds is not None:
        before = replace(before, step=taken[-1], parts=plan.rounds.parts)
    used: dict[int, int] = {}
    sold: dict[int, int] = {}
    for number, one in zip(taken, plan.steps, strict=True):
        used[number] = used.get(number, 0) + taken_of(rule, number, one.action)
        usd = round_usd(one.action)
        if usd is not None:
            sold[number] = sold.get(number, 0) + usd
    cost = max(plan.cost.total_usd or 0, 0)
    planned = PlannedRound(episode, plan.spend_usd, cost, tuple(used.items()), tuple(sold.items()))
    return replace(before, agreed=agreed or before.agreed, planned=planned)


def undone_round(rounds: RoundsSoFar) -> RoundsSoFar:
    """The rounds where the one that is under way is undone whole: it moved nothing, and took nothing of any maximum. It
    has cost gas all the same: all that it was to cost counts, so that no limit is ever passed.
    """
    planned = rounds.planned
    if planned is None:
        return rounds
    nothing = tuple((number, 0) for number, _ in planned.used)
    return replace(rounds, planned=replace(planned, spend_usd=0, used=nothing or ((rounds.step, 0),)))


def after_round(
    rounds: RoundsSoFar, market: LendingMarket, position: Position, rule: Rule, logs: Sequence[Sequence[Log]]
) -> RoundsSoFar:
    """The rounds with the one that was planned; `logs` are the events of each of its transactions. Without any, because
    nobody told them, all that was planned counts as used: no maximum is ever passed.
    """
    owner, left, planned = position.key.account, dict(rounds.left), rounds.planned
    taken = {rounds.step: 0} if planned is None or not planned.used else dict(planned.used)
    names = dict.fromkeys(name for number in taken for name in rule.steps[number].names)
    by_itself = [(rule.steps[number], amount) for number, amount in taken.items()]
    for asset in (market.find_asset(position, name) for name in names):
        if asset is not None:
            moves = [market.moved_in(one, owner, asset.address) for one in logs]
            moved = sum(moves) + _paid_beside(asset, by_itself, moves, market, position)
            left[asset.address] = max(left.get(asset.address, 0) + moved, 0)
    used, sold = dict(rounds.used), dict(rounds.sold_usd)
    selling = {} if planned is None else dict(planned.sold_usd)
    for number, amount in taken.items():
        spent = _spent(rule.steps[number], amount, market, position, logs) if logs else amount
        used[number] = used.get(number, 0) + spent
        if number in selling:
            sold[number] = sold.get(number, 0) + selling[number] * min(spent, amount) // max(amount, 1)
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
        sold_usd=tuple(sorted((number, usd) for number, usd in sold.items() if usd)),
    )


def _paid_beside(
    asset: Asset,
    taken: Iterable[tuple[Step, int]],
    moves: Iterable[int],
    market: LendingMarket,
    position: Position,
) -> int:
    """Base units of an asset that the wallet's own steps of a round paid, by the transactions in which it moved so much
    and no more (`moves`, one for each): what the rounds themselves bought or took out is not less for it.
    """
    there, owner = list(moves), position.key.account
    paid = 0
    for step, amount in taken:
        by_wallet = step.action in FROM_WALLET or step.action is ActionKind.SWAP_TO_REPAY
        name = step.asset if step.collateral is None else step.collateral
        if not by_wallet or step.signer(owner) != owner or market.find_asset(position, name) != asset:
            continue
        if -amount in there:
            there.remove(-amount)
            paid += amount
    return paid


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
    if step.action in (ActionKind.DELEVERAGE, ActionKind.SWAP_TO_REPAY):
        sold = market.find_asset(position, step.collateral or "")
        if sold is None:
            return planned
        total = sum(market.sold_in(one, step.signer(owner), sold.address) or 0 for one in logs)
        return total if step.action is ActionKind.DELEVERAGE else min(planned, total)
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
