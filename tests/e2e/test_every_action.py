"""Every defence on seeded positions of every shape: planned by the engine's own path, simulated, carried out for real.

Where the plan says that it reaches its target, health ends between it and a thousandth above; where not, as it said.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from tests.contracts.test_deleverage import told
from tests.e2e.seeded import Tried, tried, wallet_of
from tests.support.chain import ETHER, Chain
from tests.support.deleverage import WAD, Holder, the_helper
from tests.support.positions import (
    PPM,
    VOLATILE,
    Shape,
    follow,
    opened,
    planner,
    rule_of,
    shape_of,
    step,
    wallet_with,
)
from tui.model.plan import Plan
from tui.model.rule import ActionKind
from tui.practice.tokens import ASSET_BY_SYMBOL

pytestmark = pytest.mark.node

POSITIONS = 7
"""Of each kind of action."""
OTHERS = {"switch-collateral", "switch-debt", "boost"}
"""They change what a position is made of, or lower its health on purpose: `test_every_reshaping` asks of them."""


@dataclass(frozen=True)
class Way:
    """One kind of action and one way to be allowed to do it: the shape it wants, what is in the wallet, its steps."""

    kind: ActionKind
    shape: Callable[[random.Random], Shape]
    ready: Callable[[Chain, random.Random, Holder, Shape], str]
    permits: bool = True
    wraps: bool = False
    swaps: bool = False
    rise: int = 40
    """The highest target above the health that there is, in hundredths."""


def _repay(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> str:
    """Means for all of the debt, or for a small part of it."""
    short = rng.random() < 0.25
    wallet_with(chain, holder, shape.debt, rng.randint(20, 200) if short else 400_000)
    return step("repay", asset=shape.debt)


def _supply(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> str:
    asset = rng.choice((shape.collateral, *shape.beside))
    wallet_with(chain, holder, asset, rng.randint(20, 200) if rng.random() < 0.25 else 800_000)
    return step("add-collateral", asset=asset)


def _wrapped(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> str:
    """A little of the wrapped coin or none, and the native one."""
    if rng.random() < 0.5:
        wallet_with(chain, holder, "WETH", rng.randint(1, 300))
    chain.set_ether(holder.address, rng.choice((2, 5_000)) * ETHER)
    action = "repay" if shape.debt == "WETH" else "add-collateral"
    return step(action, asset="WETH")


def _own(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> str:
    """Nothing is needed: both are in the position."""
    return step("repay-with-atokens", asset=shape.debt)


def _sell(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> str:
    """The pools are up to a hundredth off the oracle either way; sometimes a maximum keeps it short."""
    off = rng.randint(-10_000, 10_000)
    follow(chain, {shape.collateral: PPM + off} if shape.collateral in VOLATILE else None)
    maximum = None
    if rng.random() < 0.2:
        unit = ASSET_BY_SYMBOL[shape.collateral].unit
        maximum = (Decimal(holder.supplied()) / unit / 50).quantize(Decimal("0.00001"))
    slippage = rng.choice(("2%", "2.5%"))
    return step("deleverage", maximum, collateral=shape.collateral, debt=shape.debt, max_slippage=slippage)


def _swap(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> str:
    """Another token of the wallet, enough of it or a small part; the debt's own is there too, and stays."""
    off = rng.randint(-10_000, 10_000)
    sold = rng.choice([one for one in ("WETH", "WBTC", "USDC", "DAI") if one != shape.debt])
    follow(chain, {sold: PPM + off} if sold in VOLATILE else None)
    wallet_with(chain, holder, sold, rng.randint(20, 200) if rng.random() < 0.25 else 400_000)
    wallet_with(chain, holder, shape.debt, 3_000)
    return step("repay", asset=shape.debt, swap_from=sold, max_slippage=rng.choice(("2%", "2.5%")))


def _swap_native(chain: Chain, rng: random.Random, holder: Holder, shape: Shape) -> str:
    """A little of the wrapped coin, and the native one."""
    wallet_with(chain, holder, "WETH", rng.randint(1, 300))
    chain.set_ether(holder.address, 5_000 * ETHER)
    return step("repay", asset=shape.debt, swap_from="WETH", max_slippage="2%")


def _eth(rng: random.Random) -> Shape:
    """WETH on either side, in the e-mode or not."""
    debt = rng.choice(("USDC", "DAI", "WETH"))
    if debt == "WETH":
        return Shape("wstETH", "WETH", e_mode=rng.choice((0, 1)))
    return Shape("WETH", debt, rng.choice(((), ("WBTC",))))


def _plain(rng: random.Random) -> Shape:
    return shape_of(rng)


def _permitting(rng: random.Random) -> Shape:
    """A debt whose token has permits: WETH has none."""
    while (shape := shape_of(rng)).debt == "WETH":
        pass
    return shape


def _sellable(rng: random.Random) -> Shape:
    """Pairs that two pools connect: from wstETH to USDT it takes three."""
    while ((shape := shape_of(rng)).collateral, shape.debt) == ("wstETH", "USDT"):
        pass
    return shape


