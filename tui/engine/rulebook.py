"""The rules in force: read from their files, matched to positions, stepped block by block, armed and disarmed.

Holds no keys and signs nothing; what a rule remembers is kept in the journal so that a restart fires nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from tui.engine.conditions import Baseline
from tui.engine.further import time_text
from tui.model.block import BlockRef
from tui.model.intent import Firing, FiringState
from tui.model.position import Position
from tui.model.rounds import DebtPart, RoundsSoFar
from tui.model.rule import Rule, RuleFault
from tui.planning.policy import ArmedScope
from tui.ports.journal import Journal, JournalReader
from tui.rules.evaluate import Verdict, VerdictKind, again_text, held_back, step
from tui.rules.load import RuleSet, load_rule_files
from tui.rules.match import rules_for
from tui.rules.prices import PriceSeen
from tui.rules.state import (
    RuleState,
    before_round,
    begin_trailing,
    between_rounds,
    conclude,
    disarmed,
    fired_state,
    fires_once,
    go_on,
    initial_state,
    no_more_rounds,
    rest_to_close,
    state_from_data,
    state_to_data,
    stopped_rounds,
    without_row,
)


@dataclass(frozen=True, slots=True)
class Armed:
    """A rule that a person armed: its exact meaning then, for positions of which account, since when (unix seconds).

    `scopes` are what the signer was given, `baselines` the market under each position (by id), both as of arming.
    """

    rule: Rule
    account: str
    since: float
    scopes: tuple[ArmedScope, ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def keys(self) -> tuple[str, ...]:
        """The accounts whose keys sign for it: that of the positions, others that pay, or both."""
        return self.rule.signers(self.account)


@dataclass(frozen=True, slots=True)
class Reload:
    """What a look at the rules files found. `overtaken` names armed rules that changed or are gone, and how: they must
    be disarmed.
    """

    changed: bool
    overtaken: tuple[tuple[str, str], ...] = ()


BEYOND = (VerdictKind.FIRES, VerdictKind.COUNTING)
"""What is said of a rule that is beyond its trigger and remembers nothing."""
_MOST_BRACKETS = 200
"""In what is kept of a rule; there are a handful."""


class RuleBook:
    """All rules, their states and which of them are armed."""

    def __init__(
        self,
        files: Sequence[Path],
        journal: Journal | None,
        price_of: Callable[[Rule, Position], PriceSeen | None] = lambda _rule, _position: None,
        doubts: Callable[[Rule, Position], bool] = lambda _rule, _position: False,
    ) -> None:
        self.files = tuple(files)
        self.price_of = price_of
        """The market's own price that a rule waits for, at a position's block; None: not known, so it never fires."""
        self.doubts = doubts
        """Whether a price that high health stands on is in doubt, for a rule that waits for that."""
        self._journal = journal
        self._stamps: tuple[object, ...] | None = None
        self._states: dict[tuple[str, str], RuleState] = {}
        self.rules: tuple[Rule, ...] = ()
        self.faults: tuple[RuleFault, ...] = ()
        self.sets: tuple[RuleSet, ...] = ()
        self.armed: dict[str, Armed] = {}
        self.disarmed: dict[str, str] = {}
        """Why a rule that was armed is not any more."""

    def reload(self, force: bool = False) -> Reload:
        """Read the files again where they changed. What cannot be read leaves the last good rules in force.

        A rule that reads well but means something else than when it was armed, or that a readable file no longer
        has, is overtaken.
        """
        stamps = tuple(_stamp(path) for path in self.files)
        if stamps == self._stamps and not force:
            return Reload(False)
        self._stamps = stamps
        try:
            self.sets = load_rule_files(self.files)
        except OSError as error:
            where = str(error.filename or "rules file")
            self.faults = (
                RuleFault(where, 1, f"cannot be read ({error.strerror})", "give the file back, or choose another"),
            )
            return Reload(True)
        self.faults = tuple(fault for found in self.sets for fault in found.faults)
        broken = {fault.rule for found in self.sets for fault in found.errors}
        good = tuple(rule for found in self.sets for rule in found.rules)
        names = {rule.name for rule in good}
        unreadable = None in broken
        kept = tuple(rule for rule in self.rules if rule.name not in names and (unreadable or rule.name in broken))
        self.rules = good + kept
        return Reload(True, tuple(self._overtaken()))

    def _overtaken(self) -> Iterable[tuple[str, str]]:
        present = {rule.name: rule for rule in self.rules}
        for name, armed in tuple(self.armed.items()):
            now = present.get(name)
            if now is not None and now.digest == armed.rule.digest:
                continue
            yield name, "it is no longer in its file" if now is None else "its text was changed"

    def rule(self, name: str) -> Rule | None:
        """The rule of a name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def rules_of(self, position: Position) -> tuple[Rule, ...]:
        """The rules that watch a position, in the order they act."""
        return rules_for(self.rules, position.key)

    def armed_for(self, rule: Rule, position: Position) -> bool:
        """Whether this rule, as it reads now, may act on this position."""
        armed = self.armed.get(rule.name)
        return armed is not None and armed.rule.digest == rule.digest and armed.account == position.key.account

    def state(self, rule: Rule, position: Position) -> RuleState:
        """What a rule remembers of a position: from memory, else from the journal, else from its last firing."""
        key = (rule.digest, position.id)
        known = self._states.get(key)
        if known is None:
            known = self._states[key] = self._recall(rule, position)
        return known

    def evaluate(self, rule: Rule, position: Position, block: BlockRef) -> tuple[RuleState, Verdict]:
        """The next state (not kept yet) and the verdict at a block."""
        price, doubted = self.price_of(rule, position), self.doubts(rule, position)
        return step(rule, self.state(rule, position), position, block, price, doubted)

    def rests(self, rule: Rule, position: Position, block: BlockRef) -> str | None:
        """Why an armed rule would do nothing now by what it remembers, and until when: used up, or at rest beyond its
        trigger. None where it may fire, or is under way. Raises JournalError.
        """
        state = self.state(rule, position)
        used_up = state.latched and state.ended_block is not None
        if used_up and fires_once(rule):
            return f"it has fired already, and {again_text(rule)}"
        crossed = replace(without_row(state), latched=False, cooldown_until=None, rounds=None)
        if step(rule, crossed, position, block, self.price_of(rule, position))[1].kind not in BEYOND:
            return None
        if used_up:
            return f"it is beyond its trigger and has fired already: it {again_text(rule, state)}"
        if not state.latched and state.cooldown_until is not None and block.timestamp < state.cooldown_until:
            return f"it is beyond its trigger and rests until {time_text(state.cooldown_until)}"
        return None

    def keep(self, rule: Rule, position: Position, state: RuleState, at: float) -> None:
        """Remember a state; written down where what must survive a restart changed."""
        key = (rule.digest, position.id)
        before = self._states.get(key)
        self._states[key] = state
        if self._journal is not None and (before is None or _latch(before) != _latch(state)):
            self._journal.save_rule_state(rule.digest, position.id, json.dumps(state_to_data(state)), at)

    def hold_back(self, rule: Rule, position: Position, block: BlockRef, at: float) -> None:
        """A verdict to fire was not carried out: the block counts, nothing latches, the episode stays the same."""
        price, doubted = self.price_of(rule, position), self.doubts(rule, position)
        state = held_back(rule, self.state(rule, position), position, block, price, doubted)
        self.keep(rule, position, state, at)

    def conclude(self, rule: Rule, position: Position, episode: str, end_block: int, at: float) -> None:
        """The firing of `episode` is over since `end_block`."""
        self.keep(rule, position, conclude(self.state(rule, position), end_block, episode), at)

    def settle_part(
        self, rule: Rule, position: Position, episode: str, end_block: int, parts: tuple[DebtPart, ...], at: float
    ) -> None:
        """The firing of `episode`, which was to close a part, is over since `end_block`: written down at once with what
        it repaid, so that nothing is counted twice. No `parts`: nothing is to be gone on with.
        """
        over = conclude(self.state(rule, position), end_block, episode)
        self.keep(rule, position, replace(over, closing=parts), at)

    def go_on(self, rule: Rule, position: Position, at: float) -> None:
        """Its last firing is over and has left something to do: free to fire again after its cooldown."""
        self.keep(rule, position, go_on(self.state(rule, position)), at)

    def forget(self, rule: Rule, position: Position, at: float) -> None:
        """Its firing was dropped before anything was signed, or came to nothing: free to fire again at once.

        When that was stays known, so that a restart does not take an older firing for the last and latch on it; and so
        does what earlier firings closed of a part.
        """
        before = self.state(rule, position)
        free = replace(initial_state(rule, position.id), fired_block=before.fired_block, closing=rest_to_close(before))
        if before.rounds is not None and before.rounds.stopped:
            # Disarmed while it was about to fire: armed anew it knows nothing of it.
            before = stopped_rounds(before, before.ended_block or 0)
        if before.rounds is not None and before.rounds.rounds and before.episode is not None:
            # Rounds before this one stand: the next is planned anew.
            self.keep(rule, position, between_rounds(before, before.ended_block or 0, before.rounds), at)
            return
        free = replace(free, rounds=None if before.rounds is None else before.rounds.leftovers)
        self.keep(rule, position, _trailing_as(before, free), at)

    def before_round(self, rule: Rule, position: Position, rounds: RoundsSoFar, at: float) -> None:
        """A round is about to fire: written down first, so that a crash right after its latch forgets none of it."""
        self.keep(rule, position, before_round(self.state(rule, position), rounds), at)

    def between_rounds(
        self,
        rule: Rule,
        position: Position,
        end_block: int,
        rounds: RoundsSoFar,
        closing: tuple[DebtPart, ...],
        at: float,
    ) -> None:
        """A round is over since `end_block`, and more are to follow; `closing` as `between_rounds` has it."""
        self.keep(rule, position, between_rounds(self.state(rule, position), end_block, rounds, closing), at)

    def stop_rounds(self, rule: Rule, position: Position, end_block: int, at: float) -> None:
        """The last round is over since `end_block`, and a person let no more follow."""
        self.keep(rule, position, stopped_rounds(self.state(rule, position), end_block), at)

    def end_rounds(
        self, rule: Rule, position: Position, episode: str, end_block: int, parts: tuple[DebtPart, ...], at: float
    ) -> None:
        """The round of `episode` is over since `end_block`, and no more follow, whatever they have come to; `parts` as
        `no_more_rounds` takes them.
        """
        over = conclude(self.state(rule, position), end_block, episode)
        self.keep(rule, position, no_more_rounds(over, parts), at)

    def begin_anew(self, rule: Rule, position: Position, at: float) -> None:
        """Between two rounds of which the next cannot be had: free to fire as any other rule, in another episode."""
        state = self.state(rule, position)
        self.keep(rule, position, no_more_rounds(state, () if state.rounds is None else state.rounds.parts), at)

    def begin_trailing(self, rule: Rule, position: Position, block: BlockRef, at: float) -> None:
        """The rule was armed: what it trails begins here, or goes on where a restart broke it off."""
        state = self.state(rule, position)
        begun = begin_trailing(rule, state, self.price_of(rule, position), block)
        if begun != state:
            self.keep(rule, position, begun, at)

    def disarm(self, rule: Rule, at: float) -> None:
        """A person disarmed the rule: armed again, it begins anew. A restart does not end what it remembers."""
        for (digest, position), state in tuple(self._states.items()):
            ended = disarmed(rule, state) if digest == rule.digest else state
            if ended != state:
                self._states[digest, position] = ended
                if self._journal is not None:
                    self._journal.save_rule_state(digest, position, json.dumps(state_to_data(ended)), at)

    def best(self, rule: Rule, position: Position) -> int | None:
        """The best price seen (wad) for a rule that trails one; None where it does not, or saw none."""
        known = self.rule(rule.name)
        if not rule.trigger.trails or known is None or known.digest != rule.digest:
            return None
        return self.state(rule, position).best

    def _recall(self, rule: Rule, position: Position) -> RuleState:
        return on_record(self._journal, rule, position)


