"""Waiting a few blocks for what a rule lacks before it does less than it could have done with it.

An exchange that does not answer, a step that is refused or out: one bad block is no reason to spend what the wallet has
on a scrap. A restart begins to wait anew; an emergency never waits (`planning.shortfalls`).
"""

from __future__ import annotations

from tui.model.plan import Plan, Refusal

BLOCKS = 3
"""Blocks of a fall at which a plan that falls short for want of something is held back."""

Pair = tuple[str, str]


class Patience:
    """Since which block each rule waits on each position, and until which it did."""

    def __init__(self, blocks: int = BLOCKS) -> None:
        self._blocks = blocks
        self._waits: dict[Pair, tuple[int, int]] = {}

    def hold(self, pair: Pair, plan: Plan, for_blocks: int = 1) -> Refusal | None:
        """Why a plan is not carried out at its block, or None. A plan that lacks nothing may still be refused by its
        last simulation and come back with less, at this block or, for a rule that wants `for_blocks` in a row, so many
        later: so it is no reason to wait anew.
        """
        if plan.awaits is None:
            return None
        number = plan.block.number
        since, last = self._waits.get(pair, (number, number))
        if number - last > self._blocks + for_blocks:
            since = number
        since = min(since, number)
        self._waits[pair] = since, number
        if number - since >= self._blocks:
            return None
        code = "step-missing" if plan.left_out else "quotes-missing"
        return Refusal(
            code,
            f"{plan.awaits}, and without that it only {plan.shortfall}: it is tried again at every block, and from "
            f"block {since + self._blocks} on the rest is done without it",
        )

    def forget(self, pair: Pair) -> None:
        """Its fall is over."""
        self._waits.pop(pair, None)
