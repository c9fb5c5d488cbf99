"""A short kill soak; `python -m tests.soak.kill_nine` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.bare_core import season
from tests.soak.whole_run import kill_again_and_again
from tests.support.fault_rig import World
from tui.journal.store import SqliteJournal


@pytest.mark.parametrize("seed", [1, 2])
def test_the_bare_core_fires_nothing_twice_and_loses_nothing(tmp_path: Path, seed: int) -> None:
    tally = season(tmp_path, seed, 15)
    assert tally.faults == []
    assert (tally.kills, tally.double, tally.lost, tally.payloads) == (15, 0, 0, 1)
    assert tally.signatures >= tally.intents > 0


def test_a_core_that_forgets_whom_it_asked_is_found_out(tmp_path: Path) -> None:
    """The control: without the note that the signer is asked, a kill in between signs a nonce for two meanings."""

    def forgetful(journal: SqliteJournal) -> None:
        journal.begin_signing = lambda firing_id: None  # type: ignore[method-assign]

    tally = season(tmp_path, 1, 25, forgetful)
    assert tally.double > 0
    assert tally.payloads > 1


@pytest.mark.node
async def test_the_real_program_fires_nothing_twice_and_loses_nothing(world: World, tmp_path: Path) -> None:
    tally = await kill_again_and_again(world, tmp_path, 3, 1, longest=4)
    assert tally.faults == []
    assert (tally.kills, tally.double, tally.lost, tally.payloads) == (3, 0, 0, 1)
    assert tally.intents > 0
