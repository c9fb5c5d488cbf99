"""Sales through the whole engine on real contracts: keystore, signer, journal, exchange, and what may go wrong on it.

Health falls from the position's 1.38 to 1.05 in one block; the wallet is of no use unless a test fills it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.chain import ETHER, Chain
from tests.support.deleverage import WAD, remove_code, the_helper
from tests.support.fault_rig import ADD, REPAY, FaultRig, World, rule_text
from tests.support.on_exchange import (
    SELL,
    USD_AT_105,
    Open,
    fall,
    health,
    nothing_left,
    on_target,
    plan_of,
    refusal_of,
    usually,
    wallet,
)
from tests.support.pool_rules import read_raw
from tests.support.positions import PPM, follow
from tests.support.program import run_trimtab
from tui.engine.facade import CommandRefused
from tui.model.intent import FiringState, IntentState
from tui.model.units import BPS
from tui.planning.circumstances import GAS_RESERVE_UNITS
from tui.ports.journal import Outcome

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]

SLIPPAGE_BPS = 200
MOST_SOLD_WORD = 3


@pytest.fixture
def selling(defending: Open) -> Open:
    return usually(defending, SELL.format("2%"))


def within_the_bound(rig: FaultRig) -> None:
    """Whatever was signed lets the chain take no more than the oracle's price and the step's slippage allow."""
    price = rig.chain.price("WETH")
    for firing in rig.firings:
        for intent in firing.intents:
            for attempt in intent.attempts:
                data = read_raw("0x" + attempt.raw.hex()).data
                words = [int.from_bytes(data[at : at + 32], "big") for at in range(4, 4 + 32 * 6, 32)]
                repaid, most = words[2], words[MOST_SOLD_WORD]
                fair = (repaid * 10_005 // BPS + 1) * 10**8 * 10**12 // price
                assert most <= fair * BPS // (BPS - SLIPPAGE_BPS) + 10**10, "sells for less than the bound"


async def test_from_105_to_150_in_one_transaction(selling: Open) -> None:
    rig = await selling()
    before = wallet(rig)
    await fall(rig)
    assert 1049 * WAD // 1000 < health(rig) < 1051 * WAD // 1000
    plan = plan_of(rig)
    assert plan.reaches_target
    assert (await rig.settle()).state is FiringState.DONE
    (intent,) = rig.firing.intents
    assert [tx["hash"] for tx in rig.on_chain()] == [intent.included_hash]
    on_target(rig)
    assert rig.firing.health_factor_after is not None
    assert abs(rig.firing.health_factor_after - health(rig)) < WAD // 10**6
    assert wallet(rig) == before
    nothing_left(rig)
    within_the_bound(rig)
    rig.check()


async def test_its_own_way_costs_what_the_plan_does(selling: Open) -> None:
    rig = await selling()
    await fall(rig)
    plan = plan_of(rig)
    assert plan.simulated
    (own,) = [one for one in plan.alternatives if one.steps == plan.taken]
    assert own.cost == plan.cost


async def test_a_clock_far_from_chain_time_sells_by_an_exact_approval(selling: Open) -> None:
    rig = await selling()
    rig.clock.advance(-3 * 86_400)
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE
    assert len(rig.firing.intents) == 2
    on_target(rig)
    nothing_left(rig)
    rig.check()


async def test_where_the_sale_would_lose_too_much_the_next_step_does_it(selling: Open) -> None:
    rig = await selling(f"{SELL.format('0.3%')}\n{ADD}")
    await fall(rig, below=10_000)
    plan = plan_of(rig)
    (why,) = [one.why_not for one in plan.alternatives if one.steps == (0,)]
    assert why is not None
    assert "would lose" in why
    assert "over the step's 0.30%" in why
    assert [step.action.kind for step in plan.steps] == ["add-collateral"]
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()


async def test_where_no_step_may_sell_it_says_why(selling: Open) -> None:
    rig = await selling(SELL.format("0.3%"))
    await fall(rig, below=10_000)
    assert "selling WETH for USDC would lose 1.0" in refusal_of(rig)
    assert "would lose" in rig.said
    assert rig.firings == ()
    assert rig.on_chain() == []


async def test_what_no_pool_could_ever_do_is_not_armed(selling: Open) -> None:
    with pytest.raises(CommandRefused, match=r"the pool's fee alone is 0\.05%, the step allows 0\.04%"):
        await selling(SELL.format("0.04%"))


async def test_without_the_helper_the_step_is_passed_over_and_that_is_said_before(selling: Open, world: World) -> None:
    snapshot = world.chain.snapshot()
    try:
        remove_code(world.chain, the_helper(world.chain).address)
        rig = await selling(f'{SELL.format("2%")}rounds = "never"\n\n{ADD}')
        report = await rig.wired.commands.arming_report("guard")
        assert any("helper contract is not deployed" in warning for warning in report.warnings)
        assert any(
            "trimtab helper deploy" in line for line in rig.wired.engine.would_stop + rig.wired.engine.worth_knowing
        )
        await fall(rig)
        plan = plan_of(rig)
        (why,) = [one.why_not for one in plan.alternatives if one.steps == (0,)]
        assert why is not None
        assert "not deployed on this chain: run `trimtab helper deploy`" in why
        assert (await rig.settle()).state is FiringState.DONE
        on_target(rig)
        rig.check()
    finally:
        world.chain.revert(snapshot)


async def test_a_pool_that_moves_before_inclusion_undoes_it_and_it_is_planned_anew(selling: Open) -> None:
    rig = await selling(SELL.format("0.3%"))
    await fall(rig)
    (raw,) = [attempt.raw for attempt in rig.intent.attempts]
    most = plan_of(rig).steps[0].action.sale
    assert most is not None
    rig.chain.rpc("anvil_dropAllTransactions")
    follow(rig.chain, {"WETH": PPM - 10_000})
    rig.chain.rpc("eth_sendRawTransaction", "0x" + raw.hex())
    before = health(rig)
    await rig.settle()
    assert rig.firings[-1].state is FiringState.FAILED
    reverted = rig.firings[-1].intents[0]
    assert reverted.state is IntentState.FINAL_REVERTED
    assert reverted.gas_paid_wei is not None
    assert reverted.gas_paid_wei > 0
    assert rig.firings[-1].cost_usd
    assert health(rig) <= before
    await rig.mine(2)
    # While the pool stands there a sale would lose more than the step allows: nothing is fired at it again.
    assert len(rig.firings) == 1
    assert "would lose" in refusal_of(rig)
    follow(rig.chain)
    await rig.mine()
    assert len(rig.firings) == 2
    assert rig.firing.block_number > rig.firings[-1].block_number, "planned at a block of its own"
    assert rig.firing.intents[0].nonce == (reverted.nonce or 0) + 1
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    nothing_left(rig)
    rig.check()


def _scaled(chain: Chain, hundredths: int) -> Callable[[list[Any], Any], Any]:
    """Answers in which everything that can be a price in WETH is scaled, where pools are asked."""
    asked = chain.market.quoter_v2[2:].lower()

    def lie(params: list[Any], result: Any) -> Any:
        if not isinstance(result, str) or asked not in json.dumps(params).lower():
            return result
        raw = bytearray.fromhex(result[2:])
        for at in range(0, len(raw) - 31):
            word = int.from_bytes(raw[at : at + 32], "big")
            if WAD // 10 < word < 20 * WAD and not any(raw[at : at + 22]):
                raw[at : at + 32] = (word * hundredths // 100).to_bytes(32, "big")
        return "0x" + raw.hex()

    return lie


@pytest.mark.parametrize("hundredths", [50, 90, 99, 101, 110, 200])
async def test_a_node_that_lies_about_prices_gets_nothing_signed_beyond_the_bound(
    selling: Open, hundredths: int
) -> None:
    rig = await selling()
    lie = rig.proxies[0].lie("eth_call", _scaled(rig.chain, hundredths))
    before = health(rig)
    await fall(rig)
    await rig.mine(2)
    assert lie.hits
    within_the_bound(rig)
    if rig.firings:
        assert (await rig.settle()).state is FiringState.DONE
        assert health(rig) > before * 75 // 100
    else:
        assert refusal_of(rig)
        lie.lift()
        await rig.mine()
        assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    within_the_bound(rig)
    nothing_left(rig)
    rig.check()


async def test_prices_of_a_block_that_a_reorg_took_back_are_not_used(selling: Open) -> None:
    rig = await selling()
    chain, asked = rig.chain, rig.chain.market.quoter_v2[2:].lower()
    snapshot = chain.snapshot()

    def reorg(params: list[Any], result: Any) -> Any:
        if asked in json.dumps(params).lower() and fault.left:
            fault.lift()
            chain.revert(snapshot)
            chain.set_automine(False)
            chain.set_price("WETH", USD_AT_105 + 1)
            follow(chain)
            chain.mine()
        return result

    fault = rig.proxies[0].lie("eth_call", reorg, times=10**6)
    await fall(rig)
    assert fault.left == 0, "no price was asked for"
    assert rig.attempts() == []
    assert refusal_of(rig)
    await rig.mine()
    assert (await rig.settle()).state is FiringState.DONE
    on_target(rig)
    rig.check()


# --- the cheapest ----------------------------------------------------------------------------------------------------


THREE = f'order = "cheapest"\n\n{SELL.format("2%")}\n{REPAY}\n\n{ADD}'


def leave(rig: FaultRig, *symbols: str) -> None:
    """Take everything out of the wallet but these tokens; of the native coin only gas money stays."""
    for symbol in {"USDC", "WETH"} - set(symbols):
        amount = rig.chain.balance(symbol, rig.account)
        rig.chain.send(
            rig.account, rig.chain.token(symbol).address, "transfer(address,uint256)", rig.chain.market.pool, amount
        )
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
        token, amount = chain.token(symbol).address, chain.balance(symbol, world.account)
        chain.send(world.account, token, "transfer(address,uint256)", chain.market.pool, amount)
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


def said_by_the_helper(rig: FaultRig) -> list[int]:
    """What the helper's events of all receipts on the node itself say was sold, without any code of the program."""
    owner = "0x" + rig.account[2:].lower().rjust(64, "0")
    receipts = [rig.chain.rpc("eth_getTransactionReceipt", one.included_hash) for one in rig.firing.intents]
    return [
        int(log["data"][2 + 64 : 2 + 128], 16)
        for receipt in receipts
        for log in receipt["logs"]
        if log["address"].lower() == the_helper(rig.chain).address.lower() and log["topics"][1] == owner
    ]


