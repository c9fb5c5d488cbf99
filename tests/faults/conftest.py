"""The whole-engine rig of the end-to-end tests, and one behind faulty nodes, for the faults that need one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import keystore_file, make_rig, without_helper, world
from tests.support.fault_rig import FaultRig, OpenRig, World, open_rig

__all__ = ["keystore_file", "make_rig", "without_helper", "world"]


@pytest.fixture
async def open_faulty(world: World, tmp_path: Path, warm_signers: None) -> AsyncIterator[OpenRig]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> FaultRig:
            rig = await open_rig(stack, world, tmp_path, **options)
            await rig.arm()
            return rig

        yield make
