"""The rounds of one firing: their episodes, when they are over, what is remembered of them as plain JSON data. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tui.model.position import Position
from tui.model.rounds import Agreed, DebtPart, PlannedRound, RoundsSoFar
from tui.model.rule import Rule
from tui.model.units import BPS, LEAST_USD, value_usd

MOST_TOKENS = 8
MOST_USED = 64
_NUMBERS = ("step", "rounds", "spent_usd", "cost_usd")
_FIELDS = {*_NUMBERS, "sold", "left", "confirmed_usd", "planned", "stopped"}
"""`confirmed_usd` is a sum of dollars that earlier versions wrote for a yes. It does not say which steps were asked
about, so it covers none: it is read past, and written as nothing.
"""
_MORE = {"parts", "used", "agreed", "sold_usd"}
"""Fields that are written only where there is something to say."""


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
    parts = parts_to_data(rounds.parts)
    used = [[step, amount] for step, amount in rounds.used if step != rounds.step]
    agreed = rounds.agreed
    return {
        **{name: getattr(rounds, name) for name in _NUMBERS},
        "sold": rounds.used_of(rounds.step),
        "left": dict(rounds.left),
        "confirmed_usd": None,
        "planned": None if rounds.planned is None else _planned_data(rounds.planned),
        "stopped": rounds.stopped,
        # Of what closes a part only: states of other rules are written as they always were.
        **({"parts": parts} if parts else {}),
        **({"used": used} if used else {}),
        **({} if agreed is None else {"agreed": [agreed.cost_usd, _pairs(agreed.steps), _pairs(agreed.sales)]}),
        **({"sold_usd": _pairs(rounds.sold_usd)} if rounds.sold_usd else {}),
    }


def _planned_data(planned: PlannedRound) -> list[object]:
    used = [_pairs(planned.used)] if planned.used or planned.sold_usd else []
    sold = [_pairs(planned.sold_usd)] if planned.sold_usd else []
    return [planned.episode, planned.spend_usd, planned.cost_usd, *used, *sold]


def _pairs(found: Iterable[tuple[int, int]]) -> list[list[int]]:
    return [list(one) for one in found]


def rounds_from_data(data: object) -> RoundsSoFar:
    """What `rounds_to_data` wrote. Raises ValueError for anything else."""
    if not isinstance(data, Mapping) or set(data) - _MORE != _FIELDS:
        raise ValueError("rule state has rounds that are none")
    values: dict[str, Any] = {name: _number(data[name]) for name in _NUMBERS}
    left = data["left"]
    if not isinstance(left, Mapping) or len(left) > MOST_TOKENS or not all(isinstance(one, str) for one in left):
        raise ValueError("rule state has rounds that left nothing that is known")
    if not isinstance(data["stopped"], bool):
        raise ValueError("rule state has rounds of which nobody knows whether they go on")
    if data["confirmed_usd"] is not None:
        _number(data["confirmed_usd"])
    sold, others = _number(data["sold"]), dict(_used(data.get("used", [])))
    own = {values["step"]: sold} if sold else {}
    return RoundsSoFar(
        **values,
        used=tuple(sorted({**others, **own}.items())),
        left=tuple((token, _number(amount)) for token, amount in left.items()),
        agreed=_agreed(data["agreed"]) if "agreed" in data else None,
        planned=_planned(data["planned"]),
        stopped=data["stopped"],
        parts=parts_from_data(data.get("parts", [])),
        sold_usd=_used(data.get("sold_usd", [])),
    )


def _agreed(data: object) -> Agreed:
    if not isinstance(data, list) or len(data) != 3:
        raise ValueError("rule state has rounds that were agreed to in no way that is known")
    cost, steps, sales = data
    return Agreed(None if cost is None else _number(cost), _used(steps), _used(sales))


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
    if not isinstance(data, list) or len(data) not in (3, 4, 5) or not isinstance(data[0], str):
        raise ValueError("rule state has a round that is none")
    return PlannedRound(data[0], _number(data[1]), _number(data[2]), *map(_used, data[3:]))


def _used(data: object) -> tuple[tuple[int, int], ...]:
    if not isinstance(data, list) or len(data) > MOST_USED:
        raise ValueError("rule state has rounds that used nothing that is known")
    if not all(isinstance(one, list) and len(one) == 2 for one in data):
        raise ValueError("rule state has rounds that used nothing that is known")
    return tuple((_number(step), _number(amount)) for step, amount in data)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"rule state has rounds with {value!r}")
    return value
