"""How commands speak: data on stdout, talk on stderr, one meaning a line; the exit codes they share."""

from __future__ import annotations

import json
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
    """One line for a person."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - stderr is where talk goes
