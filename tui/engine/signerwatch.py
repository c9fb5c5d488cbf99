"""Whether a signature can be had: watches the signer between blocks, and counts the times that it gave no answer.

Keeps nothing secret and decides nothing; holding, telling and breaking the circuit is the engine's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from tui.model.signing import (
    PermitRequest,
    PermitSignature,
    SignedTransaction,
    SignerUnavailable,
    TransactionRequest,
)
from tui.ports.clock import Clock
from tui.ports.signer import Signer

LOOK_SECONDS = 5.0
"""How often a signer that nobody asks anything is asked whether it still answers."""
ARM_AGAIN = "arm a rule again, which starts a new signer (where there is no screen, start `trimtab run` again)"
"""What a person does about a signer that is gone."""

_Answer = TypeVar("_Answer")


class SignerWatch:
    """The `Signer` port for whoever signs, with what became of the requests on the side."""

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock
        self._looked = 0.0
        self._look: asyncio.Task[None] | None = None
        self._missed: str | None = None
        self._answered = False

    def look(self) -> str | None:
        """Why no signature can be had now, or None. Never waits: a signer that hangs is told by the next looks."""
        now = self._clock.monotonic()
        if now - self._looked >= LOOK_SECONDS and (self._look is None or self._look.done()):
            self._looked = now
            self._look = asyncio.create_task(self._signer.look())
        return self._signer.fault

    def count(self) -> tuple[str | None, bool]:
        """Since it was last asked: why the signer gave no answer (None: it never failed to), whether it signed."""
        missed, answered = self._missed, self._answered
        self._missed, self._answered = None, False
        return missed, answered

    async def judge(self, requests: Sequence[TransactionRequest]) -> None:
        """As the signer does. It is no signature, so that an answer says nothing of whether one is to be had."""
        await self._signer.judge(requests)

    async def sign_transaction(self, request: TransactionRequest) -> SignedTransaction:
        """As the signer does."""
        return await self._counted(self._signer.sign_transaction(request))

    async def sign_permit(self, request: PermitRequest) -> PermitSignature:
        """As the signer does."""
        return await self._counted(self._signer.sign_permit(request))

    async def _counted(self, answer: Coroutine[Any, Any, _Answer]) -> _Answer:
        try:
            signed = await answer
        except SignerUnavailable as error:
            self._missed = str(error)
            raise
        self._answered = True
        return signed

    async def aclose(self) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._look
