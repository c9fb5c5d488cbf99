"""From a verdict to a defence: plan, simulate, ask or fire. The only room that opens a firing.

One snapshot in, at most one live plan an account out; a refusal leaves the rule unlatched, to be tried at the next
block, and is told once until its reason changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace

from tui.crash import FIX, described
from tui.engine.budget import may_have_spent
from tui.engine.cancelling import CannotCancel
from tui.engine.executor import Executor
from tui.engine.further import SPAN, goes_on, going_on_words, refuse_further, time_text
from tui.engine.guard import Guard
from tui.engine.intents import is_stuck, living, senders, stuck_words, unsigned
from tui.engine.leftovers import why_left_over
from tui.engine.outcomes import MOST_LOOKS, Outcomes
from tui.engine.patience import Patience
from tui.engine.prospect import Prospect
from tui.engine.rounds import after_round, agreed_to, is_agreed, left_words, next_round, so_far_of
from tui.engine.rulebook import RuleBook
from tui.engine.sending import Teller
from tui.model.agreement import SPEND_ROOM_PERCENT, differs, digest_of
from tui.model.calls import Log
from tui.model.intent import Firing, FiringState, IntentState
from tui.model.plan import Action, Evaluation, FeeQuote, Plan, PlannedCall, Refusal
from tui.model.position import Position, Status
from tui.model.rounds import MOST_ROUNDS, RoundsSoFar
from tui.model.rule import ActionKind, Mode, Rule
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.model.units import format_units
from tui.model.view import Confirmation, Notice, Severity
from tui.planning.texts import amount_text, step_text
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.clock import Clock
from tui.ports.journal import Journal, JournalError
from tui.rules.evaluate import RuleState, Verdict, VerdictKind, again_text

MOST_NOTICES = 20
"""What rules that only notify have told is kept for alerts: so many of the newest."""
CONFIRM_SECONDS = 90.0
"""How long a confirmation waits; a position that still needs it is asked about again."""
CLOCK_SET_SECONDS = 2.0
"""A wall clock that is off by more than this against the steady one was set."""
MOST_SHOWN = 64
"""Plans of one question that a yes may still be meant for: so many of the newest."""
STALE_TRIES = 3
"""What waits for its signature and was refused by this many simulations in a row is of no use any more."""
MOST_TRIES = 3
"""A rule whose transactions revert rests at this many of them ..."""
TRIES_SECONDS = 60 * 60
"""... within so many seconds of chain time; what closes a part, or acts on a price, is given up for this fall."""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A confirmation with what it takes to act on it. `until` on the clock that nobody sets; `plans` are those that
    were shown, by their digests, the newest last.
    """

    shown: Confirmation
    until: float
    state: RuleState
    verdict: Verdict
    plans: Mapping[str, Plan]

    def anew(self, position: Position, plan: Plan, state: RuleState, verdict: Verdict) -> _Asked:
        """The same question with the plan of another block."""
        plans = dict([*self.plans.items(), (digest_of(plan), plan)][-MOST_SHOWN:])
        return _Asked(replace(self.shown, position=position, plan=plan), self.until, state, verdict, plans)


