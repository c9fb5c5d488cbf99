"""Does a rule fire at this block? Pure hysteresis over chain data: the same blocks always give the same verdicts.

No clock, no IO. The state of one (rule, position) pair is a frozen value that the engine keeps between blocks.

- A rule fires once health, or the price it waits for, was beyond its trigger in `for_blocks` evaluated blocks in a
  row. Equal is not beyond.
- Having fired it is latched: it can fire again only after its episode was concluded (`conclude`), then a block after
  the concluding one was read on the other side of the trigger (at it counts), and the cooldown is over by chain time.
  Where it is crossed again while the rule still cools down, it fires as soon as the cooldown ends.
- Who knows that the episode went through and left health below the trigger may let it go on (`go_on`): after the
  cooldown another row of `for_blocks` fires in an episode of its own.
- Unknown is on neither side, and a price that the market does not tell is unknown. It never fires and never re-arms,
  and it breaks the row: three blocks in a row means three that were seen. The verdict says what was lost.
- One block counts once, however often it is read. A reorganisation (a number that does not rise, or a parent that is
  not the block before) starts the row anew, and a recovery seen on a block that is gone did not happen.
- A restart is a blind spot: latch, episode and cooldown survive it, the row does not.
- Blocks that were never read neither count nor break the row: the row is of evaluated blocks.
- A trailing trigger follows the best price since it was armed or, before that, first judged, that stood for
  `for_blocks` evaluated blocks in a row (rules.trailing). The best survives a restart, such a row does not; a price
  seen on a block that is gone was not seen, and one in doubt (old, from the future) is no best and breaks the row.
- A firing that goes in rounds is not over before its target is met: each round fires at a block after the one that
  ended the last, wherever the trigger is; `no_more_rounds` and `disarmed` end it.
- A price in doubt (old, from the future) makes nothing act and counts in no row: what acts on a price, or where health
  is high, begins to count anew at the next block without doubt.
- A price, or health above a trigger, fires nothing that acts while nothing is owed: such a block breaks the row, and
  frees nothing.
- What acts on a price, or closes a part where health is high, fires once, until a person arms it anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from enum import StrEnum

from tui.model.block import BlockRef
from tui.model.position import Position
from tui.model.rounds import RoundsSoFar
from tui.model.rule import Mode, Rule, Trigger, TriggerKind
from tui.model.units import BPS, WAD, format_units
from tui.rules.match import applies
from tui.rules.prices import PriceSeen, fact, has_crossed, lessened, level_of, level_words, pair_text, side_word
from tui.rules.rounds import is_closed, round_episode, rounds_met
from tui.rules.state import RuleState, fires_once, latched_state, without_row
from tui.rules.trailing import NO_ROW, longer, risen


class VerdictKind(StrEnum):
    """What a rule says of a position at a block."""

    CALM = "calm"
    COUNTING = "counting"
    FIRES = "fires"
    LATCHED = "latched"
    COOLING = "cooling"
    BLIND = "blind"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict and why, in words. `episode` is set where the rule fires, and while that episode still holds it."""

    kind: VerdictKind
    why: str
    episode: str | None = None

    @property
    def fires(self) -> bool:
        """Whether the rule acts now."""
        return self.kind is VerdictKind.FIRES


def again_text(rule: Rule, state: RuleState | None = None) -> str:
    """What it takes for a rule that has fired to fire again: `waits for a block at or above 1.25`."""
    if fires_once(rule):
        return "fires once: disarm it and arm it again to let it fire anew"
    return f"waits for a block {recovery_text(rule, state)}"


def episode_id(rule: Rule, position_id: str, crossing_number: int, crossing_hash: str) -> str:
    """Hex sha256 that names one fall below the trigger, from canonical chain data alone."""
    parts = ["episode", rule.name, rule.digest, position_id, str(crossing_number), crossing_hash.lower()]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def step(
    rule: Rule,
    state: RuleState,
    position: Position,
    block: BlockRef,
    price: PriceSeen | None = None,
    doubted: bool = False,
) -> tuple[RuleState, Verdict]:
    """The next state and the verdict, given the position as read at `block`, and the `price` there for a rule that
    waits for one (`rules.prices.price_seen`). `doubted`: a price that high health stands on is in doubt.

    Raises ValueError where `state` belongs to another rule, another version of it, or another position: a changed
    rule starts from `initial_state`, after a person armed it again.
    """
    _check_own(rule, state, position)
    if not applies(rule, position.key):
        return state, Verdict(VerdictKind.NOT_APPLICABLE, f"the rule watches {rule.position}")
    blind = _why_blind(rule, position, block, price)
    if blind is not None:
        return _blinded(rule, state, blind)
    doubted = _in_doubt(rule, price, doubted)
    state = _advance(rule, state, position, block, price, doubted)
    return _judge(rule, state, block, position, price, doubted)


