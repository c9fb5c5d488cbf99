"""From bound nonces to the first byte: permits, the simulation of exactly what would be signed, signatures, sending.

Order of the money path: ask the signer, make all bytes durable, make "maybe sent" durable, then the first byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from tui.engine.intents import may_still_be_sent, senders, to_withhold, unsigned
from tui.engine.sending import Sender, Teller, request_for
from tui.model.errand import Errand
from tui.model.intent import AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.plan import Plan, PlannedCall, Refusal
from tui.model.signing import KILLED_LATE, PermitRequest, SignerRefused, SignerUnavailable, day_used
from tui.model.text import clean_text
from tui.model.transitions import advance
from tui.model.view import Severity
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import Journal, NewAttempt
from tui.ports.signer import Signatures

Verify = Callable[[Sequence[PlannedCall]], Awaitable[str | None]]
"""Simulates the very calldata that would be signed; a reason not to, or None."""
REFUSED = "signer-refused"
"""The code of a refusal by the signer: what is asked of it is not what it was armed for."""
DAY_IS_USED = "signer-day"
"""The same where one of its limits of the day is used up: that ends by itself, with the day."""
NO_PERMIT = "the signer signed no permit"


class Carrier:
    """Carries out what the executor has reserved. `killed` is asked before every send."""

    def __init__(
        self, journal: Journal, signer: Signatures, sender: Sender, teller: Teller, killed: Callable[[], bool]
    ) -> None:
        self._journal = journal
        self._signer = signer
        self._sender = sender
        self._teller = teller
        self._killed = killed

    async def permit_and_verify(self, firing: Firing, plan: Plan | Errand, verify: Verify) -> str | None:
        """Put permit signatures into the calldata, durably, then simulate exactly that. A reason not to go on."""
        calls: list[PlannedCall] = []
        try:
            for intent, call in zip(unsigned(firing), plan.calls, strict=True):
                final = await self._with_permit(intent, call)
                if final.data != intent.data:
                    self._journal.bind_data(intent.id, final.data)
                calls.append(final)
            return await verify(calls)
        except SignerRefused as error:
            return f"{NO_PERMIT}: {error}"
        except SignerUnavailable as error:
            return f"no permit was signed: {error}"
        except (ChainUnreachable, ReadFailed) as error:
            return f"it could not be simulated again: {error}"

    async def _with_permit(self, intent: Intent, call: PlannedCall) -> PlannedCall:
        need = call.permit
        if need is None:
            return call
        signature = await self._signer.sign_permit(
            PermitRequest(
                intent_id=intent.id,
                chain_id=intent.chain_id,
                token=need.token,
                name=need.name,
                version=need.version,
                domain_separator=need.domain_separator,
                owner=intent.account,
                spender=need.spender,
                value=need.value,
                nonce=need.nonce,
                deadline=need.deadline,
                kind=need.kind,
            )
        )
        words = b"".join(part.to_bytes(32, "big") for part in (signature.v, signature.r, signature.s))
        return replace(call, data=call.data[: -len(words)] + words, permit=None, stand_in=())

    async def sign_and_send(self, firing: Firing, fees: tuple[int, int], head: int) -> Refusal | None:
        """All signatures, then one commit of all bytes, then one commit of "maybe sent", then the first byte."""
        asked_before = any(intent.signing_began for intent in unsigned(firing))
        judged = None if asked_before else await self._judged(firing, fees)
        if judged is not None:
            self._journal.release(self._firing(firing.id), FiringState.DROPPED, judged.reason)
            self.tell_dropped(firing, judged.reason)
            return judged
        self._journal.begin_signing(firing.id)
        signed: list[NewAttempt] = []
        for intent in unsigned(self._firing(firing.id)):
            try:
                signed.append(await self._sender.sign(intent, IntentState.SIGNED, AttemptKind.ORIGINAL, fees, head))
            except (SignerRefused, SignerUnavailable) as error:
                # Where the very first request ever was refused, no nonce was given a meaning.
                free = isinstance(error, SignerRefused) and not signed and not asked_before
                free = free and not str(error).startswith(KILLED_LATE)
                return self._unsigned_end(firing, str(error), intent.account, free=free)
        self._journal.record_attempts(signed)
        await self.send_signed(firing.id)
        return None

    async def _judged(self, firing: Firing, fees: tuple[int, int]) -> Refusal | None:
        """Why the signer would not sign all of it, or None: asked before it signs the first, because a plan of which it
        signs a part holds its account until somebody cancels that part. Who gives no answer now is asked to sign all
        the same: it may answer then.
        """
        waiting = unsigned(firing)
        for account in senders(waiting):
            asked = [request_for(one, AttemptKind.ORIGINAL, *fees) for one in waiting if one.account == account]
            try:
                await self._signer.judge(asked)
            except SignerRefused as error:
                return _refusal(str(error), account)
            except SignerUnavailable:
                continue
        return None

    def _unsigned_end(self, firing: Firing, reason: str, account: str, *, free: bool) -> Refusal | None:
        """The signer did not sign all. Bytes it did sign are forgotten unsent; their nonces keep their meaning."""
        if free:
            self._journal.release(self._firing(firing.id), FiringState.DROPPED, reason, nothing_signed=True)
            self.tell_dropped(firing, reason)
            return _refusal(reason, account)
        if self._killed():
            self.withhold(firing.id)
            return None
        self._teller.say_once(
            Severity.ALARM,
            f"{firing.rule}: signing stopped half way ({clean_text(reason, 200)}); nothing was sent, and the same "
            "transactions are signed when the signer is back",
            kind="signing-stopped",
            about=firing.id,
            firing_id=firing.id,
        )
        return None

    async def send_signed(self, firing_id: str) -> None:
        """Send what is SIGNED, first to last. Under the kill switch nothing is sent, then or later."""
        signed = [intent for intent in self._firing(firing_id).intents if may_still_be_sent(intent)]
        if not signed:
            return
        if self._killed():
            self.withhold(firing_id)
            return
        # What one account cannot send any more is no reason to keep back what another one can.
        halted = {one for one in senders(signed) if self._journal.halted(signed[0].chain_id, one) is not None}
        signed = [intent for intent in signed if intent.account not in halted]
        if not signed:
            return
        self._journal.save_intents([(intent, advance(intent, IntentState.MAYBE_SENT)) for intent in signed])
        for intent in signed:
            self._say(Severity.INFO, intent, f"signed, nonce {intent.nonce}")
            await asyncio.sleep(0)  # one commit at a time, so that a screen is never kept waiting for several
        for place, intent in enumerate(signed):
            if await self._sender.send(intent.id, intent.attempts[-1]) is None:
                kept = {one.id for one in signed[place:]}
                now = [one for one in self._firing(firing_id).intents if one.id in kept]
                self._sender.withhold([one for one in now if one.state is IntentState.MAYBE_SENT])
                return

    def withhold(self, firing_id: str) -> None:
        """The kill switch came before the first byte went out: these are not sent any more, also after a restart."""
        self._sender.withhold(to_withhold(self._firing(firing_id)))

    def tell_dropped(self, firing: Firing, reason: str) -> None:
        """That nothing of a firing was signed, and why."""
        self._teller.say(
            Severity.WARNING,
            f"{firing.rule}: nothing was signed: {clean_text(reason, 200)}",
            kind="dropped",
            firing_id=firing.id,
            block=firing.block_number,
        )

    def _say(self, severity: Severity, intent: Intent, what: str) -> None:
        self._teller.say(severity, f"{intent.words}: {what}", kind="intent", firing_id=intent.firing_id)

    def _firing(self, firing_id: str) -> Firing:
        firing = self._journal.firing(firing_id)
        assert firing is not None, f"no firing {firing_id}"
        return firing


def _refusal(reason: str, account: str) -> Refusal:
    """What the signer refuses to sign for an account."""
    return Refusal(REFUSED if day_used(reason) is None else DAY_IS_USED, reason, account=account)
