"""What settles a firing that has come to an end, and decides whether its rule goes on: another round, a further firing,
another try of what reverted, or rest.

Never judges a trigger, plans or signs: what it lets go on is fired by the defender at the next verdict.
"""

from __future__ import annotations

import contextlib

from tui.engine.budget import may_have_spent
from tui.engine.executor import Executor
from tui.engine.further import goes_on, going_on_words, rest_words
from tui.engine.outcomes import MOST_LOOKS, Outcomes
from tui.engine.prospect import Prospect
from tui.engine.retrying import RESTS, has_reverted
from tui.engine.rounds import after_round, left_words, repaid_by, undone_round
from tui.engine.rulebook import RuleBook
from tui.engine.rulevoice import RuleVoice
from tui.model.calls import Log
from tui.model.intent import Firing, FiringState
from tui.model.plan import Refusal
from tui.model.position import Position
from tui.model.rounds import MOST_ROUNDS, DebtPart, RoundsSoFar
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.model.units import BPS
from tui.model.view import Severity
from tui.planning.closing import Closing
from tui.planning.texts import health_text, part_text
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.clock import Clock
from tui.ports.journal import Journal
from tui.rules.evaluate import again_text
from tui.rules.rounds import is_closed, rounds_met
from tui.rules.state import RuleState, fires_once, rest_to_close

_UNDONE = "did not do all that it was to do"

