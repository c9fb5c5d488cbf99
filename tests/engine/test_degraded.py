"""Too few nodes, and the user has allowed to go on: only to de-risk, with half of the daily limit, and it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, cast

from tests.engine.conftest import Bench
from tests.support.firings import TOKEN, a_plan
from tui.engine.budget import degraded_cap
from tui.model.intent import Firing, FiringState
from tui.model.plan import Action, Plan, PlannedCall, PlannedStep
from tui.model.position import Asset
from tui.model.rule import SALES, ActionKind
from tui.model.units import USD

SHORT = "only 1 of the 2 nodes that must agree answered"


class Riskier(StrEnum):
    """An action that a later version may bring."""

    BORROW = "borrow"


def plan_of(firing: Firing, kind: Any = ActionKind.REPAY, spend: int = 5 * USD) -> Plan:
    step = PlannedStep(Action(cast(ActionKind, kind), Asset(TOKEN, "USDC", 6), 5_000_000), None)
    return replace(a_plan(firing, spend_usd=spend), steps=(step,))


async def test_half_of_the_daily_limit_holds(bench: Bench) -> None:
    bench.chain.short = SHORT
    refused = bench.fire(1)
    await bench.executor.execute(refused, plan_of(refused), bench.verify, daily_cap_usd=9 * USD)
    assert bench.firing(refused).state is FiringState.DROPPED
    assert "daily limit of $4.50" in bench.firing(refused).reason
    assert bench.signer.requests == []
    allowed = bench.fire(2)
    await bench.executor.execute(allowed, plan_of(allowed), bench.verify, daily_cap_usd=10 * USD)
    assert bench.firing(allowed).state is FiringState.RUNNING
    assert any("half of its daily limit" in line.text and SHORT in line.text for line in bench.lines)


async def test_without_a_daily_limit_nothing_is_signed(bench: Bench) -> None:
    bench.chain.short = SHORT
    firing = bench.fire()
    await bench.executor.execute(firing, plan_of(firing), bench.verify)
    assert bench.firing(firing).state is FiringState.DROPPED
    assert bench.signer.requests == []


async def test_a_quorum_lost_while_it_is_simulated_is_no_quorum(bench: Bench) -> None:
    async def verify(calls: Sequence[PlannedCall]) -> str | None:
        bench.chain.short = SHORT
        return None

    firing = bench.fire()
    await bench.executor.execute(firing, plan_of(firing), verify, daily_cap_usd=10 * USD)
    assert (bench.firing(firing).state, bench.firing(firing).reason) == (FiringState.DROPPED, SHORT)
    assert bench.signer.requests == []


def test_only_what_takes_risk_away(bench: Bench) -> None:
    firing = bench.fire()
    for kind in set(ActionKind) - SALES:
        assert degraded_cap(plan_of(firing, kind), 10 * USD) == 5 * USD
    assert isinstance(degraded_cap(plan_of(firing, ActionKind.DELEVERAGE), 10 * USD), str)
    assert isinstance(degraded_cap(plan_of(firing, Riskier.BORROW), 10 * USD), str)
