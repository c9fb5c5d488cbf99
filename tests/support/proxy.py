"""A JSON-RPC proxy between an engine and a real node that is as bad as a test tells it to be.

Faults are scripted by method and happen at once or when a gate opens: nothing here waits for a clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

Row = dict[str, Any]
"""One JSON-RPC request or answer."""
Forward = Callable[[str, list[Any]], Any]
Spoil = Callable[[bytes], bytes]


@dataclass(slots=True)
class Fault:
    """Something that goes wrong with requests for `methods` (empty: any), `left` times (None: until lifted)."""

    methods: frozenset[str]
    left: int | None = None
    hits: int = 0

    def takes(self, method: str) -> bool:
        """Whether it happens to this method now."""
        return self.left != 0 and (not self.methods or method in self.methods)

    def hit(self) -> None:
        """Count one time."""
        self.hits += 1
        if self.left is not None:
            self.left -= 1

    def lift(self) -> None:
        """End it."""
        self.left = 0


@dataclass(slots=True)
class Told(Fault):
    """The answer is `instead(params)`; where that is None the node is asked, and it is `change(params, its answer)`."""

    instead: Callable[[list[Any]], Row | None] = lambda params: None
    change: Callable[[list[Any], Row], Row] = lambda params, row: row


@dataclass(slots=True)
class Refused(Fault):
    """An HTTP status instead of an answer; the node is not asked."""

    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Spoilt(Fault):
    """The body of the answer as `spoil` makes it; `cut` ends the connection in the middle of it."""

    spoil: Spoil = lambda body: body
    cut: bool = False


@dataclass(slots=True)
class Raw(Fault):
    """Bytes on the wire as `wire` makes them of the true body, head and all; then the connection ends."""

    wire: Spoil = lambda body: body


@dataclass(slots=True)
class Silent(Fault):
    """No answer until the client leaves or the gate opens. `after` True: the node has been asked by then."""

    after: bool = True
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """One provider in front of a node. `asked` has every (method, params) that came in."""

    def __init__(self, node_url: str) -> None:
        self.node_url = node_url
        self.port = 0
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, list[Any]]] = []
        self.passed: list[tuple[str, list[Any]]] = []
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/"

    def count(self, method: str) -> int:
        """How often a method was asked for."""
        return sum(one == method for one, _ in self.asked)

    # --- the script ------------------------------------------------------------------------------------------------

    def lie(self, method: str, result: object, times: int | None = None) -> Fault:
        """Answer `result`, or `result(params, true result)` where it can be called."""

        if not callable(result):
            return self.add(Told(frozenset((method,)), times, instead=lambda params: {"result": result}))

        def change(params: list[Any], row: Row) -> Row:
            return {"result": result(params, row["result"])} if "result" in row else row

        return self.add(Told(frozenset((method,)), times, change=change))

    def refuse(self, method: str, message: str, code: int = -32000, times: int | None = None) -> Fault:
        """Answer with an error; the node is not asked."""
        error = {"error": {"code": code, "message": message}}
        return self.add(Told(frozenset((method,)), times, instead=lambda params: error))

    def reword(self, method: str, words: Callable[[str], str | None]) -> Fault:
        """Put the node's own errors into other words, where `words` gives some."""

        def change(params: list[Any], row: Row) -> Row:
            said = words(row["error"]["message"]) if "error" in row else None
            return row if said is None else {"error": {"code": -32000, "message": said}}

        return self.add(Told(frozenset((method,)), change=change))

    def swallow(self, method: str, result: Callable[[list[Any]], object], times: int | None = None) -> Fault:
        """Answer as if all were well, and never hand it on."""
        return self.add(Told(frozenset((method,)), times, instead=lambda params: {"result": result(params)}))

    def http(self, status: int, *methods: str, times: int | None = None, **headers: str) -> Fault:
        """Answer with an HTTP status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.add(Refused(frozenset(methods), times, status=status, headers=named))

    def down(self) -> Fault:
        """Answer nothing at all from now on."""
        return self.http(503)

    def spoil(self, how: Spoil, *methods: str, times: int | None = None) -> Fault:
        """Change the bytes of answers."""
        return self.add(Spoilt(frozenset(methods), times, spoil=how))

    def cut(self, *methods: str, times: int | None = None) -> Fault:
        """Ask the node, then break the connection in the middle of its answer."""
        return self.add(Spoilt(frozenset(methods), times, spoil=lambda body: body[: len(body) // 2], cut=True))

    def raw(self, wire: bytes | Spoil, *methods: str, times: int | None = None) -> Fault:
        """Answer with these bytes and no HTTP of the proxy's own; a callable makes them of the true body."""
        how: Spoil = wire if callable(wire) else lambda body: wire
        return self.add(Raw(frozenset(methods), times, wire=how))

    def silence(self, *methods: str, after: bool = True, times: int | None = None) -> Silent:
        """Say nothing until the client leaves; with `after` once the node has been asked."""
        fault = Silent(frozenset(methods), times, after=after)
        self.add(fault)
        return fault

    def add(self, fault: Fault) -> Fault:
        """One more fault; the newest that takes a request is the one that happens to it."""
        self.faults.insert(0, fault)
        return fault

    def heal(self) -> None:
        """Lift all faults."""
        self.faults.clear()

    # --- serving ---------------------------------------------------------------------------------------------------

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection with as many requests as it brings."""
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _length(head.lower())
                if not await self._answer(orjson.loads(await reader.readexactly(length)), reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, request: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may go on."""
        rows: list[Row] = request if isinstance(request, list) else [request]
        methods = [row["method"] for row in rows]
        self.asked += [(row["method"], row.get("params", [])) for row in rows]
        refused = self._first(Refused, methods)
        if isinstance(refused, Refused):
            writer.write(_http(refused.status, b"", refused.headers))
            await writer.drain()
            return True
        silent = self._first(Silent, methods)
        if isinstance(silent, Silent) and not silent.after and not await _released(silent, reader):
            return False
        answers = [await self._one(row) for row in rows]
        if isinstance(silent, Silent) and silent.after and not await _released(silent, reader):
            return False
        body = orjson.dumps(answers if isinstance(request, list) else answers[0])
        raw = self._first(Raw, methods)
        if isinstance(raw, Raw):
            writer.write(raw.wire(body))
            await writer.drain()
            return False
        spoilt = self._first(Spoilt, methods)
        if isinstance(spoilt, Spoilt):
            whole = len(body)
            body = spoilt.spoil(body)
            writer.write(_http(200, body, {}, whole if spoilt.cut else len(body)))
            await writer.drain()
            return not spoilt.cut
        writer.write(_http(200, body, {}))
        await writer.drain()
        return True

    async def _one(self, row: Row) -> Row:
        method, params = row["method"], row.get("params", [])
        told = self._first(Told, [method])
        answer = told.instead(params) if isinstance(told, Told) else None
        if answer is None:
            answer = await self._forward(method, params)
            if isinstance(told, Told):
                answer = told.change(params, answer)
        return {"jsonrpc": "2.0", "id": row["id"], **answer}

    async def _forward(self, method: str, params: list[Any]) -> Row:
        self.passed.append((method, params))
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        told = orjson.loads(await self._exchange(orjson.dumps(body)))
        return {key: told[key] for key in ("result", "error") if key in told}

    async def _exchange(self, body: bytes) -> bytes:
        """The node's answer, over a connection that is kept. Plain bytes: whole engines are tested through this."""
        while self._idle and self._idle[-1][0].at_eof():
            self._idle.pop()[1].close()
        place = urlsplit(self.node_url)
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(place.hostname, place.port)
        try:
            head = f"POST / HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            writer.write(f"{head}\r\n".encode() + body)
            told = (await reader.readuntil(b"\r\n\r\n")).lower()
            answer = await reader.readexactly(_length(told))
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return answer

    def _first(self, kind: type[Fault], methods: Iterable[str]) -> Fault | None:
        for fault in self.faults:
            if isinstance(fault, kind) and any(fault.takes(method) for method in methods):
                fault.hit()
                return fault
        return None

    async def aclose(self) -> None:
        """Close every connection."""
        for writer in self._connections.values():
            writer.close()
        await asyncio.gather(*self._connections)
        for _, writer in self._idle:
            writer.close()


