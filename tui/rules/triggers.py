"""The trigger and the goal of a rule: which keys say them, and what is wrong with what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tui.model.rule import (
    REPAYING,
    ActionKind,
    Goal,
    GoalKind,
    Mode,
    Step,
    Trigger,
    TriggerKind,
    close,
    health_above,
    health_below,
    restore,
)
from tui.model.units import BPS, WAD
from tui.rules.fields import TableReader, percent_text, plain_decimal
from tui.rules.steps import read_asset

HIGHEST_HEALTH_FACTOR = 100
MOST_BLOCKS = 100_000
MOST_PRICE = 10**12
LEAST_BOOST_TARGET = 105 * WAD // 100
LEAST_TRAILING_BPS, MOST_TRAILING_BPS = 10, 9_000
"""A stop that trails closer than a tenth of a percent is noise; one that trails by more than nine tenths is none."""

_HEALTH = "health_factor_below"
_ABOVE = "health_factor_above"
_TRAILS = TriggerKind.HEALTH_TRAILING.value
_PRICE = "price_of"
_LEVELS = (TriggerKind.PRICE_BELOW, TriggerKind.PRICE_ABOVE, TriggerKind.TRAILING)
_WHEN = 'when = { health_factor_below = "1.25", for_blocks = 1 }'


def read_trigger(reader: TableReader) -> tuple[Trigger | None, int | None]:
    """The trigger and the blocks in a row of the rule that `reader` stands in; None with faults noted."""
    when = reader.subtable("when", _WHEN)
    if when is None:
        return None, None
    if _ABOVE in when.table:
        return _high_trigger(when)
    if _TRAILS in when.table:
        return _trailing_health(when)
    levels = [kind for kind in _LEVELS if kind.value in when.table]
    about_price = _PRICE in when.table or "in" in when.table or bool(levels)
    if _HEALTH in when.table and about_price:
        # All of it is known: only which of the two is meant is not.
        for key in (_HEALTH, _PRICE, "in", "for_blocks", *(kind.value for kind in _LEVELS)):
            when.take(key)
        fix = "keep one of the two: write another rule for the other"
        when.fault(_PRICE if _PRICE in when.table else levels[0].value if levels else "in",
                   f"{when.name} waits for a health factor and for a price", fix)  # fmt: skip
        when.finish()
        return None, None
    trigger = _price_trigger(when, levels) if about_price else _health_trigger(when)
    for_blocks = when.whole_number("for_blocks", 1, 1, MOST_BLOCKS)
    if not about_price:
        when.taken.extend((_ABOVE, _TRAILS, _PRICE, *(kind.value for kind in _LEVELS)))
    when.finish()
    return trigger, for_blocks


def _high_trigger(when: TableReader) -> tuple[Trigger | None, int | None]:
    """A health factor that is passed upwards, and nothing else: of a boost, or of a take-profit."""
    others = _others(when, _ABOVE)
    level = when.decimal(_ABOVE, 18, "2.2", HIGHEST_HEALTH_FACTOR)
    for_blocks = when.whole_number("for_blocks", 1, 1, MOST_BLOCKS)
    if others:
        when.fault(others[0], f"{when.name} has {_ABOVE} and {others[0]}", "keep one of the two: write another rule")
    elif level is not None and level <= WAD:
        what = f"{_ABOVE} is {plain_decimal(level, 18)}: at 1 the position is already liquidated"
        when.fault(_ABOVE, what, 'write one far above it, for example "2.2"')
    when.finish()
    return None if level is None or level <= WAD or others else health_above(level), for_blocks


def _trailing_health(when: TableReader) -> tuple[Trigger | None, int | None]:
    """Health that falls by a share under the best that was seen of it, and nothing else."""
    others = _others(when, _TRAILS)
    trailing = _trailing_share(when, _TRAILS)
    for_blocks = when.whole_number("for_blocks", 1, 1, MOST_BLOCKS)
    if others:
        when.fault(others[0], f"{when.name} has {_TRAILS} and {others[0]}", "keep one of the two: write another rule")
    when.finish()
    return None if trailing is None or others else Trigger(TriggerKind.HEALTH_TRAILING, 0, None, None, trailing), (
        for_blocks
    )


def _others(when: TableReader, own: str) -> list[str]:
    """Keys of other triggers that stand beside a trigger's own."""
    known = (_HEALTH, _ABOVE, _TRAILS, _PRICE, "in", *(kind.value for kind in _LEVELS))
    others = [key for key in known if key in when.table and key != own]
    for key in others:
        when.take(key)
    return others


