"""Text made harmless, remembered: the same few names are drawn many times a second."""

from __future__ import annotations

from functools import lru_cache

from tui.model import text as model_text


@lru_cache(maxsize=4096)
def clean_text(text: str, limit: int = 48) -> str:
    """`tui.model.text.clean_text`, once for each text."""
    return model_text.clean_text(text, limit)
