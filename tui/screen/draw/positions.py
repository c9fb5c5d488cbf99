"""The positions table: two lines a position, numbers above and its gauge below, at any width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tui.model.position import Position, Status
from tui.model.rule import Mode, Rule, TriggerKind
from tui.model.text import short_address
from tui.model.view import PositionView, RuleActivity, ViewState
from tui.screen.clean import clean_text
from tui.screen.draw.gauge import gauge
from tui.screen.draw.levels import nearest_liquidation
from tui.screen.figures import distance, dollars_short, health, percent, price
from tui.screen.lines import Lazy, Line, Span, cell, clip, line, shorten, width_of, wrap
from tui.screen.words import ACTIVITY, MODE, STATUS, market_name, status_sign

WIDE, COMPACT = 108, 76
"""From how many cells on the table, and two lines with the numbers that matter most."""


def account_name(view: PositionView) -> str:
    """The account's label, or its short address."""
    label = clean_text(view.label, 20) if view.label else ""
    return label or short_address(view.position.key.account)


def _assets(symbols: list[str]) -> str:
    if not symbols:
        return ""
    return symbols[0] if len(symbols) == 1 else f"{symbols[0]} +{len(symbols) - 1}"


def collateral_symbols(position: Position) -> str:
    """The largest supplied asset by value and how many more there are."""
    ordered = sorted(position.collateral, key=lambda one: -(one.value_usd or 0))
    return _assets([clean_text(one.asset.symbol, 12) for one in ordered])


def debt_symbols(position: Position) -> str:
    """The largest owed asset by value and how many more there are."""
    ordered = sorted(position.debt, key=lambda one: -(one.value_usd or 0))
    return _assets([clean_text(one.asset.symbol, 12) for one in ordered])


def _liquidation(position: Position, width: int) -> tuple[str, str]:
    """The nearest liquidation price in `width` cells, and how far it is. A name is cut before a price is."""
    nearest = nearest_liquidation(position)
    if nearest is None:
        return ("none" if position.status is not Status.UNKNOWN and not position.debt else "—", "")
    there = price(nearest.price_usd)
    more = "" if nearest.together == 1 else f"+{nearest.together - 1}"
    symbol = shorten(nearest.symbol, width - len(there) - len(more) - 1)
    return f"{symbol}{more} {there}" if symbol else there, distance(nearest.distance_bps)


def _rule(shown: PositionView) -> tuple[str, str]:
    return ("no rule", "muted") if shown.rule is None else (clean_text(shown.rule, 24), "")


def _no_defence(rule: Rule | None) -> str:
    """What is missing where a position's best rule is no defence of its health; empty where it is one."""
    if rule is None:
        return ""
    if rule.mode is Mode.NOTIFY:
        return "tells only"
    if rule.trigger.kind is TriggerKind.HEALTH_BELOW:
        return ""
    # A stop sees one price; health may fall by others.
    if rule.trigger.kind is TriggerKind.HEALTH_TRAILING:
        return "stop only"  # it sees all prices, and fires once
    return "price only" if rule.trigger.kind in (TriggerKind.PRICE_BELOW, TriggerKind.TRAILING) else "no defence"


def _rule_of(view: ViewState, shown: PositionView) -> Rule | None:
    return next((entry.rule for entry in view.rules if entry.rule.name == shown.rule), None)


def _rule_state(view: ViewState, shown: PositionView, width: int = 40) -> tuple[str, str]:
    if shown.rule is None:
        return "· unguarded", "warn"
    sign, rule = ACTIVITY[shown.rule_activity], _rule_of(view, shown)
    mode = None if rule is None else MODE[rule.mode]
    if lacks := _no_defence(rule):
        # The warning gives way to nothing, not even to the sign.
        said = (f"{sign.both} · {lacks}", f"{sign.glyph} {lacks}", lacks)
        return next((one for one in said if len(one) <= width), lacks), "warn"
    with_mode = f"{sign.both} · {mode}" if mode else sign.both
    return (with_mode if len(with_mode) <= width else sign.both), sign.role


def _gauge(width: int, shown: PositionView, stale: bool) -> tuple[Span, ...]:
    position = shown.position
    return gauge(
        width,
        position.health_factor,
        position.status,
        shown.trigger_health_factor,
        shown.target_health_factor,
        stale,
    )


