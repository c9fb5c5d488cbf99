"""Odd answers of nodes against a whole engine: one header, URL or lie from one node ends no loop and loses no nonce."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PASSWORD, MakeRig, Rig
from tests.support.fault_rig import FaultRig, OpenRig
from tests.support.pool_rules import GethRules
from tests.support.program import network_file
from tests.support.proxy import Fault, Proxy, proxies
from tui.config.options import Options
from tui.config.paths import resolve_paths
from tui.engine.budget import day_of
from tui.engine.engine import TICK_SECONDS, Engine
from tui.engine.facade import EngineFacade
from tui.headless.checks import engine_checks
from tui.headless.heartbeat import read_heartbeat
from tui.launch import EngineLife
from tui.model.alert import Alert, AlertKind
from tui.model.block import BlockRef
from tui.model.intent import FiringState, IntentState
from tui.model.view import Protection, ViewState
from tui.notify.alerts import conditions
from tui.notify.tracker import Tracker
from tui.ports.journal import SpendKind
from tui.screen.app import TrimtabApp

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]

FAR = b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
ODD = {
    "retry-after": b"HTTP/1.1 503 X\r\nretry-after: " + FAR + b"\r\ncontent-length: 0\r\n\r\n",
    "not a number": b"HTTP/1.1 429 X\r\nretry-after: nan\r\ncontent-length: 0\r\n\r\n",
    "nested codings": b"HTTP/1.1 200 X\r\ncontent-encoding: gzip, gzip\r\ncontent-length: 3\r\n\r\nabc",
    "no HTTP": b"\xff\xfe\r\n\r\n",
}


def guard(life: EngineLife) -> Engine:
    """The engine behind a screen."""
    wired = life._wired
    assert wired is not None
    return wired.engine


async def until(engine: Engine, wanted: Any) -> ViewState:
    """The first view that is as wanted."""
    seen: asyncio.Future[ViewState] = asyncio.get_running_loop().create_future()
    stop = engine.subscribe(lambda view: seen.set_result(view) if wanted(view) and not seen.done() else None)
    try:
        if wanted(engine.view):
            return engine.view
        try:
            async with asyncio.timeout(60):
                return await seen
        except TimeoutError:
            view = engine.view
            pytest.fail(f"stays {view.protection}: {view.protection_why}; {view.chain.block}; {view.would_stop}")
    finally:
        stop()


@pytest.mark.parametrize("oddity", list(ODD))
async def test_48_49_one_odd_http_answer_ends_nothing_and_the_defence_goes_on(
    open_faulty: OpenRig, oddity: str
) -> None:
    """Every request of three blocks is answered with it, then none."""
    rig = await open_faulty()
    (proxy,) = rig.proxies
    fault = proxy.raw(ODD[oddity])
    await rig.mine(3)
    assert fault.hits
    assert rig.states == ["failing"]
    fault.lift()
    rig.clock.advance(31)
    await rig.mine()
    assert rig.states == ["ok"]
    assert rig.view.protection is Protection.ARMED
    await rig.fall()
    await rig.settle()
    assert rig.firing.state is FiringState.DONE
    rig.check()


class Breaking:
    """Heads that break off as often as told, then go on."""

    def __init__(self, inner: Any, errors: list[Exception | None], block: BlockRef) -> None:
        self._inner = inner
        self._errors = errors
        self._block = block
        self.asked = 0
        self.bell = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def heads(self) -> AsyncIterator[BlockRef]:
        self.asked += 1
        if self._errors:
            error = self._errors.pop(0)
            if error is not None:
                raise error
            return
        yield self._block
        await asyncio.Event().wait()


async def test_37_heads_that_break_off_are_followed_again_after_pauses_and_the_breaker_counts(
    open_faulty: OpenRig,
) -> None:
    rig = await open_faulty()
    engine = rig.wired.engine
    block = engine.snapshot.block if engine.snapshot is not None else None
    assert block is not None
    errors = [OverflowError("far"), None, ValueError("\x1b[31m"), ExceptionGroup("all", [KeyError("x")])]
    heads = Breaking(engine.ports.heads, list(errors), block)
    object.__setattr__(engine.ports, "heads", heads)
    seen: list[ViewState] = []
    engine.subscribe(seen.append)
    rig.clock.slept.clear()
    pass_at_once = rig.clock.sleep

    async def sleep(seconds: float) -> None:
        """The second hand stands still: it would run for hours while one block is read, and make it an old one."""
        await (asyncio.sleep(0) if seconds == TICK_SECONDS else pass_at_once(seconds))

    rig.clock.sleep = sleep  # type: ignore[method-assign]
    running = asyncio.create_task(engine.run())
    try:
        await until(engine, lambda view: heads.asked == 5 and view.chain.blind is None)
        assert not running.done()
        assert [pause for pause in rig.clock.slept if pause != 1.0][:3] == [2.0, 4.0, 8.0]
        told = [view.protection_why for view in seen if view.protection is Protection.HELD]
        assert any("OverflowError" in why for why in told)
        assert any("broke off" in why for why in told)
        assert all("\x1b" not in why for why in told)
        assert engine.held is None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    heads = Breaking(heads, [OverflowError("far")] * 5, block)
    object.__setattr__(engine.ports, "heads", heads)
    running = asyncio.create_task(engine.run())
    try:
        view = await until(engine, lambda view: view.held is not None)
        assert "unexpected errors in a row" in (view.held or "")
        assert view.protection is Protection.HELD
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_output_that_raises_stops_neither_engine_nor_defence_and_is_told(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    engine = rig.wired.engine

    def broken(view: ViewState) -> None:
        raise OSError("the pipe is gone")

    stop = engine.subscribe(broken)
    await rig.fall()
    await rig.settle()
    assert rig.firing.state is FiringState.DONE
    assert rig.said.count("a screen or an output fails to follow") == 1
    assert any("fails to follow" in line for line in rig.view.would_stop)
    stop()
    rig.check()


async def test_what_cannot_be_drawn_is_shown_as_held(open_faulty: OpenRig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = await open_faulty()
    assert rig.view.protection is Protection.ARMED

    def broken(*given: Any) -> ViewState:
        raise KeyError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr("tui.engine.publish.draw", broken)
        await rig.mine(2)
        assert rig.view.protection is Protection.HELD
        assert "cannot be shown (unexpected KeyError" in rig.view.protection_why
    await rig.mine()
    assert rig.wired.engine.held is None or "showing what is" in rig.wired.engine.held


async def test_37_an_app_whose_engine_dies_says_so_everywhere_and_leaves_without_a_traceback(
    make_rig: MakeRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop is ended from inside, as no node can any more: screen, heartbeat, journal and doctor must tell."""
    from tui.vault.client import spawn_signer

    rig: Rig = await make_rig()
    await rig.wired.aclose()
    feed = rig.chain.token("WETH").feed
    network = network_file(tmp_path / "network.toml", [rig.chain.url], rig.chain.market.provider, feed)
    options = Options(
        config=tmp_path / "config",
        state=tmp_path / "app",
        network=str(network),
        rules=(rig.trader.rules,),
        keystores=(rig.trader.keystore,),
    )
    broken = asyncio.Event()

    async def dies(self: Engine) -> None:
        await broken.wait()
        raise OverflowError("secret-token")

    follow = Engine._follow

    async def until_broken(self: Engine) -> None:
        following = asyncio.ensure_future(follow(self))
        try:
            await dies(self)
        finally:
            following.cancel()

    monkeypatch.setattr(Engine, "_follow", until_broken)
    paths = resolve_paths(options.config, options.state)
    signer = spawn_signer(paths.state)
    life = EngineLife(options, paths, signer)
    started = asyncio.Event()

    async def start() -> EngineFacade:
        try:
            return await life.start()
        finally:
            started.set()

    app = TrimtabApp(start, config=paths.config, state=paths.state, stop=life.stop, ticking=False)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            await started.wait()
            await app.workers.wait_for_complete()
            engine = guard(life)
            rig.chain.mine()
            await until(engine, lambda view: view.chain.block is not None)
            assert app.facade is not None
            await app.facade.arm("guard", "guard", PASSWORD)
            rig.chain.mine()
            await until(engine, lambda view: view.protection is Protection.ARMED)
            broken.set()
            await until(engine, lambda view: "ended by itself" in view.protection_why)
            await pilot.pause()
            assert app.view.protection is Protection.HELD
            assert "the engine has ended by itself (unexpected OverflowError" in app.view.protection_why
            beat = read_heartbeat(paths.state)
            assert beat is not None
            assert beat.protection == "HELD"
            found = {check.name: check for check in engine_checks(beat, "", beat.pid, True, beat.at)}
            assert found["protection"].ok is False
            assert "ended by itself" in found["protection"].detail
            rig.chain.set_price("WETH", Decimal(2600))
            with pytest.raises(Exception, match="ended by itself"):
                await app.facade.arm("guard", "guard", PASSWORD)
        assert life.died is not None
        assert "secret-token" not in life.died
    finally:
        signer.close()
    assert rig.transactions_of(rig.trader.address) == []