def _trailing_share(when: TableReader, key: str) -> int | None:
    """How far under its best something fires, in basis points; None with a fault noted."""
    trailing = when.share(key, "10%", MOST_TRAILING_BPS)
    if trailing is None or trailing >= LEAST_TRAILING_BPS:
        return trailing
    least, most = percent_text(LEAST_TRAILING_BPS), percent_text(MOST_TRAILING_BPS)
    what = f"{key} is {percent_text(trailing)}, nearer than prices stand still"
    when.fault(key, what, f'write a share from "{least}" to "{most}"')
    return None


def _health_trigger(when: TableReader) -> Trigger | None:
    if _HEALTH not in when.table:
        line = when.faults.scan.line_of(when.path)
        what = f"{when.name} has neither {_HEALTH} nor {_PRICE}"
        fix = f'add {_HEALTH} = "1.25", or {_PRICE} = "WETH" with below, above or trailing'
        when.take(_HEALTH)
        when.faults.add((*when.path, _HEALTH), what, fix, rule=when.rule, line=line)
        return None
    level = when.decimal(_HEALTH, 18, "1.25", HIGHEST_HEALTH_FACTOR)
    if level is not None and level <= WAD:
        when.fault(
            _HEALTH,
            f"{_HEALTH} is {plain_decimal(level, 18)}: at 1 the position is already liquidated",
            'act earlier, for example at "1.25"',
        )
        return None
    return None if level is None else health_below(level)


def _price_trigger(when: TableReader, levels: Sequence[TriggerKind]) -> Trigger | None:
    asset = read_asset(when, _PRICE, "WETH")
    quote = None
    if "in" in when.table:
        quote = read_asset(when, "in", "WBTC")
    else:
        when.taken.append("in")
    if quote is not None and quote == asset:
        when.taken.extend(kind.value for kind in _LEVELS)
        when.fault("in", f"in is {quote}, whose price is asked for", "name another asset, or take it out for dollars")
        return None
    found: Trigger | None = None
    example = "0.05" if "in" in when.table else "2000"
    for kind in _LEVELS:
        if kind not in levels:
            when.take(kind.value)
        elif kind is TriggerKind.TRAILING:
            trailing = _trailing_share(when, kind.value)
            if trailing is not None:
                found = Trigger(kind, 0, asset, quote, trailing)
        else:
            level = when.decimal(kind.value, 18, example, MOST_PRICE)
            if level is not None:
                found = Trigger(kind, level, asset, quote)
    if not levels:
        line = when.faults.scan.line_of(when.path)
        what = f"{when.name} has none of below, above and trailing"
        fix = f'add below = "{example}", above = "{example}" or trailing = "10%"'
        when.faults.add((*when.path, "below"), what, fix, rule=when.rule, line=line)
    elif len(levels) > 1:
        words = " and ".join(kind.value for kind in levels)
        when.fault(levels[-1].value, f"{when.name} has {words}", "keep one of them: write another rule for the other")
        return None
    return None if asset is None or ("in" in when.table and quote is None) else found


def read_goal(reader: TableReader, mode: str | None, trigger: Trigger | None) -> Goal | None:
    """The goal of the rule that `reader` stands in; None with faults noted. A rule that only notifies needs none."""
    optional = mode == Mode.NOTIFY and "step" not in reader.table
    about_price = trigger is not None and trigger.by_value
    example = 'target = { close = "50%" }' if about_price else 'target = { health_factor = "1.50" }'
    table = reader.subtable("target", None if optional else example)
    if table is None:
        # A rule that only notifies restores nothing: without a target it stands for its own trigger.
        if trigger is None or "target" in reader.table:
            return None
        return Goal(GoalKind.NOTHING) if about_price else restore(trigger.level)
    if GoalKind.CLOSE in table.table and GoalKind.HEALTH in table.table:
        table.take(GoalKind.HEALTH.value)
        table.take(GoalKind.CLOSE.value)
        table.fault("close", f"{table.name} has both health_factor and close", "keep one of the two")
        table.finish()
        return None
    if GoalKind.CLOSE in table.table:
        bps = table.share("close", "50%", BPS)
        table.taken.append(GoalKind.HEALTH.value)
        table.finish()
        return None if bps is None else close(bps)
    target = table.decimal("health_factor", 18, "1.50", HIGHEST_HEALTH_FACTOR, required=True)
    table.taken.append(GoalKind.CLOSE.value)
    table.finish()
    if target is not None and trigger is not None and trigger.kind is TriggerKind.HEALTH_ABOVE:
        _check_boost_target(table, target, trigger)
    elif target is not None and trigger is not None and not trigger.by_value and target <= trigger.level:
        table.fault(
            "health_factor",
            f"target {plain_decimal(target, 18)} is not above the trigger {plain_decimal(trigger.level, 18)}",
            "write a target above health_factor_below, or the rule would fire again at once",
        )
    return None if target is None else restore(target)


