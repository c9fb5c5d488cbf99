"""The nodes of one chain as a pool: who may be asked, who is set aside and until when, and who must agree.

A node is asked nothing before it has told the right chain id, and again after every failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from tui.chain.budget import Budget, urgent_lane
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
_FIRST_QUARANTINE = 300.0
_LONGEST_QUARANTINE = 3600.0
_ACCUSED_AFTER = 3
"""Heads in a row that differ from what the others agree on: once or twice is a fork that is being settled."""
_SHORT_READS = 64
_VERIFY_AGAIN = 60.0
GRACE = 1.0
"""Seconds that the others are waited for where enough nodes have answered."""
_CHAIN = Request("eth_chainId")
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
    verified_at: float = 0.0
    latency: float | None = None
    head_number: int | None = None
    failures: int = 0
    retry_at: float = 0.0
    overrides: bool = True
    simulates: bool = True
    limited: bool = False
    lies: int = 0
    odd_heads: int = 0
    faults: int = 0
    told_to_wait: bool = False
    budget: Budget | None = None
    _verifying: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def shown_url(self) -> str:
        """The URL with its token hidden."""
        return self.client.shown_url

    async def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers of a batch, from a node of the right chain. Raises RpcUnreachable; the failure is remembered.

        After a while the chain is asked for again, in the same round trip: what answers behind a URL may change.
        """
        await self._verify()
        if self.clock.monotonic() - self.verified_at < _VERIFY_AGAIN:
            return await self._timed(requests)
        told, *answers = await self._timed([_CHAIN, *requests])
        self._judge_chain(told)
        return answers

    async def ask_one(self, method: str, *params: object) -> object:
        """One answer. Raises RpcError, RpcUnreachable."""
        (answer,) = await self.ask([Request(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    def failed(self, error: RpcUnreachable | Malformed | RpcError) -> None:
        """Set the node aside for a while: the next use asks its chain id again."""
        self.failures += 1
        self.faults += 1
        if self.state not in ("wrong-chain", "lying"):
            self.state = "failing"
            self.detail = clean_text(str(error), 200)
        # A node that wants fewer requests is still on its chain: asking for that again would cost one more.
        limit = _is_limit(error)
        self.limited = limit or _is_trouble(error)
        self.verified = self.verified and limit
        longest = _LONGEST_BACKOFF_WHEN_ASKED if limit else _LONGEST_BACKOFF
        pause = min(_FIRST_BACKOFF * 2.0 ** min(self.failures - 1, 10), longest)
        self.told_to_wait = isinstance(error, RpcUnreachable) and error.retry_after is not None
        if isinstance(error, RpcUnreachable) and error.retry_after is not None:
            pause = max(error.retry_after, _FIRST_BACKOFF)
        if self.state == "wrong-chain":
            self.detail = clean_text(str(error), 200)
            pause = _WRONG_CHAIN_BACKOFF
        self.retry_at = max(self.retry_at, self.clock.monotonic() + pause)

    def accuse(self, what: str) -> None:
        """It told something that is proven wrong: set aside for long, and the last to be asked until it has agreed
        with others again.
        """
        pause = min(_FIRST_QUARANTINE * 2.0 ** min(self.lies, 10), _LONGEST_QUARANTINE)
        self.lies += 1
        self.state = "lying"
        self.detail = clean_text(what, 200)
        self.retry_at = max(self.retry_at, self.clock.monotonic() + pause)

    def answered(self, *, agreed: bool, since: int | None = None) -> None:
        """Note a good answer. One that others gave too ends the suspicion of a node that is asked again.

        `since`: the `faults` there were when it was asked for. Who is set aside and answers all the same what could not
        wait is well again, unless it said itself how long to wait: what does wait for it would be blind for nothing.
        """
        if self.retry_at > self.clock.monotonic():
            if since != self.faults or self.told_to_wait or self.state != "failing":
                return
            self.retry_at = self.clock.monotonic()
        self.failures = 0
        self.limited = False
        if self.state == "failing" or (self.state == "lying" and agreed):
            self.state, self.detail = "ok", ""

    def head_differs(self, differs: bool, what: str) -> None:
        """Note whether its head is another block than the one agreed on at that height."""
        self.odd_heads = self.odd_heads + 1 if differs else 0
        if self.odd_heads >= _ACCUSED_AFTER:
            self.odd_heads = 0
            self.accuse(what)

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
        detail = self.detail
        if self.budget is not None and self.budget.throttled and not detail:
            detail = f"throttled: reads wait for the budget of {self.budget.rate} requests a second"
        return ProviderStatus(self.shown_url, self.state, latency, self.head_number, detail)

    @property
    def yields(self) -> bool:
        """Whether reads of it wait for its budget now: another node may do as well."""
        return self.budget is not None and self.budget.short

    async def _verify(self) -> None:
        async with self._verifying:
            if not self.verified:
                await self._check_chain()

    async def _check_chain(self) -> None:
        with urgent_lane():  # whoever else wants the node waits for this
            (answer,) = await self._timed([_CHAIN])
        self._judge_chain(answer)

    def _judge_chain(self, answer: Answer) -> None:
        if isinstance(answer, RpcError):
            raise RpcUnreachable("refused", f"{self.shown_url} does not tell its chain id: {answer.message}")
        try:
            told = quantity(answer, "the chain id")
        except Malformed as error:
            raise RpcUnreachable("malformed", f"{self.shown_url}: {error}") from None
        if told != self.chain_id:
            self.state = "wrong-chain"
            self.verified = False
            raise RpcUnreachable(
                "wrong-chain", f"{self.shown_url} is on chain {told}, not {self.chain_id}: take it out or mend it"
            )
        self.verified, self.verified_at = True, self.clock.monotonic()
        if self.state == "wrong-chain" or (self.state == "failing" and self.retry_at <= self.verified_at):
            self.state, self.detail = "ok", ""

    async def _timed(self, requests: Sequence[Request]) -> list[Answer]:
        if self.budget is not None:
            await self.budget.take(len(requests))
        started = self.clock.monotonic()
        try:
            answers = await self.client.batch(requests)
        except RpcUnreachable as error:
            self.verified = self.verified and _is_limit(error)
            raise
        took = self.clock.monotonic() - started
        self.latency = took if self.latency is None else self.latency + _LATENCY_WEIGHT * (took - self.latency)
        return answers


@dataclass(slots=True)
class Pool:
    """All nodes of a chain in the user's order. `quorum` of them must give the same answer to a pinned read.

    With `degraded` fewer will do while the others cannot be reached at all; which reads those were is kept.
    """

    providers: tuple[Provider, ...]
    clock: Clock = field(repr=False)
    quorum: int = 1
    degraded: bool = False
    _short: dict[str, str] = field(default_factory=dict, repr=False)

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

    def usable(self, urgent: bool = False) -> list[Provider]:
        """Nodes that may be asked now: the well ones first, those set aside not at all.

        What is `urgent` (the fate of a transaction) may also be asked of nodes that want fewer requests or have
        trouble of their own: reads leave them alone, so that what they still allow goes there.
        """
        now = self.clock.monotonic()
        ready = [
            p
            for p in self.providers
            if p.state in ("ok", "lagging") or p.retry_at <= now or (urgent and p.limited and p.state == "failing")
        ]
        order = {"ok": 0, "failing": 1, "lagging": 2, "wrong-chain": 3, "lying": 4}
        return sorted(ready, key=lambda provider: (order[provider.state], not urgent and provider.yields))

    def short(self, block_hash: str) -> str | None:
        """Why something at a block was accepted from fewer nodes than the quorum, None where nothing was."""
        return self._short.get(block_hash)

    async def first(self, work: Callable[[Provider], Awaitable[_T]], *, urgent: bool = False) -> _T:
        """What the first node that can says; the others only where one fails. Raises ChainUnreachable, ReadFailed."""
        group = await self._agreed(work, lambda _: 0, 1, urgent=urgent)
        return group[0]

    async def agreed(
        self,
        work: Callable[[Provider], Awaitable[_T]],
        key: Callable[[_T], Hashable],
        *,
        at: str | None = None,
        merge: Callable[[Sequence[_T]], _T] = lambda alike: alike[0],
        contradicts: Callable[[_T, _T], bool] = lambda *_: False,
        urgent: bool = False,
    ) -> _T:
        """What `quorum` nodes say alike, compared by `key`, made into one by `merge`. Raises ChainUnreachable,
        ReadFailed (also where they disagree: the text says who).

        `at` is the block hash that the answer is of: it is remembered where fewer nodes had to do. Whoever says
        what `contradicts` the quorum, so that both cannot be right, is accused of lying.
        """
        return merge(await self._agreed(work, key, self.quorum, at=at, contradicts=contradicts, urgent=urgent))

    async def everyone(
        self, work: Callable[[Provider], Awaitable[_T]], *, urgent: bool = False
    ) -> list[tuple[Provider, _T]]:
        """What every node says that answers at all, side by side. Raises ChainUnreachable where none does.

        Once as many as the quorum have answered, the others have a second left: one that hangs holds up nobody.
        """
        providers = self.usable(urgent)
        tasks = [asyncio.ensure_future(self._try(provider, work, urgent)) for provider in providers]
        late: set[asyncio.Future[_T | _Fault]] = set(tasks)
        yielding: set[str] = set()
        try:
            while late and sum(_good(task) for task in tasks) < self.quorum:
                _, late = await asyncio.wait(late, return_when=asyncio.FIRST_COMPLETED)
            if late:
                _, late = await asyncio.wait(late, timeout=GRACE)
            yielding = {provider.client.url for provider in providers if provider.budget and provider.budget.waiting}
        finally:
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        answers: list[tuple[Provider, _T]] = []
        faults: list[tuple[Provider, _Fault]] = []
        for provider, task in zip(providers, tasks, strict=True):
            if task in late and provider.client.url in yielding:
                continue  # it was our own budget that it waited for
            if task in late:
                provider.failed(RpcUnreachable("timeout", f"{provider.shown_url} answers later than the others"))
            elif isinstance(outcome := task.result(), _Fault):
                faults.append((provider, outcome))
            else:
                answers.append((provider, outcome))
        if not answers:
            raise self._no_answer(faults)
        return answers

    async def _agreed(
        self,
        work: Callable[[Provider], Awaitable[_T]],
        key: Callable[[_T], Hashable],
        wanted: int,
        *,
        at: str | None = None,
        contradicts: Callable[[_T, _T], bool] = lambda *_: False,
        urgent: bool = False,
    ) -> list[_T]:
        """The answers of the first `wanted` nodes that say the same."""
        for pause in (*_UNKNOWN_BLOCK_PAUSES, None):
            waiting = self.usable(urgent)
            answers: dict[Hashable, list[tuple[Provider, _T]]] = {}
            faults: list[tuple[Provider, _Fault]] = []
            while waiting:
                most = max((len(group) for group in answers.values()), default=0)
                asked, waiting = waiting[: wanted - most], waiting[wanted - most :]
                outcomes = await asyncio.gather(*(self._try(provider, work, urgent) for provider in asked))
                for provider, outcome in zip(asked, outcomes, strict=True):
                    if isinstance(outcome, _Fault):
                        faults.append((provider, outcome))
                    else:
                        answers.setdefault(key(outcome), []).append((provider, outcome))
                for same, group in answers.items():
                    if len(group) >= wanted:
                        others = [one for other in answers if other != same for one in answers[other]]
                        self._conclude(group, others, contradicts)
                        return [answer for _, answer in group]
            if pause is None or not any(fault.block_unknown for _, fault in faults):
                break
            await self.clock.sleep(pause)
        if len(answers) > 1:
            sides = " / ".join(", ".join(provider.shown_url for provider, _ in group) for group in answers.values())
            raise ReadFailed(f"nodes disagree on the same block, {wanted} must agree: {sides}")
        if answers:
            (group,) = answers.values()
            reason = f"only {len(group)} of the {wanted} nodes that must agree answered; {_reasons(faults)}"
            suspect = any(provider.state == "lying" for provider, _ in group)
            if not self.degraded or suspect or any(not fault.unreachable for _, fault in faults):
                raise ReadFailed(reason)
            self._note_short(at, reason)
            return [answer for _, answer in group]
        raise self._no_answer(faults)

    def _conclude(
        self,
        alike: list[tuple[Provider, _T]],
        others: list[tuple[Provider, _T]],
        contradicts: Callable[[_T, _T], bool],
    ) -> None:
        for provider, _ in alike:
            provider.answered(agreed=len(alike) > 1)
        for provider, answer in others:
            if len(alike) > len(others) and contradicts(alike[0][1], answer):
                provider.accuse(f"told other values of a block than {len(alike)} nodes that agree")

    def _note_short(self, at: str | None, reason: str) -> None:
        if at is not None:
            self._short[at] = reason
            for oldest in list(self._short)[:-_SHORT_READS]:
                del self._short[oldest]

    async def _try(
        self, provider: Provider, work: Callable[[Provider], Awaitable[_T]], urgent: bool = False
    ) -> _T | _Fault:
        since = provider.faults
        try:
            with urgent_lane() if urgent else nullcontext():
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
        except Exception as error:  # noqa: BLE001 - whatever is made of an answer, it is this node's and ends no loop
            odd = Malformed(f"what it answers cannot be used ({type(error).__name__})")
            provider.failed(odd)
            return _Fault(f"{provider.shown_url}: {odd}", unreachable=True)
        provider.answered(agreed=False, since=since)
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


def _good(task: asyncio.Future[_T | _Fault]) -> bool:
    return task.done() and not isinstance(task.result(), _Fault)


def _reasons(faults: Sequence[tuple[Provider, _Fault]]) -> str:
    return "; ".join(fault.reason for _, fault in faults) or "no other node can be asked now"


def _is_limit(error: object) -> bool:
    return isinstance(error, RpcUnreachable) and error.kind in ("rate-limited", "payment")


def _is_trouble(error: object) -> bool:
    return isinstance(error, RpcUnreachable) and error.kind == "server-error"


def build_pool(
    urls: Sequence[str],
    chain_id: int,
    clock: Clock,
    *,
    quorum: int = 1,
    timeout: float = 5.0,
    degraded: bool = False,
    budget: int | None = None,
) -> Pool:
    """A pool over the http(s) URLs among `urls`. `timeout` in seconds a round trip, `budget` in requests a second and
    node (None: as many as it takes). Raises ValueError.
    """
    http = [url for url in dict.fromkeys(urls) if not url.startswith(("ws://", "wss://"))]
    providers = tuple(
        Provider(RpcClient(url, timeout), chain_id, clock, budget=None if budget is None else Budget(budget, clock))
        for url in http
    )
    return Pool(providers, clock, quorum, degraded)
