"""The loop: each new block is read, followed, judged and shown. READ_ONLY -> WATCHING -> ARMED -> HELD.

Whatever may sign passes through the defender, under one lock, from one fresh snapshot. What an engine is made of, why
it is held, what its record says, how a block is taken in, what is looked out for, which faults are told and what is
published live beside it: `surroundings`, `holding`, `recorded`, `intake`, `lookout`, `faultwatch`, `showing`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from tui.crash import described
from tui.engine.absence import Absence
from tui.engine.armory import Armory
from tui.engine.breaker import BETWEEN, BLOCK, HEADS, SIGNER, Breaker
from tui.engine.defender import Defender
from tui.engine.executor import Executor
from tui.engine.faultwatch import FaultWatch
from tui.engine.freshness import Freshness
from tui.engine.guard import Guard
from tui.engine.handsign import STAYS_HELD, WENT_ON, ResumeSign
from tui.engine.handwork import cancel_as_asked
from tui.engine.history import History
from tui.engine.holding import HELD_KEY as HELD_KEY
from tui.engine.holding import Hold
from tui.engine.intake import Intake
from tui.engine.killswitch import KillSwitch
from tui.engine.lookout import Lookout
from tui.engine.losses import LIQUIDATED, Losses
from tui.engine.offers import Offers
from tui.engine.prospect import Prospect
from tui.engine.rechecking import Rechecks
from tui.engine.recorded import Recorded
from tui.engine.rulebook import RuleBook
from tui.engine.sending import Teller
from tui.engine.showing import Moment, Showing
from tui.engine.signerwatch import SignerWatch
from tui.engine.surroundings import Ports as Ports
from tui.engine.surroundings import Setup as Setup
from tui.engine.takeup import TakeUp
from tui.engine.venues import Venues
from tui.engine.watch import Watch
from tui.model.block import BlockRef
from tui.model.plan import FeeQuote
from tui.model.position import Position
from tui.model.snapshot import Snapshot
from tui.model.text import clean_text, short_address
from tui.model.view import Severity, ViewState
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import Decision, JournalError

TICK_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the chain is followed again where following it broke off."""


