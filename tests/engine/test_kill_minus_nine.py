"""kill -9 of a real engine, again and again: no nonce ever has two payloads, and nothing is lost.

Half of the kills come from outside at a random moment, half from inside just before or after a chosen step.
TRIMTAB_KILLS makes it longer.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.firings import CHAIN_ID
from tests.support.keeper import NETWORK
from tests.support.memory_chain import decode
from tui.journal.reading import read_journal
from tui.model.intent import FiringState, IntentState

KILLS = int(os.environ.get("TRIMTAB_KILLS", "30"))
ROOT = Path(__file__).resolve().parents[2]


def live(state: Path, kill_at: int, firings: int, seconds: float | None) -> int:
    """One life of an engine; its exit code."""
    command = [sys.executable, "-m", "tests.support.keeper", str(state), str(kill_at), str(firings)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        if seconds is not None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=seconds)
            child.kill()
        return child.wait(timeout=60)


def test_no_nonce_has_two_payloads_and_nothing_is_lost(tmp_path: Path) -> None:
    state = tmp_path / "state"
    chance = random.Random(os.environ.get("TRIMTAB_KILL_SEED", "1"))
    for number in range(KILLS):
        if number % 2:
            code = live(state, 0, -1, chance.uniform(0.0, 0.2))
        else:
            code = live(state, chance.randint(1, 160), -1, None)
        assert code == -9
    assert live(state, 0, 1, None) == 0

    sent = [decode(line) for line in (state / NETWORK).read_bytes().splitlines()]
    payloads: dict[int, set[bytes]] = {}
    for tx in sent:
        payloads.setdefault(tx.nonce, set()).add(tx.data)
    doubled = [nonce for nonce, found in payloads.items() if len(found) > 1]
    assert doubled == []
    assert sorted(payloads) == list(range(len(payloads)))

    journal = read_journal(state)
    firings = journal.firings(10**9)
    journal.close()
    assert [firing.state for firing in firings] == [FiringState.DONE] * len(firings)
    assert sorted(int(firing.episode) for firing in firings) == list(range(len(firings)))
    intents = [one for firing in firings for one in firing.intents if one.state is not IntentState.DROPPED]
    assert all(one.state is IntentState.FINAL_OK and one.chain_id == CHAIN_ID for one in intents)
    assert {one.nonce: one.data for one in intents} == {nonce: next(iter(found)) for nonce, found in payloads.items()}
    assert len(payloads) == 2 * len(firings)
    assert {tx.hash for tx in sent} <= {attempt.hash for one in intents for attempt in one.attempts}
    print(f"{KILLS} kills, {len(firings)} firings, {len(payloads)} nonces, {len(sent)} sends: 0 doubled, 0 lost")
