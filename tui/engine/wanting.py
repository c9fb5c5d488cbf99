"""What keeps armed rules from acting at the newest block: shown, and told as long as it lasts. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from tui.engine.conditions import Conditions, Consequence
from tui.model.plan import NOT_ACTING, Evaluation
from tui.model.text import short_address

HELD_BACK, CANNOT_ACT = "held-back", "cannot-act"
"""How the keys of the two kinds begin."""
_TOLD_ELSEWHERE = ("position-unknown", "market-unknown")
"""Blindness is told where it is judged."""


def held_back(armed: Container[str], conditions: Conditions) -> tuple[tuple[str, str], ...]:
    """(key, text) of each armed rule on each position that something strange holds back, whether it fires or not."""
    return tuple(
        (f"{HELD_BACK}/{rule}/{position}", f"{rule} on {_account(position)} is held back: {why}")
        for (rule, position), why in _why_held(armed, conditions).items()
    )


def cannot_act(armed: Container[str], evaluations: Iterable[Evaluation]) -> tuple[tuple[str, str], ...]:
    """(key, text) of each armed rule on each position that fires and was refused: by a limit, by simulation, by the
    signer. What has a line of its own (held, killed, halted, another rebalance under way) is left out.
    """
    return tuple(
        (f"{CANNOT_ACT}/{one.rule}/{one.position}", f"{one.rule} on {_account(one.position)} cannot act: {why}")
        for one in evaluations
        if one.rule in armed and one.fires and (why := why_refused(one)) is not None
    )


def all_held(armed: Mapping[str, float], conditions: Conditions) -> dict[str, str]:
    """Armed rules that are held back on every position they are armed for, with the first reason."""
    held = _why_held(armed, conditions, told_elsewhere=())
    found: dict[str, str] = {}
    for rule in armed:
        pairs = [pair for pair in conditions if pair[0] == rule]
        if pairs and all(pair in held for pair in pairs):
            found[rule] = held[pairs[0]]
    return found


def _why_held(
    armed: Container[str], conditions: Conditions, told_elsewhere: Container[str] = _TOLD_ELSEWHERE
) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for pair, ones in conditions.items():
        for one in ones:
            if pair[0] in armed and one.consequence is Consequence.HOLD_BACK and one.code not in told_elsewhere:
                found.setdefault(pair, one.text)
    return found


def why_refused(one: Evaluation) -> str | None:
    """What a rule that fires was refused for, None where it was not, or where that has a line of its own."""
    refused = one.refused
    if refused is None or refused.code == NOT_ACTING:
        return None
    return f"{one.why}, but {refused.reason}"


def _account(position: str) -> str:
    return short_address(position.rpartition("/")[2])