def _dollars(rng: random.Random) -> Shape:
    return Shape(rng.choice(("WETH", "WBTC")), rng.choice(("USDC", "DAI")))


def _same(rng: random.Random) -> Shape:
    return shape_of(rng, same=True)


WAYS = {
    "repay by permit": Way(ActionKind.REPAY, _permitting, _repay),
    "repay by approval": Way(ActionKind.REPAY, _plain, _repay, permits=False),
    "add-collateral": Way(ActionKind.ADD_COLLATERAL, _plain, _supply),
    "add-collateral by approval": Way(ActionKind.ADD_COLLATERAL, _plain, _supply, permits=False),
    "native coin wrapped": Way(ActionKind.ADD_COLLATERAL, _eth, _wrapped, wraps=True),
    "repay-with-atokens": Way(ActionKind.REPAY_WITH_ATOKENS, _same, _own, rise=12),
    "deleverage by permit": Way(ActionKind.DELEVERAGE, _sellable, _sell),
    "swap and repay by permit": Way(ActionKind.SWAP_TO_REPAY, _permitting, _swap, swaps=True),
    "swap and repay by approval": Way(ActionKind.SWAP_TO_REPAY, _plain, _swap, permits=False, swaps=True),
    "native coin wrapped and swapped": Way(ActionKind.SWAP_TO_REPAY, _dollars, _swap_native, wraps=True, swaps=True),
    "deleverage by approval": Way(ActionKind.DELEVERAGE, _sellable, _sell, permits=False),
}


def test_every_kind_that_rules_can_name_is_tried() -> None:
    assert {way.kind.value for way in WAYS.values()} | OTHERS >= {kind.value for kind in ActionKind}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", sorted(WAYS))
async def test_a_seeded_position_ends_where_its_plan_says(market_v32: Chain, tmp_path: Path, name: str) -> None:
    chain, way = market_v32, WAYS[name]
    rng = random.Random(f"{name} 4")
    reached = 0
    async with planner(chain, tmp_path) as plans:
        for number in range(POSITIONS):
            snapshot = chain.snapshot()
            shape = way.shape(rng)
            holder = opened(chain, rng, 7_000 + number, shape)
            steps = way.ready(chain, rng, holder, shape)
            target = holder.health + rng.randint(2, way.rise) * WAD // 100
            one = await tried(plans, rng, holder, rule_of(steps, target), name, number, shape, permits=way.permits)
            _check_calls(way, one.plan, one.about)
            _check_health(one, target)
            if way.kind is ActionKind.DELEVERAGE:
                assert one.plan.steps[0].action.sale is not None
                sold = told(one.done[-1].logs, the_helper(chain).address)[1]
                assert sold <= one.plan.steps[0].action.sale.most_sold
            _check_wallet(chain, holder, one)
            reached += one.plan.reaches_target
            chain.revert(snapshot)
    assert reached >= POSITIONS // 3, "hardly any of them reached its target"


def _check_calls(way: Way, plan: Plan, about: object) -> None:
    """That the way under test is the one that was taken."""
    (only,) = plan.steps
    wraps = way.wraps and only.action.wrap > 0
    assert way.wraps == wraps, about
    assert only.action.kind is way.kind or way.wraps, about
    if way.kind is ActionKind.REPAY_WITH_ATOKENS:
        assert len(plan.calls) == 1
    elif way.swaps:
        assert len(plan.calls) == 3 + (not way.permits) + way.wraps, about
        assert any(call.permit is not None for call in plan.calls) == way.permits, about
    elif not way.permits:
        assert len(plan.calls) == 2 + (only.action.wrap > 0), about
        assert all(call.permit is None for call in plan.calls), about
    elif (not way.wraps and only.action.asset.symbol != "WETH") or only.action.sale is not None:
        assert [call.permit is None for call in plan.calls] == [False], about


def _check_health(one: Tried, target: int) -> None:
    if one.health is None:
        assert one.plan.health_factor_after is None, one.about
        return
    assert one.health > one.before, one.about
    if one.plan.reaches_target:
        assert target <= one.health <= target * 1_001 // 1_000, one.about
    else:
        assert one.plan.shortfall, one.about
        assert one.plan.health_factor_after is not None, one.about
        assert abs(one.health - one.plan.health_factor_after) <= one.plan.health_factor_after // 1_000, one.about
        assert one.health < target, one.about


def _check_wallet(chain: Chain, holder: Holder, one: Tried) -> None:
    """Of what the wallet swaps exactly what was planned is gone, and nothing of anything else."""
    (only,) = one.plan.steps
    sale = only.action.sale
    if sale is None or sale.swap is None:
        return
    gained = {token: amount - one.wallet[token] for token, amount in wallet_of(chain, holder).items()}
    assert gained.pop(sale.collateral.address) == only.action.wrap - sale.sold, one.about
    # What it came to beyond the repayment is there, and hardly differs from what was told.
    kept = gained.pop(only.action.asset.address)
    assert 0 <= kept <= sale.surplus + only.action.amount // 500, one.about
    assert not any(gained.values()), one.about
