"""Whether the files that an engine was started from still say what they said: a network file edited behind it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path


class ConfigWatch:
    """Looks at files again and again; reads one only where its time, size or place on the disk changed."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._began = {path: _digest(path) for path in files}
        self._stamps = {path: _stamp(path) for path in files}
        self._now = dict(self._began)

    def changed(self) -> str | None:
        """Which file is another one than at the start and what to do, or None. The old content back is no change."""
        for path, began in self._began.items():
            stamp = _stamp(path)
            if stamp != self._stamps[path]:
                self._stamps[path] = stamp
                self._now[path] = _digest(path)
            now = self._now[path]
            if now != began:
                what = "cannot be read any more" if now is None else "was changed"
                return f"{path} {what} since this engine was started: start again to use it, or put it back"
        return None


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino


def _digest(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
