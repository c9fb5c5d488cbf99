"""Fetches the practice chain's packages through pip and npm, checks their hashes and keeps them in a cache.

Only the files named in ``packages`` are extracted; no code from a package is ever imported or installed.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tui.practice.errors import PracticeError
from tui.practice.packages import ANVIL_BY_PLATFORM, ANVIL_MIN_GLIBC, Package, Registry

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""

FETCH_TIMEOUT_S = 300
_MAX_FILE_BYTES = 128 * 1024 * 1024


def no_progress(_what: str, _done: int, _total: int) -> None:
    """A ``Progress`` that shows nothing."""


def tree_hash(files: Mapping[str, bytes]) -> str:
    """Hex SHA-256 over ``name NUL sha256(content) NL`` of every file in name order."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()


def fetch(
    packages: tuple[Package, ...],
    cache: Path,
    progress: Progress = no_progress,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Make sure every package lies checked in ``cache`` and return label -> folder.

    ``environ`` replaces the environment of pip and npm (and the PATH they are looked up on).

    Raises:
        PracticeError: no pip or npm, registry unreachable, or a hash that differs.
    """
    found: dict[str, Path] = {}
    for index, package in enumerate(packages):
        progress(f"{package.name} {package.version}", index, len(packages))
        found[package.label] = _ensure(package, cache, os.environ if environ is None else environ)
    progress("contracts and node are in place", len(packages), len(packages))
    return found


def anvil_package() -> Package:
    """The package that holds the node for this machine.

    Raises:
        PracticeError: no build for this platform, or a C library too old for it.
    """
    machine = (sys.platform, platform.machine().lower())
    package = ANVIL_BY_PLATFORM.get(machine)
    if package is None:
        raise PracticeError(
            f"There is no packaged anvil for {machine[0]} on {machine[1]}.",
            "Put an anvil on your PATH, or use the Python node: pip install 'trimtab[pyevm]', then --node pyevm.",
        )
    check_glibc(glibc_version())
    return package


def glibc_version() -> tuple[int, int] | None:
    """Version of the GNU C library this process runs on, None on another C library."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return None
    parts = text.removeprefix("glibc ").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])


def check_glibc(version: tuple[int, int] | None) -> None:
    """Raise ``PracticeError`` unless anvil's binary can run on C library ``version``."""
    if version is not None and version >= ANVIL_MIN_GLIBC:
        return
    have = "another C library" if version is None else f"glibc {version[0]}.{version[1]}"
    raise PracticeError(
        f"anvil needs glibc {ANVIL_MIN_GLIBC[0]}.{ANVIL_MIN_GLIBC[1]} or newer, this system has {have}.",
        "Use the Python node instead: pip install 'trimtab[pyevm]', then --node pyevm.",
    )


def verify_archive(package: Package, archive: Path) -> None:
    """Raise ``PracticeError`` unless ``archive`` has the hash pinned for ``package``."""
    algorithm, _, expected = package.archive_hash.partition(":")
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, algorithm)
    actual = digest.hexdigest() if algorithm == "sha256" else base64.b64encode(digest.digest()).decode()
    if not hmac.compare_digest(actual, expected):
        raise PracticeError(
            f"{package.name} {package.version} does not have the expected {algorithm}: got {actual}, want {expected}.",
            "Nothing of it was used. Check the registry or mirror pip and npm are set to, then try again.",
        )


def install(package: Package, archive: Path, target: Path) -> None:
    """Check ``archive`` and put the package's files into ``target``, all of them or none.

    Raises:
        PracticeError: the archive or what is in it is not what was pinned.
    """
    verify_archive(package, archive)
    files = {name: _read_member(package, archive, member) for member, name in package.files}
    if tree_hash(files) != package.tree_hash:
        raise PracticeError(
            f"The files inside {package.name} {package.version} are not the pinned ones.",
            "Nothing of it was used. Please report this: the pins in this version of Trimtab do not fit together.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, content in files.items():
            path = building / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o755 if name == "anvil" else 0o644)
        shutil.rmtree(target, ignore_errors=True)
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def is_intact(package: Package, folder: Path) -> bool:
    """Whether ``folder`` holds exactly the pinned content of the package's files."""
    try:
        files = {name: (folder / name).read_bytes() for _, name in package.files}
    except OSError:
        return False
    return tree_hash(files) == package.tree_hash


