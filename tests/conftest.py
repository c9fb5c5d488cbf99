"""Shared fixtures: the contract artifacts, and real local markets that each test gets back as it found them.

Under xdist every worker starts nodes of its own; the artifacts and the deployed states are cached between runs.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from hypothesis import settings

from tests.support.chain import Chain
from tests.support.warm_program import ProgramNursery
from tests.support.warm_signer import Nursery
from tui.practice.artifacts import fetch
from tui.practice.market import AaveVersion
from tui.practice.node import NodeKind, NodeProgram, find_program, pyevm_program
from tui.practice.packages import AAVE_V30, CONTRACTS
from tui.practice.state import start_market

# Rewriting the assertions of all tests takes a worker ten seconds: kept for the next one, also where Python was told to
# write no bytecode.
sys.dont_write_bytecode = False

# A shell that starts the tests in the background has interrupts ignored, which every process of ours would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes says more about the machine than about the code.
settings.register_profile("trimtab", deadline=None)
settings.load_profile("trimtab")


_LONG = ("faults", "e2e", "screen", "soak", "headless", "vault", "practice", "protocols", "contracts", "engine")
"""Folders whose files take longest: they come first, so that no worker is left alone with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(places)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What thousands of tests import lives to the end: looking for garbage among it is a twelfth of the work."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def artifacts_dir() -> Path:
    """The cache of fetched artifacts and deployed states."""
    chosen = os.environ.get("TRIMTAB_TEST_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("trimtab") / "practice"


@pytest.fixture(scope="session")
def artifact_folders(artifacts_dir: Path) -> dict[str, Path]:
    """Label of each contract package to its checked folder."""
    return fetch((CONTRACTS, AAVE_V30), artifacts_dir)


@pytest.fixture(scope="session")
def anvil(artifacts_dir: Path) -> NodeProgram:
    """An anvil that can be started."""
    return find_program(NodeKind.ANVIL, artifacts_dir)


def _chain(
    program: NodeProgram, version: AaveVersion, folders: dict[str, Path], artifacts_dir: Path
) -> Iterator[Chain]:
    node, market = start_market(program, version, folders, artifacts_dir)
    yield Chain(node, market)
    node.stop()


@pytest.fixture(scope="session")
def anvil_v32(anvil: NodeProgram, artifact_folders: dict[str, Path], artifacts_dir: Path) -> Iterator[Chain]:
    """Aave V3.2 on anvil, for the whole session: only for tests that change nothing."""
    yield from _chain(anvil, AaveVersion.V3_2, artifact_folders, artifacts_dir)


@pytest.fixture(scope="session")
def anvil_v30(anvil: NodeProgram, artifact_folders: dict[str, Path], artifacts_dir: Path) -> Iterator[Chain]:
    """Aave V3.0 on anvil, for the whole session: only for tests that change nothing."""
    yield from _chain(anvil, AaveVersion.V3_0, artifact_folders, artifacts_dir)


@pytest.fixture(scope="session")
def pyevm_v32(artifact_folders: dict[str, Path], artifacts_dir: Path) -> Iterator[Chain]:
    """Aave V3.2 on the Python node, for the whole session: only for tests that change nothing."""
    yield from _chain(pyevm_program(), AaveVersion.V3_2, artifact_folders, artifacts_dir)


def _restored(chain: Chain) -> Iterator[Chain]:
    snapshot = chain.snapshot()
    yield chain
    chain.revert(snapshot)


@pytest.fixture
def market_v32(anvil_v32: Chain) -> Iterator[Chain]:
    """Aave V3.2 on anvil, put back after the test."""
    yield from _restored(anvil_v32)


@pytest.fixture
def market_v30(anvil_v30: Chain) -> Iterator[Chain]:
    """Aave V3.0 on anvil, put back after the test."""
    yield from _restored(anvil_v30)


@pytest.fixture(params=["v3.2", "v3.0"])
def market(request: pytest.FixtureRequest) -> Iterator[Chain]:
    """Both Aave versions on anvil in turn, put back after the test."""
    yield from _restored(request.getfixturevalue("anvil_v32" if request.param == "v3.2" else "anvil_v30"))


@pytest.fixture
def pyevm_market(pyevm_v32: Chain) -> Iterator[Chain]:
    """Aave V3.2 on the Python node, put back after the test."""
    yield from _restored(pyevm_v32)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A process that forks signers."""
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def warm_signers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signers of this process come from the nursery, unless the test is about how they come to be and end."""
    if request.node.get_closest_marker("cold_signer") is None:
        nursery = request.getfixturevalue("nursery")
        monkeypatch.setattr("tui.vault.client.start_signer", nursery.start_signer)


@pytest.fixture(scope="session")
def program_nursery() -> Iterator[ProgramNursery]:
    """A process that forks programs."""
    made = ProgramNursery()
    yield made
    made.close()


@pytest.fixture
def warm_programs(program_nursery: ProgramNursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs on pipes come from the nursery: for tests that are not about how one starts."""
    monkeypatch.setattr("tests.support.program._start", program_nursery.start)