class Engine:
    """One chain, its markets, accounts and rules. `run` never ends by itself; `ended` says why where it did."""

    def __init__(
        self, setup: Setup, ports: Ports, kill_switch: KillSwitch, resume_sign: ResumeSign | None = None
    ) -> None:
        self.setup = setup
        self.ports = ports
        self.kill_switch = kill_switch
        self._resume_sign = resume_sign
        self.history = History()
        self.teller = Teller(ports.journal, ports.clock, self._heard)
        self._hold = Hold(ports.journal, self.teller)
        self.recorded = Recorded(ports.journal or ports.record, setup.network.chain_id, self._hold.record_failed)
        self.book = RuleBook(
            setup.rules_files,
            ports.journal,
            lambda rule, position: self.guard.price_of(rule, position),
            lambda rule, position: self.guard.doubts(rule, position),
        )
        self.signer_watch = None if ports.signer is None else SignerWatch(ports.signer, ports.clock)
        self.faults = FaultWatch(self.book, self.signer_watch, ports.reader, self.teller)
        self.watch = Watch(
            ports.reader,
            setup.markets,
            setup.accounts,
            setup.network.native_usd_feed,
            setup.network.l1_fee_oracle,
            (
                *(() if setup.swapper is None else (setup.swapper.spender,)),
                *(one.spender for one in setup.dialects),
            ),
        )
        self.prospect = Prospect(
            setup.markets,
            ports.simulator,
            self.recorded.spent_today,
            ports.reader.block_by_number,
            Offers(ports.reader.read, setup.quoters),
            setup.network.wrapped_native,
            self.book.best,
            setup.swapper,
            lambda rule, snapshot: self.armory.fee_cap(rule, snapshot),
            Venues(setup.aggregators, ports.clock, self.faults.told_of_venue),
            setup.dialects,
            self.recorded.barred,
            self.recorded.given_by_us,
            self.recorded.reverted,
            self.recorded.was_undone,
        )
        self.rechecks = Rechecks(self.book, self.prospect, self.teller)
        self.guard = Guard(self.book, self.prospect, setup.network, ports.reader.degraded)
        self.armory = Armory(self.book, ports.signer, self.prospect, ports.clock, setup.network.chain_id, self.teller)
        self.lookout = Lookout(
            self.book, self.prospect, self.guard, self.rechecks, self.armory, self.teller, setup.notices
        )
        self.config = setup.config
        self.executor = self._make_executor()
        self._take_up = (
            None
            if self.executor is None or ports.journal is None
            else TakeUp(self.executor, ports.journal, ports.reader, setup.network.chain_id)
        )
        self._intake = Intake(
            self.watch,
            ports.fees,
            self.executor,
            ports.journal,
            self.book,
            self.history,
            ports.clock,
            setup.accounts,
            setup.keystores,
        )
        self.defender = Defender(
            self.book,
            self.prospect,
            self.executor,
            ports.journal,
            self.teller,
            ports.clock,
            setup.network.chain_id,
            self.why_not_act,
            self.guard,
        )
        self.acting = asyncio.Lock()
        self.snapshot: Snapshot | None = None
        self.fees: FeeQuote | None = None
        self._trouble: str | None = None
        self.breaker = Breaker(ports.clock.monotonic)
        self.freshness = Freshness(setup.network, ports.clock)
        self.ended: str | None = None
        self.troubles: tuple[tuple[str, str], ...] = ()
        self.ticked_at: float | None = None
        self._ticked: float | None = None
        self.losses = Losses(self.recorded.firings_of_late)
        self.absence = Absence(
            ports.journal,
            ports.events,
            ports.reader.block_by_number,
            setup.markets,
            setup.network.chain_id,
            self.teller,
        )
        self._showing = Showing(
            setup,
            self.book,
            self.defender,
            self.guard,
            self.armory,
            self.lookout,
            self.recorded,
            self.history,
            self.teller,
            self.breaker,
            kill_switch,
            ports.reader,
            ports.clock,
            self.executor is not None,
            self._count,
        )

    def _make_executor(self) -> Executor | None:
        ports = self.ports
        if self.setup.read_only or ports.journal is None or self.signer_watch is None:
            return None
        return Executor(
            ports.journal,
            self.signer_watch,
            ports.broadcaster,
            ports.reader,
            ports.clock,
            self.setup.network.chain_id,
            self.setup.network.confirmations,
            self.kill_switch.is_on,
            self._heard,
            may_sign=self.why_not_act,
        )

    # --- what a command or a screen asks ---------------------------------------------------------------------------

    def subscribe(self, receive: Callable[[ViewState], None]) -> Callable[[], None]:
        """Call `receive` with every view from now on; returns the way to stop."""
        return self._showing.subscribe(receive)

    @property
    def view(self) -> ViewState:
        """The newest view."""
        return self._showing.view

    @property
    def would_stop(self) -> tuple[str, ...]:
        """What would stop the armed rules or keep them from their targets, were they to fire."""
        return self.lookout.would_stop

    @property
    def worth_knowing(self) -> tuple[str, ...]:
        """What else there is to say of them."""
        return self.lookout.worth_knowing

    @property
    def held(self) -> str | None:
        """Why the engine holds itself until a person goes on, or None."""
        return self._hold.why

    @held.setter
    def held(self, why: str | None) -> None:
        self._hold.why = why

    def blind(self) -> str | None:
        """Why nothing can be known now, or None. A late head is a fault whatever the connection says."""
        if self.ended is not None:
            return self.ended
        if self.snapshot is None:
            return self._trouble or "waiting for the first block"
        old = self.freshness.fault()
        if old is not None:
            return old + (f" ({self._trouble})" if self._trouble else "")
        return self._trouble

    def head_age(self) -> float | None:
        """Seconds since a head was last received and read."""
        return self.freshness.head_age()

    def tick_age(self) -> float | None:
        """Seconds since the engine last moved, by a tick or a block; None before it was started. Its unix time is
        `ticked_at`.
        """
        return None if self._ticked is None else self.ports.clock.monotonic() - self._ticked

    def _moved(self) -> None:
        self.ticked_at, self._ticked = self.ports.clock.now(), self.ports.clock.monotonic()

    def died(self, error: BaseException | None) -> None:
        """`run` has ended though nobody wanted it to: every output says so from now on, and nothing takes that back."""
        if self.ended is None:
            self.ended = f"the engine has ended by itself ({described(error)}), leave and start Trimtab again"
            with contextlib.suppress(JournalError):
                self.teller.say(Severity.ALARM, f"nothing is protected: {self.ended}", kind="ended")
            self.publish()

    def why_not_act(self) -> str | None:
        """Why nothing may be signed now, or None."""
        if self.kill_switch.is_on():
            return "the kill switch is on"
        return self.held or self.faults.signer or self.blind() or (None if self._take_up is None else self._take_up.why)

    def hold(self, why: str) -> None:
        """Sign nothing more until a person goes on by hand. The first reason stays."""
        self._hold.hold(why)

    def trip(self, why: str) -> None:
        """The circuit breaker: hold, and stay held over a restart as well."""
        self._hold.trip(why)

    async def go_on(self) -> None:
        """A person says to go on: release accounts that were halted, and what the engine held itself for.

        Raises ChainUnreachable, ReadFailed, JournalError, with nothing released but accounts already looked at.
        """
        if self.executor is not None:
            for account, _ in self.executor.halted_accounts():
                await self.executor.resume_account(account)
        self._hold.release()
        self.breaker.reset()
        self.teller.say(Severity.WARNING, "goes on by hand", kind=WENT_ON)
        self.publish()

    @property
    def policy_until(self) -> float | None:
        """When the signer's permission ends by itself (unix seconds), None without one."""
        return self.armory.policy_until

    def own_accounts(self) -> frozenset[str]:
        """Accounts whose key file this engine was given."""
        return frozenset(self.setup.keystores)

    # --- the loop --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the chain until cancelled. Whatever it brings is told, counted and outlived."""
        try:
            await self.start()
        except JournalError as error:
            self.hold(f"the journal failed: {error}.")
        except Exception as error:  # noqa: BLE001 - what was sent earlier is still followed at every block
            self.hold(f"earlier work could not be taken up: {described(error)}.")
        ticker = asyncio.create_task(self._tick())
        try:
            await self._follow()
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker
            await self.absence.aclose()
            if self.signer_watch is not None:
                await self.signer_watch.aclose()

    async def _follow(self) -> None:
        """Every head, for ever. Where the heads break off they are asked for anew, after growing pauses."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async for head in self.ports.heads.heads():
                    self.breaker.passed(HEADS)
                    pause = _FIRST_PAUSE
                    await self.on_head(head)
                self._trouble = "the heads broke off"
            except Exception as error:  # noqa: BLE001 - whatever a node did to it, the next head may come
                self._trouble = described(error)
            self._count(f"following the chain: {self._trouble}", HEADS)
            self.publish()
            await self.ports.clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _count(self, trouble: str, where: str, block: int | None = None) -> None:
        """One unexpected error more for the circuit breaker; of a `block`, where it came of one."""
        why = self.breaker.failed(trouble, where, block)
        if why is not None:
            self.trip(why)

    async def start(self) -> None:
        """Before the first head: read the rules, and carry on with what an earlier run left."""
        self._moved()
        if self._resume_sign is not None and self.executor is not None:
            self._resume_sign.take()  # meant for an engine that is gone
            self._resume_sign.take_cancels()
        self._hold.recall()
        self.reload_rules(force=True)
        self.publish()
        await self._recover()

    async def _recover(self) -> None:
        if self._take_up is None:
            return
        try:
            await self._take_up.do()
        except (ChainUnreachable, ReadFailed) as error:
            self.teller.say(Severity.WARNING, f"earlier transactions wait for the chain: {error}", kind="recover")
        except JournalError as error:
            self.hold(f"the journal failed: {error}.")

    async def on_head(self, block: BlockRef) -> None:
        """One block: read, follow what was sent, judge, act, show. Errors hold the engine, never stop it."""
        self._moved()
        self.freshness.came()
        try:
            await self._take(block)
        except (ChainUnreachable, ReadFailed) as error:
            self._trouble = clean_text(str(error), 160)
        except JournalError as error:
            self.hold(f"the journal failed: {error}.")
        except Exception as error:  # noqa: BLE001 - a fault of ours must hold the engine and be told, not end it
            self._trouble = described(error)
            self._count(self._trouble, BLOCK, block.number)
        else:
            self._trouble = None
            self.breaker.passed()
        self.publish()

    async def _take(self, block: BlockRef) -> None:
        self.reload_rules()
        self.faults.look_at_signer()
        if self._take_up is not None:
            await self._take_up.do()
        snapshot, fees = await self._intake.read(block)
        self.snapshot = snapshot
        self.freshness.was_read(block)
        self._trouble = None
        self.fees = fees
        self._intake.keep(snapshot, block)
        lost = self.losses.see(snapshot)
        for position, what in lost.liquidated:
            self.teller.say(
                Severity.ALARM,
                f"{self._label(position)}: {what}",
                kind=LIQUIDATED,
                block=block.number,
                position=position.id,
            )
        self.absence.see(block, lost)
        self.lookout.begin(snapshot)
        for name, changed in self.guard.look(snapshot):
            self.armory.disarm(name, changed, Severity.ALARM)
        self.lookout.tell_conditions(snapshot)
        with self.lookout.telling("what sales would meet"):
            await self.prospect.look(self.book.rules, snapshot)
        self.lookout.look(snapshot, self.fees)
        await self.armory.settle()
        async with self.acting:
            await self.defender.resume(snapshot, self.fees)
            await self.defender.consider(snapshot, self.fees)
            if self.executor is not None:
                self.troubles = (*self.executor.troubles(), *self.defender.troubles)
        self.count_refusals()
        if await self.rechecks.look(snapshot, self.fees):
            self.lookout.look(snapshot, self.fees)
        self.faults.look_at_nodes(block)
        self.absence.look(snapshot, self._label)

    def _label(self, position: Position) -> str:
        """An account by its label and its market, in words."""
        account = position.key.account
        return f"{self.setup.labels.get(account) or short_address(account)} on {position.key.market}"

    def count_refusals(self) -> None:
        """Show the breaker what came of the rules at the newest block, which it counts once, and of the signer."""
        missed, answered = (None, False) if self.signer_watch is None else self.signer_watch.count()
        if missed is not None:
            broken = self.breaker.failed(clean_text(missed, 160), SIGNER)
            if broken is not None:
                self.trip(broken)
        elif answered:
            self.breaker.passed(SIGNER)
        if self.snapshot is None:
            return
        why = self.breaker.judged(self.defender.evaluations.values(), self.book.armed, self.snapshot.block.number)
        if why is not None:
            self.trip(why)

    def look_again(self) -> None:
        """Judge what is armed against the newest block once more: arming changed between two blocks."""
        self.faults.look_at_signer()
        if self.snapshot is not None:
            self.guard.look(self.snapshot)
            self.lookout.look(self.snapshot, self.fees)

    async def _tick(self) -> None:
        """Once a second: what changes without a block (age of the head, kill switch, rules files, expiry)."""
        before: object = None
        while True:
            await self.ports.clock.sleep(TICK_SECONDS)
            self._moved()
            try:
                self.reload_rules()
                self.faults.look_at_signer()
                await self.armory.settle()
                await self._look_for_a_hand()
            except JournalError as error:
                self.hold(f"the journal failed: {error}.")
            except Exception as error:  # noqa: BLE001 - the ticking must go on: it tells of silence
                self._count(described(error), BETWEEN)
            else:
                self.breaker.passed(BETWEEN)
            now = (
                self.blind(),
                self.kill_switch.is_on(),
                self.held,
                self.faults.signer is None,
                self.book.rules,
                self.book.faults,
                self.breaker.counting,
            )
            if now != before:
                before = now
                self.publish()

    async def _look_for_a_hand(self) -> None:
        """Cancel, or go on, where another process asked for it. Read-only engines leave that to the one that acts."""
        sign, journal = self._resume_sign, self.ports.journal
        if sign is None or self.executor is None or journal is None:
            return
        await cancel_as_asked(sign, self.executor, journal, self.fees, self.teller)
        if not sign.take():
            return
        try:
            await self.go_on()
        except (ChainUnreachable, ReadFailed) as error:
            self.teller.say(
                Severity.WARNING, f"asked to go on, but the chain does not answer: {error}", kind=STAYS_HELD
            )
        except JournalError as error:
            self.hold(f"the journal failed: {error}.")

    def reload_rules(self, force: bool = False) -> None:
        """Look at the rules files, and at what else this was started from; rules that something changed behind are
        disarmed and said so.
        """
        found = self.book.reload(force)
        for name, why in found.overtaken:
            self.armory.disarm(name, why, Severity.ALARM)
        changed = self.config.changed()
        if changed is not None:
            for name in tuple(self.book.armed):
                self.armory.disarm(name, changed, Severity.ALARM)
        if found.changed and self.book.faults and not force:
            self.teller.say(Severity.WARNING, f"rules: {self.book.faults[0]}", kind="rules")

    # --- showing ---------------------------------------------------------------------------------------------------

    def _heard(self, decision: Decision) -> None:
        """A line that is in the journal already: to the activity pane, at once."""
        self.history.add(decision)
        self.publish()

    def _moment(self) -> Moment:
        return Moment(self.held, self.blind(), self.head_age(), self.faults.signer, self.faults.degraded, self.troubles)

    def publish(self) -> None:
        """Draw a view of this moment and hand it to everyone who subscribed. Nothing of either stops the engine."""
        self._showing.publish(self.snapshot, self._moment)
