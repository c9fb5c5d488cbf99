"""Of several ways to a target the cheapest: the engine takes it on real contracts, `trimtab plan` tells all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.chain import ETHER
from tests.support.deleverage import WAD
from tests.support.fault_rig import ADD, REPAY, FaultRig, World, rule_text
from tests.support.on_exchange import (
    SELL,
    USD_AT_105,
    Open,
    fall,
    on_target,
    plan_of,
)
from tests.support.positions import follow
from tests.support.program import run_trimtab
from tui.model.intent import FiringState
from tui.planning.circumstances import GAS_RESERVE_UNITS

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]

THREE = f'order = "cheapest"\n\n{SELL.format("2%")}\n{REPAY}\n\n{ADD}'


def leave(rig: FaultRig, *symbols: str) -> None:
    """Take everything out of the wallet but these tokens; of the native coin only gas money stays."""
    for symbol in {"USDC", "WETH"} - set(symbols):
        rig.chain.take(symbol, rig.account)
    assert rig.wired.engine.fees is not None
    rig.chain.set_ether(rig.account, GAS_RESERVE_UNITS * rig.wired.engine.fees.max_fee)


@pytest.mark.parametrize(
    ("held", "chosen"), [(("USDC", "WETH"), "repay"), (("WETH",), "add-collateral"), ((), "deleverage")]
)
async def test_the_cheapest_that_reaches_is_taken(selling: Open, held: tuple[str, ...], chosen: str) -> None:
    rig = await selling(THREE)
    leave(rig, *held)
    await fall(rig)
    plan = plan_of(rig)
    assert [step.action.kind for step in plan.steps] == [chosen]
    assert len(plan.alternatives) == 3
    reaching = [one.cost.total_usd for one in plan.alternatives if one.reaches_target and one.cost and not one.why_not]
    assert len(reaching) == len(held) + 1
    assert None not in reaching
    assert [one.simulated for one in plan.alternatives] == [one.steps == plan.taken for one in plan.alternatives]
    usual = [one.cost.total_usd or 0 for one in plan.alternatives if one.cost and not (one.why_not or one.simulated)]
    assert usual == sorted(usual)
    assert plan.alternatives[0].simulated, "the cheapest by what is usual is the one that was taken"
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()


@pytest.fixture
def commands(world: World, tmp_path: Path) -> Iterator[list[object]]:
    """What `trimtab plan` is given, on a chain where health is 1.05; put back afterwards."""
    chain = world.chain
    snapshot = chain.snapshot()
    chain.set_price("WETH", USD_AT_105)
    follow(chain)
    market = chain.market
    network = tmp_path / "network.toml"
    network.write_text(
        f'name = "test"\nchain_id = 31337\nblock_time = 2.0\nconfirmations = 2\nrpc = ["{chain.url}"]\n'
        f'native_usd_feed = "{chain.token("WETH").feed}"\nwrapped_native = "{market.wrapped_native}"\n'
        f'[[market]]\nprotocol = "aave-v3"\nname = "core"\npool_addresses_provider = "{market.provider}"\n'
        f'[[swap]]\nkind = "uniswap-v3"\nfactory = "{market.uniswap_factory}"\nquoter_v2 = "{market.quoter_v2}"\n'
        f'router02 = "{market.router02}"\n'
    )
    network.chmod(0o600)
    rules = tmp_path / "rules.toml"
    rules.write_text(rule_text(THREE.replace("max_slippage", 'max = "9"\nmax_slippage')))
    yield [
        *("--network", network, "--rules", rules, "--address", world.account),
        *("--state", tmp_path / "looked", "--config", tmp_path / "config"),
    ]
    chain.revert(snapshot)


def dearer_than(commands: list[object], limit: str) -> None:
    """The rule may cost `limit` dollars."""
    rules = Path(str(commands[3]))
    rules.write_text(rules.read_text().replace('max_cost_usd = "200"', f'max_cost_usd = "{limit}"'))


def calm_at(commands: list[object], below: str) -> None:
    """The rule's trigger lies under the health that is there."""
    rules = Path(str(commands[3]))
    rules.write_text(rules.read_text().replace('health_factor_below = "1.25"', f'health_factor_below = "{below}"'))


