"""What is worth an alert, over views as an engine publishes them: each event once, none lost, whatever is skipped."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.support import views
from tests.support.firings import a_firing
from tui.model.alert import Alert, AlertKind
from tui.model.intent import Firing, FiringState
from tui.model.position import unknown_position
from tui.model.view import ActivityEntry, Notice, Protection, Severity, ViewState
from tui.notify.alerts import alerts, conditions, happened
from tui.notify.tracker import FIRST_BLOCK_LATE, Tracker

EVERYTHING = frozenset(AlertKind)
ENDS = (FiringState.DONE, FiringState.FAILED, FiringState.HALTED, FiringState.DROPPED)


def calm() -> ViewState:
    """Armed, all seen, nothing at risk."""
    view = views.armed()
    safe = tuple(
        replace(one, position=replace(one.position, health_factor=5 * 10**18))
        for one in view.positions
        if one.position.unknown is None
    )
    return replace(view, positions=safe, firings=(), activity=(), would_stop=(), held=None, killed=False)


def kinds(found: tuple[Alert, ...]) -> list[AlertKind]:
    return [alert.kind for alert in found]


def test_nothing_happens_in_a_calm_view() -> None:
    assert alerts(None, calm()) == ()
    assert alerts(calm(), calm()) == ()


def test_a_liquidation_is_told_once() -> None:
    before = calm()
    entry = ActivityEntry(
        9, 0.0, 41, Severity.ALARM, "vault on aave-v3/core: LIQUIDATED: 1 WETH taken", None, "some/id"
    )
    after = replace(before, activity=(entry,))
    (told,) = alerts(before, after)
    assert (told.kind, told.severity, told.block, told.position) == (
        AlertKind.LIQUIDATED, Severity.ALARM, 41, "some/id",
    )  # fmt: skip
    assert "LIQUIDATED" in told.text
    assert alerts(after, after) == ()


def test_a_position_below_its_trigger_is_told_and_again_where_it_gets_worse() -> None:
    before = calm()
    one = before.positions[0]

    def at(health: str) -> ViewState:
        position = replace(one.position, health_factor=views.wad(health))
        shown = replace(one, position=position, trigger_health_factor=views.wad("1.6"), rule="guard")
        return replace(before, positions=(shown, *before.positions[1:]))

    (below,) = alerts(before, at("1.55"))
    assert below.kind is AlertKind.AT_RISK
    assert "1.5500" in below.text
    assert "guard" in below.text
    assert alerts(at("1.55"), at("1.52")) == ()
    (lost,) = alerts(at("1.55"), at("0.99"))
    assert lost.severity is Severity.ALARM
    assert "liquidated" in lost.text
    assert alerts(at("0.99"), at("1.55")) == ()


def test_no_debt_is_no_risk_and_unknown_is_no_number() -> None:
    before = calm()
    one = before.positions[0]
    free = replace(one, position=replace(one.position, health_factor=None, debt=()))
    assert alerts(before, replace(before, positions=(free,))) == ()
    lost = replace(one, position=unknown_position(one.position.key, views.BLOCK, "a price is missing"))
    armed = [rule for rule in before.rules if rule.armed_since is not None and one.position.id in rule.positions]
    assert armed, "the view has to have an armed rule on the position"
    (blind,) = alerts(before, replace(before, positions=(lost,)))
    assert blind.kind is AlertKind.BLIND
    assert "a price is missing" in blind.text


def test_blind_and_held_are_told_and_so_are_their_ends() -> None:
    seen = calm()
    blind = replace(
        seen,
        protection=Protection.HELD,
        protection_why="Blind.",
        chain=replace(seen.chain, blind="no new block for 9 s"),
    )
    assert kinds(alerts(seen, blind)) == [AlertKind.BLIND]
    assert kinds(alerts(blind, seen)) == [AlertKind.ALIVE_AGAIN]
    killed = replace(seen, protection=Protection.HELD, protection_why="The kill switch is on.", killed=True)
    assert kinds(alerts(seen, killed)) == [AlertKind.HELD]
    held = replace(seen, protection=Protection.HELD, protection_why="5 errors in a row.", held="5 errors in a row.")
    assert "5 errors" in alerts(killed, held)[0].text
    assert sorted(kinds(alerts(blind, killed))) == sorted([AlertKind.HELD, AlertKind.ALIVE_AGAIN])


def test_waiting_for_the_first_block_is_blind_only_when_it_is_overdue() -> None:
    start = replace(calm(), positions=(), rules=(), chain=replace(calm().chain, block=None, blind="waiting"))
    tracker = Tracker(EVERYTHING, 600)
    assert tracker.see(start, 0.0) == ()
    assert tracker.due(FIRST_BLOCK_LATE - 1) == ()
    assert kinds(tracker.due(FIRST_BLOCK_LATE)) == [AlertKind.BLIND]
    assert tracker.due(FIRST_BLOCK_LATE + 5) == ()
    assert kinds(tracker.see(calm(), FIRST_BLOCK_LATE + 6)) == [AlertKind.ALIVE_AGAIN]


def test_low_gas_names_the_account() -> None:
    (alert,) = alerts(calm(), replace(calm(), low_gas=((views.ALICE, "gas money is thin: 0.001"),)))
    assert alert.kind is AlertKind.LOW_GAS
    assert "0x7099" in alert.text
    assert "0.001" in alert.text


def test_a_disarmed_rule_is_told_with_its_reason() -> None:
    before = calm()
    (rule,) = [one for one in before.rules if one.armed_since is not None][:1]
    entry = ActivityEntry(7, 0.0, 1, Severity.ALARM, f"{rule.rule.name}: disarmed, its text was changed")
    gone = replace(before, rules=tuple(one for one in before.rules if one is not rule), activity=(entry,))
    (alert,) = [one for one in alerts(before, gone) if one.kind is AlertKind.DISARMED]
    assert "its text was changed" in alert.text
    again = tuple(replace(one, armed_since=9e9) if one is rule else one for one in before.rules)
    assert alerts(before, replace(before, rules=again)) == ()


def test_hostile_names_reach_no_terminal() -> None:
    firing = replace(a_firing(), rule="\x1b[31mred\u202e", summary="\x1b]0;title\x07", state=FiringState.DONE)
    for alert in happened(replace(calm(), firings=(firing,))).values():
        assert alert.text.isprintable()


# --- whatever is skipped -------------------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> list[ViewState]:
    """Views as an engine could publish them: firings open one after another, each ends at most once."""
    firings: list[Firing] = []
    published = [calm()]
    for _ in range(draw(st.integers(1, 12))):
        step = draw(st.sampled_from(["open", "end", "nothing", "both"]))
        if step in ("open", "both") and len(firings) < 8:
            firings.insert(0, a_firing(len(firings) + 1))
        if step in ("end", "both") and firings:
            at = draw(st.integers(0, len(firings) - 1))
            if firings[at].state.is_open:
                firings[at] = replace(firings[at], state=draw(st.sampled_from(ENDS)), reason="because")
        blind = draw(st.sampled_from([None, "no new block for 30 s"]))
        view = calm()
        published.append(
            replace(
                view,
                sequence=len(published),
                firings=tuple(firings),
                protection=Protection.ARMED if blind is None else Protection.HELD,
                chain=replace(view.chain, blind=blind),
            )
        )
    return published


@given(histories(), st.data())
def test_every_event_is_told_once_however_many_views_are_skipped(history: list[ViewState], data: st.DataObject) -> None:
    kept = [view for view in history[1:-1] if data.draw(st.booleans())]
    for seen in (history, [history[0], *kept, history[-1]]):
        told = [alert for before, after in pairwise(seen) for alert in alerts(before, after)]
        events = [alert.key for alert in told if not alert.lasts and alert.kind is not AlertKind.ALIVE_AGAIN]
        assert sorted(events) == sorted(set(events)) == sorted(happened(history[-1]))
        assert [key for key in events if key.startswith("done")] == [
            key for key in events if key.startswith("done") and key.replace("done", "fired") in events
        ]


@given(histories())
def test_blindness_and_its_end_alternate(history: list[ViewState]) -> None:
    told = [alert for before, after in pairwise(history) for alert in alerts(before, after)]
    turns = [alert.kind for alert in told if alert.kind in (AlertKind.BLIND, AlertKind.ALIVE_AGAIN)]
    assert turns == [AlertKind.BLIND if i % 2 == 0 else AlertKind.ALIVE_AGAIN for i in range(len(turns))]
    assert len(turns) % 2 == ("blind" in conditions(history[-1]))


@given(histories(), st.lists(st.floats(0, 400), min_size=20, max_size=20))
def test_the_tracker_tells_no_event_twice_and_no_state_sooner_than_asked(
    history: list[ViewState], pauses: list[float]
) -> None:
    tracker = Tracker(EVERYTHING, 600)
    now = 0.0
    events: list[str] = []
    states: dict[str, float] = {}
    for view, pause in zip(history, pauses, strict=False):
        now += pause
        for alert in (*tracker.see(view, now), *tracker.due(now)):
            if alert.kind is AlertKind.ALIVE_AGAIN:
                states.pop("blind", None)
            elif alert.lasts:
                assert now - states.get(alert.key, -1e9) >= 600
                states[alert.key] = now
            else:
                events.append(alert.key)
    # Journals that fail for a moment show no firings, and then all of them again.
    for view in (replace(history[-1], firings=()), history[-1]):
        events += [alert.key for alert in tracker.see(view, now) if not alert.lasts and "alive" not in alert.kind]
    assert len(events) == len(set(events))
    assert set(events) == set(happened(history[-1]))


def test_a_state_that_lasts_is_told_again_and_a_flapping_one_is_not() -> None:
    risky = replace(calm(), low_gas=((views.ALICE, "gas money is thin"),))
    tracker = Tracker(EVERYTHING, 600)
    tracker.see(calm(), 0.0)
    assert len(tracker.see(risky, 1.0)) == 1
    assert tracker.due(600.0) == ()
    (again,) = tracker.due(601.0)
    assert again.repeated == 1
    assert tracker.see(calm(), 610.0) == ()
    assert tracker.see(risky, 620.0) == ()
    assert kinds(tracker.due(1201.0)) == [AlertKind.LOW_GAS]


def test_firings_of_earlier_runs_are_no_news() -> None:
    tracker = Tracker(EVERYTHING, 600)
    under_way = views.firing().firings[0]
    old = replace(calm(), firings=(replace(a_firing(1), state=FiringState.DONE), under_way))
    assert tracker.see(old, 0.0) == ()
    ended = replace(old, firings=(old.firings[0], replace(under_way, state=FiringState.FAILED)))
    assert kinds(tracker.see(ended, 1.0)) == [AlertKind.FAILED]


def test_a_firing_is_told_once_something_of_it_is_signed_and_never_where_nothing_was() -> None:
    tracker = Tracker(EVERYTHING, 600)
    tracker.see(calm(), 0.0)
    signed = views.firing().firings[0]
    waiting = replace(signed, intents=tuple(replace(one, attempts=()) for one in signed.intents))
    for state in (FiringState.TRIGGERED, FiringState.PLANNED, FiringState.RUNNING, FiringState.DROPPED):
        assert tracker.see(replace(calm(), firings=(replace(waiting, state=state),)), 1.0) == ()
    assert kinds(tracker.see(replace(calm(), firings=(signed,)), 2.0)) == [AlertKind.FIRED]


def test_a_notice_is_told_once_and_not_where_the_health_alert_names_its_rule() -> None:
    tracker = Tracker(EVERYTHING, 600)
    view = calm()
    tracker.see(view, 0.0)
    shown = view.positions[0]
    told = Notice("tell-me", shown.position.id, "e1", "WETH 2,850.00 below 2,900")
    own = Notice(shown.rule or "", shown.position.id, "e2", "health factor 1.1 below 1.15")
    assert shown.trigger_health_factor is not None
    after = replace(view, notices=(told, own))
    (alert,) = tracker.see(after, 1.0)
    assert (alert.kind, alert.rule, alert.position) == (AlertKind.NOTICE, "tell-me", shown.position.id)
    assert tracker.see(after, 2.0) == ()


def test_only_the_kinds_asked_for_are_told() -> None:
    tracker = Tracker(frozenset({AlertKind.DONE}), 600)
    tracker.see(calm(), 0.0)
    done = replace(calm(), firings=(replace(a_firing(), state=FiringState.DONE),), low_gas=((views.ALICE, "thin"),))
    assert kinds(tracker.see(done, 1.0)) == [AlertKind.DONE]
    assert tracker.due(1e6) == ()
