"""`--watch` outlasts a chain that stands still: slots are missed, and nodes are started again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.firings import BLOCK
from tui.headless.next_block import next_head
from tui.model.block import BlockRef

READER: Any = SimpleNamespace(
    providers=lambda: (
        SimpleNamespace(url="http://node", state="failing", detail="http://node cannot be reached", role="node"),
    )
)


async def heads(mined: asyncio.Event) -> AsyncIterator[BlockRef]:
    """Blocks, each as soon as it is mined."""
    while True:
        await mined.wait()
        mined.clear()
        yield BLOCK


async def test_a_silent_chain_is_told_once_and_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    mined = asyncio.Event()
    blocks = heads(mined)
    for _ in range(2):  # the second time: what waited has not ended the stream of blocks
        waiting = asyncio.ensure_future(next_head(blocks, READER, 0.0))
        told = ""
        while not told:
            await asyncio.sleep(0)
            told = capsys.readouterr().err
        assert told == (
            "trimtab: no new block for 0 s: http://node: failing, cannot be reached; it goes on with the next one\n"
        )
        assert not waiting.done()
        mined.set()
        assert await waiting is BLOCK
        assert capsys.readouterr().err == ""


async def test_a_block_in_time_is_given_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    mined = asyncio.Event()
    mined.set()
    assert await next_head(heads(mined), READER, 60.0) is BLOCK
    assert capsys.readouterr().err == ""
