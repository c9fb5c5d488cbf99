"""The practice market falls, block by block: who is armed ends at the target, who is not is liquidated."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clock import FakeClock
from tui.config.networks import load_network
from tui.config.paths import resolve_paths
from tui.engine.facade import EngineFacade
from tui.model.intent import FiringState, IntentState
from tui.model.units import WAD
from tui.practice.session import PracticeOptions, PracticeSession
from tui.wiring import Wired, assemble

pytestmark = pytest.mark.node

TARGET = 15 * WAD // 10
BLOCKS = 100
"""At 2 s a block: the calm lead-in, the whole crash of three minutes, and a little after it."""


@pytest.fixture
def crash(tmp_path: Path, artifacts_dir: Path) -> Iterator[PracticeSession]:
    session = PracticeSession(PracticeOptions(tmp_path, artifacts_dir, seed=11, scenario="crash"))
    session.prepare()
    yield session
    session.close()


def _wire(session: PracticeSession, mode: str) -> Wired:
    rules = session.rules_file
    rules.write_text(rules.read_text().replace('mode = "confirm"', f'mode = "{mode}"'))
    return assemble(
        load_network(session.network_file),
        resolve_paths(session.home.directory, session.engine_state),
        accounts=list(session.accounts.values()),
        rules_files=[rules],
        keystores={session.accounts["trader"]: session.keystore},
        labels={address.lower(): name for name, address in session.accounts.items()},
        signing=True,
        clock=FakeClock(time.time()),
    )


async def _head(wired: Wired) -> None:
    block = await wired.chain.heads.poll()
    if block is not None:
        await wired.engine.on_head(block)


def _sent_by(session: PracticeSession, account: str, since: int) -> list[str]:
    """Hashes of all transactions of an account on chain after a block, oldest first."""
    rpc = session.node.rpc
    latest = int(rpc.call("eth_blockNumber"), 16)
    blocks = [rpc.call("eth_getBlockByNumber", hex(number), True) for number in range(since + 1, latest + 1)]
    return [tx["hash"] for block in blocks for tx in block["transactions"] if tx["from"].lower() == account.lower()]


async def test_in_a_crash_the_armed_account_is_defended_and_its_twin_is_liquidated(crash: PracticeSession) -> None:
    wired = _wire(crash, "auto")
    facade: EngineFacade = wired.commands
    trader, twin = crash.accounts["trader"], crash.accounts["twin"]
    try:
        await wired.engine.start()
        await _head(wired)
        await facade.arm("guard", "guard", crash.password_file.read_text().strip())
        opened = wired.engine.snapshot.block.number if wired.engine.snapshot else 0
        liquidated: set[str] = set()
        lowest = None
        for _ in range(BLOCKS):
            liquidated |= {account.lower() for account in crash.world.step().liquidated}
            await _head(wired)
            for view in facade.view.positions:
                health = view.position.health_factor
                if view.position.key.account == trader.lower() and health is not None:
                    lowest = health if lowest is None else min(lowest, health)
        assert twin.lower() in liquidated
        assert trader.lower() not in liquidated
        assert lowest is not None
        assert lowest > 11 * WAD // 10
        assert wired.journal is not None
        firings = wired.journal.firings()
        assert firings
        for firing in firings:
            assert firing.state is FiringState.DONE
            assert firing.health_factor_expected is not None
            assert TARGET <= firing.health_factor_expected <= TARGET * 1001 // 1000
        final = [
            intent.included_hash
            for firing in reversed(firings)
            for intent in firing.intents
            if intent.state is IntentState.FINAL_OK
        ]
        assert final == _sent_by(crash, trader, opened)
    finally:
        await wired.aclose()


async def test_through_the_app_confirmed_by_key(crash: PracticeSession) -> None:
    """The same by hand: arm in the dialog, wait for the question, press y."""
    from tui.screen.app import TrimtabApp

    wired = _wire(crash, "confirm")
    password = crash.password_file.read_text().strip()
    trader = crash.accounts["trader"].lower()

    async def start() -> EngineFacade:
        await wired.engine.start()
        await _head(wired)
        return wired.commands

    app = TrimtabApp(start, network="practice", ticking=False)
    try:
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            await app.workers.wait_for_complete()
            await pilot.press("a")
            await pilot.pause()
            await pilot.press(*"guard", "tab", *(key if key != "-" else "minus" for key in password), "enter")
            await app.workers.wait_for_complete()
            assert app.view.armed_since is not None
            yeses = 0
            liquidated: set[str] = set()
            opened = wired.engine.snapshot.block.number if wired.engine.snapshot else 0
            for _ in range(BLOCKS):
                liquidated |= {account.lower() for account in crash.world.step().liquidated}
                await _head(wired)
                app.show_view(wired.engine.view)
                if app.view.confirmations:
                    await pilot.pause()
                    app.monotonic = _later(app.monotonic)  # the guard against accidental keys has passed
                    await pilot.press("y")
                    await app.workers.wait_for_complete()
                    yeses += 1
            assert yeses >= 1
        assert wired.journal is not None
        firings = wired.journal.firings()
        assert len(firings) == yeses
        for firing in firings:
            assert firing.state is FiringState.DONE
            assert firing.health_factor_expected is not None
            assert TARGET <= firing.health_factor_expected <= TARGET * 1001 // 1000
        final = [intent.included_hash for firing in reversed(firings) for intent in firing.intents]
        assert final == _sent_by(crash, trader, opened)
        assert crash.accounts["twin"].lower() in liquidated
        assert trader not in liquidated
        assert any("LIQUIDATED" in entry.text and "twin" in entry.text for entry in wired.engine.view.activity)
    finally:
        await wired.aclose()


def _later(clock):  # type: ignore[no-untyped-def]
    return lambda: clock() + 5.0


def test_the_practice_rules_are_what_the_app_opens_with(crash: PracticeSession) -> None:
    rules = tomllib.loads(crash.rules_file.read_text())
    assert [rule["name"] for rule in rules["rule"]] == ["guard"]
