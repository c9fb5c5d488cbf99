"""The loop: each new block is read, followed, judged and shown. READ_ONLY -> WATCHING -> ARMED -> HELD.

Whatever may sign passes through the defender, under one lock, from one fresh snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tui.crash import described
from tui.engine import publish
from tui.engine.arming import GAS_IS_LOW, Obstacle, find_obstacles, positions_for
from tui.engine.armory import Armory
from tui.engine.aside import Aside
from tui.engine.breaker import BETWEEN, BLOCK, DRAWING, HEADS, SIGNER, Breaker
from tui.engine.budget import day_of
from tui.engine.conditions import DELEGATED, Consequence
from tui.engine.configwatch import ConfigWatch
from tui.engine.defender import Defender
from tui.engine.executor import Executor
from tui.engine.freshness import Freshness
from tui.engine.guard import Guard
from tui.engine.handsign import STAYS_HELD, WENT_ON, ResumeSign
from tui.engine.handwork import cancel_as_asked
from tui.engine.history import History, shown_firings
from tui.engine.intents import is_stuck, stuck_words
from tui.engine.killswitch import KillSwitch
from tui.engine.losses import Losses
from tui.engine.offers import Offers
from tui.engine.prospect import Prospect
from tui.engine.rechecking import Rechecks
from tui.engine.rulebook import RuleBook
from tui.engine.sending import Teller
from tui.engine.signerwatch import ARM_AGAIN, SignerWatch
from tui.engine.takeup import TakeUp
from tui.engine.validation import beside
from tui.engine.venues import Venues
from tui.engine.wanting import cannot_act, held_back
from tui.engine.watch import Watch, without_permits
from tui.model.block import BlockRef
from tui.model.intent import Firing, Intent, IntentState
from tui.model.network import Network
from tui.model.plan import FeeQuote
from tui.model.rule import Mode
from tui.model.snapshot import Snapshot
from tui.model.text import clean_text, short_address
from tui.model.view import Protection, Severity, TriggerPrice, ViewState, empty_view
from tui.ports.aggregator import Aggregator
from tui.ports.chain import Broadcaster, ChainUnreachable, Fees, Heads, Reader, ReadFailed, Simulator
from tui.ports.clock import Clock
from tui.ports.journal import Decision, HealthPoint, Journal, JournalError, JournalReader, SpendKind
from tui.ports.signer import Signer
from tui.protocols.base import LendingMarket
from tui.quotes.base import Dialect, Quoter, Swapper

TICK_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds before the chain is followed again where following it broke off."""
_TOLD_AS = {
    Consequence.HOLD_BACK: Severity.ALARM,
    Consequence.STEP_OUT: Severity.WARNING,
    Consequence.NOTE: Severity.INFO,
}
MOST_OF_LATE = 50
"""So many of our own firings are looked at where a position shrank."""
HELD_KEY = "held"
"""Where the journal keeps why the circuit breaker holds the engine; empty where it does not."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world, as the engine takes it. Without `journal` and `signer` it only watches; `record` is then what
    it may read of the journal that another engine writes.
    """

    heads: Heads
    reader: Reader
    simulator: Simulator
    fees: Fees
    broadcaster: Broadcaster
    clock: Clock
    journal: Journal | None
    signer: Signer | None
    record: JournalReader | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """What is watched and with what. `keystores` maps own accounts (lower-case) to key files, `labels` names some.
    `config` watches the files that this was made from: where one changes, nothing stays armed. `dialects` are how the
    calls of the `aggregators` read.
    """

    network: Network
    markets: tuple[LendingMarket, ...]
    accounts: tuple[str, ...]
    rules_files: tuple[Path, ...]
    keystores: Mapping[str, Path] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    read_only_why: str = ""
    notices: tuple[str, ...] = ()
    config: ConfigWatch = field(default_factory=lambda: ConfigWatch(()))
    quoters: tuple[Quoter, ...] = ()
    swapper: Swapper | None = None
    aggregators: tuple[Aggregator, ...] = ()
    dialects: tuple[Dialect, ...] = ()