async def test_45_a_url_no_socket_can_have_is_said_and_the_other_node_serves(make_rig: MakeRig, tmp_path: Path) -> None:
    """A name that is none, before the one good node of a real engine."""
    from tests.support.program import trimtab

    rig = await make_rig()
    await rig.wired.aclose()
    feed = rig.chain.token("WETH").feed
    async with proxies(rig.chain.url) as (good,):
        urls = ["http://xn--a/", good.url]
        network = network_file(tmp_path / "network.toml", urls, rig.chain.market.provider, feed)
        async with trimtab("run", "--json", "--network", network, "--config", tmp_path / "c", "--state", tmp_path / "s",
                           "--rules", rig.trader.rules, "--address", rig.trader.address) as run:  # fmt: skip
            rig.chain.mine()
            await run.said('"event": "block"')
            assert await run.stop() == 0
        assert "Traceback" not in run.text


LOST = ("eth_getTransactionCount", "eth_getTransactionReceipt", "eth_getTransactionByHash")


def deny(proxy: Proxy) -> list[Fault]:
    """A node that says that somebody else has used the nonce, and that it never saw ours."""
    return [proxy.lie(method, answer) for method, answer in zip(LOST, ("0x63", None, None), strict=True)]


async def test_30_one_node_of_two_cannot_make_a_nonce_lost(open_faulty: OpenRig) -> None:
    """A quorum of one, and the first of two nodes lies about nonce and receipts."""
    rig = await open_faulty(providers=2, quorum=1)
    await rig.fall()
    lies = deny(rig.proxies[0])
    rig.clock.advance(2)
    await rig.again()
    await rig.again()
    assert rig.intent_states == [IntentState.MAYBE_SENT]
    assert rig.said.count("seems to be used by another transaction, which is not sure") == 1
    assert rig.wired.engine.executor is not None
    assert rig.wired.engine.executor.halted_accounts() == ()
    assert rig.pooled() == [rig.intent.attempts[0].hash]
    await rig.settle()
    assert rig.firing.state is FiringState.DONE, "the other node's receipt counts"
    for lie in lies:
        lie.lift()
    rig.check()