def held_back(
    rule: Rule,
    state: RuleState,
    position: Position,
    block: BlockRef,
    price: PriceSeen | None = None,
    doubted: bool = False,
) -> RuleState:
    """The state to keep instead of `step`'s where a verdict to fire was not carried out (not armed, a limit, no gas).

    The block is counted but nothing is latched: the rule fires again at the next block beyond, in the same episode.
    Raises ValueError as `step`.
    """
    _check_own(rule, state, position)
    if not applies(rule, position.key):
        return state
    if _why_blind(rule, position, block, price) is not None:
        return step(rule, state, position, block, price)[0]
    return _advance(rule, state, position, block, price, _in_doubt(rule, price, doubted))


def _in_doubt(rule: Rule, price: PriceSeen | None, doubted: bool) -> bool:
    """Whether a block may count towards nothing that acts. What only tells may tell of an old price, and a fall of
    health is a fall whatever it stands on: its limits say what is done then.
    """
    if rule.mode is Mode.NOTIFY:
        return False
    if rule.trigger.by_value:
        return price is not None and price.doubted
    return doubted and rule.health_factor_above is not None


def _check_own(rule: Rule, state: RuleState, position: Position) -> None:
    if state.rule_digest != rule.digest or state.position != position.id:
        raise ValueError(f"this state is not of rule {rule.name!r} on {position.id}")


class _Side(StrEnum):
    """On which side of its trigger a position is. Idle: a price is beyond it, but nothing is owed."""

    CLEAR = "clear"
    CROSSED = "crossed"
    IDLE = "idle"


def _advance(
    rule: Rule, state: RuleState, position: Position, block: BlockRef, price: PriceSeen | None, doubted: bool
) -> RuleState:
    """The state after a known reading: chain followed, recovery noted, the row counted. Nothing fires here."""
    state = _follow_chain(state, block)
    counts = state.seen_hash != block.hash
    if rule.trigger.trails and price is not None and counts:
        state = _as_held(state, price)
        prices = NO_ROW if price.doubted else longer(state.prices, price.wad, rule.for_blocks)
        bests = risen(state.bests, prices, block.number, rule.for_blocks)
        state = replace(state, prices=prices, bests=bests)
    side = _side(rule, state, position.health_factor, price)
    if side is _Side.CLEAR:
        state = without_row(state if fires_once(rule) else _recover(state, block))
        goes_on = state.rounds is not None and state.rounds.rounds
        if state.closing and not goes_on and not state.latched and not fires_once(rule):
            state = replace(state, closing=())  # a new fall closes a part of its own
    elif side is _Side.IDLE or doubted:
        state = without_row(state)
    elif counts and not state.latched:
        state = replace(
            state,
            below=state.below + 1,
            crossing_number=block.number if state.below == 0 else state.crossing_number,
            crossing_hash=block.hash if state.below == 0 else state.crossing_hash,
        )
    return replace(state, seen_number=block.number, seen_hash=block.hash)


def _as_held(state: RuleState, price: PriceSeen) -> RuleState:
    """The state that knows what the position is made of. Where its owner has taken of what backs the debt, or borrowed
    more, the best health was that of another position: it begins anew with the blocks from here on.
    """
    if price.held is None or price.held == state.held:
        return state
    if state.held and lessened(state.held, price.held):
        state = replace(state, bests=(), prices=NO_ROW)
    return replace(state, held=price.held)


