"""The block that a command looks at: the first one in reasonable time, the ones after it whenever they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tui.headless.output import talk
from tui.model.block import BlockRef
from tui.ports.chain import ProviderStatus, Reader

FIRST_BLOCK_SECONDS = 20.0
HOPELESS_SECONDS = 4
"""A node that only fails for so long will not answer a command that somebody waits for."""
_HOPELESS = ("failing", "wrong-chain", "lying")


async def first_head(heads: AsyncIterator[BlockRef], reader: Reader) -> BlockRef:
    """The next head. Raises TimeoutError after `FIRST_BLOCK_SECONDS`, or sooner where every node only ever fails."""
    waiting = asyncio.ensure_future(anext(heads))
    try:
        for second in range(round(FIRST_BLOCK_SECONDS)):
            done, _ = await asyncio.wait((waiting,), timeout=1.0)
            if done:
                return waiting.result()
            if second + 1 >= HOPELESS_SECONDS and all(
                one.state in _HOPELESS for one in reader.providers() if one.role == "node"
            ):
                break
        raise TimeoutError
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def next_head(heads: AsyncIterator[BlockRef], reader: Reader, patience: float) -> BlockRef:
    """The head after one that was seen, however long it takes: a slot is missed, a node is started again. What is
    shown grows old meanwhile: that is said once there was none for `patience` seconds.
    """
    waiting = asyncio.ensure_future(anext(heads))
    try:
        done, _ = await asyncio.wait((waiting,), timeout=patience)
        if not done:
            talk(f"trimtab: no new block for {patience:.0f} s: {states_of(reader)}; it goes on with the next one")
        return await waiting
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


def states_of(reader: Reader) -> str:
    """What became of every node, in one line."""
    return "; ".join(_told(one) for one in reader.providers())


def _told(one: ProviderStatus) -> str:
    """`http://node: failing, cannot be reached`: what went wrong often begins with the node's name itself."""
    detail = one.detail.removeprefix(one.url).lstrip(" :")
    return f"{one.url}: {one.state}, {detail}" if detail else f"{one.url}: {one.state}"
