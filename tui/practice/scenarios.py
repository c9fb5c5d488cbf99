"""What the market does: named scenarios as keyframes, and the driver that turns them into prices a block.

All of it is integer arithmetic on a seeded generator: a seed gives the same prices on every machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tui.practice.errors import PracticeError
from tui.practice.tokens import ASSET_BY_SYMBOL, FEED_UNIT

ONE = 10**9
"""Scale of the factors below: ONE is 1.0."""
GWEI = 10**9
CALM_BASE_FEE = 2 * GWEI
LEAD_IN_S = 10
"""Every scenario starts after this long a calm."""

WBTC_BETA_PERCENT = 70
_WSTETH_RATIO = 1_200_000_000
_WSTETH_YIELD_PER_YEAR = 29_000_000
_YEAR_S = 365 * 86_400
_BASE_FEE_STEP = 8
"""A block's base fee moves by at most an eighth (EIP-1559)."""

Keyframes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A course of events. Keyframes are (seconds since its start, factor in units of ONE), joined by straight lines.

    Before the first and after the last keyframe the factor stays. ``haste`` is how many seconds of chain time
    pass in one of the scenario's, while it lasts; ``pinned`` names the asset whose liquidity is borrowed away.
    """

    name: str
    summary: str
    duration_s: int
    ether: Keyframes = ((0, ONE),)
    dollar: Keyframes = ((0, ONE),)
    base_fee: Keyframes = ((0, ONE),)
    haste: int = 1
    pinned: str | None = None


def _percent(value: int) -> int:
    return ONE // 100 * value


_CRASH: Keyframes = ((0, ONE), (20, _percent(94)), (60, _percent(80)), (75, _percent(83)), (180, _percent(55)))

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("calm", "prices wander a little, nothing happens", 0),
        Scenario("slide", "ether slides by 20% over 5 minutes", 300, ether=((0, ONE), (300, _percent(80)))),
        Scenario("crash", "ether falls by 45% in 3 minutes", 180, ether=_CRASH),
        Scenario(
            "wick",
            "ether falls by 25% and comes back, all within 30 seconds",
            30,
            ether=((0, ONE), (14, _percent(75)), (18, _percent(75)), (30, ONE)),
        ),
        Scenario(
            "gas-storm",
            "the crash, with a base fee that rises twentyfold",
            180,
            ether=_CRASH,
            base_fee=((0, ONE), (60, 20 * ONE), (180, 20 * ONE), (240, ONE)),
        ),
        Scenario(
            "depeg",
            "USDC, the debt, rises to 1.08 and comes back",
            240,
            dollar=((0, ONE), (60, _percent(108)), (150, _percent(108)), (240, ONE)),
        ),
        Scenario(
            "rates",
            "USDC is borrowed out, half a day passes every second and interest eats the health",
            300,
            haste=43_200,
            pinned="USDC",
        ),
    )
}


def scenario_named(name: str) -> Scenario:
    """Raises ``PracticeError`` with the names there are."""
    try:
        return SCENARIOS[name]
    except KeyError:
        raise PracticeError(f"There is no scenario {name!r}.", f"Choose one of: {', '.join(SCENARIOS)}.") from None


def factor_at(keyframes: Keyframes, milliseconds: int) -> int:
    """The factor of ``keyframes`` at a time, in units of ONE."""
    previous_time, previous = keyframes[0][0] * 1000, keyframes[0][1]
    if milliseconds <= previous_time:
        return previous
    for seconds, value in keyframes[1:]:
        time = seconds * 1000
        if milliseconds < time:
            return previous + (value - previous) * (milliseconds - previous_time) // (time - previous_time)
        previous_time, previous = time, value
    return previous


@dataclass(frozen=True, slots=True)
class Quote:
    """What one block brings: feed answers (USD, 8 decimals), the base fee in wei, the time since the block before."""

    answers: dict[str, int]
    base_fee: int
    seconds: int
    pinned: str | None


class PriceDriver:
    """Yields one ``Quote`` a block. The same scenario, seed and block time give the same quotes."""

    def __init__(self, scenario: Scenario, seed: int, block_time_ms: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.block_time_ms = block_time_ms
        self.elapsed_ms = 0
        self._chain_ms = 0
        self._random = random.Random(seed)  # noqa: S311  # repeatable on purpose, guards nothing
        self._wander = dict.fromkeys(("ether", "bitcoin", "DAI", "USDT"), 0)
        self._base_fee = CALM_BASE_FEE

    @property
    def scenario_ms(self) -> int:
        """Time since the scenario began, negative during the lead-in."""
        return self.elapsed_ms - LEAD_IN_S * 1000

    @property
    def over(self) -> bool:
        """Whether the scenario has run its course and the market is calm again."""
        return self.scenario_ms > self.scenario.duration_s * 1000

    def next(self) -> Quote:
        """Advance by one block."""
        self.elapsed_ms += self.block_time_ms
        running = 0 < self.scenario_ms <= self.scenario.duration_s * 1000
        before = self._chain_ms // 1000
        self._chain_ms += self.block_time_ms * (self.scenario.haste if running else 1)
        for name, reach in (("ether", 500_000), ("bitcoin", 350_000), ("DAI", 60_000), ("USDT", 60_000)):
            # A pull to the middle keeps the wandering within about half a percent (a hundredth of that for dollars).
            self._wander[name] += self._random.randint(-reach, reach) - self._wander[name] // 40
        return Quote(
            answers=self._answers(),
            base_fee=self._next_base_fee(),
            seconds=max(1, self._chain_ms // 1000 - before),
            pinned=self.scenario.pinned if running else None,
        )

    def _answers(self) -> dict[str, int]:
        ether_shape = factor_at(self.scenario.ether, self.scenario_ms)
        dollar_shape = factor_at(self.scenario.dollar, self.scenario_ms)
        bitcoin_shape = ONE + (ether_shape - ONE) * WBTC_BETA_PERCENT // 100
        ether = _price("WETH", ether_shape, ONE + self._wander["ether"])
        bitcoin_wander = ONE + self._wander["ether"] * WBTC_BETA_PERCENT // 100 + self._wander["bitcoin"]
        ratio = _WSTETH_RATIO + _WSTETH_YIELD_PER_YEAR * (self._chain_ms // 1000) // _YEAR_S
        return {
            "WETH": ether,
            "wstETH": ether * ratio // ONE,
            "WBTC": _price("WBTC", bitcoin_shape, bitcoin_wander),
            "USDC": _price("USDC", dollar_shape, ONE),
            "DAI": _price("DAI", ONE, ONE + self._wander["DAI"]),
            "USDT": _price("USDT", ONE, ONE + self._wander["USDT"]),
        }

    def _next_base_fee(self) -> int:
        wanted = CALM_BASE_FEE * factor_at(self.scenario.base_fee, self.scenario_ms) // ONE
        wanted += self._random.randint(-wanted // 20, wanted // 20)
        step = self._base_fee // _BASE_FEE_STEP
        self._base_fee = min(max(wanted, self._base_fee - step), self._base_fee + step)
        return self._base_fee


def _price(symbol: str, shape: int, wander: int) -> int:
    return ASSET_BY_SYMBOL[symbol].price_usd * FEED_UNIT * shape // ONE * wander // ONE
