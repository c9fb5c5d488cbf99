"""An executor on a chain in memory with a real journal file, and the key file of those who have a real signer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from eth_account import Account

from tests.support.chain import keyed_account
from tests.support.clock import FakeClock
from tests.support.firings import ACCOUNT, CHAIN_ID, GWEI, a_plan
from tests.support.memory_chain import MemoryChain, MemorySigner
from tui.engine.executor import Executor
from tui.journal.store import SqliteJournal, open_journal
from tui.model.block import BlockRef
from tui.model.intent import Firing, Intent, IntentState
from tui.model.plan import FeeQuote, PlannedCall
from tui.ports.journal import Decision, JournalFull
from tui.vault.keystore import MIN_PBKDF2_ROUNDS

PASSWORD = "seven green bottles"
FEES = FeeQuote(GWEI, 10 * GWEI, 2 * GWEI, 40 * GWEI)


class Bench:
    """Everything a test of the executor wants at hand."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.chain = MemoryChain()
        self.signer = MemorySigner()
        self.clock = FakeClock()
        self.killed = False
        self.lines: list[Decision] = []
        self.verified: list[tuple[PlannedCall, ...]] = []
        self.verdict: str | None = None
        self.journal: SqliteJournal
        self.executor: Executor
        self.start()

    def start(self) -> None:
        """An engine on the state directory."""
        self.journal = open_journal(self.state)
        self.executor = Executor(
            self.journal,
            self.signer,
            self.chain,
            self.chain,
            self.clock,
            CHAIN_ID,
            2,
            lambda: self.killed,
            self.lines.append,
        )

    async def restart(self) -> None:
        """End it as a crash would, and start it again."""
        self.journal.close()
        self.start()
        await self.executor.recover()

    async def verify(self, calls: Sequence[PlannedCall]) -> str | None:
        self.verified.append(tuple(calls))
        return self.verdict

    def fire(self, number: int = 1, account: str = ACCOUNT) -> Firing:
        firing = self.executor.open_firing(
            rule="guard",
            rule_digest="digest",
            episode=f"episode-{number}",
            position=f"aave-v3/core/{account}",
            account=account,
            block=self.chain.head,
            health_factor=11 * 10**17,
        )
        assert firing is not None
        return firing

    async def run(self, number: int = 1, calls: int = 2) -> Firing:
        """Fire and execute a plan of plain calls."""
        firing = self.fire(number)
        await self.executor.execute(firing, a_plan(firing, calls, block=self.chain.head), self.verify)
        return self.firing(firing)

    async def head(self, block: BlockRef | None = None) -> tuple[Firing, ...]:
        """Show the engine the chain's head."""
        return await self.executor.on_head(block or self.chain.head)

    def firing(self, firing: Firing) -> Firing:
        found = self.journal.firing(firing.id)
        assert found is not None
        return found

    def states(self, firing: Firing) -> list[IntentState]:
        return [intent.state for intent in self.firing(firing).intents]

    def intent(self, firing: Firing, place: int = 0) -> Intent:
        return self.firing(firing).intents[place]

    def said(self) -> str:
        return "\n".join(line.text for line in self.lines)


async def signed_but_not_recorded(bench: Bench) -> None:
    """The disk fills up between the signature and its record."""
    record = bench.journal.record_attempts

    def full(attempts: object) -> None:
        raise JournalFull("the disk is full", "here", "make room")

    bench.journal.record_attempts = full  # type: ignore[method-assign]
    firing = bench.fire()
    with pytest.raises(JournalFull):
        await bench.executor.execute(firing, a_plan(firing, block=bench.chain.head), bench.verify)
    bench.journal.record_attempts = record  # type: ignore[method-assign]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "state")
    yield made
    made.journal.close()


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A key file with the quickest derivation that is still taken, and its address."""
    address, key = keyed_account(77)
    path = tmp_path_factory.mktemp("keys") / "main.json"
    path.write_text(json.dumps(Account.encrypt(key, PASSWORD, "pbkdf2", MIN_PBKDF2_ROUNDS)))
    path.chmod(0o600)
    return path, address.lower()
