"""kill -9 of the bare core: executor and journal over SQLite in a forked child; chain and signer outlive it outside.

The signer signs anything, so that one meaning a nonce is the engine's own doing; the chain reorgs, forgets and lies.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.support.clock import FakeClock
from tests.support.firings import ACCOUNT, CHAIN_ID, GWEI, a_call, a_plan, with_calls
from tests.support.keeper import Deadly, verify
from tests.support.memory_chain import MemoryChain, Tx, decode, encode
from tui.engine.executor import CannotCancel, Executor
from tui.journal.reading import read_journal
from tui.journal.store import SqliteJournal, open_journal
from tui.model.block import BlockRef
from tui.model.intent import AttemptKind, Firing, FiringState, IntentState
from tui.model.plan import FeeQuote
from tui.model.signing import SignedTransaction, TransactionRequest
from tui.ports.chain import Receipt, SendOutcome

CONFIRMATIONS = 3
CALLS = 2
FEES = FeeQuote(GWEI, 10 * GWEI, 2 * GWEI, 40 * GWEI)
SEASON = 100
"""Kills on one state directory before all of it is looked through and another one is begun."""
DRAIN_BLOCKS = 400
HOW = ("step", "sql", "moment", "request")


@dataclass
class Tally:
    """What was done and found. `payloads` is the most that any nonce was signed for."""

    kills: int = 0
    lives: int = 0
    firings: int = 0
    intents: int = 0
    signatures: int = 0
    sends: int = 0
    raised: int = 0
    no_ops: int = 0
    reorgs: int = 0
    payloads: int = 0
    double: int = 0
    lost: int = 0
    how: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Put another tally on top of this one."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            setattr(self, one.name, max(mine, theirs) if one.name == "payloads" else mine + theirs)


class Outside(MemoryChain):
    """What goes on while engines come and go: a chain with one account, its pool, and a signer without a memory."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.mined_txs: list[tuple[int, Tx]] = []
        self.by_hash: dict[str, tuple[int, Tx]] = {}
        self.signed: list[Tx] = []
        self.left: list[Tx] = []
        self.episode = 0
        self.reorgs = 0
        self.draining = False
        super().__init__()

    # --- the chain, quick to ask

    def mine(self, count: int = 1, *, include: bool = True) -> BlockRef:
        before = len(self.blocks)
        super().mine(count, include=include)
        for mined in self.blocks[before:]:
            for tx in mined.txs:
                self.mined_txs.append((mined.block.number, tx))
                self.by_hash[tx.hash] = (mined.block.number, tx)
        return self.head

    def reorg(self, depth: int, *, keep: bool) -> None:
        super().reorg(depth, keep=keep)
        top = len(self.blocks)
        self.mined_txs = [one for one in self.mined_txs if one[0] < top]
        self.by_hash = {tx.hash: (number, tx) for number, tx in self.mined_txs}

    def count(self, account: str, upto: int | None = None) -> int:
        return sum(upto is None or number <= upto for number, _ in self.mined_txs)

    async def receipt(self, tx_hash: str) -> Receipt | None:
        self._reach()
        found = self.by_hash.get(tx_hash)
        if found is None:
            return None
        block = self.blocks[found[0]].block
        price = min(found[1].max_fee, block.base_fee + found[1].priority_fee)
        return Receipt(tx_hash, block.number, block.hash, True, found[1].gas, price)

    # --- what an engine asks

    async def sign(self, request: TransactionRequest) -> SignedTransaction:
        signed = encode(request)
        self.signed.append(decode(signed.raw))
        return signed

    async def begin(self) -> tuple[BlockRef, int | None, bool]:
        """The next head, the episode that is due (None: none any more), and whether a person cancels something."""
        self._weather()
        self.mine(include=self.draining or self.chance.random() < 0.8)
        final = self.count(ACCOUNT, self.head.number - CONFIRMATIONS + 1)
        if final >= CALLS * (self.episode + 1) and not self.draining:
            self.episode += 1
        return self.head, self.episode, not self.draining and self.chance.random() < 0.02

    def _weather(self) -> None:
        if self.draining:
            self.down = self.deaf = self.silent = False
            self.base_fee = GWEI
            return
        roll = self.chance.random
        if roll() < 0.06:
            self.reorgs += 1
            depth = self.chance.randint(1, CONFIRMATIONS - 1)
            self.reorg(depth, keep=roll() < 0.5)
            self.mine(depth, include=roll() < 0.5)
        if roll() < 0.05:
            self.drop()
        if roll() < 0.10:
            self.base_fee = self.chance.choice([1, 5, 30]) * GWEI
        self.down, self.deaf, self.silent = roll() < 0.03, roll() < 0.05, roll() < 0.05


