"""One node of a chain: what it told, how it does, whether it is set aside and until when.

It is asked nothing before it has told the right chain id, and again after every failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from tui.chain.budget import Budget, urgent_lane
from tui.chain.hexes import Malformed, quantity
from tui.chain.rpc import Answer, Request, RpcClient, RpcError, RpcUnreachable
from tui.model.text import clean_text
from tui.ports.chain import ProviderStatus
from tui.ports.clock import Clock

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
_LONGEST_BACKOFF_WHEN_ASKED = 60.0
_WRONG_CHAIN_BACKOFF = 60.0
_FIRST_QUARANTINE = 300.0
_LONGEST_QUARANTINE = 3600.0
_ACCUSED_AFTER = 3
"""Heads in a row that differ from what the others agree on: once or twice is a fork that is being settled."""
_VERIFY_AGAIN = 60.0
_CHAIN = Request("eth_chainId")
_LATENCY_WEIGHT = 0.3


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


def _is_limit(error: object) -> bool:
    return isinstance(error, RpcUnreachable) and error.kind in ("rate-limited", "payment")


def _is_trouble(error: object) -> bool:
    return isinstance(error, RpcUnreachable) and error.kind == "server-error"
