"""Watches whether what counted as final still is: a reorg deeper than `confirmations` halts the account it touched.

Looks where a head is not the child of the one before (a reorg, a gap, a start); else a head costs nothing here.
"""

from __future__ import annotations

from tui.engine.sending import Teller
from tui.model.block import BlockRef
from tui.model.intent import Attempt, Intent, IntentState
from tui.model.text import clean_text, short_address
from tui.model.view import Severity
from tui.ports.chain import Broadcaster, ChainUnreachable, Reader, ReadFailed
from tui.ports.clock import Clock
from tui.ports.journal import Journal

LOOK_BACK_SECONDS = 6 * 60 * 60
"""How far behind the head, in chain time, a firing is looked at. What was taken back from before that is told by the
nonces before the next signature."""
_FINAL = (IntentState.FINAL_OK, IntentState.FINAL_REVERTED, IntentState.FINAL_CANCELLED)


class Finality:
    """Keeps no state of an intent: final stays final, since its nonce must never mean anything else. It halts."""

    def __init__(
        self, journal: Journal, broadcaster: Broadcaster, reader: Reader, clock: Clock, teller: Teller, chain_id: int
    ) -> None:
        self._journal = journal
        self._broadcaster = broadcaster
        self._reader = reader
        self._clock = clock
        self._teller = teller
        self._chain_id = chain_id
        self._head: BlockRef | None = None
        self._looked = True
        self._known: set[str] = set()

    async def look(self, head: BlockRef) -> None:
        """Halt every account of which a final transaction is on the chain no more. What cannot be read is read at the
        next head.
        """
        before, self._head = self._head, head
        if self._looked and before is not None and head.parent_hash == before.hash:
            return
        self._looked = False
        try:
            for intent in await self._taken_back(head):
                self._halt(intent)
        except (ChainUnreachable, ReadFailed) as error:
            self._teller.say_once(
                Severity.WARNING,
                f"whether final transactions still are cannot be seen now: {clean_text(str(error), 160)}",
                kind="blind",
                about="finality",
            )
        else:
            self._looked = True

    def _halt(self, intent: Intent) -> None:
        if intent.id in self._known:
            return
        reason = (
            f"a reorg deeper than what counts as final took back block {intent.included_block} with “{intent.words}”"
        )
        self._journal.halt(self._chain_id, intent.account, reason, self._clock.now())
        self._known.add(intent.id)
        self._teller.say(
            Severity.ALARM,
            f"{short_address(intent.account)} is halted: {reason}; look at the account, then resume it: the same bytes "
            "are sent again",
            kind="halted",
            firing_id=intent.firing_id,
        )

    async def send_again(self, account: str) -> None:
        """A person says to go on: what a reorg took back is handed out again, byte by byte as it was.

        Raises ChainUnreachable, ReadFailed.
        """
        if self._head is None:
            return
        gone = [intent for intent in await self._taken_back(self._head) if intent.account == account]
        for intent in sorted(gone, key=lambda one: one.nonce or 0):
            self._known.add(intent.id)
            winner = _winner(intent)
            await self._broadcaster.send(winner.raw, winner.hash)
            self._teller.say(
                Severity.WARNING,
                f"{intent.words}: taken back by a reorg, sent again under nonce {intent.nonce}",
                kind="intent",
                firing_id=intent.firing_id,
            )

    async def _taken_back(self, head: BlockRef) -> list[Intent]:
        """Final intents whose winner is on no canonical block, newest first. Raises ChainUnreachable, ReadFailed."""
        final = [
            intent
            for firing in self._journal.signed_firings(self._chain_id, head.timestamp - LOOK_BACK_SECONDS)
            for intent in firing.intents
            if intent.chain_id == self._chain_id and intent.state in _FINAL
        ]
        gone: list[Intent] = []
        for intent in sorted(final, key=lambda one: one.included_block or 0, reverse=True):
            assert intent.included_block is not None
            block = await self._reader.block_by_number(intent.included_block)
            if block is not None and block.hash == intent.included_block_hash:
                break  # its parents are canonical with it, and so is all that was final before
            if not await self._is_mined(intent):
                gone.append(intent)
        return gone

    async def _is_mined(self, intent: Intent) -> bool:
        """Whether the attempt that won is on the chain all the same, in another block."""
        receipt = await self._broadcaster.receipt(_winner(intent).hash)
        if receipt is None:
            return False
        block = await self._reader.block_by_number(receipt.block_number)
        return block is not None and block.hash == receipt.block_hash


def _winner(intent: Intent) -> Attempt:
    return next(attempt for attempt in intent.attempts if attempt.hash == intent.included_hash)