def _side(rule: Rule, state: RuleState, health: int | None, price: PriceSeen | None) -> _Side:
    """At the trigger is on its safe side; without debt nothing is nearer to a health factor."""
    if rule.health_factor_below is not None:
        return _Side.CLEAR if health is None or health >= rule.health_factor_below else _Side.CROSSED
    if rule.health_factor_above is not None:
        if health is None:
            return _Side.IDLE
        return _Side.CROSSED if health > rule.health_factor_above else _Side.CLEAR
    if price is None or not has_crossed(rule.trigger, price, state.best):
        return _Side.CLEAR  # health of no debt is no price that is missing: there is nothing to trail
    return _Side.IDLE if health is None and rule.mode is not Mode.NOTIFY else _Side.CROSSED


def _why_blind(rule: Rule, position: Position, block: BlockRef, price: PriceSeen | None) -> str | None:
    if position.unknown is not None:
        return position.unknown
    if position.block.hash != block.hash or position.block.number != block.number:
        return f"the position was read at block {position.block.number}, not at block {block.number}"
    idle = rule.trigger.kind is TriggerKind.HEALTH_TRAILING and position.health_factor is None
    if rule.trigger.by_value and price is None and not idle:
        return f"the market does not tell the price of {pair_text(rule.trigger)}"
    return None


def _blinded(rule: Rule, state: RuleState, why: str) -> tuple[RuleState, Verdict]:
    side = side_word(rule.trigger)
    lost = f"; {state.below} of {rule.for_blocks} blocks {side} are forgotten" if state.below else ""
    after = replace(without_row(state), seen_number=None, seen_hash=None, prices=NO_ROW)
    return after, Verdict(VerdictKind.BLIND, f"unknown: {why}{lost}", state.episode if state.latched else None)


def _follow_chain(state: RuleState, block: BlockRef) -> RuleState:
    """Start anew where `block` does not follow what was seen."""
    if block.hash == state.seen_hash:
        return state
    # The lowest block that is surely gone: this one's number, or its parent's where that is not the parent we saw.
    gone = block.number
    follows = state.seen_number is None or block.number > state.seen_number
    if state.seen_number is not None and block.number == state.seen_number + 1 and block.parent_hash != state.seen_hash:
        gone, follows = state.seen_number, False
    # After a blind spot the block of the last best is taken for the same one: read anew, it must not lose that best.
    kept = gone - 1 if state.seen_number is not None else gone
    if state.bests and state.bests[-1][0] > kept:
        state = replace(state, bests=tuple(best for best in state.bests if best[0] <= kept))
    if not follows:
        state = replace(state, prices=NO_ROW)
    if state.recovered_block is not None and state.recovered_block >= gone:
        # The recovery is not part of the chain any more: the episode that fired still holds.
        return replace(without_row(state), latched=True, recovered_block=None)
    return state if follows else without_row(state)


def _recover(state: RuleState, block: BlockRef) -> RuleState:
    """Unlatch at the first block after the end of the episode that is read on the safe side of the trigger."""
    if state.latched and state.ended_block is not None and block.number > state.ended_block:
        return replace(state, latched=False, recovered_block=block.number)
    return state


def _judge(
    rule: Rule, state: RuleState, block: BlockRef, position: Position, price: PriceSeen | None, doubted: bool
) -> tuple[RuleState, Verdict]:
    health = position.health_factor
    side = _side(rule, state, health, price)
    said = _fact(rule, state, health, price, side)
    if state.rounds is not None and state.rounds.rounds and not state.latched:
        return _judge_rounds(rule, state, state.rounds, block, position, side)
    if state.latched:
        waits = again_text(rule, state)
        if state.ended_block is None:
            waits = "its last firing is not concluded"
        return state, Verdict(VerdictKind.LATCHED, f"{said}; already fired, {waits}", state.episode)
    if state.cooldown_until is not None and block.timestamp < state.cooldown_until:
        rest = state.cooldown_until - block.timestamp
        return state, Verdict(VerdictKind.COOLING, f"{said}; rests {rest} s more", state.episode)
    if side is not _Side.CROSSED:
        return state, Verdict(VerdictKind.CALM, said)
    if doubted:
        return state, Verdict(
            VerdictKind.COUNTING, f"{said}, but that stands on a price in doubt: the block does not count"
        )
    if state.below < rule.for_blocks or state.crossing_number is None or state.crossing_hash is None:
        count = f"{said} for {state.below} of {rule.for_blocks} blocks"
        return state, Verdict(VerdictKind.COUNTING, count)
    episode = episode_id(rule, state.position, state.crossing_number, state.crossing_hash)
    held = f" for {state.below} blocks" if rule.for_blocks > 1 else ""
    return latched_state(rule, state, episode, block), Verdict(VerdictKind.FIRES, f"{said}{held}", episode)


