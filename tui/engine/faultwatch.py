"""Faults of the outside that are told when they begin and when they end: the signer, nodes that agree, aggregators.

Only tells; what may not be signed meanwhile is for the engine to say.
"""

from __future__ import annotations

from tui.engine.publish import DEGRADED
from tui.engine.rulebook import RuleBook
from tui.engine.sending import Teller
from tui.engine.signerwatch import ARM_AGAIN, SignerWatch
from tui.model.block import BlockRef
from tui.model.text import clean_text
from tui.model.view import Severity
from tui.ports.chain import Reader


class FaultWatch:
    """`signer` is why nothing could be signed for what is armed, `degraded` which nodes are missing where fewer than
    must agree answer; None where all is well.
    """

    def __init__(self, rulebook: RuleBook, signer_watch: SignerWatch | None, reader: Reader, teller: Teller) -> None:
        self._book = rulebook
        self._signer_watch = signer_watch
        self._reader = reader
        self._teller = teller
        self.signer: str | None = None
        self.degraded: str | None = None

    def look_at_signer(self) -> None:
        """Whether a signature could be had for what is armed. Beginning and end of a fault are told."""
        before = self.signer
        self.signer = None if self._signer_watch is None or not self._book.armed else self._signer_watch.look()
        if (before is None) == (self.signer is None):
            return
        if self.signer is not None:
            text = f"nothing can be signed: {clean_text(self.signer, 160)}; {ARM_AGAIN}"
            self._teller.say(Severity.ALARM, text, kind="signer")
        elif self._book.armed:
            self._teller.say(Severity.GOOD, "the signer answers again", kind="signer")

    def look_at_nodes(self, block: BlockRef) -> None:
        """Whether anything at this block stands on fewer nodes than must agree. Beginning and end are told."""
        before, now = self.degraded, self._reader.degraded(block)
        self.degraded = None if now is None else clean_text(now, 200)
        if (before is None) == (now is None):
            return
        if now is None:
            self._teller.say(Severity.GOOD, "enough nodes agree again: limits are whole", kind="degraded")
        else:
            self._teller.say(Severity.ALARM, f"degraded: {DEGRADED}; {self.degraded}", kind="degraded")

    def told_of_venue(self, venue: str, why: str | None) -> None:
        """An aggregator fails, or is well again."""
        if why is None:
            self._teller.over("aggregator", venue)
            self._teller.say(Severity.GOOD, f"{venue} is well again", kind="aggregator")
            return
        text = f"{venue} is left alone for a while: {why}; swaps go by the exchange on the chain"
        self._teller.say_once(Severity.WARNING, text, kind="aggregator", about=venue)
