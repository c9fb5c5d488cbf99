"""Signing and sending one attempt: what is asked of the signer, and the bytes handed to every node.

Order of the money path: ask the signer, make the bytes durable, make "maybe sent" durable, then the first byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tui.engine.intents import why_withheld
from tui.model.intent import Attempt, AttemptKind, Intent, IntentState
from tui.model.signing import TransactionRequest
from tui.model.text import clean_text
from tui.model.view import Severity
from tui.ports.chain import Broadcaster, SendOutcome
from tui.ports.clock import Clock
from tui.ports.journal import Decision, Journal, NewAttempt
from tui.ports.signer import Signatures

CANCEL_GAS = 21_000
"""Gas of a transfer of nothing to oneself, and not a unit more where the chain asks for no more: where the account runs
code of its own (EIP-7702), none of it can run. The chain then calls the transfer failed, and the nonce is used up all
the same.
"""
CANCEL_ROOM = 2
"""What a chain asks for beside that (Arbitrum: the price of its data on layer 1, in gas) may grow so many times until
the no-op is mined. What is not used is not paid."""
MOST_CANCEL_GAS = 5_000_000
"""No more gas for a no-op, whatever the nodes say."""

TAKEN = ("accepted", "already-known")
"""The kinds of outcome by which a node has the bytes."""

Notify = Callable[[Decision], None]

_SENDABLE = (IntentState.MAYBE_SENT, IntentState.CANCELLING)
_TROUBLE = {
    "insufficient-funds": "the account cannot pay for the gas",
    "fee-cap-exceeded": "the fee is above the node's own limit",
    "fee-too-low": "the fee is below what the node takes now",
    "one-at-a-time": "the node takes one transaction at a time of an account that runs code of its own",
    "nonce-too-high": "an earlier transaction of this account is missing at the node",
    "other-error": "the node refused it",
}


class Teller:
    """Keeps a line in the journal and hands it on; lines said `once` are not repeated until they change.

    Without a journal (an engine that only watches) lines are shown and not kept.
    """

    def __init__(self, journal: Journal | None, clock: Clock, notify: Notify) -> None:
        self._journal = journal
        self._clock = clock
        self._notify = notify
        self._said: dict[tuple[str, str], str] = {}

    def say(
        self,
        severity: Severity,
        text: str,
        *,
        kind: str,
        firing_id: str | None = None,
        block: int | None = None,
        rule: str | None = None,
        position: str | None = None,
    ) -> None:
        """Record and show one line. `rule` and `position` are for scripts that filter."""
        now = self._clock.now()
        if self._journal is None:
            decision = Decision(0, now, block, kind, severity, text, rule, position, firing_id)
        else:
            decision = self._journal.record_decision(
                at=now,
                kind=kind,
                severity=severity,
                text=text,
                firing_id=firing_id,
                block=block,
                rule=rule,
                position=position,
            )
        self._notify(decision)

    def say_once(
        self,
        severity: Severity,
        text: str,
        *,
        kind: str,
        about: str,
        firing_id: str | None = None,
        rule: str | None = None,
        position: str | None = None,
    ) -> None:
        """The same, unless it was the last thing said of this `kind` about this `about`."""
        if self._said.get((kind, about)) != text:
            self._said[(kind, about)] = text
            self.say(severity, text, kind=kind, firing_id=firing_id, rule=rule, position=position)

    def standing(self, kind: str, about: str) -> str | None:
        """What was said last, and is not over."""
        return self._said.get((kind, about))

    def over(self, kind: str, about: str) -> None:
        """It is no more: where it comes back it is said again."""
        self._said.pop((kind, about), None)


def is_unpaid(outcomes: Sequence[SendOutcome]) -> bool:
    """Whether no node has the bytes, and one says that the account cannot pay for them."""
    kinds = {outcome.kind for outcome in outcomes}
    return "insufficient-funds" in kinds and kinds.isdisjoint(TAKEN)


def no_op_gas(transfer: int) -> int:
    """The gas limit of a no-op on a chain where a transfer to nobody's code takes `transfer` gas."""
    return min(CANCEL_GAS + CANCEL_ROOM * max(transfer - CANCEL_GAS, 0), MOST_CANCEL_GAS)


def request_for(
    intent: Intent, kind: AttemptKind, max_fee: int, priority_fee: int, cancel_gas: int = CANCEL_GAS
) -> TransactionRequest:
    """What is asked of the signer: the intent's own meaning, or the no-op that closes its nonce."""
    assert intent.nonce is not None
    cancel = kind is AttemptKind.CANCEL
    return TransactionRequest(
        intent_id=intent.id,
        chain_id=intent.chain_id,
        account=intent.account,
        nonce=intent.nonce,
        to=intent.account if cancel else intent.to,
        value=0 if cancel else intent.value,
        data=b"" if cancel else intent.data,
        gas=cancel_gas if cancel else intent.gas_limit,
        max_fee_per_gas=max_fee,
        max_priority_fee_per_gas=priority_fee,
        delegate=None if cancel else intent.delegate,
    )


