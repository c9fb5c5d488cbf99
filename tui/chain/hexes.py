"""Strict readings of the hex texts that nodes answer with. Whatever does not fit raises Malformed, and nothing else."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}", re.ASCII)
_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
CODELESS = "0x000000000000000000000000000000000000dead"
"""Nobody's address: what is sent to it runs nothing, whatever code the sender's own account runs."""


class Malformed(ValueError):
    """A node's answer does not have the shape that the JSON-RPC specification gives it."""


def quantity(value: object, what: str = "a quantity") -> int:
    """The integer of a `0x`-hex quantity of at most 256 bits."""
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise Malformed(f"{what} is not a hex quantity")
    return int(value, 16)


def data(value: object, what: str = "data") -> bytes:
    """The bytes of a `0x`-hex text."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise Malformed(f"{what} is not hex data")
    try:
        # bytes.fromhex skips blanks: a length that differs shows them.
        decoded = bytes.fromhex(value[2:])
    except ValueError:
        raise Malformed(f"{what} is not hex data") from None
    if 2 * len(decoded) + 2 != len(value):
        raise Malformed(f"{what} is not hex data")
    return decoded


def hash32(value: object, what: str = "a hash") -> str:
    """A 32-byte hash in lower case."""
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise Malformed(f"{what} is not a 32-byte hash")
    return value.lower()


def address(value: object, what: str = "an address") -> str:
    """A 20-byte address in lower case."""
    if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
        raise Malformed(f"{what} is not an address")
    return value.lower()


def mapping(value: object, what: str = "the answer") -> dict[str, object]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise Malformed(f"{what} is not an object")
    return value


def sequence(value: object, what: str = "the answer") -> list[object]:
    """A JSON array."""
    if not isinstance(value, list):
        raise Malformed(f"{what} is not a list")
    return value


def to_hex(raw: bytes) -> str:
    """`0x`-hex of bytes."""
    return "0x" + raw.hex()
