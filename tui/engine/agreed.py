"""What a yes is a yes to where a rule goes on in rounds: the steps that were shown, as far as they were shown. Pure.

One yes is for all rounds of a firing. What a question shows is what it covers: each step of the plan and of the rounds
ahead, how much of it, and what all of it costs. A round that does anything else, or more of it, asks again.
"""

from __future__ import annotations

from collections.abc import Iterator

from tui.engine.numbering import numbers_of, written_number
from tui.model.agreement import COST_ROOM_PERCENT, COST_ROOM_USD, SPEND_ROOM_PERCENT
from tui.model.plan import Action, Plan
from tui.model.rounds import Agreed, RoundsSoFar
from tui.model.rule import ActionKind, Rule
from tui.model.units import usd_text, value_usd
from tui.planning.texts import step_text

NOBODY_ASKED = "nobody has said yes to it"


def taken_of(rule: Rule, number: int, action: Action) -> int:
    """Base units that an action takes of what the maximum of its step is of."""
    if rule.steps[number].action is ActionKind.DELEVERAGE and action.sale is None:
        return 0  # what was bought before is repaid without selling anything
    return action.amount if action.sale is None else action.sale.most_sold


def round_usd(action: Action) -> int | None:
    """Dollars (8 decimals) that a round sells; None for what is none."""
    sale = action.sale
    if sale is None or sale.withdrawn is None or sale.price_usd is None:
        return None
    return value_usd(sale.sold, sale.collateral.decimals, sale.price_usd)


def agreed_to(shown: Plan, plan: Plan, rule: Rule, acting: Rule, so_far: RoundsSoFar | None) -> Agreed:
    """What a yes to the plan that was `shown` covers of all rounds together, `so_far` those that are over. `plan` is
    the one that is signed for it, of the rule as it may act now (`acting`): it does the same by the same steps.
    """
    so_far = so_far or RoundsSoFar(0)
    steps: dict[int, int] = {}
    sales: dict[int, int] = {}
    for number, one in zip(numbers_of(plan, rule, acting), shown.steps, strict=True):
        usd = round_usd(one.action)
        if usd is None:
            steps[number] = steps.get(number, so_far.used_of(number)) + _roomy(taken_of(rule, number, one.action))
        else:
            ahead = 0 if shown.rounds is None else shown.rounds.sale_usd
            sales[number] = sales.get(number, so_far.sold_of(number)) + _roomy(usd + ahead)
    foreseen = [() if one.rounds is None else one.rounds.behind for one in (plan, shown)]
    for now, then in zip(*foreseen, strict=True):
        number = written_number(rule, acting, now.step)
        if then.by_rounds:
            sales[number] = sales.get(number, so_far.sold_of(number)) + _roomy(then.spend_usd)
        else:
            steps[number] = steps.get(number, so_far.used_of(number)) + _roomy(then.taken)
    return Agreed(_cost_of_all(shown, so_far), tuple(sorted(steps.items())), tuple(sorted(sales.items())))


def _roomy(amount: int) -> int:
    return amount * (100 + SPEND_ROOM_PERCENT) // 100


def _cost_of_all(shown: Plan, so_far: RoundsSoFar) -> int | None:
    """The most that all rounds may cost once a person says yes to what was shown of them; None where it is unknown."""
    total, gas = shown.cost.total_usd, shown.cost.gas_usd
    if total is None or gas is None:
        return None
    if shown.rounds is not None:
        total += shown.rounds.swap_usd + gas * shown.rounds.gas_units // max(shown.cost.gas_units, 1)
    most: int = so_far.cost_usd + max(total, 0) * (100 + COST_ROOM_PERCENT) // 100 + COST_ROOM_USD
    return most


def not_agreed(plan: Plan, rule: Rule, acting: Rule, so_far: RoundsSoFar | None) -> str | None:
    """Why a plan has to be asked about, in words; None where the yes to an earlier round of its firing covers it.

    Under the rule's `emergency` health what it costs is left to the limits of the rule: dear gas is no reason to wait
    for a person halfway, with the liquidation near.
    """
    if so_far is None or so_far.agreed is None:
        return NOBODY_ASKED
    dearer = None if plan.health_factor_before < rule.limits.emergency else _dearer(plan, so_far, so_far.agreed)
    return dearer or next(_beyond(plan, rule, acting, so_far, so_far.agreed), None)


def _dearer(plan: Plan, so_far: RoundsSoFar, agreed: Agreed) -> str | None:
    cost, most = plan.cost.total_usd, agreed.cost_usd
    if cost is None or most is None:
        return "what it costs is not known"
    if so_far.cost_usd + max(cost, 0) > most:
        all_of_it = usd_text(so_far.cost_usd + max(cost, 0))
        return f"all rounds would cost ${all_of_it} by now, more than what was agreed to"
    return None


def _beyond(plan: Plan, rule: Rule, acting: Rule, so_far: RoundsSoFar, agreed: Agreed) -> Iterator[str]:
    """Each thing that a plan does beyond what was agreed to."""
    steps, sales = dict(agreed.steps), dict(agreed.sales)
    for number, one in zip(numbers_of(plan, rule, acting), plan.steps, strict=True):
        action, usd = one.action, round_usd(one.action)
        words = step_text(rule.steps[number])
        if usd is None and rule.steps[number].action is ActionKind.DELEVERAGE and action.sale is None:
            if action.amount + action.spare > so_far.left_of(action.asset.address):
                yield f"{words} would repay more than its rounds bought"
        elif number not in (steps if usd is None else sales):
            yield f"{words} was not among what was agreed to"
        elif usd is None and so_far.used_of(number) + taken_of(rule, number, action) > steps[number]:
            yield f"{words} would take more than what was agreed to"
        elif usd is not None and so_far.sold_of(number) + usd > sales[number]:
            yield f"{words} would sell more than what was agreed to"
