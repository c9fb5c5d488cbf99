"""Everything that can happen to an engine, in any order, with a crash at any write, signature or send.

The invariants are looked at after every step; at the end everything signed must come to its end.
TRIMTAB_MACHINE_RUNS makes it longer.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.clock import FakeClock
from tests.support.firings import CHAIN_ID, GWEI, a_call, a_plan, with_calls
from tests.support.memory_chain import MemoryChain, MemorySigner, Tx, decode
from tui.engine.budget import day_of
from tui.engine.executor import CannotCancel, Executor
from tui.journal.store import SqliteJournal, open_journal
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.plan import FeeQuote, PlannedCall
from tui.model.units import USD, WAD
from tui.ports.chain import ChainUnreachable, SendOutcome
from tui.ports.journal import SpendKind

RUNS = int(os.environ.get("TRIMTAB_MACHINE_RUNS", "100"))
ACCOUNTS = ("0x" + "a1" * 20, "0x" + "a2" * 20)
FEES = FeeQuote(GWEI, 10 * GWEI, 2 * GWEI, 40 * GWEI)
CONFIRMATIONS = 3
PRICE = 3_000 * USD
"""Dollars (8 decimals) that gas counts at."""
MEMORY = Path("/dev/shm")
"""A real file all the same; thousands of commits a second need no real disk here."""
WRITES = frozenset(
    {
        "open_firing",
        "save_firing",
        "save_intents",
        "reserve",
        "bind_data",
        "begin_signing",
        "record_attempts",
        "record_answer",
        "release",
        "free",
        "halt",
        "resume",
        "record_decision",
    }
)


def fuses() -> st.SearchStrategy[int | None]:
    """When, if at all, the process ends."""
    return st.none() | st.integers(1, 40)


def payers() -> st.SearchStrategy[int]:
    """Which of a plan's calls, up to three, another account than the position's signs: none, some or all of them."""
    return st.integers(0, 7)


class Crash(BaseException):
    """The process is gone: not an error that any code may handle."""


class Fuse:
    """Burns at every write, signature and send; where it ends, the process ends, and nothing after it happens."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.dead = False
        self.kill_left: int | None = None
        self.pull: Callable[[], None] = lambda: None

    def burn(self, *, may_pull: bool = True) -> None:
        """`may_pull` False: too late for the kill switch, the bytes are on their way."""
        if self.kill_left is not None and may_pull:
            self.kill_left -= 1
            if self.kill_left == 0:
                self.pull()
        if self.left is not None:
            self.left -= 1
            self.dead = self.dead or self.left <= 0
        if self.dead:
            raise Crash


class Fused:
    """Something of the outside, with a crash possible just before and just after what it does."""

    def __init__(self, inner: Any, fuse: Fuse, names: frozenset[str]) -> None:
        self._inner, self._fuse, self._names = inner, fuse, names

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._names:
            return method
        fuse = self._fuse
        if asyncio.iscoroutinefunction(method):

            async def awaited(*args: Any, **kwargs: Any) -> Any:
                fuse.burn(may_pull=name != "send")
                result = await method(*args, **kwargs)
                fuse.burn()
                return result

            return awaited

        def called(*args: Any, **kwargs: Any) -> Any:
            fuse.burn()
            result = method(*args, **kwargs)
            fuse.burn()
            return result

        return called


