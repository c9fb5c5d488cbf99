"""Exact integers and their texts: wad, ray, basis points, token base units and 8-decimal dollars.

No float ever enters here; text is the only way in and out.
"""

from __future__ import annotations

import re

WAD = 10**18
RAY = 10**27
BPS = 10_000
USD_DECIMALS = 8
USD = 10**USD_DECIMALS
LEAST_USD = USD // 100
"""What is worth less than a cent is dust."""
UINT256_MAX = 2**256 - 1
SECONDS_PER_YEAR = 365 * 24 * 60 * 60

_DECIMAL = re.compile(r"(-?)(\d{1,60})(?:\.(\d{1,60}))?", re.ASCII)


def whole(decimals: int) -> int:
    """10 ** decimals: base units in one whole token."""
    return int(10**decimals)


def parse_units(text: str, decimals: int) -> int:
    """The exact integer of base units in a plain decimal text: `parse_units("1.5", 6) == 1_500_000`.

    Raises ValueError for anything but digits with at most one point, and where the text has more digits after the
    point than the unit can hold: an amount is never rounded silently.
    """
    match = _DECIMAL.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a plain decimal number")
    sign, integer, fraction = match[1], match[2], (match[3] or "").rstrip("0")
    if len(fraction) > decimals:
        raise ValueError(f"{text!r} has more than {decimals} digits after the point")
    value = int(integer) * whole(decimals) + int(fraction.ljust(decimals, "0") or "0")
    return -value if sign else value


def format_units(amount: int, decimals: int, places: int | None = None) -> str:
    """The decimal text of an integer amount; cut (never rounded up) to `places` digits after the point where given."""
    sign = "-" if amount < 0 else ""
    integer, fraction = divmod(abs(amount), whole(decimals))
    digits = str(fraction).rjust(decimals, "0") if decimals else ""
    if places is not None:
        digits = digits[:places].ljust(places, "0")
    return f"{sign}{integer}.{digits}" if digits else f"{sign}{integer}"


def group_digits(text: str) -> str:
    """`1234567.89` with thousands commas, for reading: `1,234,567.89`."""
    sign, rest = ("-", text[1:]) if text.startswith("-") else ("", text)
    integer, point, fraction = rest.partition(".")
    return f"{sign}{int(integer):,}{point}{fraction}"


def usd_text(value: int) -> str:
    """Dollars with two digits, cut: `5,214.20`."""
    return group_digits(format_units(value, USD_DECIMALS, 2))


def value_usd(amount: int, decimals: int, price_usd: int) -> int:
    """Dollar value (8 decimals, floored) of `amount` base units at `price_usd` (8 decimals a whole token)."""
    return amount * price_usd // whole(decimals)


def mul_div_up(a: int, b: int, denominator: int) -> int:
    """ceil(a * b / denominator) for non-negative integers."""
    return -(-a * b // denominator)
