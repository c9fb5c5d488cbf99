"""Aave's integer arithmetic, digit for digit: ray and percent products in each rounding, interest, yearly yields.

Mirrors WadRayMath, PercentageMath and MathUtils of aave-v3-core 1.19 and aave-v3-origin (3.1 to 3.7).
"""

from __future__ import annotations

from functools import lru_cache

from tui.model.units import BPS, RAY, SECONDS_PER_YEAR, WAD

HALF_RAY = RAY // 2
HALF_BPS = BPS // 2
_RAY_TO_WAD = RAY // WAD


def ray_mul(a: int, b: int) -> int:
    """a * b / 1e27, halves up."""
    return (a * b + HALF_RAY) // RAY


def ray_mul_floor(a: int, b: int) -> int:
    """a * b / 1e27, down."""
    return a * b // RAY


def ray_mul_ceil(a: int, b: int) -> int:
    """a * b / 1e27, up."""
    return -(-a * b // RAY)


def ray_div(a: int, b: int) -> int:
    """a * 1e27 / b, halves up."""
    return (a * RAY + b // 2) // b


def ray_div_floor(a: int, b: int) -> int:
    """a * 1e27 / b, down."""
    return a * RAY // b


def wad_div(a: int, b: int) -> int:
    """a * 1e18 / b, halves up."""
    return (a * WAD + b // 2) // b


def percent_mul(value: int, percentage: int) -> int:
    """value * bps / 1e4, halves up."""
    return (value * percentage + HALF_BPS) // BPS


def percent_div(value: int, percentage: int) -> int:
    """value * 1e4 / bps, halves up."""
    return (value * BPS + percentage // 2) // percentage


def linear_interest(rate: int, seconds: int) -> int:
    """Growth (ray) of what is supplied: 1 + rate * t, rate in ray a year."""
    return RAY + rate * seconds // SECONDS_PER_YEAR


def compounded_interest(rate: int, seconds: int) -> int:
    """Growth (ray) of what is owed before 3.4: three terms of the binomial series, rate in ray a year."""
    if seconds == 0:
        return RAY
    less_one = seconds - 1
    less_two = seconds - 2 if seconds > 2 else 0
    power_two = ray_mul(rate, rate) // (SECONDS_PER_YEAR * SECONDS_PER_YEAR)
    power_three = ray_mul(power_two, rate) // SECONDS_PER_YEAR
    second = seconds * less_one * power_two // 2
    third = seconds * less_one * less_two * power_three // 6
    return RAY + rate * seconds // SECONDS_PER_YEAR + second + third


def compounded_interest_since_3_4(rate: int, seconds: int) -> int:
    """Growth (ray) of what is owed since 3.4: three terms of the exponential, rate in ray a year."""
    if seconds == 0:
        return RAY
    x = rate * seconds // SECONDS_PER_YEAR
    return RAY + x + ray_mul(x, x // 2 + ray_mul(x, x // 6))


HIGHEST_RATE = 100 * RAY
"""Ten thousand percent a year: no rate strategy gives more, so more is not a rate."""


@lru_cache(maxsize=4096)
def apy(rate: int) -> int | None:
    """Yearly yield (wad) of a yearly rate (ray) compounded every second: (1 + rate / n) ** n - 1, n seconds a year.

    By repeated squaring in rays, as Aave's own front end states its yields. None for what cannot be a rate.
    """
    if rate > HIGHEST_RATE:
        return None
    base = RAY + rate // SECONDS_PER_YEAR
    power, result = SECONDS_PER_YEAR, RAY
    while power:
        if power & 1:
            result = ray_mul(result, base)
        base = ray_mul(base, base)
        power >>= 1
    return (result - RAY) // _RAY_TO_WAD
