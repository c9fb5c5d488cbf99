"""What the engine reads of its own record: spent today, fired of late, whom nothing may be signed for, what is shown.

Only reads. Where the record fails that is told to `failed`, where it is to hold the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from tui.engine.budget import day_of
from tui.engine.further import SPAN, was_undone
from tui.engine.history import shown_firings
from tui.engine.intents import is_stuck, stuck_words
from tui.model.intent import Firing, Intent, IntentState
from tui.model.outcome import Row
from tui.model.rule import Rule
from tui.model.text import short_address
from tui.model.wallet import Allowance
from tui.ports.journal import JournalError, JournalReader, SpendKind
from tui.protocols.erc20 import APPROVE

MOST_OF_LATE = 50
"""So many of our own firings are looked at where a position shrank."""


APPROVE_BYTES = 4 + 2 * 32
"""Calldata of an approval: the selector, who may take, how much."""
MOST_OUTCOMES = 200
"""So many of our own firings are held against what was expected of them."""


class Recorded:
    """`record` None: nothing is recorded, so nothing was spent and nobody is barred."""

    def __init__(self, record: JournalReader | None, chain_id: int, failed: Callable[[JournalError], None]) -> None:
        self._record = record
        self._chain_id = chain_id
        self._failed = failed

    def spent_today(self, rule: str, timestamp: int) -> int:
        """Dollars (8 decimals) a rule has moved on the UTC day of a block's timestamp, gas included."""
        if self._record is None:
            return 0
        day = day_of(timestamp)
        return sum(self._record.spent(kind, day, rule) for kind in (SpendKind.USD, SpendKind.GAS_USD))

    def firings_of_late(self) -> Sequence[Firing]:
        """Our own firings that signed something, the newest first."""
        record = self._record
        return () if record is None else record.signed_firings(self._chain_id, limit=MOST_OF_LATE)

    def reverted(self, timestamp: int) -> tuple[tuple[Intent, int], ...]:
        """Our own transactions that the chain refused within `SPAN` before a block's timestamp, the newest first, each
        with that of the block it was decided at. None where the record fails: that holds the engine by itself.
        """
        return tuple(
            (intent, firing.block_timestamp)
            for firing in self._within_span(timestamp)
            for intent in firing.intents
            if intent.state is IntentState.FINAL_REVERTED
        )

    def was_undone(self, rule: Rule, position: str, timestamp: int) -> bool:
        """Whether the chain refused a transaction of a rule's last firing on a position (its id) that is over, within
        `SPAN` before a block's timestamp. False where the record fails: that holds the engine by itself.
        """
        return was_undone(rule, position, self._within_span(timestamp))

    def _within_span(self, timestamp: int) -> Sequence[Firing]:
        """Our own firings within `SPAN` before a block's timestamp that signed something, the newest first; none where
        the record fails.
        """
        if self._record is None:
            return ()
        try:
            return self._record.signed_firings(self._chain_id, timestamp - SPAN)
        except JournalError:
            return ()

    def outcomes(self) -> tuple[Row, ...]:
        """What was expected of our latest firings that signed something, and what came of them, oldest first. Raises
        JournalError.
        """
        if self._record is None:
            return ()
        rows = self._record.outcomes(MOST_OUTCOMES)
        return tuple(row for row in rows if row[0].chain_id == self._chain_id)

    def given_by_us(self, standing: Collection[Allowance]) -> frozenset[Allowance]:
        """Which of the allowances that stand are what our own firings of late approved, to the unit: what was to use
        them was undone. None where the record fails.
        """
        if not standing:
            return frozenset()
        try:
            firings = self.firings_of_late()
        except JournalError:
            return frozenset()
        approved = {one for firing in firings for intent in firing.intents if (one := _approval(intent)) is not None}
        return frozenset(one for one in standing if one in approved)

    def barred(self) -> Mapping[str, str]:
        """Accounts for which nothing may be signed until a person has looked, and why. Where the record fails nobody
        is: that holds the engine by itself.
        """
        if self._record is None:
            return {}
        chain_id = self._chain_id
        try:
            halted = self._record.halted_accounts(chain_id)
            stuck = [one for one in self._record.unsettled(chain_id) if is_stuck(one)]
        except JournalError:
            return {}
        found = {one.account: stuck_words(one).rstrip(".") for one in stuck}
        return found | {account: f"account {short_address(account)} is halted: {why}" for account, why in halted}

    def shown(
        self, timestamp: int, rules: Iterable[Rule]
    ) -> tuple[tuple[Firing, ...], dict[str, int], dict[str, str], tuple[Intent, ...]]:
        """Recent firings, dollars spent today by rule, halted accounts, transactions that the kill switch left stuck.
        Nothing of it where the record fails.
        """
        record = self._record
        if record is None:
            return (), {}, {}, ()
        try:
            return (
                shown_firings(record, self._chain_id),
                {rule.name: self.spent_today(rule.name, timestamp) for rule in rules},
                dict(record.halted_accounts(self._chain_id)),
                tuple(one for one in record.unsettled(self._chain_id) if is_stuck(one)),
            )
        except JournalError as error:
            self._failed(error)
            return (), {}, {}, ()


def _approval(intent: Intent) -> Allowance | None:
    """What an intent approves, if that is what it does."""
    data = intent.data
    if data[:4] != APPROVE or len(data) != APPROVE_BYTES:
        return None
    spender, amount = "0x" + data[16:36].hex(), int.from_bytes(data[36:68], "big")
    return Allowance(intent.account.lower(), intent.to.lower(), spender, amount)
