"""TOML from a file that anybody may have written: read within bounds of size, depth and time, or refused in words."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from tui.model.text import clean_text
from tui.rules.spans import scan

MAX_CHARACTERS = 256 * 1024
_URL = re.compile(r"\w{0,10}://[^\s'\")\]]*")


def without_urls(text: str) -> str:
    """`text` with every URL hidden: it may hold a token."""
    return _URL.sub("***", text)


def shown_key(key: object) -> str:
    """A key of a file, fit for a message."""
    return clean_text(without_urls(str(key)), 40)


def read_toml(text: str) -> dict[str, Any]:
    """The tables of a text. Raises ValueError with one clean line: what is wrong, without where."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"longer than {MAX_CHARACTERS // 1024} KiB")
    found = scan(text)
    if found.limit is not None:
        raise ValueError(f"line {found.stopped_line}: {found.limit}")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError, OverflowError) as error:
        raise ValueError(clean_text(without_urls(str(error)), 120)) from None
