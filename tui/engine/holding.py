"""The circuit breaker's hold: why nothing more is signed until a person goes on, kept over a restart.

Never decides that something is wrong: that is the breaker's, and whoever calls it.
"""

from __future__ import annotations

import contextlib

from tui.engine.sending import Teller
from tui.model.view import Severity
from tui.ports.journal import Journal, JournalError

HELD_KEY = "held"
"""Where the journal keeps why the circuit breaker holds the engine; empty where it does not."""


class Hold:
    """`why` nothing may be signed, None where nothing is held. Without `journal` it lasts as long as this run."""

    def __init__(self, journal: Journal | None, teller: Teller) -> None:
        self._journal = journal
        self._teller = teller
        self.why: str | None = None
        self._is_kept = False

    def hold(self, why: str) -> None:
        """Sign nothing more until a person goes on by hand. The first reason stays."""
        if self.why is None:
            self.why = why
            with contextlib.suppress(JournalError):
                self._teller.say(Severity.ALARM, f"held: {why}", kind="held")

    def trip(self, why: str) -> None:
        """The circuit breaker: hold, and stay held over a restart as well, also where it is held for another reason
        already. A record that fails is written as soon as it does not.
        """
        self.hold(why)
        if self._journal is not None and not self._is_kept:
            with contextlib.suppress(JournalError):
                self._journal.set_meta(HELD_KEY, why)
                self._is_kept = True

    def record_failed(self, error: JournalError) -> None:
        """Set, not told: telling goes through the record that has just failed."""
        self.why = self.why or f"the journal failed: {error}."

    def recall(self) -> None:
        """What the circuit breaker held an earlier run for holds this one."""
        if self._journal is None:
            return
        try:
            why = self._journal.meta(HELD_KEY)
        except JournalError as error:
            self.record_failed(error)
        else:
            if why:
                self._is_kept = True
                self.why = f"since an earlier run: {why.removeprefix('since an earlier run: ')}"

    def release(self) -> None:
        """A person goes on. Raises JournalError, with nothing released."""
        if self._journal is not None:
            self._journal.set_meta(HELD_KEY, "")
        self.why, self._is_kept = None, False