class Line:
    """The child's end of the pipe: `Broadcaster`, `Reader` and `Signer` in one."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def ask(self, name: str, *arguments: object) -> Any:
        self._pipe.send((name, arguments))
        told = self._pipe.recv()
        if isinstance(told, Exception):
            raise told
        return told

    async def begin(self) -> tuple[BlockRef, int | None, bool]:
        await asyncio.sleep(0)
        told: tuple[BlockRef, int | None, bool] = self.ask("begin")
        return told

    async def judge(self, requests: Sequence[TransactionRequest]) -> None:
        await asyncio.sleep(0)

    async def sign_transaction(self, request: TransactionRequest) -> SignedTransaction:
        await asyncio.sleep(0)
        signed: SignedTransaction = self.ask("sign", request)
        return signed

    async def send(self, raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        await asyncio.sleep(0)
        told: tuple[SendOutcome, ...] = self.ask("send", raw, expected_hash)
        return told

    async def receipt(self, tx_hash: str) -> Receipt | None:
        found: Receipt | None = self.ask("receipt", tx_hash)
        return found

    async def is_mined(self, receipt: Receipt, account: str, nonce: int, block_hash: str) -> bool:
        stands: bool = self.ask("is_mined", receipt, account, nonce, block_hash)
        return stands

    async def balance(self, account: str) -> int:
        wei: int = self.ask("balance", account)
        return wei

    async def transfer_gas(self, account: str) -> int:
        gas: int = self.ask("transfer_gas", account)
        return gas

    async def nonce(self, account: str, block_hash: str | None = None) -> int:
        count: int = self.ask("nonce", account, block_hash)
        return count

    async def block_by_number(self, number: int) -> BlockRef | None:
        block: BlockRef | None = self.ask("block_by_number", number)
        return block

    def degraded(self, block: BlockRef) -> str | None:
        return None


class Life:
    """One life of an engine, in the child."""

    def __init__(self, journal: SqliteJournal, line: Line, drains: bool) -> None:
        self.journal = journal
        self.line = line
        self.drains = drains
        outside: Any = Deadly(line)
        reader: Any = line
        self.executor = Executor(
            Deadly(journal),
            outside,
            outside,
            reader,
            FakeClock(),
            CHAIN_ID,
            CONFIRMATIONS,
            lambda: False,
            lambda decision: None,
        )

    async def live(self) -> None:
        """Until killed; or, draining, until nothing is open."""
        await self.executor.recover()
        while True:
            head, episode, cancels = await self.line.begin()
            await self.executor.on_head(head)
            for firing in self.executor.resume_planned():
                await self.carry_out(firing, head)
            if not self.journal.open_firings(CHAIN_ID):
                if self.drains:
                    return
                await self.fire(head, episode)
            if cancels:
                await self.cancel()

    async def fire(self, head: BlockRef, episode: int | None) -> None:
        firing = self.executor.open_firing(
            rule="guard",
            rule_digest="digest",
            episode=str(episode),
            position=f"aave-v3/core/{ACCOUNT}",
            account=ACCOUNT,
            block=head,
            health_factor=None,
        )
        if firing is None:
            firing = self.journal.firing_of("guard", str(episode))
            if firing is None or firing.state is not FiringState.DROPPED:
                return
            firing = self.executor.reopen_firing(firing.id, "again")
        await self.carry_out(firing, head)

    async def carry_out(self, firing: Firing, head: BlockRef) -> None:
        """Each plan has payloads of its own, so that planning twice shows."""
        if firing.state is FiringState.RUNNING:
            return await self.executor.resume_reserved(firing, FEES, verify)
        token = secrets.token_hex(8)
        calls = [a_call(f"/{firing.episode}/{place}/{token}".encode()) for place in range(CALLS)]
        return await self.executor.execute(firing, with_calls(replace(a_plan(firing), block=head), *calls), verify)

    async def cancel(self) -> None:
        for intent in self.journal.unsettled(CHAIN_ID)[:1]:
            with suppress(CannotCancel):
                await self.executor.cancel(intent.id, FEES)


@dataclass(frozen=True, slots=True)
class Death:
    """How a life ends: at a step or SQLite instruction counted inside, at a moment or a request counted outside."""

    how: str = ""
    at: float = 0
    late: bool = False

    @staticmethod
    def draw(chance: random.Random) -> Death:
        """Any of them, early deaths as likely as late ones."""
        how = chance.choice(HOW)
        late = chance.random() < 0.5
        match how:
            case "step":
                return Death(how, chance.randint(1, chance.choice([30, 300])), late)
            case "sql":
                return Death(how, chance.randint(1, chance.choice([50, 600])), late)
            case "moment":
                return Death(how, chance.uniform(0, chance.choice([0.01, 0.05])), late)
            case _:
                return Death(how, chance.randint(1, chance.choice([4, 12])), late)


Spoil = Callable[[SqliteJournal], None]
"""Breaks a journal before an engine gets it: the control that shows that a broken core is found out."""


def _sound(journal: SqliteJournal) -> None:
    """As it is."""


def _child(state: Path, pipe: Connection, death: Death, drains: bool, spoil: Spoil) -> None:
    Deadly.left = int(death.at) if death.how == "step" else 0
    journal = open_journal(state)
    spoil(journal)
    if death.how == "sql":
        left = int(death.at)

        def count() -> int:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return 0

        journal._connection.set_progress_handler(count, 20)
    asyncio.run(Life(journal, Line(pipe), drains).live())
    journal.close()


async def _answer(outside: Outside, name: str, arguments: tuple[Any, ...]) -> object:
    try:
        return await getattr(outside, name)(*arguments)
    except Exception as error:  # noqa: BLE001 - told to the engine, which must know what to do
        return error


def live(
    state: Path,
    outside: Outside,
    death: Death,
    loop: asyncio.AbstractEventLoop,
    *,
    drains: bool = False,
    spoil: Spoil = _sound,
) -> int:
    """One life from fork to end; its exit code, negative for a signal."""
    mine, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            mine.close()
            _child(state, theirs, death, drains, spoil)
            code = 0
        except Exception:  # noqa: BLE001 - the parent sees the code alone
            traceback.print_exc()
        finally:
            os._exit(code)
    theirs.close()
    ends = time.monotonic() + death.at if death.how == "moment" else time.monotonic() + 60
    requests, blocks = 0, 0
    try:
        while True:
            if not mine.poll(max(0.0, ends - time.monotonic())):
                os.kill(pid, signal.SIGKILL)
                break
            name, arguments = mine.recv()
            blocks += name == "begin"
            if drains and blocks > DRAIN_BLOCKS:
                os.kill(pid, signal.SIGKILL)
                break
            if name in ("sign", "send"):
                requests += 1
            dies = death.how == "request" and requests == death.at
            if name == "send":
                outside.left.append(decode(arguments[0]))
            if dies and not death.late:
                os.kill(pid, signal.SIGKILL)
                break
            answer = loop.run_until_complete(_answer(outside, name, arguments))
            if dies:
                os.kill(pid, signal.SIGKILL)
                break
            mine.send(answer)
    except (EOFError, ConnectionError):
        pass
    finally:
        mine.close()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def season(folder: Path, seed: int, kills: int, spoil: Spoil = _sound) -> Tally:
    """`kills` lives on one state directory, then one that comes to its end, then a look through everything."""
    chance = random.Random(seed)
    outside = Outside(chance)
    tally = Tally()
    state = folder / f"season-{seed}"
    loop = asyncio.new_event_loop()
    try:
        while tally.kills < kills:
            death = Death.draw(chance)
            code = live(state, outside, death, loop, spoil=spoil)
            tally.lives += 1
            tally.kills += code == -signal.SIGKILL
            tally.how[death.how] += code == -signal.SIGKILL
            if code != -signal.SIGKILL:
                tally.faults.append(f"seed {seed}: a life under {death} ended with {code}")
                break
        outside.draining = True
        outside._weather()
        tally.lives += 1
        if live(state, outside, Death(), loop, drains=True, spoil=spoil) != 0:
            tally.faults.append(f"seed {seed}: it does not come to an end")
        _look_through(state, outside, tally, seed)
    finally:
        loop.close()
    if not tally.faults:
        shutil.rmtree(state)
    return tally


def _look_through(state: Path, outside: Outside, tally: Tally, seed: int) -> None:
    """Hold the journal against everything that was ever signed, sent and mined."""
    record = read_journal(state)
    firings = record.firings(10**9)
    record.close()
    intents = [one for firing in firings for one in firing.intents if one.nonce is not None]
    attempts = [attempt for intent in intents for attempt in intent.attempts]
    tally.firings += len(firings)
    tally.intents += len(intents)
    tally.signatures += len(outside.signed)
    tally.sends += len(outside.left)
    tally.raised += sum(attempt.kind is AttemptKind.BUMP for attempt in attempts)
    tally.no_ops += sum(attempt.kind is AttemptKind.CANCEL for attempt in attempts)
    tally.reorgs += outside.reorgs

    meanings: dict[int, set[bytes]] = {}
    nonces: dict[bytes, set[int]] = {}
    for tx in outside.signed:
        if tx.is_no_op:
            continue
        meanings.setdefault(tx.nonce, set()).add(tx.data)
        nonces.setdefault(tx.data.rpartition(b"/")[0], set()).add(tx.nonce)
    tally.payloads = max(tally.payloads, *map(len, meanings.values()), 0)
    doubled = [nonce for nonce, found in meanings.items() if len(found) > 1]
    fired_twice = [place for place, found in nonces.items() if len(found) > 1]
    tally.double += len(doubled) + len(fired_twice)
    tally.faults += [f"seed {seed}: nonce {nonce} was signed with two meanings" for nonce in doubled]
    tally.faults += [f"seed {seed}: {place!r} was signed under two nonces" for place in fired_twice]

    known = {attempt.hash for attempt in attempts}
    lost = [f"{tx.hash} was sent and is in no record" for tx in outside.left if tx.hash not in known]
    lost += [f"{intent.id} is {intent.state}" for intent in intents if not intent.state.is_final]
    lost += [f"{firing.id} is {firing.state}" for firing in firings if firing.state.is_open]
    episodes = sorted(int(firing.episode) for firing in firings)
    if episodes != list(range(len(episodes))) or len(episodes) < outside.episode:
        lost.append(f"{outside.episode} episodes, but {len(episodes)} in the record")
    mined = [(tx.nonce, tx.hash, tx.data) for _, tx in outside.mined_txs]
    recorded = sorted((one.nonce or 0, one.included_hash or "") for one in intents)
    if [(nonce, tx_hash) for nonce, tx_hash, _ in mined] != recorded:
        lost.append(f"{len(mined)} transactions on the chain are not the {len(recorded)} of the record")
    by_nonce = {one.nonce: one for one in intents}
    for nonce, tx_hash, data in mined:
        one = by_nonce.get(nonce)
        wanted = b"" if one is not None and one.state is IntentState.FINAL_CANCELLED else one and one.data
        if data != wanted:
            lost.append(f"nonce {nonce} did something else than the record says ({tx_hash})")
    tally.lost += len(lost)
    tally.faults += [f"seed {seed}: {what}" for what in lost]
