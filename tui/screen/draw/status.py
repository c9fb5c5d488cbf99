"""The status lines: what Trimtab may do now and why, how fresh the chain is, what fires next. Always on screen."""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.view import Protection, ProviderView, TriggerPrice, ViewState
from tui.screen.clean import clean_text
from tui.screen.figures import age, distance, dollars_short, gwei, level, price
from tui.screen.lines import Line, Span, fitted, line, shorten, split, width_of, wrap
from tui.screen.words import BLIND, KILLED, PROTECTION, PROVIDER_ROLE


@dataclass(frozen=True, slots=True)
class Local:
    """What only the screen knows: seconds now, why the engine could not start, a kill that is on its way."""

    now: float
    ready: bool = True
    failed: str | None = None
    kill_asked: bool = False


def head_age(view: ViewState, now: float) -> float | None:
    """Seconds since the head was received, as of `now`; None before any head."""
    if view.chain.head_age is None:
        return None
    return view.chain.head_age + max(0.0, now - view.at)


def block_is_late(view: ViewState, now: float) -> bool:
    """Whether the newest block is older than three block times and three seconds."""
    since = head_age(view, now)
    return since is not None and since > 3 * view.chain.block_time + 3


def badge(view: ViewState, local: Local) -> Span:
    """The word for what the engine may do; the kill switch and a blind chain cover it."""
    if local.failed is not None:
        return Span(" ✖ NOT STARTED ", "held")
    if view.killed or local.kill_asked:
        return Span(f" {KILLED.both} ", KILLED.role)
    if not local.ready:
        return Span(" ◌ STARTING ", "readonly")
    sign = PROTECTION[view.protection]
    if view.chain.blind is not None and view.chain.block is not None:
        return Span(f" {BLIND.glyph} {sign.word}, BLIND ", BLIND.role)
    if view.degraded is not None and view.protection is Protection.ARMED:
        return Span(f" ▲ {sign.word}, DEGRADED ", "held")
    return Span(f" {sign.both} ", sign.role)


def _why(view: ViewState, local: Local) -> str:
    if local.failed is not None:
        return clean_text(local.failed, 300)
    if local.kill_asked and not view.killed:
        return "Kill switch pulled; telling the engine." if local.ready else "Pulled; the engine is told as it starts."
    if not local.ready:
        return "Starting the engine."
    return clean_text(view.protection_why, 300)


def _block(view: ViewState, local: Local) -> list[Span]:
    chain = view.chain
    if chain.block is None:
        return [Span(clean_text(chain.network, 16), "muted"), Span(" no block yet", "muted")]
    since = head_age(view, local.now)
    late = block_is_late(view, local.now) or chain.blind is not None
    old = "" if since is None else f" {age(since)} ago"
    return [
        Span(f"{clean_text(chain.network, 16)} ", "muted"),
        Span(f"#{chain.block.number:,}"),
        Span(old + (" LATE" if late else "") + " ", "alarm" if late else "muted"),
    ]


def _nodes(view: ViewState, room: int) -> list[Span]:
    """How the nodes are; where none is well what is wrong with one, cut to `room` cells."""
    providers = [one for one in view.chain.providers if one.role == "node"]
    relay = next((one for one in view.chain.providers if one.role == "relay"), None)
    if not providers:
        return [Span("no node", "alarm" if view.chain.blind else "muted")]
    good = [one for one in providers if one.state == "ok"]
    quickest = min((one.latency_ms for one in good if one.latency_ms is not None), default=None)
    wait = "" if quickest is None else f" {quickest:.0f} ms"
    if len(good) == len(providers):
        count = "" if len(providers) == 1 else f" {len(providers)}/{len(providers)}"
        if any(one.detail.startswith("throttled") for one in providers):
            wait += ", throttled"
        spans = [Span(f"● node{'s' if count else ''} ok{count}{wait}", "good")]
        if relay is not None and relay.state != "ok":
            spans.append(Span(f" ▲ relay {clean_text(relay.state, 16)}", "warn"))
        return spans
    worst = next(one for one in providers if one.state != "ok")
    if good:
        return [Span(f"▲ nodes {len(good)}/{len(providers)} ok, {clean_text(worst.state, 16)}{wait}", "warn")]
    lead = f"▲ nodes 0/{len(providers)} ok, "
    why = shorten(_trouble(worst, 60), max(room - len(lead), 12))
    return [Span(lead + why, PROVIDER_ROLE.get(worst.state, "warn"))]


def _trouble(node: ProviderView, limit: int) -> str:
    """What is wrong with a node, without its URL, which stands before it."""
    return clean_text((node.detail.removeprefix(node.url) or node.state).lstrip(": "), limit)


def node_troubles(view: ViewState) -> str:
    """What is wrong with each node, as a sentence each; empty where nothing is known to be."""
    said = []
    for one in view.chain.providers:
        if one.state != "ok":
            why = _trouble(one, 120)
            known = view.chain.blind is not None and why in view.chain.blind
            said.append("" if known else f"{clean_text(one.url, 60)}: {why}.")
    return " ".join(text for text in said if text)