def _judge_rounds(
    rule: Rule, state: RuleState, rounds: RoundsSoFar, block: BlockRef, position: Position, side: _Side
) -> tuple[RuleState, Verdict]:
    """Between two rounds: the next fires as long as the target is not met, wherever the trigger is and whatever the
    cooldown. Met, the firing is over, as any other.
    """
    health, target = position.health_factor, rule.target_health_factor
    if rounds_met(rule, rounds, position):
        told = "no debt" if health is None else f"health factor {_ratio(health)}"
        # What only an earlier step may close is not theirs: it is gone on with as after any firing that closed less.
        bps, rest = rule.close_bps, state.closing
        closed = bps is None or is_closed(rest, position, bps, nothing_left=bps >= BPS)
        ended = replace(without_row(state), rounds=None, latched=True, closing=() if closed else rest)
        if closed and fires_once(rule):
            # It has done all that it was for: no firing of it is looked back on, and it stays latched.
            ended = replace(ended, episode=None)
        # What closes a part may leave health beyond the trigger: then it rests there, as after one transaction.
        ended = ended if fires_once(rule) or side is not _Side.CLEAR else _recover(ended, block)
        return ended, Verdict(VerdictKind.CALM, f"{told}: its rounds have met their target", state.episode)
    if target is None or health is None:
        part = format_units(rule.close_bps or 0, 2).rstrip("0").rstrip(".")
        said = f"{part}% of what was owed when it fired is not closed yet"
    else:
        said = f"health factor {_beside(health, target)} is not at its target {_ratio(target)} yet"
    if state.episode is None or (state.ended_block is not None and block.number <= state.ended_block):
        return state, Verdict(VerdictKind.LATCHED, f"{said}; waits for a block after its last round", state.episode)
    episode = round_episode(state.episode, rounds.rounds + 1)
    return latched_state(rule, state, episode, block), Verdict(
        VerdictKind.FIRES, f"{said}: round {rounds.rounds + 1}", episode
    )


def recovery_text(rule: Rule, state: RuleState | None = None) -> str:
    """Where a rule that has fired must be seen before it can fire again: `at or above 1.25`."""
    if rule.health_factor_below is not None:
        return f"at or above {_ratio(rule.health_factor_below)}"
    if rule.health_factor_above is not None:
        return f"at or below {_ratio(rule.health_factor_above)}"
    other = "at or below" if rule.trigger.kind is TriggerKind.PRICE_ABOVE else "at or above"
    level = level_of(rule.trigger, None if state is None else state.best)
    at = "its level" if level is None else level_words(rule.trigger, level)
    return f"with {pair_text(rule.trigger)} {other} {at}"


def health_fact(trigger: Trigger, health: int | None, crossed: bool) -> str:
    """Where health stands beside a trigger that waits for it: `health factor 2.3012 above 2.20`."""
    if health is None:
        return "no debt"
    verb = side_word(trigger) if crossed else f"is not {side_word(trigger)}"
    return f"health factor {_beside(health, trigger.level)} {verb} {_ratio(trigger.level)}"


def _fact(rule: Rule, state: RuleState, health: int | None, price: PriceSeen | None, side: _Side) -> str:
    if rule.trigger.by_value:
        if price is None and health is None:
            return "no debt"
        # Before anything stood long enough to be trailed, the present price stands in, as wherever it is foreseen.
        said = "" if price is None else fact(rule.trigger, price, state.best or price.wad)
        return f"{said}, but nothing is owed" if side is _Side.IDLE else said
    return health_fact(rule.trigger, health, side is _Side.CROSSED)


def _beside(health: int, level: int) -> str:
    """A health factor to be read beside the trigger: four digits, or all where four would show the same as its own."""
    cut = WAD // 10_000
    return _ratio(health if health // cut == level // cut else health // cut * cut)


def _ratio(wad: int) -> str:
    """At least two digits after the point, and as many as the number has: a hair below the trigger shows as such."""
    whole, _, fraction = format_units(wad, 18).partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"
