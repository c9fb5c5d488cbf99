"""Switches, boosts and rounds on seeded positions, as `test_every_action` does it for the defences in one go.

Planned by the engine's own path, simulated, carried out for real; health ends where it was to, by the contract's word.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.seeded import Tried, check_no_allowance, check_read_alike, tried, wallet_of
from tests.e2e.test_every_action import OTHERS
from tests.protocols.carry_out import carry_out
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, remove_code, the_helper
from tests.support.positions import (
    PPM,
    STABLE,
    VOLATILE,
    Shape,
    follow,
    network_of,
    opened,
    planner,
    rule_of,
    set_price,
    step,
    wallet_with,
)
from tui.model.plan import Plan
from tui.model.rounds import MOST_ROUNDS
from tui.model.rule import ActionKind, Rule
from tui.model.units import format_units

pytestmark = pytest.mark.node

POSITIONS = 6
"""Of each kind and way."""
BOOST_ROOM = 1_005
"""Thousandths of its target that a boost aims at: prices move until it is in a block."""
HUNDREDTH, THOUSANDTH = WAD // 100, WAD // 1_000


@dataclass(frozen=True)
class Way:
    """One kind of action: the shape it wants, and what makes a rule of the position; by permits or by approvals."""

    kind: ActionKind
    shape: Callable[[random.Random], Shape]
    rule: Callable[[Chain, random.Random, Holder, Shape], Rule]
    permits: bool = True


def _two_collaterals(rng: random.Random) -> Shape:
    """One that counts little, and a debt that is neither of the two."""
    return Shape("WBTC", rng.choice(STABLE[:2]), rng.choice(((), ("WETH",))))


def _switch_collateral(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> Rule:
    """Into what counts more; the pools are a little off the oracle, and sometimes a maximum keeps it short."""
    follow(chain, {"WBTC": PPM + rng.randint(-3_000, 3_000)})
    maximum = None
    if rng.random() < 0.2:
        maximum = (Decimal(holder.supplied()) / 10**8 / 50).quantize(Decimal("0.00001"))
    steps = step("switch-collateral", maximum, **{"from": "WBTC", "to": "WETH"}, max_slippage="2%")
    return rule_of(steps, holder.health + rng.randint(3, 20) * THOUSANDTH)


def _one_dollar_debt(rng: random.Random) -> Shape:
    return Shape(rng.choice(VOLATILE), rng.choice(STABLE[:2]))


def _switch_debt(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> Rule:
    """The exchange gives two or three hundredths more for the other dollar than the oracle: owing it is owing less.

    The loan to value must leave room for the new debt.
    """
    set_price(chain, shape.collateral, chain.price(shape.collateral) * rng.randint(115, 140) // 100)
    (other,) = (one for one in STABLE[:2] if one != shape.debt)
    follow(chain, {other: PPM + rng.randint(20_000, 30_000)})
    steps = step("switch-debt", **{"from": shape.debt, "to": other}, max_slippage="1%")
    return rule_of(steps, holder.health + rng.randint(2, 9) * THOUSANDTH)


def _boost(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> Rule:
    """The collateral is worth more than it was; sometimes a maximum stops it above its target."""
    set_price(chain, shape.collateral, chain.price(shape.collateral) * rng.randint(150, 220) // 100)
    trigger = holder.health // THOUSANDTH * THOUSANDTH - 5 * THOUSANDTH
    target = rng.randint(130, 150) * HUNDREDTH
    most = Decimal(rng.randint(20, 200) if rng.random() < 0.2 else 2_000_000)
    steps = step("boost", most, collateral=shape.collateral, debt=shape.debt, max_slippage="2.5%")
    return rule_of(steps, target, when=f'health_factor_above = "{format_units(trigger, 18, 6)}"')


def _boostable(rng: random.Random) -> Shape:
    return Shape(rng.choice(VOLATILE), rng.choice(STABLE[:2]), rng.choice(((), ("WETH",))))


WAYS = {
    "switch-collateral by permit": Way(ActionKind.SWITCH_COLLATERAL, _two_collaterals, _switch_collateral),
    "switch-collateral by approval": Way(ActionKind.SWITCH_COLLATERAL, _two_collaterals, _switch_collateral, False),
    "switch-debt by permit": Way(ActionKind.SWITCH_DEBT, _one_dollar_debt, _switch_debt),
    "switch-debt by approval": Way(ActionKind.SWITCH_DEBT, _one_dollar_debt, _switch_debt, False),
    "boost by permit": Way(ActionKind.BOOST, _boostable, _boost),
    "boost by approval": Way(ActionKind.BOOST, _boostable, _boost, False),
}


def test_what_the_defences_in_one_go_leave_out_is_tried_here() -> None:
    assert {way.kind.value for way in WAYS.values()} == OTHERS


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", sorted(WAYS))
async def test_a_seeded_position_is_reshaped_as_its_plan_says(market_v32: Chain, tmp_path: Path, name: str) -> None:
    chain, way = market_v32, WAYS[name]
    rng = random.Random(f"{name} 1")
    reached = 0
    async with planner(chain, tmp_path) as plans:
        for number in range(POSITIONS):
            snapshot = chain.snapshot()
            shape = way.shape(rng)
            holder = opened(chain, rng, 7_400 + number, shape)
            rule = way.rule(chain, rng, holder, shape)
            one = await tried(plans, rng, holder, rule, name, number, shape, permits=way.permits)
            _check_calls(way, one.plan, one.about)
            _check_health(rule, one)
            assert wallet_of(chain, holder) == one.wallet, one.about
            reached += one.plan.reaches_target
            chain.revert(snapshot)
    assert reached >= POSITIONS // 2, "hardly any of them reached its target"


def _check_calls(way: Way, plan: Plan, about: object) -> None:
    """That the way under test is the one that was taken, in one transaction where there are permits."""
    (only,) = plan.steps
    assert only.action.kind is way.kind, about
    assert only.action.sale is not None
    assert [call.permit is not None for call in plan.calls] == ([True] if way.permits else [False, False]), about


def _check_health(rule: Rule, one: Tried) -> None:
    target, health, expected = rule.target_health_factor, one.health, one.plan.health_factor_after
    assert target is not None
    assert health is not None, one.about
    assert expected is not None, one.about
    if rule.boosts:
        assert target <= health < one.before, one.about
        goal = target * BOOST_ROOM // 1_000
    else:
        assert health > one.before, one.about
        goal = target
    if one.plan.reaches_target:
        assert goal * 9_995 // 10_000 <= health <= goal * 1_001 // 1_000, one.about
        assert health >= target, one.about
        return
    assert one.plan.shortfall, one.about
    assert abs(health - expected) <= expected // 1_000, one.about
    assert health > goal if rule.boosts else health < goal, one.about


@pytest.mark.timeout(240)
async def test_a_seeded_position_comes_to_its_target_in_rounds(market_v32: Chain, tmp_path: Path) -> None:
    """Where no helper stands: each round planned anew on what the chain says, until health is where it was to be."""
    chain, rng = market_v32, random.Random("rounds 1")
    remove_code(chain, the_helper(chain).address)
    counted = []
    async with planner(chain, tmp_path, replace(network_of(chain), helpers={})) as plans:
        for number in range(POSITIONS):
            snapshot = chain.snapshot()
            shape = Shape(rng.choice(VOLATILE), rng.choice(STABLE[:2]), owed=rng.choice(((), ("USDT",))))
            holder = opened(chain, rng, 7_500 + number, shape)
            follow(chain, {shape.collateral: PPM + rng.randint(-5_000, 5_000)})
            wallet_with(chain, holder, shape.debt, 3_000)
            target = holder.health + rng.randint(2, 15) * HUNDREDTH
            rule = rule_of(
                step("deleverage", collateral=shape.collateral, debt=shape.debt, max_slippage="2.5%"), target
            )
            wallet, rounds = wallet_of(chain, holder), 0
            while (health := check_read_alike(chain, holder)) < target:
                assert rounds < MOST_ROUNDS, (number, shape, health, target)
                position, plan = await plans.plan(holder, rule)
                about = (number, shape, health, target, plan)
                assert isinstance(plan, Plan), about
                assert plan.rounds is not None, about
                assert plan.rounds.reaches_target, about
                done = carry_out(holder, plan.calls, position.block.timestamp + 12)
                assert all(one.ok for one in done), about
                assert holder.health > health, about
                rounds += 1
            assert health <= target * 1_001 // 1_000, (number, shape, health, target)
            left = {token: amount - wallet[token] for token, amount in wallet_of(chain, holder).items()}
            kept = left.pop(chain.token(shape.debt).address.lower())
            assert kept >= 0, "a round repays what it bought, and nothing of the wallet's own"
            assert not any(left.values()), (number, shape, left)
            check_no_allowance(chain, holder)
            counted.append(rounds)
            chain.revert(snapshot)
    assert max(counted) > 1, counted
