"""How an alert leaves the program: one way each for a bell, a program of the user's, a web address."""

from __future__ import annotations

from typing import Protocol

from tui.model.alert import Alert


class NotDelivered(Exception):
    """An alert did not get through; the text says why and holds no secret."""


class Way(Protocol):
    """One way to tell a person. Waits for nobody longer than its own time limits."""

    @property
    def name(self) -> str:
        """What it is called where it is shown: no secret in it."""

    async def deliver(self, alert: Alert) -> None:
        """Hand an alert over. Raises NotDelivered."""

    async def aclose(self) -> None:
        """Let connections go."""
