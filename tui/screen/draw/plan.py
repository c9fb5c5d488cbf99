"""A plan as a trader reads it before saying yes: before and after, costs, other ways, calls in words and calldata."""

from __future__ import annotations

from tui.model.plan import PermitNeed, Plan, PlannedCall
from tui.model.position import status_of
from tui.model.rule import BORROWING, FROM_WALLET, SALES, ActionKind
from tui.model.text import short_address
from tui.model.view import Confirmation, PositionView
from tui.screen.clean import clean_text
from tui.screen.draw.gauge import gauge, gauge_labels
from tui.screen.draw.sales import (
    aim_word,
    alternative_lines,
    deed,
    figure_lines,
    gas_lines,
    is_boost,
    rounds_lines,
    sale_lines,
    swap_lines,
)
from tui.screen.figures import amount, dollars, health, health_or
from tui.screen.lines import BLANK, Line, Span, fitted, line, width_of, wrap
from tui.screen.words import STATUS, market_name


def _rail(word: str, value: int | None, trigger: int | None, target: int | None, width: int) -> Line:
    status = status_of(value, None)
    sign = STATUS[status]
    shown = health_or(value, "no debt")
    lead = [Span(f"{word:<8}", "muted"), Span(f"{shown:>9} ", sign.role), Span(f"{sign.both:<15}", sign.role)]
    rail = width - 33
    return Line((*lead, *gauge(rail, value, status, trigger, target))) if rail >= 12 else Line(tuple(lead))


def _permit(permit: PermitNeed, width: int) -> list[Line]:
    who = short_address(permit.spender)
    text = f"signs a permit for {clean_text(permit.name, 24)}: {permit.value} base units to {who}, once"
    return wrap(text, width, "muted", "   ", "   ")


def call_lines(number: int, call: PlannedCall, width: int) -> list[Line]:
    """A call in words, then the contract, the selector and all of its calldata, word by word."""
    rows = wrap(clean_text(call.words, 300), width, "strong", f"{number}. ", "   ")
    gas = f" · gas limit {call.gas_limit:,}" if call.gas_limit else ""
    value = f" · sends {amount(call.value, 18)} native coin" if call.value else ""
    rows += wrap(f"to {call.to}{gas}{value}", width, "muted", "   ", "   ")
    if call.permit is not None:
        rows += _permit(call.permit, width)
    rows.append(line("   ", ("0x" + call.selector.hex(), "accent")))
    body = call.data[4:]
    for start in range(0, len(body), 32):
        word = body[start : start + 32].hex()
        room = max(8, width - 8)
        for offset in range(0, len(word), room):
            index = f"{start // 32:>4} " if offset == 0 else "     "
            rows.append(line((f"   {index}", "faint"), (word[offset : offset + room], "muted")))
    return rows


def _moved(plan: Plan) -> tuple[str, str, str]:
    """The dollars that a plan moves and where they come from: own tokens, those of another account that pays, the
    supply, a sale, or new debt.
    """
    kinds = {step.action.kind for step in plan.steps if step.action.amount}
    if kinds and kinds <= BORROWING:
        return "borrows", dollars(plan.spend_usd), "of new debt, none of your own tokens"
    paying = FROM_WALLET | {ActionKind.SWAP_TO_REPAY}
    payers = [step.action.payer for step in plan.steps if step.action.amount and step.action.kind in paying]
    sources = {
        "your own tokens": None in payers,
        **{f"tokens of {short_address(payer)}": True for payer in payers if payer is not None},
        "what is supplied": bool(kinds & {ActionKind.REPAY_WITH_ATOKENS}),
        "collateral that is sold": bool(kinds & (SALES - BORROWING - {ActionKind.SWAP_TO_REPAY})),
        "new debt": bool(kinds & BORROWING),
    }
    names = [name for name, there in sources.items() if there] or ["your own tokens"]
    return "spends", dollars(plan.spend_usd), f"of {' and of '.join(names)}"


def cost_lines(plan: Plan, width: int) -> list[Line]:
    """What the plan spends and costs, and what a liquidation would."""
    rows = figure_lines(*_moved(plan), width)
    rows += gas_lines(plan, width)
    rows += swap_lines(plan, width)
    # A boost brings liquidation nearer: it avoids nothing.
    if plan.avoided_loss_usd is not None and not is_boost(plan):
        note = "of liquidation penalty"
        if plan.expected_loss_usd is not None:
            note += f"; {dollars(plan.expected_loss_usd)} weighed by how likely it is"
        rows += figure_lines("avoids", dollars(plan.avoided_loss_usd), note, width)
    if plan.shortfall:
        rows += wrap(f"falls short: {clean_text(plan.shortfall, 300)}", width, "warn", "▲ ", "  ")
    elif plan.left_out:
        rows += wrap(f"left out: {clean_text('; '.join(plan.left_out), 300)}", width, "warn", "▲ ", "  ")
    return rows


def confirmation_lines(waiting: Confirmation, shown: PositionView | None, width: int) -> list[Line]:
    """Everything about a plan that waits for a yes."""
    plan = waiting.plan
    position = waiting.position
    trigger = shown.trigger_health_factor if shown is not None else None
    target = shown.target_health_factor if shown is not None else None
    name = clean_text(shown.label, 24) if shown is not None and shown.label else position.key.account
    rows = [
        line((market_name(position.key.market), "strong"), "  ", (clean_text(name, 44), "accent")),
        BLANK,
        _rail("now", plan.health_factor_before, trigger, target, width),
        _rail("after", plan.health_factor_after, trigger, target, width),
    ]
    if width >= 45:
        rows.append(Line((Span(" " * 33), *gauge_labels(width - 33, trigger, target).spans)))
    how = "simulated at" if plan.simulated else "NOT SIMULATED, computed at"
    rows.append(
        line((f"{how} block {plan.block.number:,}; sized anew when you answer", "muted" if plan.simulated else "warn"))
    )
    rows += [BLANK, line(("What it does", "label"))]
    for step in plan.steps:
        after = "no debt left" if step.health_factor_after is None else f"health {health(step.health_factor_after)}"
        done = f"  {deed(step.action)}"
        whole = line(done, (f"  → {after}", "muted"))
        if width_of(whole.spans) <= width:
            rows.append(whole)
        else:
            rows += [*wrap(deed(step.action), width, "", "  ", "  "), line((f"    → {after}", "muted"))]
        if step.action.sale is not None and step.action.amount:
            rows += sale_lines(step.action, width)
        if step.note:
            rows += wrap(clean_text(step.note, 200), width, "warn", "    ", "    ")
    rows += rounds_lines(plan, width)
    rows += [
        BLANK,
        line(("What it costs", "label")),
        *(Line((Span("  "), *row.spans)) for row in cost_lines(plan, width - 2)),
    ]
    if plan.alternatives:
        title = f"Ways to {aim_word(plan)} at this block"
        rows += [BLANK, line((title, "label")), *alternative_lines(plan.alternatives, width)]
    rows += [BLANK, line((f"What is signed: {len(plan.calls)} call{'s' if len(plan.calls) != 1 else ''}", "label"))]
    for number, call in enumerate(plan.calls, 1):
        rows += call_lines(number, call, width)
    return fitted(rows, width)
