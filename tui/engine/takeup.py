"""What an earlier run left is taken up once the chain answers; until then nothing is signed and nothing sent.

A machine may be up before its network: what could not be done at the start is tried again at every head.
"""

from __future__ import annotations

from tui.engine.executor import Executor
from tui.ports.chain import ChainUnreachable, Reader, ReadFailed
from tui.ports.journal import Journal, JournalError


class TakeUp:
    """One an engine that may sign. `why` says why it has not been done, None once it was."""

    def __init__(self, executor: Executor, journal: Journal, reader: Reader, chain_id: int) -> None:
        self._executor = executor
        self._journal = journal
        self._reader = reader
        self._chain_id = chain_id
        self.why: str | None = "what an earlier run left has not been taken up yet"

    async def do(self) -> None:
        """Do it where it was not done. What needs no chain is done at once; nothing goes out before the record is known
        to be of this very chain. Raises ChainUnreachable, ReadFailed, JournalError.
        """
        if self.why is None:
            return
        try:
            self._executor.put_back(restarted=True)
            genesis = await self._reader.block_by_number(0)
            if genesis is not None:
                self._journal.bind_chain(self._chain_id, genesis.hash)
            await self._executor.recover()
        except (ChainUnreachable, ReadFailed, JournalError) as error:
            self.why = f"what an earlier run left has not been taken up yet: {error}"
            raise
        self.why = None
