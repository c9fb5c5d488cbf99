"""Streams that never make their writer wait: a thread of its own writes, and where nobody reads, the oldest lines go.

A full pipe, or a terminal that was told to stop, blocks whoever writes to it. That must not be the engine.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator

MOST_BYTES = 1024 * 1024
"""What waits to be read; beyond that the oldest lines give way."""
PATIENCE = 1.0
"""Seconds that leaving waits for a reader."""
_A_LINE = 64
"""What keeping a line costs beside its bytes."""


class Outlet(io.TextIOBase):
    """A text stream over a descriptor. `write` takes whole and half lines and returns at once.

    Where lines had to go, `about_dropped` makes the line that stands in their place out of their number. `gone` says
    why nothing can be written any more, None while it can.
    """

    def __init__(self, descriptor: int, about_dropped: Callable[[int], str], most_bytes: int | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._about_dropped = about_dropped
        self._most_bytes = MOST_BYTES if most_bytes is None else most_bytes
        self._change = threading.Condition()
        self._half = ""
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._untold = 0
        self._busy = False
        self._ending = False
        self.dropped = 0
        self.gone: str | None = None
        # Started with the first line: until then this process may still want to fork.
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What text becomes."""
        return "utf-8"

    def writable(self) -> bool:
        """Whether text can be written: it always can."""
        return True

    def isatty(self) -> bool:
        """Whether a terminal is behind it."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor behind it."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Take text in. A line counts once its end has come."""
        with self._change:
            *lines, self._half = (self._half + text).split("\n")
            for line in lines:
                self._put(f"{line}\n".encode("utf-8", "backslashreplace"))
            self._change.notify_all()
        return len(text)

    def flush(self) -> None:
        """Nothing to do: whole lines are on their way already, and waiting is what this is made to avoid."""

    def _put(self, line: bytes) -> None:
        if self.gone is not None or self._ending:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"outlet {self._descriptor}", daemon=True)
            self._thread.start()
        self._lines.append(line)
        self._size += len(line) + _A_LINE
        while self._size > self._most_bytes and len(self._lines) > 1:
            self._size -= len(self._lines.popleft()) + _A_LINE
            self.dropped += 1
            self._untold += 1

    def ring(self) -> None:
        """Write the bell, which is no line."""
        with self._change:
            self._put(b"\a")
            self._change.notify_all()

    def close_outlet(self, patience: float = PATIENCE) -> None:
        """Write what is left, as far as it is read within `patience` seconds; nothing is taken in any more."""
        with self._change:
            if self._half:
                self._put(self._half.encode("utf-8", "backslashreplace"))
                self._half = ""
            self._ending = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(patience)

    def _work(self) -> None:
        while True:
            with self._change:
                while not self._lines:
                    if self._ending:
                        return
                    self._change.wait()
                untold, self._untold = self._untold, 0
                line = self._lines.popleft()
                self._size -= len(line) + _A_LINE
            if untold:
                line = f"{self._about_dropped(untold)}\n".encode("utf-8", "backslashreplace") + line
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError as error:
                with self._change:
                    self.gone = error.strerror or type(error).__name__
                    self._lines.clear()
                    self._size = 0
                return


@contextlib.contextmanager
def outlets(about_dropped_data: Callable[[int], str], about_dropped_talk: Callable[[int], str]) -> Iterator[None]:
    """Both streams of this process as outlets, so that whoever prints in here, a log too, waits for nobody.

    Where a stream leads nowhere already it stays as it is.
    """
    before = sys.stdout, sys.stderr
    logs = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    ]
    made: list[Outlet] = []
    for name, about in (("stdout", about_dropped_data), ("stderr", about_dropped_talk)):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            descriptor = stream.fileno()
            stream.flush()
            outlet = Outlet(descriptor, about)
            made.append(outlet)
            setattr(sys, name, outlet)
    for handler in logs:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for handler in logs:
            handler.setStream(sys.stderr)
        for outlet in made:
            outlet.close_outlet()
