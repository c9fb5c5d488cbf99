"""How many requests a second a node is asked, before it has to say that they are too many.

Reads of what is watched wait for their turn and leave a share untouched; what a live defence needs never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from tui.ports.clock import Clock

RESERVED_SHARE = 4
"""One part in so many of the budget is left alone by reads: for sending, receipts, nonces and simulations."""
_LEAST_BURST = 4.0
_TOLD_FOR = 10.0
"""Seconds that a status goes on saying that reads had to wait."""

_SHORTEST_WAIT = 0.001
_ROUNDING = 1e-6
"""Requests: less than this is missing by rounding only."""

_urgent: ContextVar[bool] = ContextVar("urgent", default=False)


@contextmanager
def urgent_lane() -> Iterator[None]:
    """What is asked inside, and by tasks made inside, is part of a live defence and does not wait."""
    token = _urgent.set(True)
    try:
        yield
    finally:
        _urgent.reset(token)


@dataclass(slots=True)
class Budget:
    """A bucket that fills with `rate` requests a second, up to a second's worth.

    What is urgent takes what it needs at once, on credit where the bucket is empty; reads pay that back by waiting.
    """

    rate: int
    clock: Clock = field(repr=False)
    waiting: int = 0
    waits: int = 0
    _tokens: float = field(init=False)
    _filled_at: float = field(init=False)
    _waited_at: float | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    def __post_init__(self) -> None:
        if self.rate < 1:
            raise ValueError("a budget is one request a second at least")
        self._tokens = self._most
        self._filled_at = self.clock.monotonic()

    @property
    def _most(self) -> float:
        return max(float(self.rate), _LEAST_BURST)

    @property
    def reserve(self) -> float:
        """Requests that reads leave in the bucket."""
        return self._most / RESERVED_SHARE

    @property
    def short(self) -> bool:
        """Whether a read would have to wait now."""
        self._fill()
        return self.waiting > 0 or self._tokens < self.reserve + 1

    @property
    def throttled(self) -> bool:
        """Whether reads wait, or did a moment ago."""
        lately = self._waited_at is not None and self.clock.monotonic() - self._waited_at < _TOLD_FOR
        return self.waiting > 0 or lately

    async def take(self, requests: int) -> None:
        """Pay for `requests`, in the order of asking. A batch larger than the bucket goes when the bucket is full."""
        if _urgent.get():
            self._fill()
            # No more than a second's worth is owed, so that a busy defence slows reads and never blinds them.
            self._tokens = max(self._tokens - requests, -self._most)
            return
        self.waiting += 1
        try:
            async with self._turn:
                while (lacking := self._lacking(requests)) > _ROUNDING:
                    self.waits += 1
                    self._waited_at = self.clock.monotonic()
                    await self.clock.sleep(max(lacking / self.rate, _SHORTEST_WAIT))
                self._tokens -= requests
        finally:
            self.waiting -= 1

    def _lacking(self, requests: int) -> float:
        self._fill()
        return min(requests + self.reserve, self._most) - self._tokens

    def _fill(self) -> None:
        now = self.clock.monotonic()
        self._tokens = min(self._tokens + (now - self._filled_at) * self.rate, self._most)
        self._filled_at = now
