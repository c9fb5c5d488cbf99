"""The rounds of one firing: their episodes, and what is remembered of them as plain JSON data. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tui.model.rounds import PlannedRound, RoundsSoFar

MOST_TOKENS = 8
_NUMBERS = ("step", "rounds", "sold", "spent_usd", "cost_usd")


def round_episode(before: str, number: int) -> str:
    """Hex sha256 that names the round after the one of the episode `before`: the same after every restart."""
    return hashlib.sha256(json.dumps(["round", before, number]).encode()).hexdigest()


def rounds_to_data(rounds: RoundsSoFar) -> dict[str, object]:
    """As plain JSON data."""
    planned = rounds.planned
    return {
        **{name: getattr(rounds, name) for name in _NUMBERS},
        "left": dict(rounds.left),
        "confirmed_usd": rounds.confirmed_usd,
        "planned": None if planned is None else [planned.episode, planned.spend_usd, planned.cost_usd],
        "stopped": rounds.stopped,
    }


def rounds_from_data(data: object) -> RoundsSoFar:
    """What `rounds_to_data` wrote. Raises ValueError for anything else."""
    if not isinstance(data, Mapping) or set(data) != {*_NUMBERS, "left", "confirmed_usd", "planned", "stopped"}:
        raise ValueError("rule state has rounds that are none")
    values: dict[str, Any] = {name: _number(data[name]) for name in _NUMBERS}
    left = data["left"]
    if not isinstance(left, Mapping) or len(left) > MOST_TOKENS or not all(isinstance(one, str) for one in left):
        raise ValueError("rule state has rounds that left nothing that is known")
    if not isinstance(data["stopped"], bool):
        raise ValueError("rule state has rounds of which nobody knows whether they go on")
    confirmed = None if data["confirmed_usd"] is None else _number(data["confirmed_usd"])
    return RoundsSoFar(
        **values,
        left=tuple((token, _number(amount)) for token, amount in left.items()),
        confirmed_usd=confirmed,
        planned=_planned(data["planned"]),
        stopped=data["stopped"],
    )


def _planned(data: object) -> PlannedRound | None:
    if data is None:
        return None
    if not isinstance(data, list) or len(data) != 3 or not isinstance(data[0], str):
        raise ValueError("rule state has a round that is none")
    return PlannedRound(data[0], _number(data[1]), _number(data[2]))


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"rule state has rounds with {value!r}")
    return value
