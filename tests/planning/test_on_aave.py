"""Sales on exact states of a real protocol's rules: sized through the adapter's own integers, in a few questions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.protocols import reference
from tests.support.plain_market import Exchange, circumstances
from tests.support.plain_rules import repay, rule_of, sell, supply
from tui.model.plan import Plan
from tui.model.position import Position
from tui.model.rule import ActionKind, Order
from tui.model.units import USD, WAD
from tui.model.wallet import TokenHolding, Wallet
from tui.planning.plan import build_plan
from tui.planning.sales import offers_of, wanted_sales
from tui.protocols.aave_v3.market import AaveV3Market
from tui.quotes.base import Quote, SwapRequest
from tui.quotes.uniswap_v3 import Route, encode_path

FLASH_LOANS = 1 << 63
"""The bit of a reserve's configuration that allows them."""


class Counting(AaveV3Market):
    """The adapter, counting how often it previews."""

    asked = 0

    def after(self, position, actions) -> Position:
        Counting.asked += 1
        return super().after(position, actions)


def _quote(request: SwapRequest) -> Quote:
    quote = Exchange(depth_usd=10**10 * USD).quote(request)
    assert quote is not None
    return replace(quote, path=encode_path(Route((request.sold.address, request.bought.address), (500,))))


@pytest.mark.parametrize("revision", [5, 11])
def test_positions_end_where_they_are_aimed_at(monkeypatch: pytest.MonkeyPatch, revision: int) -> None:
    plain = reference._configuration
    monkeypatch.setattr(reference, "_configuration", lambda *facts: plain(*facts) | FLASH_LOANS)
    market = Counting("core", "0x" + "1" * 40, router="0x" + "2" * 40, chain_id=1)
    seen = 0
    for case in reference.CASES[::3]:
        position = reference.position_of(case, revision)
        health = position.health_factor
        if health is None or not 102 * WAD // 100 < health < 2 * WAD or (position.debt_usd or 0) < 1_000 * USD:
            continue
        collateral = max((one for one in position.collateral if one.counts), key=lambda one: one.value_usd or 0)
        debt = max(position.debt, key=lambda one: one.value_usd or 0)
        if collateral.asset == debt.asset:
            continue
        target = health * 11 // 10
        pool = "0x" + "0" * 40
        market._pool = pool
        tokens = {
            one.asset.address: TokenHolding(one.asset, one.amount // 100, {pool: 0}) for one in (debt, collateral)
        }
        wallet = Wallet(position.key.account, WAD, 0, tokens)
        names = collateral.asset.address, debt.asset.address
        rule = rule_of(repay(names[1]), supply(names[0]), sell(*names), target=target)
        wanted = wanted_sales(rule, market, position, wallet, circumstances())
        terms = [market.sale_shape(position, one.collateral) for one in wanted]
        quotes = [[[_quote(request)] for request in one.requests] for one in wanted]
        around = circumstances(offers=offers_of(wanted, terms, quotes))
        for order in Order:
            Counting.asked = 0
            plan = build_plan(replace(rule, order=order), market, position, wallet, around)
            assert isinstance(plan, Plan)
            assert Counting.asked < 150
            state, before = position, health
            for step in plan.steps:
                state = market.after(state, (step.action,))
                assert state.health_factor == step.health_factor_after
                assert state.health_factor is None or state.health_factor > before
                before = state.health_factor or 2**256
            assert market.after(position, [step.action for step in plan.steps]).health_factor == state.health_factor
            if plan.reaches_target and state.health_factor is not None:
                assert target <= state.health_factor <= target * 1_001 // 1_000
                seen += any(step.action.kind is ActionKind.DELEVERAGE for step in plan.steps)
    assert seen > 6
