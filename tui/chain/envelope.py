"""The few facts in signed bytes that sending them depends on: whether two of them mean the same, and whether nothing.

Only type-2 transactions (EIP-1559) are read; nothing here checks a signature.
"""

from __future__ import annotations

from dataclasses import dataclass

_TYPE_2 = 2
_FIELDS = 9
_LONG = 56
"""Where RLP goes over from a length in the prefix to a length after it."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a transaction does, whatever it pays for it. `nothing`: it only uses up its nonce."""

    chain_id: bytes
    nonce: bytes
    to: bytes
    value: bytes
    data: bytes

    @property
    def nothing(self) -> bool:
        """Whether no value moves and no code is called."""
        return not self.value and not self.data


def meaning_of(raw: bytes) -> Meaning | None:
    """The meaning of a signed type-2 transaction; None for any other bytes. Never raises."""
    if raw[:1] != bytes((_TYPE_2,)):
        return None
    try:
        start, end = _span(raw, 1, a_list=True)
        fields: list[bytes] = []
        while start < end and len(fields) < _FIELDS:
            is_list = raw[start] >= 0xC0
            inner, after = _span(raw, start, a_list=is_list)
            fields.append(raw[inner:after])
            start = after
    except (IndexError, ValueError):
        return None
    if len(fields) < _FIELDS:
        return None
    chain_id, nonce, _tip, _cap, _gas, to, value, data, _access = fields
    return Meaning(chain_id, nonce, to, value, data)


def _span(raw: bytes, at: int, *, a_list: bool) -> tuple[int, int]:
    """Where the content of the RLP item at `at` begins and ends. Raises IndexError, ValueError."""
    prefix = raw[at]
    base = 0xC0 if a_list else 0x80
    if prefix < base:
        if a_list:
            raise ValueError("not a list")
        return at, at + 1
    length = prefix - base
    start = at + 1
    if length >= _LONG:
        width = length - _LONG + 1
        length = int.from_bytes(raw[start : start + width], "big")
        start += width
    if start + length > len(raw):
        raise ValueError("cut short")
    return start, start + length