def on_record(record: JournalReader | None, rule: Rule, position: Position) -> RuleState:
    """What a rule remembers of a position by the record: its kept state, else its last firing. Raises JournalError."""
    if record is None:
        return initial_state(rule, position.id)
    kept = _parsed(record.rule_state(rule.digest, position.id), rule, position)
    last = next(
        (
            firing
            for firing in record.firings(limit=200)
            if firing.rule_digest == rule.digest
            and firing.position == position.id
            and firing.state is not FiringState.DROPPED
        ),
        None,
    )
    if last is None or (kept is not None and kept.episode == last.episode):
        return kept or initial_state(rule, position.id)
    fired = -1 if kept is None or kept.fired_block is None else kept.fired_block
    # Let go again (a revert, a plan that was dropped) it has no episode any more, but knows when the last one fired.
    if kept is not None and (fired > last.block_number or (kept.episode is None and fired == last.block_number)):
        return kept
    # The crash came between the latch in the journal and the state: the journal is right.
    latched = _state_of(rule, position, last)
    if kept is None:
        return latched
    rounds = kept.rounds
    if rounds is not None and rounds.planned is not None and rounds.planned.episode == last.episode:
        # A round: what came of it is still to be booked, whether it has ended or not.
        latched = replace(latched, rounds=rounds, ended_block=None)
    return replace(_trailing_as(kept, latched), closing=kept.closing)