class _NotCarriedOut(Exception):
    """An unexpected error once a firing was opened. It is about signing, so it counts against the engine as a whole."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Defender:
    """Judges every rule on every position of a snapshot and acts on what fires.

    `may_act` answers None, or why nothing may be signed now (held, blind, killed); `guard` what holds a rule back on
    a position, and how far it may act. `executor` None: nothing ever acts.
    """

    def __init__(
        self,
        rulebook: RuleBook,
        prospect: Prospect,
        executor: Executor | None,
        journal: Journal | None,
        teller: Teller,
        clock: Clock,
        chain_id: int,
        may_act: Callable[[], str | None],
        guard: Guard,
        confirm_seconds: float = CONFIRM_SECONDS,
    ) -> None:
        self._book = rulebook
        self._prospect = prospect
        self._executor = executor
        self._journal = journal
        self._teller = teller
        self._clock = clock
        self._chain_id = chain_id
        self._may_act = may_act
        self._guard = guard
        self._confirm_seconds = confirm_seconds
        self._outcomes = Outcomes(executor, journal, prospect)
        self._asked: dict[Pair, _Asked] = {}
        self._told_refusal: dict[Pair, str] = {}
        self._stale: dict[str, int] = {}
        self._patience = Patience()
        self._odd: dict[Pair, str] = {}
        self._unread: dict[str, int] = {}
        self.verdicts: dict[Pair, Verdict] = {}
        self.evaluations: dict[Pair, Evaluation] = {}
        self.notices: tuple[Notice, ...] = ()

    @property
    def confirmations(self) -> tuple[Confirmation, ...]:
        """What waits for a yes."""
        return tuple(self._shown_now(asked) for asked in self._asked.values())

    def _shown_now(self, asked: _Asked) -> Confirmation:
        """The question, with its end on the wall clock as that reads now: somebody may have set it."""
        ends = self._clock.now() + asked.until - self._clock.monotonic()
        moved = abs(ends - asked.shown.expires_at) > CLOCK_SET_SECONDS
        return replace(asked.shown, expires_at=ends) if moved else asked.shown

    async def consider(self, snapshot: Snapshot, fees: FeeQuote | None) -> None:
        """Judge everything at a snapshot, and act."""
        self._expire()
        current: set[Pair] = set()
        self._odd = {}
        broken: Exception | None = None
        for position in snapshot.positions:
            for rule in self._book.rules_of(position):
                current.add((rule.name, position.id))
                try:
                    await self._settle(rule, position, snapshot)
                    await self._judge(rule, position, snapshot, fees)
                except (ChainUnreachable, ReadFailed, JournalError):
                    raise
                except _NotCarriedOut as failed:
                    broken = failed.error
                except Exception as error:  # noqa: BLE001 - one rule that cannot be judged keeps no other from acting
                    self._cannot_judge(rule, position, snapshot, described(error))
        for gone in set(self.verdicts) - current:
            del self.verdicts[gone]
            self.evaluations.pop(gone, None)
            self._asked.pop(gone, None)
        if broken is not None:
            raise broken
        await self._outcomes.look()  # last of all: no defence waits for figures

    @property
    def troubles(self) -> tuple[tuple[str, str], ...]:
        """(key, text) of every rule that is to defend or to tell and could not be judged at the newest block."""
        return tuple((f"judging/{rule}/{position}", text) for (rule, position), text in self._odd.items())

    def _cannot_judge(self, rule: Rule, position: Position, snapshot: Snapshot, error: str) -> None:
        """A fault of ours with one rule on one position: unknown, so it neither fires nor looks safe."""
        pair = (rule.name, position.id)
        why = f"unknown: it cannot be judged ({error})"
        self._asked.pop(pair, None)
        self.verdicts[pair] = Verdict(VerdictKind.BLIND, why)
        self.evaluations[pair] = Evaluation(rule.name, position.id, snapshot.block, False, why, None, None)
        if rule.mode is Mode.NOTIFY or self._book.armed_for(rule, position):
            told = f"{rule.name} on {short_address(position.key.account)} cannot be judged ({error})"
            self._odd[pair] = f"{told}: it does nothing there, other rules go on; {FIX}"
            self._say_once(Severity.ALARM, rule, position, f"cannot be judged ({error}); {FIX}")

    async def _judge(self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote | None) -> None:
        pair = (rule.name, position.id)
        rounds = so_far_of(self._book.state(rule, position))
        state, verdict = self._book.evaluate(rule, position, snapshot.block)
        self.verdicts[pair] = verdict
        if rounds is not None and state.rounds is None:
            left = left_words(rounds, self._prospect.market(position), position)
            self._say(Severity.GOOD, rule, position, snapshot, f"{verdict.why} after {rounds.rounds}{left}")
        if not verdict.fires:
            self._book.keep(rule, position, state, self._clock.now())
            self._told_refusal.pop(pair, None)
            self._patience.forget(pair)
            self._withdraw(pair, verdict)
            self.evaluations[pair] = Evaluation(rule.name, position.id, snapshot.block, False, verdict.why, None, None)
            if verdict.kind is VerdictKind.BLIND and self._book.armed_for(rule, position):
                self._say_once(Severity.ALARM, rule, position, f"cannot be judged: {verdict.why}")
            return
        if rule.mode is Mode.NOTIFY:
            self._book.keep(rule, position, state, self._clock.now())
            if verdict.episode is not None:
                notice = Notice(rule.name, position.id, verdict.episode, verdict.why)
                self.notices = (*self.notices, notice)[-MOST_NOTICES:]
            self._say(Severity.ALARM, rule, position, snapshot, verdict.why)
            return
        # The fired state is kept only where a firing is opened: whatever holds it back leaves the rule free to fire.
        self._book.hold_back(rule, position, snapshot.block, self._clock.now())
        obstacle = self._obstacle(rule, position) or self._no_time_to_boost(rule, position, snapshot)
        if obstacle is None and fees is None:
            obstacle = "fees could not be read"
        if obstacle is not None or fees is None:
            reason = obstacle or ""
            code = "fees-unknown" if fees is None else f"not-acting: {reason[:24]}"
            self._refuse(rule, position, snapshot, verdict, Refusal(code, reason))
            return
        plan = await self._planned(rule, position, snapshot, fees, state)
        if isinstance(plan, Refusal):
            self._refuse(rule, position, snapshot, verdict, plan)
            return
        before = self.evaluations.get(pair)
        if before is None or before.refused is None or rule.mode is Mode.CONFIRM:
            # What was refused at the last block stays refused until this attempt is through: else it would seem over.
            self.evaluations[pair] = Evaluation(rule.name, position.id, snapshot.block, True, verdict.why, plan, None)
        if rule.mode is Mode.CONFIRM and not is_agreed(so_far_of(state), plan):
            self._ask(rule, position, plan, state, verdict)
            return
        try:
            await self._fire(rule, position, plan, snapshot, state, verdict)
        except (ChainUnreachable, ReadFailed, JournalError):
            raise
        except Exception as error:
            raise _NotCarriedOut(error) from error

    async def _planned(
        self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote, state: RuleState
    ) -> Plan | Refusal:
        """The plan of a rule as far as it may act now: of its next round where it is between two."""
        acting, so_far = self._guard.acting(rule, position), so_far_of(state)
        if so_far is not None:
            step = rule.steps[so_far.step]
            if step not in acting.steps:
                return Refusal("step-out", f"the step that goes on in rounds ({step_text(step)}) is out now")
            so_far = replace(so_far, step=acting.steps.index(step))
        plan = await self._prospect.simulated_plan(acting, position, snapshot, fees, so_far)
        if isinstance(plan, Refusal):
            return plan
        if so_far is not None:
            return plan  # of one firing, that has bounds of its own
        return self._patience.hold((rule.name, position.id), plan) or self._further(rule, position, plan) or plan

    def _further(self, rule: Rule, position: Position, plan: Plan) -> Refusal | None:
        if self._journal is None:
            return None
        return refuse_further(
            rule, position.id, plan, self._journal.signed_firings(self._chain_id, plan.block.timestamp - SPAN)
        )

    def _obstacle(self, rule: Rule, position: Position) -> str | None:
        """Why a firing rule does not act here, or None."""
        if self._executor is None or not self._book.armed_for(rule, position):
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
                if so_far_of(self._book.state(other, one)) is not None:
                    return f"no boost while {other.name} goes on with its rounds on {called}"
                if self._prospect.is_crossed(other, one):
                    return f"no boost while {other.name} is beyond its trigger on {called}"
        for pair, asked in self._asked.items():
            if pair != (rule.name, position.id) and asked.shown.position.key.account == account:
                return f"no boost while {pair[0]} waits for an answer"
        return None

    def _refuse(self, rule: Rule, position: Position, snapshot: Snapshot, verdict: Verdict, refusal: Refusal) -> None:
        pair = (rule.name, position.id)
        self._asked.pop(pair, None)
        self.evaluations[pair] = Evaluation(rule.name, position.id, snapshot.block, True, verdict.why, None, refusal)
        # Told once for each kind of obstacle in one fall: figures in the reason change with every block.
        if self._told_refusal.get(pair) != refusal.code:
            self._told_refusal[pair] = refusal.code
            armed = self._book.armed_for(rule, position)
            severity = Severity.ALARM if armed else Severity.WARNING
            self._say(severity, rule, position, snapshot, f"{verdict.why}, but {refusal.reason}")

    def _ask(self, rule: Rule, position: Position, plan: Plan, state: RuleState, verdict: Verdict) -> None:
        pair = (rule.name, position.id)
        known = self._asked.get(pair)
        if known is not None:
            self._asked[pair] = known.anew(position, plan, state, verdict)
            return
        now = self._clock.now()
        shown = Confirmation(
            f"{verdict.episode}:{plan.block.number}", rule.name, position, plan, now, now + self._confirm_seconds
        )
        until = self._clock.monotonic() + self._confirm_seconds
        self._asked[pair] = _Asked(shown, until, state, verdict, {shown.digest: plan})
        self._say_once(Severity.ALARM, rule, position, f"{verdict.why}: asks for your yes")

    async def answer(
        self, confirmation_id: str, yes: bool, digest: str, snapshot: Snapshot, fees: FeeQuote | None
    ) -> str | None:
        """Act on an answer; the reason why it could not be acted on, or None.

        The plan is made and simulated anew at `snapshot`: it may not differ (`model.agreement`) from the one that was
        looked at, which `digest` names (`Confirmation.digest`).
        """
        pair = next((pair for pair, asked in self._asked.items() if asked.shown.id == confirmation_id), None)
        if pair is None:
            return "that question is not open any more"
        asked = self._asked[pair]
        rule, position = self._book.rule(pair[0]), snapshot.position(pair[1])
        if rule is None or position is None:
            del self._asked[pair]
            return "the rule or the position is gone"
        if not yes:
            del self._asked[pair]
            # Declined between two rounds, no more follow.
            self._book.keep(rule, position, replace(asked.state, rounds=None), self._clock.now())
            assert asked.state.episode is not None
            self._book.conclude(rule, position, asked.state.episode, snapshot.block.number, self._clock.now())
            self._say(Severity.WARNING, rule, position, snapshot, f"declined: it {again_text(rule)}")
            return None
        obstacle = self._obstacle(rule, position) or self._no_time_to_boost(rule, position, snapshot)
        obstacle = obstacle or (None if fees is not None else "fees could not be read")
        if obstacle is not None or fees is None:
            return obstacle
        state, verdict = self._book.evaluate(rule, position, snapshot.block)
        if not verdict.fires:
            # The same block judged twice does not fire twice; its first verdict stands.
            state, verdict = asked.state, asked.verdict
        plan = await self._planned(rule, position, snapshot, fees, state)
        if isinstance(plan, Refusal):
            return plan.reason
        agreed = asked.plans.get(digest)
        changed = "the plan is another one now" if agreed is None else differs(agreed, plan)
        if agreed is None or changed is not None:
            self._asked[pair] = asked.anew(position, plan, state, verdict)
            return f"{changed}; look at the new figures and answer again"
        self._asked.pop(pair, None)
        agreed_usd = agreed_to(agreed, so_far_of(state), SPEND_ROOM_PERCENT)
        await self._fire(rule, position, plan, snapshot, state, verdict, agreed_usd)
        return None

    async def _fire(
        self,
        rule: Rule,
        position: Position,
        plan: Plan,
        snapshot: Snapshot,
        state: RuleState,
        verdict: Verdict,
        agreed_usd: int | None = None,
    ) -> None:
        assert self._executor is not None
        assert verdict.episode is not None
        assert plan.simulated
        step = None if plan.rounds is None else self._guard.acting(rule, position).steps[plan.rounds.step]
        number = 0 if step is None else rule.steps.index(step)
        state = replace(state, rounds=next_round(state, plan, number, verdict.episode, agreed_usd))
        if state.rounds is not None:
            self._book.before_round(rule, position, state.rounds, self._clock.now())
        firing = self._executor.open_firing(
            rule=rule.name,
            rule_digest=rule.digest,
            episode=verdict.episode,
            position=position.id,
            account=position.key.account,
            block=snapshot.block,
            health_factor=position.health_factor,
            summary=describe(plan),
        )
        self._book.keep(rule, position, state, self._clock.now())
        if firing is None:
            return
        # What falls short of its goal is told as loudly as what fails.
        severity = Severity.WARNING if plan.shortfall is None and not plan.left_out else Severity.ALARM
        short = "" if plan.shortfall is None else f"; {plan.shortfall}"
        if plan.left_out and plan.shortfall is None:
            short = f"; left out: {'; '.join(plan.left_out)}"
        self._say(severity, rule, position, snapshot, f"{verdict.why}: {describe(plan)}{short}")

        last_word: list[Refusal] = []

        async def verify(calls: Sequence[PlannedCall]) -> str | None:
            refused = await self._prospect.verify(plan, snapshot, calls)
            if refused is None:
                return None
            # What is shown and counted of this block is the last word, not the simulation before the permit.
            last_word.append(refused)
            return refused.reason

        refused = await self._executor.execute(
            firing,
            plan,
            verify,
            daily_cap_usd=rule.limits.daily_spend_usd,
            mined_nonces={
                wallet.account: wallet.nonce for wallet in snapshot.wallets.values() if wallet.nonce is not None
            },
            native_price_usd=snapshot.native_price_usd,
        )
        told = last_word[-1] if refused is not None and last_word else refused
        self.evaluations[rule.name, position.id] = Evaluation(
            rule.name, position.id, snapshot.block, True, verdict.why, plan if told is None else None, told
        )

    async def resume(self, snapshot: Snapshot, fees: FeeQuote | None) -> None:
        """Take up firings that a restart or a locked signer left before their signatures were recorded."""
        if self._executor is None or fees is None:
            return
        for firing in self._executor.resume_planned():
            if firing.state is not FiringState.RUNNING:
                self._executor.drop_firing(firing.id, "stopped before anything was reserved; judged anew")
                continue
            rule, position = self._book.rule(firing.rule), snapshot.position(firing.position)
            left_over = why_left_over(firing, rule, position, self._book.armed_for)
            if left_over is not None:
                await self._give_up(firing, fees, *left_over)
            if left_over is not None or rule is None or position is None or self._may_act() is not None:
                continue
            if self._guard.hold_back(rule, position) is not None:
                continue

            refused: list[str] = []

            async def verify(
                calls: Sequence[PlannedCall], held: Position = position, said: list[str] = refused
            ) -> str | None:
                reason = await self._prospect.still_helps(held, snapshot, calls)
                said.extend(() if reason is None else (reason,))
                return reason

            if rule.boosts:
                await self._free(firing, fees, "a boost is not taken up again")
                continue
            await self._executor.resume_reserved(firing, fees, verify)
            if any(reason.startswith("simulated") for reason in refused):
                tries = self._stale[firing.id] = self._stale.get(firing.id, 0) + 1
                if tries >= STALE_TRIES:
                    await self._free(firing, fees, refused[0])
            else:
                self._stale.pop(firing.id, None)

    async def _give_up(self, firing: Firing, fees: FeeQuote, why: str, for_good: bool) -> None:
        """Tell of a firing that nobody is there to sign for, as long as it lasts; where a rule of its account is armed,
        its key frees the nonces. A rule that may yet be armed again is given as many blocks as a simulation.
        """
        assert self._executor is not None
        self._executor.tell_left_over(firing, why)
        keys = {key for armed in self._book.armed.values() for key in armed.keys}
        if keys.isdisjoint(senders(unsigned(firing))):
            return
        tries = self._stale[firing.id] = self._stale.get(firing.id, 0) + 1
        if (for_good or tries >= STALE_TRIES) and self._may_act() is None:
            await self._free(firing, fees, why, keys)

    async def _free(self, firing: Firing, fees: FeeQuote, why: str, keys: Container[str] | None = None) -> None:
        """Close the nonces of what was asked for, never recorded as signed and of no use any more: as long as they are
        bound, nothing else of the account can be done. `keys`: the accounts that can sign for that (None: all).
        """
        assert self._executor is not None
        mine = (one for one in unsigned(firing) if keys is None or one.account in keys)
        first = next((one for one in mine if not one.withheld), None)
        if first is None:
            return
        with contextlib.suppress(CannotCancel, ChainUnreachable, ReadFailed):
            await self._executor.cancel(first.id, fees)
            self._stale.pop(firing.id, None)
            self._teller.say(
                Severity.ALARM,
                f"{firing.rule}: given up after the restart ({why}): a transfer of nothing frees its nonce",
                kind="firing",
                firing_id=firing.id,
            )

    async def _settle(self, rule: Rule, position: Position, snapshot: Snapshot) -> None:
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
            self._say(Severity.ALARM, rule, position, snapshot, "its rebalance reverted on chain: it is planned anew")
            return
        self._book.conclude(rule, position, state.episode, end, now)
        if self._go_on(rule, position, snapshot):
            return
        if below and firing.state is FiringState.FAILED and rule.trigger.is_price:
            self._say_once(Severity.ALARM, rule, position, f"did not do all that it was to do, and {again_text(rule)}")
        if below and not rule.trigger.is_price:  # what is done about a price does not move it back
            said = "below its trigger after its rebalance, and will not fire again before health was above it"
            if rule.boosts:
                said = "above its trigger after its boost, and will not fire again before health was below it"
            if goes_on(rule) and _reverted(firing):
                last = self._tries(firing, snapshot.block.timestamp)[MOST_TRIES - 1]
                again = time_text(last.block_timestamp + TRIES_SECONDS)
                said = (
                    f"below its trigger: its rebalance reverted {MOST_TRIES} times, it is tried again from {again} on"
                )
            self._say_once(Severity.ALARM, rule, position, f"is still {said}")

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
        done = after_round(rounds, self._prospect.market(position), position, rule.steps[rounds.step], logs)
        left = left_words(done, self._prospect.market(position), position)
        well = firing.state is FiringState.DONE
        if rounds.stopped:
            self._book.stop_rounds(rule, position, end, now)
            self._say(Severity.WARNING, rule, position, snapshot, f"{told} was its last: it was disarmed{left}")
            return
        if (well or self._may_try_again(rule, firing, snapshot.block.timestamp)) and done.rounds < MOST_ROUNDS:
            self._book.between_rounds(rule, position, end, done, now)
            if not well:
                self._say(
                    Severity.ALARM, rule, position, snapshot, f"{told} reverted on chain: it is planned anew{left}"
                )
            return
        self._book.end_rounds(rule, position, now)
        assert firing.episode is not None
        self._book.conclude(rule, position, firing.episode, end, now)
        target = rule.target_health_factor
        if not well or target is None or (position.health_factor or target) < target:
            why = "is not tried again" if not well else f"was the last of {MOST_ROUNDS}"
            self._say(Severity.ALARM, rule, position, snapshot, f"{told} {why}, and its target is not met{left}")

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
            self._say(Severity.ALARM, rule, position, snapshot, said)
            return True
        if self._may_try_again(rule, firing, block.timestamp):
            self._book.forget(rule, position, self._clock.now())
            self._say(Severity.ALARM, rule, position, snapshot, "its rebalance reverted on chain: it is planned anew")
            return True
        return False

    def _may_try_again(self, rule: Rule, firing: Firing, now: int) -> bool:
        """Whether a firing failed only because the chain refused it: a price that moved on, somebody who came first.

        What a person cancelled and what a lost nonce stopped is not tried again, and nothing more than `MOST_TRIES`
        times in `TRIES_SECONDS`: what reverts costs gas. A part that is to be closed is a part of what is owed: where
        some of it went through, as large a part of the rest would be too much.
        """
        if rule.close_bps is not None and any(map(may_have_spent, firing.intents)):
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

    def _withdraw(self, pair: Pair, verdict: Verdict) -> None:
        if self._asked.pop(pair, None) is not None:
            self._teller.say(
                Severity.INFO,
                f"{pair[0]}: no need to answer any more, {verdict.why}",
                kind="withdrawn",
                rule=pair[0],
                position=pair[1],
            )

    def _expire(self) -> None:
        for pair, asked in tuple(self._asked.items()):
            if asked.until <= self._clock.monotonic():
                del self._asked[pair]
                self._teller.say(
                    Severity.ALARM, f"{pair[0]}: nobody answered in time; nothing was done", kind="unanswered"
                )

    def _say(self, severity: Severity, rule: Rule, position: Position, snapshot: Snapshot, text: str) -> None:
        line = f"{rule.name} on {short_address(position.key.account)}: {text}"
        self._teller.say(severity, line, kind="rule", block=snapshot.block.number, rule=rule.name, position=position.id)

    def _say_once(self, severity: Severity, rule: Rule, position: Position, text: str) -> None:
        line = f"{rule.name} on {short_address(position.key.account)}: {text}"
        self._teller.say_once(
            severity,
            line,
            kind="rule",
            about=f"{rule.name}/{position.id}",
            rule=rule.name,
            position=position.id,
        )


def _reverted(firing: Firing) -> bool:
    """Whether a firing ended by a transaction that the chain refused, and by nothing else."""
    states = {intent.state for intent in firing.intents}
    return firing.state is FiringState.FAILED and states <= {IntentState.FINAL_OK, IntentState.FINAL_REVERTED}


def _deed(action: Action) -> str:
    """`repay 5,214.20 USDC`, `repay 5,214.20 USDC from 1.742 WETH`, with `from` or `of` whom where another one pays."""
    done, payer = f"{action.kind.word} {amount_text(action.amount, action.asset)}", action.payer
    if action.sale is None or action.kind is not ActionKind.SWAP_TO_REPAY:
        return done if payer is None else f"{done} from {short_address(payer)}"
    done += f" from {amount_text(action.sale.sold, action.sale.collateral)}"
    done += "" if payer is None else f" of {short_address(payer)}"
    foreign = action.sale.swap is not None and action.sale.swap.source
    return f"{done} on {action.sale.venue}" if foreign else done


def describe(plan: Plan) -> str:
    """One line for a plan: `repay 5,214.20 USDC -> HF 1.5000`, `... -> closes 50%, HF 2.1000`."""
    steps = ", ".join(map(_deed, (step.action for step in plan.steps)))
    if plan.rounds is not None:
        steps = f"{steps} ({plan.rounds.words})"
    after = "no debt" if plan.health_factor_after is None else f"HF {format_units(plan.health_factor_after, 18, 4)}"
    return f"{steps} → {after}" if plan.goal_words is None else f"{steps} → {plan.goal_words}, {after}"
