"""Text from the chain or from files, made harmless before it may reach a terminal, a log or a file of ours."""

from __future__ import annotations

import unicodedata

_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Mn", "Me"})


def clean_text(text: str, limit: int = 48) -> str:
    """`text` without control, format, bidirectional, combining or unassigned characters, at most `limit` long.

    What is cut off is marked by an ellipsis; square brackets are kept (widgets render this as plain text, never as
    markup). An empty result becomes "?" so that a nameless token still has something to be called.
    """
    kept = "".join(
        " " if character.isspace() else character
        for character in text[: 4 * limit]
        if character in " \t\n" or unicodedata.category(character) not in _FORBIDDEN_CATEGORIES
    )
    kept = " ".join(kept.split())
    if len(kept) > limit:
        kept = kept[: limit - 1] + "…"
    return kept or "?"


def short_address(address: str) -> str:
    """`0x1234…abcd`, enough to tell one's own accounts apart."""
    return f"{address[:6]}…{address[-4:]}" if len(address) > 12 else address
