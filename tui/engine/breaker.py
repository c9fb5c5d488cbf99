"""The circuit breaker: what goes wrong again and again holds the engine, until a person has looked and goes on.

Counts only; holding, telling and keeping the hold over a restart is the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tui.model.plan import Evaluation

ERRORS_TO_HOLD = 5
"""Unexpected errors in a row, one a block at most."""
ERROR_SECONDS = 4
"""The least time, by this machine, that they have to take: what fails five times within a second, and then no more, is
one thing. Five looks, a second apart, take as long.
"""
REFUSALS_TO_HOLD = 10
"""Blocks in a row at which simulation, or the signer, refused what an armed rule wanted to do on a position."""
REFUSAL_SECONDS = 30
"""The least time, by the chain, that they have to take: of blocks a quarter of a second apart, ten are nothing."""
BLOCK, BETWEEN, SIGNER, HEADS, DRAWING = "block", "between", "signer", "heads", "drawing"
"""Where an error came: in a block's work, in the looks once a second between two blocks, from a signer that was asked
and gave no answer, in following the heads, in drawing what is shown.
"""


@dataclass(frozen=True, slots=True)
class _Failed:
    """How often in a row, since when and until when (seconds of a clock that never goes back), and at which block
    last.
    """

    count: int
    since: float
    last: float
    block: int | None


@dataclass(frozen=True, slots=True)
class _Refused:
    """How often in a row, at which block last, since when and until when (unix seconds, by the
    chain), and by what."""

    count: int
    block: int
    since: int
    last: int
    by: str


SIMULATION = "simulation"


def _refused_by(code: str) -> str | None:
    """Whose refusal a code stands for, where it is one that counts."""
    if code == "signer-refused":
        return "the signer"
    return SIMULATION if code.startswith("simulation-") and code != "simulation-unavailable" else None


class Breaker:
    """Counts in a row. Every question is answered with why to hold, or None. `monotonic` tells seconds that never go
    back.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        errors: int = ERRORS_TO_HOLD,
        refusals: int = REFUSALS_TO_HOLD,
        seconds: int = REFUSAL_SECONDS,
    ) -> None:
        self._monotonic = monotonic
        self._errors_to_hold = errors
        self._refusals_to_hold = refusals
        self._seconds = seconds
        self._errors: dict[str, _Failed] = {}
        self._refused: dict[tuple[str, str], _Refused] = {}

    def failed(self, trouble: str, where: str = BLOCK, block: int | None = None) -> str | None:
        """A block, or a look between two, ended in an unexpected error. Each of the two rows is counted by itself:
        the one going well says nothing about the other. Where it came of a `block`, that one is counted once.
        """
        now = self._monotonic()
        before = self._errors.get(where, _Failed(0, now, now, None))
        count = before.count + (block is None or block != before.block)
        found = self._errors[where] = _Failed(count, before.since, now, block)
        if not self._is_too_much(found):
            return None
        return f"{count} unexpected errors in a row, the last: {trouble}."

    def passed(self, where: str = BLOCK) -> None:
        """One went through without."""
        self._errors.pop(where, None)

    @property
    def counting(self) -> tuple[str, ...]:
        """What has begun to go wrong in a row and does not hold the engine yet; empty where nothing has."""
        lines = [
            f"{one.count} unexpected errors in a row; at {self._errors_to_hold}, over {ERROR_SECONDS} s at least, "
            "the engine holds itself"
            for one in self._errors.values()
            if not self._is_too_much(one)
        ]
        for (rule, position), one in self._refused.items():
            if not self._holds(one):
                lines.append(
                    f"{rule}: {one.by} refused it on {position} {one.count} blocks in a row; "
                    f"at {self._refusals_to_hold}, over {self._seconds} s at least, the engine holds itself"
                )
        return tuple(lines)

    def judged(self, evaluations: Iterable[Evaluation], armed: Iterable[str], block: int) -> str | None:
        """What came of the rules at a block. Only simulations, and a signer, that refuse an armed rule count, once a
        block, that of the calldata with its permits included. What passes clears, and so does the end of the fall.

        What kept a rule from being simulated at all (cooldown, kill switch, fees unread, no node that would) neither
        counts nor clears: it ends by itself, and a hand would come too late.
        """
        names = set(armed)
        why: str | None = None
        seen: set[tuple[str, str]] = set()
        for one in evaluations:
            pair = (one.rule, one.position)
            if one.rule not in names:
                continue
            seen.add(pair)
            if one.block.number != block:
                continue
            if one.refused is None:
                self._refused.pop(pair, None)
            elif (by := _refused_by(one.refused.code)) == SIMULATION and one.in_rounds:
                self._refused.pop(pair, None)  # its first round went through: what stops the next is told of that rule
            elif by is not None:
                time = one.block.timestamp
                before = self._refused.get(pair, _Refused(0, -1, time, time, by))
                count = before.count + (block != before.block)
                now = self._refused[pair] = _Refused(count, block, before.since, time, by)
                if self._holds(now) and why is None:
                    why = f"{one.rule}: {by} refused it {now.count} blocks in a row, the last: {one.refused.reason}."
        for gone in set(self._refused) - seen:
            del self._refused[gone]
        return why

    def _is_too_much(self, one: _Failed) -> bool:
        return one.count >= self._errors_to_hold and one.last - one.since >= ERROR_SECONDS

    def _holds(self, one: _Refused) -> bool:
        return one.count >= self._refusals_to_hold and one.last - one.since >= self._seconds

    def reset(self) -> None:
        """A person goes on: count from nothing."""
        self._errors.clear()
        self._refused.clear()
