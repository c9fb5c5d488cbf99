"""The engine's facade: what a person may command, each checked again here whatever the screen showed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from tui.crash import described
from tui.engine.armed_before import is_armed_on_record, record_armed, record_disarmed
from tui.engine.arming import arming_report, candidates_for, positions_for, preview_position, target_of
from tui.engine.armory import CannotArm
from tui.engine.cancelling import CannotCancel
from tui.engine.conditions import Condition, Consequence
from tui.engine.engine import Engine
from tui.engine.facade import ArmingReport, CommandRefused, Passwords, Preview, RulesText
from tui.engine.live_rules import live_errors, live_faults
from tui.engine.prospect import Prospect
from tui.engine.validation import loud, problems_of, refusals, remarks, said_once
from tui.model.block import BlockRef
from tui.model.outcome import Row
from tui.model.plan import Evaluation, Refusal
from tui.model.position import Position
from tui.model.rule import Mode, Rule, RuleProblem
from tui.model.snapshot import Snapshot
from tui.model.text import clean_text
from tui.model.view import Severity, ViewState
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import JournalError
from tui.rules.document import EditRefused
from tui.rules.load import parse_rules
from tui.rules.prices import fact, pair_text, side_word
from tui.rules.save import save_rules, text_digest

_UNKNOWN = ("position-unknown", "market-unknown", "wallet-unknown", "code-unknown")
"""Conditions under which a rule is not armed at all: what it would stand on could not be taken down."""
_UNJUDGED = "fees could not be read, so nobody can tell whether it reaches its target; try again at the next block"


class Commands:
    """`EngineFacade` over an engine that runs in the same loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def view(self) -> ViewState:
        """The latest view."""
        return self._engine.view

    def subscribe(self, receive: Callable[[ViewState], None]) -> Callable[[], None]:
        """Call `receive` with every view."""
        return self._engine.subscribe(receive)

    # --- arming ----------------------------------------------------------------------------------------------------

    async def arming_report(self, rule: str) -> ArmingReport:
        """What arming would mean, at the current block."""
        report, _ = await self._report(self._rule(rule))
        return report

    async def _report(self, found: Rule) -> tuple[ArmingReport, Sequence[RuleProblem]]:
        """The report, and what is wrong with the rule, whether or not that forbids to arm it."""
        engine = self._engine
        conditions = self._conditions(found)
        grave = [one.text for one in conditions if one.consequence is Consequence.DISARM or one.code in _UNKNOWN]
        wrong, known = await self._wrong(found), self._known(found)
        unjudged = () if known or found.mode is Mode.NOTIFY or engine.fees is not None else (_UNJUDGED,)
        report = arming_report(
            found,
            engine.snapshot,
            engine.fees,
            engine.setup.keystores,
            engine.prospect,
            tuple(dict.fromkeys((*self._problems(found), *grave, *unjudged, *refusals(wrong, known=known)))),
            wrong,
            self._rests,
        )
        lesser = [one.text for one in conditions if one.text not in grave]
        warnings = (*lesser, *remarks(wrong, known=known), *report.warnings)
        return replace(report, warnings=tuple(dict.fromkeys(warnings))), wrong

    def _rests(self, rule: Rule, position: Position, block: BlockRef) -> str | None:
        """Why a rule would do nothing once armed, by what it remembers; a record that fails holds the engine anyway."""
        try:
            return self._engine.book.rests(rule, position, block)
        except JournalError:
            return None

    def _known(self, rule: Rule) -> bool:
        """Whether the record has a rule armed, as it reads now: then it is armed again, and not anew."""
        engine = self._engine
        if engine.snapshot is None:
            return False
        armed_on = self._armed_on(rule, engine.snapshot)
        record = engine.ports.journal or engine.ports.record
        try:
            return is_armed_on_record(record, engine.setup.network.chain_id, rule, armed_on)
        except JournalError:
            return False  # a record that fails holds the engine, which refuses by itself

    async def _wrong(self, rule: Rule) -> Sequence[RuleProblem]:
        """What would keep a rule from ever working on the positions that it would be armed for."""
        engine, snapshot = self._engine, self._engine.snapshot
        if snapshot is None or engine.fees is None or rule.mode is Mode.NOTIFY:
            return []
        found: list[RuleProblem] = []
        for position in self._armed_on(rule, snapshot):
            found += await problems_of(rule, position, snapshot, engine.fees, engine.prospect)
        faults = live_errors(rule.name, engine.book.sets, snapshot, engine.prospect.markets)
        return said_once(rule, found, faults)

    def _armed_on(self, rule: Rule, snapshot: Snapshot) -> tuple[Position, ...]:
        """The positions that a rule would be armed for."""
        target = target_of(rule, snapshot, self._engine.own_accounts())
        return () if target is None else target.positions

    def _conditions(self, rule: Rule) -> list[Condition]:
        """What is stale or strange now about the positions that a rule would be armed for."""
        engine = self._engine
        if engine.snapshot is None:
            return []
        return [
            one
            for position in self._armed_on(rule, engine.snapshot)
            for one in engine.guard.judge(rule, position, engine.snapshot)
        ]

    def _problems(self, rule: Rule) -> tuple[str, ...]:
        engine = self._engine
        problems = []
        if engine.executor is None:
            problems.append(engine.setup.read_only_why or "this window is read-only")
        if engine.kill_switch.is_on():
            problems.append("the kill switch is on; release it first")
        if engine.held is not None:
            problems.append(f"the engine is held: {engine.held}")
        changed = engine.config.changed()
        if changed is not None:
            problems.append(changed)
        blind = engine.blind()
        if blind is not None:
            problems.append(f"the chain cannot be seen: {blind}")
        faulty = [fault for fault in engine.book.faults if fault.rule == rule.name and fault.severity == "error"]
        problems.extend(str(fault) for fault in faulty)
        if engine.snapshot is not None:
            wrong = live_errors(rule.name, engine.book.sets, engine.snapshot, engine.prospect.markets)
            problems.extend(str(fault) for fault in wrong)
        return tuple(problems)

    async def arm(self, rule: str, typed_name: str, passwords: Passwords) -> None:
        """Unlock every keystore that the rule needs inside the signer, give it this rule's policies, and arm."""
        found = self._rule(rule)
        if typed_name != found.name:
            raise CommandRefused(f'the name typed is not "{found.name}"; nothing was armed')
        report, wrong = await self._report(found)
        if report.problems:
            raise CommandRefused("; ".join(report.problems))
        engine = self._engine
        snapshot = engine.snapshot
        if snapshot is None or report.account is None:
            raise CommandRefused("nothing can be armed now")
        keys = {}
        for use in report.keys:
            password = passwords if isinstance(passwords, str) else passwords.get(use.account)
            if password is None:
                raise CommandRefused(f"the password of {use.keystore} (the key of {use.account}) was not given")
            keys[use.account] = (engine.setup.keystores[use.account], password)
        try:
            await engine.armory.arm(found, report.account, keys, engine.snapshot or snapshot)
        except CannotArm as refused:
            await engine.armory.settle()
            raise CommandRefused(str(refused)) from refused
        armed_at = engine.snapshot or snapshot
        armed_on = positions_for(found, armed_at, (report.account,))
        record_armed(engine.ports.journal, engine.setup.network.chain_id, found, armed_on)
        for position in armed_on:
            engine.book.begin_trailing(found, position, armed_at.block, engine.ports.clock.now())
        spends = "; ".join(report.spends)
        payers = [use.account for use in report.keys if use.account != report.account]
        signed = f" with the key of {', '.join(payers)}" if payers else ""
        engine.teller.say(
            Severity.GOOD, f"{found.name}: armed for {report.account}{signed}, {spends}", kind="armed", rule=found.name
        )
        for one in loud(wrong):
            again = "armed again as it was before, all the same" if one.decisive else "armed for a part of the way"
            engine.teller.say(
                Severity.ALARM if one.decisive else Severity.WARNING,
                f"{found.name}: {again}: {clean_text(str(one), 400)}",
                kind="condition",
                rule=found.name,
            )
        for position in armed_on:
            resting = self._rests(found, position, armed_at.block)
            if resting is not None:
                engine.teller.say(
                    Severity.ALARM, f"{found.name}: armed, but {resting}", kind="condition", rule=found.name
                )
        engine.look_again()
        engine.publish()

    async def renew_policy(self) -> None:
        """Give the signer the policy of what is armed once more, with a later end, where it is due."""
        await self._engine.armory.settle()

    async def disarm(self, rule: str, why: str, *, by_hand: bool = True) -> None:
        """Stop a rule; its signatures are withdrawn from the signer's policy, what was sent is followed. Where nobody
        wanted less protection (not `by_hand`: the app was left) it counts as armed still: what arms it next arms it
        again, and not anew, and what has fired once stays so.
        """
        engine = self._engine
        armed = engine.book.armed.get(rule)
        if armed is not None and engine.armory.disarm(rule, why, Severity.WARNING):
            if by_hand:
                engine.book.disarm(armed.rule, engine.ports.clock.now())
            await engine.armory.settle()
            if by_hand:
                record_disarmed(engine.ports.journal, engine.setup.network.chain_id, armed.rule)
            engine.look_again()
            engine.publish()

    # --- acting ----------------------------------------------------------------------------------------------------

    async def answer(self, confirmation_id: str, yes: bool, digest: str) -> None:
        """Answer a confirmation whose plan was looked at (`digest`); a yes is acted on at the newest snapshot."""
        engine = self._engine
        async with engine.acting:
            if engine.snapshot is None:
                raise CommandRefused("nothing has been read from the chain yet")
            try:
                refused = await engine.defender.answer(confirmation_id, yes, digest, engine.snapshot, engine.fees)
            except (ChainUnreachable, ReadFailed) as error:
                refused = str(error)
            except JournalError as error:
                engine.hold(f"the journal failed: {error}.")
                refused = str(error)
            except Exception as error:  # noqa: BLE001 - who answered must hear that it did not go as wanted
                refused = f"an unexpected error ({described(error)}); the activity tells what was signed before it"
                engine.teller.say(Severity.ALARM, f"the answer was not carried out whole: {refused}", kind="answer")
            engine.count_refusals()
        engine.publish()
        if refused is not None:
            raise CommandRefused(refused)

    async def kill(self, on: bool, why: str) -> None:
        """Set or release the kill switch; it holds for every engine on this state directory, and in the signer."""
        engine = self._engine
        try:
            if on:
                engine.kill_switch.pull(why)
            else:
                engine.kill_switch.release()
        except OSError as error:
            if on:
                engine.hold("the kill switch could not be written, so the engine holds itself.")
            raise CommandRefused(f"the kill switch could not be {'set' if on else 'released'}: {error}") from error
        text = f"kill switch {'on' if on else 'released'}: {why}"
        engine.teller.say(Severity.ALARM if on else Severity.WARNING, text, kind="kill")
        engine.publish()

    async def cancel(self, intent_id: str) -> None:
        """Close a signed transaction's nonce by a no-op; works under the kill switch, it only takes away."""
        engine = self._engine
        if engine.executor is None:
            raise CommandRefused(engine.setup.read_only_why or "this window is read-only")
        try:
            await engine.executor.cancel(intent_id, engine.fees)
        except (CannotCancel, ChainUnreachable, ReadFailed) as refused:
            raise CommandRefused(str(refused)) from refused
        except JournalError as error:
            engine.hold(f"the journal failed: {error}.")
            raise CommandRefused(str(error)) from error
        engine.publish()

    async def resume(self) -> None:
        """Go on by hand: release what the engine held itself for, and accounts that were halted."""
        engine = self._engine
        if engine.setup.read_only:
            raise CommandRefused("this window is read-only")
        try:
            await engine.go_on()
        except (ChainUnreachable, ReadFailed) as error:
            raise CommandRefused(f"the chain does not answer, so nothing was resumed: {error}") from error
        except JournalError as error:
            raise CommandRefused(f"the journal failed, so nothing was resumed: {error}") from error

    # --- rules -----------------------------------------------------------------------------------------------------

    async def outcomes(self) -> tuple[Row, ...]:
        """What was expected of the latest firings that signed something and what came of them, oldest first."""
        try:
            return self._engine.recorded.outcomes()
        except JournalError as error:
            raise CommandRefused(f"the journal cannot be read: {error}") from error

    async def rules_text(self) -> RulesText:
        """The first rules file, as it is on disk now."""
        files = self._engine.setup.rules_files
        if not files:
            raise CommandRefused("no rules file was named; start with --rules FILE")
        try:
            raw = await asyncio.to_thread(files[0].read_bytes)
        except FileNotFoundError:
            return RulesText(str(files[0]), "", "")
        except OSError as error:
            raise CommandRefused(f"{files[0]}: cannot be read ({error.strerror})") from error
        return RulesText(str(files[0]), raw.decode("utf-8", "replace"), text_digest(raw))

    async def preview(self, text: str) -> Preview:
        """What a rules text would do: at this block where it would fire, else at the price where it would."""
        engine = self._engine
        name = str(engine.setup.rules_files[0]) if engine.setup.rules_files else "rules"
        parsed = parse_rules(text, name)
        snapshot = engine.snapshot
        if snapshot is None or engine.blind() is not None:
            return Preview(parsed.faults, ())
        live = live_faults((parsed,), snapshot, engine.prospect.markets)
        wrong = {fault.rule for fault in live if fault.severity == "error"}
        evaluations: list[Evaluation] = []
        for rule in parsed.rules:
            if rule.name not in wrong:
                evaluations.extend(await self._preview_rule(rule, snapshot))
        return Preview((*parsed.faults, *live), tuple(evaluations))

    async def _preview_rule(self, rule: Rule, snapshot: Snapshot) -> list[Evaluation]:
        engine = self._engine
        found = []
        own = engine.own_accounts()
        watched = candidates_for(rule, snapshot, own) if own else positions_for(rule, snapshot, engine.setup.accounts)
        for position in watched:
            below = engine.prospect.is_crossed(rule, position)
            why = _why(rule, position, engine.prospect, below)
            plan, refused = None, None
            if rule.mode is not Mode.NOTIFY and engine.fees is not None:
                if below:
                    # A rule that is being written is no order: nobody outside is told of it at every key.
                    made = await engine.prospect.simulated_plan(rule, position, snapshot, engine.fees, ask_others=False)
                else:
                    there = preview_position(rule, position, engine.prospect)
                    made = engine.prospect.plan(rule, there, snapshot, engine.fees)
                plan, refused = (None, made) if isinstance(made, Refusal) else (made, None)
            evaluation = Evaluation(rule.name, position.id, snapshot.block, below, why, plan, refused)
            found.append(replace(evaluation, problems=await self._judged(rule, position, snapshot)))
        return found

    async def _judged(self, rule: Rule, position: Position, snapshot: Snapshot) -> tuple[RuleProblem, ...]:
        """What would be said of a rule that may not be saved yet, were it armed now."""
        engine = self._engine
        if engine.fees is None or rule.mode is Mode.NOTIFY:
            return ()
        return await problems_of(rule, position, snapshot, engine.fees, engine.prospect)

    async def save_rules(self, text: str, digest: str) -> None:
        """Write the first rules file; armed rules whose meaning changed are disarmed at once."""
        engine = self._engine
        if not engine.setup.rules_files:
            raise CommandRefused("no rules file was named; start with --rules FILE")
        path = engine.setup.rules_files[0]
        try:
            await asyncio.to_thread(save_rules, path, text, digest or None)
        except EditRefused as refused:
            raise CommandRefused(str(refused)) from refused
        except OSError as error:
            raise CommandRefused(f"{path}: cannot be written ({error.strerror})") from error
        engine.reload_rules()
        await engine.armory.settle()
        engine.publish()

    def _rule(self, name: str) -> Rule:
        rule = self._engine.book.rule(name)
        if rule is None:
            raise CommandRefused(f'there is no usable rule "{name}" in the rules files')
        return rule


def _why(rule: Rule, position: Position, prospect: Prospect, crossed: bool) -> str:
    """Where a position stands beside the trigger of a rule that may not be saved yet."""
    if not rule.trigger.by_value:
        return f"health factor {'is' if crossed else 'is not'} {side_word(rule.trigger)} the trigger"
    price = prospect.price_of(rule, position)
    if price is None and not rule.trigger.is_price:
        return "no health is known that it could trail"
    if price is None:
        return f"the price of {pair_text(rule.trigger)} is not known"
    best = prospect.best_seen(rule, position)
    return fact(rule.trigger, price, price.wad if best is None else best)
