"""How commands speak: data on stdout, talk on stderr, one meaning a line; the exit codes they share."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from enum import IntEnum


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
    """One JSON value on one line."""
    data(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))


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
