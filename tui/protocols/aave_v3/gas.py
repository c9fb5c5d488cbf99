"""What calls of this market usually take: whole transactions measured on a real pool, so that plans can be compared.

Nothing is ever sent by these figures: what is sent was simulated, and carries the gas that the simulation took.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

UNKNOWN_GAS = 450_000
TYPICAL_GAS: Mapping[bytes, int] = MappingProxyType({})


def typical_gas(selector: bytes) -> int:
    """Units of gas that a transaction with this selector usually takes."""
    return TYPICAL_GAS.get(selector, UNKNOWN_GAS)
