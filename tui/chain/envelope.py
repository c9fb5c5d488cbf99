"""The few facts in signed bytes that sending them depends on: whether two of them mean the same, and whether nothing.

Only transactions of type 2 (EIP-1559) and 4 (EIP-7702) are read; nothing here checks a signature.
"""

from __future__ import annotations

from dataclasses import dataclass

_FIELDS = {2: 9, 4: 10}
"""How many fields come before the signature, by type; the last of type 4 are its authorizations."""
_LONG = 56
"""Where RLP goes over from a length in the prefix to a length after it."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a transaction does, whatever it pays for it. `nothing`: it only uses up its nonce. `authorizations` as they
    are packed: whose code it sets.
    """

    chain_id: bytes
    nonce: bytes
    to: bytes
    value: bytes
    data: bytes
    authorizations: bytes = b""

    @property
    def nothing(self) -> bool:
        """Whether no value moves, no code is called and none is set."""
        return not self.value and not self.data and not self.authorizations


def meaning_of(raw: bytes) -> Meaning | None:
    """The meaning of a signed transaction of a type that is known; None for any other bytes. Never raises."""
    wanted = _FIELDS.get(raw[0]) if raw else None
    if wanted is None:
        return None
    try:
        start, end = _span(raw, 1, a_list=True)
        fields: list[bytes] = []
        while start < end and len(fields) < wanted:
            is_list = raw[start] >= 0xC0
            inner, after = _span(raw, start, a_list=is_list)
            fields.append(raw[inner:after])
            start = after
    except (IndexError, ValueError):
        return None
    if len(fields) < wanted:
        return None
    chain_id, nonce, _tip, _cap, _gas, to, value, data, _access, *authorizations = fields
    return Meaning(chain_id, nonce, to, value, data, b"".join(authorizations))


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
