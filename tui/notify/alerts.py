"""What is worth an alert, told from two views. Pure: nothing here waits, remembers or sends.

A view holds facts. Some last (blind, held, at risk, low gas): they are told when they begin or get worse. Some happened
(a rule fired, a firing ended): they are told once, whatever lies between two views. Only a disarmed rule is a change.
"""

from __future__ import annotations

from dataclasses import replace

from tui.model.alert import Alert, AlertKind
from tui.model.intent import Firing, FiringState
from tui.model.position import Status
from tui.model.text import clean_text, short_address
from tui.model.units import format_units
from tui.model.view import ActivityEntry, Notice, PositionView, Protection, RuleView, Severity, ViewState

_TEXT = 300
_PAIRED = (AlertKind.BLIND, AlertKind.HELD)
"""Lasting states whose end is told as well."""
_STUCK = "stuck/"
_FAILED = {
    FiringState.FAILED: "failed",
    FiringState.HALTED: "stands still and its account is halted",
}


def alerts(before: ViewState | None, after: ViewState, *, late: bool = False) -> tuple[Alert, ...]:
    """Every alert between two views, what happened before what lasts. `before` None: nothing was seen yet, so what
    happened earlier is no news. `late`: even the first block is overdue, so that waiting for it counts as blind.
    """
    now = conditions(after, late=late)
    if before is None:
        return tuple(now.values())
    earlier, known = conditions(before, late=late), happened(before)
    news = [alert for key, alert in happened(after).items() if key not in known]
    begun = [alert for key, alert in now.items() if key not in earlier or alert.level > earlier[key].level]
    ended = [_ended(alert, after) for key, alert in earlier.items() if key not in now and _is_paired(alert)]
    return (*_disarmed(before, after), *news, *begun, *ended)


def conditions(view: ViewState, *, late: bool = False) -> dict[str, Alert]:
    """What lasts in a view and is worth an alert, by key."""
    found = [*_blindness(view, late), *_holds(view), *_risks(view)]
    # A defence that has begun and cannot go on, or cannot begin, has failed until it can.
    for key, text in view.troubles:
        kind = AlertKind.HELD if key.startswith("held-back/") else AlertKind.FAILED
        found.append(_lasting(view, kind, f"{_STUCK}{key}", text, Severity.ALARM))
    for account, text in view.low_gas:
        found.append(
            _lasting(view, AlertKind.LOW_GAS, f"low-gas/{account}", f"{short_address(account)}: {text}", Severity.ALARM)
        )
    return {alert.key: alert for alert in found}


def happened(view: ViewState) -> dict[str, Alert]:
    """What happened once and for all as a view tells it, by key, oldest first."""
    found: list[Alert] = []
    for firing in reversed(view.firings):
        name, account = clean_text(firing.rule), short_address(firing.account)
        if _has_fired(firing):
            fired = f"{name} fired on {account}: {firing.summary or 'being planned'}"
            found.append(_of_firing(view, firing, AlertKind.FIRED, fired, Severity.WARNING))
        if firing.state is FiringState.DONE:
            done = f"{name} on {account} is done: {firing.summary}{_health_after(firing)}"
            found.append(_of_firing(view, firing, AlertKind.DONE, done, Severity.GOOD))
        elif firing.state in _FAILED:
            failed = f"{name} on {account} {_FAILED[firing.state]}: {firing.reason or 'no reason is known'}"
            found.append(_of_firing(view, firing, AlertKind.FAILED, failed, Severity.ALARM))
    found += [_lost(view, entry, entry.liquidated) for entry in view.activity if entry.liquidated is not None]
    found += [_noticed(view, one) for one in view.notices if not _is_told_as_risk(view, one)]
    return {alert.key: alert for alert in found}


def _has_fired(firing: Firing) -> bool:
    """Whether anything of it was signed. What was dropped before is no event of its own: the rule tries again at the
    next block, and what keeps it from acting is told as long as it lasts.
    """
    if firing.state in (FiringState.TRIGGERED, FiringState.PLANNED, FiringState.DROPPED):
        return False
    return firing.state is not FiringState.RUNNING or any(intent.attempts for intent in firing.intents)


def _noticed(view: ViewState, one: Notice) -> Alert:
    account = short_address(one.position.rpartition("/")[2])
    return Alert(
        AlertKind.NOTICE,
        f"notice/{one.rule}/{one.position}/{one.episode}",
        Severity.ALARM,
        clean_text(f"{one.rule} on {account}: {one.text}", _TEXT),
        view.at,
        clean_text(view.chain.network),
        block=_block(view),
        rule=clean_text(one.rule),
        position=one.position,
    )


def _lost(view: ViewState, entry: ActivityEntry, position: str) -> Alert:
    return Alert(
        AlertKind.LIQUIDATED,
        f"liquidated/{position}/{entry.number}",
        Severity.ALARM,
        clean_text(entry.text, _TEXT),
        view.at,
        clean_text(view.chain.network),
        block=entry.block,
        position=position,
    )


def _is_told_as_risk(view: ViewState, one: Notice) -> bool:
    """Whether its rule is the one that the position's alert of a low health names anyway."""
    return any(
        shown.position.id == one.position and shown.rule == one.rule and shown.trigger_health_factor is not None
        for shown in view.positions
    )


