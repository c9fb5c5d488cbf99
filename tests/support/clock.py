"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class FakeClock:
    """Time stands still until it is moved. `sleep` moves it at once by what was asked, then calls `on_sleep`."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] = lambda: None

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        self._monotonic += seconds

    async def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        self.slept.append(seconds)
        self.advance(seconds)
        self.on_sleep()
        await asyncio.sleep(0)
