"""Why a rule that fires may not act now: what nothing may be signed for, what is under way, what a boost waits for.

Never plans, tells or changes anything: it only looks.
"""

from __future__ import annotations

from collections.abc import Callable

from tui.engine.guard import Guard
from tui.engine.intents import is_stuck, living, senders, stuck_words
from tui.engine.prospect import Prospect
from tui.engine.questions import Questions
from tui.engine.rounds import so_far_of
from tui.engine.rulebook import RuleBook
from tui.model.position import Position, Status
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.ports.journal import Journal

ROUNDS_SECONDS = 60 * 60
"""For so long after its last round nothing is borrowed while another rule goes on in rounds: one that can do no more of
them for an hour, and is not beyond its trigger, holds nobody.
"""


class Hindrances:
    """`can_act`: whether there is anything that signs at all. `may_act` answers None, or why nothing may be signed now;
    `guard` what holds a rule back on a position.
    """

    def __init__(
        self,
        rulebook: RuleBook,
        prospect: Prospect,
        journal: Journal | None,
        questions: Questions,
        guard: Guard,
        chain_id: int,
        can_act: bool,
        may_act: Callable[[], str | None],
    ) -> None:
        self._book = rulebook
        self._prospect = prospect
        self._journal = journal
        self._questions = questions
        self._guard = guard
        self._chain_id = chain_id
        self._can_act = can_act
        self._may_act = may_act

    def of(self, rule: Rule, position: Position, snapshot: Snapshot) -> str | None:
        """Why a firing rule does not act here, or None. Raises JournalError."""
        return self._obstacle(rule, position) or self._no_time_to_boost(rule, position, snapshot)

    def _obstacle(self, rule: Rule, position: Position) -> str | None:
        """What holds any rule back, or None."""
        if not self._can_act or not self._book.armed_for(rule, position):
            return "the rule is not armed"
        reason = self._may_act() or self._guard.hold_back(rule, position)
        if reason is not None:
            return reason
        return self._not_now(rule, position)

    def _not_now(self, rule: Rule, position: Position) -> str | None:
        """Why the accounts that a rule needs cannot sign for it now, or None.

        Where some of several can the rule acts: the steps of the others are passed over. What is under way for the
        position's own account, or is about to be final for one that pays, is waited for.
        """
        assert self._journal is not None
        account = position.key.account
        signers = rule.signers(account)
        halted = {one: why for one in signers if (why := self._journal.halted(self._chain_id, one)) is not None}
        if halted and len(halted) == len(signers):
            one, why = next(iter(halted.items()))
            return f"account {short_address(one)} is halted: {why}"
        firings = self._journal.open_firings(self._chain_id)
        stuck = {one.account: one for firing in firings for one in firing.intents if is_stuck(one)}
        others_can = not set(signers) <= halted.keys() | stuck.keys()
        for firing in firings:
            mine = firing.account == account
            shared = [one for one in signers if one in senders(living(firing))]
            if not mine and (not shared or (others_can and stuck.keys() >= set(shared))):
                continue
            for intent in firing.intents:
                if is_stuck(intent):
                    return stuck_words(intent).rstrip(".")
            if mine:
                return "another rebalance of this account is under way"
            return f"another rebalance that {short_address(shared[0])} signs for is under way"
        return None

    def _no_time_to_boost(self, rule: Rule, position: Position, snapshot: Snapshot) -> str | None:
        """Why a boost has to wait, or None: nobody borrows more while anything else of the account is in danger, is
        unknown or wants to be done.
        """
        if not rule.boosts:
            return None
        account = position.key.account
        for one in (one for one in snapshot.positions if one.key.account == account):
            called = "this position" if one.id == position.id else f"the position in {one.key.market}"
            if one.unknown is not None:
                return f"no boost while {called} is unknown: {one.unknown}"
            if one.status in (Status.AT_RISK, Status.LIQUIDATABLE):
                return f"no boost while {called} is at risk"
            for other in self._book.rules_of(one):
                if other.boosts or other.name == rule.name:
                    continue
                state = self._book.state(other, one)
                began = state.fired_at or 0
                if so_far_of(state) is not None and snapshot.block.timestamp < began + ROUNDS_SECONDS:
                    return f"no boost while {other.name} goes on with its rounds on {called}"
                if self._prospect.is_crossed(other, one):
                    return f"no boost while {other.name} is beyond its trigger on {called}"
        asks = self._questions.beside((rule.name, position.id), account)
        return None if asks is None else f"no boost while {asks} waits for an answer"
