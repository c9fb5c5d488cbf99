"""EIP-1559 fees out of recent blocks: a pure quote, clamped against nodes that lie, and the port that feeds it.

How fees are raised later is `tui.model.fees`. Implements `tui.ports.chain.Fees`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tui.chain.hexes import Malformed, mapping, quantity, sequence
from tui.chain.provider import BlockUnknown, Provider
from tui.chain.providers import Pool
from tui.chain.reverts import is_unknown_block
from tui.chain.rpc import RpcError
from tui.model.block import BlockRef
from tui.model.plan import FeeQuote

GWEI = 10**9
_BLOCKS = 20
_PERCENTILE = 60


@dataclass(frozen=True, slots=True)
class FeeLimits:
    """What a node may talk us into, in wei a unit of gas.

    `least_tip` is paid even where others pay nothing; a tip is never above `most_tip`, nor above twice the base fee
    plus `calm_tip` (an idle chain with one absurd tip in it). `ceiling_factor` times the first cap is the most that
    all raises together may reach: with two base fees in the cap, the base fee may grow eightfold before it binds.
    """

    least_tip: int = GWEI // 100
    most_tip: int = 500 * GWEI
    calm_tip: int = 5 * GWEI
    ceiling_factor: int = 4


DEFAULT_LIMITS = FeeLimits()
_POLYGON = 137
_CHAIN_LIMITS = {_POLYGON: FeeLimits(least_tip=30 * GWEI, calm_tip=100 * GWEI)}
"""Polygon's nodes refuse tips under 25 gwei (30 before), however low the base fee is."""


def limits_for(chain_id: int) -> FeeLimits:
    """What a chain's nodes may talk us into."""
    return _CHAIN_LIMITS.get(chain_id, DEFAULT_LIMITS)


def fee_quote(base_fee: int, next_base_fees: Sequence[int], tips: Sequence[int], limits: FeeLimits) -> FeeQuote:
    """Fees for a transaction that wants the next blocks.

    `base_fee` is that of the pinned block, `next_base_fees` what nodes say of the block after it, `tips` what recent
    blocks were paid. The next base fee is taken within an eighth of the pinned one upwards (EIP-1559 allows no more;
    chains with rules of their own move slower) and never below half of it. The tip is the median of `tips` within
    `limits`. The cap is two base fees and the tip: five full blocks in a row do not outgrow it.
    """
    highest = base_fee + base_fee // 8 + 1
    following = min(max((*next_base_fees, base_fee // 2)), highest)
    ranked = sorted(tips)
    median = ranked[len(ranked) // 2] if ranked else limits.least_tip
    tip = min(max(median, limits.least_tip), limits.most_tip, 2 * following + limits.calm_tip)
    max_fee = 2 * following + tip
    return FeeQuote(following, max_fee, tip, max_fee * limits.ceiling_factor)


@dataclass(slots=True)
class ChainFees:
    """Fees of one chain by eth_feeHistory."""

    pool: Pool = field(repr=False)
    limits: FeeLimits = DEFAULT_LIMITS

    async def quote(self, block: BlockRef) -> FeeQuote:
        """Fees for a transaction that wants the next blocks, from the base fees and tips up to `block`.

        Raises ReadFailed, ChainUnreachable.
        """

        async def work(provider: Provider) -> FeeQuote:
            try:
                told = await provider.ask_one("eth_feeHistory", hex(_BLOCKS), hex(block.number), [_PERCENTILE])
            except RpcError as error:
                if is_unknown_block(error):
                    raise BlockUnknown(error.message) from None
                raise
            following, tips = parse_history(told)
            return fee_quote(block.base_fee, following, tips, self.limits)

        return await self.pool.first(work)


def parse_history(told: object) -> tuple[list[int], list[int]]:
    """The base fee of the block after the last, and a tip for every block that had transactions. Raises Malformed."""
    history = mapping(told, "the fee history")
    base_fees = sequence(history.get("baseFeePerGas"), "the base fees")
    ratios = sequence(history.get("gasUsedRatio"), "the fullness of blocks")
    rewards = history.get("reward")
    if rewards is None:  # a history over empty blocks may come without rewards
        rewards = []
    tips: list[int] = []
    rows = sequence(rewards, "the rewards")
    if not base_fees or len(rows) > len(base_fees) or len(rows) > 1024:
        raise Malformed("the fee history has another length than was asked for")
    for row, ratio in zip(rows, ratios, strict=False):
        paid = [quantity(tip, "a tip") for tip in sequence(row, "the rewards of a block")]
        # An empty block pays nobody and says nothing of what others pay.
        if paid and ratio not in (0, 0.0):
            tips.append(paid[0])
    return [quantity(base_fees[-1], "the next base fee")], tips
