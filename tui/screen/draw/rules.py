"""The rules pane: what each rule waits for, what it is doing and what it would do; faults; what would stop it."""

from __future__ import annotations

from tui.model.plan import Evaluation, Plan
from tui.model.rule import EMERGENCY_HEALTH, GoalKind, Order, Rule, StalePrice, StandingAllowance
from tui.model.rule import Severity as FaultSeverity
from tui.model.units import format_units
from tui.model.view import RuleView, ViewState
from tui.rules.prices import side_word
from tui.screen.clean import clean_text
from tui.screen.draw.sales import (
    aim_word,
    alternative_lines,
    deed,
    sale_actions,
    sale_lines,
    sales_of,
    swap_lines,
    swap_words,
)
from tui.screen.figures import age, asset_word, dollars, dollars_short, health, health_or, level, part, ratio
from tui.screen.lines import BLANK, Line, Span, fitted, line, split, width_of, wrap
from tui.screen.words import ACTIVITY, MODE


def plan_sentence(plan: Plan) -> str:
    """`repay 5,214.20 USDC → health 1.5004 · gas $0.41`; says what a sale costs and what cannot be reached."""
    done = [deed(step.action) for step in plan.steps if step.action.amount]
    deeds = ", then ".join(done) if done else "do nothing"
    gas = "gas of unknown price" if plan.cost.gas_usd is None else f"gas {dollars(plan.cost.gas_usd)}"
    sale = f", sale {swap_words(plan)}" if sales_of(plan) else ""
    goal = "" if plan.goal_words is None else f"{plan.goal_words}, "
    text = f"{deeds} → {goal}health {health_or(plan.health_factor_after, 'without debt')} · {gas}{sale}"
    if plan.shortfall:
        text += f" · falls short: {clean_text(plan.shortfall, 200)}"
    elif plan.left_out:
        text += f" · left out: {clean_text('; '.join(plan.left_out), 200)}"
    return text


def plan_details(evaluation: Evaluation, width: int) -> list[Line]:
    """What a sentence leaves out: what was refused, the limits of each sale, where its cost goes, other ways."""
    plan = evaluation.plan
    if plan is None:
        ways = () if evaluation.refused is None else evaluation.refused.alternatives
        return [line(("  Ways that were looked at", "label")), *alternative_lines(ways, width)] if ways else []
    rows: list[Line] = []
    if evaluation.refused is not None:
        rows += wrap(f"refused was: {plan_sentence(plan)}", width, "muted", "  ", "  ")
    rows += [row for one in sale_actions(plan) for row in sale_lines(one, width, "  ")]
    rows += [Line((Span("  "), *row.spans)) for row in swap_lines(plan, width - 2)]
    if plan.alternatives:
        title = f"  Ways to {aim_word(plan)} now"
        rows += [line((title, "label")), *alternative_lines(plan.alternatives, width)]
    return rows


def evaluation_sentence(evaluation: Evaluation) -> tuple[str, str]:
    """What an evaluation says in words and its role."""
    if evaluation.refused is not None:
        return f"refused: {clean_text(evaluation.refused.reason, 300)}", "warn"
    if evaluation.plan is not None:
        lead = "fires now:" if evaluation.fires else f"at {health(evaluation.plan.health_factor_before)} it would"
        reach = "" if evaluation.plan.reaches_target else "warn"
        return f"{lead} {plan_sentence(evaluation.plan)}", reach
    return clean_text(evaluation.why, 300), "muted"


def limits_sentence(rule: Rule) -> str:
    """The limits of a rule, and what it may do beyond them, in one sentence; empty where it has none."""
    limits = rule.limits
    said = []
    if limits.max_cost_usd is not None:
        said.append(f"cost up to {dollars_short(limits.max_cost_usd)}")
    if limits.max_cost_share_bps is not None:
        share = format_units(limits.max_cost_share_bps, 2).rstrip("0").rstrip(".")
        said.append(f"cost up to {share}% of the expected loss avoided")
    if limits.max_base_fee is not None:
        said.append(f"base fee up to {format_units(limits.max_base_fee, 9).rstrip('0').rstrip('.')} gwei")
    if limits.emergency != EMERGENCY_HEALTH:
        said.append(f"these give way under {health(limits.emergency)}")
    if limits.cooldown:
        said.append(f"{age(limits.cooldown)} between firings")
    if limits.stale_price is StalePrice.ACT:
        said.append("repays even at a stale price")
    if limits.standing_allowance is StandingAllowance.USE:
        said.append("uses a standing allowance")
    if rule.partial:
        said.append("goes a part of the way where it cannot go all of it")
    return ", ".join(said)


