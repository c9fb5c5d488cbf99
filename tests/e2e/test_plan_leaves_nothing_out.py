"""`trimtab plan` and `positions` are not silent about what they do not cover: a rule without a position, a market that
this version does not know, a wallet whose key is elsewhere, a plan that would be refused where its trigger lies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chain import ETHER
from tests.support.fault_rig import World
from tests.support.program import network_file, run_trimtab
from tui.practice.accounts import OWNER

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]

PAYER = "0x" + "5a" * 20
RULE = """\
[[rule]]
name = "{name}"
position = "{position}"
mode = "auto"
when = {{ health_factor_below = "1.05" }}
target = {{ health_factor = "1.10" }}

[[rule.step]]
action = "repay"
asset = "USDC"
{more}
"""
"""Its trigger lies under the health that is there."""


@pytest.fixture
def network(world: World, tmp_path: Path) -> Iterator[Path]:
    chain = world.chain
    snapshot = chain.snapshot()
    yield network_file(tmp_path / "network.toml", [chain.url], chain.market.provider, chain.token("WETH").feed)
    chain.revert(snapshot)


def rewrite(file: Path, change: Callable[[str], str]) -> None:
    file.write_text(change(file.read_text()))


async def planned(world: World, folder: Path, network: Path, rules: str) -> tuple[dict[str, Any], str, str]:
    """What `plan --json` tells, what it says beside it, and the same in words."""
    file = folder / "rules.toml"
    file.write_text(rules)
    looking: list[object] = [
        *("--network", network, "--rules", file, "--address", world.account),
        *("--config", folder / "own", "--state", folder / "looked"),
    ]
    code, out, err = await run_trimtab("plan", "--json", *looking)
    assert code == 0, err
    _, words, _ = await run_trimtab("plan", *looking)
    return json.loads(out), err, words


async def test_a_rule_that_covers_nothing_is_told(world: World, network: Path, tmp_path: Path) -> None:
    rules = RULE.format(name="good", position="aave-v3/core", more="")
    told, _, _ = await planned(world, tmp_path, network, rules)
    assert [one["rule"] for one in told["rules"]] == ["good"]
    assert told["unmatched"] == []

    rules += RULE.format(name="lost", position="aave-v3/croe", more="")
    told, _, words = await planned(world, tmp_path, network, rules)
    assert [one["rule"] for one in told["rules"]] == ["good"]
    (lost,) = told["unmatched"]
    assert lost["rule"] == "lost"
    assert 'no market aave-v3/croe is configured here; did you mean "aave-v3/core"?' in lost["why"]
    assert f"lost: covers NOTHING here: {lost['why']}" in words.splitlines()


async def test_a_market_that_is_not_watched_is_told_wherever_one_looks(
    world: World, network: Path, tmp_path: Path
) -> None:
    rewrite(
        network, lambda text: f'{text}\n[[market]]\nprotocol = "elsewhere-v9"\nname = "main"\naddress = "{OWNER}"\n'
    )
    notice = "market elsewhere-v9/main is NOT watched: this version does not know elsewhere-v9"
    told, err, _ = await planned(world, tmp_path, network, RULE.format(name="good", position="*", more=""))
    assert f"trimtab: {notice}" in err.splitlines()
    assert [one["rule"] for one in told["rules"]] == ["good"]
    looking = ["--network", network, "--address", world.account, "--config", tmp_path / "own"]
    code, out, err = await run_trimtab("positions", "--json", *looking, "--state", tmp_path / "looked")
    assert code == 0
    assert f"trimtab: {notice}" in err.splitlines()
    assert len(json.loads(out)["positions"]) == 1
    _, out, _ = await run_trimtab("doctor", "--json", *looking, "--state", tmp_path / "looked")
    (check,) = [one for one in json.loads(out)["checks"] if one["name"] == "market"]
    assert (check["detail"], check["level"], check["stops"]) == (notice, "note", False)


async def test_a_wallet_that_pays_is_read_without_its_key(world: World, network: Path, tmp_path: Path) -> None:
    rules = RULE.format(name="paid", position=f"aave-v3/core/{world.account}", more=f'wallet = "{PAYER}"')
    told, _, _ = await planned(world, tmp_path, network, rules)
    (rule,) = told["rules"]
    assert rule["at_trigger"] is None
    assert "USDC" in rule["at_trigger_refused"]
    assert "not read" not in rule["at_trigger_refused"], "it was read, and holds nothing"

    chain = world.chain
    usdc, amount = chain.token("USDC").address, chain.units("USDC", 20_000)
    chain.send(world.account, usdc, "transfer(address,uint256)", PAYER, amount)
    chain.set_ether(PAYER, ETHER)
    told, _, words = await planned(world, tmp_path, network, rules)
    (rule,) = told["rules"]
    assert rule["at_trigger_refused"] is None
    (step,) = rule["at_trigger"]["steps"]
    assert (step["action"], step["wallet"]) == ("repay", PAYER)
    assert rule["at_trigger"]["calls"]
    for call in rule["at_trigger"]["calls"]:
        assert (call["gas_limit"], call["gas_expected"]) == (None, None), "nothing of it is simulated: unknown, not 0"
    assert "where its trigger lies" in words


async def test_a_plan_that_would_be_refused_at_its_trigger_says_why(
    world: World, network: Path, tmp_path: Path
) -> None:
    rewrite(network, lambda text: re.sub("native_usd_feed.*", "", text))
    rules = RULE.format(name="dear", position="*", more="") + '\n[rule.limits]\nmax_cost_usd = "50"\n'
    told, _, words = await planned(world, tmp_path, network, rules)
    (rule,) = told["rules"]
    assert (rule["fires"], rule["at_trigger"], rule["refused"]) == (False, None, None)
    assert "the price of the native coin is not known" in rule["at_trigger_refused"]
    assert f"where its trigger lies it would not act: {rule['at_trigger_refused']}" in words


async def test_a_calm_rule_whose_trigger_cannot_work_is_told(world: World, network: Path, tmp_path: Path) -> None:
    rule = RULE.format(name="stop", position="*", more="")
    calm, goal = 'health_factor_below = "1.05"', 'health_factor = "1.10"'
    expected = {
        'price_of = "WETH", below = "1500"': "it fires at WETH 1,500, but the position is liquidated at 2,1",
        'price_of = "WETH", trailing = "50%"': "but the position is liquidated at 2,1",
        'price_of = "GOLD", below = "1500"': 'rule "stop": aave-v3/core lists no GOLD',
    }
    for when, words in expected.items():
        told, _, said = await planned(world, tmp_path, network, rule.replace(calm, when).replace(goal, 'close = "10%"'))
        (one,) = told["rules"]
        assert (one["fires"], one["refused"]) == (False, None)
        (problem,) = [found for found in one["problems"] if words in found["words"]]
        assert problem["refuses_arming"]
        assert said.count(f"    would NOT be armed anew: {problem['words']}; {problem['fix']}") == 1
