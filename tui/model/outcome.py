"""What a firing was expected to do beside what it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tui.model.intent import Firing, FiringState
from tui.model.units import WAD


@dataclass(frozen=True, slots=True)
class SoldAsset:
    """What one asset is expected to pay and really paid, or to bring in by own swaps and really did, in base units.
    None: not known.

    `price_usd` is the market's own price of it (8 decimals) at the plan's block. What an earlier version did not note
    is missing: `token` (the address) is empty then, `decimals` and the price None.
    """

    symbol: str
    expected: int | None
    actual: int | None = None
    token: str = ""
    decimals: int | None = None
    price_usd: int | None = None

    def value(self, amount: int | None) -> Fraction | None:
        """Dollars (8 decimals) of so many base units, exactly; None where amount, price or decimals are not known."""
        if amount is None or self.price_usd is None or self.decimals is None:
            return None
        return Fraction(amount * self.price_usd, 10**self.decimals)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a firing was expected to do and what it did. Health in wad, dollars with 8 decimals; None: not known, or not
    so (no debt left, nothing sold).

    `health_expected` is as sized, `health_simulated` as simulated before it was signed, `health_actual` as read from
    the chain at the block of the last transaction. `sales`: what pays, each asset once, in the order of the plan.
    `buys`: what the account's own swaps bring in, each asset once: exactly so much goes in, and what comes out is not
    known before. What a helper buys is exact, and stands nowhere. One of which nothing is known: it was not noted.
    """

    firing_id: str
    health_expected: int | None = None
    health_simulated: int | None = None
    health_actual: int | None = None
    gas_expected_usd: int | None = None
    gas_actual_usd: int | None = None
    swap_expected_usd: int | None = None
    sales: tuple[SoldAsset, ...] = ()
    buys: tuple[SoldAsset, ...] = ()

    @property
    def swap_actual_usd(self) -> int | None:
        """What the sales really cost: what was expected, and what was sold beyond that at prices of the plan's block
        (negative: less was), less what came in by own swaps beyond what was expected.
        """
        expected, actual = self._sold_usd(really=False), self._sold_usd(really=True)
        foretold, came = self._bought_usd(really=False), self._bought_usd(really=True)
        if self.swap_expected_usd is None or expected is None or actual is None or foretold is None or came is None:
            return None
        return self.swap_expected_usd + round((actual - expected) - (came - foretold))

    @property
    def slippage_expected(self) -> int | None:
        """The expected cost of the sales as a share (wad) of what was to be sold."""
        return _share(self.swap_expected_usd, self._sold_usd(really=False))

    @property
    def slippage_actual(self) -> int | None:
        """The real cost of the sales as a share (wad) of what was sold."""
        return _share(self.swap_actual_usd, self._sold_usd(really=True))

    def _sold_usd(self, *, really: bool) -> Fraction | None:
        """Dollars (8 decimals) of all that was to be sold, or was; None where any is not known, or nothing was."""
        return _worth(self.sales, really=really) if self.sales else None

    def _bought_usd(self, *, really: bool) -> Fraction | None:
        """Dollars (8 decimals) of all that own swaps were to bring in, or did; None where any is not known."""
        return _worth(self.buys, really=really)


def _worth(assets: Sequence[SoldAsset], *, really: bool) -> Fraction | None:
    values = [one.value(one.actual if really else one.expected) for one in assets]
    known = [value for value in values if value is not None]
    return sum(known, Fraction()) if len(known) == len(values) else None


def _share(cost_usd: int | None, sold_usd: Fraction | None) -> int | None:
    return None if cost_usd is None or not sold_usd else round(cost_usd * WAD / sold_usd)


Row = tuple[Firing, Outcome]


@dataclass(frozen=True, slots=True)
class Differences:
    """Means over the firings that ended done and have both figures, None where none has; how many ended done.

    Actual less simulated health (wad), actual less expected gas (dollars with 8 decimals), actual less expected
    slippage (a share of what was sold, wad).
    """

    health: int | None
    gas_usd: int | None
    slippage: int | None
    done: int


def differences(rows: Sequence[Row]) -> Differences:
    """How far off firings were on average, rounded to the nearest."""
    done = [outcome for firing, outcome in rows if firing.state is FiringState.DONE]
    health = [
        one.health_actual - one.health_simulated
        for one in done
        if one.health_actual is not None and one.health_simulated is not None
    ]
    gas = [
        one.gas_actual_usd - one.gas_expected_usd
        for one in done
        if one.gas_actual_usd is not None and one.gas_expected_usd is not None
    ]
    slippage = [
        one.slippage_actual - one.slippage_expected
        for one in done
        if one.slippage_actual is not None and one.slippage_expected is not None
    ]
    return Differences(_mean(health), _mean(gas), _mean(slippage), len(done))


def _mean(values: Sequence[int]) -> int | None:
    return round(Fraction(sum(values), len(values))) if values else None
