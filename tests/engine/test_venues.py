"""Aggregators asked by the engine: all at once, each within its time, and left alone for longer the longer it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.quotes.test_foreign_calls import ONE_INCH, ORDER
from tests.support.clock import FakeClock
from tests.support.firings import POOL, a_firing, an_intent
from tui.engine.further import time_text
from tui.engine.venues import FIRST_PAUSE, LONGEST_PAUSE, UNDONE_SECONDS, Venues, undone_by
from tui.model.intent import Intent, IntentState
from tui.model.swap import SwapAnswer, SwapOrder
from tui.planning.venues import smaller
from tui.ports.aggregator import NoOffer

NOW = 1_750_000_000
KEY = ("a", "b", "swap-to-repay")
Reply = Callable[[SwapOrder], SwapAnswer]


def offer(order: SwapOrder, out: int) -> SwapAnswer:
    return SwapAnswer(order, replace(ONE_INCH.shape(order)), out)


@dataclass
class Service:
    """One that answers by a function, or never."""

    reply: Reply
    venue: str = "1inch"
    timeout: float = 0.2
    asked: list[SwapOrder] = field(default_factory=list)

    async def ask(self, order: SwapOrder) -> SwapAnswer:
        self.asked.append(order)
        return self.reply(order)


class Silent(Service):
    """Answers the first so many, then no more."""

    after = 0

    async def ask(self, order: SwapOrder) -> SwapAnswer:
        if len(self.asked) >= self.after:
            self.asked.append(order)
            await asyncio.Event().wait()
        return await super().ask(order)


def no(order: SwapOrder) -> SwapAnswer:
    raise NoOffer("it has trouble of its own")


def broken(order: SwapOrder) -> SwapAnswer:
    raise RuntimeError("a defect")


def plain(order: SwapOrder) -> SwapAnswer:
    return offer(order, ORDER.least_out)


def rich(order: SwapOrder) -> SwapAnswer:
    """Four percent more than is needed of the first order, at the same price for each."""
    return offer(order, ORDER.least_out * order.amount_in * 104 // (ORDER.amount_in * 100))


class Told:
    """What was told of them."""

    def __init__(self, *services: Service) -> None:
        self.clock, self.said = FakeClock(), []
        self.venues = Venues(services, self.clock, lambda venue, why: self.said.append((venue, why)))


async def test_all_are_asked_and_one_that_fails_keeps_nobody() -> None:
    told = Told(Service(no, "0x"), Service(plain), Silent(plain, "mute"), Service(broken, "odd"))
    answers = await told.venues.ask({KEY: ORDER})
    assert answers["1inch"] == {KEY: offer(ORDER, ORDER.least_out)}
    assert answers["0x"] == "it has trouble of its own"
    assert answers["mute"] == "it did not answer within 0.2 s"
    assert "unexpected RuntimeError" in str(answers["odd"])
    assert [venue for venue, why in told.said if why is not None] == ["0x", "odd", "mute"]


async def test_a_failing_one_is_asked_ever_more_seldom_and_told_once() -> None:
    service = Service(no)
    told = Told(service)
    pause = FIRST_PAUSE
    for asked in range(1, 9):
        await told.venues.ask({KEY: ORDER})
        assert len(service.asked) == asked
        told.clock.advance(pause - 0.5)
        assert await told.venues.ask({KEY: ORDER}) == {"1inch": "it failed, and is left alone for a while"}
        assert len(service.asked) == asked
        told.clock.advance(0.5)
        pause = min(2 * pause, LONGEST_PAUSE)
    assert told.said == [("1inch", "it has trouble of its own")]
    service.reply = plain
    assert KEY in (await told.venues.ask({KEY: ORDER}))["1inch"]
    told.venues.worked("1inch")
    told.venues.worked("1inch")
    assert told.said[1:] == [("1inch", None)]


async def test_one_that_has_nothing_is_no_failing_one() -> None:
    def nothing(order: SwapOrder) -> SwapAnswer:
        raise NoOffer("nobody trades", fault=False)

    told = Told(Service(nothing))
    for _ in range(3):
        assert await told.venues.ask({KEY: ORDER}) == {"1inch": "nobody trades"}
    assert told.said == []


async def test_where_much_more_would_come_out_less_is_asked_for() -> None:
    service = Service(rich)
    answers = (await Told(service).venues.ask({KEY: ORDER}))["1inch"]
    assert not isinstance(answers, str)
    first, second = service.asked
    assert first == ORDER
    assert second.least_out == ORDER.least_out
    assert answers[KEY].order == second
    assert ORDER.amount_in * 100 // 104 < second.amount_in < ORDER.amount_in * 97 // 100
    assert ORDER.least_out < answers[KEY].out < ORDER.least_out * 1_002 // 1_000


@pytest.mark.parametrize("how", ["silence", "refusal"])
async def test_the_first_offer_stands_where_the_second_question_fails(how: str) -> None:
    service: Service = Service(rich)
    if how == "silence":
        service = Silent(rich)
        service.after = 1
    else:
        service.reply = lambda order: rich(order) if order == ORDER else no(order)
    told = Told(service)
    answers = (await told.venues.ask({KEY: ORDER}))["1inch"]
    assert not isinstance(answers, str)
    assert answers[KEY].order == ORDER
    assert (len(service.asked), told.said) == (2, [])


def test_a_little_more_is_not_worth_a_question() -> None:
    assert smaller(offer(ORDER, ORDER.least_out * 1_001 // 1_000)) is None
    assert smaller(offer(ORDER, ORDER.least_out)) is None
    less = smaller(offer(ORDER, ORDER.least_out * 101 // 100))
    assert less is not None
    assert less.amount_in < ORDER.amount_in


async def test_looking_tells_what_is_wrong_and_leaves_nobody_alone() -> None:
    told = Told(Service(no, "0x"), Service(plain))
    assert await told.venues.look(ORDER) == {"0x": "it has trouble of its own", "1inch": None}
    assert told.said == []


# --- reverted in their blocks --------------------------------------------------------------------------------------


def reverted(to: str, at: int) -> tuple[Intent, int]:
    return replace(an_intent(a_firing(), 1), to=to, state=IntentState.FINAL_REVERTED), at


def test_one_is_the_last_choice_for_longer_the_more_often_it_reverted_and_others_are_not() -> None:
    router = ONE_INCH.router
    assert undone_by([ONE_INCH], [], NOW) == {}
    assert undone_by([ONE_INCH], [reverted(POOL, NOW)], NOW) == {}
    once, twice = [reverted(router.upper().replace("X", "x"), NOW)], [reverted(router, NOW), reverted(router, NOW - 9)]
    assert undone_by([ONE_INCH], once, NOW + UNDONE_SECONDS) == {}
    assert undone_by([ONE_INCH], twice, NOW + 2 * UNDONE_SECONDS) == {}
    (said,) = undone_by([ONE_INCH], twice, NOW + 2 * UNDONE_SECONDS - 1).values()
    until = time_text(NOW + 2 * UNDONE_SECONDS)
    assert said.endswith(f"until {until} it is taken only where nothing else can be done")


def test_that_it_is_the_last_choice_is_told_once_and_that_it_is_over() -> None:
    told = Told()
    for undone in ({}, {"1inch": "why"}, {"1inch": "why"}, {}, {}):
        told.venues.tell_undone(undone)
    assert told.said == [("1inch", "why"), ("1inch", None)]
