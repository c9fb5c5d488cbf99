"""What a rule that fires does at a block: its plan, after all that its earlier firings did, or why it waits.

Plans and simulates; opens no firing. How far it may act, what rests and what is of use is asked of the pure rooms
beside it: `continuing`, `retrying`, `further`, `undone_steps`, `rounds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from tui.engine.conditions import Consequence, first
from tui.engine.continuing import (
    Begun,
    begun,
    firings_since,
    going_on,
    is_worth_it,
    refuse_again,
    still_short,
)
from tui.engine.doubts import NONE, Doubted
from tui.engine.further import SPAN, refuse_further
from tui.engine.guard import Guard
from tui.engine.numbering import numbered
from tui.engine.patience import Pair, Patience
from tui.engine.prospect import Prospect
from tui.engine.retrying import REVERTS_SPAN, refuse_retry, reverts_in_row
from tui.engine.rounds import known_of, refuse_scrap
from tui.engine.rulebook import RuleBook
from tui.engine.signer_days import SignerDays
from tui.engine.undone_steps import undone_steps
from tui.model.intent import Firing
from tui.model.plan import FeeQuote, Plan, Refusal
from tui.model.position import Position
from tui.model.rule import Rule, Step
from tui.model.snapshot import Snapshot
from tui.planning.shortfalls import ends_at, lacking_steps, suffices
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import Journal
from tui.rules.state import RuleState, rest_to_close


class Deciding:
    """Remembers only for how many blocks each rule has waited for what it lacks. `journal` None: nothing was fired.
    `days`: what the signer signs no more of today.
    """

    def __init__(
        self,
        rulebook: RuleBook,
        prospect: Prospect,
        journal: Journal | None,
        guard: Guard,
        chain_id: int,
        days: SignerDays,
    ) -> None:
        self._book = rulebook
        self._prospect = prospect
        self._journal = journal
        self._guard = guard
        self._chain_id = chain_id
        self._patience = Patience()
        self.days = days

    def forget(self, pair: Pair) -> None:
        """The fall of a rule (name) on a position (id) is over."""
        self._patience.forget(pair)

    async def plan(
        self,
        rule: Rule,
        position: Position,
        snapshot: Snapshot,
        fees: FeeQuote,
        state: RuleState,
        doubts: Doubted = NONE,
        because: Refusal | None = None,
    ) -> Plan | Refusal:
        """The plan of a rule as far as it may act now: of its next round where it is between two, of what is left of
        its last firing where that is gone on with. The steps of `doubts` are left out, `because` of what refused them.
        Raises ReadFailed, ChainUnreachable, JournalError.
        """
        acting, now = self._guard.acting(rule, position), snapshot.block.timestamp
        known = known_of(state, rule, acting)
        in_rounds = known is not None and bool(known.rounds)
        again = NONE if in_rounds else undone_steps(rule, self._reverts(rule, position, now))

        async def simulated(left_out: Doubted, taken: Mapping[Step, int]) -> Plan | Refusal:
            why = because
            while True:
                plan = await self._prospect.simulated_plan(
                    acting,
                    position,
                    snapshot,
                    fees,
                    known,
                    closing=rest_to_close(state),
                    doubts=numbered(acting, left_out),
                    because=why,
                    taken=numbered(acting, taken),
                )
                refused = None if isinstance(plan, Refusal) else self.days.refuse(rule, plan)
                if refused is None:
                    return plan
                why, numbers = refused
                steps = {acting.steps[number]: why.reason for number in numbers}
                if not steps.keys() - left_out.keys():
                    return why
                # What the signer signs no more of today keeps the other steps from nothing.
                left_out = {**left_out, **steps}

        async def made(taken: Mapping[Step, int]) -> Plan | Refusal:
            plan = await simulated(doubts, taken)
            if not again or isinstance(plan, Refusal):
                return plan
            # Simulated well, it reverted twice: what does as much without it is taken, and nothing that does less.
            without: Plan | Refusal | None = None
            with suppress(ReadFailed, ChainUnreachable):  # the first is good: a node that is away takes it from none
                without = await simulated({**again, **doubts}, taken)
            enough = isinstance(without, Plan) and (without.reaches_target or suffices(rule, ends_at(without)))
            return without if enough and without is not None else plan

        before = None if in_rounds else self._begun(rule, position, now)
        undone = numbered(acting, again)
        plan, before = await going_on(before, now, made, lambda plan: is_worth_it(rule, plan, undone))
        rests_on = None if before is None else refuse_again(rule, acting, plan, before, now)
        if isinstance(plan, Refusal):
            return rests_on or plan
        fired = self._signed_since(now - REVERTS_SPAN)
        rests = refuse_retry(rule, position.id, plan, fired, snapshot.native_price_usd)
        if in_rounds:
            return rests or refuse_scrap(rule, plan) or plan  # of one firing, that has bounds of its own
        out = first(self._guard.conditions.get((rule.name, position.id), ()), Consequence.STEP_OUT)
        plan = lacking_steps(rule, acting, plan, out)
        if before is not None:
            plan = still_short(rule, replace(plan, before=tuple(numbered(acting, before.taken).items())))
        waits = self._patience.hold((rule.name, position.id), plan, rule.for_blocks)
        return rests or rests_on or waits or self._further(rule, position, plan, state) or plan

    def _signed_since(self, since: int) -> tuple[Firing, ...]:
        """Our own firings since then (chain time) that signed anything, the newest first; none without a record."""
        return () if self._journal is None else self._journal.signed_firings(self._chain_id, since)

    def _reverts(self, rule: Rule, position: Position, now: int) -> tuple[Firing, ...]:
        return reverts_in_row(rule, position.id, self._signed_since(now - SPAN), now)

    def _begun(self, rule: Rule, position: Position, now: int) -> Begun | None:
        fired, state = self._signed_since(firings_since(rule, now)), self._book.state(rule, position)
        return begun(rule, position.id, state, position.health_factor, fired, now)

    def _further(self, rule: Rule, position: Position, plan: Plan, state: RuleState) -> Refusal | None:
        fired = self._signed_since(plan.block.timestamp - SPAN)
        return refuse_further(rule, position.id, plan, fired, is_rest=bool(rest_to_close(state)))
