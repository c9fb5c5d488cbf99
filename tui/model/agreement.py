"""What a yes to a plan is a yes to: one made anew has to do the same by the same means, and cost hardly more. Pure."""

from __future__ import annotations

import hashlib
import json

from tui.model.plan import Action, Plan, PlannedStep
from tui.model.rounds import Behind
from tui.model.units import USD, mul_div_up, usd_text, whole

SPEND_ROOM_PERCENT = 2
"""What is moved, and what each sale may sell at most, may have grown by so much since the plan was shown."""
COST_ROOM_PERCENT = 25
COST_ROOM_USD = USD
"""What it costs may have grown by so much, and by a dollar: the base fee alone may rise by an eighth a block."""


def digest_of(plan: Plan) -> str:
    """Hex sha256 that names a plan as it is shown: what it does, to what, how much of it, and what that costs."""
    parts: list[object] = [plan.rule_digest, plan.block.hash, plan.spend_usd, plan.cost.total_usd]
    parts += [[*_means(step.action), step.action.amount, _most_sold(step.action)] for step in plan.steps]
    if plan.rounds is not None:
        parts += [plan.rounds.number, plan.rounds.ahead, plan.rounds.spend_usd]
        parts += [[*_behind(one), one.taken, one.amount, one.spend_usd] for one in plan.rounds.behind]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def differs(agreed: Plan, now: Plan) -> str | None:
    """Why a yes to `agreed` is none to the plan as it is made `now`, in words; None where it is."""
    if [_means(step.action) for step in agreed.steps] != [_means(step.action) for step in now.steps]:
        return "the plan does it in another way now"
    if _all_behind(agreed) != _all_behind(now):
        return "what its rounds are to be followed by is another thing now"
    if agreed.reaches_target and not now.reaches_target:
        return f"the plan does not reach its target any more ({now.shortfall})"
    if now.spend_usd * 100 > agreed.spend_usd * (100 + SPEND_ROOM_PERCENT):
        return "the market moved and more is needed now"
    if any(_sells_more(one, other, agreed) for one, other in zip(agreed.steps, now.steps, strict=True)):
        return "the market moved and more would be sold now"
    before, after = agreed.cost.total_usd, now.cost.total_usd
    if before is None or after is None:
        before, after = agreed.cost.swap_usd, now.cost.swap_usd
    if after * 100 > max(before, 0) * (100 + COST_ROOM_PERCENT) + COST_ROOM_USD * 100:
        return f"it would cost ${usd_text(after)} now instead of ${usd_text(before)}"
    return None


def _means(action: Action) -> tuple[str, str, str]:
    """Which kind of step, of which asset, paid for by which other."""
    return str(action.kind), action.asset.address, "" if action.sale is None else action.sale.collateral.address


def _behind(one: Behind) -> tuple[str, str, str]:
    """The same of what is to follow on rounds."""
    return str(one.kind), one.asset.address, one.pays.address


def _all_behind(plan: Plan) -> list[tuple[str, str, str]]:
    return [] if plan.rounds is None else list(map(_behind, plan.rounds.behind))


def _most_sold(action: Action) -> int:
    return 0 if action.sale is None else action.sale.most_sold


def _sells_more(agreed: PlannedStep, now: PlannedStep, plan: Plan) -> bool:
    """Whether a sale may sell more by a part that counts, of itself and of all that the plan moves."""
    before, after = _most_sold(agreed.action), _most_sold(now.action)
    if after * 100 <= before * (100 + SPEND_ROOM_PERCENT):
        return False
    sale = now.action.sale
    if sale is None or sale.price_usd is None:
        return True
    more = mul_div_up(after - before, sale.price_usd, whole(sale.collateral.decimals))
    return more * 100 > plan.spend_usd * SPEND_ROOM_PERCENT