def _parsed(text: str | None, rule: Rule, position: Position) -> RuleState | None:
    """A kept state, None where there is none of this rule on this position that can be read."""
    if text is None:
        return None
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        return None  # deep nesting can end the process where the recursion limit was raised
    try:
        state = state_from_data(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    return state if (state.rule_digest, state.position) == (rule.digest, position.id) else None


def _state_of(rule: Rule, position: Position, firing: Firing) -> RuleState:
    """A firing in the journal without a kept state: latched, whatever became of it, until it concludes again."""
    fired = BlockRef(firing.block_number, firing.block_hash, "", firing.block_timestamp, 0)
    ended = (
        None
        if firing.state.is_open
        else max([firing.block_number, *(intent.included_block or 0 for intent in firing.intents)])
    )
    return fired_state(rule, position.id, firing.episode, fired, ended)


def why_waits(
    record: JournalReader | None, rule: Rule, position: Position, block: BlockRef, price: PriceSeen | None
) -> str | None:
    """Why a rule beyond its trigger is not let fire at a block by what it remembers (it fired already, it rests), or
    None. Raises JournalError.
    """
    _, verdict = step(rule, on_record(record, rule, position), position, block, price)
    return verdict.why if verdict.kind in (VerdictKind.LATCHED, VerdictKind.COOLING) else None


def recalled(record: JournalReader | None, rule: Rule, position: Position) -> RuleState:
    """The state of a rule that has seen nothing, but for what it trails and what is left of a part that it was to
    close: that is on record. Raises JournalError.
    """
    kept = None if record is None else _parsed(record.rule_state(rule.digest, position.id), rule, position)
    fresh = initial_state(rule, position.id)
    return fresh if kept is None else replace(_trailing_as(kept, fresh), closing=rest_to_close(kept))


def _trailing_as(kept: RuleState, state: RuleState) -> RuleState:
    """A state that trails what another one did."""
    return replace(state, bests=kept.bests, trails_armed=kept.trails_armed, held=kept.held)


def _latch(state: RuleState) -> tuple[object, ...]:
    kept = state.latched, state.episode, state.ended_block, state.recovered_block, state.cooldown_until
    return (*kept, state.bests, state.trails_armed, state.rounds, state.closing, state.held)


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino
