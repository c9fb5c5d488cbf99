"""Spoils valid input a little or a lot: bytes turned, pieces doubled, cut and moved, hostile pieces put in."""

from __future__ import annotations

import random
from collections.abc import Sequence

HOSTILE = (
    b"\x00",
    b"\x1b[2J",
    b"\x1b]52;c;cHduZWQ=\x07",
    b"\x9b31m",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\u202e\u2066\u2028\ufeff\U000e0041".encode(),
    b"[red][@click=app.quit]",
    b"e\xcc\x81" * 40,
    b"A" * 10_240,
    b"9" * 5_000,
    b"-1",
    b"1e999",
    b"nan",
    b"inf",
    b"0x" + b"f" * 64,
    b"[" * 3_000,
    b"{" * 3_000,
    b'{"a":' * 3_000,
    b"]" * 100,
    b".a" * 3_000,
    b"\\u001b",
    b"\\",
    b'"',
    b"'''",
    b"\r\n",
    b"null",
    b"true",
    b"{}",
    b"[]",
)


class Mutator:
    """Endless variants of some seeds, the same for the same number."""

    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes] = (), number: int = 1) -> None:
        self._seeds = tuple(seeds)
        self._words = (*HOSTILE, *words)
        self._random = random.Random(number)

    def variant(self) -> bytes:
        """One of the seeds with up to eight things done to it."""
        chance = self._random
        data = bytearray(chance.choice(self._seeds))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            self._spoil(data)
        return bytes(data[: 1 << 20])

    def _spoil(self, data: bytearray) -> None:
        chance = self._random
        at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
        kind = chance.randrange(8)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at:at] = chance.choice(self._words)
        elif kind == 2:
            data[at:end] = chance.choice(self._words)
        elif kind == 3:
            del data[at : min(end, at + 64)]
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            data[at:at] = data[at : min(end, at + 512)] * chance.choice((1, 2, 16))
        elif kind == 6:
            other = chance.choice(self._seeds)
            data[at:end] = other[: chance.randint(0, len(other))]
        else:
            self._word(data, at)

    def _word(self, data: bytearray, at: int) -> None:
        """A whole word of 32 bytes, where the input is made of those."""
        at -= at % 32
        value = self._random.choice((0, 1, 31, 32, 2**64, 2**128 - 1, 2**128, 2**255, 2**256 - 1))
        data[at : at + 32] = value.to_bytes(32, "big")