async def test_plan_shows_every_way_with_its_reason(commands: list[object], world: World) -> None:
    code, out, err = await run_trimtab("plan", "--json", *commands)
    assert code == 0, err
    (rule,) = json.loads(out)["rules"]
    ways = rule["plan"]["alternatives"]
    assert [one["words"] for one in ways] == ["repay USDC", "add-collateral WETH", "deleverage WETH for USDC"]
    assert [one["steps"] for one in ways] == [[2], [3], [1]]
    assert [one["reaches_target"] for one in ways] == [True] * 3
    assert [one["why_not"] for one in ways] == [None] * 3
    costs = [Decimal(one["cost_usd"]["total"]) for one in ways]
    assert [one["simulated"] for one in ways] == [True, False, False]
    assert costs[1:] == sorted(costs[1:])
    assert ways[0]["cost_usd"] == rule["plan"]["cost_usd"], "one plan, one price"
    assert Decimal(ways[2]["cost_usd"]["swap"]) > 5
    assert rule["plan"]["steps"][0]["sale"] is None

    chain = world.chain
    for symbol in ("USDC", "WETH"):
        chain.take(symbol, world.account)
    chain.set_ether(world.account, ETHER // 2)
    code, out, err = await run_trimtab("plan", "--json", *commands)
    assert code == 0, err
    plan = json.loads(out)["rules"][0]["plan"]
    *_, step = plan["steps"]  # a little of the native coin may be wrapped before
    sale = step["sale"]
    assert (sale["collateral"], sale["decimals"], sale["venue"]) == ("WETH", 18, "Uniswap V3 0.05%")
    assert 0 < int(sale["sold"]) < int(sale["most_sold"]) <= 9 * WAD
    assert 1 < Decimal(sale["min_health"]) < Decimal(step["health_factor_after"])
    parts = [Decimal(one) for one in sale["cost_usd"].values()]
    assert abs(sum(parts) - Decimal(plan["cost_usd"]["swap"])) < Decimal("0.001")
    assert set(sale["cost_usd"]) == {"fees", "impact", "gap", "premium"}
    reasons = {one["words"]: one["why_not"] for one in plan["alternatives"]}
    assert reasons["deleverage WETH for USDC"] is None
    assert "the wallet holds none" in reasons["repay USDC"]

    code, out, err = await run_trimtab("plan", *commands)
    assert code == 0, err
    assert "    gas at most $" in out
    assert "; yield it gives up $" in out or "; yield it gives up -$" in out
    assert 0 < Decimal(plan["expected_loss_usd"]) <= Decimal(plan["avoided_loss_usd"])
    assert 0 < Decimal(plan["volatility"]) < 10
    assert "    sells 5." in out or "    sells 4." in out
    assert ", on Uniswap V3 0.05%; undone if health would end under 1." in out
    assert "it costs: pools $" in out
    assert "ways to do it at this block:\n      deleverage WETH for USDC: about $" in out
    assert "repay USDC: no (repay USDC: the wallet holds none)" in out

    dearer_than(commands, "0.01")
    code, out, err = await run_trimtab("plan", "--json", *commands)
    assert code == 0, err
    (told,) = json.loads(out)["rules"]
    assert (told["plan"], told["refused_code"]) == (None, "max-cost")
    ways = {one["words"]: one for one in told["refused_alternatives"]}
    assert set(ways) >= {"repay USDC", "add-collateral WETH", "deleverage WETH for USDC"}
    assert Decimal(ways["deleverage WETH for USDC"]["cost_usd"]["total"]) > 5
    code, out, err = await run_trimtab("plan", *commands)
    assert "ways to do it at this block:" in out.split("    refused: ")[1]


async def test_a_calm_rule_tells_its_ways_where_its_trigger_lies(commands: list[object]) -> None:
    calm_at(commands, "1.03")
    code, out, err = await run_trimtab("plan", "--json", *commands)
    assert code == 0, err
    (told,) = json.loads(out)["rules"]
    assert (told["fires"], told["plan"], told["refused"]) == (False, None, None)
    ahead = told["at_trigger"]
    assert not ahead["simulated"]
    assert Decimal("1.02") < Decimal(ahead["health_factor_before"]) < Decimal("1.03")
    assert {one["words"] for one in ahead["alternatives"]} >= {"repay USDC", "add-collateral WETH"}
    code, out, err = await run_trimtab("plan", *commands)
    assert code == 0, err
    assert "    where its trigger lies, at the worst that its steps allow:\n    would " in out
