"""A websocket that rings when a node has a new head. It carries no facts: the block itself is asked over HTTP.

So a socket that is silent, lies or breaks costs a little delay and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Literal

import orjson

from tui.model.masking import is_loopback, mask_url
from tui.ports.clock import Clock

_SUBSCRIBE = b'{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}'
_LONGEST_PAUSE = 30.0
_MAX_MESSAGE = 256 * 1024

# The websocket library logs request lines at DEBUG, and they hold the URL's token.
_silent = logging.getLogger("tui.chain.ws.wire")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False


@dataclass(slots=True)
class HeadBell:
    """Keeps a `newHeads` subscription on a ws(s) URL open, with growing pauses between attempts."""

    url: str = field(repr=False)
    clock: Clock = field(repr=False)
    listening: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    rings: int = 0
    detail: str = ""
    _event: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _task: asyncio.Task[None] | None = field(default=None, repr=False)
    _line: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        """Whether the node has confirmed the subscription and the socket is open."""
        return self.listening.is_set()

    def start(self) -> None:
        """Begin to listen; calling it again does nothing."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._keep_listening(), name="head bell")

    async def stop(self) -> None:
        """Stop listening and close the socket."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def hang_up(self, why: str) -> None:
        """Close a socket that is open and of no use; it is opened again after a pause."""
        if self._line is not None and not self._line.done():
            self.detail = f"{mask_url(self.url)} {why}"
            self.listening.clear()
            self._line.cancel()

    def clear(self) -> None:
        """Forget past rings."""
        self._event.clear()

    async def wait(self) -> None:
        """Until the next ring."""
        await self._event.wait()

    async def _keep_listening(self) -> None:
        pause = 1.0
        while True:
            rings = self.rings
            self._line = asyncio.create_task(self._listen(), name="head bell line")
            try:
                await asyncio.wait((self._line,))
            finally:
                self.listening.clear()
                self._line.cancel()
                (ended,) = await asyncio.gather(self._line, return_exceptions=True)
            if isinstance(ended, Exception):  # whatever a socket does, polling goes on without it
                self.detail = f"{mask_url(self.url)}: {type(ended).__name__}"
            pause = 1.0 if self.rings > rings else min(2 * pause, _LONGEST_PAUSE)
            await self.clock.sleep(pause)

    async def _listen(self) -> None:
        from websockets.asyncio.client import connect  # 0.15 s that only users of websockets pay

        proxy: Literal[True] | None = None if is_loopback(self.url) else True
        async with connect(self.url, max_size=_MAX_MESSAGE, open_timeout=10, logger=_silent, proxy=proxy) as socket:
            await socket.send(_SUBSCRIBE.decode())
            async for message in socket:
                try:
                    decoded = orjson.loads(message)
                except orjson.JSONDecodeError:
                    return
                if not isinstance(decoded, dict) or "error" in decoded:
                    self.detail = f"{mask_url(self.url)} refuses to tell new heads"
                    return
                if decoded.get("method") == "eth_subscription":
                    self.rings += 1
                    self._event.set()
                self.listening.set()
