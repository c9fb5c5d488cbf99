"""A small HTTP server that answers JSON-RPC as badly as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import orjson

from tui.practice.rpc import Rpc, RpcError

Body = bytes | Iterable[bytes]
Reply = tuple[int, dict[str, str], Body] | Literal["close"] | None


@dataclass(frozen=True, slots=True)
class Get:
    """A request without a body: path, query by name, headers by lower-case name."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass(slots=True)
class BadServer:
    """`reply` gets the decoded request (a Get where it has no body) and gives status, extra headers and body; a body in
    pieces is streamed and the connection is cut after the last. None: nothing is answered until the client leaves.
    "close": the connection ends without an answer.
    """

    reply: Callable[[Any], Reply]
    port: int = 0
    requests: list[Any] = field(default_factory=list)
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def methods(self) -> list[str]:
        """Every method asked for so far."""
        flat = [one for request in self.requests for one in (request if isinstance(request, list) else [request])]
        return [one["method"] for one in flat]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection with as many requests as it brings."""
        task = asyncio.current_task()
        assert task is not None
        self.connections[task] = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length")
                    ),
                    0,
                )
                request = orjson.loads(await reader.readexactly(length)) if length else _get(head)
                self.requests.append(request)
                reply = self.reply(request)
                if reply == "close":
                    break
                if reply is None:
                    await reader.read()
                    break
                assert not isinstance(reply, str)
                status, headers, body = reply
                lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
                if isinstance(body, bytes):
                    lines.append(f"content-length: {len(body)}")
                    writer.write("\r\n".join((*lines, "", "")).encode() + body)
                    await writer.drain()
                    continue
                lines.append("transfer-encoding: chunked")
                writer.write("\r\n".join((*lines, "", "")).encode())
                for piece in body:
                    writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    await writer.drain()
                break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def _get(head: bytes) -> Get:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    target = urlsplit(first.split(" ")[1])
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Get(target.path, dict(parse_qsl(target.query)), headers)


@asynccontextmanager
async def bad_server(reply: Callable[[Any], Reply]) -> AsyncIterator[BadServer]:
    """A server on a free port for the length of a block."""
    server = BadServer(reply)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in server.connections.values():
            writer.close()
        await asyncio.gather(*server.connections)
        await listener.wait_closed()


def answer(request: Any, result: object) -> tuple[int, dict[str, str], bytes]:
    """The proper answer to one request or a batch, with the same result for each."""
    if isinstance(request, list):
        return 200, {}, orjson.dumps([{"jsonrpc": "2.0", "id": one["id"], "result": result} for one in request])
    return 200, {}, orjson.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result})


def relay(
    rpc: Rpc, change: Callable[[str, list[Any]], dict[str, Any] | None]
) -> Callable[[Any], tuple[int, dict[str, str], bytes]]:
    """A node with faults: `change` gets method and parameters (which it may alter) and gives `{"result": ...}` or
    `{"error": ...}` in the node's stead, or None to let the real node answer.
    """

    def one(row: dict[str, Any]) -> dict[str, Any]:
        changed = change(row["method"], row["params"])
        if changed is None:
            (told,) = rpc.try_batch([(row["method"], row["params"])])
            if isinstance(told, RpcError):
                changed = {"error": {"code": told.code, "message": told.message, "data": told.data}}
            else:
                changed = {"result": told}
        return {"jsonrpc": "2.0", "id": row["id"], **changed}

    def reply(request: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, orjson.dumps([one(row) for row in request] if isinstance(request, list) else one(request))

    return reply
