"""Waiting a few blocks for an answer before a rule does less than it could have done with it.

A restart begins to wait anew; an emergency never waits (`planning.shortfalls`).
"""

from __future__ import annotations

from tui.model.plan import Plan, Refusal

BLOCKS = 3
"""Blocks of a fall at which a plan that falls short for want of an answer is held back."""

Pair = tuple[str, str]


class Patience:
    """Since which block each rule waits on each position."""

    def __init__(self, blocks: int = BLOCKS) -> None:
        self._blocks = blocks
        self._since: dict[Pair, int] = {}

    def hold(self, pair: Pair, plan: Plan) -> Refusal | None:
        """Why a plan is not carried out at its block, or None."""
        if plan.awaits is None:
            self.forget(pair)
            return None
        number = plan.block.number
        since = min(self._since.get(pair, number), number)
        self._since[pair] = since
        if number - since >= self._blocks:
            return None
        return Refusal(
            "quotes-missing",
            f"{plan.awaits}, and without that it only {plan.shortfall}: it is asked for again at every block, and from "
            f"block {since + self._blocks} on the rest is done without it",
        )

    def forget(self, pair: Pair) -> None:
        """Its fall is over."""
        self._since.pop(pair, None)
