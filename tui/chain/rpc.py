"""JSON-RPC 2.0 over HTTP to one node: batches, bounded answers, strict checks. Knows nothing of blocks or contracts.

Answers are hostile until checked: a batch is taken whole or not at all.
"""

from __future__ import annotations

import asyncio
import logging
import re
import zlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx
import orjson

from tui.certificates import verification_for
from tui.inflow import Inflow, is_gzip
from tui.model.masking import is_loopback, mask_url, scrub, secrets_in

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Where an answer is cut off."""
MAX_BATCH = 100
"""Requests in one HTTP body; larger batches go out side by side."""
MAX_RETRY_AFTER = 30.0
"""Seconds of patience that a node is granted at most, whatever it asks for."""
_RATE_WORDS = re.compile(r"rate|too many|request|capacity|credit|compute unit|throughput|quota", re.IGNORECASE)
"""What code -32005 ("limit exceeded") is about: other limits it tells of are of one request."""
_LIMIT_WORDS = re.compile(
    r"rate.?limit|too many (?:requests|calls)|request(?:s)? (?:count|limit|rate|quota)|requests? (?:exceed|per )"
    r"|(?:daily|monthly|hourly|minute|second) (?:request |usage |credit )?(?:count|limit|quota|cap)"
    r"|compute.?units?|capacity (?:limit|exceeded)|(?:exceed\w*|exhaust\w*|out of) (?:\w+ )?(?:capacity|credits)"
    r"|credits? (?:are |is )?(?:exceeded|exhausted|used up|depleted)|throughput|quota",
    re.IGNORECASE,
)
"""A limit on requests in the codes that every server may use as it likes. A contract's own words never count."""
_SERVER_CODES = range(-32099, -31999)

# httpx logs every URL it asks at INFO, and a node's URL holds its token.
for _noisy in ("httpx", "httpcore"):
    logging.getLogger(_noisy).setLevel(logging.WARNING)


