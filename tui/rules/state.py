"""What a rule remembers of a position between blocks: latch, row, episode, cooldown, best prices, rounds. Pure.

Every change is a function here, but for what a block itself changes: that is in `rules.evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from tui.model.block import BlockRef
from tui.model.position import Held
from tui.model.rounds import DebtPart, RoundsSoFar
from tui.model.rule import Mode, Rule
from tui.rules.prices import PriceSeen
from tui.rules.rounds import parts_from_data, parts_to_data, rounds_from_data, rounds_to_data
from tui.rules.trailing import MOST_BESTS, NO_ROW, PriceRow

MOST_HELD = 256
"""So many parts of a position are remembered at the most."""


@dataclass(frozen=True, slots=True)
class RuleState:
    """What a rule remembers of one position. Block numbers and chain timestamps (unix seconds) only.

    `seen_*` is the last block with a known reading; `below` the row of blocks beyond the trigger that began at
    `crossing_*`. `episode` is the last one that fired, at `fired_block`; `ended_block` is the block that concluded it,
    `recovered_block` the first one seen after that on the other side of the trigger, which ends `latched`.
    `bests` are (block number, price in wad) at which the price rose to a new best, the best last; `trails_armed` is
    whether they began when the rule was armed; `prices` the row of blocks that may raise it; `held` what the position
    was made of whose health is trailed (empty: not known, or no health is). `rounds`: its last firing
    goes on in rounds until the target is met, not just the trigger. `closing`: it closes a part of these debts and is
    not known to have done so whole, by what was owed when it fired; empty: the next firing closes a part of its own.
    """

    rule_digest: str
    position: str
    seen_number: int | None = None
    seen_hash: str | None = None
    below: int = 0
    crossing_number: int | None = None
    crossing_hash: str | None = None
    latched: bool = False
    episode: str | None = None
    fired_block: int | None = None
    fired_at: int | None = None
    cooldown_until: int | None = None
    ended_block: int | None = None
    recovered_block: int | None = None
    bests: tuple[tuple[int, int], ...] = ()
    trails_armed: bool = False
    prices: PriceRow = NO_ROW
    rounds: RoundsSoFar | None = None
    closing: tuple[DebtPart, ...] = ()
    held: Held = ()

    @property
    def best(self) -> int | None:
        """The best price seen, in wad; None where the trigger does not trail, or none was seen."""
        return self.bests[-1][1] if self.bests else None


def initial_state(rule: Rule, position_id: str) -> RuleState:
    """The state of a rule that has seen nothing yet. Health below the trigger at its first block counts."""
    return RuleState(rule.digest, position_id)


def fired_state(rule: Rule, position_id: str, episode: str, fired: BlockRef, ended_block: int | None) -> RuleState:
    """The state after a firing that is known from a journal, so that a restart fires nothing twice.

    `ended_block` is the block that concluded the episode, None while it is still open.
    """
    return replace(latched_state(rule, initial_state(rule, position_id), episode, fired), ended_block=ended_block)


def latched_state(rule: Rule, state: RuleState, episode: str, block: BlockRef) -> RuleState:
    """The state once `episode` has fired at `block`."""
    return replace(
        without_row(state),
        latched=True,
        episode=episode,
        fired_block=block.number,
        fired_at=block.timestamp,
        cooldown_until=block.timestamp + rule.limits.cooldown,
        # A notice is over once it is given; anything else is over when the engine says so.
        ended_block=block.number if rule.mode is Mode.NOTIFY else None,
        recovered_block=None,
    )


def conclude(state: RuleState, end_block: int, episode: str | None = None) -> RuleState:
    """The state once an episode is over: its last transaction final in `end_block`, or its plan dropped then.

    `episode` names the one that is over; where it is not the last one fired, nothing changes. None means the last one.
    A later end replaces an earlier one (a reorganisation may move it) and takes back a recovery seen before it; an
    earlier one never replaces a later.
    """
    if state.episode is None or episode not in (None, state.episode):
        return state
    end = end_block if state.ended_block is None else max(end_block, state.ended_block)
    state = replace(state, ended_block=end)
    if state.recovered_block is not None and state.recovered_block > end:
        return state
    return replace(without_row(state), latched=True, recovered_block=None)


def between_rounds(
    state: RuleState, end_block: int, rounds: RoundsSoFar, closing: tuple[DebtPart, ...] | None = None
) -> RuleState:
    """The state once a round is over, its last transaction final in `end_block`: the next may fire at a later block.
    `closing`: all that its firing is to close, with what its transactions repaid (None: as it was).
    """
    free = replace(without_row(state), latched=False, recovered_block=None, ended_block=end_block)
    return replace(
        free,
        rounds=replace(rounds, planned=None),
        closing=_repaid_as(state.closing if closing is None else closing, rounds.parts),
    )


def stopped_rounds(state: RuleState, end_block: int) -> RuleState:
    """The state once the last round is over, since `end_block`, that a person did not let others follow: what is beyond
    its trigger then may fire anew.
    """
    free = replace(without_row(state), latched=False, recovered_block=None, ended_block=end_block)
    return replace(free, rounds=None, closing=())


def before_round(state: RuleState, rounds: RoundsSoFar) -> RuleState:
    """The state that names the round that is about to fire (`rounds.planned`): written down before it is latched."""
    return replace(state, rounds=rounds)


def begin_closing(state: RuleState, parts: tuple[DebtPart, ...]) -> RuleState:
    """The state of what closes a part once it fires: what was owed of each debt then, and repaid of it since."""
    return replace(state, closing=parts)


def rest_to_close(state: RuleState) -> tuple[DebtPart, ...]:
    """What is still to be closed of an earlier firing; where that repaid nothing, the next is as good as the first."""
    return state.closing if any(one.repaid for one in state.closing) else ()


def no_more_rounds(state: RuleState, parts: tuple[DebtPart, ...] = ()) -> RuleState:
    """The state once no more rounds follow: of what they were only what they left in the wallet is kept. `parts` is
    what they repaid of what is to be closed; none: nothing more is.
    """
    leftovers = None if state.rounds is None else state.rounds.leftovers
    return replace(state, rounds=leftovers, closing=_repaid_as(state.closing, parts) if parts else ())


def _repaid_as(closing: tuple[DebtPart, ...], parts: tuple[DebtPart, ...]) -> tuple[DebtPart, ...]:
    """What is to be closed with what rounds have repaid of it. They may be for some of these debts only."""
    by_token = {one.token: one for one in parts}
    return tuple(by_token.get(one.token, one) for one in closing)


def go_on(state: RuleState) -> RuleState:
    """The state once an episode that is over (`conclude`) has left health beyond the trigger, or a part of what it was
    to do: free to fire in another one, as soon as the cooldown of the last is over.
    """
    if not state.latched or state.ended_block is None:
        return state
    return replace(without_row(state), latched=False)


def begin_trailing(rule: Rule, state: RuleState, price: PriceSeen | None, block: BlockRef) -> RuleState:
    """The state once the rule was armed: what it trails begins at the price of `block`, or at the lowest of the blocks
    in a row before it, as far as they count (None or in doubt: at the next that stand). Armed again after a restart it
    goes on where it was, until it is `disarmed`.
    """
    if not rule.trigger.trails or state.trails_armed:
        return state
    if price is not None and price.held is not None:
        state = replace(state, held=price.held)
    if price is None or price.doubted:
        return replace(state, bests=(), trails_armed=True)
    first = min(price.wad, price.wad if state.prices.lowest is None else state.prices.lowest)
    return replace(state, bests=((block.number, first),), trails_armed=True)


def disarmed(rule: Rule, state: RuleState) -> RuleState:
    """The state once a person disarmed the rule: armed again, what it trails begins anew, and what fires once may fire
    again. While its last firing is under way it stays latched. Rounds end where they are, and what is left of a part is
    forgotten: what is under its trigger by then may fire anew, for a part of what is owed then.
    """
    state = replace(state, closing=())
    if state.rounds is not None and state.latched and state.ended_block is None:
        state = replace(state, rounds=replace(state.rounds, stopped=True))
    elif state.rounds is not None:
        state = replace(without_row(state), rounds=None, latched=False)
    if fires_once(rule) and state.latched and state.ended_block is not None:
        state = replace(without_row(state), latched=False)
    return replace(state, trails_armed=False) if state.trails_armed else state


def fires_once(rule: Rule) -> bool:
    """Whether a rule fires once and no more until a person arms it anew: a price goes to and fro over a level, a health
    factor with it, and closing a part each time would close it all.
    """
    return (rule.trigger.by_value or rule.closes_when_high) and rule.mode is not Mode.NOTIFY


def without_row(state: RuleState) -> RuleState:
    """The state with no block in a row beyond the trigger."""
    return replace(state, below=0, crossing_number=None, crossing_hash=None)


def state_to_data(state: RuleState) -> dict[str, object]:
    """What must survive a restart, as plain JSON data. The row is left out: a restart is a blind spot."""
    data: dict[str, object] = {name: getattr(state, name) for name in _KEPT}
    # What trails only: states of other rules are written as they always were.
    if state.bests:
        data["bests"] = [number for best in state.bests for number in best]
    if state.trails_armed:
        data["trails_armed"] = True
    if state.rounds is not None:
        data["rounds"] = rounds_to_data(state.rounds)
    if state.closing:
        data["closing"] = parts_to_data(state.closing)
    if state.held:
        data["held"] = [list(one) for one in state.held]
    return data


def state_from_data(data: Mapping[str, object]) -> RuleState:
    """The state that `state_to_data` wrote, with no row. Raises ValueError where a field is missing, unknown or of
    another type.
    """
    values: dict[str, Any] = {}
    for name, kind in _KEPT.items():
        if name not in data:
            raise ValueError(f"rule state has no {name}")
        value = data[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"rule state has {name} = {value!r}")
        values[name] = value
    if "bests" in data:
        values["bests"] = _bests_of(data["bests"])
    if "trails_armed" in data:
        if not isinstance(data["trails_armed"], bool):
            raise ValueError(f"rule state has trails_armed = {data['trails_armed']!r}")
        values["trails_armed"] = data["trails_armed"]
    if "rounds" in data:
        values["rounds"] = rounds_from_data(data["rounds"])
    if "closing" in data:
        values["closing"] = parts_from_data(data["closing"])
    if "held" in data:
        values["held"] = _held_of(data["held"])
    if len(data) != len(values):
        raise ValueError("rule state has unknown fields")
    return RuleState(**values)


def _bests_of(value: object) -> tuple[tuple[int, int], ...]:
    """Block numbers and prices, one after the other, both rising."""
    if not isinstance(value, list) or len(value) % 2 or len(value) > 2 * MOST_BESTS:
        raise ValueError("rule state has bests that are none")
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value):
        raise ValueError("rule state has bests that are none")
    bests = tuple(zip(value[::2], value[1::2], strict=True))
    if any(later[0] <= sooner[0] or later[1] <= sooner[1] for sooner, later in pairwise(bests)):
        raise ValueError("rule state has bests that do not rise")
    return bests


def _held_of(value: object) -> Held:
    """Names, each with what backs the debt and what is owed."""
    if not isinstance(value, list) or len(value) > MOST_HELD:
        raise ValueError("rule state has a position that is none")
    for one in value:
        if not isinstance(one, list) or len(one) != 3 or not isinstance(one[0], str):
            raise ValueError("rule state has a position that is none")
        if not all(isinstance(parts, int) and not isinstance(parts, bool) and parts >= 0 for parts in one[1:]):
            raise ValueError("rule state has a position that is none")
    return tuple((name, backs, owes) for name, backs, owes in value)


_KEPT: Mapping[str, Any] = MappingProxyType(
    {
        "rule_digest": str,
        "position": str,
        "latched": bool,
        "episode": str | None,
        "fired_block": int | None,
        "fired_at": int | None,
        "cooldown_until": int | None,
        "ended_block": int | None,
        "recovered_block": int | None,
    }
)
