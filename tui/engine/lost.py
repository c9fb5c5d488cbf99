"""Nonces that somebody else seems to have used: when that is believed, and what is recorded where it was not so.

A nonce is given up on the word of two nodes where there are two, never against one that still has what was signed.
"""

from __future__ import annotations

from dataclasses import replace

from tui.engine.budget import day_of, gas_correction, may_have_spent
from tui.engine.sending import Teller
from tui.model.block import BlockRef
from tui.model.intent import AttemptKind, Firing, Intent, IntentState
from tui.model.text import clean_text
from tui.model.units import format_units
from tui.model.view import Severity
from tui.ports.chain import Broadcaster, ChainUnreachable, Reader, ReadFailed, Receipt
from tui.ports.journal import Journal, SpendEntry, SpendKind

LOOK_BACK_SECONDS = 24 * 60 * 60
"""How long, in chain time, a lost transaction is still looked for."""


class LostNonces:
    """One a tracker. Keeps in mind what was lost; the first look reads it from the journal."""

    def __init__(
        self, journal: Journal, broadcaster: Broadcaster, reader: Reader, teller: Teller, chain_id: int, depth: int
    ) -> None:
        self._journal = journal
        self._broadcaster = broadcaster
        self._reader = reader
        self._teller = teller
        self._chain_id = chain_id
        self._depth = depth
        self._lost: dict[str, int] | None = None

    async def final_nonce(self, intent: Intent, block: BlockRef) -> int | None:
        """What the account has used for good at a final block, None where it cannot be said that `intent` is lost:
        nodes that differ or are too few, or one that still has an attempt of it. That is told, once as long as it
        lasts.
        """
        try:
            count = await self._broadcaster.final_nonce(intent.account, block.hash)
            if intent.nonce is None or count <= intent.nonce:
                return count
            for attempt in reversed(intent.attempts):
                if await self._broadcaster.knows(attempt.hash):
                    raise ReadFailed("a node still has the transaction")
        except (ChainUnreachable, ReadFailed) as error:
            self._teller.say_once(
                Severity.ALARM,
                f"{intent.words}: nonce {intent.nonce} seems to be used by another transaction, which is not sure: "
                f"{clean_text(str(error), 160)}; it is followed on, nothing else is signed for its account meanwhile",
                kind="doubtful",
                about=intent.id,
                firing_id=intent.firing_id,
            )
            return None
        return count

    def add(self, intent: Intent, head: BlockRef) -> None:
        """One more that is lost now."""
        self._remember(head)[intent.id] = head.timestamp

    async def look(self, head: BlockRef) -> None:
        """Book every lost transaction of which an attempt is final on the chain all the same. Raises ChainUnreachable,
        ReadFailed.
        """
        lost = self._remember(head)
        for intent_id, since in tuple(lost.items()):
            if head.timestamp - since > LOOK_BACK_SECONDS:
                del lost[intent_id]
                continue
            intent = self._journal.intent(intent_id)
            assert intent is not None
            found = await self._mined(intent, head)
            if found is not None:
                del lost[intent_id]
                self._book(intent, *found)

    def _remember(self, head: BlockRef) -> dict[str, int]:
        if self._lost is None:
            self._lost = {
                intent.id: firing.block_timestamp
                for firing in self._journal.signed_firings(self._chain_id, head.timestamp - LOOK_BACK_SECONDS)
                for intent in firing.intents
                if intent.chain_id == self._chain_id and _is_open(intent)
            }
        return self._lost

    async def _mined(self, intent: Intent, head: BlockRef) -> tuple[Receipt, BlockRef] | None:
        for attempt in reversed(intent.attempts):
            receipt = await self._broadcaster.receipt(attempt.hash)
            if receipt is None or head.number - receipt.block_number + 1 < self._depth:
                continue
            block = await self._reader.block_by_number(receipt.block_number)
            if block is not None and block.hash == receipt.block_hash:
                return receipt, block
        return None

    def _book(self, intent: Intent, receipt: Receipt, block: BlockRef) -> None:
        """The state stays as it is, since final never changes and a person was asked to look; the outcome is told, and
        the budget ends with what was really paid.
        """
        after = mined_after_all(intent, receipt)
        firing = self._journal.firing(intent.firing_id)
        assert firing is not None
        paid = receipt.paid_wei
        entry = SpendEntry(SpendKind.GAS, firing.rule, day_of(block.timestamp), paid, firing.id)
        counted = gas_correction(intent, firing.rule, self._journal.gas_debit(intent.id), paid)
        self._journal.save_intents([(intent, after)], [entry, *counted])
        self._explain(firing, intent.reason, after.reason, unspent=_moved_nothing(firing, intent, receipt))
        self._teller.say(
            Severity.ALARM,
            f"{intent.words}: {after.reason}; it paid {format_units(paid, 18, 6)} of the native coin for gas",
            kind="intent",
            firing_id=intent.firing_id,
            block=receipt.block_number,
        )

    def _explain(self, firing: Firing, wrong: str, right: str, *, unspent: bool) -> None:
        current = self._journal.firing(firing.id)
        assert current is not None
        explained = replace(current, reason=right) if current.reason == wrong else current
        if explained != current or unspent:
            self._journal.save_firing(current, explained, unspent=unspent)


def mined_after_all(intent: Intent, receipt: Receipt) -> Intent:
    """A lost intent with what an attempt of it did on the chain. It stays NONCE_LOST, which has no
    block of its own: the reason names it.
    """
    how = "and reverted"
    if receipt.ok:
        how = "as the no-op that cancels it" if _is_no_op(intent, receipt) else "and did what it was for"
    return replace(
        intent,
        gas_used=receipt.gas_used,
        gas_paid_wei=receipt.paid_wei,
        reason=f"it was mined in block {receipt.block_number} after all, {how}: nonce {intent.nonce} was not lost "
        f"({receipt.hash})",
    )


def _is_open(intent: Intent) -> bool:
    return intent.state is IntentState.NONCE_LOST and intent.gas_paid_wei is None and bool(intent.attempts)


def _is_no_op(intent: Intent, receipt: Receipt) -> bool:
    """Whether what was mined only closed the nonce."""
    return any(one.hash == receipt.hash and one.kind is AttemptKind.CANCEL for one in intent.attempts)


def _moved_nothing(firing: Firing, found: Intent, receipt: Receipt) -> bool:
    """Whether a firing with one lost transaction, which is `found` now, moved no dollars: known only where everything
    else of it has its end too.
    """
    others = [one for one in firing.intents if one.id != found.id]
    if any(may_have_spent(one) or not one.state.is_final for one in others):
        return False
    return not receipt.ok or _is_no_op(found, receipt)
