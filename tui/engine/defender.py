"""From a verdict to a defence: plan, simulate, ask or fire. The only room that opens a firing.

One snapshot in, at most one live plan an account out; a refusal leaves the rule unlatched, to be tried at the next
block, and is told once until its reason changes. What a rule's questions are, why it may not act now, how its firing
is settled and how what was left unsigned is taken up live beside it: `questions`, `hindrances`, `concluding`,
`resuming`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tui.crash import FIX, described
from tui.engine.agreed import agreed_to, not_agreed
from tui.engine.carrying import DAY_IS_USED
from tui.engine.concluding import Conclusions
from tui.engine.deciding import Deciding
from tui.engine.describing import describe as describe
from tui.engine.doubts import MOST_DOUBTS, Doubts, doubted
from tui.engine.executor import Executor
from tui.engine.guard import Guard
from tui.engine.hindrances import Hindrances
from tui.engine.outcomes import Outcomes
from tui.engine.prospect import Prospect
from tui.engine.questions import CONFIRM_SECONDS, Pair, Questions
from tui.engine.resuming import STALE_TRIES as STALE_TRIES
from tui.engine.resuming import Resuming
from tui.engine.rounds import left_words, next_round, so_far_of
from tui.engine.rulebook import RuleBook
from tui.engine.rulevoice import RuleVoice
from tui.engine.sending import Teller
from tui.engine.signer_days import SignerDays
from tui.engine.undone_steps import as_written
from tui.model.agreement import differs
from tui.model.intent import Firing, FiringState
from tui.model.plan import NOT_ACTING, Evaluation, FeeQuote, Plan, PlannedCall, Refusal
from tui.model.position import Position
from tui.model.rounds import Agreed
from tui.model.rule import Mode, Rule, Step
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.model.view import Confirmation, Notice, Severity
from tui.planning.closing import parts_to_close
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.clock import Clock
from tui.ports.journal import Journal, JournalError
from tui.rules.evaluate import Verdict, VerdictKind, again_text
from tui.rules.state import RuleState, begin_closing, rest_to_close

MOST_NOTICES = 20
"""What rules that only notify have told is kept for alerts: so many of the newest."""


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
        self._clock = clock
        self._chain_id = chain_id
        self._guard = guard
        self._outcomes = Outcomes(executor, journal, prospect)
        self._voice = RuleVoice(teller)
        self._questions = Questions(teller, self._voice, clock, confirm_seconds)
        self._hindrances = Hindrances(
            rulebook, prospect, journal, self._questions, guard, chain_id, executor is not None, may_act
        )
        self._conclusions = Conclusions(
            rulebook, prospect, executor, journal, self._outcomes, self._voice, clock, chain_id
        )
        self._resuming = Resuming(rulebook, prospect, executor, teller, guard, may_act)
        self._told_refusal: dict[Pair, str] = {}
        self._days = SignerDays(clock, lambda: max((one.since for one in rulebook.armed.values()), default=0.0))
        self._deciding = Deciding(rulebook, prospect, journal, guard, chain_id, self._days)
        self._doubts = Doubts()
        self._odd: dict[Pair, str] = {}
        self.verdicts: dict[Pair, Verdict] = {}
        self.evaluations: dict[Pair, Evaluation] = {}
        self.notices: tuple[Notice, ...] = ()

    @property
    def confirmations(self) -> tuple[Confirmation, ...]:
        """What waits for a yes."""
        return self._questions.open

    async def consider(self, snapshot: Snapshot, fees: FeeQuote | None) -> None:
        """Judge everything at a snapshot, and act."""
        self._questions.expire()
        current: set[Pair] = set()
        self._odd = {}
        broken: Exception | None = None
        for position in snapshot.positions:
            for rule in self._book.rules_of(position):
                current.add((rule.name, position.id))
                try:
                    await self._conclusions.settle(rule, position, snapshot)
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
            self._questions.drop(gone)
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
        self._questions.drop(pair)
        self.verdicts[pair] = Verdict(VerdictKind.BLIND, why)
        self.evaluations[pair] = Evaluation(rule.name, position.id, snapshot.block, False, why, None, None)
        if rule.mode is Mode.NOTIFY or self._book.armed_for(rule, position):
            told = f"{rule.name} on {short_address(position.key.account)} cannot be judged ({error})"
            self._odd[pair] = f"{told}: it does nothing there, other rules go on; {FIX}"
            self._voice.say_once(Severity.ALARM, rule, position, f"cannot be judged ({error}); {FIX}")

    async def _judge(self, rule: Rule, position: Position, snapshot: Snapshot, fees: FeeQuote | None) -> None:
        pair = (rule.name, position.id)
        rounds = so_far_of(self._book.state(rule, position))
        state, verdict = self._book.evaluate(rule, position, snapshot.block)
        self.verdicts[pair] = verdict
        if rounds is not None and state.rounds is None:
            left = left_words(rounds, self._prospect.market(position), position)
            self._voice.say(Severity.GOOD, rule, position, snapshot, f"{verdict.why} after {rounds.rounds}{left}")
        if not verdict.fires:
            self._book.keep(rule, position, state, self._clock.now())
            self._told_refusal.pop(pair, None)
            if verdict.kind is not VerdictKind.COUNTING:
                self._deciding.forget(pair)
            self._doubts.forget(pair)
            self._questions.withdraw(pair, verdict)
            self.evaluations[pair] = Evaluation(rule.name, position.id, snapshot.block, False, verdict.why, None, None)
            if verdict.kind is VerdictKind.BLIND and self._book.armed_for(rule, position):
                self._voice.say_once(Severity.ALARM, rule, position, f"cannot be judged: {verdict.why}")
            self._tell_rest(rule, position, snapshot, verdict)
            return
        if rule.mode is Mode.NOTIFY:
            self._book.keep(rule, position, state, self._clock.now())
            if verdict.episode is not None:
                notice = Notice(rule.name, position.id, verdict.episode, verdict.why)
                self.notices = (*self.notices, notice)[-MOST_NOTICES:]
            self._voice.say(Severity.ALARM, rule, position, snapshot, verdict.why)
            return
        # The fired state is kept only where a firing is opened: whatever holds it back leaves the rule free to fire.
        self._book.hold_back(rule, position, snapshot.block, self._clock.now())
        obstacle = self._hindrances.of(rule, position, snapshot)
        if obstacle is None and fees is None:
            obstacle = "fees could not be read"
        if obstacle is not None or fees is None:
            code = "fees-unknown" if fees is None else NOT_ACTING
            self._refuse(rule, position, snapshot, verdict, Refusal(code, obstacle or ""))
            return
        plan = await self._deciding.plan(rule, position, snapshot, fees, state, self._doubts.of(pair))
        if isinstance(plan, Refusal):
            self._doubts.forget(pair)
            self._refuse(rule, position, snapshot, verdict, plan)
            if so_far_of(state) is not None:
                self._conclusions.begin_anew(rule, position, snapshot, plan)
            return
        before = self.evaluations.get(pair)
        if before is None or before.refused is None or rule.mode is Mode.CONFIRM:
            # What was refused at the last block stays refused until this attempt is through: else it would seem over.
            self.evaluations[pair] = Evaluation(rule.name, position.id, snapshot.block, True, verdict.why, plan, None)
        if self._asks(rule, position, snapshot, plan, state, verdict):
            return
        try:
            await self._carry_out(rule, position, plan, snapshot, fees, state, verdict)
        except (ChainUnreachable, ReadFailed, JournalError):
            raise
        except Exception as error:
            raise _NotCarriedOut(error) from error

    def _asks(
        self, rule: Rule, position: Position, snapshot: Snapshot, plan: Plan, state: RuleState, verdict: Verdict
    ) -> bool:
        """Whether a plan waits for a yes, which it asks for then: in confirm mode, unless an earlier one covers it."""
        if rule.mode is not Mode.CONFIRM:
            return False
        rounds = so_far_of(state)
        why = not_agreed(plan, rule, self._guard.acting(rule, position), rounds)
        if why is None:
            return False
        again = "" if rounds is None or rounds.agreed is None else why
        self._questions.ask(rule, position, snapshot, plan, state, verdict, again)
        return True

    def _tell_rest(self, rule: Rule, position: Position, snapshot: Snapshot, verdict: Verdict) -> None:
        """That health fell anew while its rule rests from the fall before; that it rests in the same fall is told when
        its firing ends.
        """
        state = self._book.state(rule, position)
        if verdict.kind is VerdictKind.COOLING and state.recovered_block and self._book.armed_for(rule, position):
            resting = self._book.rests(rule, position, snapshot.block)
            if resting is not None:
                self._voice.say_once(Severity.ALARM, rule, position, resting)

    def _refuse(self, rule: Rule, position: Position, snapshot: Snapshot, verdict: Verdict, refusal: Refusal) -> None:
        pair, armed = (rule.name, position.id), self._book.armed_for(rule, position)
        if not armed:
            self._questions.drop(pair)
        # Else a question stays open: what is refused at one block may be done at the next, and a yes is planned anew.
        in_rounds = so_far_of(self._book.state(rule, position)) is not None
        self.evaluations[pair] = Evaluation(
            rule.name, position.id, snapshot.block, True, verdict.why, None, refusal, in_rounds=in_rounds
        )
        # Told once for each kind of obstacle in one fall: figures in the reason change with every block.
        # Of what holds a rule back each kind is told; the numbers in its words change with every block.
        what = f"{refusal.code}: {refusal.reason[:24]}" if refusal.code == NOT_ACTING else refusal.code
        if self._told_refusal.get(pair) != what:
            self._told_refusal[pair] = what
            severity = Severity.ALARM if armed else Severity.WARNING
            self._voice.say(severity, rule, position, snapshot, f"{verdict.why}, but {refusal.reason}")

    async def answer(
        self, confirmation_id: str, yes: bool, digest: str, snapshot: Snapshot, fees: FeeQuote | None
    ) -> str | None:
        """Act on an answer; the reason why it could not be acted on, or None.

        The plan is made and simulated anew at `snapshot`: it may not differ (`model.agreement`) from the one that was
        looked at, which `digest` names (`Confirmation.digest`).
        """
        known = self._questions.of(confirmation_id)
        if known is None:
            return "that question is not open any more"
        pair, asked = known
        rule, position = self._book.rule(pair[0]), snapshot.position(pair[1])
        if rule is None or position is None:
            self._questions.drop(pair)
            return "the rule or the position is gone"
        if not yes:
            self._questions.drop(pair)
            # Declined between two rounds, or for the rest of a part, no more follow.
            self._book.keep(rule, position, replace(asked.state, rounds=None, closing=()), self._clock.now())
            assert asked.state.episode is not None
            self._book.conclude(rule, position, asked.state.episode, snapshot.block.number, self._clock.now())
            self._voice.say(Severity.WARNING, rule, position, snapshot, f"declined: it {again_text(rule)}")
            return None
        obstacle = self._hindrances.of(rule, position, snapshot)
        obstacle = obstacle or (None if fees is not None else "fees could not be read")
        if obstacle is not None or fees is None:
            return obstacle
        state, verdict = self._book.evaluate(rule, position, snapshot.block)
        if not verdict.fires:
            # The same block judged twice does not fire twice; its first verdict stands.
            state, verdict = asked.state, asked.verdict
        plan = await self._deciding.plan(rule, position, snapshot, fees, state, self._doubts.of(pair))
        if isinstance(plan, Refusal):
            return plan.reason
        agreed = asked.plans.get(digest)
        changed = "the plan is another one now" if agreed is None else differs(agreed, plan)
        if agreed is None or changed is not None:
            self._questions.renew(pair, asked.anew(position, plan, state, verdict))
            return f"{changed}; look at the new figures and answer again"
        self._questions.drop(pair)
        covers = agreed_to(agreed, plan, rule, self._guard.acting(rule, position), so_far_of(state))
        refused = await self._fire(rule, position, plan, snapshot, state, verdict, covers)
        step = doubted(self._guard.acting(rule, position), plan, refused)
        if refused is None or step is None:
            return None if refused is None else refused.reason
        # Without that step it is another plan than the one that was agreed to.
        doubts = {**self._doubts.of(pair), step: refused.reason}
        rest = await self._deciding.plan(rule, position, snapshot, fees, state, doubts, refused)
        if isinstance(rest, Refusal):
            self._doubts.forget(pair)
            return rest.reason
        self._doubts.keep(pair, doubts)
        self._questions.ask(rule, position, snapshot, rest, state, verdict)
        return f"{refused.reason}; look at what is left without that step, and answer again"

    async def _carry_out(
        self,
        rule: Rule,
        position: Position,
        plan: Plan,
        snapshot: Snapshot,
        fees: FeeQuote,
        state: RuleState,
        verdict: Verdict,
    ) -> None:
        """Fire a plan. A step that only the last simulation before its signature refuses is left out, and the rest is
        planned anew at the same block, as where the plan's own simulation refuses it: it must not keep the others from
        being done, block after block.
        """
        acting = self._guard.acting(rule, position)
        doubts: dict[Step, str] = {}
        for _ in range(MOST_DOUBTS):
            refused = await self._fire(rule, position, plan, snapshot, state, verdict)
            step = doubted(acting, plan, refused)
            used_up = refused is not None and refused.code == DAY_IS_USED
            if refused is None or (not used_up and (step is None or step in doubts)):
                return
            if step is not None:
                doubts[step] = refused.reason
            # What the signer signs no more of today is left out of any plan until tomorrow.
            rest = await self._deciding.plan(rule, position, snapshot, fees, state, doubts, refused)
            if isinstance(rest, Refusal):
                if used_up or rest.code != refused.code:
                    self._refuse(rule, position, snapshot, verdict, rest)
                return
            if self._asks(rule, position, snapshot, rest, state, verdict):
                self._doubts.keep((rule.name, position.id), doubts)
                return
            plan = rest

    async def _fire(
        self,
        rule: Rule,
        position: Position,
        plan: Plan,
        snapshot: Snapshot,
        state: RuleState,
        verdict: Verdict,
        agreed: Agreed | None = None,
    ) -> Refusal | None:
        """Open a firing and carry its plan out; why nothing was signed, or None."""
        assert self._executor is not None
        assert verdict.episode is not None
        assert plan.simulated
        acting = self._guard.acting(rule, position)
        state = replace(state, rounds=next_round(state, plan, rule, acting, verdict.episode, agreed))
        if so_far_of(state) is None:
            market = self._prospect.market(position)
            state = begin_closing(state, parts_to_close(rule, market, position, rest_to_close(state)))
        if plan.lacks is not None and state.rounds is None:  # between rounds nothing rests
            # It is not the firing that was wanted: what is missing is done as soon as it can be, and of use.
            state = replace(state, cooldown_until=None)
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
            firing = self._again(rule, verdict.episode, snapshot)
        if firing is None:
            return None
        # What falls short of its goal is told as loudly as what fails.
        severity = Severity.WARNING if plan.shortfall is None and not plan.left_out else Severity.ALARM
        short = "" if plan.shortfall is None else f"; {plan.shortfall}"
        if plan.left_out and plan.shortfall is None:
            short = f"; left out: {'; '.join(plan.left_out)}"
        self._voice.say(severity, rule, position, snapshot, f"{verdict.why}: {describe(plan)}{short}")

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
            as_written(plan, rule, acting),
            verify,
            daily_cap_usd=rule.limits.daily_spend_usd,
            mined_nonces={
                wallet.account: wallet.nonce for wallet in snapshot.wallets.values() if wallet.nonce is not None
            },
            native_price_usd=snapshot.native_price_usd,
        )
        told = self._days.heard(rule, plan, last_word[-1] if refused is not None and last_word else refused)
        self.evaluations[rule.name, position.id] = Evaluation(
            rule.name,
            position.id,
            snapshot.block,
            True,
            verdict.why,
            plan if told is None else None,
            told,
            in_rounds=so_far_of(state) is not None,
        )
        return told

    def _again(self, rule: Rule, episode: str, snapshot: Snapshot) -> Firing | None:
        """The firing of an episode that was dropped at this very block, before anything of it was signed, open again
        for another plan; None where there is none.
        """
        assert self._executor is not None
        dropped = None if self._journal is None else self._journal.firing_of(rule.name, episode)
        if dropped is None or dropped.state is not FiringState.DROPPED or dropped.block_hash != snapshot.block.hash:
            return None
        return self._executor.reopen_firing(dropped.id, "planned anew without a step that was refused")

    async def resume(self, snapshot: Snapshot, fees: FeeQuote | None) -> None:
        """Take up firings that a restart or a locked signer left before their signatures were recorded."""
        await self._resuming.take_up(snapshot, fees)
