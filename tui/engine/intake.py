"""Taking a block in: whose wallets are read, what the block says of everything watched, and what is kept of it.

What was sent is followed meanwhile. Never judges: that begins when a block is taken in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from tui.engine.executor import Executor
from tui.engine.history import History
from tui.engine.rulebook import RuleBook
from tui.engine.watch import Watch, without_permits
from tui.model.block import BlockRef
from tui.model.plan import FeeQuote
from tui.model.rule import Mode
from tui.model.snapshot import Snapshot
from tui.ports.chain import ChainUnreachable, Fees, ReadFailed
from tui.ports.clock import Clock
from tui.ports.journal import HealthPoint, Journal


class Intake:
    """`accounts` are watched, and `own` are those whose key files are here. `executor` None: nothing was ever sent.
    `journal` None: another engine keeps the record.
    """

    def __init__(
        self,
        watch: Watch,
        fees: Fees,
        executor: Executor | None,
        journal: Journal | None,
        rulebook: RuleBook,
        history: History,
        clock: Clock,
        accounts: Sequence[str],
        own: Collection[str],
    ) -> None:
        self._watch = watch
        self._fees = fees
        self._executor = executor
        self._journal = journal
        self._book = rulebook
        self._history = history
        self._clock = clock
        self._accounts = accounts
        self._own = own

    async def read(self, block: BlockRef) -> tuple[Snapshot, FeeQuote | None]:
        """Everything watched at a block, and its fees; None where those could not be read. What was sent is followed.

        Raises ChainUnreachable, ReadFailed, JournalError.
        """
        self._watch.defend(self._defended())
        reading = asyncio.gather(self._watch.snapshot(block), self._quote(block), return_exceptions=True)
        if self._executor is not None:
            await self._executor.on_head(block)
        snapshot, fees = await reading
        if isinstance(snapshot, BaseException):
            raise snapshot
        return without_permits(snapshot, self._clock.now()), fees if isinstance(fees, FeeQuote) else None

    def keep(self, snapshot: Snapshot, block: BlockRef) -> None:
        """Health and prices for what is shown of the past. Raises JournalError."""
        self._history.see(snapshot)
        if self._journal is not None:
            self._journal.record_health(
                [
                    HealthPoint(position.id, block.timestamp, position.health_factor)
                    for position in snapshot.positions
                    if position.unknown is None
                ]
            )

    async def _quote(self, block: BlockRef) -> FeeQuote | None:
        try:
            return await self._fees.quote(block)
        except (ChainUnreachable, ReadFailed):
            return None

    def _defended(self) -> Sequence[str]:
        """Accounts whose wallets are read: own ones, those that a rule which would act watches, and those that pay."""
        acting = [rule for rule in self._book.rules if rule.mode is not Mode.NOTIFY]
        named = _named_accounts([rule.position for rule in acting], self._accounts)
        paying = (wallet for rule in acting for wallet in rule.wallets)
        return tuple(dict.fromkeys((*self._own, *named, *paying)))


def _named_accounts(patterns: Sequence[str], accounts: Sequence[str]) -> Sequence[str]:
    """Of `accounts`, those that a rule names one by one. Rules for whole markets act for own accounts only."""
    return [account for account in accounts if any(pattern.endswith(f"/{account}") for pattern in patterns)]
