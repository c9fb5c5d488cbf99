"""Taking a transaction back from another process, while the engine runs without a screen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_rig import FaultRig, OpenRig
from tests.support.pool_rules import SEND, hash_of, read_raw
from tests.support.program import run_trimtab
from tests.support.proxy import Row, Told
from tui.engine.handsign import ResumeSign
from tui.model.intent import AttemptKind, IntentState

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("warm_programs")]


async def trimtab(rig: FaultRig, *words: str) -> tuple[int, str, str]:
    """Another process on the same state directory."""
    code, out, err = await run_trimtab(*words, "--state", rig.wired.paths.state)
    assert "Traceback" not in err
    return code, out, err


@asynccontextmanager
async def ticking(rig: FaultRig) -> AsyncIterator[None]:
    """The engine's own second hand, on a clock that runs."""
    sleep = rig.clock.sleep

    async def really(seconds: float) -> None:
        await asyncio.to_thread(lambda: None)
        await sleep(0)

    rig.clock.sleep = really  # type: ignore[method-assign]
    task = asyncio.create_task(rig.wired.engine._tick())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        rig.clock.sleep = sleep  # type: ignore[method-assign]


@pytest.mark.parametrize("poster", [0, 60_000])
async def test_a_no_op_brings_the_gas_that_the_chain_asks_for_beside_its_own(open_faulty: OpenRig, poster: int) -> None:
    """A chain that adds what layer 1 asks for to what every transaction must bring, and refuses what brings less."""
    rig = await open_faulty()
    proxy = rig.proxies[0]
    rig.chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))

    def too_little(params: list[Any]) -> Row | None:
        gas = read_raw(params[0]).gas
        return None if gas >= 21_000 + poster else {"error": {"code": -32000, "message": "intrinsic gas too low"}}

    proxy.lie("eth_estimateGas", lambda params, told: hex(int(told, 16) + poster))
    proxy.add(Told(frozenset((SEND,)), instead=too_little))
    await rig.fall()
    rig.chain.rpc("anvil_dropAllTransactions")
    await rig.cancel()
    no_op = rig.intent.attempts[-1]
    assert no_op.kind is AttemptKind.CANCEL
    assert read_raw("0x" + no_op.raw.hex()).gas == 21_000 + 2 * poster
    assert no_op.answer is not None
    assert no_op.answer.startswith("accepted")
    await rig.settle()
    assert rig.intent_states == [IntentState.FINAL_CANCELLED]
    rig.check()


async def test_another_process_cancels_through_the_engine_that_runs(open_faulty: OpenRig) -> None:
    """`trimtab journal` lists the id, `trimtab cancel` asks, the engine signs the no-op, and the chain decides."""
    rig = await open_faulty()
    rig.proxies[0].swallow(SEND, hash_of, times=1)  # it never reaches the pool
    await rig.fall()
    intent = rig.intent
    code, listed, _ = await trimtab(rig, "journal")
    assert code == 0
    assert intent.id in listed
    code, listed, _ = await trimtab(rig, "journal", "--json")
    assert intent.id in [one["id"] for row in map(json.loads, listed.splitlines()) for one in row.get("intents", [])]
    async with ticking(rig):
        code, _, said = await trimtab(rig, "cancel", intent.id)
    assert (code, rig.intent.attempts[-1].kind) == (0, AttemptKind.CANCEL), said
    assert "its no-op is signed and on its way" in said
    assert not ResumeSign(rig.wired.paths.state).has_cancel(intent.id)
    code, _, said = await trimtab(rig, "cancel", intent.id)
    assert (code, len(rig.intent.attempts)) == (0, 2), "asked again it changes nothing"
    assert "on its way already" in said
    await rig.settle()
    assert rig.intent_states == [IntentState.FINAL_CANCELLED]
    code, _, said = await trimtab(rig, "cancel", intent.id)
    assert code == 1
    assert "nothing to cancel" in said
    rig.check()


async def test_what_cannot_be_cancelled_is_said_with_its_reason(open_faulty: OpenRig) -> None:
    """No such transaction; a key that is locked; no engine at all. Nothing is signed for any of them."""
    rig = await open_faulty()
    await rig.fall()
    intent = rig.intent
    code, _, said = await trimtab(rig, "cancel", "f-nobody")
    assert code == 1
    assert intent.id in said, "those under way are listed"
    await rig.wired.commands.disarm("guard", "a person wants it")
    async with ticking(rig):
        code, _, said = await trimtab(rig, "cancel", intent.id)
    assert code == 4, said
    assert f"{intent.id} is not cancelled" in said
    assert len(rig.intent.attempts) == 1
    await rig.wired.aclose()
    code, _, said = await trimtab(rig, "cancel", intent.id)
    assert code == 4
    assert "no engine runs here" in said
    assert not ResumeSign(rig.wired.paths.state).has_cancel(intent.id)


async def test_a_request_that_nobody_took_is_not_carried_out_by_the_next_engine(open_faulty: OpenRig) -> None:
    """The file of a request is left behind; an engine that starts throws it away instead of acting on it."""
    rig = await open_faulty()
    rig.proxies[0].swallow(SEND, hash_of, times=1)
    await rig.fall()
    ResumeSign(rig.wired.paths.state).put_cancel(rig.intent.id)
    await rig.restart()
    assert not ResumeSign(rig.wired.paths.state).has_cancel(rig.intent.id)
    async with ticking(rig):
        await asyncio.to_thread(lambda: None)
    assert [one.kind for one in rig.intent.attempts] == [AttemptKind.ORIGINAL]


def test_names_that_are_no_ids_touch_no_other_file(tmp_path: Path) -> None:
    sign = ResumeSign(tmp_path)
    for name in ("../kill", "a/b", "", "A", "x" * 81, "a\nb"):
        with pytest.raises(ValueError, match="no id"):
            sign.put_cancel(name)
    (tmp_path / "cancel.UPPER").touch()
    assert sign.take_cancels() == ()
    sign.put_cancel("f1-0")
    assert sign.take_cancels() == ("f1-0",)
    assert sign.take_cancels() == ()
