"""The whole-engine rig of the end-to-end tests, and one behind faulty nodes, for the faults that need one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import keystore_file, make_rig
from tests.support.fault_rig import FaultRig, OpenRig, World, open_rig, open_world
from tui.practice.node import NodeProgram

__all__ = ["keystore_file", "make_rig"]


@pytest.fixture(scope="module")
def world(
    anvil: NodeProgram, artifact_folders: dict[str, Path], artifacts_dir: Path, tmp_path_factory: Any
) -> Iterator[World]:
    yield from open_world(anvil, artifact_folders, artifacts_dir, tmp_path_factory.mktemp("world"))


@pytest.fixture
async def open_faulty(world: World, tmp_path: Path, warm_signers: None) -> AsyncIterator[OpenRig]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> FaultRig:
            rig = await open_rig(stack, world, tmp_path, **options)
            await rig.arm()
            return rig

        yield make
