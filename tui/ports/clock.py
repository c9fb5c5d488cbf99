"""Time, injected, so that no test waits and no decision trusts a local clock where the chain has one."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """A wall clock and a monotonic one."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
