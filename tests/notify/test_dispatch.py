"""Handing out: order, bounds, one line an outage, and an engine that never waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from tests.notify.conftest import MakeAlert
from tests.notify.test_alerts import calm
from tests.support import views
from tests.support.clock import FakeClock
from tui.model.alert import Alert, AlertKind, AlertSettings
from tui.model.view import Severity
from tui.notify.desk import AlertDesk, ways_of
from tui.notify.dispatch import WAITING, Dispatcher
from tui.ports.notify import NotDelivered


@dataclass
class Ear:
    """A way that keeps what it hears; `down` makes it fail, `gate` makes it wait."""

    name: str = "the ear"
    heard: list[str] = field(default_factory=list)
    down: bool = False
    broken: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    async def deliver(self, alert: Alert) -> None:
        self.reached.set()
        await self.gate.wait()
        if self.broken:
            raise RuntimeError("a secret")
        if self.down:
            raise NotDelivered("nobody is there")
        self.heard.append(alert.key)

    async def aclose(self) -> None:
        self.closed = True


class Lines:
    def __init__(self) -> None:
        self.said: list[tuple[Severity, str]] = []
        self.heard = asyncio.Event()

    def __call__(self, severity: Severity, text: str) -> None:
        self.said.append((severity, text))
        self.heard.set()


async def test_every_way_gets_all_in_order_and_a_slow_one_holds_up_no_other(make_alert: MakeAlert) -> None:
    quick, slow, lines = Ear(), Ear(), Lines()
    slow.gate.clear()
    dispatcher = Dispatcher([quick, slow], lines)
    dispatcher.start()
    sent = [make_alert(number) for number in range(20)]
    for alert in sent:
        dispatcher.put(alert)
    await dispatcher._lanes[0].idle.wait()
    assert quick.heard == [alert.key for alert in sent]
    assert slow.heard == []
    slow.gate.set()
    await dispatcher.aclose(5.0)
    assert slow.heard == quick.heard
    assert slow.closed
    assert lines.said == []


async def test_an_outage_is_said_once_and_so_is_its_end(make_alert: MakeAlert) -> None:
    ear, lines = Ear(down=True), Lines()
    dispatcher = Dispatcher([ear], lines)
    dispatcher.start()
    for number in range(5):
        dispatcher.put(make_alert(number))
    await dispatcher.idle()
    ear.down, ear.broken = False, True
    dispatcher.put(make_alert(5))
    await dispatcher.idle()
    ear.broken = False
    for number in range(6, 9):
        dispatcher.put(make_alert(number))
    await dispatcher.idle()
    (lost, back) = lines.said
    assert lost[0] is Severity.WARNING
    assert "nobody is there" in lost[1]
    assert "number 0" in lost[1]
    assert back[0] is Severity.INFO
    assert back[1].startswith(
        "alerts get through by the ear again; lost meanwhile: 6 alerts: “guard fired, number 5”; "
    )
    assert back[1].endswith("“guard fired, number 1”; and older ones")
    ear.broken = True
    dispatcher.put(make_alert(9))
    await dispatcher.aclose(5.0)
    assert "unexpected RuntimeError" in lines.said[2][1]
    assert "a secret" not in lines.said[2][1]


async def test_a_way_that_hangs_keeps_a_bounded_number_waiting_and_is_left_in_time(make_alert: MakeAlert) -> None:
    ear, lines = Ear(), Lines()
    ear.gate.clear()
    dispatcher = Dispatcher([ear], lines)
    dispatcher.start()
    for number in range(WAITING + 50):
        dispatcher.put(make_alert(number))
    await ear.reached.wait()
    ear.gate.set()
    await dispatcher.idle()
    assert len(ear.heard) <= WAITING + 1
    assert ear.heard[-1] == make_alert(WAITING + 49).key, "the newest are kept"
    assert "oldest were dropped" in lines.said[0][1]
    ear.gate.clear()
    dispatcher.put(make_alert(1))
    dispatcher.put(make_alert(2))
    lines.said.clear()
    await dispatcher.aclose(0.0)
    assert ear.closed
    assert lines.said == [
        (
            Severity.WARNING,
            "not sent by the ear before the end: 2 alerts: “guard fired, number 2”; “guard fired, number 1”",
        )
    ]


async def test_the_desk_tells_what_views_show_and_at_the_end_what_is_defended_no_more() -> None:
    ear, lines, clock = Ear(), Lines(), FakeClock()
    desk = AlertDesk(AlertSettings(), [ear], clock, lines)
    desk.see(calm())
    desk._dispatcher.start()
    desk.see(replace(calm(), low_gas=((views.ALICE, "gas money is thin"),)))
    await desk._dispatcher.idle()
    assert ear.heard == [f"low-gas/{views.ALICE}"]
    await desk.aclose("the run was ended")
    armed = [one for one in calm().rules if one.armed_since is not None]
    assert [key for key in ear.heard if key.startswith("disarmed")] == [
        f"disarmed/{one.rule.name}/{one.armed_since}" for one in armed
    ]
    assert armed


async def test_a_fault_of_the_desk_reaches_no_engine() -> None:
    clock, lines = FakeClock(), Lines()
    desk = AlertDesk(AlertSettings(), [Ear()], clock, lines)
    desk.see(calm())
    desk.see("no view at all")  # type: ignore[arg-type]
    desk._view = None
    desk.start()
    await lines.heard.wait()
    await desk.aclose("end")
    assert [severity for severity, _ in lines.said] == [Severity.WARNING]


def test_ways_are_those_that_are_set_and_possible() -> None:
    clock = FakeClock()
    assert ways_of(AlertSettings(), clock, None) == ()
    full = AlertSettings(True, ("notify-send",), "https://example.org/x", frozenset(AlertKind), 60)
    names = [way.name for way in ways_of(full, clock, lambda: None)]
    assert names == ["the terminal's bell", "the command notify-send", "the webhook https://example.org/***"]
