"""JSON from outside, read without letting its nesting reach the C stack.

The interpreter's own guard is not enough: libraries below the signing library raise the recursion limit to 100,000,
and then a few thousand brackets end the process.
"""

from __future__ import annotations

import json
import re

MAX_DEPTH = 32

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


def loads(content: bytes) -> object:
    """The JSON value of UTF-8 text nested at most `MAX_DEPTH` deep. Raises ValueError."""
    text = content.decode()
    if text.count("[") + text.count("{") > MAX_DEPTH:
        depth = 0
        # Outside of strings; where a string never ends, the parser stops there too.
        for bracket in _BRACKETS.findall(_STRING.sub("", text)):
            depth += 1 if bracket in "[{" else -1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deep")
    return json.loads(text)
