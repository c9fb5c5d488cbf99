"""Confirmations: what a rule asks before it acts, renewed at every block, withdrawn and expiring.

Never plans, judges or acts: what an answer comes to is decided where firings are opened (`defender`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tui.engine.rulevoice import RuleVoice
from tui.engine.sending import Teller
from tui.model.agreement import digest_of
from tui.model.plan import Plan
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.model.view import Confirmation, Severity
from tui.ports.clock import Clock
from tui.rules.evaluate import Verdict, VerdictKind
from tui.rules.state import RuleState

CONFIRM_SECONDS = 90.0
"""How long a confirmation waits; a position that still needs it is asked about again."""
CLOCK_SET_SECONDS = 2.0
"""A wall clock that is off by more than this against the steady one was set."""
MOST_SHOWN = 64
"""Plans of one question that a yes may still be meant for: so many of the newest."""

Pair = tuple[str, str]
"""A rule's name and a position's id."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A confirmation with what it takes to act on it. `until` on the clock that nobody sets; `plans` are those that
    were shown, by their digests, the newest last.
    """

    shown: Confirmation
    until: float
    state: RuleState
    verdict: Verdict
    plans: Mapping[str, Plan]

    def anew(self, position: Position, plan: Plan, state: RuleState, verdict: Verdict) -> Asked:
        """The same question with the plan of another block."""
        plans = dict([*self.plans.items(), (digest_of(plan), plan)][-MOST_SHOWN:])
        return Asked(replace(self.shown, position=position, plan=plan), self.until, state, verdict, plans)


class Questions:
    """What waits for a yes, at most one question a rule and position; each waits `seconds`."""

    def __init__(self, teller: Teller, voice: RuleVoice, clock: Clock, seconds: float) -> None:
        self._teller = teller
        self._voice = voice
        self._clock = clock
        self._seconds = seconds
        self._asked: dict[Pair, Asked] = {}

    @property
    def open(self) -> tuple[Confirmation, ...]:
        """What waits for a yes, as it is shown."""
        return tuple(self._shown_now(asked) for asked in self._asked.values())

    def _shown_now(self, asked: Asked) -> Confirmation:
        """The question, with its end on the wall clock as that reads now: somebody may have set it."""
        ends = self._clock.now() + asked.until - self._clock.monotonic()
        moved = abs(ends - asked.shown.expires_at) > CLOCK_SET_SECONDS
        return replace(asked.shown, expires_at=ends) if moved else asked.shown

    def of(self, confirmation_id: str) -> tuple[Pair, Asked] | None:
        """The open question of that id, None where it is not open any more."""
        return next(((pair, asked) for pair, asked in self._asked.items() if asked.shown.id == confirmation_id), None)

    def beside(self, pair: Pair, account: str) -> str | None:
        """Another rule, by its name, that waits for an answer about a position of the account; None without one."""
        for other, asked in self._asked.items():
            if other != pair and asked.shown.position.key.account == account:
                return other[0]
        return None

    def ask(
        self,
        rule: Rule,
        position: Position,
        snapshot: Snapshot,
        plan: Plan,
        state: RuleState,
        verdict: Verdict,
        again: str = "",
    ) -> None:
        """Ask, which is told of each question once; what is asked already goes on with the plan of this block. `again`:
        why the yes to an earlier round does not cover this one.
        """
        pair = (rule.name, position.id)
        known = self._asked.get(pair)
        if known is not None:
            self._asked[pair] = known.anew(position, plan, state, verdict)
            return
        again = f" once more: {again}" if again else ""
        now = self._clock.now()
        shown = Confirmation(
            f"{verdict.episode}:{plan.block.number}", rule.name, position, plan, now, now + self._seconds
        )
        until = self._clock.monotonic() + self._seconds
        self._asked[pair] = Asked(shown, until, state, verdict, {shown.digest: plan})
        self._voice.say(Severity.ALARM, rule, position, snapshot, f"{verdict.why}: asks for your yes{again}")

    def renew(self, pair: Pair, asked: Asked) -> None:
        """Ask on with another plan than was answered."""
        self._asked[pair] = asked

    def drop(self, pair: Pair) -> None:
        """Ask no more, and say nothing of it."""
        self._asked.pop(pair, None)

    def withdraw(self, pair: Pair, verdict: Verdict) -> None:
        """The rule does not fire any more: where it was asked, no answer is needed; or none can be given, where nobody
        knows whether it would.
        """
        if self._asked.pop(pair, None) is not None:
            over = verdict.kind not in (VerdictKind.BLIND, VerdictKind.COUNTING)
            told = "no need to answer any more" if over else "it cannot be answered now, and is asked anew"
            self._teller.say(
                Severity.INFO if over else Severity.ALARM,
                f"{pair[0]}: {told}, {verdict.why}",
                kind="withdrawn",
                rule=pair[0],
                position=pair[1],
            )

    def expire(self) -> None:
        """Drop what nobody answered in time, and tell it."""
        for pair, asked in tuple(self._asked.items()):
            if asked.until <= self._clock.monotonic():
                del self._asked[pair]
                self._teller.say(
                    Severity.ALARM, f"{pair[0]}: nobody answered in time; nothing was done", kind="unanswered"
                )
