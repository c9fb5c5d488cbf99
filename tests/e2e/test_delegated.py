"""Defences of an account that runs the helper's code as its own (EIP-7702): the whole engine on real contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_reshaping import (
    BOOST,
    HIGH,
    LOW,
    RULE,
    SWITCH_COLLATERAL,
    SWITCH_DEBT,
    _half_bitcoin,
    credit,
    price,
)
from tests.support.chain import Chain
from tests.support.deleverage import WAD, code_at, the_helper
from tests.support.fault_rig import ADD, PASSWORD, REPAY, FaultRig, World, _assemble, open_rig, part_way
from tests.support.on_exchange import SELL, fall, health, nothing_left, on_target, plan_of, wallet
from tests.support.positions import PPM, follow, network_of
from tests.support.program import network_file, run_trimtab
from tui.model.intent import FiringState
from tui.model.view import Protection
from tui.protocols.aave_v3.helper import DELEVERAGE, Helper

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]

Open = Callable[..., Awaitable[FaultRig]]


@pytest.fixture
async def opened(world: World, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens an engine, unarmed, whose account is delegated to the helper already, or not; `text` are all rules."""
    async with AsyncExitStack() as stack:

        async def make(
            steps: str = SELL.format("2%"),
            *,
            delegated: bool = True,
            text: str | None = None,
            before: Callable[[Chain, str], None] | None = None,
        ) -> FaultRig:
            network = network_of(world.chain)
            named = {"swaps": network.swaps, "wrapped_native": network.wrapped_native, "helpers": network.helpers}
            rig = await open_rig(stack, world, tmp_path, steps=steps, **named)
            if before is not None:
                before(world.chain, rig.account)
            if text is not None:
                rig.rules.write_text(text)
            set_code(rig, the_helper(world.chain).delegation if delegated else b"")
            await rig.restart()
            return rig

        yield make


def set_code(rig: FaultRig, code: bytes, address: str | None = None) -> None:
    """As if an authorization had come from elsewhere, but for its nonce, which would be another matter."""
    rig.chain.rpc("anvil_setCode", address or rig.account, "0x" + code.hex())
    rig.chain.mine()


def the_code(rig: FaultRig) -> Helper:
    return the_helper(rig.chain)


def nobody_is_let(rig: FaultRig) -> None:
    """Neither helper, pool nor router may take or borrow anything of the account."""
    market = rig.chain.market
    for token in market.tokens.values():
        for spender in (market.pool, market.router02, the_code(rig).address):
            for asked in (token.address, token.a_token):
                allowed = rig.chain.call(asked, "allowance(address,address)", ["uint256"], rig.account, spender)
                assert allowed == 0, (token, spender)
    assert all(credit(rig, symbol) == 0 for symbol in market.tokens)


async def by_hand(rig: FaultRig, tmp_path: Path, command: str) -> tuple[int, str, str]:
    """Stop the engine, run a helper command on the same state while blocks come, start the engine again."""
    market = rig.chain.market
    file = network_file(tmp_path / "network.toml", [rig.chain.url], market.provider, market.native_usd_feed)
    swap = f'\n[[swap]]\nkind = "uniswap-v3"\nfactory = "{market.uniswap_factory}"\n'
    file.write_text(file.read_text() + swap + f'quoter_v2 = "{market.quoter_v2}"\nrouter02 = "{market.router02}"\n')
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text(PASSWORD)
    await rig.wired.aclose()
    rig.chain.rpc("evm_setIntervalMining", 1)
    places = ("--network", file, "--config", rig.paths[0], "--state", rig.paths[1])
    whose = ("--keystore", rig.world.keystore, "--password-file", password, "--yes")
    try:
        done = await run_trimtab("helper", command, *map(str, (*places, *whose)))
    finally:
        rig.chain.rpc("evm_setIntervalMining", 0)
    rig.wired = _assemble(rig.world, rig.network, rig.paths, rig.rules, rig.clock)
    await rig.wired.engine.start()
    await rig.head()
    return done


async def itself(rig: FaultRig) -> None:
    """The newest firing is one transaction of the account to itself, final, and leaves nothing."""
    before = wallet(rig)
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    (intent,) = rig.firing.intents
    assert intent.to == rig.account
    assert "by the account's own code" in intent.words
    mined = rig.chain.rpc("eth_getTransactionByHash", intent.included_hash)
    assert (mined["from"], mined["to"], int(mined["type"], 16)) == (rig.account, rig.account, 2)
    assert wallet(rig) == before
    nobody_is_let(rig)
    nothing_left(rig)


