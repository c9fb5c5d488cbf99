"""The activity pane: what is under way now, then everything that happened, newest first."""

from __future__ import annotations

from datetime import tzinfo

from tui.model.intent import AttemptKind, Firing, Intent
from tui.model.text import short_address
from tui.model.units import value_usd
from tui.model.view import ActivityEntry, ViewState
from tui.screen.clean import clean_text
from tui.screen.figures import dollars, gwei, health_or, time_of_day
from tui.screen.lines import BLANK, Line, Span, fitted, line, split, wrap
from tui.screen.words import FIRING, INTENT, SEVERITY


def _intent(intent: Intent, view: ViewState, width: int) -> list[Line]:
    sign = INTENT[intent.state]
    nonce = "" if intent.nonce is None else f"nonce {intent.nonce}"
    rows = [
        split(
            [Span(f"  {sign.glyph} ", sign.role), Span(clean_text(intent.words, 160))],
            [Span(sign.word, sign.role)],
            width,
        )
    ]
    facts = [nonce] if nonce else []
    if intent.attempts:
        last = intent.attempts[-1]
        bumps = sum(attempt.kind is AttemptKind.BUMP for attempt in intent.attempts)
        facts.append(short_address(last.hash))
        if bumps:
            facts.append(f"bumped {bumps} time{'s' if bumps > 1 else ''}")
        facts.append(f"max fee {gwei(last.max_fee)}")
    if intent.included_block is not None:
        facts.append(f"block {intent.included_block:,}")
    if intent.gas_paid_wei is not None:
        native = view.chain.native_price_usd
        paid = (
            "gas of unknown price" if native is None else f"gas {dollars(value_usd(intent.gas_paid_wei, 18, native))}"
        )
        facts.append(paid)
    if intent.reason:
        facts.append(clean_text(intent.reason, 160))
    if facts:
        rows += wrap(" · ".join(facts), width, "muted", "    ", "    ")
    return rows


def firing_lines(firing: Firing, view: ViewState, width: int) -> list[Line]:
    """A firing with each of its transactions and the state it is in."""
    sign = FIRING[firing.state]
    before = health_or(firing.health_factor_before, "unknown")
    wanted = health_or(firing.health_factor_after or firing.health_factor_expected, "?")
    rows = [
        split(
            [
                Span(f"{sign.glyph} ", sign.role),
                Span(clean_text(firing.rule, 28), "strong"),
                Span(f" {sign.word}", sign.role),
            ],
            [Span(f"{before} → {wanted}", "muted")],
            width,
        )
    ]
    if firing.summary:
        rows += wrap(clean_text(firing.summary, 300), width, "", "  ", "  ")
    for intent in firing.intents:
        rows += _intent(intent, view, width)
    if firing.reason:
        rows += wrap(clean_text(firing.reason, 300), width, "warn", "  ", "  ")
    return rows


def entry_lines(entry: ActivityEntry, width: int, zone: tzinfo | None) -> list[Line]:
    """One thing that happened, wrapped under its time."""
    sign = SEVERITY[entry.severity]
    moment = time_of_day(entry.at, zone)
    role = "" if sign.role == "muted" else sign.role
    body = wrap(clean_text(entry.text, 500), max(8, width - 11), role)
    if not body:
        return []
    rows = [Line((Span(f"{moment} ", "muted"), Span(f"{sign.glyph} ", sign.role), *body[0].spans))]
    rows += [Line((Span(" " * 11), *row.spans)) for row in body[1:]]
    return rows


def activity_lines(view: ViewState, width: int, zone: tzinfo | None, limit: int = 400) -> list[Line]:
    """Open firings at the top, then the newest `limit` entries."""
    rows: list[Line] = []
    for firing in view.firings:
        if firing.state.is_open:
            rows += firing_lines(firing, view, width)
            rows.append(BLANK)
    for entry in sorted(view.activity, key=lambda one: -one.number)[:limit]:
        rows += entry_lines(entry, width, zone)
    return fitted(rows or [line(("Nothing has happened yet.", "muted"))], width)
