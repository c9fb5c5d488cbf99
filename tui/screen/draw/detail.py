"""All that is known of one position: assets with their prices and limits, correlated moves, interest, notes."""

from __future__ import annotations

from tui.model.position import Asset, Position, Status
from tui.model.rule import TriggerKind
from tui.model.text import short_address
from tui.model.view import PositionView, ViewState
from tui.screen.clean import clean_text
from tui.screen.draw.gauge import gauge, gauge_labels
from tui.screen.draw.levels import prices_of
from tui.screen.figures import (
    amount,
    distance,
    distance_bps,
    dollars,
    health,
    horizon,
    percent,
    price,
    ratio,
    threshold,
)
from tui.screen.figures import (
    level as level_text,
)
from tui.screen.lines import BLANK, Line, Span, cell, clip, fitted, line, split, width_of, wrap
from tui.screen.words import market_name, status_sign


def _symbol(asset: Asset, limit: int = 12) -> str:
    return clean_text(asset.symbol, limit)


def _row(parts: list[Span], width: int) -> Line:
    return Line(clip(parts, width))


def _asset_rows(position: Position, width: int, stale: bool) -> list[Line]:
    number = "stale" if stale else ""
    roomy = width >= 84
    lean = width < 58
    tight = not lean and width < 64
    name = 8 if tight else 9
    quantity = 14 if width >= 64 or (lean and width >= 50) else 12
    current_price, share = (11, 6) if tight else (12, 7)
    rows: list[Line] = []

    def head(title: str) -> Line:
        spans = [cell(title, name, "label"), cell("AMOUNT", quantity, "label", "right")]
        if not lean:
            spans.append(cell("PRICE", current_price, "label", "right"))
        if roomy:
            spans += [cell("VALUE", 14, "label", "right"), cell("APY", 9, "label", "right")]
        spans += [cell("LIMIT", share, "label", "right"), cell("LIQUIDATION AT", 16, "label", "right")]
        return _row(spans, width)

    def entry(
        asset: Asset,
        held: int,
        current: int | None,
        value: int | None,
        apy: int | None,
        limit: str,
        there: int | None,
        role: str,
    ) -> Line:
        spans = [cell(_symbol(asset), name, role), cell(amount(held, asset.decimals), quantity, number, "right")]
        if not lean:
            spans.append(cell(price(current), current_price, number, "right"))
        if roomy:
            spans += [
                cell(dollars(value), 14, number, "right"),
                cell("—" if apy is None else percent(apy), 9, number, "right"),
            ]
        far = distance_bps(current, there)
        spans += [
            cell(limit, share, "stale" if stale else "muted", "right"),
            cell("—" if there is None else price(there), 16 if lean else 12, number, "right"),
        ]
        if not lean:
            spans.append(
                cell("" if far is None else distance(far), 9 if tight else 10, "stale" if stale else "muted", "right")
            )
        return _row(spans, width)

    if position.collateral:
        rows.append(head("SUPPLIED"))
        rows += [
            entry(
                one.asset,
                one.amount,
                one.price_usd,
                one.value_usd,
                one.supply_apy,
                threshold(one.liquidation_threshold) if one.counts else "off",
                one.liquidation_price_usd if one.counts else None,
                "strong" if one.counts else "muted",
            )
            for one in position.collateral
        ]
    if position.debt:
        rows.append(head("OWED"))
        rows += [
            entry(
                one.asset,
                one.amount,
                one.price_usd,
                one.value_usd,
                one.borrow_apy,
                "",
                one.liquidation_price_usd,
                "strong",
            )
            for one in position.debt
        ]
    return rows


def _sentences(position: Position) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    current = {asset.address: price_now for asset, price_now, _ in prices_of(position)}
    for group in position.groups:
        if len(group.assets) < 2:
            continue
        names = ", ".join(_symbol(asset) for asset in group.assets)
        far = distance_bps(current.get(group.lead.address), group.price_usd)
        away = "" if far is None else f" ({distance(far)})"
        said.append(
            (f"{names} moving together: liquidation at {_symbol(group.lead)} {price(group.price_usd)}{away}", "")
        )
    if position.debt:
        if position.seconds_to_liquidation is None:
            said.append(("By interest alone: never liquidated at present rates", "muted"))
        else:
            said.append(
                (f"By interest alone: liquidated in {horizon(position.seconds_to_liquidation)} at present rates", "")
            )
    if position.liquidation_penalty_usd is not None:
        said.append((f"A liquidation now would cost about {dollars(position.liquidation_penalty_usd)}", "muted"))
    said += [(f"▲ {clean_text(note, 200)}", "warn") for note in position.notes]
    return said