def _ensure(package: Package, cache: Path, environ: Mapping[str, str]) -> Path:
    target = cache / package.directory
    if is_intact(package, target):
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / ".fetch.lock"):
            if not is_intact(package, target):
                with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as work:
                    install(package, _download(package, Path(work), environ), target)
    except OSError as error:
        raise PracticeError(
            f"The cache directory {cache} cannot be written: {error.strerror or error}.",
            "Free some space or mend its permissions (the cache takes about 60 MB).",
        ) from error
    return target


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` so that two first runs at once fetch or build one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _download(package: Package, work: Path, environ: Mapping[str, str]) -> Path:
    if package.registry is Registry.PIP:
        command = [
            *_pip(environ),
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
            "--ignore-requires-python",
            "--only-binary=:all:",
            f"--dest={work}",
            f"{package.name}=={package.version}",
        ]
        pattern = "*.whl"
    else:
        command = [
            *_npm(environ),
            "pack",
            "--silent",
            "--ignore-scripts",
            f"--pack-destination={work}",
            f"{package.name}@{package.version}",
        ]
        pattern = "*.tgz"
    _run(command, package, work, environ)
    archives = sorted(work.glob(pattern))
    if len(archives) != 1:
        raise PracticeError(
            f"{package.registry.value} fetched {len(archives)} archives for {package.name} {package.version}, want 1.",
            f"Run by hand to see why: {' '.join(command)}",
        )
    return archives[0]


def _run(command: list[str], package: Package, work: Path, environ: Mapping[str, str]) -> None:
    tool = package.registry.value
    by_hand = f"Run by hand to see why: {' '.join(command)}"
    try:
        done = subprocess.run(
            command,
            cwd=work,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FETCH_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PracticeError(
            f"{tool} did not fetch {package.name} {package.version} within {FETCH_TIMEOUT_S} s.",
            f"Check the network, then try again. {by_hand}",
        ) from None
    except OSError as error:
        raise PracticeError(f"{tool} could not be started: {error.strerror or error}.", by_hand) from error
    if done.returncode == 0:
        return
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    errors = [line for line in said if "error" in line.lower()] or said
    reason = (errors[0] if errors else f"exit code {done.returncode}")[:300]
    raise PracticeError(
        f"{tool} could not fetch {package.name} {package.version}: {reason}",
        f"It needs the registry once, later runs work offline. Check the network and proxy. {by_hand}",
    )


def _pip(environ: Mapping[str, str]) -> list[str]:
    """Command line of a pip: this interpreter's, else one on PATH."""
    own = subprocess.run(
        [sys.executable, "-m", "pip", "--version"],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    if own.returncode == 0:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        path = shutil.which(name, path=environ.get("PATH", ""))
        if path is not None:
            return [path]
    raise PracticeError(
        "The contracts are fetched with pip, and there is no pip here.",
        f"Install it once: {sys.executable} -m ensurepip (or: uv pip install pip), then try again.",
    )


def _npm(environ: Mapping[str, str]) -> list[str]:
    path = shutil.which("npm", path=environ.get("PATH", ""))
    if path is None:
        raise PracticeError(
            "The practice node is fetched with npm, and there is no npm on PATH.",
            "Install Node.js (it brings npm), or put an anvil on your PATH, "
            "or use the Python node: pip install 'trimtab[pyevm]', then --node pyevm.",
        )
    return [path]


def _read_member(package: Package, archive: Path, member: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as stream:
                return _read_bounded(stream)
        with tarfile.open(archive, "r:gz") as tarball:
            extracted = tarball.extractfile(member)
            if extracted is None:
                raise KeyError(member)
            with extracted:
                return _read_bounded(extracted)
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise PracticeError(
            f"{package.name} {package.version} has no readable {member}.",
            "Nothing of it was used. Check the registry or mirror pip and npm are set to, then try again.",
        ) from error


def _read_bounded(stream: IO[bytes]) -> bytes:
    content = stream.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise KeyError("file too large")
    return content
