"""Faults 40 to 51: nodes that are silent, behind, wrong, sold out or broken, in front of a whole engine.

Those that lie have a file of their own, `test_lies`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.support.fault_rig import FaultRig, OpenRig
from tests.support.pool_rules import SEND
from tests.support.proxy import DOUBLED, PARTIAL, REORDERED, Row, Told, giant, nested, truncated
from tui.chain.budget import Budget
from tui.chain.rpc import MAX_ANSWER_BYTES
from tui.config.options import Options, UsageError
from tui.config.paths import resolve_paths
from tui.model.intent import FiringState, IntentState
from tui.model.view import Protection
from tui.wiring import resolve_network

pytestmark = pytest.mark.node

READS = ("eth_call", "eth_simulateV1", "eth_feeHistory")


async def nothing_signed(rig: FaultRig, blocks: int = 1) -> None:
    """Blocks go by, and nothing is signed, sent or latched."""
    await rig.mine(blocks)
    assert rig.attempts() == []
    assert all(proxy.count(SEND) == 0 for proxy in rig.proxies)
    assert not any(firing.state.is_open for firing in rig.firings)
    rig.check()


async def ended_well(rig: FaultRig, transactions: int = 1) -> None:
    """One firing is done, each transaction once, and the record is the chain."""
    await rig.settle()
    done = [firing for firing in rig.firings if firing.state is FiringState.DONE]
    assert len(done) == 1, rig.said
    assert len(rig.on_chain()) == transactions
    rig.check()


async def test_40_a_websocket_that_is_open_and_silent_is_hung_up_and_polling_goes_on(open_faulty: OpenRig) -> None:
    connections: list[ServerConnection] = []

    async def mute(connection: ServerConnection) -> None:
        connections.append(connection)
        if len(connections) == 1:
            asked = orjson.loads(await connection.recv())
            await connection.send(orjson.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": "0x1"}).decode())
        await connection.wait_closed()

    async with serve(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        rig = await open_faulty(rpc_too=(f"ws://127.0.0.1:{port}",))
        heads = rig.wired.chain.heads
        assert heads.bell is not None
        heads.bell.start()
        await heads.bell.listening.wait()
        slow = heads.poll_interval
        seen = rig.view.chain.block
        await rig.mine(3)
        assert rig.view.chain.block != seen, "heads come by polling all the same"
        assert not heads.bell.alive
        assert "tells no heads" in heads.bell.detail
        assert heads.poll_interval == slow / 4
        await heads.bell.stop()
    assert connections


async def test_40_no_new_head_is_shown_as_blind_whatever_the_socket_says(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    assert rig.view.protection is Protection.ARMED
    rig.proxies[0].down()
    rig.chain.set_price("WETH", "2600")
    rig.clock.advance(3 * 2 + 2)
    assert not await rig.head()
    rig.wired.engine.publish()
    assert rig.view.protection is Protection.HELD
    assert "no new block for 8 s" in (rig.view.chain.blind or "")
    rig.proxies[0].heal()
    rig.clock.advance(10)
    await rig.head()
    assert rig.view.protection is Protection.ARMED
    await ended_well(rig)


async def test_41_a_gap_is_read_back_by_parent_hash_and_a_reorg_inside_it_is_measured(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    (proxy,) = rig.proxies
    heads = rig.wired.chain.heads
    await rig.mine(2)
    first = rig.chain.block_number()
    away = proxy.down()
    for _ in range(5):
        rig.chain.mine()
    assert not await rig.head()
    away.lift()
    rig.clock.advance(10)
    before = proxy.count("eth_getBlockByHash")
    assert await rig.head()
    assert proxy.count("eth_getBlockByHash") - before == 4
    truth = {number: rig.chain.block(number)["hash"] for number in range(first, first + 6)}
    assert {number: heads.canonical_hash(number) for number in truth} == truth
    assert heads.last_reorg is None
    away = proxy.down()
    rig.chain.rpc("anvil_rollback", 2)
    rig.chain.set_ether(rig.account, 9 * 10**18)
    for _ in range(4):
        rig.chain.advance(7)
    away.lift()
    rig.clock.advance(10)
    assert await rig.head()
    assert heads.last_reorg is not None
    assert heads.last_reorg.depth == 2


async def test_42_a_block_number_that_goes_backwards_moves_nothing_and_reads_are_pinned(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    (proxy,) = rig.proxies
    await rig.mine(3)
    old = rig.chain.rpc("eth_getBlockByNumber", hex(rig.chain.block_number() - 2), False)
    proxy.lie("eth_getBlockByNumber", lambda params, told: old if params[0] == "latest" else told, times=2)
    seen = rig.view.chain.block
    assert not await rig.head()
    assert not await rig.head()
    assert rig.view.chain.block == seen
    await rig.fall()
    await ended_well(rig)
    pins = _pins(proxy.asked)
    assert pins
    assert all(isinstance(pin, dict) and pin["requireCanonical"] for pin in pins)


def _pins(asked: list[tuple[str, list[Any]]]) -> list[Any]:
    """The block parameter of every read that decisions are made of."""
    return [params[1] for method, params in asked if method in ("eth_call", "eth_simulateV1")]


async def test_43_a_fallback_node_that_lags_never_takes_a_nonce_back(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=2)
    main, fallback = rig.proxies
    await rig.fall()
    await ended_well(rig)
    (first,) = rig.on_chain()
    nonce = int(first["nonce"], 16)
    main.down()
    fallback.lie("eth_getTransactionCount", hex(nonce))
    await rig.fall("2100")
    await rig.mine(2)
    assert len(rig.attempts()) == 1, "the nonce of a final transaction is never used again"
    assert "the node is behind" in rig.said
    main.heal()
    fallback.heal()
    rig.clock.advance(70)
    await rig.mine(6)
    assert {sent.nonce for sent in rig.attempts()} == {nonce, nonce + 1}
    rig.check()


async def test_43_a_nonce_that_only_one_node_counts_stops_no_resend(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=3, quorum=2)
    await rig.fall()
    rig.proxies[1].lie("eth_getTransactionCount", lambda params, told: "0x63" if params[1] == "latest" else told)
    rig.chain.rpc("anvil_dropAllTransactions")
    await rig.again()
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    await ended_well(rig)


async def test_45_all_but_one_provider_down_holds_and_the_quorum_stays(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=3, quorum=2)
    for proxy in rig.proxies[1:]:
        proxy.down()
    rig.chain.set_price("WETH", "2600")
    for _ in range(4):
        rig.clock.advance(4)
        await rig.head()
    rig.wired.engine.publish()
    assert rig.view.protection is Protection.HELD
    assert rig.wired.chain.pool.quorum == 2
    assert rig.states == ["ok", "failing", "failing"]
    await nothing_signed(rig, 2)
    rig.proxies[1].heal()
    rig.clock.advance(10)
    await rig.mine()
    await ended_well(rig)


async def test_45_while_it_holds_what_was_sent_is_still_sent_again(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=3, quorum=2)
    await rig.fall()
    for proxy in rig.proxies[1:]:
        proxy.down()
    rig.chain.rpc("anvil_dropAllTransactions")
    await rig.again()
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    for proxy in rig.proxies:
        proxy.heal()
    rig.clock.advance(10)
    await ended_well(rig)


async def test_45_degraded_by_the_users_wish_it_derisks_with_half_of_the_daily_limit(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=2, quorum=2, degraded="de-risk", daily="6000")
    rig.proxies[1].down()
    assert rig.view.degraded is None
    await rig.fall()
    (firing,) = rig.firings
    assert 2_900 * 10**8 < (firing.spend_usd or 0) < 3_000 * 10**8, "as much as half of the daily limit lets it"
    assert rig.view.protection is Protection.ARMED
    assert rig.view.protection_why.startswith("Degraded: fewer nodes than must agree, so daily limits are halved and ")
    assert "only 1 of the 2 nodes that must agree answered" in rig.view.protection_why
    assert "nothing is sold" in rig.view.protection_why
    assert "half of its daily limit" in rig.said
    assert "of 1.50: " in rig.said, "what falls short of its goal is told"
    assert rig.wired.chain.pool.quorum == 2
    await ended_well(rig)
    assert rig.chain.health_factor(rig.account) > 13 * 10**17
    rig.proxies[1].heal()
    rig.clock.advance(10)
    await rig.mine()
    assert rig.view.degraded is None
    assert "Degraded" not in rig.view.protection_why
    assert "enough nodes agree again" in rig.said


@pytest.mark.parametrize(
    ("daily", "why"),
    [
        (None, "the rule has no daily_spend_usd to be halved"),
        ("0.02", "are spent"),
    ],
)
async def test_45_degraded_and_without_room_it_refuses_without_opening_a_firing(
    open_faulty: OpenRig, daily: str | None, why: str
) -> None:
    """Nothing may be moved by half of the limit: told once, and no firing is opened and dropped block after block."""
    rig = await open_faulty(providers=2, quorum=2, degraded="de-risk", daily=daily or "1", partial=True)
    if daily is None:
        rig.rules.write_text(rig.rules.read_text().replace('daily_spend_usd = "1"\n', ""))
        await rig.mine()
        await rig.arm()
    rig.proxies[1].down()
    await rig.fall()
    await rig.mine(5)
    assert rig.firings == ()
    (view,) = rig.view.rules
    assert view.evaluation is not None
    assert view.evaluation.refused is not None
    told = [line for line in rig.said.splitlines() if ", but " in line]
    assert len(told) == 1, told
    assert why in told[0]


def test_45_fewer_urls_on_the_command_line_do_not_lower_the_quorum(tmp_path: Path) -> None:
    network = tmp_path / "net.toml"
    network.write_text(
        'name = "n"\nchain_id = 1\nblock_time = 12\nquorum = 2\nrpc = ["http://a.example", "http://b.example"]\n'
    )
    paths = resolve_paths(tmp_path / "config", tmp_path / "state")
    with pytest.raises(UsageError, match="2 nodes must agree"):
        resolve_network(Options(network=str(network), rpc=("http://c.example", "wss://d.example")), paths)
    given = resolve_network(Options(network=str(network), rpc=("http://c.example", "http://d.example")), paths)
    assert given.quorum == 2


async def test_45_a_provider_that_hangs_holds_up_nobody(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=3, quorum=2)
    for provider in rig.providers:
        provider.client.timeout = 3_600
    hanging = rig.proxies[0].silence("eth_getBlockByNumber", SEND, "eth_getTransactionReceipt")
    async with asyncio.timeout(60):
        await rig.fall()
        await ended_well(rig)
    assert hanging.hits
    assert rig.states == ["failing", "ok", "ok"]
    assert "later than the others" in rig.statuses[0].detail


async def test_46_a_fallback_on_another_chain_is_quarantined(open_faulty: OpenRig) -> None:
    rig = await open_faulty(providers=2)
    main, fallback = rig.proxies
    fallback.lie("eth_chainId", "0x1")
    rig.clock.advance(61)  # whoever was on the right chain long ago is asked again when it takes over
    reads = len(fallback.passed)
    main.down()
    await rig.fall()
    await nothing_signed(rig, 2)
    assert rig.states[1] == "wrong-chain"
    assert "is on chain 1, not 31337" in rig.statuses[1].detail
    assert {method for method, _ in fallback.passed[reads:]} <= {"eth_getBlockByNumber", "eth_chainId"}
    main.heal()
    rig.clock.advance(10)
    await rig.mine()
    await ended_well(rig)
    assert fallback.count(SEND) == 0
    assert rig.states == ["ok", "wrong-chain"]


@pytest.mark.parametrize("status", [429, 402, 503])
async def test_48_a_limited_node_is_left_alone_and_the_other_goes_on(open_faulty: OpenRig, status: int) -> None:
    rig = await open_faulty(providers=2)
    limited = rig.proxies[0]
    limited.http(status, *READS, retry_after="30")
    await rig.mine()
    asked = len(limited.asked)
    await rig.fall()
    assert rig.states == ["failing", "ok"]
    assert f"HTTP {status}" in rig.statuses[0].detail
    assert [method for method, _ in limited.asked[asked:] if method in READS] == []
    await ended_well(rig)
    limited.heal()
    rig.clock.advance(61)
    await rig.mine(2)
    assert rig.states == ["ok", "ok"]


async def test_48_under_a_rate_limit_sends_and_receipts_still_go(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    (proxy,) = rig.proxies
    await rig.fall()
    rig.chain.rpc("anvil_dropAllTransactions")
    limit = proxy.http(429, *READS, retry_after="120")
    await rig.mine()
    reads = sum(proxy.count(method) for method in READS)
    assert rig.states == ["failing"]
    assert rig.pooled() == [rig.intent.attempts[0].hash], "it was sent again"
    await rig.mine(3)
    assert rig.intent_states == [IntentState.FINAL_OK]
    assert sum(proxy.count(method) for method in READS) == reads, "reads wait as long as they were asked to"
    assert rig.view.protection is Protection.HELD
    limit.lift()
    rig.clock.advance(121)
    await rig.mine()
    assert rig.states == ["ok"]
    await ended_well(rig)


async def test_48_a_budget_of_our_own_makes_reads_yield_and_never_a_defence(
    open_faulty: OpenRig,
) -> None:
    """Four requests a second are allowed: reads wait for their turn, sends and receipts go out at once."""
    rig = await open_faulty(rpc_budget=4)
    block = rig.view.chain.block
    assert block is not None
    for _ in range(20):
        await rig.wired.chain.reader.block_by_hash(block.hash)
    assert sum(rig.clock.slept) > 3
    rig.wired.engine.publish()
    (node,) = rig.view.chain.providers
    assert (node.state, node.detail) == ("ok", "throttled: reads wait for the budget of 4 requests a second")
    waits = rig.providers[0].budget
    assert isinstance(waits, Budget)
    before = waits.waits
    await rig.fall()
    assert waits.waits > before, "what is watched waits"
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    before = len(rig.clock.slept)
    await rig.wired.chain.broadcaster.receipt(rig.intent.attempts[0].hash)
    await rig.wired.chain.broadcaster.send(rig.intent.attempts[0].raw, rig.intent.attempts[0].hash)
    assert len(rig.clock.slept) == before
    await ended_well(rig)


async def test_49_answers_that_are_not_whole_are_refused_whole(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    (proxy,) = rig.proxies
    rig.chain.set_price("WETH", "2600")
    for how, words in (
        (PARTIAL, "leaves out part of the batch"),
        (DOUBLED, "answers one id twice"),
        (truncated, "is not JSON"),
        (nested, "is not JSON"),
        (giant(MAX_ANSWER_BYTES), "more than 33,554,432 bytes"),
    ):
        fault = proxy.spoil(how, "eth_call")
        rig.clock.advance(10)
        await nothing_signed(rig)
        assert fault.hits
        assert words in (rig.view.chain.blind or ""), rig.view.chain.blind
        fault.lift()
        rig.clock.advance(10)
        assert rig.view.protection is Protection.HELD
    fault = proxy.spoil(REORDERED, "eth_call")
    await rig.mine()
    assert fault.hits
    await ended_well(rig)


@pytest.mark.parametrize("code", ["0x", "0x60006000fd", "0x00"])
async def test_50_a_sub_call_that_fails_or_returns_nothing_is_unknown_and_never_zero(
    open_faulty: OpenRig, code: str
) -> None:
    rig = await open_faulty()
    rig.chain.set_price("WETH", "2600")
    rig.chain.rpc("anvil_setCode", rig.chain.token("WETH").feed, code)
    await nothing_signed(rig)
    (shown,) = rig.view.positions
    assert shown.position.unknown is not None
    assert shown.position.health_factor is None
    assert "cannot be judged" in rig.said


async def test_50_a_token_that_answers_nothing_is_unknown_and_never_zero(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    usdc = rig.chain.token("USDC").address
    rig.chain.set_price("WETH", "2600")
    rig.chain.rpc("anvil_setCode", usdc, "0x")
    await nothing_signed(rig)
    (wallet,) = rig.view.wallets
    assert wallet.tokens[usdc.lower()].balance is None


async def test_51_a_gas_or_time_limit_splits_the_read_and_changes_nothing_in_it(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    (proxy,) = rig.proxies
    await rig.mine()
    whole = rig.wired.engine.snapshot
    assert whole is not None
    longest = max(len(params[0]["data"]) for method, params in proxy.asked if method == "eth_call")
    limits = iter(("out of gas", "execution timeout", "execution aborted (timeout = 5s)") * 40)
    refused: list[int] = []

    def limited(most: int) -> Callable[[list[Any]], Row | None]:
        def instead(params: list[Any]) -> Row | None:
            size = len(params[0]["data"])
            if size <= most:
                return None
            refused.append(size)
            return {"error": {"code": -32000, "message": next(limits)}}

        return instead

    fault = proxy.add(Told(frozenset(("eth_call",)), instead=limited(longest // 2)))
    await rig.again()
    split = rig.wired.engine.snapshot
    assert split is not None
    assert refused
    assert (split.positions, split.wallets, split.markets) == (whole.positions, whole.wallets, whole.markets)
    fault.lift()
    rig.chain.set_price("WETH", "2600")
    fault = proxy.add(Told(frozenset(("eth_call",)), instead=limited(0)))
    await nothing_signed(rig)
    (shown,) = rig.view.positions
    assert shown.position.unknown is not None
    fault.lift()
    await rig.mine()
    await ended_well(rig)
