"""Aggregators asked for swaps: all at once, within their time, each left alone for a while after it failed.

No defence waits for one longer than that, and none depends on one: whatever goes wrong here, there is just no offer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tui.crash import described
from tui.engine.further import time_text
from tui.model.intent import Intent
from tui.model.swap import SwapAnswer, SwapOrder
from tui.model.text import clean_text
from tui.planning.venues import Answers, Orders, smaller
from tui.ports.aggregator import Aggregator, NoOffer
from tui.ports.clock import Clock
from tui.quotes.base import Dialect

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 15 * 60.0
"""Seconds for which one that failed is not asked: doubled each time until it is well again."""
UNDONE_SECONDS = 10 * 60
"""Seconds of chain time for which one whose call the chain refused is the last choice, for each such call of late."""
_MOST_SAID = 300

Tell = Callable[[str, str | None], None]
"""Venue, and what is wrong with it; None: it is well again."""


@dataclass(slots=True)
class _Trouble:
    """Until when one is left alone (on the clock that nobody sets), and for how long the next time."""

    until: float
    pause: float


def _nobody(_venue: str, _why: str | None) -> None:
    """Nobody is told."""


class Venues:
    """The aggregators of a network. `tell` hears once when one fails, and once when it is well again."""

    def __init__(self, aggregators: Sequence[Aggregator], clock: Clock, tell: Tell = _nobody) -> None:
        self._aggregators = tuple(aggregators)
        self._clock = clock
        self._tell = tell
        self._troubles: dict[str, _Trouble] = {}
        self._undone: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(one.venue for one in self._aggregators)

    async def ask(self, orders: Orders) -> dict[str, Answers | str]:
        """What each offers for all of `orders`, by its name, or why it offers nothing. Never raises."""
        told = await asyncio.gather(*(self._all(one, orders) for one in self._aggregators))
        return {one.venue: answers for one, answers in zip(self._aggregators, told, strict=True)}

    async def look(self, order: SwapOrder) -> dict[str, str | None]:
        """What keeps each from an offer for `order` now, by its name; None where nothing does."""
        found: dict[str, str | None] = {}
        for one in self._aggregators:
            try:
                await one.ask(order)
            except NoOffer as none:
                found[one.venue] = clean_text(str(none), _MOST_SAID)
            else:
                found[one.venue] = None
        return found

    def failed(self, venue: str, why: str) -> None:
        """Leave one alone for a while."""
        known = self._troubles.get(venue)
        pause = FIRST_PAUSE if known is None else min(2 * known.pause, LONGEST_PAUSE)
        self._troubles[venue] = _Trouble(self._clock.monotonic() + pause, pause)
        if known is None:
            self._tell(venue, clean_text(why, _MOST_SAID))

    def worked(self, venue: str) -> None:
        """It is well."""
        if self._troubles.pop(venue, None) is not None:
            self._tell(venue, None)

    def tell_undone(self, undone: Mapping[str, str]) -> None:
        """Which of them are the last choice now, and why: beginning and end are told once each."""
        before, self._undone = self._undone, frozenset(undone)
        for venue in sorted(self._undone - before):
            self._tell(venue, undone[venue])
        for venue in sorted(before - self._undone - self._troubles.keys()):
            self._tell(venue, None)

    async def _all(self, one: Aggregator, orders: Orders) -> Answers | str:
        """The answers to all orders within the time of one aggregator, or why there are none."""
        keys, trouble = tuple(orders), self._troubles.get(one.venue)
        if trouble is not None and self._clock.monotonic() < trouble.until:
            return "it failed, and is left alone for a while"
        try:
            told = await asyncio.gather(*(_answer(one, orders[key]) for key in keys))
        except NoOffer as none:
            if none.fault:
                self.failed(one.venue, str(none))
            return clean_text(str(none), _MOST_SAID)
        except Exception as error:  # noqa: BLE001 - nothing that an answer does to us may keep a defence from going on
            self.failed(one.venue, described(error))
            return described(error)
        return dict(zip(keys, told, strict=True))


def undone_by(dialects: Iterable[Dialect], reverted: Iterable[tuple[Intent, int]], now: int) -> dict[str, str]:
    """Aggregators whose calls went well in simulation and reverted in their blocks of late, and until when each is the
    last choice: from the record, so over a restart as well. `reverted` are (transaction, time of its decision), the
    newest first; times in seconds of chain time.
    """
    called = tuple((intent.to.lower(), at) for intent, at in reverted)
    found = {}
    for one in dialects:
        times = [at for to, at in called if to == one.router]
        until = times[0] + UNDONE_SECONDS * len(times) if times else now
        if now < until:
            why = "what it swapped reverted on chain, though it went well in simulation"
            found[one.venue] = f"{why}: until {time_text(until)} it is taken only where nothing else can be done"
    return found


async def _answer(one: Aggregator, order: SwapOrder) -> SwapAnswer:
    """The offer for an order; where much more would come out than is needed, the one for less, if there is time.

    Raises NoOffer.
    """
    first: SwapAnswer | None = None
    try:
        async with asyncio.timeout(one.timeout):
            first = await one.ask(order)
            less = smaller(first)
            return first if less is None else await one.ask(less)
    except TimeoutError:
        if first is None:
            raise NoOffer(f"it did not answer within {one.timeout:g} s") from None
        return first
    except NoOffer:
        if first is None:
            raise
        return first
