"""Decides what is carried out and when: the latch, what a plan may reserve, what a restart left, what is cancelled.

What stands above a line here is on the disk before that line runs: the journal's writes return when they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType

from tui.engine.budget import day_of, degraded_cap, gas_debits, refuse_spend
from tui.engine.cancelling import Canceller, CannotCancel
from tui.engine.carrying import NO_PERMIT, REFUSED, Carrier, Verify
from tui.engine.finality import Finality
from tui.engine.gas_money import affordable_together
from tui.engine.intents import (
    awaits_signature,
    call_of,
    expected_of,
    fault_of,
    intents_of,
    may_still_be_sent,
    plan_senders,
    senders,
    unsigned,
)
from tui.engine.leftovers import left_over_words
from tui.engine.lifecycle import BUMP_AFTER_BLOCKS
from tui.engine.nonces import first_nonce, other_plan_lives
from tui.engine.sending import Notify, Sender, Teller
from tui.engine.tracking import Tracker
from tui.engine.troubles import defence_troubles
from tui.model.block import BlockRef
from tui.model.calls import Log
from tui.model.errand import Errand
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.plan import FeeQuote, Plan, Refusal
from tui.model.text import clean_text, short_address
from tui.model.transitions import IllegalTransition, advance_firing
from tui.model.units import format_units
from tui.model.view import Severity
from tui.planning.costs import least_fee
from tui.ports.chain import Broadcaster, ChainUnreachable, Reader, ReadFailed
from tui.ports.clock import Clock
from tui.ports.journal import Journal, JournalConflict, SpendEntry, SpendKind
from tui.ports.signer import Signatures

OLDEST_PLAN_SECONDS = 60
"""Chain time that may pass between the block of a plan and its signature."""

__all__ = ["CannotCancel", "Executor", "Verify"]


class Executor:
    """The one place that decides to sign. One a chain, used from one event loop, the journal's only writer.

    `killed` is asked anew before every signature and every send, `may_sign` (None, or why nothing may be signed now)
    before anything is reserved and, once it was simulated to the byte, before the signer is asked. `notify` gets every
    line that is worth showing; it is in the journal already. All methods raise JournalError where the record fails:
    then nothing was sent that is not durable, and the caller has to hold the engine.
    """

    def __init__(
        self,
        journal: Journal,
        signer: Signatures,
        broadcaster: Broadcaster,
        reader: Reader,
        clock: Clock,
        chain_id: int,
        confirmations: int,
        kill_switch: Callable[[], bool],
        notify: Notify,
        *,
        bump_after: int = BUMP_AFTER_BLOCKS,
        may_sign: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._journal = journal
        self._broadcaster = broadcaster
        self._reader = reader
        self._clock = clock
        self._chain_id = chain_id
        self._killed = kill_switch
        self._may_sign = may_sign
        self._teller = Teller(journal, clock, notify)
        self._sender = Sender(journal, signer, broadcaster, clock, kill_switch, self._teller)
        self._carrier = Carrier(journal, signer, self._sender, self._teller, kill_switch)
        self._canceller = Canceller(journal, self._sender, broadcaster, self._teller)
        self._tracker = Tracker(
            journal,
            self._sender,
            broadcaster,
            reader,
            clock,
            self._teller,
            kill_switch,
            chain_id,
            confirmations,
            bump_after,
        )
        self._finality = Finality(journal, broadcaster, reader, clock, self._teller, chain_id)
        self._tracking = asyncio.Lock()
        self._executing: set[str] = set()
        self._head: BlockRef | None = None

    # --- the latch -----------------------------------------------------------------------------------------------

    def open_firing(
        self,
        *,
        rule: str,
        rule_digest: str,
        episode: str,
        position: str,
        account: str,
        block: BlockRef,
        health_factor: int | None,
        summary: str = "",
    ) -> Firing | None:
        """Latch a rule for an episode (derived from chain data alone). None where it has fired in this one before."""
        firing = Firing(
            id="f" + sha256(f"{self._chain_id}\n{rule}\n{episode}".encode()).hexdigest()[:20],
            rule=rule,
            rule_digest=rule_digest,
            episode=episode,
            position=position,
            account=account,
            chain_id=self._chain_id,
            state=FiringState.TRIGGERED,
            block_number=block.number,
            block_hash=block.hash,
            block_timestamp=block.timestamp,
            health_factor_before=health_factor,
            summary=summary,
        )
        return firing if self._journal.open_firing(firing) else None

    def drop_firing(self, firing_id: str, reason: str) -> None:
        """Give up a firing of which nothing was signed (a "no" to a confirmation, a condition that is gone).

        Raises IllegalTransition while it is being carried out, and for any that has an end or signed transactions.
        """
        firing = self._firing(firing_id)
        if firing_id in self._executing or firing.state not in (FiringState.TRIGGERED, FiringState.PLANNED):
            raise IllegalTransition(f"firing {firing_id} is {firing.state} and cannot be dropped now")
        self._drop(firing, reason)

    def reopen_firing(self, firing_id: str, reason: str) -> Firing:
        """Take a DROPPED firing up again in the same episode: nothing of it was ever signed. Back to TRIGGERED.

        Raises IllegalTransition for any other.
        """
        firing = self._firing(firing_id)
        if firing.state is not FiringState.DROPPED:
            raise IllegalTransition(f"firing {firing_id} is {firing.state} and cannot be taken up again")
        reopened = advance_firing(firing, FiringState.TRIGGERED, reason=reason)
        self._journal.save_firing(firing, reopened)
        return reopened

    def resume_planned(self) -> tuple[Firing, ...]:
        """Open firings that wait for the engine, oldest first; ask at start and at every head.

        TRIGGERED: plan anew and `execute`, or `drop_firing`. RUNNING: its nonces are bound and the signer may have
        been asked, but nothing is recorded as signed: `resume_reserved`.
        """
        return tuple(
            firing
            for firing in self._journal.open_firings(self._chain_id)
            if firing.id not in self._executing
            and (firing.state in (FiringState.TRIGGERED, FiringState.PLANNED) or awaits_signature(firing))
        )

    # --- carrying out --------------------------------------------------------------------------------------------

    async def execute(
        self,
        firing: Firing,
        plan: Plan | Errand,
        verify: Verify,
        *,
        daily_cap_usd: int | None = None,
        mined_nonces: Mapping[str, int] = MappingProxyType({}),
        native_price_usd: int | None = None,
    ) -> Refusal | None:
        """Reserve, permit, verify, sign, record, send. What became of it is in the journal and was notified; the answer
        is why nothing was signed, where the firing is DROPPED.

        `mined_nonces` are the nonces of the plan's senders, by account, as far as they were read at the plan's block
        already; others are asked for.
        `native_price_usd` (8 decimals) is what gas counts at against the day's cap. Where it is not known the defence
        goes on and that is said: an account that is liquidated costs more than its gas.

        Until the signer is asked for a transaction, any refusal leaves the firing DROPPED with its reason and nonces
        free. Where another plan of the position's account or of any sender is under way the firing stays TRIGGERED.

        All transactions go out together. Those of one account are mined in their order; between accounts there is no
        order, and none is needed: each of them only raises health by itself, or has a floor that the chain holds.
        """
        current = self._firing(firing.id)
        if current.id in self._executing or current.state not in (FiringState.TRIGGERED, FiringState.PLANNED):
            return None
        self._executing.add(current.id)
        try:
            return await self._execute(current, plan, verify, daily_cap_usd, mined_nonces, native_price_usd)
        finally:
            self._executing.discard(current.id)

    async def resume_reserved(self, firing: Firing, fees: FeeQuote, verify: Verify) -> None:
        """Go on with a firing that was stopped between asking the signer and recording: same nonces, same meaning.

        `verify` may refuse; then `cancel` is the way to free the nonces.
        """
        current = self._firing(firing.id)
        if current.id in self._executing or not awaits_signature(current):
            return
        if self._refusal(senders(unsigned(current))) is not None:
            return
        self._executing.add(current.id)
        try:
            await self._resume_reserved(current, fees, verify)
        finally:
            self._executing.discard(current.id)

    async def _execute(
        self,
        firing: Firing,
        plan: Plan | Errand,
        verify: Verify,
        cap: int | None,
        mined: Mapping[str, int],
        price: int | None,
    ) -> Refusal | None:
        short = self._reader.degraded(plan.block)
        allowed = cap if short is None else degraded_cap(plan, cap)
        accounts = plan_senders(firing, plan)
        reason = self._refusal(accounts) or fault_of(firing, plan) or (allowed if isinstance(allowed, str) else None)
        if isinstance(allowed, str) or reason is not None:
            return self._drop(firing, reason or "")
        cap = allowed
        busy = other_plan_lives(self._journal, firing, accounts)
        if busy is not None:
            self._teller.say_once(
                Severity.WARNING,
                f"{firing.rule}: waits, another plan of {short_address(busy)} is under way",
                kind="busy",
                about=firing.id,
                firing_id=firing.id,
            )
            return None
        planned = firing if firing.state is FiringState.PLANNED else advance_firing(firing, FiringState.PLANNED)
        planned = replace(
            planned,
            summary="; ".join(call.words for call in plan.calls),
            health_factor_expected=plan.health_factor_after,
            spend_usd=plan.spend_usd,
            reason="",
        )
        self._journal.save_firing(firing, planned)
        self._journal.save_outcome(expected_of(planned, plan))
        nonces: dict[str, int] = {}
        for account in accounts:
            try:
                nonce = await self._first_nonce(account, mined.get(account))
            except (ChainUnreachable, ReadFailed) as error:
                return self._drop(planned, f"{short_address(account)}: its nonce cannot be read: {error}")
            if isinstance(nonce, str):
                return self._drop(planned, nonce)
            nonces[account] = nonce
        running = advance_firing(planned, FiringState.RUNNING)
        day = day_of(plan.block.timestamp)
        intents = intents_of(running, plan, nonces)
        gas = gas_debits(planned.rule, day, intents, price)
        spent = sum(self._journal.spent(kind, day, planned.rule) for kind in (SpendKind.USD, SpendKind.GAS_USD))
        reason = refuse_spend(spent, plan.spend_usd, cap, sum(one.amount for one in gas))
        if reason is not None:
            return self._drop(planned, reason)
        debit = SpendEntry(SpendKind.USD, planned.rule, day, plan.spend_usd, planned.id)
        try:
            self._journal.reserve(planned, running, intents, debit, cap, gas)
        except JournalConflict as conflict:
            return self._drop(planned, conflict.what)
        running = self._firing(running.id)
        if price is None and cap is not None:
            self._teller.say(
                Severity.WARNING,
                f"{running.rule}: the native coin has no price now, so this gas is not counted against the daily limit",
                kind="gas-uncounted",
                firing_id=running.id,
            )
        if short is not None:
            self._teller.say(
                Severity.ALARM,
                f"{running.rule}: goes on with half of its daily limit: {clean_text(short, 200)}",
                kind="degraded",
                firing_id=running.id,
            )
        try:
            reason = await self._carrier.permit_and_verify(running, plan, verify)
        except BaseException:
            self._journal.release(running, FiringState.TRIGGERED, "interrupted before anything was signed")
            raise
        reason = reason or self._refusal(accounts) or self._overtaken(plan.block)
        if reason is None and short is None:
            reason = self._reader.degraded(plan.block)
        if reason is not None:
            return self._drop(running, reason, REFUSED if reason.startswith(NO_PERMIT) else "dropped")
        fees = plan.fees.max_fee, plan.fees.priority_fee
        return await self._carrier.sign_and_send(running, fees, plan.block.number)

    async def _resume_reserved(self, firing: Firing, fees: FeeQuote, verify: Verify) -> None:
        waiting = unsigned(firing)
        try:
            reason = await verify([call_of(intent) for intent in waiting])
        except (ChainUnreachable, ReadFailed) as error:
            reason = str(error)
        reason = reason or self._refusal(senders(waiting))
        if reason is not None:
            self._teller.say_once(
                Severity.WARNING,
                f"{firing.rule}: not signed after the restart: {clean_text(reason, 200)}; cancel it to free its nonces",
                kind="not-resumed",
                about=firing.id,
                firing_id=firing.id,
            )
            return
        ceiling = min(intent.fee_ceiling for intent in waiting)
        affordable = await affordable_together(self._journal, self._broadcaster, waiting)
        least = min(least_fee(fees), ceiling)
        if affordable is not None and affordable < least:
            names = " and ".join(map(short_address, senders(waiting)))
            self._teller.say_once(
                Severity.ALARM,
                f"{firing.rule}: not signed after the restart: {names} can pay {format_units(affordable, 9, 2)} gwei "
                "a unit of gas, which is less than the next blocks may take; add native coin, or cancel it to free "
                "its nonces",
                kind="not-resumed",
                about=firing.id,
                firing_id=firing.id,
            )
            return
        max_fee = min(fees.max_fee, ceiling, fees.max_fee if affordable is None else affordable)
        head = self._head.number if self._head is not None else 0
        await self._carrier.sign_and_send(firing, (max_fee, min(fees.priority_fee, max_fee)), head)

    # --- following -----------------------------------------------------------------------------------------------

    async def on_head(self, block: BlockRef) -> tuple[Firing, ...]:
        """Look at everything unsettled at a new canonical head. The firings that came to their end."""
        async with self._tracking:
            self._head = block
            self.put_back()
            await self._finality.look(block)
            await self._tracker.look(block)
            return self._ended()

    def put_back(self, *, restarted: bool = False) -> None:
        """What needs no chain. Nothing signed and the signer never asked (a crash, a record that failed half way):
        nonces free, TRIGGERED again, see `resume_planned`. Signed, never sent, and the kill switch on: not sent any
        more. After a restart (`restarted`) that holds for what the signer may have signed as well.
        """
        for firing in self._journal.open_firings(self._chain_id):
            if firing.id in self._executing:
                continue
            if firing.state is FiringState.PLANNED:
                again = advance_firing(firing, FiringState.TRIGGERED, reason="stopped before anything was reserved")
                self._journal.save_firing(firing, again)
            if firing.state is not FiringState.RUNNING:
                continue
            bound = [intent for intent in firing.intents if intent.state is not IntentState.DROPPED]
            if not bound:
                # An engine that freed nonces one by one, and ended between that and the firing's own end.
                self._journal.release(firing, FiringState.DROPPED, "nothing was signed, and its nonces are free")
            elif all(intent.state is IntentState.RESERVED and not intent.signing_began for intent in bound):
                self._journal.release(firing, FiringState.TRIGGERED, "stopped before anything was signed")
            elif self._killed() and (restarted or any(map(may_still_be_sent, bound))):
                self._carrier.withhold(firing.id)

    async def recover(self) -> tuple[Firing, ...]:
        """Carry on from any state, once, before the first head. The firings that came to their end.

        Nothing signed: see `put_back`. SIGNED: the identical bytes are sent. Anything sent: sent again and followed.
        No signed intent ever gets another nonce.
        """
        async with self._tracking:
            self.put_back(restarted=True)
            for firing in self._journal.open_firings(self._chain_id):
                if firing.state is FiringState.RUNNING:
                    await self._recover_running(firing)
            return self._ended()

    async def _recover_running(self, firing: Firing) -> None:
        await self._carrier.send_signed(firing.id)
        for intent in firing.intents:
            may_send = not self._killed() and self._journal.halted(self._chain_id, intent.account) is None
            cancelling = intent.state is IntentState.CANCELLING
            if cancelling or (intent.state is IntentState.MAYBE_SENT and may_send and not intent.withheld):
                await self._sender.send(intent.id, intent.attempts[-1])

    def _ended(self) -> tuple[Firing, ...]:
        ended = self._tracker.close_firings()
        for firing in ended:
            severity = Severity.GOOD if firing.state is FiringState.DONE else Severity.ALARM
            why = f": {clean_text(firing.reason, 160)}" if firing.reason else ""
            self._teller.say(
                severity, f"{firing.rule}: {firing.state.lower()}{why}", kind="firing", firing_id=firing.id
            )
        return ended

    # --- by hand -------------------------------------------------------------------------------------------------

    async def cancel(self, intent_id: str, fees: FeeQuote | None = None) -> None:
        """Close an intent's nonce by a transfer of nothing to oneself. What is mined in the end decides.

        Works under the kill switch: it only takes away. `fees` are needed where nothing was signed yet. Raises
        CannotCancel.
        """
        async with self._tracking:
            intent = self._journal.intent(intent_id)
            if intent is None:
                raise CannotCancel(f"there is no transaction {intent_id}; `trimtab journal` lists them")
            if intent.firing_id in self._executing:
                raise CannotCancel(f"{intent.words} is being signed; try again at the next block")
            self._executing.add(intent.firing_id)
            try:
                await self._canceller.cancel(intent, fees, self._head)
            finally:
                self._executing.discard(intent.firing_id)

    def halted_accounts(self) -> tuple[tuple[str, str], ...]:
        """(account, why) of the accounts for which nothing is signed until a person has looked."""
        return self._journal.halted_accounts(self._chain_id)

    async def resume_account(self, account: str) -> None:
        """A person has looked: what the chain counts now is explained. Raises ChainUnreachable, ReadFailed."""
        nonce = await self._broadcaster.nonce(account)
        await self._finality.send_again(account)
        self._journal.resume(self._chain_id, account, nonce)
        self._teller.say(Severity.INFO, f"{short_address(account)} goes on, nonce {nonce}", kind="resumed")

    def tell_left_over(self, firing: Firing, why: str) -> None:
        """Why nobody is there to sign for a firing that waits for it: one of the `troubles` from now on."""
        text = left_over_words(firing, why)
        self._teller.say_once(Severity.ALARM, text, kind="not-resumed", about=firing.id, firing_id=firing.id)

    def troubles(self) -> tuple[tuple[str, str], ...]:
        """What keeps defences that have begun from going on: (key, text) of each. Ask between blocks."""
        return defence_troubles(self._journal.open_firings(self._chain_id), self._teller)

    def book_outcome(
        self, firing_id: str, health_factor_after: int | None, cost_usd: int | None, *, at_its_block: bool = True
    ) -> None:
        """Keep what a fresh read after the end showed: health (wad) and cost (dollars with 8 decimals). Not
        `at_its_block`: it is the health of later, and no outcome.
        """
        firing = self._firing(firing_id)
        booked = replace(firing, health_factor_after=health_factor_after, cost_usd=cost_usd)
        self._journal.save_firing(firing, booked)
        self._journal.book_outcome(firing_id, health_factor_after if at_its_block else None, cost_usd)

    async def logs_of(self, firing: Firing) -> tuple[tuple[Log, ...], ...] | None:
        """The events of each transaction that a firing carried out, in order; None where any receipt is not had whole:
        a part of what was sold is no figure. Raises ChainUnreachable, ReadFailed.
        """
        logs: list[tuple[Log, ...]] = []
        for intent in firing.intents:
            if intent.state is not IntentState.FINAL_OK or intent.included_hash is None:
                continue
            receipt = await self._broadcaster.receipt(intent.included_hash)
            if receipt is None or receipt.block_hash != intent.included_block_hash or not receipt.logs:
                return None
            logs.append(receipt.logs)
        return tuple(logs)

    # --- shared --------------------------------------------------------------------------------------------------

    def _firing(self, firing_id: str) -> Firing:
        firing = self._journal.firing(firing_id)
        assert firing is not None, f"no firing {firing_id}"
        return firing

    def _refusal(self, accounts: Iterable[str]) -> str | None:
        """Why nothing may be signed for any of these accounts, or None."""
        if self._killed():
            return "the kill switch is on"
        barred = self._may_sign()
        if barred is not None:
            return barred
        for account in accounts:
            halted = self._journal.halted(self._chain_id, account)
            if halted is not None:
                return f"{short_address(account)} is halted: {halted}"
        return None

    def _overtaken(self, block: BlockRef) -> str | None:
        """Why what was planned at a block is too old to be signed, or None. A yes is acted on beside the blocks: the
        machine may have slept meanwhile, and a newer block have been read since.
        """
        younger = 0 if self._head is None else self._head.timestamp - block.timestamp
        if younger <= OLDEST_PLAN_SECONDS:
            return None
        return f"it was planned at block {block.number}, and there is one now that is {younger} s younger"

    async def _first_nonce(self, account: str, mined: int | None) -> int | str:
        return await first_nonce(
            self._journal, self._broadcaster, self._teller, self._clock, self._chain_id, account, mined
        )

    def _drop(self, firing: Firing, reason: str, code: str = "dropped") -> Refusal:
        if firing.state is FiringState.RUNNING:
            self._journal.release(firing, FiringState.DROPPED, reason)
        else:
            self._journal.save_firing(firing, advance_firing(firing, FiringState.DROPPED, reason=reason))
        self._carrier.tell_dropped(firing, reason)
        return Refusal(code, reason)
