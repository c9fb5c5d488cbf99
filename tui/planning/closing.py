"""Closing a part of a position: how much of each debt a firing is to repay, and what is left to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tui.model.position import Position
from tui.model.rounds import DebtPart
from tui.model.rule import REPAYING, ActionKind, Rule
from tui.model.units import BPS, LEAST_USD, value_usd
from tui.protocols.base import LendingMarket
from tui.rules.rounds import part_left


@dataclass(frozen=True, slots=True)
class Closing:
    """What is to be repaid of each debt that the steps name, in base units by asset address: `wanted` when it fires,
    `left` of that still. `prices` in dollars with 8 decimals (those that are known), `decimals` of the assets; `bps` is
    the part wanted.
    """

    bps: int
    owed: Mapping[str, int]
    wanted: Mapping[str, int]
    left: Mapping[str, int]
    prices: Mapping[str, int]
    decimals: Mapping[str, int]

    @classmethod
    def start(
        cls,
        rule: Rule,
        market: LendingMarket,
        position: Position,
        known: tuple[DebtPart, ...] = (),
        *,
        in_rounds: bool = False,
    ) -> Closing | None:
        """Before anything is done; or between two rounds, or after a firing that did less, where `known` says what was
        owed when it fired; `in_rounds` nothing else is closed. None where the rule restores a health factor.
        """
        bps = rule.close_bps
        if bps is None:
            return None
        named = named_debts(rule, market, position)
        debts = [one for one in position.debt if one.asset.address in named and one.amount > 0]
        before = {one.token: one for one in known}
        if in_rounds:
            # Of a debt that another step has closed its half of, each round would close half of the rest.
            debts = [one for one in debts if one.asset.address in before]
        parts = [before.get(one.asset.address, DebtPart(one.asset.address, one.amount)) for one in debts]
        left = {one.token: part_left(one, position, bps) for one in parts}
        # Between two rounds what is left, and what they have repaid, is what was wanted; interest on it counts in.
        wanted = {one.token: left[one.token] + one.repaid for one in parts}
        return cls(
            bps,
            MappingProxyType({one.token: max(one.owed, wanted[one.token]) for one in parts}),
            MappingProxyType(wanted),
            MappingProxyType(left),
            MappingProxyType({one.asset.address: p for one in debts if (p := one.price_usd) is not None and p > 0}),
            MappingProxyType({one.asset.address: one.asset.decimals for one in debts}),
        )

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do. Of a part, less than a cent of a debt counts as nothing; of all of it, all. A
        debt whose price is not known is never less than a cent.
        """
        return bool(self.wanted) and all(not left or self._is_dust(one, left) for one, left in self.left.items())

    @property
    def repaid_usd(self) -> int:
        """What was repaid so far, in dollars with 8 decimals, of the debts whose price is known."""
        return sum(self._value(one, self.wanted[one] - self.left[one]) for one in self.prices)

    @property
    def closed_bps(self) -> int:
        """The part of all named debts that was repaid so far, by value, cut. Where a price is not known: the least part
        of any of them, for by value it is that at least.
        """
        if self.is_done:
            return self.bps
        if len(self.prices) < len(self.owed):
            return min((self.wanted[one] - self.left[one]) * BPS // owed for one, owed in self.owed.items())
        owed = sum(self._value(one, amount) for one, amount in self.owed.items())
        return self.repaid_usd * BPS // owed if owed else 0

    @property
    def is_of_all(self) -> bool:
        """Whether nothing is to be left of the debts."""
        return self.bps >= BPS

    def left_of(self, token: str) -> int:
        """Base units of a debt that are still to be repaid."""
        return self.left.get(token, 0)

    def after(self, kind: ActionKind, token: str, amount: int, owed: int | None = None) -> Closing:
        """Once so much of a debt is repaid. `owed` is what is owed of it then, to the market's own rounding: of all of
        it that is what is left.
        """
        if kind not in REPAYING or token not in self.left:
            return self
        left = max(self.left[token] - amount, 0)
        if owed is not None:
            left = owed if self.is_of_all else min(left, owed)
        return replace(self, left=MappingProxyType({**self.left, token: left}))

    def _is_dust(self, token: str, amount: int) -> bool:
        return self.bps < BPS and token in self.prices and self._value(token, amount) < LEAST_USD

    def _value(self, token: str, amount: int) -> int:
        return value_usd(amount, self.decimals[token], self.prices[token])


def named_debts(rule: Rule, market: LendingMarket, position: Position) -> frozenset[str]:
    """The tokens (addresses) whose debts the steps of a rule repay."""
    found = (market.find_asset(position, step.asset) for step in rule.steps if step.action in REPAYING)
    return frozenset(asset.address for asset in found if asset is not None)


def parts_to_close(
    rule: Rule, market: LendingMarket, position: Position, known: tuple[DebtPart, ...]
) -> tuple[DebtPart, ...]:
    """The debts of which a firing at `position` is to close a part, those that are `known` from an earlier one as they
    were then; none where the rule closes no part.
    """
    if rule.close_bps is None:
        return ()
    named, before = named_debts(rule, market, position), {one.token for one in known}
    new = (one for one in position.debt if one.asset.address in named - before and one.amount > 0)
    return (*known, *(DebtPart(one.asset.address, one.amount) for one in new))