def _spent(entry: RuleView) -> str:
    limit = entry.rule.limits.daily_spend_usd
    cap = "" if limit is None else f" of {dollars_short(limit)}"
    return f"today {dollars_short(entry.spent_today_usd)}{cap}"


def _rule(entry: RuleView, width: int, chosen: bool, now: float) -> list[Line]:
    rule = entry.rule
    sign = ACTIVITY[entry.activity]
    tag, ground = rule.name, ("chosen" if chosen else "")
    gutter = Span("▌ " if chosen else "  ", "accent")
    order = " · cheapest first" if rule.order is Order.CHEAPEST and len(rule.steps) > 1 else ""
    blocks = "" if rule.for_blocks <= 1 else f" for {rule.for_blocks} blocks"
    since = "" if entry.armed_since is None else f" {age(now - entry.armed_since)}"
    rows = [
        split(
            [gutter, Span(clean_text(rule.name, 28), "strong"), Span(f"  {MODE[rule.mode]}{order}", "muted")],
            [Span(sign.both + since, sign.role), Span(" ")],
            width,
            ground,
            tag,
        ),
        *_trigger(entry, width, blocks, tag),
    ]
    said: list[tuple[str, str]] = []
    if entry.detail:
        said.append((clean_text(entry.detail, 300), "muted"))
    if entry.evaluation is not None:
        judged = evaluation_sentence(entry.evaluation)
        if judged[0] != clean_text(entry.detail, 300):
            said.append(judged)
    if not entry.positions:
        said.append((f"no position matches {clean_text(rule.position, 60)}", "warn"))
    for text, role in said:
        rows += [Line(row.spans, "", tag) for row in wrap(text, width - 1, role, "  ", "  ")]
    if chosen and entry.evaluation is not None:
        rows += [Line(row.spans, "", tag) for row in plan_details(entry.evaluation, width - 1)]
    return rows


def trigger_words(rule: Rule) -> str:
    """What a rule waits for: `below 1.25`, `WETH below $2,000`, `WETH 10% under its best`, `health 10% under its
    best`.
    """
    trigger = rule.trigger
    if trigger.trails and not trigger.is_price:
        return f"health {part(trigger.trailing_bps or 0)} under its best"
    if not trigger.is_price:
        return f"{side_word(trigger)} {ratio(trigger.level)}"
    names = "/".join(asset_word(name) for name in trigger.names)
    if trigger.trailing_bps is not None:
        return f"{names} {part(trigger.trailing_bps)} under its best"
    return f"{names} {side_word(trigger)} {'' if trigger.quote else '$'}{level(trigger.level)}"


def goal_words(rule: Rule) -> str:
    """How far a rule goes: `1.50`, `closes 50%`."""
    if rule.goal.kind is GoalKind.NOTHING:
        return ""
    return ratio(rule.goal.value) if rule.goal.kind is GoalKind.HEALTH else f"closes {part(rule.goal.value)}"


def _trigger(entry: RuleView, width: int, blocks: str, tag: str) -> list[Line]:
    """Trigger and target, with what was spent today at the right or below."""
    rule = entry.rule
    left = [
        Span("  "),
        Span(trigger_words(rule), "trigger"),
        Span(blocks, "muted"),
        *([] if rule.goal.kind is GoalKind.NOTHING else [Span(" → "), Span(goal_words(rule), "target")]),
    ]
    right = [Span(_spent(entry), "muted"), Span(" ")]
    if width_of(left) + width_of(right) + 1 <= width:
        return [split(left, right, width, "", tag)]
    return [Line(tuple(left), "", tag), line("  ", *right, tag=tag)]


def rules_lines(view: ViewState, width: int, chosen: str | None, now: float) -> list[Line]:
    """Every rule, then the faults of the file, then what would stop a defence, then what only is worth knowing."""
    rows: list[Line] = []
    for entry in view.rules:
        if rows:
            rows.append(BLANK)
        rows += _rule(entry, width, entry.rule.name == chosen, now)
    if not rows and not view.rule_faults:
        rows.append(line(("  No rules yet: nothing is defended.", "warn")))
        rows.append(line(("  Press ", "muted"), ("e", "key"), (" to write the first one.", "muted")))
    for fault in view.rule_faults:
        bad = fault.severity is FaultSeverity.ERROR
        rows += wrap(clean_text(str(fault), 400), width - 1, "alarm" if bad else "warn", "✖ " if bad else "▲ ", "  ")
    for title, role, glyph, texts in (
        ("What would stop a defence now", "warn", "▲ ", view.would_stop),
        ("Worth knowing", "muted", "· ", view.worth_knowing),
    ):
        if texts:
            rows += [*([BLANK] if rows else []), line((title, "label"))]
        for text in texts:
            rows += wrap(clean_text(text, 300), width - 1, role, glyph, "  ")
    return fitted(rows, width)