def _next(view: ViewState) -> list[Span]:
    waiting = len(view.confirmations)
    if waiting:
        return [
            Span(f"◈ {waiting} plan{'s' if waiting > 1 else ''} wait{'' if waiting > 1 else 's'} for your yes", "warn")
        ]
    following = view.next_fire
    if view.chain.blind is not None:
        return [Span("next to fire: unknown while blind", "unknown")]
    if following is None:
        return [Span("next to fire: nothing", "muted")]
    if view.killed or view.protection is Protection.HELD:
        lead = "nothing fires now; next would be "
    elif view.protection is Protection.ARMED:
        lead = "next to fire: "
    else:
        lead = "not armed; next would be "
    spans = [
        Span(lead, "muted"),
        Span(clean_text(following.rule, 24), "strong"),
        Span(f" at {_traded(following)} "),
        Span(price(following.price_usd) if following.level is None else level(following.level), "trigger"),
    ]
    if following.distance_bps is not None:
        spans.append(Span(f" {distance(following.distance_bps)}", "muted"))
    return spans


def _traded(at: TriggerPrice) -> str:
    """`WETH`, or `WETH/WBTC`."""
    names = (at.asset, at.quote) if at.quote is not None else (at.asset,)
    return "/".join(clean_text(one.symbol, 12) for one in names)


def _fee(view: ViewState) -> list[Span]:
    block = view.chain.block
    if block is None:
        return [Span("fee unknown", "muted")]
    text = f"base fee {gwei(block.base_fee)}"
    if view.chain.native_price_usd is not None:
        text += f" · native {dollars_short(view.chain.native_price_usd)}"
    return [Span(text, "muted")]


def _needs_all(view: ViewState, local: Local) -> bool:
    """Whether the whole reason must be read, however narrow the screen: nothing can fire, or nothing runs."""
    if view.killed or local.failed is not None:
        return True
    told_below = view.chain.blind is not None and view.chain.blind in view.protection_why
    return view.protection is Protection.HELD and not told_below


def _first_lines(view: ViewState, local: Local, width: int) -> list[Line]:
    """State, reason, block and its age. A reason that must be read is wrapped, any other is cut."""
    mark, block, why = badge(view, local), _block(view, local), _why(view, local)
    role = "" if view.protection is Protection.READ_ONLY else "strong"
    beside = width >= 68
    if not beside and width_of([mark, *block]) >= width:
        block = block[1:]
    room = width - width_of([mark, *block]) - 2 if beside else 0
    rows = wrap(why, max(1, room), role)
    if beside and (len(rows) <= 1 or not _needs_all(view, local)):
        return [split([mark, Span(" "), Span(shorten(why, max(1, room)), role)], block, width, "bar")]
    if not _needs_all(view, local):
        return [split([mark], block, width, "bar"), line(Span(" "), (shorten(why, width - 2), role), ground="bar")]
    more = [Line(row.spans, "bar") for row in wrap(why, width - 1, role, " ", " ")]
    return [split([mark], block, width, "bar"), *more]


def status_lines(view: ViewState, local: Local, width: int) -> list[Line]:
    """Two lines, more where narrow or where a reason must be read in full, and a banner while the chain is blind."""
    gap = Span("   ")
    lines = _first_lines(view, local, width)
    if width >= 68:
        fee = _fee(view) if width >= 92 else [_short_fee(view)]
        left = [Span(" "), *_next(view)]
        nodes = _nodes(view, width - width_of([*left, gap, *fee]) - 2)
        lines.append(split(left, [*nodes, gap, *fee, Span(" ")], width, "bar"))
    else:
        nodes = _nodes(view, width // 2)
        right = nodes if width_of(nodes) < width // 2 else []
        lines.append(split([Span(" "), *_next(view)], right, width, "bar"))
    if view.chain.blind is not None and local.ready:
        since = head_age(view, local.now)
        old = "" if since is None else f", last block {age(since)} ago"
        numbers = "nothing fires." if view.chain.block is None else "numbers below are stale; nothing fires."
        said = f"{BLIND.both}{old}: {clean_text(view.chain.blind, 300)}; {numbers} {node_troubles(view)}"
        lines += [Line(row.spans, "held") for row in _cut(wrap(said, width - 2, "held", " ", "   "), 4, width)]
    return fitted(lines, width)


def _cut(rows: list[Line], most: int, width: int) -> list[Line]:
    """The first rows; the last of them says that there is more."""
    if len(rows) <= most:
        return rows
    return [*rows[: most - 1], line((shorten(rows[most - 1].text, width - 4) + " …", "held"))]


def _short_fee(view: ViewState) -> Span:
    return Span("fee unknown" if view.chain.block is None else gwei(view.chain.block.base_fee), "muted")
