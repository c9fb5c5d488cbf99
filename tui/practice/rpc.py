"""A small synchronous JSON-RPC client for the practice chain's own hands (deployment, actors, tests).

It speaks with a node of ours on this machine, thousands of times: by the plain HTTP of the standard library, which
costs a fifth of what a client for the whole web does.
"""

from __future__ import annotations

import select
from collections.abc import Iterable, Sequence
from http.client import HTTPConnection, HTTPException
from socket import socket
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import orjson

from tui.practice.errors import PracticeError


class RpcError(Exception):
    """A node's error answer: ``code``, ``message`` and ``data`` as it sent them."""

    def __init__(self, method: str, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{method}: {message}")
        self.method = method
        self.code = code
        self.message = message
        self.data = data


class Rpc:
    """One node's JSON-RPC over HTTP, with batches. Threads may share it: their requests follow one another."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        self.url = url
        place = urlsplit(url)
        self._path = place.path or "/"
        self._connection = HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)
        self._turn = Lock()
        self._next_id = 0

    def call(self, method: str, *params: object) -> Any:
        """The result of one request.

        Raises:
            RpcError: the node answered with an error.
            PracticeError: the node does not answer at all.
        """
        return self.batch([(method, params)])[0]

    def batch(self, requests: Iterable[tuple[str, Sequence[object]]]) -> list[Any]:
        """Results in order of the requests; the first error among them is raised as ``RpcError``."""
        results = self.try_batch(requests)
        for result in results:
            if isinstance(result, RpcError):
                raise result
        return results

    def try_batch(self, requests: Iterable[tuple[str, Sequence[object]]]) -> list[Any]:
        """As ``batch``, but an error stands in the list as an ``RpcError`` instead of being raised."""
        asked = list(requests)
        if not asked:
            return []
        first = self._next_id
        self._next_id += len(asked)
        body = [
            {"jsonrpc": "2.0", "id": first + index, "method": method, "params": list(params)}
            for index, (method, params) in enumerate(asked)
        ]
        answer = self._post(body if len(body) > 1 else body[0])
        rows = answer if isinstance(answer, list) else [answer]
        by_id = {row.get("id"): row for row in rows}
        results: list[Any] = []
        for index, (method, _) in enumerate(asked):
            row = by_id.get(first + index)
            if row is None:
                results.append(RpcError(method, -32603, "no answer in the batch"))
            elif "error" in row:
                error = row["error"]
                results.append(
                    RpcError(method, int(error.get("code", 0)), str(error.get("message")), error.get("data"))
                )
            else:
                results.append(row.get("result"))
        return results

    def close(self) -> None:
        self._connection.close()

    def _post(self, body: object) -> Any:
        try:
            with self._turn:
                return orjson.loads(self._exchange(orjson.dumps(body)))
        except (OSError, HTTPException, orjson.JSONDecodeError) as error:
            raise PracticeError(
                f"The practice node at {self.url} does not answer ({type(error).__name__}).",
                "It has stopped or is stuck: start the practice chain again.",
            ) from error

    def _exchange(self, body: bytes) -> bytes:
        """One request and its answer. What was sent is never sent again: the node may have taken it."""
        connection = self._connection
        if connection.sock is not None and _is_readable(connection.sock):
            connection.close()  # nothing was asked: the node has hung up since, and the next request opens it anew
        try:
            connection.request("POST", self._path, body, {"content-type": "application/json"})
            with connection.getresponse() as response:
                return response.read()
        except BaseException:
            connection.close()
            raise


def _is_readable(channel: socket) -> bool:
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    return bool(poll.poll(0))
