"""The rounds of one firing: their episodes, when they are over, what is remembered of them as plain JSON data. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tui.model.position import Position
from tui.model.rounds import DebtPart, PlannedRound, RoundsSoFar
from tui.model.rule import Rule
from tui.model.units import BPS, LEAST_USD, value_usd

MOST_TOKENS = 8
_NUMBERS = ("step", "rounds", "sold", "spent_usd", "cost_usd")
_FIELDS = {*_NUMBERS, "left", "confirmed_usd", "planned", "stopped"}


def round_episode(before: str, number: int) -> str:
    """Hex sha256 that names the round after the one of the episode `before`: the same after every restart."""
    return hashlib.sha256(json.dumps(["round", before, number]).encode()).hexdigest()


def part_left(part: DebtPart, position: Position, bps: int) -> int:
    """Base units of a debt that are still to be repaid, of the `bps` of it that are to be closed: of a part what is
    left of that part of what was owed when it fired (never more than is owed now), of all of it all that is owed now.
    """
    owed = sum(one.amount for one in position.debt if one.asset.address == part.token)
    return owed if bps >= BPS else min(max(-(-part.owed * bps // BPS) - part.repaid, 0), owed)


def parts_closed(rounds: RoundsSoFar, position: Position, bps: int) -> bool:
    """Whether rounds have closed the debts that they are for as far as they are to."""
    return is_closed(rounds.parts, position, bps, nothing_left=bps >= BPS)


def is_closed(parts: Iterable[DebtPart], position: Position, bps: int, *, nothing_left: bool = False) -> bool:
    """Whether the `bps` of each debt are repaid. Less than a cent of it counts as nothing, unless there is to be
    `nothing_left`. A debt whose price is not known is never less than a cent.
    """
    for part in parts:
        left = part_left(part, position, bps)
        held = next((one for one in position.debt if one.asset.address == part.token), None)
        if not left or held is None:
            continue
        price = held.price_usd
        if nothing_left or not price or value_usd(left, held.asset.decimals, price) >= LEAST_USD:
            return False
    return True


def rounds_met(rule: Rule, rounds: RoundsSoFar, position: Position) -> bool:
    """Whether what the rounds of a rule are for is done, by a position that was read after the last of them."""
    if rule.close_bps is not None:
        return parts_closed(rounds, position, rule.close_bps)
    target, health = rule.target_health_factor, position.health_factor
    return target is None or health is None or health >= target


def rounds_to_data(rounds: RoundsSoFar) -> dict[str, object]:
    """As plain JSON data."""
    planned, parts = rounds.planned, parts_to_data(rounds.parts)
    return {
        **{name: getattr(rounds, name) for name in _NUMBERS},
        "left": dict(rounds.left),
        "confirmed_usd": rounds.confirmed_usd,
        "planned": None if planned is None else [planned.episode, planned.spend_usd, planned.cost_usd],
        "stopped": rounds.stopped,
        # Of what closes a part only: states of other rules are written as they always were.
        **({"parts": parts} if parts else {}),
    }


def rounds_from_data(data: object) -> RoundsSoFar:
    """What `rounds_to_data` wrote. Raises ValueError for anything else."""
    if not isinstance(data, Mapping) or set(data) - {"parts"} != _FIELDS:
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
        parts=parts_from_data(data.get("parts", [])),
    )


def parts_to_data(parts: Iterable[DebtPart]) -> list[list[object]]:
    """As plain JSON data."""
    return [[one.token, one.owed, one.repaid] for one in parts]


def parts_from_data(data: object) -> tuple[DebtPart, ...]:
    """What `parts_to_data` wrote. Raises ValueError for anything else."""
    if not isinstance(data, list) or len(data) > MOST_TOKENS or not all(map(_is_part, data)):
        raise ValueError("rule state has debts to close that are none")
    return tuple(DebtPart(token, _number(owed), _number(repaid)) for token, owed, repaid in data)


def _is_part(data: object) -> bool:
    return isinstance(data, list) and len(data) == 3 and isinstance(data[0], str)


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
