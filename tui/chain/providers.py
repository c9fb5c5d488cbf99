"""The nodes of one chain as a pool: who may be asked, who is set aside and until when, and who must agree.

A node is asked nothing before it has told the right chain id, and again after every failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tui.chain.hexes import Malformed, quantity
from tui.chain.rpc import Answer, Request, RpcClient, RpcError, RpcUnreachable, Stats
from tui.model.text import clean_text
from tui.ports.chain import ChainUnreachable, ProviderStatus, ReadFailed
from tui.ports.clock import Clock

_T = TypeVar("_T")
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
_LONGEST_BACKOFF_WHEN_ASKED = 60.0
_WRONG_CHAIN_BACKOFF = 60.0
_LATENCY_WEIGHT = 0.3
_UNKNOWN_BLOCK_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Behind one URL there may be many machines, and the one that is asked may be a block behind the one that told."""


class BlockUnknown(Exception):
    """The node does not have the block (yet, or any more)."""


@dataclass(slots=True)
class Provider:
    """One node and what is known about it. Times are of the monotonic clock."""

    client: RpcClient
    chain_id: int
    clock: Clock = field(repr=False)
    state: str = "ok"
    detail: str = ""
    verified: bool = False
    latency: float | None = None
    head_number: int | None = None
    failures: int = 0
    retry_at: float = 0.0
    overrides: bool = True
    simulates: bool = True
    _verifying: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def shown_url(self) -> str:
        """The URL with its token hidden."""
        return self.client.shown_url

    async def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers of a batch, from a node of the right chain. Raises RpcUnreachable; the failure is remembered."""
        await self._verify()
        return await self._timed(requests)

    async def ask_one(self, method: str, *params: object) -> object:
        """One answer. Raises RpcError, RpcUnreachable."""
        (answer,) = await self.ask([Request(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    def failed(self, error: RpcUnreachable | Malformed | RpcError) -> None:
        """Set the node aside for a while: the next use asks its chain id again."""
        self.failures += 1
        if self.state != "wrong-chain":
            self.state = "failing"
        self.detail = clean_text(str(error), 200)
        self.verified = False
        asked = isinstance(error, RpcUnreachable) and error.kind in ("rate-limited", "payment")
        longest = _LONGEST_BACKOFF_WHEN_ASKED if asked else _LONGEST_BACKOFF
        pause = min(_FIRST_BACKOFF * 2.0 ** min(self.failures - 1, 10), longest)
        if isinstance(error, RpcUnreachable) and error.retry_after is not None:
            pause = max(error.retry_after, _FIRST_BACKOFF)
        if self.state == "wrong-chain":
            pause = _WRONG_CHAIN_BACKOFF
        self.retry_at = self.clock.monotonic() + pause

    def saw_head(self, number: int, newest: int, tolerance: int) -> None:
        """Note the node's head beside the newest any node told: more than `tolerance` blocks behind is lagging."""
        self.head_number = number
        if self.state in ("ok", "lagging"):
            behind = newest - number
            self.state = "lagging" if behind > tolerance else "ok"
            self.detail = f"{behind} blocks behind" if self.state == "lagging" else ""

    def status(self) -> ProviderStatus:
        """For the screen."""
        latency = None if self.latency is None else self.latency * 1000
        return ProviderStatus(self.shown_url, self.state, latency, self.head_number, self.detail)

    async def _verify(self) -> None:
        async with self._verifying:
            if not self.verified:
                await self._check_chain()

    async def _check_chain(self) -> None:
        (answer,) = await self._timed([Request("eth_chainId")])
        if isinstance(answer, RpcError):
            raise RpcUnreachable("refused", f"{self.shown_url} does not tell its chain id: {answer.message}")
        try:
            told = quantity(answer, "the chain id")
        except Malformed as error:
            raise RpcUnreachable("malformed", f"{self.shown_url}: {error}") from None
        if told != self.chain_id:
            self.state = "wrong-chain"
            raise RpcUnreachable(
                "wrong-chain", f"{self.shown_url} is on chain {told}, not {self.chain_id}: take it out or mend it"
            )
        self.verified = True
        self.state, self.detail = "ok", ""

    async def _timed(self, requests: Sequence[Request]) -> list[Answer]:
        started = self.clock.monotonic()
        try:
            answers = await self.client.batch(requests)
        except RpcUnreachable:
            self.verified = False
            raise
        took = self.clock.monotonic() - started
        self.latency = took if self.latency is None else self.latency + _LATENCY_WEIGHT * (took - self.latency)
        return answers


