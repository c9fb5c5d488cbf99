"""`trimtab run` as a real process that is really killed, at points of its own code that a test names.

A real node behind a proxy that remembers every send, a real keystore and signer, a real journal on disk.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fault_rig import PASSWORD, REPAY, World, rule_text
from tests.support.pool_rules import Sent, hash_of, read_raw
from tests.support.program import Program, network_file, trimtab
from tests.support.proxy import Fault, Proxy, proxies
from tui.journal.reading import JOURNAL_FILE, read_journal
from tui.model.intent import Attempt, AttemptKind, Firing, FiringState, Intent, IntentState
from tui.ports.journal import JournalMissing
from tui.vault.ledger import LEDGER_FILE

SEND = "eth_sendRawTransaction"
BLOCKS = 25

_DEADLY = """
import importlib, os, signal
def deadly(module, owner, name, nth, late, word):
    holder = getattr(importlib.import_module(module), owner)
    real = getattr(holder, name)
    left = [nth]
    def reached(arguments):
        if word and word not in arguments:
            return
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def called(self, *arguments, **named):
        late or reached(arguments)
        result = real(self, *arguments, **named)
        late and reached(arguments)
        return result
    async def awaited(self, *arguments, **named):
        late or reached(arguments)
        result = await real(self, *arguments, **named)
        late and reached(arguments)
        return result
    setattr(holder, name, awaited if real.__code__.co_flags & 0x80 else called)
"""
HAND = """
import tui.engine.engine as engine_room
async def on_head(self, block, real=engine_room.Engine.on_head):
    await real(self, block)
    if self.executor is not None:
        for intent in self.ports.journal.unsettled(self.setup.network.chain_id):
            if intent.state == "MAYBE_SENT":
                await self.executor.cancel(intent.id, self.fees)
engine_room.Engine.on_head = on_head
"""
"""A person who cancels whatever was sent, at the next head."""


@dataclass(frozen=True, slots=True)
class Point:
    """A call of the program's own code: its `nth`, just before it or (`late`) just after. With `word`, of those calls
    only that have it among their arguments.
    """

    module: str
    owner: str
    name: str
    nth: int = 1
    late: bool = False
    word: str = ""

    def prelude(self) -> str:
        """Code that ends the process there, with the signal that nothing can catch."""
        where = (self.module, self.owner, self.name, self.nth, self.late, self.word)
        return f"{_DEADLY}\ndeadly{where!r}\n"


def journal_point(name: str, nth: int = 1, *, late: bool = False, word: str = "") -> Point:
    """A write of the journal."""
    return Point("tui.journal.store", "SqliteJournal", name, nth, late, word)


def signer_point(nth: int = 1, *, late: bool = False) -> Point:
    """A transaction's signature, asked for or received."""
    return Point("tui.vault.client", "SignerClient", "sign_transaction", nth, late)


