"""The nodes of one chain as a pool: who may be asked, who must agree, and what is accepted from fewer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from tui.chain.budget import Budget, urgent_lane
from tui.chain.hexes import Malformed
from tui.chain.provider import BlockUnknown, Provider
from tui.chain.rpc import RpcClient, RpcError, RpcUnreachable, Stats
from tui.ports.chain import ChainUnreachable, ProviderStatus, ReadFailed
from tui.ports.clock import Clock

_T = TypeVar("_T")
_SHORT_READS = 64
GRACE = 1.0
"""Seconds that the others are waited for where enough nodes have answered."""
_UNKNOWN_BLOCK_PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Behind one URL there may be many machines, and the one that is asked may be a block behind the one that told."""


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