def _length(head: bytes) -> int:
    """How long the body is that follows lower-case headers. Raises ConnectionError where that is not said."""
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    raise ConnectionError("a body of unknown length")


async def _released(silent: Silent, reader: asyncio.StreamReader) -> bool:
    """Wait for the gate, or for the client to leave; whether it was the gate."""
    silent.reached.set()
    leaving = asyncio.ensure_future(reader.read(1))
    opening = asyncio.ensure_future(silent.gate.wait())
    try:
        await asyncio.wait((leaving, opening), return_when=asyncio.FIRST_COMPLETED)
        return silent.gate.is_set()
    finally:
        for waiting in (leaving, opening):
            waiting.cancel()
        await asyncio.gather(leaving, opening, return_exceptions=True)


def _http(status: int, body: bytes, headers: dict[str, str], length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join((*lines, "", "")).encode() + body


@asynccontextmanager
async def proxies(node_url: str, count: int = 1) -> AsyncIterator[list[Proxy]]:
    """`count` providers in front of one node, each with faults of its own."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            proxy = Proxy(node_url)
            listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
            proxy.port = listener.sockets[0].getsockname()[1]
            stack.push_async_callback(proxy.aclose)
            stack.callback(listener.close)
            made.append(proxy)
        yield made


# --- ways to spoil a body --------------------------------------------------------------------------------------------


def coded(coding: str, squeeze: Spoil) -> Spoil:
    """A whole HTTP answer with its body as `squeeze` makes it and called `coding`; for `Proxy.raw`."""

    def wire(body: bytes) -> bytes:
        return _http(200, squeezed := squeeze(body), {"content-encoding": coding}, len(squeezed))

    return wire


def _rows(change: Callable[[list[Row]], object]) -> Spoil:
    def how(body: bytes) -> bytes:
        decoded = orjson.loads(body)
        return orjson.dumps(change(decoded)) if isinstance(decoded, list) else body

    return how


REORDERED = _rows(lambda rows: rows[::-1])
"""The answers of a batch in another order: allowed."""
DOUBLED = _rows(lambda rows: [*rows[:-1], rows[0]])
"""One id twice, another missing."""
PARTIAL = _rows(lambda rows: rows[:-1])
"""The last answer of a batch missing."""


def truncated(body: bytes) -> bytes:
    """JSON that ends too early, in a whole HTTP answer."""
    return body[:-2]


def nested(body: bytes) -> bytes:
    """JSON nested a hundred thousand deep."""
    return b"[" * 100_000 + b"]" * 100_000


def giant(size: int) -> Spoil:
    """The true answer after `size` blanks."""
    return lambda body: b" " * size + body
