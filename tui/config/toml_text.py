"""TOML from a file that anybody may have written: read within bounds of size, depth and time, or refused in words."""

from __future__ import annotations

import tomllib
from typing import Any

from tui.model.text import clean_text
from tui.rules.spans import scan

MAX_CHARACTERS = 256 * 1024


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
        raise ValueError(clean_text(str(error), 120)) from None