async def test_30_a_node_that_still_has_ours_contradicts(open_faulty: OpenRig) -> None:
    """Both count the nonce as used, and one has what was signed in its pool."""
    rig = await open_faulty(providers=2, quorum=1)
    await rig.fall()
    for proxy in rig.proxies:
        proxy.lie("eth_getTransactionCount", "0x63")
    for _ in range(3):
        rig.clock.advance(2)
        await rig.again()
    assert rig.intent_states == [IntentState.MAYBE_SENT]
    assert "a node still has the transaction" in rig.said
    for proxy in rig.proxies:
        proxy.heal()
    await rig.settle()
    assert rig.firing.state is FiringState.DONE
    rig.check()


@pytest.mark.parametrize("resumed", [False, True])
async def test_30_what_was_called_lost_and_is_mined_after_all_is_booked(open_faulty: OpenRig, resumed: bool) -> None:
    """The only node lies until the nonce counts as lost; then the transaction is mined, a restart later."""
    rig = await open_faulty()
    await rig.fall()
    lies = deny(rig.proxies[0])
    await rig.again()
    assert rig.intent_states == [IntentState.NONCE_LOST]
    assert rig.firing.state is FiringState.HALTED
    for lie in lies:
        lie.lift()
    if resumed:
        await rig.restart()
        await rig.wired.commands.resume()
    await rig.mine(3)
    (mined,) = rig.on_chain()
    assert rig.intent_states == [IntentState.NONCE_LOST], "final stays final"
    assert mined["hash"] in rig.intent.reason
    receipt = rig.chain.rpc("eth_getTransactionReceipt", mined["hash"])
    paid = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert rig.intent.gas_paid_wei == paid > 0
    assert rig.wired.journal is not None
    day = day_of(int(rig.chain.rpc("eth_getBlockByHash", mined["blockHash"], False)["timestamp"], 16))
    assert rig.wired.journal.spent(SpendKind.GAS, day, "guard") == paid
    assert "after all" in rig.intent.reason
    assert "after all" in rig.firing.reason
    assert rig.said.count("it was mined in block") == 1
    await rig.mine(3)
    assert rig.wired.journal.spent(SpendKind.GAS, day, "guard") == paid, "once"
    rig.check()


