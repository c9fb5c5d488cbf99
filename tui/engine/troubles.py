"""What keeps a defence that has begun from going on, as it was said last: shown and alerted as long as it lasts."""

from __future__ import annotations

from collections.abc import Iterable

from tui.engine.intents import awaits_signature
from tui.engine.sending import Teller
from tui.model.intent import Firing, IntentState

_OF_INTENT = ("ceiling", "short-of-gas", "gap", "send-trouble", "no-bump", "doubtful", "unsettled")
_OF_MINED = ("unsettled",)
_OF_FIRING = ("signing-stopped", "not-resumed")


def defence_troubles(firings: Iterable[Firing], teller: Teller) -> tuple[tuple[str, str], ...]:
    """(key, text) of each trouble of the open `firings`; the key stays the same while it lasts. What is over is
    forgotten, so that it is said anew where it comes back.
    """
    found: list[tuple[str, str]] = []
    for firing in firings:
        found += _standing(teller, _OF_FIRING, _OF_FIRING if awaits_signature(firing) else (), firing.id)
        for intent in firing.intents:
            mined = intent.state is IntentState.INCLUDED
            waits = bool(intent.attempts) and not intent.state.is_final and not mined
            kept = _OF_INTENT if waits else _OF_MINED if mined else ()
            found += _standing(teller, _OF_INTENT, kept, intent.id)
    return tuple(found)


def keys_of_firing(firing_id: str) -> tuple[str, ...]:
    """The keys under which `defence_troubles` tells that a firing is not signed to its end."""
    return tuple(f"{kind}/{firing_id}" for kind in _OF_FIRING)


def _standing(teller: Teller, kinds: tuple[str, ...], kept: tuple[str, ...], about: str) -> list[tuple[str, str]]:
    found = []
    for kind in kinds:
        if kind not in kept:
            teller.over(kind, about)
        elif (text := teller.standing(kind, about)) is not None:
            found.append((f"{kind}/{about}", text))
    return found
