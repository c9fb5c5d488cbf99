"""Closing a nonce by hand: a no-op under the same nonce, or setting it free where the signer never signed for it."""

from __future__ import annotations

from tui.engine.intents import unsigned
from tui.engine.lifecycle import is_cancelling
from tui.engine.sending import Sender, Teller
from tui.model.block import BlockRef
from tui.model.fees import bump, highest_next_base_fee
from tui.model.intent import AttemptKind, Intent, IntentState
from tui.model.plan import FeeQuote
from tui.model.signing import NEVER_SIGNED, SignerRefused, SignerUnavailable
from tui.model.text import clean_text
from tui.model.view import Severity
from tui.ports.journal import Journal

_CANCELLABLE = (IntentState.RESERVED, IntentState.SIGNED, IntentState.MAYBE_SENT)


class CannotCancel(Exception):
    """A transaction cannot be cancelled now; the text says why."""


class Canceller:
    """Signs, records and sends no-ops."""

    def __init__(self, journal: Journal, sender: Sender, teller: Teller) -> None:
        self._journal = journal
        self._sender = sender
        self._teller = teller

    async def cancel(self, intent: Intent, fees: FeeQuote | None, head: BlockRef | None) -> None:
        """Close the nonce of an intent as it is recorded now. Raises CannotCancel."""
        if is_cancelling(intent) and not intent.state.is_final:
            return
        if intent.state not in _CANCELLABLE:
            raise CannotCancel(f"{intent.words} is {intent.state}; there is nothing to cancel now")
        bid = _fees(intent, fees, head)
        number = 0 if head is None else head.number
        try:
            new = await self._sender.sign(intent, IntentState.CANCELLING, AttemptKind.CANCEL, bid, number)
        except SignerRefused as error:
            if intent.attempts or not str(error).startswith(NEVER_SIGNED):
                raise CannotCancel(f"the signer refused: {error}") from error
            self._free(intent, str(error))
            return
        except SignerUnavailable as error:
            raise CannotCancel(f"the signer does not answer: {error}; unlock the keystore") from error
        self._journal.record_attempts([new])
        self._teller.say(
            Severity.WARNING,
            f"{intent.words}: cancelling, nonce {intent.nonce}{_still_possible(intent)}",
            kind="intent",
            firing_id=intent.firing_id,
        )
        await self._sender.send(intent.id, new.attempt)

    def _free(self, intent: Intent, why: str) -> None:
        """The signer gives no no-op for a nonce it never signed: then nothing of it exists, and the nonce is free.

        It signs in order, so nothing of the later ones exists either; freed together, they leave no gap.
        """
        firing = self._journal.firing(intent.firing_id)
        assert firing is not None
        self._journal.free([one for one in unsigned(firing) if one.sequence >= intent.sequence], why)
        self._teller.say(
            Severity.WARNING,
            f"{intent.words}: nothing was signed for it, its nonce is free: {clean_text(why, 200)}",
            kind="intent",
            firing_id=intent.firing_id,
        )


def _still_possible(intent: Intent) -> str:
    """What a no-op does not take back: a signed authorization is good for whoever saw it (EIP-7702)."""
    if intent.delegate is None or not any(attempt.sent_at is not None for attempt in intent.attempts):
        return ""
    return "; whoever saw it may put its delegation on the chain all the same, until the account sends something else"


def _fees(intent: Intent, fees: FeeQuote | None, head: BlockRef | None) -> tuple[int, int]:
    """(max, priority) in wei a unit of gas: more than the latest attempt bids, within the ceiling."""
    if not intent.attempts:
        if fees is None:
            raise CannotCancel(f"{intent.words}: fees are not known yet; try again at the next block")
        max_fee = min(fees.max_fee, intent.fee_ceiling)
        return max_fee, min(fees.priority_fee, max_fee)
    latest = intent.attempts[-1]
    base_fee = 0 if head is None else highest_next_base_fee(head.base_fee)
    raised = bump(latest.max_fee, latest.priority_fee, intent.fee_ceiling, base_fee)
    if raised is None and intent.state is not IntentState.SIGNED and not intent.withheld:
        raise CannotCancel(f"{intent.words}: its fee is at the rule's ceiling, a no-op cannot outbid it")
    return raised or (latest.max_fee, latest.priority_fee)