_PASSING = frozenset({"simulation-unavailable", "wallet-unknown", "native-unknown", "cost-unknown"})
"""Refusals that say nothing of the next round: something could not be read. A rest (`RESTS`) says nothing either."""
_MAX_COST = "max-cost"


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
        if state.closing:
            await self._settle_part(rule, position, snapshot, firing, state.closing, end)
            return
        below = self._prospect.is_crossed(rule, position)
        if (below or fires_once(rule)) and self._may_try_again(rule, firing):
            self._plan_anew(rule, position, snapshot)
            return
        self._book.conclude(rule, position, state.episode, end, now)
        if self._go_on(rule, position, snapshot):
            return
        if firing.state is FiringState.FAILED and fires_once(rule):
            self._tell_undone(rule, position)
        if below and not fires_once(rule):  # what is done then moves no price back, and health only further up
            said = "below its trigger after its rebalance, and will not fire again before health was above it"
            if rule.boosts:
                said = "above its trigger after its boost, and will not fire again before health was below it"
            self._voice.say_once(Severity.ALARM, rule, position, f"is still {said}")

    async def _settle_part(
        self,
        rule: Rule,
        position: Position,
        snapshot: Snapshot,
        firing: Firing,
        parts: tuple[DebtPart, ...],
        end: int,
    ) -> None:
        """Book what a firing has repaid of the part that its rule is to close. What is left of it is gone on with by
        another, when trigger and cooldown say so. What a person cancelled or a lost nonce stopped ends there, and so
        does what no receipt tells: how much more would be too much, nobody knows then.
        """
        now, spent = self._clock.now(), any(map(may_have_spent, firing.intents))
        logs = await self._round_logs(firing) if spent else ()
        if logs is None:
            return
        done = repaid_by(parts, self._prospect.market(position), position, logs)
        closed = is_closed(done, position, rule.close_bps or 0)
        unread = spent and not logs
        more = not closed and not unread and (firing.state is FiringState.DONE or has_reverted(firing))
        self._book.settle_part(rule, position, firing.episode, end, done if more else (), now)
        if more:
            if not self._go_on(rule, position, snapshot):
                self._tell_undone(rule, position)
        elif not closed:
            why = "its receipts cannot be read, so how much it closed is not known" if unread else _UNDONE
            self._voice.say(Severity.ALARM, rule, position, snapshot, f"{why}: {again_text(rule)}")

    def _tell_undone(self, rule: Rule, position: Position) -> None:
        """That a firing failed and is not followed by another now, and what it takes until it is."""
        self._voice.say_once(Severity.ALARM, rule, position, f"{_UNDONE}: {again_text(rule)}")

    def _plan_anew(self, rule: Rule, position: Position, snapshot: Snapshot) -> None:
        """Let go of a firing that the chain refused, whatever the trigger says by then: it is not used up by that. How
        long it rests first is for its next plan to say (`retrying`).
        """
        self._book.forget(rule, position, self._clock.now())
        anew = "it is planned anew"
        if not self._prospect.is_crossed(rule, position):
            anew = "it fires anew once it is beyond its trigger"
        self._voice.say(Severity.ALARM, rule, position, snapshot, f"its rebalance reverted on chain: {anew}")

    async def _settle_round(
        self, rule: Rule, position: Position, snapshot: Snapshot, firing: Firing, rounds: RoundsSoFar, end: int
    ) -> None:
        """Book what a round that is final moved and left, and let the next one follow: until the target is met, as long
        as the chain only refuses, and never more than `MOST_ROUNDS`.
        """
        now, told = self._clock.now(), f"round {rounds.rounds + 1}"
        moved = any(map(may_have_spent, firing.intents))
        logs = await self._round_logs(firing) if moved else ()
        if logs is None:
            return
        unread = moved and not logs and rule.close_bps is not None and rule.close_bps < BPS
        market = self._prospect.market(position)
        done = after_round(rounds if moved else undone_round(rounds), market, position, rule, logs)
        # Beside the rounds' own debts: a plain step of the same firing may have closed its part of another.
        closing = repaid_by(self._book.state(rule, position).closing, market, position, logs)
        left = left_words(done, self._prospect.market(position), position)
        well = firing.state is FiringState.DONE
        if rounds.stopped:
            self._book.stop_rounds(rule, position, end, now)
            self._voice.say(Severity.WARNING, rule, position, snapshot, f"{told} was its last: it was disarmed{left}")
            return
        again = well or has_reverted(firing)
        if again and not well and not rounds.rounds and not moved:
            # Nothing was done yet: whether it still fires is for the trigger to say, as where one transaction reverted.
            self._book.forget(rule, position, now)
            self._voice.say(
                Severity.ALARM, rule, position, snapshot, "its first round reverted on chain: it is planned anew"
            )
            return
        if again and not unread and done.rounds < MOST_ROUNDS:
            self._book.between_rounds(rule, position, end, done, closing, now)
            if not well:
                self._voice.say(
                    Severity.ALARM, rule, position, snapshot, f"{told} reverted on chain: it is planned anew{left}"
                )
            return
        self._book.end_rounds(rule, position, firing.episode, end, () if unread else closing, now)
        is_met = rounds_met(rule, done, position)
        if not well or not is_met:
            why = f"was the last of {MOST_ROUNDS}" if again else "is not tried again"
            # How much more would be the part that is to be closed, nobody knows then.
            why = "is not followed by another, because its receipts cannot be read" if unread else why
            target = "and its target is not met" if not is_met else "though its target is met"
            self._voice.say(Severity.ALARM, rule, position, snapshot, f"{told} {why}, {target}{left}")

    def begin_anew(self, rule: Rule, position: Position, snapshot: Snapshot, refused: Refusal) -> None:
        """Let a rule go on as any other whose firing fell short, where its rounds have used up a limit, the next was
        `refused`, it is beyond its trigger and its cooldown is over: with all that each of its limits gives, for what
        is left to be done.
        """
        state = self._book.state(rule, position)
        rests = state.cooldown_until is not None and snapshot.block.timestamp < state.cooldown_until
        if rests or not _is_bound(rule, state.rounds, refused) or not self._prospect.is_crossed(rule, position):
            return
        self._book.begin_anew(rule, position, self._clock.now())
        said = f"its rounds end, because the next cannot be had ({refused.reason}): it begins anew"
        self._voice.say(Severity.ALARM, rule, position, snapshot, said)

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
        """Let a rule go on whose last firing is over: one that restores health where it is still below the trigger, one
        that closes a part where some of it is left, one that fires once where the chain refused it; whether it does.
        What a person declined or cancelled, and what a lost nonce stopped, is left latched there.
        """
        assert self._journal is not None
        state = self._book.state(rule, position)
        firing = None if state.episode is None else self._journal.firing_of(rule.name, state.episode)
        if firing is None or not self._has_more(rule, position, state, firing):
            return False
        well, rest = firing.state is FiringState.DONE, bool(rest_to_close(state))
        if not well and not self._may_try_again(rule, firing, counted=bool(state.closing)):
            return False
        if not well and not rest:
            self._plan_anew(rule, position, snapshot)
            return True
        self._book.go_on(rule, position, self._clock.now())
        self._voice.say(Severity.ALARM, rule, position, snapshot, self._words(rule, position, snapshot, state))
        return True

    def _has_more(self, rule: Rule, position: Position, state: RuleState, firing: Firing) -> bool:
        """Whether something of what a rule is for is left, as far as its last firing, which is over, tells."""
        if state.closing:
            return True
        if fires_once(rule):
            return firing.state is FiringState.FAILED or self._fell_short(rule, firing)
        return goes_on(rule) and self._prospect.is_crossed(rule, position)

    def _fell_short(self, rule: Rule, firing: Firing) -> bool:
        """Whether a firing that was to restore health was not even planned to get there: a step was out, or means were
        short. What the price does afterwards is no reason to fire again.
        """
        assert self._journal is not None
        expected, target = self._journal.outcome(firing.id), rule.target_health_factor
        if expected is None or target is None or expected.health_expected is None:
            return False
        return expected.health_expected < target

    def _words(self, rule: Rule, position: Position, snapshot: Snapshot, state: RuleState) -> str:
        """What is told of a rule that goes on."""
        now = snapshot.block.timestamp
        if goes_on(rule):
            return going_on_words(rule, position.health_factor, state.cooldown_until, now)
        rest = rest_words(state.cooldown_until, now)
        closing = Closing.start(rule, self._prospect.market(position), position, state.closing)
        if closing is None:
            target, health = rule.target_health_factor, position.health_factor
            if target is not None and (health is None or health >= target):
                said = f"was short of its target of {health_text(target)}, where the price has taken health by now"
                return f"{said}: under it, and as long as it is beyond its trigger, it goes on{rest}"
            return f"did not reach its target: as long as it is beyond its trigger it goes on{rest}"
        done = f"has closed {part_text(closing.closed_bps)} of {part_text(closing.bps)}"
        return f"{done}: as long as it is beyond its trigger it goes on with the rest{rest}"

    def _may_try_again(self, rule: Rule, firing: Firing, *, counted: bool = False) -> bool:
        """Whether a firing failed only because the chain refused it: a price that moved on, somebody who came first.

        What a person cancelled and what a lost nonce stopped is not tried again. A part that is to be closed is a part
        of what is owed: where some of it went through, and that is not `counted`, as large a part of the rest would be
        too much.
        """
        if not counted and rule.close_bps is not None and any(map(may_have_spent, firing.intents)):
            return False
        return has_reverted(firing)


def _is_bound(rule: Rule, rounds: RoundsSoFar | None, refused: Refusal) -> bool:
    """Whether rounds have used of a limit of one firing, so that another may do what the next of them may not."""
    if rounds is None or refused.code in _PASSING or refused.code.startswith(RESTS):
        return False
    used = any(step.maximum is not None and rounds.used_of(number) for number, step in enumerate(rule.steps))
    return used or (refused.code == _MAX_COST and rounds.cost_usd > 0)