def _unknown(view: ViewState, shown: PositionView, width: int, chosen: bool) -> list[Line]:
    """A position nothing is known of: the reason stands where the numbers would."""
    sign = STATUS[Status.UNKNOWN]
    reason = clean_text(shown.position.unknown or "no reason given", 400)
    ground, tag = ("chosen" if chosen else ""), shown.position.id
    gutter = Span("▌ " if chosen else "  ", "accent")
    name = cell(market_name(shown.position.key.market), min(18, width // 3), "strong")
    label = cell(account_name(shown), min(18, width // 3), "muted")
    room = width - width_of([gutter, name]) - 1
    rows = wrap(f"{sign.glyph} unknown: {reason}", max(8, room), sign.role)[:2] or [line("")]
    if len(rows) == 1:
        text, role = _rule_state(view, shown)
        rows.append(line((f"not guarded while unknown · {text}", "warn" if shown.rule else role)))
    return [
        Line((gutter, name, Span(" "), *clip(rows[0].spans, room)), ground, tag),
        Line((gutter, label, Span(" "), *clip(rows[1].spans, room)), ground, tag),
    ]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Cells of each column of the wide table; together exactly the width."""

    market: int = 14
    value: int = 8
    symbol: int = 8
    health: int = 7
    status: int = 15
    where: int = 17
    apy: int = 8
    rule: int = 13

    @property
    def taken(self) -> int:
        """All of them and the gutter."""
        return 2 + self.market + self.rail + self.where + self.apy + self.rule

    @property
    def rail(self) -> int:
        """Cells from the first sum to the end of the status word: there the gauge lies."""
        return 2 * self.value + 2 * self.symbol + self.health + self.status


_GROWING = (("rule", 18), ("health", 8), ("symbol", 9), ("value", 9), ("apy", 9), ("market", 15))
"""What a wider table gives first, and up to how much. The least widths hold every number and a market's name."""


@lru_cache(maxsize=8)
def _columns(width: int) -> _Columns:
    columns = _Columns()
    for name, most in _GROWING:
        spare = (width - columns.taken) // (2 if name in ("symbol", "value") else 1)
        have: int = getattr(columns, name)
        columns = replace(columns, **{name: have + max(0, min(most - have, spare))})
    spare = width - columns.taken
    columns = replace(
        columns,
        where=columns.where + min(6, spare // 8),
        market=columns.market + min(7, spare // 8),
        rule=columns.rule + min(14, spare // 4),
    )
    spare = width - columns.taken
    columns = replace(
        columns, value=columns.value + spare // 4, symbol=columns.symbol + (spare - 2 * (spare // 4)) // 2
    )
    return replace(columns, rule=columns.rule + width - columns.taken)


def _wide(view: ViewState, shown: PositionView, width: int, chosen: bool, stale: bool) -> list[Line]:
    position = shown.position
    sign = status_sign(position.status, stale)
    number = "stale" if stale else ""
    health_role = sign.role
    columns = _columns(width)
    where, far = _liquidation(position, columns.where - 1)
    rule, rule_role = _rule(shown)
    state, state_role = _rule_state(view, shown, columns.rule - 2)
    ground, tag = ("chosen" if chosen else ""), position.id
    gutter = Span("▌ " if chosen else "  ", "accent")
    first = (
        gutter,
        cell(shorten(market_name(position.key.market), columns.market - 1), columns.market, "strong"),
        cell(dollars_short(position.collateral_usd), columns.value, number, "right"),
        cell(f" {collateral_symbols(position)}", columns.symbol, "muted"),
        cell(dollars_short(position.debt_usd), columns.value, number, "right"),
        cell(f" {debt_symbols(position)}", columns.symbol, "muted"),
        cell(
            "—" if position.health_factor is None else health(position.health_factor),
            columns.health,
            health_role,
            "right",
        ),
        cell(f" {sign.both}", columns.status, health_role),
        cell(where, columns.where, number, "right"),
        cell("—" if position.net_apy is None else percent(position.net_apy), columns.apy, number, "right"),
        cell(f"  {rule}", columns.rule, rule_role),
    )
    second = (
        gutter,
        cell(account_name(shown), columns.market + 1, "muted"),
        Span(" "),
        *_gauge(columns.rail - 2, shown, stale),
        cell(far, columns.where, health_role, "right"),
        Span(" " * columns.apy),
        cell(f"  {state}", columns.rule, state_role),
    )
    return [Line(clip(first, width), ground, tag), Line(clip(second, width), ground, tag)]


def _compact(view: ViewState, shown: PositionView, width: int, chosen: bool, stale: bool) -> list[Line]:
    position = shown.position
    sign = status_sign(position.status, stale)
    number, health_role = ("stale" if stale else ""), sign.role
    ground, tag = ("chosen" if chosen else ""), position.id
    gutter = Span("▌ " if chosen else "  ", "accent")
    glyph = ACTIVITY[shown.rule_activity] if shown.rule else None
    lacks = _no_defence(_rule_of(view, shown))
    rule = f" {glyph.glyph} {lacks or clean_text(shown.rule or '', 10)}" if glyph else " · no rule"
    rule_role = glyph.role if glyph and not lacks else "warn"
    spare = width - COMPACT
    name = 14 + min(6, max(0, spare - 4) // 2)
    room = width - 2 - name - 8 - 16 - 9 - 13
    where, far = _liquidation(position, room - 1)
    first = (
        gutter,
        cell(account_name(shown), name, "strong"),
        cell("—" if position.health_factor is None else health(position.health_factor), 8, health_role, "right"),
        cell(f" {sign.both}", 16, health_role),
        cell(where, room, number, "right"),
        cell(far, 9, health_role, "right"),
        cell(rule, 13, rule_role),
    )
    sums = (
        f"{dollars_short(position.collateral_usd)} {collateral_symbols(position)}"
        f" / {dollars_short(position.debt_usd)} {debt_symbols(position)}"
        if position.debt
        else f"{dollars_short(position.collateral_usd)} {collateral_symbols(position)}"
    )
    sums_width = min(34, width // 2 - 4)
    second = (
        gutter,
        cell(sums, sums_width, "stale" if stale else "muted"),
        Span(" "),
        *_gauge(width - 4 - sums_width, shown, stale),
    )
    return [Line(clip(first, width), ground, tag), Line(clip(second, width), ground, tag)]


def _narrow(view: ViewState, shown: PositionView, width: int, chosen: bool, stale: bool) -> list[Line]:
    position = shown.position
    sign = status_sign(position.status, stale)
    health_role = sign.role
    _, far = _liquidation(position, width)
    ground, tag = ("chosen" if chosen else ""), position.id
    gutter = Span("▌ " if chosen else "  ", "accent")
    # Where there is room for a sign alone, only a defence has one.
    state = ACTIVITY[shown.rule_activity] if shown.rule and not _no_defence(_rule_of(view, shown)) else None
    first = (
        gutter,
        cell(account_name(shown), max(6, width - 2 - 8 - 16 - 9 - 3), "strong"),
        cell("—" if position.health_factor is None else health(position.health_factor), 8, health_role, "right"),
        cell(f" {sign.both}", 16, health_role),
        cell(far, 9, health_role, "right"),
        cell(f" {state.glyph if state else '·'}", 3, state.role if state else "warn"),
    )
    second = (
        gutter,
        *_gauge(width - 3, shown, stale),
    )
    return [Line(clip(first, width), ground, tag), Line(clip(second, width), ground, tag)]


def header(width: int) -> Line | None:
    """The names of the columns, None where they would not line up with anything."""
    if width < WIDE:
        return None
    columns = _columns(width)
    return line(
        Span("  "),
        cell("MARKET", columns.market, "label"),
        cell("SUPPLIED", columns.value, "label", "right"),
        cell("", columns.symbol),
        cell("OWED", columns.value, "label", "right"),
        cell("", columns.symbol),
        cell("HEALTH", columns.health, "label", "right"),
        cell("", columns.status),
        cell("LIQUIDATION AT", columns.where, "label", "right"),
        cell("NET APY", columns.apy, "label", "right"),
        cell("  RULE", columns.rule, "label"),
    )


def positions_lines(view: ViewState, width: int, chosen: str | None, ready: bool = True) -> Sequence[Line]:
    """Every position in the engine's order, two lines each, made when they are looked at: of a long list few are.

    While the chain is blind all numbers are drawn as stale.
    """
    if not view.positions:
        if not ready:
            return [line(("  Starting: nothing has been read yet.", "muted"))]
        if view.chain.blind is not None:
            said = f"No position is known while the chain cannot be read: {clean_text(view.chain.blind, 200)}"
            return wrap(said, width - 2, "unknown", "  ", "  ")
        return [line(("  No positions on this network for the watched accounts.", "muted"))]
    top = header(width)
    return Lazy(
        [] if top is None else [top], len(view.positions), 2, lambda number: _position(view, number, width, chosen)
    )


def _position(view: ViewState, number: int, width: int, chosen: str | None) -> list[Line]:
    shown = view.positions[number]
    stale, picked = view.chain.blind is not None, shown.position.id == chosen
    if shown.position.unknown is not None:
        return _unknown(view, shown, width, picked)
    if width >= WIDE:
        return _wide(view, shown, width, picked, stale)
    return (_compact if width >= COMPACT else _narrow)(view, shown, width, picked, stale)


def is_guarding(activity: RuleActivity) -> bool:
    """Whether a rule in this activity may act or is acting."""
    return activity in (
        RuleActivity.ARMED,
        RuleActivity.COUNTING,
        RuleActivity.ASKING,
        RuleActivity.FIRING,
        RuleActivity.LATCHED,
        RuleActivity.COOLING,
    )
