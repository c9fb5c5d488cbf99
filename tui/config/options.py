"""The options that most commands share, parsed into one frozen value."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


class UsageError(Exception):
    """The command line or a file it names cannot be used; the text says what, where and how to mend it."""

    exit_code = 2


class RefusedForSafety(UsageError):
    """What is asked for would not be safe: a key file that others can read, a password file that is not private."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. Paths are as typed; None means the default place. Passwords come from as many files (or
    descriptors) as there are keystores, in the same order, or from one for all.
    """

    config: Path | None = None
    state: Path | None = None
    network: str | None = None
    rpc: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    rules: tuple[Path, ...] = ()
    keystores: tuple[Path, ...] = ()
    password_files: tuple[Path, ...] = ()
    password_fds: tuple[int, ...] = ()
    read_only: bool = False
    log_level: str = "warning"


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the shared options. All may also stand before the command."""
    unset = argparse.SUPPRESS
    group = parser.add_argument_group("common options")
    group.add_argument("--config", type=Path, metavar="DIR", default=unset, help="configuration directory")
    group.add_argument("--state", type=Path, metavar="DIR", default=unset, help="state directory")
    group.add_argument("--network", metavar="NAME|FILE", default=unset, help="a built-in network or a network file")
    group.add_argument(
        "--rpc",
        action="append",
        metavar="URL",
        default=unset,
        help="a node's URL (repeatable). Every user of this machine sees it in the process list: a URL with a token "
        "belongs into a network file of mode 0600, as rpc = [...]",
    )
    group.add_argument("--address", action="append", metavar="0x...", default=unset, help="watch this (repeatable)")
    group.add_argument("--rules", action="append", type=Path, metavar="FILE", default=unset, help="(repeatable)")
    group.add_argument(
        "--keystore",
        action="append",
        type=Path,
        metavar="FILE",
        default=unset,
        help="an encrypted key file (repeatable)",
    )
    group.add_argument(
        "--password-file",
        action="append",
        type=Path,
        metavar="FILE",
        default=unset,
        help="its password, mode 0600; of several key files one for all, or one for each in the same order",
    )
    group.add_argument(
        "--password-fd", action="append", type=int, metavar="N", default=unset, help="the same, on a descriptor"
    )
    group.add_argument("--read-only", action="store_true", default=unset, help="watch, never sign")
    group.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default=unset)


def options_from(args: argparse.Namespace) -> Options:
    """The shared options of parsed arguments. Raises UsageError for what no command could use."""
    given = vars(args)
    addresses = tuple(given.get("address") or ())
    for address in addresses:
        if _ADDRESS.fullmatch(address) is None:
            raise UsageError(f"--address {address!r} is not an address; write 0x and 40 hexadecimal digits")
    if given.get("password_file") and given.get("password_fd"):
        raise UsageError("--password-file and --password-fd exclude each other; give one")
    return Options(
        config=given.get("config"),
        state=given.get("state"),
        network=given.get("network"),
        rpc=tuple(given.get("rpc") or ()),
        addresses=tuple(dict.fromkeys(address.lower() for address in addresses)),
        rules=tuple(given.get("rules") or ()),
        keystores=tuple(given.get("keystore") or ()),
        password_files=tuple(given.get("password_file") or ()),
        password_fds=tuple(given.get("password_fd") or ()),
        read_only=bool(given.get("read_only", False)),
        log_level=given.get("log_level") or "warning",
    )
