"""A sale that `max_slippage` cuts short between two quotes, on a thin pool: done as far as it goes, not refused because
the exchange gives more than the line between the quotes promised.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.seeded import check_read_alike
from tests.protocols.carry_out import carry_out
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder
from tests.support.positions import PPM, follow, planner
from tui.model.plan import Plan
from tui.model.rule import Rule
from tui.planning.simulation import SALE_GAIN_TOLERANCE
from tui.practice.accounts import OWNER
from tui.rules.load import parse_rules

pytestmark = pytest.mark.node

RULE = """\
[[rule]]
name = "unwind"
position = "aave-v3/core"
mode = "auto"
when = { price_of = "wstETH", in = "WETH", below = "1.3" }
target = { close = "100%" }

[[rule.step]]
action = "deleverage"
collateral = "wstETH"
debt = "WETH"
max_slippage = "0.5%"
"""


def unwinding() -> Rule:
    (rule,) = parse_rules(RULE, "rules.toml").rules
    return rule


def staked_ether(chain: Chain) -> Holder:
    """A large loan of WETH against wstETH, near all that the e-mode lends, on pools at the oracle's prices."""
    holder = Holder(chain, 7_600, "wstETH", "WETH", 400_000)
    chain.set_emode(holder.address, 1)
    amount = chain.account_data(holder.address)[2] * 95 // 100 * chain.token("WETH").unit // chain.price("WETH")
    chain.borrow(holder.address, "WETH", amount)
    chain.send(holder.address, chain.token("WETH").address, "transfer(address,uint256)", OWNER, amount)
    follow(chain)
    return holder


async def test_what_the_step_allows_is_closed_though_more_comes_out_than_was_promised(
    market_v32: Chain, tmp_path: Path
) -> None:
    chain = market_v32
    holder = staked_ether(chain)
    before = holder.health
    async with planner(chain, tmp_path) as plans:
        position, plan = await plans.plan(holder, unwinding())
        assert isinstance(plan, Plan), plan
    assert plan.shortfall is not None
    assert "more would lose over the step's 0.50%" in plan.shortfall
    assert plan.closed_bps is not None
    assert 2_000 < plan.closed_bps < 9_000
    (step,) = plan.steps
    assert plan.health_factor_after is not None
    assert step.health_factor_after is not None
    # Were it not so, this would be another test: a sale well between its quotes.
    gained = (plan.health_factor_after - step.health_factor_after) * WAD // step.health_factor_after
    assert gained > SALE_GAIN_TOLERANCE

    done = carry_out(holder, plan.calls, position.block.timestamp + 12)
    assert all(one.ok for one in done)
    health = check_read_alike(chain, holder)
    assert health > before
    assert abs(health - plan.health_factor_after) * PPM < 10 * health
