"""The terminal's bell, at most once a second."""

from __future__ import annotations

from collections.abc import Callable

from tui.model.alert import Alert
from tui.ports.clock import Clock

_APART = 1.0


class BellWay:
    """Rings by calling `ring`, which must not block."""

    name = "the terminal's bell"

    def __init__(self, ring: Callable[[], None], clock: Clock) -> None:
        self._ring = ring
        self._clock = clock
        self._rang: float | None = None

    async def deliver(self, alert: Alert) -> None:  # noqa: ARG002 - a bell says nothing
        """Ring."""
        now = self._clock.monotonic()
        if self._rang is None or now - self._rang >= _APART:
            self._rang = now
            self._ring()

    async def aclose(self) -> None:
        """Nothing to let go."""
