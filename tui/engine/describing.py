"""A plan in words: what each step does, who pays it, and what is left after it. Pure; decides and tells nothing."""

from __future__ import annotations

from tui.model.plan import Action, Plan
from tui.model.rule import ActionKind
from tui.model.text import short_address
from tui.model.units import format_units
from tui.planning.texts import amount_text


def _deed(action: Action) -> str:
    """`repay 5,214.20 USDC`, `repay 5,214.20 USDC from 1.742 WETH`, with `from` or `of` whom where another one pays."""
    done, payer = f"{action.kind.word} {amount_text(action.amount, action.asset)}", action.payer
    if action.sale is None or action.kind is not ActionKind.SWAP_TO_REPAY:
        return done if payer is None else f"{done} from {short_address(payer)}"
    done += f" from {amount_text(action.sale.sold, action.sale.collateral)}"
    done += "" if payer is None else f" of {short_address(payer)}"
    foreign = action.sale.swap is not None and action.sale.swap.source
    return f"{done} on {action.sale.venue}" if foreign else done


def describe(plan: Plan) -> str:
    """One line for a plan: `repay 5,214.20 USDC -> HF 1.5000`, `... -> closes 50%, HF 2.1000`."""
    steps = ", ".join(map(_deed, (step.action for step in plan.steps)))
    if plan.rounds is not None:
        steps = f"{steps} ({plan.rounds.words})"
    after = "no debt" if plan.health_factor_after is None else f"HF {format_units(plan.health_factor_after, 18, 4)}"
    return f"{steps} → {after}" if plan.goal_words is None else f"{steps} → {plan.goal_words}, {after}"