def outcome_of(rig: FaultRig) -> Outcome:
    assert rig.wired.journal is not None
    found = rig.wired.journal.outcome(rig.firing.id)
    assert found is not None
    return found


async def test_what_came_of_a_sale_is_of_its_own_block_whatever_the_market_does_next(
    selling: Open, tmp_path: Path
) -> None:
    rig = await selling()
    await fall(rig)
    plan = plan_of(rig)
    (step,) = plan.steps
    assert step.action.sale is not None
    await rig.mine()
    assert rig.intent.state is IntentState.INCLUDED
    rig.chain.set_price("WETH", USD_AT_105 * Decimal("1.1"))
    await rig.head()
    assert (await rig.settle()).state is FiringState.DONE
    (sold,) = said_by_the_helper(rig)
    found = outcome_of(rig)
    assert rig.intent.included_block is not None
    there = rig.chain.account_data(rig.account, block=hex(rig.intent.included_block))[5]
    assert found.health_actual == rig.firing.health_factor_after == there
    assert health(rig) > there * 109 // 100
    assert found.health_simulated is not None
    assert abs(there - found.health_simulated) < WAD // 10_000
    (of,) = found.sales
    assert (of.actual, of.expected) == (sold, step.action.sale.sold)
    assert of.price_usd == int(USD_AT_105 * 10**8)
    beyond = (sold - step.action.sale.sold) * of.price_usd / WAD
    assert found.swap_actual_usd is not None
    assert abs(found.swap_actual_usd - plan.cost.swap_usd - beyond) <= 1
    assert found.slippage_actual is not None
    assert 0 < found.slippage_actual < WAD * SLIPPAGE_BPS // BPS
    options = ("--state", rig.wired.paths.state, "--config", tmp_path / "config")
    code, out, _ = await run_trimtab("journal", "--outcomes", "--json", *options)
    row, means = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert (row["sold_actual"], row["sold_decimals"]) == (str(sold), 18)
    assert abs(float(means["health_actual_less_simulated"])) < 1e-4
    assert abs(float(means["slippage_actual_less_expected"])) < 1e-4
    rig.check()