async def test_delegate_from_105_to_150_in_one_transaction_undelegate(opened: Open, tmp_path: Path) -> None:
    rig = await opened(delegated=False)
    code, _, err = await by_hand(rig, tmp_path, "delegate")
    assert code == 0, err
    assert code_at(rig.chain, rig.account) == the_code(rig).delegation
    await rig.arm()
    rig._first = rig.chain.block_number()
    await fall(rig)
    assert 1049 * WAD // 1000 < health(rig) < 1051 * WAD // 1000
    plan = plan_of(rig)
    assert plan.reaches_target
    await itself(rig)
    on_target(rig)
    assert [tx["hash"] for tx in rig.on_chain()] == [rig.firing.intents[0].included_hash]
    assert rig.firing.health_factor_after is not None
    assert abs(rig.firing.health_factor_after - health(rig)) < WAD // 10**6
    outcome = rig.wired.journal.outcome(rig.firing.id) if rig.wired.journal is not None else None
    assert outcome is not None
    (sold,) = outcome.sales
    assert sold.actual is not None, "its own events tell what was sold"
    sale = plan.steps[0].action.sale
    assert sale is not None
    assert 0 < sold.actual <= sale.most_sold, "once, though the account both says it and sends it"
    code, _, err = await by_hand(rig, tmp_path, "undelegate")
    assert code == 0, err
    assert code_at(rig.chain, rig.account) == b""
    await rig.arm()
    assert rig.view.protection is Protection.ARMED


@pytest.mark.parametrize("simulates", [True, False])
async def test_it_is_simulated_with_its_code_whatever_the_node_can(opened: Open, simulates: bool) -> None:
    rig = await opened()
    rig.providers[0].simulates = simulates
    await rig.arm()
    await fall(rig)
    await itself(rig)
    on_target(rig)
    assert rig.providers[0].simulates is simulates
    rig.check()


def _switches(kind: str) -> dict[str, Any]:
    when, target, step, before = {
        "switch-collateral": (LOW, "1.262", SWITCH_COLLATERAL, _half_bitcoin),
        "switch-debt": (LOW, "1.252", SWITCH_DEBT, None),
        "boost": (HIGH, "2.00", BOOST, None),
    }[kind]
    text = RULE.format(when=when, target=target, step=step)
    return {"text": part_way(text) if step == SWITCH_DEBT else text, "before": before}


async def test_a_collateral_is_switched_by_the_account_itself(opened: Open) -> None:
    rig = await opened(**_switches("switch-collateral"))
    await rig.arm()
    usd = rig.chain.price("WETH") / 10**8
    for cut in range(1, 60):
        rig.chain.set_price("WETH", f"{usd * (1 - cut / 100):.2f}")
        if health(rig) < 125 * WAD // 100:
            break
    follow(rig.chain)
    rig.clock.advance(2)
    await rig.head()
    await itself(rig)
    assert 1_262 * WAD // 1_000 <= health(rig) <= 1_262 * WAD // 1_000 * 1_001 // 1_000


async def test_a_debt_is_switched_by_the_account_itself_and_no_credit_is_left(opened: Open) -> None:
    rig = await opened(**_switches("switch-debt"))
    await rig.arm()
    await price(rig, "2705", {"DAI": PPM + 20_000})
    await itself(rig)
    assert health(rig) >= 1_252 * WAD // 1_000


async def test_a_boost_by_the_account_itself_leaves_no_credit(opened: Open) -> None:
    rig = await opened(**_switches("boost"))
    await rig.arm()
    await price(rig, "5000")
    await itself(rig)
    assert 2 * WAD <= health(rig) <= 2 * WAD * 1_010 // 1_000


async def test_repaying_by_permit_and_adding_collateral_go_on_as_before(opened: Open) -> None:
    """A delegated account has code, and its key's signatures hold all the same."""
    rig = await opened(f"{REPAY}\n{ADD}")
    await rig.arm()
    await fall(rig)
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    on_target(rig)
    words = [intent.words for intent in rig.firing.intents]
    assert "with a permit" in words[0]
    assert rig.account not in [intent.to for intent in rig.firing.intents]
    rig.check()


async def test_what_it_runs_is_told_when_it_is_armed_and_while_it_is(opened: Open) -> None:
    rig = await opened()
    report = await rig.wired.commands.arming_report("guard")
    assert report.problems == ()
    assert any("delegated to Trimtab's helper" in one for one in report.warnings)
    await rig.arm()
    await rig.mine()
    assert any("delegated to Trimtab's helper" in one for one in rig.view.worth_knowing)
    (policy,) = rig.wired.engine.armory.policies.values()
    assert policy is not None
    own = [call for call in policy.calls if call.to == rig.account]
    through = [call for call in policy.calls if call.to == the_code(rig).address and call.selector == own[0].selector]
    assert [call.selector for call in own] == ["0x" + DELEVERAGE.hex()]
    assert [(call.rules, call.spend_token, call.spend_word, call.max_value) for call in own] == [
        (call.rules, call.spend_token, call.spend_word, call.max_value) for call in through
    ]
    assert policy.delegates == (), "no rule may set the account's code"