def stuck(rig: FaultRig) -> list[str]:
    """What is alerted of defences that cannot go on."""
    found = [one for one in conditions(rig.view).values() if one.key.startswith("stuck/")]
    assert all((one.kind, one.lasts) == (AlertKind.FAILED, True) for one in found)
    assert all(one.text in "\n".join(rig.view.would_stop) for one in found)
    return [one.text for one in found]


async def test_24_a_defence_stuck_at_its_ceiling_is_alerted_until_it_goes_on(open_faulty: OpenRig) -> None:
    """The base fee stays above what the rule allows for many blocks."""
    rig = await open_faulty()
    told: list[Alert] = []
    tracker = Tracker(frozenset(AlertKind), 0)
    rig.wired.engine.subscribe(lambda view: told.extend(tracker.see(view, rig.clock.monotonic())))
    await rig.fall()
    ceiling = rig.intent.fee_ceiling
    for _ in range(12):
        rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(3 * ceiling))
        await rig.mine()
    assert any("at the ceiling of the rule" in text for text in stuck(rig))
    begun = [one for one in told if one.key.startswith("stuck/ceiling/")]
    assert len(begun) == 1
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    await rig.mine()
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    await rig.settle()
    assert rig.firing.state is FiringState.DONE
    assert stuck(rig) == []
    over = [one for one in told if one.kind is AlertKind.ALIVE_AGAIN and "ceiling" in one.key]
    assert len(over) == 1
    rig.check()


async def test_27_a_fee_cap_everywhere_is_alerted_until_a_node_takes_it(open_faulty: OpenRig) -> None:
    rig = await open_faulty()
    rule = GethRules(rig.chain.node.rpc, fee_cap=1).before(rig.proxies[0])
    await rig.fall()
    await rig.mine()
    assert any("above the node's own limit" in text for text in stuck(rig))
    rule.lift()
    await rig.mine()
    assert stuck(rig) == []
    await rig.settle()
    assert rig.firing.state is FiringState.DONE


async def test_48_trouble_with_long_patience_starves_no_receipt_and_no_resend(open_faulty: OpenRig) -> None:
    """HTTP 503 and two minutes of Retry-After on reads alone: what was signed is sent again and followed on."""
    rig = await open_faulty()
    (proxy,) = rig.proxies
    await rig.fall()
    rig.chain.rpc("anvil_dropAllTransactions")
    proxy.http(503, "eth_call", "eth_simulateV1", "eth_feeHistory", retry_after="120")
    await rig.mine()
    assert rig.states == ["failing"]
    assert rig.pooled() == [rig.intent.attempts[0].hash], "it was sent again"
    await rig.mine(3)
    assert rig.intent_states == [IntentState.FINAL_OK]
    assert rig.view.protection is Protection.HELD
    proxy.heal()
    rig.clock.advance(31)
    await rig.mine()
    assert rig.states == ["ok"], "no node is left alone for longer than half a minute"
    rig.check()


async def test_48_a_limit_in_other_words_leaves_reads_to_the_other_node(open_faulty: OpenRig) -> None:
    """A JSON-RPC error of a code of its own: `over rate limit`."""
    rig = await open_faulty(providers=2)
    reads = ("eth_call", "eth_simulateV1", "eth_feeHistory")
    for method in reads:
        rig.proxies[0].refuse(method, "over rate limit", code=-32016)
    await rig.mine(2)
    assert rig.states[0] == "failing"
    assert "asks for fewer requests" in rig.statuses[0].detail
    asked = sum(rig.proxies[0].count(method) for method in reads)
    await rig.mine(4)
    assert sum(rig.proxies[0].count(method) for method in reads) <= asked + 3
    assert rig.view.protection is Protection.ARMED
