"""Writing a rules file so that a crash leaves the old one or the new one whole, and nobody's change is lost."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path as FilePath

from tui.model.text import clean_text
from tui.rules.document import EditRefused
from tui.rules.load import MAX_FILE_BYTES


class FileChanged(EditRefused):
    """The file is no longer the one that was read: nothing was written."""


def text_digest(content: bytes) -> str:
    """The digest that `RuleSet.digest` holds and `save_rules` compares."""
    return hashlib.sha256(content).hexdigest()


def save_rules(path: FilePath, text: str, read_digest: str | None) -> str:
    """Write a rules file so that a crash leaves the old one or the new one whole, and return the new digest.

    `read_digest` is the digest of the file as it was read, None where there was none yet. The mode of the file is
    kept (a new one is for its owner only); a symbolic link stays one. Raises FileChanged where the file is another one
    by now, EditRefused where the text is too large to be read again, OSError where it cannot be written.
    """
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EditRefused(f"character {error.start + 1} cannot be saved as UTF-8; retype it") from None
    if len(content) > MAX_FILE_BYTES:
        raise EditRefused(f"the rules would be larger than {MAX_FILE_BYTES // 1024} KiB; split them into several files")
    target = path.resolve()
    mode = _check_unchanged(target, read_digest)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        _check_unchanged(target, read_digest)
        FilePath(temporary).replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            FilePath(temporary).unlink()
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return text_digest(content)


def _check_unchanged(target: FilePath, read_digest: str | None) -> int:
    """The permission bits to write with, if the file is still the one that was read."""
    try:
        with target.open("rb") as file:
            found: str | None = text_digest(file.read())
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except FileNotFoundError:
        found, mode = None, 0o600
    if found != read_digest:
        name = clean_text(target.name, 120)
        raise FileChanged(f"{name} was changed by something else; read it again before you save")
    return mode