class Sender:
    """Signs attempts and hands them out."""

    def __init__(
        self,
        journal: Journal,
        signer: Signatures,
        broadcaster: Broadcaster,
        clock: Clock,
        killed: Callable[[], bool],
        teller: Teller,
    ) -> None:
        self._journal = journal
        self._signer = signer
        self._broadcaster = broadcaster
        self._clock = clock
        self._killed = killed
        self._teller = teller
        self._handed_out: set[str] = set()

    def withhold(self, intents: Sequence[Intent]) -> None:
        """The kill switch came before the first byte of these went out: they are not sent any more, also after a
        restart. What this process handed out itself stays as it is.
        """
        kept = [one for one in intents if not any(attempt.hash in self._handed_out for attempt in one.attempts)]
        if not kept:
            return
        changed = [(one, replace(one, withheld=True, reason=why_withheld(one))) for one in kept]
        self._journal.save_intents(changed)
        for _, intent in changed:
            self._teller.say(
                Severity.ALARM,
                f"{intent.words}: not sent ({intent.reason}); nonce {intent.nonce} is kept until you cancel it",
                kind="intent",
                firing_id=intent.firing_id,
            )

    async def sign(
        self, intent: Intent, to: IntentState, kind: AttemptKind, fees: tuple[int, int], head: int
    ) -> NewAttempt:
        """A signed attempt, not yet recorded and so not to be sent. `fees` are (max, priority) in wei a unit of gas.

        Raises SignerRefused, SignerUnavailable.
        """
        cancel_gas = CANCEL_GAS
        if kind is AttemptKind.CANCEL:
            cancel_gas = no_op_gas(await self._broadcaster.transfer_gas(intent.account))
        request = request_for(intent, kind, *fees, cancel_gas)
        assert request.max_fee_per_gas <= intent.fee_ceiling, "an attempt above its ceiling"
        signed = await self._signer.sign_transaction(request)
        number = len(intent.attempts)
        attempt = Attempt(number, kind, signed.hash, signed.raw, *fees, signed_at=self._clock.now(), block=head)
        return NewAttempt(intent, to, attempt, request)

    async def send(self, intent_id: str, attempt: Attempt, *, quietly: bool = False) -> tuple[SendOutcome, ...] | None:
        """Hand an attempt to every node and keep what they said; `quietly`: what they said of the newest one is what
        is told. Nothing is sent under the kill switch but a no-op; None where that keeps back what this process has
        never handed out, see `withhold`.
        """
        intent = self._journal.intent(intent_id)
        assert intent is not None
        if intent.state is IntentState.INCLUDED or intent.state.is_final:
            return ()  # followed meanwhile: what is on the chain needs no sending
        assert intent.state in _SENDABLE, f"{intent.id} would be sent from {intent.state}"
        assert any(one.raw == attempt.raw for one in intent.attempts), "bytes that are not durable"
        if self._killed() and attempt.kind is not AttemptKind.CANCEL:
            return () if attempt.hash in self._handed_out else None
        self._handed_out.add(attempt.hash)
        outcomes = await self._broadcaster.send(attempt.raw, attempt.hash)
        answer = _answer(outcomes)
        first = attempt.sent_at is None
        if first or answer != attempt.answer:
            sent_at = self._clock.now() if attempt.sent_at is None else attempt.sent_at
            self._journal.record_answer(intent.id, attempt.number, sent_at, answer)
        if not quietly:
            self._tell(intent, attempt, outcomes)
        return outcomes

    def _tell(self, intent: Intent, attempt: Attempt, outcomes: tuple[SendOutcome, ...]) -> None:
        took = sum(outcome.kind in TAKEN for outcome in outcomes)
        if took:
            self._teller.over("send-trouble", intent.id)
            if attempt.sent_at is None:
                nodes = "1 node" if took == 1 else f"{took} nodes"
                self._teller.say(
                    Severity.INFO, f"{intent.words}: sent to {nodes}", kind="sent", firing_id=intent.firing_id
                )
            return
        if attempt.number == 0 and any(outcome.kind == "underpriced-replacement" for outcome in outcomes):
            self._teller.say_once(
                Severity.WARNING,
                f"{intent.words}: a pending transaction from elsewhere has nonce {intent.nonce}; it is outbid "
                "within the ceiling of the rule",
                kind="send-trouble",
                about=intent.id,
                firing_id=intent.firing_id,
            )
            return
        for outcome in outcomes:
            trouble = _TROUBLE.get(outcome.kind)
            if trouble is not None:
                said = f" ({clean_text(outcome.message, 120)})" if outcome.message else ""
                self._teller.say_once(
                    Severity.WARNING,
                    f"{intent.words}: {trouble}{said}; it stays signed and is sent again",
                    kind="send-trouble",
                    about=intent.id,
                    firing_id=intent.firing_id,
                )
                return
        if not outcomes or all(outcome.kind == "no-answer" for outcome in outcomes):
            self._teller.say_once(
                Severity.WARNING,
                f"{intent.words}: no node answered; it may have been sent, and is sent again",
                kind="send-trouble",
                about=intent.id,
                firing_id=intent.firing_id,
            )


def _answer(outcomes: tuple[SendOutcome, ...]) -> str:
    return "; ".join(
        f"{outcome.kind}: {clean_text(outcome.message, 120)}" if outcome.message else outcome.kind
        for outcome in outcomes
    )