def _keys(shown: PositionView) -> str:
    """Whose key can defend it."""
    own = "own key" if shown.own_key else "watch-only"
    if not shown.payers:
        return own
    more = "" if len(shown.payers) == 1 else f" and {len(shown.payers) - 1} more"
    return f"paid by {short_address(shown.payers[0])}{more}"


def detail_lines(view: ViewState, shown: PositionView | None, width: int) -> list[Line]:
    """The chosen position in `width` cells."""
    if shown is None:
        return [line(("Choose a position to see what it holds.", "muted"))]
    position = shown.position
    stale = view.chain.blind is not None
    sign = status_sign(position.status, stale)
    label = clean_text(shown.label, 24) if shown.label else ""
    account = clean_text(position.key.account, 44)
    name = [Span(market_name(position.key.market), "strong"), Span("  "), Span(label or account, "accent")]
    key = Span(_keys(shown), "muted")
    rows = [split(name, [key], width)]
    if label:
        rows.append(line((account if width >= 44 else account[: width - 1] + "…", "muted")))
    if position.unknown is not None:
        rows += [
            BLANK,
            *wrap(f"unknown: {clean_text(position.unknown, 400)}", width, "unknown", f"{sign.glyph} ", "  "),
        ]
        rows += [
            BLANK,
            *wrap(
                "No number of this position can be trusted now, so none is shown and no rule acts on it. "
                "It is read again with every block.",
                width,
                "muted",
            ),
        ]
        rows += [line((f"▲ {clean_text(note, 200)}", "warn")) for note in position.notes]
        return fitted(rows, width)
    role = sign.role
    if position.health_factor is None:
        rows.append(line((sign.both, role), ("  nothing is owed, so nothing can be liquidated", "muted")))
    else:
        native = "  ".join(
            f"{clean_text(key, 24).replace('_', ' ')} {clean_text(value, 24)}" for key, value in position.native.items()
        )
        exact = health(position.health_factor, 18 if width >= 45 else 8)
        now = [Span("health ", "muted"), Span(exact, role), Span(f"  {sign.both}", role)]
        if width_of(now) + len(native) + 1 <= width:
            rows.append(split(now, [Span(native, "muted")], width))
        else:
            rows += [line(*now), *wrap(native, width, "muted")]
        rows.append(
            Line(
                gauge(
                    width,
                    position.health_factor,
                    position.status,
                    shown.trigger_health_factor,
                    shown.target_health_factor,
                    stale,
                )
            )
        )
        rows.append(gauge_labels(width, shown.trigger_health_factor, shown.target_health_factor))
    rows += _asset_rows(position, width, stale)
    for trigger in shown.trigger_prices:
        far = "" if trigger.distance_bps is None else f" ({distance(trigger.distance_bps)})"
        pair = ""
        if trigger.quote is not None and trigger.level is not None:
            pair = f", {level_text(trigger.level)} {_symbol(trigger.quote)}"
        side = "above" if trigger.kind is TriggerKind.HEALTH_ABOVE else "below"
        level = ""
        if trigger.health_factor is not None:
            trails = trigger.kind is TriggerKind.HEALTH_TRAILING  # nobody wrote that level: it has digits without end
            level = f" {side} {health(trigger.health_factor) if trails else ratio(trigger.health_factor)}"
        rows += wrap(
            f"{clean_text(trigger.rule, 24)} fires{level}: {_symbol(trigger.asset)} "
            f"{price(trigger.price_usd)}{pair}{far}",
            width,
            "stale" if stale else "trigger",
            "",
            "  ",
        )
    for text, tone in _sentences(position):
        rows += wrap(text, width, "stale" if stale and tone == "" else tone, "", "  ")
    if position.status is Status.LIQUIDATABLE:
        rows += wrap("✖ Anyone may liquidate this position now.", width, "alarm")
    return fitted(rows, width)
