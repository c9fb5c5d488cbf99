"""Rules held against the newest snapshot: what names an asset that the market lacks, or an action it cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tui.model.rule import RuleFault, Severity
from tui.model.snapshot import Snapshot
from tui.protocols.base import LendingMarket
from tui.rules.check import LiveMarket, check_live
from tui.rules.load import RuleSet


def live_faults(
    sets: Sequence[RuleSet], snapshot: Snapshot, markets: Mapping[str, LendingMarket]
) -> tuple[RuleFault, ...]:
    """Faults that the files alone do not show. Errors make a rule that cannot work as it is written."""
    live = tuple(
        LiveMarket(
            facts.key,
            markets[str(facts.key)].actions,
            facts.assets,
            tuple(position for position in snapshot.positions if position.key.market == facts.key),
            facts.error,
        )
        for facts in snapshot.markets
    )
    return tuple(fault for one in sets for fault in check_live(one, live, snapshot.wallets))


def live_errors(
    rule: str, sets: Sequence[RuleSet], snapshot: Snapshot, markets: Mapping[str, LendingMarket]
) -> tuple[RuleFault, ...]:
    """The errors of one rule."""
    return tuple(
        fault
        for fault in live_faults(sets, snapshot, markets)
        if fault.rule == rule and fault.severity is Severity.ERROR
    )
