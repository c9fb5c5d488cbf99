"""The body of a foreign answer as it comes in: bounded before and after inflating, whatever the other side sends."""

from __future__ import annotations

import zlib


def is_gzip(content_encoding: str) -> bool | None:
    """Whether a body with this header is gzip; None for anything that was not asked for, nested codings first: a
    kilobyte coded twice holds gigabytes.
    """
    codings = [one for one in (part.strip().lower() for part in content_encoding.split(",")) if one]
    codings = [one for one in codings if one != "identity"]
    if not codings:
        return False
    return True if codings in (["gzip"], ["x-gzip"]) else None


class Inflow:
    """A body as it comes in, of `most` bytes at most before and after inflating."""

    def __init__(self, most: int, coded: bool) -> None:
        self._most = most
        self._inflating = zlib.decompressobj(16 + zlib.MAX_WBITS) if coded else None
        self._chunks: list[bytes] = []
        self._came = self._size = 0

    def take(self, chunk: bytes) -> bool:
        """One more piece; False where that is too much. Raises zlib.error."""
        self._came += len(chunk)
        if self._inflating is not None:
            if self._inflating.eof:
                raise zlib.error("more after the end")
            # One byte more than there is room for tells whether there would have been more.
            chunk = self._inflating.decompress(chunk, self._most - self._size + 1)
        self._size += len(chunk)
        self._chunks.append(chunk)
        return self._size <= self._most and self._came <= self._most

    def whole(self) -> bytes:
        """All of it. Raises zlib.error where it was cut short or has something after its end."""
        if self._inflating is not None and self._came and not (self._inflating.eof and not self._inflating.unused_data):
            raise zlib.error("cut short")
        return b"".join(self._chunks)