class WatchedChain(MemoryChain):
    """Looks into the journal at every send."""

    journal: SqliteJournal
    killed: Callable[[], bool]

    async def send(self, raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        assert not self.journal._connection.in_transaction
        tx = decode(raw)
        intents = [
            one for one in self.journal.unsettled(CHAIN_ID) if (one.account, one.nonce) == (tx.account, tx.nonce)
        ]
        assert len(intents) == 1, "sent under a nonce that is not bound"
        (intent,) = intents
        assert raw in [attempt.raw for attempt in intent.attempts], "sent before it was durable"
        assert intent.state in (IntentState.MAYBE_SENT, IntentState.CANCELLING), f"sent from {intent.state}"
        assert not intent.withheld or tx.is_no_op, "sent although withheld"
        assert not self.killed() or tx.is_no_op, "sent under the kill switch"
        return await super().send(raw, expected_hash)


class Machine(RuleBasedStateMachine):
    """One engine, two accounts that also sign for each other's positions, a chain and a lot of bad luck."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.state = Path(tempfile.mkdtemp(prefix="trimtab-machine-", dir=MEMORY if MEMORY.is_dir() else None))
        self.chain = WatchedChain()
        self.signer = MemorySigner()
        self.clock = FakeClock()
        self.killed = False
        self.verdict: str | None = None
        self.foreign_happened: set[str] = set()
        self.plans = 0
        self.episodes = 0
        self.start()

    # --- the engine's life

    def start(self) -> None:
        self.fuse = Fuse()
        self.fuse.pull = self.pull_kill_switch
        self.chain.killed = lambda: self.killed
        self.journal = open_journal(self.state)
        self.chain.journal = self.journal
        self.executor = Executor(
            Fused(self.journal, self.fuse, WRITES),
            Fused(self.signer, self.fuse, frozenset({"sign_transaction", "sign_permit"})),
            Fused(self.chain, self.fuse, frozenset({"send"})),
            self.chain,
            self.clock,
            CHAIN_ID,
            CONFIRMATIONS,
            lambda: self.killed,
            lambda decision: None,
        )

    def do(self, work: Callable[[], Coroutine[Any, Any, Any]], fuse: int | None = None) -> Any:
        """Run something; where the fuse ends in it, the engine is gone and another one takes over."""
        self.fuse.left = fuse
        try:
            return self.runner.run(work())
        except Crash:
            self.journal.close()
            self.start()
            self.runner.run(self.executor.recover())
            return None
        finally:
            self.fuse.left = None

    def pull_kill_switch(self) -> None:
        self.killed = True

    async def verify(self, calls: Sequence[PlannedCall]) -> str | None:
        return self.verdict

    async def carry_out(self, firing: Firing, calls: int, reverts: bool, paid: int) -> None:
        """`paid`: which calls the other account signs, a bit each."""
        self.plans += 1
        (other,) = set(ACCOUNTS) - {firing.account}
        planned = [
            replace(
                a_call(f"{firing.id}/{self.plans}/{place}/{'revert' if reverts and not place else ''}".encode()),
                sender=other if paid >> place & 1 else None,
            )
            for place in range(calls)
        ]
        plan = with_calls(a_plan(firing, block=self.chain.head), *planned)
        await self.executor.execute(firing, plan, self.verify, native_price_usd=PRICE)

    # --- what happens

    @initialize()
    def begin(self) -> None:
        self.do(self.executor.recover)

    @rule(
        account=st.sampled_from(ACCOUNTS), calls=st.integers(1, 3), reverts=st.booleans(), paid=payers(), fuse=fuses()
    )
    def fire(self, account: str, calls: int, reverts: bool, paid: int, fuse: int | None) -> None:
        async def work() -> None:
            self.episodes += 1
            firing = self.executor.open_firing(
                rule="guard",
                rule_digest="digest",
                episode=f"{self.episodes}",
                position=f"aave-v3/core/{account}",
                account=account,
                block=self.chain.head,
                health_factor=None,
            )
            assert firing is not None
            await self.carry_out(firing, calls, reverts, paid)

        self.do(work, fuse)

    @rule(calls=st.integers(1, 3), paid=payers(), fuse=fuses())
    def go_on(self, calls: int, paid: int, fuse: int | None) -> None:
        async def work() -> None:
            for firing in self.executor.resume_planned():
                if firing.state is FiringState.RUNNING:
                    await self.executor.resume_reserved(firing, FEES, self.verify)
                else:
                    await self.carry_out(firing, calls, False, paid)

        self.do(work, fuse)

    @rule(fuse=fuses(), data=st.data())
    def reopen(self, fuse: int | None, data: st.DataObject) -> None:
        dropped = [one.id for one in self.journal.firings(1000) if one.state is FiringState.DROPPED]
        if dropped:
            chosen = data.draw(st.sampled_from(dropped))

            async def work() -> None:
                await self.carry_out(self.executor.reopen_firing(chosen, "again"), 1, False, 0)

            self.do(work, fuse)

    @rule(blocks=st.integers(1, 5), include=st.booleans(), fuse=fuses())
    def mine(self, blocks: int, include: bool, fuse: int | None) -> None:
        for _ in range(blocks):
            self.chain.mine(include=include)
            self.do(lambda: self.executor.on_head(self.chain.head), fuse)

    @rule(blocks=st.integers(1, 6))
    def mine_unseen(self, blocks: int) -> None:
        self.chain.mine(blocks)

    @rule(depth=st.integers(1, CONFIRMATIONS - 1), keep=st.booleans(), include=st.booleans(), fuse=fuses())
    def reorg(self, depth: int, keep: bool, include: bool, fuse: int | None) -> None:
        self.chain.reorg(depth, keep=keep)
        self.chain.mine(depth + 1, include=include)
        self.do(lambda: self.executor.on_head(self.chain.head), fuse)

    @rule(fuse=fuses())
    def look(self, fuse: int | None) -> None:
        self.do(lambda: self.executor.on_head(self.chain.head), fuse)

    @rule()
    def drop_pool(self) -> None:
        self.chain.drop()

    @rule(account=st.sampled_from(ACCOUNTS))
    def foreign(self, account: str) -> None:
        self.foreign_happened.add(account)
        self.chain.foreign(account)

    @rule(gwei=st.sampled_from([1, 5, 30, 100]))
    def base_fee(self, gwei: int) -> None:
        self.chain.base_fee = gwei * GWEI

    @rule(wei=st.sampled_from([10**13, 10**15, 3 * 10**15, 10**16, 10**24]))
    def gas_money(self, wei: int) -> None:
        """A plain call may take a thousandth of a coin at first, and four at its ceiling."""
        self.chain.money = wei

    @rule(trouble=st.sampled_from(["down", "deaf", "silent"]), on=st.booleans())
    def node_trouble(self, trouble: str, on: bool) -> None:
        setattr(self.chain, trouble, on)

    @rule(on=st.booleans())
    def signer_trouble(self, on: bool) -> None:
        self.signer.gone = on

    @rule(refuses=st.booleans())
    def signer_limits(self, refuses: bool) -> None:
        self.signer.refuse_from = 0 if refuses else None

    @rule(refuses=st.booleans())
    def simulation(self, refuses: bool) -> None:
        self.verdict = "it disagrees" if refuses else None

    @rule(on=st.booleans())
    def kill(self, on: bool) -> None:
        self.killed = on

    @rule(steps=st.integers(1, 40))
    def kill_soon(self, steps: int) -> None:
        self.fuse.kill_left = steps

    @rule(seconds=st.sampled_from([-(10**6), 3600, 10**7]))
    def clock_jumps(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(fuse=fuses())
    def restart(self, fuse: int | None) -> None:
        self.journal.close()
        self.start()
        self.do(self.executor.recover, fuse)

    @rule(fuse=fuses(), data=st.data())
    def cancel(self, fuse: int | None, data: st.DataObject) -> None:
        intents = [one.id for one in self.journal.unsettled(CHAIN_ID)]
        if intents:
            chosen = data.draw(st.sampled_from(intents))

            async def work() -> None:
                with suppress(CannotCancel):
                    await self.executor.cancel(chosen, FEES)

            self.do(work, fuse)

    @precondition(lambda self: self.foreign_happened)
    @rule(account=st.sampled_from(ACCOUNTS))
    def resume_account(self, account: str) -> None:
        async def work() -> None:
            try:
                await self.executor.resume_account(account)
            except ChainUnreachable:
                assert self.chain.down

        self.do(work)

    # --- what always holds

    @invariant()
    def one_nonce_one_meaning(self) -> None:
        assert self.signer.conflicts == [], "a nonce was asked for with another meaning"
        meanings: dict[tuple[str, int], set[object]] = {}
        for tx in self.chain.sent:
            if not tx.is_no_op:
                meanings.setdefault((tx.account, tx.nonce), set()).add(tx.meaning)
        assert all(len(found) == 1 for found in meanings.values())

    @invariant()
    def one_live_plan(self) -> None:
        for account in ACCOUNTS:
            firings = {one.firing_id for one in self.journal.unsettled(CHAIN_ID) if one.account == account}
            assert len(firings) <= 1
        running = Counter(
            one.account for one in self.journal.open_firings(CHAIN_ID) if one.state is FiringState.RUNNING
        )
        assert all(count == 1 for count in running.values())

    @invariant()
    def nothing_fires_twice(self) -> None:
        done: dict[str, set[str]] = {}
        seen: Counter[bytes] = Counter()
        for account in ACCOUNTS:
            for tx in self.chain.mined(account):
                if tx.hash.startswith("0xforeign") or tx.is_no_op:
                    continue
                firing, plan, _, _ = tx.data[4:].decode().split("/")
                done.setdefault(firing, set()).add(plan)
                seen[tx.data] += 1
        assert all(len(plans) == 1 for plans in done.values()), "two plans of one firing were mined"
        assert all(count == 1 for count in seen.values())

    @invariant()
    def the_record_agrees_with_the_chain(self) -> None:
        for firing in self.journal.firings(10_000):
            for intent in firing.intents:
                assert (intent.nonce is None) == (intent.state is IntentState.DROPPED)
                assert all(attempt.max_fee <= intent.fee_ceiling for attempt in intent.attempts)
                if not intent.state.is_final or intent.state is IntentState.DROPPED:
                    assert intent.state is not IntentState.DROPPED or not intent.attempts
                    continue
                winner = self.mined_at(intent.account, intent.nonce)
                if intent.state is IntentState.NONCE_LOST:
                    assert winner.hash not in [attempt.hash for attempt in intent.attempts]
                    continue
                assert winner.hash == intent.included_hash
                expected = (
                    IntentState.FINAL_CANCELLED
                    if winner.is_no_op
                    else IntentState.FINAL_REVERTED
                    if b"revert" in winner.data
                    else IntentState.FINAL_OK
                )
                assert intent.state is expected

    @invariant()
    def budgets_hold_what_may_be_paid_and_end_at_what_was(self) -> None:
        """Dollars until nothing of a firing can move them any more, gas at its most until what was paid is final."""
        days = {day_of(mined.block.timestamp) for mined in self.chain.blocks}
        dollars = gas_usd = gas = 0
        for firing in self.journal.firings(10_000):
            states = {one.state for one in firing.intents}
            if firing.state.is_open:
                moves = bool(states - {IntentState.DROPPED})
            else:
                moves = bool(states & {IntentState.FINAL_OK, IntentState.NONCE_LOST})
            dollars += firing.spend_usd if moves else 0
            for intent in firing.intents:
                most = -(-intent.gas_limit * intent.fee_ceiling * PRICE // WAD)
                if intent.state is IntentState.DROPPED:
                    expected = 0
                elif intent.state.is_final and intent.gas_paid_wei is not None:
                    expected = -(-intent.gas_paid_wei * PRICE // WAD)
                    gas += intent.gas_paid_wei
                else:
                    expected = most
                debit = self.journal.gas_debit(intent.id)
                assert debit is not None
                assert debit[1] == expected
                gas_usd += expected
        assert sum(self.journal.spent(SpendKind.USD, day) for day in days) == dollars
        assert sum(self.journal.spent(SpendKind.GAS_USD, day) for day in days) == gas_usd
        assert sum(self.journal.spent(SpendKind.GAS, day) for day in days) == gas

    @invariant()
    def accounts_halt_only_for_a_reason(self) -> None:
        assert {account for account, _ in self.executor.halted_accounts()} <= self.foreign_happened

    def mined_at(self, account: str, nonce: int | None) -> Tx:
        assert nonce is not None
        return self.chain.mined(account)[nonce]

    # --- the end

    def teardown(self) -> None:
        try:
            if not self.fuse.dead:
                self.come_to_an_end()
        finally:
            self.journal.close()
            self.runner.close()
            shutil.rmtree(self.state)

    def come_to_an_end(self) -> None:
        """With all trouble over, everything signed is settled, and what was withheld can be cancelled."""
        self.chain.down = self.chain.deaf = self.chain.silent = self.killed = self.signer.gone = False
        self.chain.base_fee, self.verdict, self.signer.refuse_from = GWEI, None, None
        self.chain.money = 10**24
        self.begin_again()
        for _ in range(CONFIRMATIONS + 6):
            for account, _why in self.executor.halted_accounts():
                self.do(lambda account=account: self.executor.resume_account(account))
            for firing in self.executor.resume_planned():
                if firing.state is FiringState.RUNNING:
                    self.do(lambda firing=firing: self.executor.resume_reserved(firing, FEES, self.verify))
                else:
                    self.executor.drop_firing(firing.id, "the end")
            for intent in self.journal.unsettled(CHAIN_ID):
                if intent.withheld and intent.state is not IntentState.CANCELLING:
                    with suppress(CannotCancel):  # the one before it may have set it free
                        self.do(lambda intent=intent: self.executor.cancel(intent.id, FEES))
            for account in self.foreign_happened:
                nonces = [one.nonce for one in self.journal.unsettled(CHAIN_ID) if one.account == account]
                # A reorg took out somebody's transaction on which ours stands: that somebody sends it again.
                while self.chain.count(account) < min(nonces, default=0):
                    self.chain.foreign(account)
            self.chain.mine()
            self.do(lambda: self.executor.on_head(self.chain.head))
        left = [(one.id, one.state, one.nonce, one.withheld) for one in self.journal.unsettled(CHAIN_ID)]
        assert left == [], left
        assert self.journal.open_firings(CHAIN_ID) == ()
        self.one_nonce_one_meaning()
        self.nothing_fires_twice()
        self.the_record_agrees_with_the_chain()
        self.budgets_hold_what_may_be_paid_and_end_at_what_was()

    def begin_again(self) -> None:
        self.journal.close()
        self.start()
        self.do(self.executor.recover)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=RUNS,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
