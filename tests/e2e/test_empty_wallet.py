"""Nothing in the wallet but gas money, and a crash: selling collateral for debt alone saves the position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.empty_wallet import run
from tui.model.units import WAD
from tui.practice.session import PracticeOptions, PracticeSession

pytestmark = pytest.mark.node


@pytest.fixture
def crash(tmp_path: Path, artifacts_dir: Path) -> Iterator[PracticeSession]:
    session = PracticeSession(PracticeOptions(tmp_path, artifacts_dir, seed=3, scenario="crash"))
    session.prepare()
    yield session
    session.close()


async def test_deleverage_alone_saves_what_its_twin_loses(crash: PracticeSession) -> None:
    outcome = await run(crash, "crash")
    assert outcome.twin_liquidated
    assert not outcome.armed_liquidated
    assert outcome.done == outcome.firings >= 2
    assert outcome.lowest is not None
    assert outcome.lowest > 115 * WAD // 100
    # What sales and gas took is a small part of what liquidators took from the twin.
    assert outcome.ratio is not None
    assert 0 < outcome.ratio < 0.1
    assert outcome.armed_gas > 0
