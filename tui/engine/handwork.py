"""Carries out what another process asked for: cancelling transactions, as a person at the screen would."""

from __future__ import annotations

from tui.engine.executor import CannotCancel, Executor
from tui.engine.handsign import CANCEL_REFUSED, ResumeSign
from tui.engine.sending import Teller
from tui.model.plan import FeeQuote
from tui.model.text import clean_text
from tui.model.view import Severity
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import JournalReader


async def cancel_as_asked(
    sign: ResumeSign, executor: Executor, record: JournalReader, fees: FeeQuote | None, teller: Teller
) -> None:
    """Take every request to cancel and act on it; what cannot be done is recorded with its reason.

    Raises JournalError.
    """
    for intent_id in sign.take_cancels():
        try:
            await executor.cancel(intent_id, fees)
        except (CannotCancel, ChainUnreachable, ReadFailed) as refused:
            intent = record.intent(intent_id)
            teller.say(
                Severity.WARNING,
                f"{intent_id} is not cancelled: {clean_text(str(refused), 240)}",
                kind=CANCEL_REFUSED,
                firing_id=None if intent is None else intent.firing_id,
            )
