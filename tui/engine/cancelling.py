"""Closing a nonce by hand: a no-op under the same nonce, or setting it free where the signer never signed for it."""

from __future__ import annotations

from tui.engine.gas_money import GasMoney, read_gas_money
from tui.engine.intents import unsigned
from tui.engine.lifecycle import is_cancelling
from tui.engine.sending import Sender, Teller
from tui.model.block import BlockRef
from tui.model.fees import bump, highest_next_base_fee
from tui.model.intent import AttemptKind, Intent, IntentState
from tui.model.plan import FeeQuote
from tui.model.signing import NEVER_SIGNED, SignerRefused, SignerUnavailable
from tui.model.text import clean_text, short_address
from tui.model.units import format_units
from tui.model.view import Severity
from tui.ports.chain import Broadcaster
from tui.ports.journal import Journal

_CANCELLABLE = (IntentState.RESERVED, IntentState.SIGNED, IntentState.MAYBE_SENT)


class CannotCancel(Exception):
    """A transaction cannot be cancelled now; the text says why."""


class Canceller:
    """Signs, records and sends no-ops."""

    def __init__(self, journal: Journal, sender: Sender, broadcaster: Broadcaster, teller: Teller) -> None:
        self._journal = journal
        self._sender = sender
        self._broadcaster = broadcaster
        self._teller = teller

    async def cancel(self, intent: Intent, fees: FeeQuote | None, head: BlockRef | None) -> None:
        """Close the nonce of an intent as it is recorded now. Raises CannotCancel."""
        if is_cancelling(intent) and not intent.state.is_final:
            return
        if intent.state not in _CANCELLABLE:
            raise CannotCancel(f"{intent.words} is {intent.state}; there is nothing to cancel now")
        money = await read_gas_money(self._journal, self._broadcaster, intent, cancel=True)
        bid = _paid_for(_fees(intent, fees, head), intent, money, head)
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


def _paid_for(bid: tuple[int, int], intent: Intent, money: GasMoney | None, head: BlockRef | None) -> tuple[int, int]:
    """The bid, or less where the account cannot pay for it and less will do. A no-op that nobody pays for would take
    the place of what it was to cancel and never go out. Where the money is not known, or nothing is recorded that could
    go out instead, it is bid as it is.
    """
    if money is None or not intent.attempts or bid[0] <= (most := money.affordable(intent, cancel=True)):
        return bid
    base_fee = 0 if head is None else head.base_fee
    if intent.state is IntentState.MAYBE_SENT and not intent.withheld:
        latest = intent.attempts[-1]
        less = bump(latest.max_fee, latest.priority_fee, most, highest_next_base_fee(base_fee))
    else:
        less = (most, min(bid[1], most)) if most > base_fee else None
    if less is None:
        raise CannotCancel(
            f"{intent.words}: {short_address(intent.account)} has {format_units(money.balance, 18, 6)} of the native "
            f"coin, and a no-op may take {format_units(money.no_op * bid[0], 18, 6)} of what its other transactions "
            "leave; add some"
        )
    return less