class Engine:
    """One chain, its markets, accounts and rules. `run` never ends by itself; `ended` says why where it did."""

    def __init__(
        self, setup: Setup, ports: Ports, kill_switch: KillSwitch, resume_sign: ResumeSign | None = None
    ) -> None:
        self.setup = setup
        self.ports = ports
        self.kill_switch = kill_switch
        self._resume_sign = resume_sign
        self._record: JournalReader | None = ports.journal or ports.record
        self.history = History()
        self.teller = Teller(ports.journal, ports.clock, self._heard)
        self.book = RuleBook(
            setup.rules_files, ports.journal, lambda rule, position: self.guard.price_of(rule, position)
        )
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
            self.spent_today,
            ports.reader.block_by_number,
            Offers(ports.reader.read, setup.quoters),
            setup.network.wrapped_native,
            self.book.best,
            setup.swapper,
            lambda rule, snapshot: self.armory.fee_cap(rule, snapshot),
            Venues(setup.aggregators, ports.clock, self._told_of_venue),
            setup.dialects,
            self.barred,
        )
        self.rechecks = Rechecks(self.book, self.prospect, self.teller)
        self.guard = Guard(self.book, self.prospect, setup.network, ports.reader.degraded)
        self.armory = Armory(self.book, ports.signer, self.prospect, ports.clock, setup.network.chain_id, self.teller)
        self.config = setup.config
        self.signer_watch = None if ports.signer is None else SignerWatch(ports.signer, ports.clock)
        self.signer_fault: str | None = None
        self.executor = self._make_executor()
        self._take_up = (
            None
            if self.executor is None or ports.journal is None
            else TakeUp(self.executor, ports.journal, ports.reader, setup.network.chain_id)
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
        self.held: str | None = None
        self._hold_is_kept = False
        self.degraded: str | None = None
        self._trouble: str | None = None
        self.breaker = Breaker()
        self.freshness = Freshness(setup.network, ports.clock)
        self.ended: str | None = None
        self.troubles: tuple[tuple[str, str], ...] = ()
        self.ticked_at: float | None = None
        self._ticked: float | None = None
        self._deaf: dict[Callable[[ViewState], None], str] = {}
        self._receivers: list[Callable[[ViewState], None]] = []
        self._triggers: tuple[TriggerPrice, ...] = ()
        self._aside = Aside()
        self.would_stop: tuple[str, ...] = ()
        self.worth_knowing: tuple[str, ...] = ()
        self.losses = Losses(self._firings_of_late)
        self.low_gas: tuple[tuple[str, str], ...] = ()
        self.view = empty_view(setup.network.name, setup.network.chain_id, setup.network.block_time)

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

    def _told_of_venue(self, venue: str, why: str | None) -> None:
        """An aggregator fails, or is well again."""
        if why is None:
            self.teller.over("aggregator", venue)
            self.teller.say(Severity.GOOD, f"{venue} is well again", kind="aggregator")
            return
        text = f"{venue} is left alone for a while: {why}; swaps go by the exchange on the chain"
        self.teller.say_once(Severity.WARNING, text, kind="aggregator", about=venue)

    # --- what a command or a screen asks ---------------------------------------------------------------------------

    def subscribe(self, receive: Callable[[ViewState], None]) -> Callable[[], None]:
        """Call `receive` with every view from now on; returns the way to stop."""
        self._receivers.append(receive)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._receivers.remove(receive)

        return stop

    def spent_today(self, rule: str, timestamp: int) -> int:
        """Dollars (8 decimals) a rule has moved on the UTC day of a block's timestamp, gas included."""
        if self._record is None:
            return 0
        day = day_of(timestamp)
        return sum(self._record.spent(kind, day, rule) for kind in (SpendKind.USD, SpendKind.GAS_USD))

    def _firings_of_late(self) -> Sequence[Firing]:
        """Our own firings that signed something, the newest first."""
        record = self._record
        return () if record is None else record.signed_firings(self.setup.network.chain_id, limit=MOST_OF_LATE)

    def barred(self) -> Mapping[str, str]:
        """Accounts for which nothing may be signed until a person has looked, and why. Where the record fails nobody
        is: that holds the engine by itself.
        """
        if self._record is None:
            return {}
        chain_id = self.setup.network.chain_id
        try:
            halted = self._record.halted_accounts(chain_id)
            stuck = [one for one in self._record.unsettled(chain_id) if is_stuck(one)]
        except JournalError:
            return {}
        found = {one.account: stuck_words(one).rstrip(".") for one in stuck}
        return found | {account: f"account {short_address(account)} is halted: {why}" for account, why in halted}

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
        return self.held or self.signer_fault or self.blind() or (None if self._take_up is None else self._take_up.why)

    def look_at_signer(self) -> None:
        """Whether a signature could be had for what is armed. Beginning and end of a fault are told."""
        before = self.signer_fault
        self.signer_fault = None if self.signer_watch is None or not self.book.armed else self.signer_watch.look()
        if (before is None) == (self.signer_fault is None):
            return
        if self.signer_fault is not None:
            text = f"nothing can be signed: {clean_text(self.signer_fault, 160)}; {ARM_AGAIN}"
            self.teller.say(Severity.ALARM, text, kind="signer")
        elif self.book.armed:
            self.teller.say(Severity.GOOD, "the signer answers again", kind="signer")

    def hold(self, why: str) -> None:
        """Sign nothing more until a person goes on by hand. The first reason stays."""
        if self.held is None:
            self.held = why
            with contextlib.suppress(JournalError):
                self.teller.say(Severity.ALARM, f"held: {why}", kind="held")

    def trip(self, why: str) -> None:
        """The circuit breaker: hold, and stay held over a restart as well, also where it is held for another reason
        already. A record that fails is written as soon as it does not.
        """
        self.hold(why)
        if self.ports.journal is not None and not self._hold_is_kept:
            with contextlib.suppress(JournalError):
                self.ports.journal.set_meta(HELD_KEY, why)
                self._hold_is_kept = True

    async def go_on(self) -> None:
        """A person says to go on: release accounts that were halted, and what the engine held itself for.

        Raises ChainUnreachable, ReadFailed, JournalError, with nothing released but accounts already looked at.
        """
        if self.executor is not None:
            for account, _ in self.executor.halted_accounts():
                await self.executor.resume_account(account)
        if self.ports.journal is not None:
            self.ports.journal.set_meta(HELD_KEY, "")
        self.held, self._hold_is_kept = None, False
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

    def _count(self, trouble: str, where: str) -> None:
        """One unexpected error more for the circuit breaker."""
        why = self.breaker.failed(trouble, where)
        if why is not None:
            self.trip(why)

    async def start(self) -> None:
        """Before the first head: read the rules, and carry on with what an earlier run left."""
        self._moved()
        if self._resume_sign is not None and self.executor is not None:
            self._resume_sign.take()  # meant for an engine that is gone
            self._resume_sign.take_cancels()
        self._recall_hold()
        self.reload_rules(force=True)
        self.publish()
        await self._recover()

    def _recall_hold(self) -> None:
        """What the circuit breaker held an earlier run for holds this one."""
        if self.ports.journal is None:
            return
        try:
            why = self.ports.journal.meta(HELD_KEY)
        except JournalError as error:
            self.held = self.held or f"the journal failed: {error}."
        else:
            if why:
                self._hold_is_kept = True
                self.held = f"since an earlier run: {why.removeprefix('since an earlier run: ')}"

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
            self._count(self._trouble, BLOCK)
        else:
            self._trouble = None
            self.breaker.passed()
        self.publish()

    async def _take(self, block: BlockRef) -> None:
        self.reload_rules()
        self.look_at_signer()
        if self._take_up is not None:
            await self._take_up.do()
        self.watch.defend(self._defended())
        reading = asyncio.gather(self.watch.snapshot(block), self._quote(block), return_exceptions=True)
        if self.executor is not None:
            await self.executor.on_head(block)
        snapshot, fees = await reading
        if isinstance(snapshot, BaseException):
            raise snapshot
        snapshot = without_permits(snapshot, self.ports.clock.now())
        self.snapshot = snapshot
        self.freshness.was_read(block)
        self._trouble = None
        self.fees = fees if isinstance(fees, FeeQuote) else None
        self.history.see(snapshot)
        if self.ports.journal is not None:
            self.ports.journal.record_health(
                [
                    HealthPoint(position.id, block.timestamp, position.health_factor)
                    for position in snapshot.positions
                    if position.unknown is None
                ]
            )
        for position, what in self.losses.see(snapshot):
            label = self.setup.labels.get(position.key.account) or short_address(position.key.account)
            self.teller.say(
                Severity.ALARM,
                f"{label} on {position.key.market}: {what}",
                kind="liquidated",
                block=block.number,
                position=position.id,
            )
        self._aside = Aside()
        self._triggers = self._trigger_prices(snapshot)
        for name, changed in self.guard.look(snapshot):
            self.armory.disarm(name, changed, Severity.ALARM)
        self._tell_conditions(snapshot)
        with self._aside.telling("what sales would meet"):
            await self.prospect.look(self.book.rules, snapshot)
        self.would_stop = self._what_would_stop(snapshot)
        await self.armory.settle()
        async with self.acting:
            await self.defender.resume(snapshot, self.fees)
            await self.defender.consider(snapshot, self.fees)
            if self.executor is not None:
                self.troubles = (*self.executor.troubles(), *self.defender.troubles)
        self.count_refusals()
        if await self.rechecks.look(snapshot, self.fees):
            self.would_stop = self._what_would_stop(snapshot)
        self._tell_degraded(block)

    def _tell_degraded(self, block: BlockRef) -> None:
        """Whether anything at this block stands on fewer nodes than must agree. Beginning and end are told."""
        before, now = self.degraded, self.ports.reader.degraded(block)
        self.degraded = None if now is None else clean_text(now, 200)
        if (before is None) == (now is None):
            return
        if now is None:
            self.teller.say(Severity.GOOD, "enough nodes agree again: limits are whole", kind="degraded")
        else:
            self.teller.say(Severity.ALARM, f"degraded: {publish.DEGRADED}; {self.degraded}", kind="degraded")

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
        self.look_at_signer()
        if self.snapshot is not None:
            self.guard.look(self.snapshot)
            self.would_stop = self._what_would_stop(self.snapshot)

    async def _quote(self, block: BlockRef) -> FeeQuote | None:
        try:
            return await self.ports.fees.quote(block)
        except (ChainUnreachable, ReadFailed):
            return None

    def _defended(self) -> Sequence[str]:
        """Accounts whose wallets are read: own ones, those that a rule which would act watches, and those that pay."""
        acting = [rule for rule in self.book.rules if rule.mode is not Mode.NOTIFY]
        named = _named_accounts([rule.position for rule in acting], self.setup.accounts)
        paying = (wallet for rule in acting for wallet in rule.wallets)
        return tuple(dict.fromkeys((*self.setup.keystores, *named, *paying)))

    async def _tick(self) -> None:
        """Once a second: what changes without a block (age of the head, kill switch, rules files, expiry)."""
        before: object = None
        while True:
            await self.ports.clock.sleep(TICK_SECONDS)
            self._moved()
            try:
                self.reload_rules()
                self.look_at_signer()
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
                self.signer_fault is None,
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
        self.history.add(decision.at, decision.block, decision.severity, decision.text, decision.firing_id)
        self.publish()

    def _tell_conditions(self, snapshot: Snapshot) -> None:
        """What began to hold an armed rule back or to take a step of it out. Blindness is told where it is judged."""
        for name, position, one in self.guard.news():
            severity = _TOLD_AS.get(one.consequence)
            if severity is None or one.code in ("position-unknown", "market-unknown"):
                continue
            held = "held back: " if one.consequence is Consequence.HOLD_BACK else ""
            account = short_address(position.rpartition("/")[2])
            self.teller.say(
                severity, f"{name} on {account}: {held}{one.text}", kind="condition", block=snapshot.block.number
            )

    def _trigger_prices(self, snapshot: Snapshot) -> tuple[TriggerPrice, ...]:
        found: list[TriggerPrice] = []
        for position in snapshot.positions:
            for rule in self.book.rules_of(position):
                at = None
                with self._aside.telling(f"{rule.name}: where it fires"):
                    at = self.prospect.fires_at(rule, position)
                if at is not None:
                    found.append(
                        TriggerPrice(
                            rule.name,
                            position.id,
                            at.asset,
                            at.price_usd,
                            at.distance_bps,
                            rule.trigger.kind,
                            at.level,
                            at.quote,
                            rule.health_factor_below,
                        )
                    )
        return tuple(found)

    def _what_would_stop(self, snapshot: Snapshot) -> tuple[str, ...]:
        """What would stop the armed rules or keep them from their targets, were they to fire."""
        lines: list[str] = list(self.setup.notices)
        lesser: list[str] = []
        low_gas: dict[str, str] = {}
        aside = Aside()
        for armed in self.book.armed.values():
            for position in positions_for(armed.rule, snapshot, (armed.account,)):
                found: tuple[Obstacle, ...] = ()
                with aside.telling(f"{armed.rule.name}: what would stop it"):
                    found = tuple(find_obstacles(armed.rule, position, snapshot, self.fees, self.prospect))
                strange = self.guard.conditions.get((armed.rule.name, position.id), ())
                telling = [one.text for one in strange if one.consequence is not Consequence.NOTE]
                telling += [one.text for one in found if one.stops]
                wrong = beside(self.rechecks.problems.get((armed.rule.name, position.id), ()), found)
                telling += [one.words for one in wrong if one.decisive]
                lines.extend(f"{armed.rule.name}: {text}" for text in telling)
                lesser.extend(f"{armed.rule.name}: {one.text}" for one in found if not one.stops)
                lesser.extend(f"{armed.rule.name}: {one.words}" for one in wrong if not one.decisive)
                lesser.extend(one.text for one in strange if one.code == DELEGATED)
                low_gas.update((one.account or armed.account, one.text) for one in found if one.code == GAS_IS_LOW)
        self.low_gas = tuple(low_gas.items())
        self.worth_knowing = tuple(dict.fromkeys(lesser))
        return tuple(dict.fromkeys((*lines, *aside.lines, *self._aside.lines, *self.armory.troubles)))

    def _recorded(
        self, timestamp: int
    ) -> tuple[tuple[Firing, ...], dict[str, int], dict[str, str], tuple[Intent, ...]]:
        """Recent firings, dollars spent today by rule, halted accounts, transactions that the kill switch left stuck.
        A record that fails holds the engine.
        """
        record = self._record
        if record is None:
            return (), {}, {}, ()
        try:
            return (
                shown_firings(record, self.setup.network.chain_id),
                {rule.name: self.spent_today(rule.name, timestamp) for rule in self.book.rules},
                dict(record.halted_accounts(self.setup.network.chain_id)),
                tuple(one for one in record.unsettled(self.setup.network.chain_id) if is_stuck(one)),
            )
        except JournalError as error:
            # Set, not told: telling goes through the record that has just failed.
            self.held = self.held or f"the journal failed: {error}."
            return (), {}, {}, ()

    def _left_behind(self, firings: Sequence[Firing]) -> tuple[str, ...]:
        """Transactions on their way whose rule is disarmed: the signer may not raise their fees any more."""
        if self.executor is None:
            return ()
        keys = {key for armed in self.book.armed.values() for key in armed.keys}
        waiting = [
            intent.id
            for firing in firings
            if firing.state.is_open
            for intent in firing.intents
            if intent.account not in keys
            if intent.attempts and not intent.state.is_final and intent.state is not IntentState.INCLUDED
            if not is_stuck(intent)
        ]
        if not waiting:
            return ()
        it, its = ("a transaction", "its fee") if len(waiting) == 1 else (f"{len(waiting)} transactions", "their fees")
        return (
            f"On the way: {it} of a rule that is disarmed ({', '.join(waiting)}). Followed and sent again, "
            f"but {its} cannot be raised while the key is locked: arm a rule of that account to raise or cancel.",
        )

    def publish(self) -> None:
        """Draw a view of this moment and hand it to everyone who subscribed. Nothing of either stops the engine."""
        try:
            self.view = self._drawn()
        except Exception as error:  # noqa: BLE001 - what cannot be shown must not look as it did before
            self.view = self._undrawn(described(error))
            self._count(f"showing what is: {described(error)}", DRAWING)
        else:
            self.breaker.passed(DRAWING)
        for receive in tuple(self._receivers):
            try:
                receive(self.view)
            except Exception as error:  # noqa: BLE001 - who looks on must not end a defence
                self._unheard(receive, described(error))
            else:
                self._deaf.pop(receive, None)

    def _undrawn(self, trouble: str) -> ViewState:
        """The last view, as one that nobody may rely on."""
        before = self.view
        kept = Protection.READ_ONLY if self.setup.read_only else Protection.HELD
        why = f"What the engine sees cannot be shown ({trouble}): take nothing here as protected."
        return replace(before, sequence=before.sequence + 1, protection=kept, protection_why=why, would_stop=(why,))

    def _unheard(self, receive: Callable[[ViewState], None], trouble: str) -> None:
        """Told once as long as it lasts: what this reader shows or sends on is old."""
        if receive in self._deaf:
            return
        self._deaf[receive] = trouble
        with contextlib.suppress(JournalError):
            self.teller.say(Severity.ALARM, f"a screen or an output fails to follow: {trouble}", kind="unheard")

    def _drawn(self) -> ViewState:
        setup, snapshot = self.setup, self.snapshot
        firings, spent, halted, stuck = self._recorded(0 if snapshot is None else snapshot.block.timestamp)
        standing = publish.Standing(
            at=self.ports.clock.now(),
            read_only=setup.read_only,
            killed=self.kill_switch.is_on(),
            held=self.held,
            blind=self.blind(),
            read_only_why=self.setup.read_only_why if self.setup.read_only else "",
            head_age=self.head_age(),
            signer=self.signer_fault,
        )
        refused = cannot_act(self.book.armed, self.defender.evaluations.values())
        facts = publish.Facts(
            network=setup.network,
            providers=self.ports.reader.providers(),
            snapshot=snapshot,
            rules=self.book.rules,
            faults=self.book.faults,
            rules_file=str(setup.rules_files[0]) if setup.rules_files else "",
            armed_since={name: armed.since for name, armed in self.book.armed.items()},
            armed_accounts={name: armed.account for name, armed in self.book.armed.items()},
            armed_keys={name: armed.keys for name, armed in self.book.armed.items()},
            verdicts=self.defender.verdicts,
            evaluations=self.defender.evaluations,
            firings=firings,
            confirmations=self.defender.confirmations,
            spent_today=spent,
            own_accounts=self.own_accounts(),
            labels=setup.labels,
            triggers=self._triggers,
            would_stop=(
                *self.breaker.counting,
                *(text for _, text in (*self.troubles, *refused)),
                *(f"a screen or an output fails to follow: {trouble}" for trouble in self._deaf.values()),
                *self.would_stop,
            ),
            worth_knowing=self.worth_knowing,
            halted=halted,
            low_gas=self.low_gas,
            policy_until=self.policy_until,
            conditions=self.guard.conditions,
            disarmed=self.book.disarmed,
            degraded=self.degraded,
            left_behind=self._left_behind(firings),
            troubles=(*self.troubles, *held_back(self.book.armed, self.guard.conditions), *refused),
            notices=self.defender.notices,
            stuck=stuck,
        )
        return publish.draw(self.view.sequence + 1, standing, facts, self.history)


def _named_accounts(patterns: Sequence[str], accounts: Sequence[str]) -> Sequence[str]:
    """Of `accounts`, those that a rule names one by one. Rules for whole markets act for own accounts only."""
    return [account for account in accounts if any(pattern.endswith(f"/{account}") for pattern in patterns)]
