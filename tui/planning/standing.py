"""What a step of a waterfall is sized on: the state that the earlier ones leave, purses, and what bounds it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tui.model.plan import Action, PlannedStep
from tui.model.position import Asset, Position
from tui.model.rounds import Rounds
from tui.model.rule import ActionKind, Rule, Step
from tui.model.units import USD, parse_units, usd_text, value_usd, whole
from tui.model.wallet import Wallet
from tui.planning.apart import NOTHING_APART, Apart
from tui.planning.circumstances import Circumstances
from tui.planning.closing import Closing
from tui.planning.purse import NO_PURSE, Purse
from tui.planning.texts import amount_text, step_text
from tui.protocols.base import LendingMarket

INTEREST_ROOM = 5_000
"""A step aims above the target by this part of it (0.02%): until the transaction is in a block, and a while after,
interest eats into the health, which is to lie between the target and 0.1% above it.
"""
BOOST_ROOM = 200
"""A boost aims above its target by this part of it (0.5%), or by half the way to its trigger where that is less: under
the target the chain undoes it, and prices move until it is in a block. Twice as far above it has reached its target.
"""
NO_ROUTER = 'the network file names no router to swap with: add router02 to its [[swap]] table of kind "uniswap-v3"'
DAILY_SPENT = "the daily spend leaves no more"
"""The note of a step that the daily limit cuts short."""
LEAST_ROUND_USD = USD
"""Between two rounds less than a dollar is nothing: neither what is left of a maximum nor what a round bought too much.
"""


@dataclass(frozen=True, slots=True)
class Sized:
    """One step: the action, what bound it in words, the dollars it moves, and the rounds that it is one of."""

    action: Action
    note: str
    spends: int
    rounds: Rounds | None = None


def meets(health_factor: int | None, target: int) -> bool:
    """Whether a health factor (None: no debt left) is at or above a target in wad."""
    return health_factor is None or health_factor >= target


@dataclass(frozen=True, slots=True)
class Standing:
    """A waterfall as far as it has come, for whatever sizes its next step."""

    rule: Rule
    market: LendingMarket
    circumstances: Circumstances
    current: Position
    wallet: Wallet
    purses: Mapping[str, Purse]
    spent: int = 0
    moved: tuple[int, ...] = ()
    """The dollars of each of `steps`, of which `spent` is the sum."""
    steps: tuple[PlannedStep, ...] = ()
    taken: tuple[int, ...] = ()
    befores: tuple[Position, ...] = ()
    skipped: tuple[str, ...] = ()
    closing: Closing | None = None
    apart: Apart = NOTHING_APART
    rounds: Rounds | None = None
    hurried: bool = False
    """Whether own swaps have all the room that their steps leave."""
    is_ahead: bool = False
    """Whether it only looks at what follows on a round."""

    @property
    def _target(self) -> int:
        """The health (wad) that is to be reached, where that is the goal."""
        target = self.rule.target_health_factor
        if target is None:
            raise ValueError(f"rule {self.rule.name!r} restores no health factor")
        return target

    @property
    def aim(self) -> int:
        """The health (wad) that sizes aim at."""
        return self._target + (self._boost_room if self.rule.boosts else self._target // INTEREST_ROOM)

    @property
    def _boost_room(self) -> int:
        """What health (wad) may fall by while a boost is on its way."""
        half_way = (self.rule.trigger.level - self._target) // 2
        return max(min(self._target // BOOST_ROOM, half_way), self._target // INTEREST_ROOM)

    @property
    def spend_left(self) -> int | None:
        """Dollars (8 decimals) that may still be moved; None: no limit."""
        daily = self.rule.limits.daily_spend_usd
        around = self.circumstances
        return None if daily is None else max(daily - around.spent_today_usd - around.reserved_usd - self.spent, 0)

    @property
    def _account(self) -> str:
        """Whose position it is."""
        return self.current.key.account

    def _payer(self, step: Step) -> str | None:
        """Whose wallet a step is paid from, where that is not the own account's."""
        return None if step.signer(self._account) == self._account else step.wallet

    def _purse(self, step: Step) -> Purse:
        """What is left in the wallet that a step is paid from."""
        return self.purses.get(step.signer(self._account), NO_PURSE)

    def _funds(self, step: Step, asset: Asset) -> tuple[int, str] | str:
        """What the paying wallet has of `asset`, native coin that can be wrapped counted in, in units and in words."""
        purse = self._purse(step)
        if purse.balances.get(asset.address) is None:
            return f"{step_text(step)}: the wallet's balance could not be read"
        balance, spare = self._own(step, asset), 0
        if asset.address == self.circumstances.wrapped_native and purse.native is not None:
            spare = max(purse.native - self.circumstances.gas_reserve, 0)
        if balance + spare == 0:
            return f"{step_text(step)}: the wallet holds none"
        words = f"the wallet holds {amount_text(balance, asset)}"
        if spare:
            native = replace(asset, symbol="of the native coin")
            words += f" and {amount_text(spare, native)} that gas does not need"
        return balance + spare, words

    def _maximum(self, step: Step, asset: Asset) -> list[tuple[int, str]] | str:
        if step.maximum is None:
            return []
        try:
            most = parse_units(step.maximum, asset.decimals)
        except ValueError as wrong:
            return f"{step_text(step)}: max {wrong}"
        if not self.circumstances.continues:
            return [(most, f"the rule's maximum is {step.maximum}")]
        price, who = self.market.price_usd(self.current, asset), "its rounds have"
        who = "its firing has" if self.circumstances.goes_on else who
        if not most or (price and value_usd(most, asset.decimals, price) < LEAST_ROUND_USD):
            return [(0, f"{who} used up its maximum")]
        return [(most, f"{who} left {amount_text(most, asset)} of the rule's maximum")]

    def _spendable(self, asset: Asset, price: int) -> list[tuple[int, str]]:
        left = self.spend_left
        if left is None:
            return []
        reserved = self.circumstances.reserved_usd
        note = f"{DAILY_SPENT} beside ${usd_text(reserved)} for gas" if reserved else DAILY_SPENT
        return [(left * whole(asset.decimals) // price, note)]

    def _left(self, asset: Asset) -> int:
        """Base units that earlier rounds of this firing left in the wallet, and that are still there."""
        so_far = self.circumstances.so_far
        return (
            0
            if so_far is None
            else min(so_far.left_of(asset.address), self.purses[self._account].balances.get(asset.address) or 0)
        )

    def _own(self, step: Step, asset: Asset) -> int:
        """Base units in the paying wallet that are its own: what rounds left there is for the rounds to use up."""
        there = self._purse(step).balances.get(asset.address) or 0
        sells = any(one.action is ActionKind.DELEVERAGE for one in self.rule.steps)
        return there - self._left(asset) if sells and step.signer(self._account) == self._account else there
