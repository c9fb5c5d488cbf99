"""The money that an account has for the gas of what it signed, and what of it is missing.

What a rollup charges for data is not known here: nodes that refuse a transaction for it are believed (`Sight.unpaid`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.engine.lifecycle import is_cancelling
from tui.engine.sending import CANCEL_GAS, no_op_gas
from tui.model.block import BlockRef
from tui.model.fees import bump, highest_next_base_fee
from tui.model.intent import Intent, IntentState
from tui.ports.chain import Broadcaster, ChainUnreachable, ReadFailed
from tui.ports.journal import Journal

_WAITING = (IntentState.SIGNED, IntentState.MAYBE_SENT, IntentState.CANCELLING)


@dataclass(frozen=True, slots=True)
class GasMoney:
    """An account's native coin (wei) and what it has signed that is not mined, by nonce. `no_op` is the gas limit of a
    transfer of nothing to oneself.

    Nodes count what waits of one account together, so what one transaction may offer is what all others leave.
    """

    account: str
    balance: int
    waiting: tuple[Intent, ...]
    no_op: int

    def cost(self, intent: Intent, max_fee: int) -> int:
        """Wei that have to be there for it at `max_fee` a unit of gas."""
        if is_cancelling(intent):
            return self.no_op * max_fee
        return intent.gas_limit * max_fee + intent.value

    def affordable(self, intent: Intent, *, cancel: bool = False) -> int:
        """The most wei a unit of gas that the next attempt of `intent`, or its `cancel`, can be paid at."""
        others = sum(self.cost(one, one.attempts[-1].max_fee) for one in self.waiting if one.id != intent.id)
        no_op = cancel or is_cancelling(intent)
        left = self.balance - others - (0 if no_op else intent.value)
        return max(left, 0) // max(self.no_op if no_op else intent.gas_limit, 1)

    def missing(self, head: BlockRef) -> int:
        """Wei that have to be added for all that waits to be raised as the blocks after `head` may need it; 0 where
        there is enough.
        """
        return max(sum(self.cost(one, _wanted_fee(one, head)) for one in self.waiting) - self.balance, 0)

    @property
    def missing_at_most(self) -> int:
        """The same for the most that their rules let any attempt pay."""
        return max(sum(self.cost(one, one.fee_ceiling) for one in self.waiting) - self.balance, 0)


def _wanted_fee(intent: Intent, head: BlockRef) -> int:
    """The cap that an attempt signed now would have."""
    latest = intent.attempts[-1]
    fees = bump(latest.max_fee, latest.priority_fee, intent.fee_ceiling, highest_next_base_fee(head.base_fee))
    return latest.max_fee if fees is None else fees[0]


async def read_gas_money(
    journal: Journal, broadcaster: Broadcaster, intent: Intent, *, cancel: bool = False
) -> GasMoney | None:
    """What the account of `intent` has now; None where it cannot be read: that is not nothing. `cancel`: a no-op is to
    be paid.
    """
    account = intent.account
    try:
        balance = await broadcaster.balance(account)
    except (ChainUnreachable, ReadFailed):
        return None
    unsettled = journal.unsettled(intent.chain_id)
    waiting = tuple(one for one in unsettled if one.account == account and _goes_out(one))
    cancel = cancel or any(map(is_cancelling, waiting))
    no_op = no_op_gas(await broadcaster.transfer_gas(account)) if cancel else CANCEL_GAS
    return GasMoney(account, balance, waiting, no_op)


async def affordable_together(journal: Journal, broadcaster: Broadcaster, unsigned: Sequence[Intent]) -> int | None:
    """The most wei a unit of gas that all of `unsigned` can be signed at by who signs each; None where that cannot be
    read of anybody.
    """
    found: list[int] = []
    for account in dict.fromkeys(one.account for one in unsigned):
        own = [one for one in unsigned if one.account == account]
        money = await read_gas_money(journal, broadcaster, own[0])
        if money is not None:
            left = money.balance - sum(money.cost(one, one.attempts[-1].max_fee) for one in money.waiting)
            left -= sum(one.value for one in own)
            found.append(max(left, 0) // max(sum(one.gas_limit for one in own), 1))
    return min(found, default=None)


def _goes_out(intent: Intent) -> bool:
    """Whether it is signed, not mined, and will be sent (again)."""
    return intent.state in _WAITING and bool(intent.attempts) and (is_cancelling(intent) or not intent.withheld)