@dataclass(slots=True)
class Pool:
    """All nodes of a chain in the user's order. `quorum` of them must give the same answer to a pinned read."""

    providers: tuple[Provider, ...]
    clock: Clock = field(repr=False)
    quorum: int = 1

    def __post_init__(self) -> None:
        if not self.providers:
            raise ValueError("no http or https RPC URL is configured; give one with --rpc URL")
        if not 1 <= self.quorum <= len(self.providers):
            raise ValueError(f"a quorum of {self.quorum} needs as many RPC URLs; {len(self.providers)} are configured")

    def statuses(self) -> tuple[ProviderStatus, ...]:
        """How each node is doing, in the user's order."""
        return tuple(provider.status() for provider in self.providers)

    def stats(self) -> Stats:
        """What was asked of all nodes together."""
        total = Stats()
        for provider in self.providers:
            stats = provider.client.stats
            total.round_trips += stats.round_trips
            total.methods += stats.methods
            total.eth_calls += stats.eth_calls
            total.bytes_in += stats.bytes_in
            total.bytes_out += stats.bytes_out
        return total

    async def aclose(self) -> None:
        """Close all connections."""
        for provider in self.providers:
            await provider.client.aclose()

    def usable(self) -> list[Provider]:
        """Nodes that may be asked now: the well ones first, those set aside not at all."""
        now = self.clock.monotonic()
        ready = [p for p in self.providers if p.state in ("ok", "lagging") or p.retry_at <= now]
        order = {"ok": 0, "failing": 1, "lagging": 2, "wrong-chain": 3}
        return sorted(ready, key=lambda provider: order[provider.state])

    async def first(self, work: Callable[[Provider], Awaitable[_T]]) -> _T:
        """What the first node that can says; the others only where one fails. Raises ChainUnreachable, ReadFailed."""
        return await self._agreed(work, lambda _: 0, 1)

    async def agreed(self, work: Callable[[Provider], Awaitable[_T]], key: Callable[[_T], Hashable]) -> _T:
        """What `quorum` nodes say alike, compared by `key`. Raises ChainUnreachable, ReadFailed (also where they
        disagree: the text says who).
        """
        return await self._agreed(work, key, self.quorum)

    async def everyone(self, work: Callable[[Provider], Awaitable[_T]]) -> list[tuple[Provider, _T]]:
        """What every node says that answers at all, side by side. Raises ChainUnreachable where none does."""
        providers = self.usable()
        outcomes = await asyncio.gather(*(self._try(provider, work) for provider in providers))
        answers: list[tuple[Provider, _T]] = []
        faults: list[tuple[Provider, _Fault]] = []
        for provider, outcome in zip(providers, outcomes, strict=True):
            if isinstance(outcome, _Fault):
                faults.append((provider, outcome))
            else:
                answers.append((provider, outcome))
        if not answers:
            raise self._no_answer(faults)
        return answers

    async def _agreed(
        self, work: Callable[[Provider], Awaitable[_T]], key: Callable[[_T], Hashable], wanted: int
    ) -> _T:
        for pause in (*_UNKNOWN_BLOCK_PAUSES, None):
            waiting = self.usable()
            answers: dict[Hashable, list[tuple[Provider, _T]]] = {}
            faults: list[tuple[Provider, _Fault]] = []
            while waiting:
                most = max((len(group) for group in answers.values()), default=0)
                asked, waiting = waiting[: wanted - most], waiting[wanted - most :]
                outcomes = await asyncio.gather(*(self._try(provider, work) for provider in asked))
                for provider, outcome in zip(asked, outcomes, strict=True):
                    if isinstance(outcome, _Fault):
                        faults.append((provider, outcome))
                    else:
                        answers.setdefault(key(outcome), []).append((provider, outcome))
                for group in answers.values():
                    if len(group) >= wanted:
                        return group[0][1]
            if pause is None or not any(fault.block_unknown for _, fault in faults):
                break
            await self.clock.sleep(pause)
        if len(answers) > 1:
            sides = " / ".join(", ".join(provider.shown_url for provider, _ in group) for group in answers.values())
            raise ReadFailed(f"nodes disagree on the same block, {wanted} must agree: {sides}")
        if answers:
            count = sum(len(group) for group in answers.values())
            raise ReadFailed(f"only {count} of the {wanted} nodes that must agree answered; {_reasons(faults)}")
        raise self._no_answer(faults)

    async def _try(self, provider: Provider, work: Callable[[Provider], Awaitable[_T]]) -> _T | _Fault:
        try:
            result = await work(provider)
        except RpcUnreachable as error:
            # An answer over our own bound says nothing against the node: whoever asked may ask for less.
            if error.kind != "too-large":
                provider.failed(error)
            return _Fault(str(error), unreachable=True)
        except Malformed as error:
            provider.failed(error)
            return _Fault(f"{provider.shown_url}: {error}", unreachable=True)
        except BlockUnknown as error:
            return _Fault(f"{provider.shown_url}: {error}", block_unknown=True)
        except RpcError as error:
            return _Fault(f"{provider.shown_url}: {error}")
        provider.failures = 0
        return result

    def _no_answer(self, faults: Sequence[tuple[Provider, _Fault]]) -> ChainUnreachable | ReadFailed:
        if any(not fault.unreachable for _, fault in faults):
            return ReadFailed(_reasons(faults))
        if faults:
            return ChainUnreachable(_reasons(faults))
        now = self.clock.monotonic()
        soonest = min(provider.retry_at for provider in self.providers) - now
        details = "; ".join(provider.detail for provider in self.providers if provider.detail)
        return ChainUnreachable(f"{details}; the next attempt is in {max(soonest, 0):.1f} s")


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why one node gave nothing."""

    reason: str
    unreachable: bool = False
    block_unknown: bool = False


def _reasons(faults: Sequence[tuple[Provider, _Fault]]) -> str:
    return "; ".join(fault.reason for _, fault in faults) or "no other node can be asked now"


def build_pool(urls: Sequence[str], chain_id: int, clock: Clock, *, quorum: int = 1, timeout: float = 5.0) -> Pool:
    """A pool over the http(s) URLs among `urls`. `timeout` in seconds a round trip. Raises ValueError."""
    http = [url for url in dict.fromkeys(urls) if not url.startswith(("ws://", "wss://"))]
    return Pool(tuple(Provider(RpcClient(url, timeout), chain_id, clock) for url in http), clock, quorum)
