"""How much collateral to sell for debt: the closed form as a guess, refined on a market's own integers.

With A the collateral times its thresholds, D the debt, T the target and k the loss of the sale (all of: the gap
between oracle and exchange, pool fees, price impact, flash premium), s = (T*D - A) / (T*(1-k) - LT) of collateral is
sold and s*(1-k) of debt repaid. It can be reached at all only where T*(1-k) > LT.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from tui.model.impossible import ActionImpossible
from tui.model.position import Position
from tui.model.units import BPS, UINT256_MAX, WAD, mul_div_up
from tui.risk.search import first_true

_REFINEMENTS = 24
_NEVER = -1
_HOPELESS = 16
"""After so many thirds in which nothing can be done at all, what is left is under a thousandth of the range."""
_SMALL = 2**16
"""In so few units roundings hide which way health goes."""


@dataclass(frozen=True, slots=True)
class SaleSize:
    """A sized sale in base units: `repaid` of debt, `sold` of collateral expected, `health` (wad) that it leaves.

    `reaches` False: the target cannot be reached, and this is the best that was found (0 where nothing helps).
    """

    repaid: int
    sold: int
    health: int
    reaches: bool


def kept_share(swap_loss: int, premium_bps: int = 0) -> int:
    """1 - k in wad, down: what a unit of collateral sold repays, when the loan is flashed at `premium_bps`.

    (1 - x) / (1 + f); `swap_loss` x in wad.
    """
    return max(WAD - swap_loss, 0) * BPS // (BPS + premium_bps)


def feasible(target: int, threshold: int, kept: int) -> bool:
    """Whether selling raises health towards `target` at all: T*(1-k) > LT. All in wad."""
    return target * kept > threshold * WAD


def sale_value(weighted: int, debt: int, target: int, threshold: int, kept: int) -> int | None:
    """The value of collateral to sell, up; 0 where the target is reached already, None where it never is.

    `weighted` is value times threshold in wad, summed; `debt` a value; the answer is in the same unit of value.
    `target`, `threshold` of what is sold and `kept` in wad.
    """
    missing = target * debt - weighted
    if missing <= 0:
        return 0
    if not feasible(target, threshold, kept):
        return None
    return -(-missing * WAD // (target * kept - threshold * WAD))


def weighted_collateral(position: Position) -> int | None:
    """Value (8 decimals) times threshold (wad) of all that counts; None where a value is not known."""
    total = 0
    for one in position.collateral:
        if one.counts:
            if one.value_usd is None:
                return None
            total += one.value_usd * one.liquidation_threshold
    return total


@dataclass(frozen=True, slots=True)
class SaleCurve:
    """What buying costs, drawn through quotes: (base units bought, base units sold), in rising order.

    Between two quotes the chord: a price only gets worse with size, so the chord never promises too much. Beyond the
    last quote nothing is known.
    """

    points: tuple[tuple[int, int], ...]

    @classmethod
    def through(cls, quotes: Iterable[tuple[int, int]]) -> SaleCurve:
        """The curve through quotes in any order. Raises ValueError where less costs more."""
        points = ((0, 0), *sorted({quote for quote in quotes if quote[0] > 0}))
        for (less, cheap), (more, dear) in pairwise(points):
            if less >= more or cheap > dear:
                raise ValueError("the quotes contradict each other")
        return cls(points)

    def sold_for(self, bought: int) -> int | None:
        """Base units sold for `bought`, up; None beyond the last quote."""
        if bought <= 0:
            return 0
        at = bisect_left(self.points, (bought, 0))
        if at == len(self.points):
            return None
        (less, cheap), (more, dear) = self.points[at - 1], self.points[at]
        return cheap + mul_div_up(bought - less, dear - cheap, more - less)


def with_premium(amount: int, premium_bps: int) -> int:
    """A flash loan of `amount` and its premium, as the pool rounds it (halves up, PercentageMath), with one unit to
    spare for pools that round up.
    """
    return amount + (amount * premium_bps + BPS // 2) // BPS + (1 if premium_bps else 0)


def size_deleverage(
    health_after: Callable[[int, int], int | None],
    sold_for: Callable[[int], int | None],
    most: int,
    target: int,
    guess: int,
    slack: int = 0,
) -> SaleSize:
    """The smallest repayment whose exact health reaches `target` (wad); one that passes it by no more than `slack`
    (wad) is as good, and found in a few questions.

    `health_after(repaid, sold)` is the market's own answer (wad; None without debt), raising ActionImpossible where it
    would revert. `sold_for(repaid)` is what must be sold to repay so much, costs included, or None where that cannot
    be had. `most` is what is owed, `guess` where to look first.

    Health rises with the amount while a sale is worth its cost and falls after that, so what reaches the target is
    one stretch of amounts; its lower end is found. A contract that cuts averages to a basis point lets health waver
    by 1e-4: then the amount is one that reaches the target while one unit less does not.
    """
    asked: dict[int, SaleSize] = {}

    def ask(repaid: int) -> SaleSize:
        if repaid not in asked:
            sold = sold_for(repaid) if repaid else 0
            health: int | None = _NEVER
            if sold is not None:
                try:
                    health = health_after(repaid, sold)
                except ActionImpossible:
                    health = _NEVER
            value = UINT256_MAX if health is None else health
            asked[repaid] = SaleSize(repaid, sold or 0, value, value >= target)
        return asked[repaid]

    now = ask(0)
    if now.reaches or most <= 0:
        return now
    high = ask(min(max(guess, 1), most))
    if _close(high, target, slack):
        return high
    if not high.reaches:
        high = _search(ask, most, high)
    if not high.reaches:
        return max((now, *asked.values()), key=lambda one: (one.health, -one.repaid))
    low = max((one for one in asked.values() if one.repaid < high.repaid and not one.reaches), key=_repaid)
    low, high, guess = _narrowed(ask, low, high, target, slack)
    if _close(high, target, slack):
        return high
    found = first_true(lambda amount: ask(amount).reaches, low.repaid + 1, high.repaid, guess)
    return ask(high.repaid if found is None else found)


def _repaid(size: SaleSize) -> int:
    return size.repaid


def _narrowed(
    ask: Callable[[int], SaleSize], low: SaleSize, high: SaleSize, target: int, slack: int
) -> tuple[SaleSize, SaleSize, int]:
    """A narrow bracket around the turn and a guess in it: false position, by the Illinois rule (an end that stays
    twice counts half), which closes in from both sides.
    """
    under, over = _gap(low, target), _gap(high, target)
    guess, before = high.repaid, 0
    for _ in range(_REFINEMENTS):
        width = high.repaid - low.repaid
        if width <= 1 or _close(high, target, slack):
            break
        if under is None or over is None:
            guess = low.repaid + width // 2
        else:
            guess = low.repaid - (-width * under // (under + over))
        middle = ask(min(max(guess, low.repaid + 1), high.repaid - 1))
        if middle.reaches:
            high, over = middle, _gap(middle, target)
            under = under // 2 + 1 if before > 0 and under is not None else under
            before = 1
        else:
            low, under = middle, _gap(middle, target)
            over = over // 2 + 1 if before < 0 and over is not None else over
            before = -1
    return low, high, guess


def _close(size: SaleSize, target: int, slack: int) -> bool:
    """Whether a size reaches the target and hardly passes it."""
    return slack > 0 and size.reaches and size.health - target <= slack


def _gap(size: SaleSize, target: int) -> int | None:
    """How far health is from the target; None where it is no number to reckon with."""
    return None if size.health in (_NEVER, UINT256_MAX) else abs(size.health - target)


def _search(ask: Callable[[int], SaleSize], most: int, first: SaleSize) -> SaleSize:
    """Some amount that reaches the target, or the best one: the end where health still rises there, else steps to the
    right of the guess, then thirds.
    """
    near = ask(min(first.repaid + max(first.repaid // 256, 1), most))
    if near.reaches:
        return near
    if most > _SMALL:
        end = ask(most)
        if end.reaches or (end.health != _NEVER and end.health > ask(most - most // 256).health):
            return end
    step = max(first.repaid // 256, 1)
    best = first
    for _ in range(12):
        one = ask(min(first.repaid + step, most))
        if one.reaches:
            return one
        if one.health < best.health or one.repaid == most:
            break
        best, step = one, step * 2
    low, high, nothing = 0, most, 0
    while high - low > 2 and nothing < _HOPELESS:
        third = (high - low) // 3
        left, right = ask(low + third), ask(high - third)
        nothing = nothing + 1 if left.health == right.health == _NEVER else 0
        if left.reaches or right.reaches:
            return left if left.reaches else right
        # Where nothing can be had on the left, nothing can on the right of it.
        if left.health >= right.health:
            high = right.repaid
        else:
            low = left.repaid
    if nothing >= _HOPELESS:
        return first
    return max((ask(one) for one in range(low, high + 1)), key=lambda one: one.health)
