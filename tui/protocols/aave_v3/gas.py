"""What calls of this market usually take: whole transactions measured on a real pool, so that plans can be compared.

Nothing is ever sent by these figures: what is sent was simulated, and carries the gas that the simulation took.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tui.model.plan import PlannedCall
from tui.protocols.aave_v3.calls import (
    DEPOSIT,
    REPAY,
    REPAY_WITH_ATOKENS,
    REPAY_WITH_PERMIT,
    SUPPLY,
    SUPPLY_WITH_PERMIT,
)
from tui.protocols.aave_v3.helper import DELEVERAGE, DELEVERAGE_WITH_PERMIT, MAX_POOLS
from tui.protocols.aave_v3.helper_orders import (
    APPROVE_DELEGATION,
    BOOST,
    BOOST_WITH_SIGNATURE,
    SWITCH_COLLATERAL,
    SWITCH_COLLATERAL_WITH_PERMIT,
    SWITCH_DEBT,
    SWITCH_DEBT_WITH_SIGNATURE,
)
from tui.protocols.aave_v3.sales import POOLS_WORD
from tui.protocols.erc20 import APPROVE

MULTICALL, EXACT_INPUT = bytes.fromhex("5ae401dc"), bytes.fromhex("b858183f")
"""The batch of SwapRouter02 in which an own swap goes, and what it holds where that is through two pools."""
_INNER = slice(4 + 32 * 6 - 4, 4 + 32 * 6)
"""Where the function that a batch calls stands."""
WITHDRAW = bytes.fromhex("69328dec")
UNKNOWN_GAS = 450_000
"""For calls that are not in the table."""
TYPICAL_GAS: Mapping[bytes, int] = MappingProxyType(
    {
        APPROVE: 55_000,
        DEPOSIT: 50_000,
        REPAY: 165_000,
        REPAY_WITH_PERMIT: 200_000,
        REPAY_WITH_ATOKENS: 155_000,
        SUPPLY: 155_000,
        SUPPLY_WITH_PERMIT: 190_000,
        DELEVERAGE: 800_000,
        DELEVERAGE_WITH_PERMIT: 840_000,
        SWITCH_COLLATERAL: 800_000,
        SWITCH_COLLATERAL_WITH_PERMIT: 840_000,
        SWITCH_DEBT: 725_000,
        SWITCH_DEBT_WITH_SIGNATURE: 780_000,
        BOOST: 715_000,
        BOOST_WITH_SIGNATURE: 770_000,
        APPROVE_DELEGATION: 55_000,
        MULTICALL: 125_000,
        WITHDRAW: 380_000,
    }
)
"""Units of gas of a whole transaction by its selector, the most that was measured, up to the next 5,000.

Measured as gasUsed of receipts on anvil with the bytecode of Aave 3.2 and Uniswap V3: an account with WETH and USDC
supplied and USDC owed, and one with three more assets supplied and owed; repaying and supplying 1,000 USDC and 1 WETH,
selling 4 WETH for 10,000 USDC through one pool. Each sale checks health twice, so that it takes 55,000 more for each
further asset of the account. `tests/protocols/test_aave_gas.py` measures it anew.
"""
_SALES = frozenset(
    {
        DELEVERAGE,
        DELEVERAGE_WITH_PERMIT,
        SWITCH_COLLATERAL,
        SWITCH_COLLATERAL_WITH_PERMIT,
        SWITCH_DEBT,
        SWITCH_DEBT_WITH_SIGNATURE,
        BOOST,
        BOOST_WITH_SIGNATURE,
    }
)
FURTHER_POOL_GAS = 85_000
"""What a sale takes more for each pool after the first."""
SECOND_POOL_GAS = 100_000
"""What an own swap takes more through two pools."""


def typical_gas(call: PlannedCall) -> int:
    """Units of gas that a transaction like `call` usually takes."""
    gas = TYPICAL_GAS.get(call.selector, UNKNOWN_GAS)
    if call.selector == MULTICALL and call.data[_INNER] == EXACT_INPUT:
        return gas + SECOND_POOL_GAS
    if call.selector not in _SALES:
        return gas
    start = 4 + 32 * POOLS_WORD
    pools = int.from_bytes(call.data[start : start + 32], "big")
    return gas + FURTHER_POOL_GAS * (min(max(pools, 1), MAX_POOLS) - 1)
