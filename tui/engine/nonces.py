"""Which nonces a plan may use: none beside another plan, none where chain and record do not explain each other."""

from __future__ import annotations

from collections.abc import Sequence

from tui.engine.intents import left_authorization
from tui.engine.sending import Teller
from tui.model.intent import Firing, FiringState
from tui.model.text import short_address
from tui.model.view import Severity
from tui.ports.chain import Broadcaster
from tui.ports.clock import Clock
from tui.ports.journal import Journal


def other_plan_lives(journal: Journal, firing: Firing, accounts: Sequence[str]) -> str | None:
    """An account that this plan needs for itself and another one has in use: one that signs for both, or that of
    the position of both. None where there is none.
    """
    for intent in journal.unsettled(firing.chain_id):
        if intent.account in accounts:
            return intent.account
    for other in journal.open_firings(firing.chain_id):
        if other.id != firing.id and other.account == firing.account and other.state is FiringState.RUNNING:
            return other.account
    return None


async def first_nonce(
    journal: Journal,
    broadcaster: Broadcaster,
    teller: Teller,
    clock: Clock,
    chain_id: int,
    account: str,
    mined: int | None,
) -> int | str:
    """The nonce to begin at, or why none may be used now; the account is then halted, where it was used from elsewhere.
    Raises ChainUnreachable, ReadFailed, JournalError.

    No plan of the account is under way here, so every nonce this record explains is final: a chain that counts
    more was used from elsewhere, one that counts fewer is behind or was taken back, and a gap would never be mined.
    """
    if mined is None:
        mined = await broadcaster.nonce(account)
    known = journal.next_nonce(chain_id, account)
    if known is None or mined == known:
        return mined
    counts = f"the chain counts {mined} transactions of {short_address(account)}, this journal explains {known}"
    if mined < known:
        return f"{counts}: the node is behind, or a reorg deeper than what counts as final took some back"
    reason = f"{counts}: the key was used elsewhere, or the journal is an old copy"
    if mined == known + 1 and left_authorization(journal.signed_firings(chain_id), account, mined - 2):
        reason = (
            f"{counts}: the delegation that was cancelled there may have been put on the chain by somebody who saw "
            "it, or the key was used elsewhere (`trimtab helper show` tells what the account is delegated to)"
        )
    journal.halt(chain_id, account, reason, clock.now())
    teller.say(Severity.ALARM, f"{reason}; nothing is signed until you resume it", kind="halted")
    return reason
