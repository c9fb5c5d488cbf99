"""The machine's own clock, for `tui.ports.clock.Clock`."""

from __future__ import annotations

import asyncio
import time

# Where the system has a clock that also runs while the machine sleeps: what was read before is old afterwards.
_STEADY: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Wall clock, monotonic clock and real waiting."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back, suspension of the machine included."""
        return time.clock_gettime(_STEADY)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
