"""Follows every signed transaction to a final block: receipts, resends, raised fees, lost nonces.

Killing stops signatures and sends, never this. A node's silence changes nothing that is recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from tui.engine.budget import day_of, gas_correction, may_have_spent
from tui.engine.funds import Funds
from tui.engine.lifecycle import (
    AtCeiling,
    Effect,
    Include,
    Lose,
    Replace,
    Send,
    Settle,
    Short,
    Sight,
    Unmine,
    decide,
    firing_outcome,
    has_waited,
    included,
    is_cancelling,
    lost,
    raise_fees,
    settled,
    unmined,
)
from tui.engine.lost import LostNonces
from tui.engine.sending import Sender, Teller
from tui.engine.settling import Settling
from tui.model.block import BlockRef
from tui.model.intent import Attempt, AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.signing import SignerRefused, SignerUnavailable
from tui.model.text import clean_text, short_address
from tui.model.transitions import advance, advance_firing
from tui.model.units import format_units
from tui.model.view import Severity
from tui.ports.chain import Broadcaster, ChainUnreachable, Reader, ReadFailed, Receipt
from tui.ports.clock import Clock
from tui.ports.journal import Journal, SpendEntry, SpendKind

_ENDINGS = {
    IntentState.FINAL_OK: (Severity.GOOD, "final"),
    IntentState.FINAL_REVERTED: (Severity.ALARM, "reverted, finally"),
    IntentState.FINAL_CANCELLED: (Severity.WARNING, "cancelled, finally"),
}


class Tracker:
    """Looks at every unsettled intent at a head and does what the pure rules say."""

    def __init__(
        self,
        journal: Journal,
        sender: Sender,
        broadcaster: Broadcaster,
        reader: Reader,
        clock: Clock,
        teller: Teller,
        killed: Callable[[], bool],
        chain_id: int,
        confirmations: int,
        bump_after: int,
    ) -> None:
        self._journal = journal
        self._sender = sender
        self._broadcaster = broadcaster
        self._reader = reader
        self._clock = clock
        self._teller = teller
        self._killed = killed
        self._chain_id = chain_id
        self._confirmations = max(1, confirmations)
        self._bump_after = bump_after
        self._lost = LostNonces(journal, broadcaster, reader, teller, chain_id, self._confirmations)
        self._settling = Settling(broadcaster, reader, teller, self._confirmations)
        self._funds = Funds(journal, sender, broadcaster, teller)

    async def look(self, head: BlockRef) -> None:
        """One look at everything unsettled. An account whose facts cannot be had is left as it is until the next."""
        try:
            await self._lost.look(head)
        except (ChainUnreachable, ReadFailed) as error:
            self._teller.say_once(
                Severity.WARNING,
                f"whether a lost transaction was mined after all cannot be seen now: {clean_text(str(error), 160)}",
                kind="blind",
                about="lost",
            )
        intents = self._journal.unsettled(self._chain_id)
        for account, group in groupby(intents, key=lambda intent: intent.account):
            try:
                await self._look_at_account(head, account, [intent for intent in group if intent.attempts])
            except (ChainUnreachable, ReadFailed) as error:
                self._teller.say_once(
                    Severity.WARNING,
                    f"transactions of {short_address(account)} cannot be followed now: {clean_text(str(error), 160)}",
                    kind="blind",
                    about=account,
                )

    async def _look_at_account(self, head: BlockRef, account: str, intents: list[Intent]) -> None:
        latest: int | None = None
        for intent in intents:
            receipt = await self._receipt(intent)
            final: int | None = None
            settles = None if receipt is None else await self._settling.look(intent, receipt, head)
            if settles is False:
                receipt = None
            if receipt is None:
                if latest is None:
                    latest = await self._broadcaster.nonce(account)
                assert intent.nonce is not None
                if latest > intent.nonce:
                    # The nonce first and the receipts after it: a node that counts the nonce has had time to answer.
                    final = await self._final_nonce(head, intent)
                    receipt = await self._receipt(intent)
            if receipt is None and intent is intents[0]:
                self._tell_of_a_gap(intent, latest)
            # What was raised by less than it should have been goes on as soon as there is money, and waits no turn.
            bump_after = 0 if self._funds.is_short(intent) else self._bump_after
            waits = receipt is None and has_waited(intent, head, bump_after)
            affordable = await self._funds.affordable(intent) if waits else None
            current = self._journal.intent(intent.id)
            assert current is not None
            sight = Sight(
                head,
                self._confirmations,
                receipt,
                latest,
                final,
                self._may_send(account),
                bump_after,
                settles=settles is True,
                affordable=affordable,
                unpaid=self._funds.is_unpaid(current),
            )
            effects = decide(current, sight)
            if waits and not sight.unpaid and Short() not in effects:
                self._funds.over(current)
            for effect in effects:
                await self._do(current.id, effect, head)

    def _tell_of_a_gap(self, intent: Intent, latest: int | None) -> None:
        """Our first nonce cannot be mined while one below it, which is not ours, is missing (a reorg took it out)."""
        if latest is not None and intent.nonce is not None and latest < intent.nonce:
            self._teller.say_once(
                Severity.ALARM,
                f"{intent.words}: waits at nonce {intent.nonce}, but the chain counts only {latest} transactions of "
                f"{short_address(intent.account)}; send the missing ones again from where they came",
                kind="gap",
                about=intent.id,
                firing_id=intent.firing_id,
            )
        elif latest is not None:
            self._teller.over("gap", intent.id)

    def _may_send(self, account: str) -> bool:
        return not self._killed() and self._journal.halted(self._chain_id, account) is None

    async def _final_nonce(self, head: BlockRef, intent: Intent) -> int | None:
        number = head.number - self._confirmations + 1
        block = await self._reader.block_by_number(number) if number >= 0 else None
        return None if block is None else await self._lost.final_nonce(intent, block)

    async def _receipt(self, intent: Intent) -> Receipt | None:
        """The receipt of any attempt, newest first, whose block is canonical by its own height.

        Raises ReadFailed where the block of a receipt is not to be had: then nothing is known.
        """
        for attempt in reversed(intent.attempts):
            receipt = await self._broadcaster.receipt(attempt.hash)
            if receipt is None:
                continue
            block = await self._reader.block_by_number(receipt.block_number)
            if block is None:
                raise ReadFailed(f"block {receipt.block_number} is not known to the node that holds its receipt")
            if block.hash == receipt.block_hash:
                return receipt
        return None

    async def _do(self, intent_id: str, effect: Effect, head: BlockRef) -> None:
        intent = self._journal.intent(intent_id)
        assert intent is not None
        match effect:
            case Include(receipt):
                self._journal.save_intents([(intent, included(intent, receipt))])
                how = "in block" if receipt.ok else "reverted in block"
                self._say(Severity.INFO if receipt.ok else Severity.WARNING, intent, f"{how} {receipt.block_number}")
            case Settle(receipt):
                await self._settle(intent, receipt)
            case Unmine():
                self._journal.save_intents([(intent, unmined(intent))])
                self._say(Severity.WARNING, intent, f"block {intent.included_block} is gone; it is sent again")
            case Lose():
                after = lost(intent)
                self._journal.halt(self._chain_id, intent.account, after.reason, self._clock.now())
                self._journal.save_intents([(intent, after)])
                self._lost.add(after, head)
                self._say(Severity.ALARM, intent, f"{after.reason}; the account is halted until you resume it")
            case Send(attempt):
                await self._send(intent, attempt, head)
            case Replace(max_fee, priority_fee):
                await self._replace(intent, (max_fee, priority_fee), head)
            case Short():
                await self._funds.tell_short(intent, head)
            case AtCeiling():
                self._teller.say_once(
                    Severity.ALARM,
                    f"{intent.words}: still waiting, and its fee is at the ceiling of the rule; it is sent again as is",
                    kind="ceiling",
                    about=intent.id,
                    firing_id=intent.firing_id,
                )

    async def _settle(self, intent: Intent, receipt: Receipt) -> None:
        after = settled(intent, receipt)
        firing = self._journal.firing(intent.firing_id)
        block = await self._reader.block_by_number(receipt.block_number)
        if firing is None or block is None or block.hash != receipt.block_hash:
            raise ReadFailed(f"block {receipt.block_number} is not to be had again")
        paid = receipt.paid_wei
        entry = SpendEntry(SpendKind.GAS, firing.rule, day_of(block.timestamp), paid, firing.id)
        counted = gas_correction(intent, firing.rule, self._journal.gas_debit(intent.id), paid)
        self._journal.save_intents([(intent, after)], [entry, *counted])
        severity, words = _ENDINGS[after.state]
        why = f": {clean_text(after.reason, 120)}" if after.state is IntentState.FINAL_REVERTED else ""
        self._say(severity, intent, words + why)

    async def _send(self, intent: Intent, attempt: Attempt, head: BlockRef) -> None:
        """Send durable bytes (again); where nodes want more for a replacement, raise the fees once."""
        first = intent.state is IntentState.SIGNED
        if first:
            self._journal.save_intents([(intent, advance(intent, IntentState.MAYBE_SENT))])
        outcomes = await self._sender.send(intent.id, attempt)
        fresh = self._journal.intent(intent.id)
        assert fresh is not None
        if outcomes is None:
            self._sender.withhold([fresh] if first else [])
            return
        await self._funds.sent(fresh, attempt, outcomes, head)
        if not any(outcome.kind == "underpriced-replacement" for outcome in outcomes):
            return
        if fresh.state.is_final or not (self._may_send(fresh.account) or is_cancelling(fresh)):
            return
        for effect in raise_fees(fresh, head, await self._funds.affordable(fresh)):
            if not isinstance(effect, Send):
                await self._do(fresh.id, effect, head)

    async def _replace(self, intent: Intent, fees: tuple[int, int], head: BlockRef) -> None:
        """Sign with higher fees, make it durable, send it. Where no signature is had, the old bytes go out again."""
        kind = AttemptKind.CANCEL if is_cancelling(intent) else AttemptKind.BUMP
        try:
            new = await self._sender.sign(intent, intent.state, kind, fees, head.number)
        except (SignerRefused, SignerUnavailable) as error:
            self._teller.say_once(
                Severity.WARNING,
                f"{intent.words}: its fee cannot be raised ({clean_text(str(error), 160)}); it is sent again as is",
                kind="no-bump",
                about=intent.id,
                firing_id=intent.firing_id,
            )
            await self._sender.send(intent.id, intent.attempts[-1])
            return
        self._journal.record_attempts([new])
        self._say(Severity.INFO, intent, f"fee raised to {format_units(fees[0], 9, 3)} gwei at most")
        outcomes = await self._sender.send(intent.id, new.attempt)
        fresh = self._journal.intent(intent.id)
        assert fresh is not None
        await self._funds.sent(fresh, new.attempt, outcomes or (), head)

    def close_firings(self) -> tuple[Firing, ...]:
        """Give every running firing its end where all of its transactions have theirs; those that ended now.

        Where it moved nothing (cancelled, reverted), its debit of dollars is taken back with that.
        """
        ended: list[Firing] = []
        for firing in self._journal.open_firings(self._chain_id):
            outcome = firing_outcome(firing.intents) if firing.state is FiringState.RUNNING else None
            if outcome is None:
                continue
            reason = next((intent.reason for intent in firing.intents if intent.reason), "")
            after = advance_firing(firing, outcome, reason="" if outcome is FiringState.DONE else reason)
            self._journal.save_firing(firing, after, unspent=not any(map(may_have_spent, firing.intents)))
            ended.append(after)
        return tuple(ended)

    def _say(self, severity: Severity, intent: Intent, what: str) -> None:
        self._teller.say(
            severity, f"{intent.words}: {what}", kind="intent", firing_id=intent.firing_id, block=intent.included_block
        )
