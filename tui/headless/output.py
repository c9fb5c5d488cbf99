"""How commands speak: data on stdout, talk on stderr, one meaning a line; the exit codes they share."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from enum import IntEnum
from typing import TextIO


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FOUND = 1
    USAGE = 2
    NO_CHAIN = 3
    REFUSED = 4
    INTERRUPTED = 130


def data(text: str) -> None:
    """One line of data, at once even into a pipe."""
    print(text, flush=True)  # noqa: T201 - stdout is where data goes


def data_json(value: object) -> None:
    """One JSON value on one line. Where stdout is not UTF-8, which JSON wants, it is plain ASCII."""
    data(json.dumps(value, ensure_ascii=not takes_all(sys.stdout), separators=(", ", ": ")))


def takes_all(stream: TextIO) -> bool:
    """Whether a stream has a form for every letter, as one has that encodes nothing (what an app catches)."""
    encoding = getattr(stream, "encoding", "utf-8") or ""
    return encoding.lower().replace("-", "") in ("utf8", "utf8sig")


def escape_what_has_no_form() -> None:
    """Let stdout write `\\u2026` for a letter that its encoding lacks: a locale is no reason to say nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and not takes_all(sys.stdout):
        sys.stdout.reconfigure(errors="backslashreplace")


def talk(text: str) -> None:
    """One line for a person. A terminal that is gone hears nothing, and is no reason to stop."""
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - stderr is where talk goes
    except OSError:
        silence(2)


def silence(descriptor: int) -> None:
    """Let whatever is written to a descriptor from now on go nowhere: what it led to is gone."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
