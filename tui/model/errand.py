"""Transactions that a person asked for outright: no rule behind them, no position to be mended."""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.block import BlockRef
from tui.model.plan import FeeQuote, PlanCost, PlannedCall, PlannedStep
from tui.model.position import PositionKey


@dataclass(frozen=True, slots=True)
class Errand:
    """Calls to be carried out as those of a Plan are, with as much of one as that takes.

    `rule` is how the record names it, `rule_digest` identifies its calls, `position` says for whom and on which market.
    """

    rule: str
    rule_digest: str
    position: PositionKey
    block: BlockRef
    calls: tuple[PlannedCall, ...]
    fees: FeeQuote
    cost: PlanCost

    @property
    def steps(self) -> tuple[PlannedStep, ...]:
        """None: it mends no position."""
        return ()

    @property
    def health_factor_after(self) -> int | None:
        """None: it promises no health factor."""
        return None

    @property
    def spend_usd(self) -> int:
        """Nothing: it moves no token."""
        return 0
