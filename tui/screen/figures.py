"""Exact integers as texts a trader reads at a glance: cut, never rounded towards comfort, aligned by their units.

Everything that cannot be known is None on the way in and UNKNOWN on the way out, never a zero.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from tui.model.text import clean_text, short_address
from tui.model.units import BPS, USD, USD_DECIMALS, WAD, format_units, group_digits, whole

UNKNOWN = "unknown"
MINUS = "−"


def _signed(text: str) -> str:
    return MINUS + text[1:] if text.startswith("-") else text


def health(value: int, places: int = 4) -> str:
    """A health factor in wad, cut to `places`; what is beyond any reason to look closely is `>999`."""
    if value >= 1000 * WAD:
        return ">999"
    if value >= 100 * WAD:
        places = min(places, 2)
    return format_units(value, 18, places)


def health_or(value: int | None, otherwise: str, places: int = 4) -> str:
    """A health factor in wad, or `otherwise` where there is none."""
    return otherwise if value is None else health(value, places)


def ratio(value: int) -> str:
    """A wad ratio such as a trigger or a target with at least two digits after the point and no idle zeros."""
    text = format_units(value, 18).rstrip("0")
    integer, _, fraction = text.partition(".")
    return f"{integer}.{fraction.ljust(2, '0')}"


def level(value: int) -> str:
    """A price level in wad as it was written, its digits in groups: `2,000`, `0.05`."""
    text = format_units(value, 18).rstrip("0").rstrip(".")
    return group_digits(text)


def part(bps: int) -> str:
    """A part in basis points, as short as it can be: `50%`, `0.5%`."""
    return f"{format_units(bps, 2).rstrip('0').rstrip('.')}%"


def asset_word(name: str) -> str:
    """The name that a rule calls an asset by, short where it is an address."""
    return short_address(name) if name.startswith("0x") else clean_text(name, 12)


def dollars(value: int | None, places: int = 2) -> str:
    """Dollars with 8 decimals, cut to cents: `$20,000.00`."""
    if value is None:
        return UNKNOWN
    if 0 < abs(value) < USD // 10**places and places:
        return f"{MINUS if value < 0 else ''}<$0.{'0' * (places - 1)}1"
    text = group_digits(format_units(abs(value), USD_DECIMALS, places) if places else str(abs(value) // USD))
    return f"{MINUS if value < 0 else ''}${text}"


def dollars_short(value: int | None) -> str:
    """Dollars in few cells: `$30,000`, `$1.23M`; under a hundred dollars with cents."""
    if value is None:
        return UNKNOWN
    sign = MINUS if value < 0 else ""
    amount = abs(value)
    for limit, unit, mark in ((10**9, 10**9, "B"), (10**6, 10**6, "M")):
        if amount >= limit * USD:
            return f"{sign}${format_units(amount // unit, USD_DECIMALS, 2)}{mark}"
    return dollars(value, 2 if amount < 100 * USD else 0)


def price(value: int | None) -> str:
    """A price with 8 decimals, with as many digits as its size deserves: `$3,012.44`, `$1.0002`, `$0.00001234`."""
    if value is None:
        return UNKNOWN
    places = 2 if value >= 100 * USD else 4 if value >= USD // 10 else 8
    return "$" + group_digits(format_units(value, USD_DECIMALS, places))


def amount(value: int, decimals: int) -> str:
    """Token units cut to the digits that matter: `20,000.00`, `1.2345`, `0.000123`; dust is `<0.000001`."""
    size = abs(value)
    unit = whole(decimals)
    places = min(decimals, 2 if size >= 1000 * unit else 4 if size >= unit else 6)
    text = format_units(size, decimals, places)
    if size and not text.strip("0."):
        return f"{MINUS if value < 0 else ''}<{format_units(10 ** (decimals - places), decimals, places)}"
    return (MINUS if value < 0 else "") + group_digits(text)


def distance(bps: int | None) -> str:
    """A distance in basis points as percent with its sign: `−19.68%`."""
    if bps is None:
        return UNKNOWN
    return f"{'+' if bps > 0 else ''}{_signed(format_units(bps, 2, 2))}%"


def distance_bps(now: int | None, there: int | None) -> int | None:
    """How far a price has to go from `now` to `there`, in basis points of now, cut towards zero (nearer, so never
    more comfortable than it is); None where either is not known.
    """
    if not now or there is None:
        return None
    moved = (abs(there - now)) * BPS // now
    return moved if there >= now else -moved


def percent(value: int | None) -> str:
    """A wad share as percent with its sign kept: `−1.23%`."""
    return UNKNOWN if value is None else _signed(format_units(value, 16, 2)) + "%"


def threshold(value: int) -> str:
    """A liquidation threshold in wad as percent: `83%`, `82.5%`."""
    text = format_units(value, 16, 2)
    return text.rstrip("0").rstrip(".") + "%"


def gwei(value: int) -> str:
    """A fee in wei a unit of gas, in gwei."""
    if value < 10**7:
        return "<0.01 gwei" if value else "0 gwei"
    places = 2 if value < 10 * 10**9 else 1 if value < 1000 * 10**9 else 0
    text = format_units(value, 9, places) if places else str(value // 10**9)
    return f"{group_digits(text)} gwei"


def age(seconds: float) -> str:
    """How long ago, in whole units: `0 s`, `58 s`, `3 min`, `2 h 05 min`, `4 d`."""
    whole_seconds = max(0, int(seconds))
    if whole_seconds < 120:
        return f"{whole_seconds} s"
    if whole_seconds < 7200:
        return f"{whole_seconds // 60} min"
    if whole_seconds < 172800:
        return f"{whole_seconds // 3600} h {whole_seconds % 3600 // 60:02d} min"
    return f"{whole_seconds // 86400} d"


def horizon(seconds: int) -> str:
    """How long until, for times far ahead: hours, days, years."""
    if seconds < 172800:
        return age(seconds)
    days = seconds // 86400
    return f"{days} days" if days < 730 else f"{days // 365} years"


def countdown(seconds: float) -> str:
    """Time left as `1:05` or `0:09`; never negative."""
    left = max(0, int(seconds))
    return f"{left // 60}:{left % 60:02d}"


def time_of_day(at: float, zone: tzinfo | None) -> str:
    """`14:03:09` in `zone`, or in the machine's own zone where None."""
    moment = datetime.fromtimestamp(at, tz=UTC)
    return moment.astimezone(zone).strftime("%H:%M:%S")