@dataclass
class Mortal:
    """A position, its rule, and lives of `trimtab run` that watch over it. The node mines when told."""

    world: World
    folder: Path
    proxy: Proxy
    first: int
    state: Path

    @property
    def chain(self) -> Any:
        return self.world.chain

    def arguments(self) -> list[object]:
        return [
            *("--network", self.folder / "network.toml", "--rules", self.folder / "rules.toml"),
            *("--config", self.folder / "config", "--state", self.state),
            *("--keystore", self.world.keystore, "--password-file", self.folder / "password"),
        ]

    @asynccontextmanager
    async def life(self, prelude: str = "", *, armed: bool = True) -> AsyncIterator[Program]:
        """One life, armed where it comes that far; killed at the end of the block at the latest."""
        async with trimtab("run", "--json", *self.arguments(), prelude=prelude) as program:
            if armed:
                await program.said("armed: guard on")
            yield program

    async def dies_at(self, point: Point, *, prelude: str = "") -> None:
        """An armed life in which the price falls, and that ends at a point."""
        async with self.life(point.prelude() + prelude) as program:
            self.chain.set_price("WETH", "2600")
            await self.until_dead(program)

    async def until_dead(self, program: Program) -> None:
        """Mine until it is dead. Fails where it lives on or ends otherwise."""
        for _ in range(BLOCKS):
            if not await self.seen(program):
                break
        assert await program.ended() == -signal.SIGKILL, program.text

    async def seen(self, program: Program) -> bool:
        """One more block, and the program's word on it; False where it died over it."""
        said = program.text.count('"event": "block"')
        self.chain.mine()
        try:
            await program.said('"event": "block"', said + 1)
        except AssertionError:
            return False
        return True

    async def until(self, program: Program, reached: Callable[[], bool]) -> None:
        """Mine block after block until something holds."""
        for _ in range(BLOCKS):
            if reached():
                return
            assert await self.seen(program), program.text
        raise AssertionError(f"never came to it; {self.intents()}\n{program.text}")

    async def carry_on(self) -> Firing:
        """Another life that brings what was begun to its end, and goes; the one firing."""
        async with self.life() as program:
            await self.until(program, lambda: self.ended())
            assert await program.stop() == 0
        return self.firing()

    # --- the record ------------------------------------------------------------------------------------------------

    def firings(self) -> tuple[Firing, ...]:
        """Firings in the record."""
        try:
            record = read_journal(self.state)
        except JournalMissing:
            return ()
        try:
            return record.firings(10_000)
        finally:
            record.close()

    def firing(self) -> Firing:
        """The only firing that was not given up unsigned."""
        (only,) = (firing for firing in self.firings() if firing.state is not FiringState.DROPPED)
        return only

    def ended(self) -> bool:
        """Whether something came to its end and nothing is under way."""
        states = [firing.state for firing in self.firings() if firing.state is not FiringState.DROPPED]
        return bool(states) and not any(state.is_open for state in states)

    def done(self) -> list[Firing]:
        """Those that came to a good end."""
        return [firing for firing in self.firings() if firing.state is FiringState.DONE]

    def signatures(self) -> int:
        """How many transactions the signer's own ledger says were signed."""
        ledger = self.state / LEDGER_FILE
        return len(ledger.read_text().splitlines()) if ledger.exists() else 0

    def open(self) -> bool:
        """Whether something is under way."""
        return any(firing.state.is_open for firing in self.firings())

    def intents(self) -> list[Intent]:
        """All that own a nonce, of all firings, by nonce."""
        found = [one for firing in self.firings() for one in firing.intents if one.nonce is not None]
        return sorted(found, key=lambda one: one.nonce or 0)

    def dropped(self) -> list[Intent]:
        """All whose nonce was set free."""
        return [one for firing in self.firings() for one in firing.intents if one.state is IntentState.DROPPED]

    def decisions(self) -> str:
        """All lines of the record."""
        record = read_journal(self.state)
        try:
            return "\n".join(line.text for line in record.decisions())
        finally:
            record.close()

    def debited(self) -> int:
        """Dollars (8 decimals) that all days' budgets are debited."""
        with closing(sqlite3.connect(self.state / JOURNAL_FILE)) as connection:
            return sum(int(amount) for (amount,) in connection.execute("SELECT amount FROM budget WHERE kind = 'usd'"))

    def signed_for(self) -> dict[int, set[str]]:
        """What the signer's own ledger bound each nonce to, no-ops aside."""
        found: dict[int, set[str]] = {}
        ledger = self.state / LEDGER_FILE
        for line in ledger.read_text().splitlines() if ledger.exists() else ():
            entry = json.loads(line)
            if not entry["cancel"]:
                found.setdefault(entry["nonce"], set()).add(entry["meaning"])
        return found

    def lose_power(self, torn: int) -> None:
        """Go on from a copy of the files as they are now: half a frame at the end of the log, no index of it."""
        before, self.state = self.state, self.folder / f"after-{torn}"
        self.state.mkdir(mode=0o700)
        for name in (JOURNAL_FILE, f"{JOURNAL_FILE}-wal", LEDGER_FILE):
            shutil.copy2(before / name, self.state / name)
        assert not (self.state / f"{JOURNAL_FILE}-shm").exists()
        with (self.state / f"{JOURNAL_FILE}-wal").open("ab") as log:
            log.write(os.urandom(torn))

    # --- the chain -------------------------------------------------------------------------------------------------

    def swallow(self) -> Fault:
        """The node answers sends as if all were well, and forgets them."""
        return self.proxy.swallow(SEND, hash_of)

    def arrive(self, attempt: Attempt) -> None:
        """Bytes turn up at the node by themselves."""
        self.chain.rpc(SEND, "0x" + attempt.raw.hex())

    def pooled(self) -> list[str]:
        """Hashes of the account that wait at the node."""
        content = self.chain.rpc("txpool_content")
        return [
            tx["hash"]
            for part in ("pending", "queued")
            for owner, txs in content[part].items()
            if owner.lower() == self.world.account
            for tx in txs.values()
        ]

    def sent(self) -> list[Sent]:
        """Everything that ever left for the node, read from its bytes."""
        return [read_raw(params[0]) for method, params in self.proxy.asked if method == SEND]

    def mined(self) -> list[dict[str, Any]]:
        """Every mined transaction of the account since the beginning, by nonce."""
        numbers = range(self.first + 1, self.chain.block_number() + 1)
        blocks = [self.chain.rpc("eth_getBlockByNumber", hex(number), True) for number in numbers]
        mine = [tx for block in blocks for tx in block["transactions"] if tx["from"].lower() == self.world.account]
        return sorted(mine, key=lambda tx: int(tx["nonce"], 16))

    def check(self) -> None:
        """Same nonce, same meaning, nothing fired twice, nothing forgotten; the chain as the journal."""
        meanings: dict[int, set[tuple[str, int, bytes]]] = {}
        intents = self.intents()
        known = {attempt.hash for intent in intents for attempt in intent.attempts}
        for sent in self.sent():
            assert sent.sender == self.world.account
            assert sent.hash in known, "sent, and in no record"
        for intent in intents:
            assert intent.nonce is not None
            for attempt in intent.attempts:
                sent = read_raw("0x" + attempt.raw.hex())
                assert (sent.hash, sent.nonce) == (attempt.hash, intent.nonce)
                no_op = sent.meaning == (self.world.account, 0, b"")
                assert no_op == (attempt.kind is AttemptKind.CANCEL)
                if not no_op:
                    meanings.setdefault(sent.nonce, set()).add(sent.meaning)
        assert all(len(found) == 1 for found in meanings.values()), "a nonce with two meanings"
        assert len({(one.rule, one.episode) for one in self.firings()}) == len(self.firings()), "fired twice"
        assert [intent.state.is_final for intent in intents] == [True] * len(intents), "not at its end"
        mined = self.mined()
        told = [(int(tx["nonce"], 16), tx["hash"]) for tx in mined]
        assert told == [(intent.nonce, intent.included_hash) for intent in intents], "the chain is not the journal"
        for tx, intent in zip(mined, intents, strict=True):
            cancelled = intent.state is IntentState.FINAL_CANCELLED
            wanted = (self.world.account, b"") if cancelled else (intent.to, intent.data)
            assert (tx["to"].lower(), bytes.fromhex(tx["input"][2:])) == wanted


async def open_mortal(
    stack: AsyncExitStack, world: World, folder: Path, *, steps: str = REPAY, daily: str = "100000"
) -> Mortal:
    """Files for one, a proxy before the node, and the chain put back with `stack`."""
    chain = world.chain
    snapshot = chain.snapshot()
    stack.callback(chain.revert, snapshot)
    (proxy,) = await stack.enter_async_context(proxies(chain.url))
    (folder / "rules.toml").write_text(rule_text(steps, daily=daily))
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o600)
    network_file(folder / "network.toml", [proxy.url], chain.market.provider, chain.token("WETH").feed)
    chain.set_automine(False)
    chain.mine()
    return Mortal(world, folder, proxy, chain.block_number(), folder / "state")
