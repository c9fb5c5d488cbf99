"""Own swaps by the calls of aggregators, through the whole engine: a service on loopback, contracts that speak as 0x's
and 1inch's do, the signer, the journal. And every lie there is: refused, and the exchange on the chain taken instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.aggregated import KEY, KINDS, LIES, SELECTOR, THIEF, OpenScene, Scene, open_scene
from tests.support.aggregators import DEPLOY, PPM, Service, deal, errand
from tests.support.fault_rig import World
from tests.support.http import bad_server
from tests.support.on_exchange import SWAP as STEP
from tests.support.on_exchange import TARGET, resend
from tui.engine.venues import FIRST_PAUSE
from tui.headless.checks import Check
from tui.headless.doctor_command import _defence_checks
from tui.model.intent import FiringState, IntentState
from tui.model.network import AggregatorConfig
from tui.model.plan import Plan
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER

pytestmark = pytest.mark.node


@pytest.fixture
async def scene(world: World, tmp_path: Path) -> AsyncIterator[OpenScene]:
    """Opens an armed engine with one aggregator."""
    async with AsyncExitStack() as stack:

        async def make(kind: str, slippage: str = "2%", **options: Any) -> Scene:
            return await open_scene(stack, world, tmp_path, kind, STEP.format(slippage), **options)

        yield make


# --- the honest one ------------------------------------------------------------------------------------------------


async def test_what_gives_more_is_taken_and_less_is_sold(scene: OpenScene, kind: str) -> None:
    at = await scene(kind)
    before = {symbol: at.chain.balance(symbol, at.rig.account) for symbol in at.chain.market.tokens}
    await at.fall(ppm=PPM + 5_000)
    sale, repaid = at.sale, at.plan.steps[0].action.amount
    assert sale.venue == kind
    assert SELECTOR[kind] in [call.selector for call in at.plan.calls]
    assert any(f" on {kind} for at least " in call.words for call in at.plan.calls)
    assert "on Uniswap V3" in at.ways
    assert (await at.rig.settle()).state is FiringState.DONE
    assert [intent.state for intent in at.rig.firing.intents] == [IntentState.FINAL_OK] * 3
    assert f" WETH on {kind} " in at.rig.firing.summary
    health = at.chain.health_factor(at.rig.account)
    assert TARGET <= health <= TARGET * 1_001 // 1_000
    after = {symbol: at.chain.balance(symbol, at.rig.account) for symbol in before}
    assert before["WETH"] - after["WETH"] == sale.sold
    # Half a percent better than the oracle: as much less is sold, and what is left over is the room for the price.
    fair = repaid * 10**12 * 10**8 // at.chain.price("WETH")
    assert sale.sold < fair * 997 // 1_000
    assert 0 <= after["USDC"] - before["USDC"] <= repaid * 2 // 1_000
    assert {one: after[one] for one in after if one not in ("WETH", "USDC")} == {
        one: before[one] for one in before if one not in ("WETH", "USDC")
    }
    assert at.allowed() == {}
    at.rig.check()
    found = at.rig.wired.journal.outcome(at.rig.firing.id) if at.rig.wired.journal is not None else None
    assert found is not None
    assert [(one.symbol, one.actual) for one in found.sales] == [("WETH", sale.sold)]


@pytest.mark.parametrize(
    ("ppm", "told"),
    [
        (PPM * 98 // 100, "the same on {}: less would come out than is to be repaid"),
        (PPM - 1_000, "the same on {}: no more comes out there"),
    ],
    ids=["too little", "less"],
)
async def test_what_gives_no_more_is_not_taken_and_told(scene: OpenScene, kind: str, ppm: int, told: str) -> None:
    at = await scene(kind)
    await at.fall(ppm=ppm)
    assert told.format(kind) in at.ways
    await at.done_on_the_exchange()


async def test_what_gives_less_more_than_its_gas_costs_is_not_taken(scene: OpenScene, kind: str) -> None:
    at = await scene(kind)
    at.prepare(PPM - 400)
    # A look at some account on the way costs gas, and gas is dear.
    errand(at.chain, at.contracts, at.chain.market.pool, calldata("getUserAccountData(address)", at.rig.account))
    at.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
    at.rig.clock.advance(2)
    await at.rig.mine()
    assert f"repay USDC from WETH on {kind}: None" in at.ways
    (way,) = [one for one in at.plan.alternatives if one.words.endswith(kind)]
    assert way.cost is not None
    assert way.cost.swap_usd < at.plan.cost.swap_usd
    assert (way.cost.total_usd or 0) > (at.plan.cost.total_usd or 0) > 0
    await at.done_on_the_exchange()


async def test_where_the_pools_are_too_dear_it_is_taken_all_the_same(scene: OpenScene, kind: str) -> None:
    at = await scene(kind, slippage="0.3%")
    await at.fall(ppm=PPM, below=10_000)
    assert at.sale.venue == kind
    assert at.plan.reaches_target
    assert (await at.rig.settle()).state is FiringState.DONE
    assert TARGET <= at.chain.health_factor(at.rig.account) <= TARGET * 1_001 // 1_000


async def test_what_loses_more_than_the_step_allows_is_not_taken(scene: OpenScene, kind: str) -> None:
    at = await scene(kind, slippage="0.3%")
    await at.fall(ppm=PPM * 98 // 100, below=10_000)
    assert at.rig.firings == ()
    assert "would lose 1.0" in at.rig.said


async def test_the_signer_knows_its_calls_and_holds_their_words(scene: OpenScene, kind: str) -> None:
    at = await scene(kind)
    (policy,) = at.rig.wired.engine.armory.policies.values()
    assert policy is not None
    (call,) = [one for one in policy.calls if one.selector == "0x" + SELECTOR[kind].hex()]
    assert call.to == at.contracts.router
    assert call.max_value == 0
    weth = at.chain.token("WETH").address.lower()
    assert call.spend_token == weth
    assert any(rule.equals == int(weth, 16) for rule in call.rules)
    approvals = [one for one in policy.calls if one.selector == "0x095ea7b3" and one.to == weth]
    spenders = {rule.equals for one in approvals for rule in one.rules if rule.index == 0}
    assert spenders == {int(at.contracts.router, 16), int(at.chain.market.router02, 16)}


async def test_without_such_a_table_the_signer_knows_no_such_call(scene: OpenScene, kind: str) -> None:
    at = await scene(kind, aggregators=())
    (policy,) = at.rig.wired.engine.armory.policies.values()
    assert policy is not None
    assert not {one.selector for one in policy.calls} & {"0x" + SELECTOR[one].hex() for one in KINDS}
    await at.fall()
    assert at.service.asked == []
    await at.done_on_the_exchange()


# --- the lies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
async def test_a_call_that_does_another_thing_is_not_taken(
    scene: OpenScene, kind: str, lie: Callable[[Scene], None]
) -> None:
    at = await scene(kind)
    await at.lied(lie)
    await at.done_on_the_exchange()


@pytest.mark.parametrize("turned", ["to another", "away", "off"])
async def test_a_settler_that_its_registry_does_not_know_is_not_taken(scene: OpenScene, turned: str) -> None:
    at = await scene("0x")
    none, dealer = "0x" + "0" * 40, at.contracts.dealer
    turns = {"to another": (THIEF, dealer), "away": (THIEF, OWNER), "off": (none, dealer)}
    assert at.contracts.registry is not None
    at.chain.send(OWNER, at.contracts.registry, "turn(address,address)", *turns[turned])
    await at.fall()
    if turned == "to another":  # the one before it is still good for a while
        assert at.sale.venue == "0x"
        return
    assert "which 0x itself does not name in its registry" in at.ways
    await at.done_on_the_exchange()


async def planned_now(at: Scene) -> Plan:
    """What the rule would do at the newest block, whatever the engine makes of it."""
    engine = at.rig.wired.engine
    block = await engine.ports.reader.block_by_number(at.chain.block_number())
    assert block is not None
    snapshot = await engine.watch.snapshot(block)
    (position,), (rule,) = snapshot.positions, engine.book.rules
    fees = await engine.ports.fees.quote(block)
    plan = await engine.prospect.simulated_plan(rule, position, snapshot, fees)
    assert isinstance(plan, Plan)
    return plan


async def test_a_service_that_never_answers_is_not_waited_for(scene: OpenScene, kind: str) -> None:
    at = await scene(kind, timeout=0.4)
    at.service.reply = lambda _request: None
    await at.fall()
    assert at.rig.said.count(f"{kind} is left alone for a while: it did not answer within 0.4 s") == 1
    assert f"the same on {kind}: it did not answer within 0.4 s" in at.ways
    await at.done_on_the_exchange()


@pytest.mark.parametrize("better", KINDS)
async def test_of_two_the_better_one_is_taken(scene: OpenScene, world: World, better: str) -> None:
    worse = next(one for one in KINDS if one != better)
    other = DEPLOY[worse](world.chain)
    service = Service(world.chain, other)
    async with bad_server(service) as server:
        at = await scene(better, and_config=service.config(server.url, timeout=2.0))
        at.prepare(PPM + 5_000)
        deal(at.chain, other, "WETH", "USDC", PPM + 2_000)
        at.rig.clock.advance(2)
        await at.rig.head()
        assert at.sale.venue == better
        assert f"on {worse}: None" in at.ways
        assert "on Uniswap V3" in at.ways
        assert (await at.rig.settle()).state is FiringState.DONE
        assert at.allowed() == {}


async def test_on_a_node_that_tells_no_events_no_call_of_theirs_is_taken(scene: OpenScene, kind: str) -> None:
    at = await scene(kind)
    (provider,) = at.rig.providers
    provider.simulates = False
    await at.fall()
    assert f"the node does not tell what the call of {kind} touches; it has to know eth_simulateV1" in at.ways
    await at.done_on_the_exchange()


async def test_a_rule_that_is_being_written_is_told_to_nobody(scene: OpenScene, kind: str) -> None:
    at = await scene(kind)
    at.prepare(PPM + 5_000)
    await at.rig.head()
    asked = len(at.service.asked)
    text = at.rig.rules.read_text().replace('"1.50"', '"1.60"').replace('"1.25"', '"1.55"')
    (evaluation,) = (await at.rig.wired.commands.preview(text)).evaluations
    assert evaluation.plan is not None
    assert evaluation.plan.steps[0].action.sale is not None
    assert len(at.service.asked) == asked > 0


async def test_a_service_that_fails_costs_a_defence_nothing_and_is_told_once(scene: OpenScene, kind: str) -> None:
    at = await scene(kind)
    at.service.reply = lambda _request: (503, {}, b"{}")
    await at.fall()
    told = f"{kind} is left alone for a while: it has trouble of its own (HTTP 503)"
    assert at.rig.said.count(told) == 1
    assert f"the same on {kind}: it has trouble of its own" in at.ways
    assert "it failed, and is left alone for a while" in str((await planned_now(at)).alternatives)
    assert len(at.service.asked) == 1
    at.rig.clock.advance(FIRST_PAUSE)
    await planned_now(at)
    assert len(at.service.asked) == 2
    at.service.reply = None
    at.rig.clock.advance(2 * FIRST_PAUSE - 1)
    assert "left alone" in str((await planned_now(at)).alternatives)
    at.rig.clock.advance(1)
    assert (await planned_now(at)).steps[0].action.sale.venue == kind  # type: ignore[union-attr]
    assert at.rig.said.count(told) == at.rig.said.count(f"{kind} is well again") == 1
    await at.done_on_the_exchange()


async def test_the_doctor_tells_whether_it_offers_anything_and_calls_no_defence_stopped(
    scene: OpenScene, kind: str
) -> None:
    at = await scene(kind)
    deal(at.chain, at.contracts, "WETH", "USDC")

    async def found() -> Check:
        block = await at.rig.wired.engine.ports.reader.block_by_number(at.chain.block_number())
        assert block is not None
        checks = {one.name: one for one in await _defence_checks(at.rig.wired, block)}
        return checks[f"aggregator {kind}"]

    well = await found()
    assert (well.level, well.detail) == ("ok", "offers WETH for USDC")
    at.service.reply = lambda _request: (403, {}, b"")
    ill = await found()
    assert (ill.level, ill.stops) == ("note", False)
    assert "offers nothing now: it does not accept the key (HTTP 403); look at key_file" in ill.detail


@pytest.mark.parametrize(
    ("mode", "content", "said"),
    [
        (0o644, KEY, "open to other users (mode 0644)"),
        (0o600, "", "holds no key of a service"),
        (0o600, f"{KEY}\nanother line", "holds no key of a service"),
        (0o600, "caf\u00e9-and-more", "holds no key of a service"),
        (None, "", "no such file or directory"),
    ],
)
async def test_a_key_that_cannot_be_used_leaves_the_defence_to_the_exchange(
    scene: OpenScene, tmp_path: Path, mode: int | None, content: str, said: str
) -> None:
    file = tmp_path / "other-key"
    if mode is not None:
        file.write_text(content)
        file.chmod(mode)
    config = AggregatorConfig("1inch", "http://127.0.0.1:9", "0x" + "4e" * 20, key_file=str(file))
    at = await scene("1inch", aggregators=(config,))
    (notice,) = at.rig.wired.engine.setup.notices
    assert notice.startswith("1inch is NOT asked for swaps: ")
    assert said in notice
    assert KEY not in notice
    await at.fall()
    await at.done_on_the_exchange()


async def test_the_key_goes_to_the_service_and_nowhere_else(scene: OpenScene, kind: str, tmp_path: Path) -> None:
    at = await scene(kind)
    at.service.reply = lambda _request: (400, {}, f'{{"description": "no such key as {KEY}"}}'.encode())
    await at.fall()
    await at.rig.settle()
    headers = at.service.asked[0].headers
    assert KEY in (headers["0x-api-key"] if kind == "0x" else headers["authorization"])
    assert KEY not in "".join((*at.service.asked[0].query.values(), at.service.asked[0].path))
    assert "it refuses (HTTP 400: no such key as ***)" in at.rig.said
    assert KEY not in repr(at.rig.wired)
    assert files_with(tmp_path, at.rig.account) != []
    assert files_with(tmp_path, KEY) == []


def files_with(directory: Path, text: str) -> list[str]:
    """The files below a directory, but that of the key, that hold a text."""
    files = (one for one in directory.rglob("*") if one.is_file() and one.name != "key")
    return [one.name for one in files if text.encode() in one.read_bytes()]


# --- generous in every simulation, and not in a block --------------------------------------------------------------


def spend_usdc(at: Scene) -> None:
    """The wallet holds no USDC: a repayment whose swap was undone is undone as well."""
    at.chain.take("USDC", at.account)


async def undone_in_its_block(at: Scene) -> None:
    """The newest firing's transactions are mined while the dealer pays half; to whoever simulates it is generous."""
    chain = at.chain
    chain.rpc("anvil_dropAllTransactions")
    deal(chain, at.contracts, "WETH", "USDC", PPM // 2)
    resend(at.rig)
    chain.mine()
    deal(chain, at.contracts, "WETH", "USDC", PPM + 5_000)
    at.rig.clock.advance(2)
    await at.rig.head()


async def test_one_whose_call_reverts_in_its_block_is_not_taken_at_the_next_one(scene: OpenScene, kind: str) -> None:
    at = await scene(kind)
    spend_usdc(at)
    await at.fall()
    assert at.sale.venue == kind
    await undone_in_its_block(at)
    for _ in range(4):
        if len(at.rig.firings) == 1:
            await at.rig.mine()
    assert len(at.rig.firings) == 2, at.rig.said
    assert at.rig.firings[1].state is FiringState.FAILED
    why = "what it swapped reverted on chain, though it went well in simulation: until "
    assert f"the same on {kind}: {why}" in at.ways
    assert at.rig.said.count(f"{kind} is left alone for a while: {why}") == 1
    assert at.sale.venue.startswith("Uniswap V3")
    assert (await at.rig.settle()).state is FiringState.DONE
    assert at.chain.health_factor(at.rig.account) >= TARGET
    await at.rig.restart()
    at.prepare(PPM + 5_000, usd=Decimal("1700"))
    await at.rig.head()
    assert why in str((await planned_now(at)).alternatives), "it is on record"
    at.rig.check()


async def test_it_is_taken_all_the_same_where_nothing_else_can_be_done(scene: OpenScene, kind: str) -> None:
    """The pools are too dear, and it reverts once for an honest reason."""
    at = await scene(kind, slippage="0.3%")
    spend_usdc(at)
    await at.fall(below=10_000)
    await undone_in_its_block(at)
    for _ in range(4):
        if len(at.rig.firings) == 1:
            await at.rig.mine()
    assert len(at.rig.firings) == 2, at.rig.said
    assert at.sale.venue == kind
    assert (await at.rig.settle()).state is FiringState.DONE
    assert at.chain.health_factor(at.rig.account) >= TARGET
