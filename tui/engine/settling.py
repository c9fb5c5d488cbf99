"""Whether a mined transaction is final for good: its receipt alone is one node's word, the account's nonce another.

Asked only where a receipt is deep enough to settle on, since what is settled is never looked at again.
"""

from __future__ import annotations

from tui.engine.sending import Teller
from tui.model.block import BlockRef
from tui.model.intent import Intent
from tui.model.text import clean_text
from tui.model.view import Severity
from tui.ports.chain import Broadcaster, Reader, ReadFailed, Receipt


class Settling:
    """One a tracker. `depth` in blocks: from then on an outcome counts as final."""

    def __init__(self, broadcaster: Broadcaster, reader: Reader, teller: Teller, depth: int) -> None:
        self._broadcaster = broadcaster
        self._reader = reader
        self._teller = teller
        self._depth = depth

    async def look(self, intent: Intent, receipt: Receipt, head: BlockRef) -> bool | None:
        """True: it is final. False: most nodes know the block and count the nonce as free there, so that it never was
        mined. None: it is not deep enough, or not sure yet, which is told once as long as it lasts. Raises
        ChainUnreachable.
        """
        number = head.number - self._depth + 1
        if receipt.block_number > number or intent.nonce is None:
            return None
        try:
            block = await self._reader.block_by_number(number)
            if block is None:
                raise ReadFailed(f"block {number} is not to be had")
            mined = await self._broadcaster.is_mined(receipt, intent.account, intent.nonce, block.hash)
        except ReadFailed as error:
            self._say(
                Severity.WARNING,
                intent,
                f"mined as it seems, but not settled, since nodes do not agree on it: {clean_text(str(error), 160)}",
            )
            return None
        if mined:
            self._teller.over("unsettled", intent.id)
        else:
            self._say(
                Severity.ALARM, intent, "a node told of a receipt that is none: it was not mined, and is sent again"
            )
        return mined

    def _say(self, severity: Severity, intent: Intent, what: str) -> None:
        self._teller.say_once(
            severity, f"{intent.words}: {what}", kind="unsettled", about=intent.id, firing_id=intent.firing_id
        )