def _with_lies(rig: FaultRig) -> Callable[[list[Any], Any], Any]:
    """Receipts in which another contract, and the helper for another owner, tell of sales as well."""

    def lie(_: list[Any], result: Any) -> Any:
        if not isinstance(result, dict):
            return result
        ours = [log for log in result["logs"] if log["address"].lower() == the_helper(rig.chain).address.lower()]
        false = [{**log, "address": "0x" + "66" * 20} for log in ours]
        for log in ours:
            topics = [log["topics"][0], "0x" + "77" * 20 + "00" * 12, *log["topics"][2:]]
            false.append({**log, "topics": topics})
        return {**result, "logs": [*false, *result["logs"]]}

    return lie


async def test_sales_that_others_tell_of_are_not_counted(selling: Open) -> None:
    rig = await selling()
    lies = [proxy.lie("eth_getTransactionReceipt", _with_lies(rig)) for proxy in rig.proxies]
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE
    assert all(lie.hits for lie in lies)
    assert [one.actual for one in outcome_of(rig).sales] == said_by_the_helper(rig)


@pytest.mark.parametrize("logs", [None, "0x", [{}], [{"address": 7, "topics": {}, "data": "0x"}], [None] * 300])
async def test_events_of_no_shape_leave_what_was_sold_unknown_and_nothing_else(selling: Open, logs: object) -> None:
    rig = await selling()

    def lie(_: list[Any], result: Any) -> Any:
        return {**result, "logs": logs} if isinstance(result, dict) else result

    for proxy in rig.proxies:
        proxy.lie("eth_getTransactionReceipt", lie)
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE
    found = outcome_of(rig)
    assert (found.sales[0].actual, found.swap_actual_usd, found.slippage_actual) == (None, None, None)
    assert found.health_actual is not None
    on_target(rig)
    rig.check()


async def test_after_a_restart_the_figures_are_booked_all_the_same(selling: Open) -> None:
    rig = await selling()
    await fall(rig)
    await rig.mine()
    await rig.restart()
    assert (await rig.settle()).state is FiringState.DONE
    found = outcome_of(rig)
    assert [one.actual for one in found.sales] == said_by_the_helper(rig)
    assert found.health_actual is not None
    assert found.health_actual == rig.firing.health_factor_after


async def test_a_block_that_nothing_saw_is_looked_up_for_what_the_sale_left(selling: Open) -> None:
    rig = await selling()
    await fall(rig)
    assert rig.intent.state is IntentState.MAYBE_SENT
    rig.chain.mine()
    rig.chain.set_price("WETH", USD_AT_105 * Decimal("1.1"))
    rig.clock.advance(4)
    await rig.restart()
    assert (await rig.settle()).state is FiringState.DONE
    await rig.mine()
    assert rig.intent.included_block is not None
    there = rig.chain.account_data(rig.account, block=hex(rig.intent.included_block))[5]
    assert health(rig) > there * 109 // 100
    assert outcome_of(rig).health_actual == there
    assert rig.firing.health_factor_after is not None
    assert rig.firing.health_factor_after > there, "what the rule goes by is the health of now"
