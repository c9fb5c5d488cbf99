"""What settles a firing that has come to an end, and decides whether its rule goes on: another round, a further firing,
another try of what reverted, or rest.

Never judges a trigger, plans or signs: what it lets go on is fired by the defender at the next verdict.
"""

from __future__ import annotations

import contextlib

from tui.engine.budget import may_have_spent
from tui.engine.executor import Executor
from tui.engine.further import goes_on, going_on_words, time_text
from tui.engine.outcomes import MOST_LOOKS, Outcomes
from tui.engine.prospect import Prospect
from tui.engine.rounds import after_round, left_words
from tui.engine.rulebook import RuleBook
from tui.engine.rulevoice import RuleVoice
from tui.model.calls import Log
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.position import Position
from tui.model.rounds import MOST_ROUNDS, RoundsSoFar
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.model.units import BPS
from tui.model.view import Severity
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.clock import Clock
from tui.ports.journal import Journal
from tui.rules.evaluate import again_text
from tui.rules.rounds import rounds_met
from tui.rules.state import fires_once

MOST_TRIES = 3
"""A rule whose transactions revert rests at this many of them ..."""
TRIES_SECONDS = 60 * 60
"""... within so many seconds of chain time; what closes a part, or acts on a price, is given up for this fall."""


class Conclusions:
    """Looks at every rule's last firing at each block. `journal` None: nothing is ever fired, so nothing settles."""

    def __init__(
        self,
        rulebook: RuleBook,
        prospect: Prospect,
        executor: Executor | None,
        journal: Journal | None,
        outcomes: Outcomes,
        voice: RuleVoice,
        clock: Clock,
        chain_id: int,
    ) -> None:
        self._book = rulebook
        self._prospect = prospect
        self._executor = executor
        self._journal = journal
        self._outcomes = outcomes
        self._voice = voice
        self._clock = clock
        self._chain_id = chain_id
        self._unread: dict[str, int] = {}

    async def settle(self, rule: Rule, position: Position, snapshot: Snapshot) -> None:
        """Conclude the rule's latch where its firing has come to an end, and note the health that it left."""
        if self._journal is None:
            return
        state = self._book.state(rule, position)
        if not state.latched or state.episode is None:
            return
        now = self._clock.now()
        if state.ended_block is not None:
            self._go_on(rule, position, snapshot)
            return
        firing = self._journal.firing_of(rule.name, state.episode)
        if firing is None or firing.state is FiringState.DROPPED:
            # Nothing was signed: the rule is free to fire again at once.
            self._book.forget(rule, position, now)
            return
        self._outcomes.see(firing, position, snapshot)
        if firing.state.is_open:
            return
        end = max([firing.block_number, *(intent.included_block or 0 for intent in firing.intents)])
        if snapshot.block.number < end or position.unknown is not None:
            return
        self._outcomes.book(firing, position, snapshot)
        if state.rounds is not None and state.rounds.planned is not None:
            await self._settle_round(rule, position, snapshot, firing, state.rounds, end)
            return
        below = self._prospect.is_crossed(rule, position)
        if below and self._may_try_again(rule, firing, snapshot.block.timestamp):
            self._book.forget(rule, position, now)
            self._voice.say(
                Severity.ALARM, rule, position, snapshot, "its rebalance reverted on chain: it is planned anew"
            )
            return
        self._book.conclude(rule, position, state.episode, end, now)
        if self._go_on(rule, position, snapshot):
            return
        if below and firing.state is FiringState.FAILED and fires_once(rule):
            self._voice.say_once(
                Severity.ALARM, rule, position, f"did not do all that it was to do, and {again_text(rule)}"
            )
        if below and not fires_once(rule):  # what is done then moves no price back, and health only further up
            said = "below its trigger after its rebalance, and will not fire again before health was above it"
            if rule.boosts:
                said = "above its trigger after its boost, and will not fire again before health was below it"
            if goes_on(rule) and _reverted(firing):
                last = self._tries(firing, snapshot.block.timestamp)[MOST_TRIES - 1]
                again = time_text(last.block_timestamp + TRIES_SECONDS)
                said = (
                    f"below its trigger: its rebalance reverted {MOST_TRIES} times, it is tried again from {again} on"
                )
            self._voice.say_once(Severity.ALARM, rule, position, f"is still {said}")

    async def _settle_round(
        self, rule: Rule, position: Position, snapshot: Snapshot, firing: Firing, rounds: RoundsSoFar, end: int
    ) -> None:
        """Book what a round that is final moved and left, and let the next one follow: until the target is met, as long
        as the chain only refuses, and never more than `MOST_ROUNDS`.
        """
        now, told = self._clock.now(), f"round {rounds.rounds + 1}"
        logs = await self._round_logs(firing)
        if logs is None:
            return
        unread = not logs and rule.close_bps is not None and rule.close_bps < BPS
        done = after_round(rounds, self._prospect.market(position), position, rule.steps[rounds.step], logs)
        left = left_words(done, self._prospect.market(position), position)
        well = firing.state is FiringState.DONE
        if rounds.stopped:
            self._book.stop_rounds(rule, position, end, now)
            self._voice.say(Severity.WARNING, rule, position, snapshot, f"{told} was its last: it was disarmed{left}")
            return
        again = well or self._may_try_again(rule, firing, snapshot.block.timestamp, in_rounds=True)
        if again and not well and not rounds.rounds and not any(map(may_have_spent, firing.intents)):
            # Nothing was done yet: whether it still fires is for the trigger to say, as where one transaction reverted.
            self._book.forget(rule, position, now)
            self._voice.say(
                Severity.ALARM, rule, position, snapshot, "its first round reverted on chain: it is planned anew"
            )
            return
        if again and not unread and done.rounds < MOST_ROUNDS:
            self._book.between_rounds(rule, position, end, done, now)
            if not well:
                self._voice.say(
                    Severity.ALARM, rule, position, snapshot, f"{told} reverted on chain: it is planned anew{left}"
                )
            return
        self._book.end_rounds(rule, position, now)
        assert firing.episode is not None
        self._book.conclude(rule, position, firing.episode, end, now)
        if not well or not rounds_met(rule, done, position):
            why = "is not tried again" if not well else f"was the last of {MOST_ROUNDS}"
            # How much more would be the part that is to be closed, nobody knows then.
            why = "is not followed by another, because its receipts cannot be read" if unread else why
            self._voice.say(Severity.ALARM, rule, position, snapshot, f"{told} {why}, and its target is not met{left}")

    async def _round_logs(self, firing: Firing) -> tuple[tuple[Log, ...], ...] | None:
        """The events of each transaction of a round; None as long as its receipts are waited for. Where they are never
        had nothing is known to be left: what is in the wallet stays there then.
        """
        assert self._executor is not None
        logs = None
        with contextlib.suppress(ChainUnreachable, ReadFailed):
            logs = await self._executor.logs_of(firing)
        if logs is not None:
            self._unread.pop(firing.id, None)
            return logs
        looks = self._unread[firing.id] = self._unread.get(firing.id, 0) + 1
        if looks < MOST_LOOKS:
            return None
        del self._unread[firing.id]
        return ()

    def _go_on(self, rule: Rule, position: Position, snapshot: Snapshot) -> bool:
        """Let a rule that restores health go on where its last firing is over and has left it below the trigger;
        whether it does. What a person declined or cancelled, and what a lost nonce stopped, is left latched there.
        """
        assert self._journal is not None
        state, block = self._book.state(rule, position), snapshot.block
        if not goes_on(rule) or state.episode is None or not self._prospect.is_crossed(rule, position):
            return False
        firing = self._journal.firing_of(rule.name, state.episode)
        if firing is None:
            return False
        if firing.state is FiringState.DONE:
            self._book.go_on(rule, position, self._clock.now())
            said = going_on_words(rule, position.health_factor, state.cooldown_until, block.timestamp)
            self._voice.say(Severity.ALARM, rule, position, snapshot, said)
            return True
        if self._may_try_again(rule, firing, block.timestamp):
            self._book.forget(rule, position, self._clock.now())
            self._voice.say(
                Severity.ALARM, rule, position, snapshot, "its rebalance reverted on chain: it is planned anew"
            )
            return True
        return False

    def _may_try_again(self, rule: Rule, firing: Firing, now: int, *, in_rounds: bool = False) -> bool:
        """Whether a firing failed only because the chain refused it: a price that moved on, somebody who came first.

        What a person cancelled and what a lost nonce stopped is not tried again, and nothing more than `MOST_TRIES`
        times in `TRIES_SECONDS`: what reverts costs gas. A part that is to be closed is a part of what is owed: where
        some of it went through, as large a part of the rest would be too much; of rounds it is known what they repaid.
        """
        if not in_rounds and rule.close_bps is not None and any(map(may_have_spent, firing.intents)):
            return False
        return _reverted(firing) and len(self._tries(firing, now)) < MOST_TRIES

    def _tries(self, firing: Firing, now: int) -> tuple[Firing, ...]:
        """The firings of a rule on a position that reverted within `TRIES_SECONDS` before `now` (chain time)."""
        assert self._journal is not None
        return tuple(
            one
            for one in self._journal.signed_firings(self._chain_id, now - TRIES_SECONDS)
            if (one.rule_digest, one.position) == (firing.rule_digest, firing.position)
            and one.block_timestamp > now - TRIES_SECONDS
            and _reverted(one)
        )


def _reverted(firing: Firing) -> bool:
    """Whether a firing ended by a transaction that the chain refused, and by nothing else."""
    states = {intent.state for intent in firing.intents}
    return firing.state is FiringState.FAILED and states <= {IntentState.FINAL_OK, IntentState.FINAL_REVERTED}
