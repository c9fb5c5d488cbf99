"""What is tried on every seeded position: its plan is carried out for real, and leaves nothing behind."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.contracts.test_deleverage import check_nothing_left
from tests.protocols.carry_out import Done, carry_out
from tests.protocols.reading import adapter, contract_health, read_one
from tests.support.chain import Chain
from tests.support.deleverage import Holder, the_helper
from tests.support.positions import Planner
from tui.model.plan import Plan
from tui.model.rule import Rule


@dataclass(frozen=True)
class Tried:
    """A plan that was carried out: health and wallet before it, what became of its calls, and health after it (None
    without debt). `about` tells of which position it was.
    """

    plan: Plan
    before: int
    wallet: dict[str, int]
    done: list[Done]
    health: int | None
    about: object


async def tried(
    plans: Planner, rng: random.Random, holder: Holder, rule: Rule, *about: object, permits: bool = True
) -> Tried:
    """What `rule` does for a position: planned and simulated, then carried out some seconds later. Every call goes well
    within its gas, adapter and contract agree on the end, and nobody holds or may take anything.
    """
    chain, before, wallet = plans.chain, holder.health, wallet_of(plans.chain, holder)
    about = (*about, before, rule)
    position, plan = await plans.plan(holder, rule, permits=permits)
    assert isinstance(plan, Plan), (about, plan)
    done = carry_out(holder, plan.calls, position.block.timestamp + rng.choice((2, 12, 300)))
    assert all(one.ok for one in done), about
    assert all(one.gas <= call.gas_limit for one, call in zip(done, plan.calls, strict=True)), about
    health = check_read_alike(chain, holder)
    check_nothing_left(chain, the_helper(chain), holder)
    check_no_allowance(chain, holder)
    return Tried(plan, before, wallet, done, health, about)


def check_read_alike(chain: Chain, holder: Holder) -> int | None:
    """The contract's own health, which is also what the adapter reads."""
    health = contract_health(chain, holder.address)
    assert read_one(chain, holder.address, adapter(chain)).health_factor == health
    return health


def check_no_allowance(chain: Chain, holder: Holder) -> None:
    """Neither pool nor exchange may take anything more out of the wallet. A debt paid in full takes less than what was
    permitted.
    """
    for token in chain.market.tokens.values():
        for spender in (chain.market.pool, chain.market.router02):
            left = chain.call(token.address, "allowance(address,address)", ["uint256"], holder.address, spender)
            assert left == 0, token.symbol


def wallet_of(chain: Chain, holder: Holder) -> dict[str, int]:
    """Address of each token of the market to what the wallet has of it, in base units."""
    return {
        token.address.lower(): chain.balance(symbol, holder.address) for symbol, token in chain.market.tokens.items()
    }