def disarmed_alert(view: ViewState, rule: RuleView, why: str) -> Alert:
    """A rule that `view` shows as armed and that is armed no more."""
    name = clean_text(rule.rule.name)
    return Alert(
        AlertKind.DISARMED,
        f"disarmed/{rule.rule.name}/{rule.armed_since}",
        Severity.ALARM,
        clean_text(f"{name} is disarmed{f': {why}' if why else ''}; it defends nothing any more", _TEXT),
        view.at,
        clean_text(view.chain.network),
        block=_block(view),
        rule=name,
    )


def _disarmed(before: ViewState, after: ViewState) -> list[Alert]:
    armed = {one.rule.name for one in after.rules if one.armed_since is not None}
    return [
        replace(disarmed_alert(before, one, _why_disarmed(before, after, one.rule.name)), at=after.at)
        for one in before.rules
        if one.armed_since is not None and one.rule.name not in armed
    ]


def _why_disarmed(before: ViewState, after: ViewState, rule: str) -> str:
    """The reason that the activity gives, where it does."""
    told = max((entry.number for entry in before.activity), default=0)
    said = f"{rule}: disarmed, "
    for entry in reversed(after.activity):
        if entry.number > told and entry.text.startswith(said):
            return entry.text.removeprefix(said)
    return ""


def _is_paired(alert: Alert) -> bool:
    return alert.kind in _PAIRED or alert.key.startswith(_STUCK)


def _blindness(view: ViewState, late: bool) -> list[Alert]:
    found: list[Alert] = []
    blind = view.chain.blind
    if blind is not None and (view.chain.block is not None or late):
        text = f"blind: {blind}; nothing can be judged and nothing can fire until the chain is seen again"
        found.append(_lasting(view, AlertKind.BLIND, "blind", text, Severity.ALARM))
    armed = {position: one.rule.name for one in view.rules if one.armed_since is not None for position in one.positions}
    for one in view.positions:
        position = one.position
        if position.unknown is not None and position.id in armed:
            text = f"{_named(one)} cannot be judged, though {clean_text(armed[position.id])} is armed for it: "
            alert = _lasting(
                view, AlertKind.BLIND, f"blind/{position.id}", text + position.unknown, Severity.ALARM, position.id
            )
            found.append(alert)
    return found


def _holds(view: ViewState) -> list[Alert]:
    if view.protection is not Protection.HELD:
        return []
    if view.killed:
        key = "held/kill"
    elif view.held is not None:
        key = "held/engine"
    elif view.signer is not None:
        key = "held/signer"
    elif view.chain.blind is None:
        key = "held/account"
    else:
        return []
    return [_lasting(view, AlertKind.HELD, key, f"held: {view.protection_why}", Severity.ALARM)]


def _risks(view: ViewState) -> list[Alert]:
    found: list[Alert] = []
    for one in view.positions:
        position = one.position
        health = position.health_factor
        if health is None or position.unknown is not None:
            continue
        trigger = one.trigger_health_factor
        below = trigger is not None and health < trigger
        lost = position.status is Status.LIQUIDATABLE
        if not (below or lost or position.status is Status.AT_RISK):
            continue
        text = f"{_named(one)}: health factor {format_units(health, 18, 4)}"
        text += ", can be liquidated now" if lost else ", at risk"
        if below and trigger is not None and one.rule is not None:
            text += (
                f", below the trigger {format_units(trigger, 18, 4)} of {clean_text(one.rule)} ({one.rule_activity})"
            )
        severity = Severity.ALARM if lost else Severity.WARNING
        key = f"at-risk/{position.id}"
        found.append(_lasting(view, AlertKind.AT_RISK, key, text, severity, position.id, 1 + below + 2 * lost))
    return found


def _ended(alert: Alert, after: ViewState) -> Alert:
    what = "the chain is seen again" if alert.key == "blind" else f"over: {alert.text}"
    if alert.kind is AlertKind.HELD and not alert.key.startswith(_STUCK):
        what = f"held no more: {after.protection_why}"
    return replace(
        alert,
        kind=AlertKind.ALIVE_AGAIN,
        key=f"alive-again/{alert.key}/{after.sequence}",
        severity=Severity.GOOD,
        text=clean_text(f"alive again: {what}", _TEXT),
        at=after.at,
        block=_block(after),
        lasts=False,
    )


def _lasting(
    view: ViewState,
    kind: AlertKind,
    key: str,
    text: str,
    severity: Severity,
    position: str | None = None,
    level: int = 1,
) -> Alert:
    return Alert(
        kind,
        key,
        severity,
        clean_text(text, _TEXT),
        view.at,
        clean_text(view.chain.network),
        block=_block(view),
        position=position,
        level=level,
        lasts=True,
    )


def _of_firing(view: ViewState, firing: Firing, kind: AlertKind, text: str, severity: Severity) -> Alert:
    return Alert(
        kind,
        f"{kind}/{firing.id}",
        severity,
        clean_text(text, _TEXT),
        view.at,
        clean_text(view.chain.network),
        block=_block(view),
        rule=clean_text(firing.rule),
        position=firing.position,
        firing=firing.id,
    )


def _health_after(firing: Firing) -> str:
    after = firing.health_factor_after
    return "" if after is None else f"; health factor {format_units(after, 18, 4)}"


def _named(one: PositionView) -> str:
    key = one.position.key
    return f"{clean_text(one.label) if one.label else short_address(key.account)} in {clean_text(str(key.market))}"


def _block(view: ViewState) -> int | None:
    return None if view.chain.block is None else view.chain.block.number
