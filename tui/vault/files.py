"""Files that only their owner may touch: how they are opened, judged and replaced.

Everything is judged on the open descriptor, never on the path again, so nothing can be swapped in between.
"""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import stat
from collections.abc import Callable
from pathlib import Path

from tui.vault.errors import KeystoreError, KeystoreFault

MAX_FILE_BYTES = 64 * 1024
"""A keystore is about 500 bytes; anything near this size is something else."""


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def directory_faults(directory: Path) -> list[KeystoreError]:
    """What lets others into `directory`: owner and permissions. Empty when it is private. Raises nothing."""
    try:
        found = directory.stat()
    except (OSError, ValueError) as error:
        return [_unreadable(directory, error)]
    faults: list[KeystoreError] = []
    if not stat.S_ISDIR(found.st_mode):
        return [KeystoreError("is not a directory", directory, "Name a directory.", KeystoreFault.MISSING)]
    if found.st_uid != os.geteuid():
        faults.append(
            KeystoreError(
                f"the directory belongs to user {found.st_uid}, not to you (user {os.geteuid()})",
                directory,
                "Keep keys in a directory of your own, made with mkdir -m 700.",
                KeystoreFault.UNSAFE,
            )
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        faults.append(
            KeystoreError(
                f"the directory is open to other users (mode {stat.S_IMODE(found.st_mode):04o})",
                directory,
                f"Run: chmod 700 {_quoted(directory)}",
                KeystoreFault.UNSAFE,
            )
        )
    return faults


def _unreadable(path: Path, error: OSError | ValueError) -> KeystoreError:
    """`ValueError`: what the system calls say of a path with a NUL in it."""
    if isinstance(error, ValueError):
        return KeystoreError("is not a path", path, "Check the path.", KeystoreFault.MISSING)
    if error.errno == errno.ENOENT:
        return KeystoreError("no such file or directory", path, "Check the path.", KeystoreFault.MISSING)
    return KeystoreError(
        f"cannot be read ({error.strerror or type(error).__name__})",
        path,
        "Check the path and its permissions.",
        KeystoreFault.MISSING,
    )


def _file_faults(path: Path, found: os.stat_result) -> list[KeystoreError]:
    if not stat.S_ISREG(found.st_mode):
        return [KeystoreError("is not a regular file", path, "Name the key file itself.", KeystoreFault.UNSAFE)]
    faults: list[KeystoreError] = []
    if found.st_uid != os.geteuid():
        faults.append(
            KeystoreError(
                f"the file belongs to user {found.st_uid}, not to you (user {os.geteuid()})",
                path,
                "Someone else can change it. Make your own with: trimtab keystore import --file",
                KeystoreFault.UNSAFE,
            )
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        faults.append(
            KeystoreError(
                f"the file is open to other users (mode {stat.S_IMODE(found.st_mode):04o})",
                path,
                f"Run: chmod 600 {_quoted(path)}",
                KeystoreFault.UNSAFE,
            )
        )
    if found.st_size > MAX_FILE_BYTES:
        faults.append(
            KeystoreError(
                f"is {found.st_size} bytes long, a key file has less than {MAX_FILE_BYTES}",
                path,
                "Name the key file itself.",
                KeystoreFault.MALFORMED,
            )
        )
    return faults


def inspect_file(path: Path, *, judge_directory: bool = True) -> tuple[bytes | None, list[KeystoreError]]:
    """The bytes of a private file, and everything that makes it unsafe.

    The bytes are None where it may not or cannot be read at all (missing, symlink, not regular, too big).
    Raises nothing: a listing shows unsafe files too.
    """
    faults = directory_faults(path.parent) if judge_directory else []
    try:
        # NONBLOCK: a fifo laid in place of the file must not hang the program.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        # islink answers where Path.is_symlink raises, for a name that is too long.
        if getattr(error, "errno", None) == errno.ELOOP or os.path.islink(path):  # noqa: PTH114
            link = KeystoreError(
                "is a symbolic link",
                path,
                "Name the file it points to; links can be moved to another file.",
                KeystoreFault.UNSAFE,
            )
            return None, [link, *faults]
        return None, [_unreadable(path, error), *faults]
    try:
        found = os.fstat(descriptor)
        faults = [*_file_faults(path, found), *faults]
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            return None, faults
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return None, [_unreadable(path, error), *faults]
    finally:
        os.close(descriptor)
    if len(content) > MAX_FILE_BYTES:
        grown = KeystoreError("grows while it is read", path, "Name the key file itself.", KeystoreFault.MALFORMED)
        return None, [grown, *faults]
    return content, faults


def read_private(path: Path, *, judge_directory: bool = True) -> bytes:
    """The bytes of a file that only its owner can read. Raises `KeystoreError` for the first thing that is unsafe."""
    content, faults = inspect_file(path, judge_directory=judge_directory)
    if faults:
        raise faults[0]
    if content is None:  # pragma: no cover - inspect_file names a fault whenever it returns no bytes
        raise KeystoreError("cannot be read", path, "Check the path.", KeystoreFault.MISSING)
    return content


def ensure_private_directory(directory: Path) -> None:
    """Make `directory` with mode 0700 if it is absent; raises `KeystoreError` if it is there and not private."""
    missing: list[Path] = []
    probe = directory
    while not probe.exists() and probe != probe.parent:
        missing.append(probe)
        probe = probe.parent
    try:
        for absent in reversed(missing):
            absent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(absent.parent)
    except OSError as error:
        raise KeystoreError(
            f"cannot make the directory ({error.strerror})",
            directory,
            "Check the path and the free space of the disk.",
            KeystoreFault.MISSING,
        ) from error
    faults = directory_faults(directory)
    if faults:
        raise faults[0]


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, content: bytes, *, overwrite: bool, verify: Callable[[Path], None]) -> None:
    """Put `content` at `path` as 0600, whole or not at all: temp file, fsync, `verify(temp)`, rename, directory fsync.

    `verify` reads the temp file back and raises to keep the old file. Raises `KeystoreError` if `path` is there and
    `overwrite` is false, or if the disk refuses.
    """
    ensure_private_directory(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            verify(temporary)
            if overwrite:
                temporary.replace(path)
            else:
                _place_new(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise KeystoreError(
            f"cannot be written ({error.strerror or type(error).__name__})",
            path,
            "Check the path, its permissions and the free space of the disk.",
            KeystoreFault.MISSING,
        ) from error


def _taken(path: Path) -> KeystoreError:
    return KeystoreError(
        "a file is there already",
        path,
        "Choose another name, or say --replace if its key is backed up.",
        KeystoreFault.EXISTS,
    )


def refuse_taken(path: Path) -> None:
    """Raises `KeystoreError` if anything has this name, a dangling link as well."""
    if os.path.lexists(path):
        raise _taken(path)


def _place_new(temporary: Path, path: Path) -> None:
    """Give the temp file its name only if that name is free: a hard link never replaces anything."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # A file system without hard links (FAT, some network mounts): the check and the rename are two steps there.
        refuse_taken(path)
        temporary.rename(path)
