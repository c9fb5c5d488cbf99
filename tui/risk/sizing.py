"""How much of one asset a defence needs: the smallest amount whose exact health afterwards reaches a target.

Protocol-neutral: the arithmetic is the market's own `after`; here are only the guess and the search around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tui.model.impossible import ActionImpossible
from tui.model.plan import Action
from tui.model.position import Asset, Position
from tui.model.rule import ActionKind
from tui.risk.search import first_true

_INFINITE = 2**256 - 1
_REFINEMENTS = 6


class Previewing(Protocol):
    """The part of a lending market that sizing needs."""

    def after(self, position: Position, actions: Sequence[Action]) -> Position:
        """The exact position that `actions` would leave. Raises ActionImpossible."""


def size_action(
    market: Previewing,
    position: Position,
    kind: ActionKind,
    asset: Asset,
    available: int,
    target: int,
    prior: Sequence[Action] = (),
) -> int:
    """Base units of `asset` for `kind`, done after the `prior` actions, that bring health to `target` (wad).

    0 where the prior actions already do, where nothing is available, or where all that is available cannot be done
    at all (a few units that round to nothing, say); all of `available` where even that does not reach the target.
    Otherwise an amount whose health is at least the target while one base unit less is under it. That is the smallest
    one wherever health grows with the amount; a contract that cuts averages to a basis point lets it waver by 1e-4,
    so the health reached is never more than a wavering above the target.

    `available` is at most what `LendingMarket.ceiling` allows. Raises ActionImpossible where the prior actions cannot
    be done.
    """
    before = _health(market.after(position, prior))
    if before >= target or available <= 0:
        return 0
    try:
        most = _health(market.after(position, (*prior, Action(kind, asset, available))))
    except ActionImpossible:
        return 0
    if most < target:
        return available

    asked: dict[int, int] = {0: before, available: most}

    def health(amount: int) -> int:
        if amount not in asked:
            try:
                asked[amount] = _health(market.after(position, (*prior, Action(kind, asset, amount))))
            except ActionImpossible:
                # Too little to count at all: it changes nothing.
                asked[amount] = before
        return asked[amount]

    low, high = 0, available
    guess = available
    cover = _cover(position, kind, asset)
    for _ in range(_REFINEMENTS):
        guess = _between(kind, low, health(low), high, health(high), target, cover)
        if health(guess) >= target:
            high = guess
        else:
            low = guess
        if high - low <= 1:
            break
    return first_true(lambda amount: health(amount) >= target, low + 1, high, guess) or available


def _health(position: Position) -> int:
    """Health as a number that grows with safety; without debt it is beyond every target."""
    if position.unknown is not None:
        raise ActionImpossible(f"what it would leave is unknown: {position.unknown}")
    return _INFINITE if position.health_factor is None else position.health_factor


def _cover(position: Position, kind: ActionKind, asset: Asset) -> int:
    """How much cover (wad of its value) a unit of `asset` takes along when it repays debt."""
    if kind is not ActionKind.REPAY_WITH_ATOKENS:
        return 0
    held = next((one for one in position.collateral if one.asset.address == asset.address), None)
    return held.liquidation_threshold if held is not None and held.counts else 0


def _between(
    kind: ActionKind, low: int, health_low: int, high: int, health_high: int, target: int, cover: int = 0
) -> int:
    """Where the target should lie between two amounts, rounded up: collateral moves health in proportion, a
    repayment moves its inverse; one out of supply with a threshold of L the inverse of (health - L).
    """
    if kind in (ActionKind.REPAY, ActionKind.REPAY_WITH_ATOKENS) and health_low > cover:
        # 1/(h-L) falls by equal steps: (1/low - 1/target) / (1/low - 1/high), over a common denominator.
        over = (target - health_low) * (health_high - cover)
        under = (health_high - health_low) * (target - cover)
    else:
        over, under = target - health_low, health_high - health_low
    step = -(-(high - low) * over // under) if under > 0 else (high - low) // 2
    return min(max(low + step, low + 1), high)
