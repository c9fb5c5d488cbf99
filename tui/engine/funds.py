"""What is signed and cannot be paid for: what of it goes out all the same, and who is told how much to add.

All attempts share a nonce, so any of them may be mined. A raised one that the account cannot pay for must not keep an
older one, that it can, from the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

from tui.engine.gas_money import GasMoney, read_gas_money
from tui.engine.lifecycle import is_cancelling
from tui.engine.sending import Sender, Teller, is_unpaid
from tui.model.block import BlockRef
from tui.model.intent import Attempt, AttemptKind, Intent
from tui.model.text import short_address
from tui.model.units import format_units
from tui.model.view import Severity
from tui.ports.chain import Broadcaster, SendOutcome
from tui.ports.journal import Journal

SHORT = "short-of-gas"
"""The kind of what is said while gas money is missing."""
_TOLD_IN = 10**12
"""Wei are told in millionths of a coin, and what has to be added is never told as less than it is."""


class Funds:
    """Knows which attempts nodes refused for want of money, as long as this process lives."""

    def __init__(self, journal: Journal, sender: Sender, broadcaster: Broadcaster, teller: Teller) -> None:
        self._journal = journal
        self._sender = sender
        self._broadcaster = broadcaster
        self._teller = teller
        self._unpaid: dict[str, str] = {}
        self._short: set[str] = set()
        self._told: dict[str, int | None] = {}

    def is_unpaid(self, intent: Intent) -> bool:
        """Whether nodes refused its newest attempt, when it was handed out last, because nobody can pay for it."""
        return bool(intent.attempts) and self._unpaid.get(intent.id) == intent.attempts[-1].hash

    def is_short(self, intent: Intent) -> bool:
        """Whether it was not raised, or by too little, at the last look, because there was no money for more."""
        return intent.id in self._short

    async def affordable(self, intent: Intent) -> int | None:
        """Wei a unit of gas that its account can pay for its next attempt; None where that cannot be read."""
        money = await read_gas_money(self._journal, self._broadcaster, intent)
        return None if money is None else money.affordable(intent)

    async def sent(self, intent: Intent, attempt: Attempt, outcomes: Sequence[SendOutcome], head: BlockRef) -> None:
        """What nodes said of its newest attempt. Where nobody can pay for that, the older ones go out again, the
        dearest first, until a node has one; of a nonce that is being cancelled only no-ops.
        """
        if not is_unpaid(outcomes):
            if self._unpaid.pop(intent.id, None) is not None:
                self.over(intent)
            return
        self._unpaid[intent.id] = attempt.hash
        older = [one for one in intent.attempts if one.number < attempt.number]
        if is_cancelling(intent):
            older = [one for one in older if one.kind is AttemptKind.CANCEL]
        for one in reversed(older):
            told = await self._sender.send(intent.id, one, quietly=True)
            if told and not is_unpaid(told):
                break
        await self.tell_short(intent, head)

    async def tell_short(self, intent: Intent, head: BlockRef) -> None:
        """That the account has too little: once for all that it has under way, and again where what it has changed."""
        self._short.add(intent.id)
        money = await read_gas_money(self._journal, self._broadcaster, intent)
        about = self._already_told(intent, money)
        balance = None if money is None else money.balance
        if self._teller.standing(SHORT, about) is not None and self._told.get(about) == balance:
            return
        self._told[about] = balance
        self._teller.say_once(
            Severity.ALARM, _short_words(intent, money, head), kind=SHORT, about=about, firing_id=intent.firing_id
        )

    def over(self, intent: Intent) -> None:
        """It is paid for again."""
        self._short.discard(intent.id)
        self._told.pop(intent.id, None)
        self._teller.over(SHORT, intent.id)

    def _already_told(self, intent: Intent, money: GasMoney | None) -> str:
        """The transaction of the same account that it was told of already, or this one."""
        for one in () if money is None else money.waiting:
            if self._teller.standing(SHORT, one.id) is not None:
                return one.id
        return intent.id


def _short_words(intent: Intent, money: GasMoney | None, head: BlockRef) -> str:
    account = short_address(intent.account)
    if money is None:
        return f"{intent.words}: nodes say that {account} cannot pay for its gas; add native coin to it"
    has = f"{account} has {format_units(money.balance, 18, 6)} of the native coin for gas"
    missing = money.missing(head)
    if not missing:
        return f"{intent.words}: waits, and nodes say that it cannot be paid for: {has}; add some"
    return (
        f"{intent.words}: waits, and its fee cannot be raised for want of money: {has}; add {_told(missing)} at least "
        f"({_told(money.missing_at_most)} is the most that it may need), and it is raised at the next block; what can "
        "be paid for is sent again meanwhile"
    )


def _told(wei: int) -> str:
    return format_units(-(-wei // _TOLD_IN) * _TOLD_IN, 18, 6)