def _check_boost_target(table: TableReader, target: int, trigger: Trigger) -> None:
    said = plain_decimal(target, 18)
    if target >= trigger.level:
        what = f"target {said} is not below the trigger {plain_decimal(trigger.level, 18)}"
        table.fault("health_factor", what, f"write a target below {_ABOVE}: a boost brings health down to it")
    elif target < LEAST_BOOST_TARGET:
        least = plain_decimal(LEAST_BOOST_TARGET, 18)
        what = f"target {said} is so near liquidation that nobody should borrow down to it"
        table.fault("health_factor", what, f'write "{least}" or more')


def check_boost(reader: TableReader, trigger: Trigger | None, goal: Goal | None, steps: Sequence[Step]) -> None:
    """Note boosts where health is not high, and other steps where it is: the first makes a defence a danger. What
    closes a part where health is high is no boost: its steps are looked at with its goal (`check_goal`).
    """
    if trigger is None:
        return
    boosts = trigger.kind is TriggerKind.HEALTH_ABOVE
    if boosts and _closes(reader, goal):
        return
    for number, step in enumerate(steps):
        if (step.action is ActionKind.BOOST) is boosts:
            continue
        name, path = f"step {number + 1} of {reader.name}", (*reader.path, "step", number, "action")
        if boosts:
            what = f'{name} is "{step.action.word}", but {_ABOVE} with a target health_factor is for boosting'
            fix = f'write action = "boost", or {_HEALTH} in when, or target = {{ close = "50%" }} to take profit'
        else:
            what = f"{name} boosts, which lowers health"
            fix = f'put it into a rule of its own with when = {{ {_ABOVE} = "2.2" }} and a target below that'
        reader.faults.add(path, what, fix, rule=reader.rule)


def _closes(reader: TableReader, goal: Goal | None) -> bool:
    """Whether a rule means to close a part, even where the part that it writes is at fault."""
    if goal is not None:
        return goal.kind is GoalKind.CLOSE
    target = reader.table.get("target")
    return isinstance(target, Mapping) and GoalKind.CLOSE.value in target


def check_goal(reader: TableReader, trigger: Trigger | None, goal: Goal | None, steps: Sequence[Step]) -> None:
    """Note the steps that do nothing towards closing a position."""
    if goal is None or goal.kind is not GoalKind.CLOSE:
        return
    for number, step in enumerate(steps):
        if step.action not in REPAYING:
            path = (*reader.path, "step", number, "action")
            what = f"step {number + 1} of {reader.name} is {step.action.word}, after which no less is owed"
            fix = "write a step that repays, or a target health_factor"
            if step.action is ActionKind.BOOST and trigger is not None and trigger.kind is TriggerKind.HEALTH_ABOVE:
                fix = 'write a step that repays to take profit, or target = { health_factor = "1.90" } to boost'
            reader.faults.add(path, what, fix, rule=reader.rule)


def trigger_meaning(trigger: Trigger) -> Mapping[str, object]:
    """What a trigger means, for a rule's digest: one of health as it always was, one of a price in its own words."""
    if trigger.kind is TriggerKind.HEALTH_BELOW:
        return {"health_factor_below": trigger.level}
    return {"trigger": [trigger.kind.value, trigger.level, trigger.asset, trigger.quote, trigger.trailing_bps]}


def goal_meaning(goal: Goal) -> Mapping[str, object]:
    """What a goal means, for a rule's digest."""
    if goal.kind is GoalKind.HEALTH:
        return {"target_health_factor": goal.value}
    return {"goal": [goal.kind.value, goal.value]}
