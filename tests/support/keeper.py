"""A whole engine in a process of its own, to be killed: fires, signs, sends and follows until it dies.

Its network is a file to which every sent transaction is appended: what is in it has left the machine.
Its signer remembers nothing, so that one meaning a nonce is the engine's own doing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.clock import FakeClock
from tests.support.firings import ACCOUNT, CHAIN_ID, GWEI, a_call, a_plan, with_calls
from tests.support.memory_chain import MemoryChain, Mined, decode, encode
from tui.engine.executor import Executor
from tui.journal.store import open_journal
from tui.model.intent import Firing, FiringState
from tui.model.plan import FeeQuote, PlannedCall
from tui.model.signing import PermitRequest, PermitSignature, SignedTransaction, TransactionRequest
from tui.model.units import USD
from tui.ports.chain import SendOutcome

NETWORK = "network.jsonl"
FEES = FeeQuote(GWEI, 10 * GWEI, 2 * GWEI, 40 * GWEI)


class FileChain(MemoryChain):
    """A chain that mines whatever reached the network file, in order of nonces."""

    path: Path

    def load(self) -> None:
        """Mine what was sent in earlier lives and in this one."""
        for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
            tx = decode(line)
            if tx.nonce == self.count(tx.account):
                self.mine(include=False)
                self.blocks[-1] = Mined(self.head, (tx,))
        self.mine(5, include=False)

    async def send(self, raw: bytes, expected_hash: str) -> tuple[SendOutcome, ...]:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, raw + b"\n")
        os.close(descriptor)
        await asyncio.sleep(0)
        return (SendOutcome("accepted"),)


class Forgetful:
    """Signs anything."""

    async def judge(self, requests: Sequence[TransactionRequest]) -> None:
        await asyncio.sleep(0)

    async def sign_transaction(self, request: TransactionRequest) -> SignedTransaction:
        await asyncio.sleep(0)
        return encode(request)

    async def sign_permit(self, request: PermitRequest) -> PermitSignature:
        return PermitSignature(27, secrets.randbits(255), secrets.randbits(255))


class Deadly:
    """Counts calls to what it wraps, and ends the process at the one it was told, just before it or just after."""

    left = 0

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not callable(method):
            return method
        if asyncio.iscoroutinefunction(method):

            async def awaited(*args: Any, **kwargs: Any) -> Any:
                _count()
                result = await method(*args, **kwargs)
                _count()
                return result

            return awaited

        def called(*args: Any, **kwargs: Any) -> Any:
            _count()
            result = method(*args, **kwargs)
            _count()
            return result

        return called


def _count() -> None:
    Deadly.left -= 1
    if Deadly.left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


async def verify(calls: Sequence[PlannedCall]) -> str | None:
    await asyncio.sleep(0)
    return None


async def carry_out(executor: Executor, chain: FileChain, firing: Firing) -> None:
    """Two calls; each plan has payloads of its own, so that planning twice shows."""
    if firing.state is FiringState.RUNNING:
        await executor.resume_reserved(firing, FEES, verify)
        return
    calls = [a_call(f"{firing.id}/{secrets.token_hex(8)}/{place}/".encode()) for place in range(2)]
    await executor.execute(firing, with_calls(replace(a_plan(firing), block=chain.head), *calls), verify)


async def run(state: Path, kill_at: int, firings: int) -> None:
    """Carry on from whatever is there; then `firings` more, or for ever where negative."""
    Deadly.left = kill_at
    journal = open_journal(state)
    chain = FileChain()
    chain.path = state / NETWORK
    chain.load()
    executor = Executor(
        Deadly(journal),
        Deadly(Forgetful()),
        Deadly(chain),
        chain,
        FakeClock(),
        CHAIN_ID,
        2,
        lambda: False,
        print_nothing,
    )
    print("ready", flush=True)
    await executor.recover()
    while True:
        for firing in executor.resume_planned():
            await carry_out(executor, chain, firing)
        chain.load()
        await executor.on_head(chain.head)
        if journal.open_firings(CHAIN_ID):
            continue
        if firings == 0:
            break
        firings -= 1
        number = len(journal.firings(10**9))
        fired = executor.open_firing(
            rule="guard",
            rule_digest="digest",
            episode=str(number),
            position=f"aave-v3/core/{ACCOUNT}",
            account=ACCOUNT,
            block=chain.head,
            health_factor=USD,
        )
        assert fired is not None
    journal.close()


def print_nothing(decision: object) -> None:
    """Nobody looks."""


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
