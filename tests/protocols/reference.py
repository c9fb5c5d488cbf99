"""Reference positions without a node: exact states of the adapter, at any revision's rules."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from tui.model.block import BlockRef
from tui.model.position import MarketKey, Position, PositionKey
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.health import figures, lines_of
from tui.protocols.aave_v3.position import build_position
from tui.protocols.aave_v3.state import AccountState, Holding, MarketState, market_state

_DATA = Path(__file__).parents[1] / "data"


def _cases(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads(gzip.decompress((_DATA / name).read_bytes()))["cases"]
    return cases


CASES = _cases("aave_ref_positions.json.gz")
LIQUIDATIONS = _cases("aave_ref_liquidations.json.gz")


def _configuration(decimals: int, ltv: int, threshold: int, bonus: int) -> int:
    return ltv | threshold << 16 | bonus << 32 | decimals << 48 | 1 << 56


def raw_of(case: dict[str, Any], revision: int) -> lens.RawReading:
    reserves = []
    for number, symbol, decimals, ltv, threshold, bonus, index, rate, debt_index, debt_rate, at, price, *_ in case[
        "reserves"
    ]:
        address = f"0x{number + 1:040x}"
        reserves.append(
            lens.RawReserve(
                0, address, _configuration(decimals, ltv, threshold, bonus), index, rate, debt_index, debt_rate, at,
                number, address, address, address, 0, price, address, at, 10**30, 10**30, decimals,
                symbol.encode().ljust(32, b"\0"), len(symbol),
            )
        )  # fmt: skip
    zero = "0x" + "0" * 40
    categories = tuple(
        lens.RawCategory(0, number, ltv, threshold, bonus, zero, 0, collateral, 0, ltvzero, False, b"x" * 32, 1)
        for number, ltv, threshold, bonus, collateral, ltvzero in case["e_modes"]
    )
    return lens.RawReading(case["time"], 1, zero, zero, revision, 10**8, 0, True, 0, tuple(reserves), (), categories)


def state_of(case: dict[str, Any], revision: int) -> tuple[MarketState, AccountState]:
    bitmap, holdings = 0, {}
    for number, *_, supplied, flagged, owed, _, _ in case["reserves"]:
        holdings[number] = Holding(supplied, owed)
        bitmap |= (int(flagged) << 1 | int(owed > 0)) << 2 * number
    return market_state(raw_of(case, revision)), AccountState("0x" + "1" * 40, bitmap, case["e_mode"], holdings)


def position_of(case: dict[str, Any], revision: int) -> Position:
    """The position as the adapter would give it, with everything computed."""
    market, account = state_of(case, revision)
    lines = lines_of(market, account)
    key = PositionKey(MarketKey("aave-v3", "core"), account.account)
    block = BlockRef(1, "0x01", "0x00", case["time"], 10**9)
    return build_position(key, block, market, account, lines, figures(market.rules, lines))