class RpcError(Exception):
    """The node understood and answered with an error. `data` is its hex `data` where it had one (revert data)."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


class RpcUnreachable(Exception):
    """No usable answer. `kind`: connect, timeout, rate-limited, payment, server-error, refused, malformed,
    too-large (the request), oversized (the answer). `retry_after` in seconds where the node asked for patience.
    """

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Request:
    """One method with its parameters."""

    method: str
    params: Sequence[object] = ()


@dataclass(slots=True)
class Stats:
    """What was asked of nodes so far: HTTP round trips, methods, and the eth_calls among them."""

    round_trips: int = 0
    methods: int = 0
    eth_calls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


Answer = object | RpcError
"""A result as JSON gave it, or why there is none."""


@dataclass(slots=True)
class RpcClient:
    """One node. `url` is http(s); `timeout` in seconds bounds a whole round trip, however slowly bytes drip."""

    url: str = field(repr=False)
    timeout: float = 10.0
    max_answer_bytes: int = MAX_ANSWER_BYTES
    stats: Stats = field(default_factory=Stats)
    batches: bool = True
    _client: httpx.AsyncClient = field(init=False, repr=False)
    _secrets: tuple[str, ...] = field(init=False, repr=False)
    _last_id: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        scheme = urlsplit(self.url).scheme
        if scheme not in ("http", "https"):
            raise ValueError(f"{mask_url(self.url)} is not an http or https URL")
        self._client = httpx.AsyncClient(
            verify=verification_for(self.url),  # a plain http node never needs one: redirects are off
            timeout=self.timeout,
            trust_env=not is_loopback(self.url),
            # One coding at most is asked for: what is inflated is bounded here, not by the library.
            headers={"content-type": "application/json", "user-agent": "trimtab", "accept-encoding": "gzip"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # a node could fill the memory with them
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=30),
        )
        self._secrets = secrets_in(self.url)

    @property
    def shown_url(self) -> str:
        """The URL with its token hidden."""
        return mask_url(self.url)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(self, method: str, *params: object) -> object:
        """The `result` of one request. Raises RpcError, RpcUnreachable."""
        (answer,) = await self._post_batch([Request(method, params)])
        if isinstance(answer, RpcError):
            raise answer
        return answer

    async def batch(self, requests: Sequence[Request]) -> list[Answer]:
        """Results in the order of `requests`; a request the node refused has its RpcError in its place.

        Raises RpcUnreachable where the answer as a whole is not to be had or not to be trusted.
        """
        if not requests:
            return []
        if not self.batches:
            return await self._one_by_one(requests)
        chunks = [requests[i : i + MAX_BATCH] for i in range(0, len(requests), MAX_BATCH)]
        try:
            answers = [await self._post_batch(chunks[0])]
            answers += await _gather([self._post_batch(chunk) for chunk in chunks[1:]])
        except _BatchRefused:
            self.batches = False
            return await self._one_by_one(requests)
        return [answer for part in answers for answer in part]

    async def _one_by_one(self, requests: Sequence[Request]) -> list[Answer]:
        parts = await _gather([self._post_batch([request]) for request in requests])
        return [part[0] for part in parts]

    async def _post_batch(self, requests: Sequence[Request]) -> list[Answer]:
        first_id = self._last_id + 1
        self._last_id += len(requests)
        bodies = [
            {"jsonrpc": "2.0", "id": first_id + i, "method": request.method, "params": list(request.params)}
            for i, request in enumerate(requests)
        ]
        self.stats.round_trips += 1
        self.stats.methods += len(requests)
        self.stats.eth_calls += sum(request.method == "eth_call" for request in requests)
        raw = await self._post(orjson.dumps(bodies if len(bodies) > 1 else bodies[0]))
        try:
            decoded = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise self._malformed("is not JSON, was cut short or is nested too deep") from None
        except Exception as error:  # noqa: BLE001 - whatever an answer does to a reader is the answer's fault
            raise self._malformed(f"cannot be read ({type(error).__name__})") from None
        return self._match(decoded, first_id, len(requests))

    def _match(self, decoded: object, first_id: int, count: int) -> list[Answer]:
        """Put answers in the order of their ids; refuse the whole where one is missing, doubled or foreign."""
        if count == 1 and isinstance(decoded, dict):
            decoded = [decoded]
        if not isinstance(decoded, list):
            if isinstance(decoded, dict) and isinstance(decoded.get("error"), dict):
                self._error(decoded["error"])
                raise _BatchRefused("refused", "the node refuses batches")
            raise self._malformed("is neither an answer nor a list of answers")
        slots: list[Answer] = [_MISSING] * count
        for item in decoded:
            if not isinstance(item, dict):
                raise self._malformed("holds something that is not an object")
            answer_id = item.get("id")
            error = item.get("error")
            if answer_id is None and count == 1 and error is not None:
                answer_id = first_id  # the specification lets a node answer null where it could not read the id
            if type(answer_id) is not int or not 0 <= answer_id - first_id < count:
                raise self._malformed("has an id that was not asked for")
            index = answer_id - first_id
            if slots[index] is not _MISSING:
                raise self._malformed("answers one id twice")
            if error is not None:
                slots[index] = self._error(error)
            elif "result" in item:
                slots[index] = item["result"]
            else:
                raise self._malformed("has neither result nor error")
        if any(slot is _MISSING for slot in slots):
            raise self._malformed("leaves out part of the batch")
        return slots

    def _error(self, error: object) -> RpcError:
        if not isinstance(error, dict):
            raise self._malformed("has an error that is not an object")
        code, message, data = error.get("code"), error.get("message"), error.get("data")
        if isinstance(data, dict):  # some nodes wrap the revert data once more
            data = data.get("data")
        words = scrub(message if isinstance(message, str) else "error without a message", self._secrets)
        number = code if type(code) is int else 0
        if _is_limit(number, words, data):
            raise RpcUnreachable("rate-limited", f"{self.shown_url} asks for fewer requests: {words}")
        return RpcError(number, words, data if isinstance(data, str) else None)

    async def _post(self, body: bytes) -> bytes:
        """The body of the answer. Asked a second time where a kept connection turns out to be closed: servers drop
        idle ones without a word, and every request here may be repeated.
        """
        self.stats.bytes_out += len(body)
        try:
            async with asyncio.timeout(self.timeout):
                try:
                    refused, raw = await self._exchange(body)
                except _ClosedEarly:
                    refused, raw = await self._exchange(body)
        except (TimeoutError, httpx.TimeoutException):
            raise RpcUnreachable("timeout", f"{self.shown_url} did not answer within {self.timeout:g} s") from None
        except (httpx.DecodingError, zlib.error):
            raise self._malformed("does not decompress") from None
        except RpcUnreachable:
            raise
        except (_ClosedEarly, httpx.RemoteProtocolError, httpx.ReadError):
            raise RpcUnreachable("connect", f"{self.shown_url} broke off its answer") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise RpcUnreachable("connect", f"{self.shown_url} cannot be reached ({type(error).__name__})") from None
        except Exception as error:  # noqa: BLE001 - no URL, header or body may end more than its own request
            raise RpcUnreachable(
                "connect", f"{self.shown_url} cannot be asked: its URL or its answer is odd ({type(error).__name__})"
            ) from None
        self.stats.bytes_in += len(raw)
        # A JSON-RPC error may come with an HTTP error status: the words inside it are worth more than the status.
        if refused is not None and not (refused.kind == "refused" and _looks_like_answer(raw)):
            raise refused
        return raw

    async def _exchange(self, body: bytes) -> tuple[RpcUnreachable | None, bytes]:
        """What the status means, and the body, read in pieces and dropped as soon as it grows over the bound."""
        begun = False
        try:
            async with self._client.stream("POST", self.url, content=body) as response:
                begun = True
                refused = self._refusal(response)
                inflow = Inflow(self.max_answer_bytes, self._coded(response))
                async for chunk in response.aiter_raw():
                    if not inflow.take(chunk):
                        raise RpcUnreachable(
                            "oversized", f"{self.shown_url} answered with more than {self.max_answer_bytes:,} bytes"
                        )
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if begun:
                raise
            raise _ClosedEarly from None
        return refused, inflow.whole()

    def _coded(self, response: httpx.Response) -> bool:
        """Whether the body is gzip. Raises RpcUnreachable for anything that was not asked for, nested codings first:
        a kilobyte coded twice holds gigabytes.
        """
        coded = is_gzip(response.headers.get("content-encoding", ""))
        if coded is None:
            raise self._malformed("is coded in a way that was not asked for")
        return coded

    def _refusal(self, response: httpx.Response) -> RpcUnreachable | None:
        status = response.status_code
        if status < 300:
            return None
        url = self.shown_url
        wait = _retry_after(response.headers.get("retry-after"))
        if status == 429:
            return RpcUnreachable("rate-limited", f"{url} asks for fewer requests (HTTP 429)", wait)
        if status == 402:
            return RpcUnreachable("payment", f"{url} wants to be paid or its quota is used up (HTTP 402)", wait)
        if status == 413:
            return RpcUnreachable("too-large", f"{url} does not take requests of that size (HTTP 413)")
        if status >= 500:
            return RpcUnreachable("server-error", f"{url} has trouble of its own (HTTP {status})", wait)
        if status in (401, 403):
            return RpcUnreachable("refused", f"{url} does not accept its access token (HTTP {status})")
        return RpcUnreachable("refused", f"{url} refused the request (HTTP {status})")

    def _malformed(self, what: str) -> RpcUnreachable:
        return RpcUnreachable("malformed", f"the answer of {self.shown_url} {what}")


class _ClosedEarly(Exception):
    """The connection ended before the first byte of an answer."""


class _BatchRefused(RpcUnreachable):
    """One error for a whole batch."""


class _Missing:
    """The place of an answer that has not come."""


_MISSING = _Missing()


def _looks_like_answer(raw: bytes) -> bool:
    return raw.lstrip()[:1] in (b"{", b"[") and b'"jsonrpc"' in raw[:4096]


def _is_limit(code: int, words: str, data: object) -> bool:
    """Whether an error asks for fewer requests. Code and words differ from gateway to gateway."""
    if code == 429:
        return True
    if code == -32005 and _RATE_WORDS.search(words):
        return True
    if code not in _SERVER_CODES or "revert" in words.lower() or (isinstance(data, str) and data.startswith("0x")):
        return False
    return _LIMIT_WORDS.search(words) is not None


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, bounded; None where it has none that can be read. Dates count as the most."""
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER)
    return MAX_RETRY_AFTER if _DATE.match(value) else None


_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?", re.ASCII)
_DATE = re.compile(r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? ", re.IGNORECASE | re.ASCII)


async def _gather(posts: Sequence[Coroutine[object, object, list[Answer]]]) -> list[list[Answer]]:
    """All at once; the first failure cancels the rest."""
    if not posts:
        return []
    tasks: list[asyncio.Task[list[Answer]]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(post) for post in posts)
    except* RpcUnreachable as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        failure = first
    else:
        return [task.result() for task in tasks]
    raise failure
