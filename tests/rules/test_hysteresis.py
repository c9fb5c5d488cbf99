"""Random chains with reorganisations and blind spots: what may never happen, whatever comes."""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tui.model.block import BlockRef
from tui.model.position import MarketKey, Position, PositionKey, unknown_position
from tui.model.rule import Limits, Mode, Rule, health_below, restore
from tui.rules.evaluate import VerdictKind, step
from tui.rules.state import conclude, initial_state, state_from_data, state_to_data

KEY = PositionKey(MarketKey("aave-v3", "core"), "0x" + "ab" * 20)
TRIGGER = 125 * 10**16
HEALTHS = st.sampled_from([None, TRIGGER, TRIGGER + 1, 2 * TRIGGER, TRIGGER - 1, TRIGGER // 2, 0])


class Hysteresis(RuleBasedStateMachine):
    """A chain that grows, skips, forks and goes dark under one rule. Keeps what was read, and checks each verdict."""

    @initialize(for_blocks=st.integers(1, 3), cooldown=st.sampled_from([0, 12, 60]), notify=st.booleans())
    def begin(self, for_blocks, cooldown, notify):
        mode = Mode.NOTIFY if notify else Mode.AUTO
        self.rule = Rule(
            "guard",
            "*",
            mode,
            health_below(TRIGGER),
            for_blocks,
            restore(2 * TRIGGER),
            (),
            Limits(cooldown=cooldown),
            "d" * 64,
        )
        self.state = initial_state(self.rule, str(KEY))
        self.fork = 0
        self.chain: list[tuple[BlockRef, int | None]] = []  # canonical blocks read as known, with their health
        self.row: list[str] = []  # hashes of the blocks below in the present row, since last broken
        self.fired: list[tuple[str, BlockRef]] = []
        self.ended: int | None = None
        self.recovered: set[str] = set()  # hashes of canonical blocks that were read at or above after the end

    def block(self, number: int, parent: str) -> BlockRef:
        return BlockRef(number, f"0x{self.fork}-{number}", parent, 1_000 + 12 * number, 1)

    def read(self, block: BlockRef, health: int | None, unknown: str | None = None) -> None:
        if unknown is None:
            position = Position(KEY, block, (), (), health, None, None)
        else:
            position = unknown_position(KEY, block, unknown)
        before = self.state
        self.state, verdict = step(self.rule, self.state, position, block)
        again = step(self.rule, before, position, block)
        assert again == (self.state, verdict), "the same input gave another verdict"
        kept = state_from_data(json.loads(json.dumps(state_to_data(self.state))))
        assert state_to_data(kept) == state_to_data(self.state)
        if unknown is not None:
            self.row = []
            assert verdict.kind is VerdictKind.BLIND
            assert self.state.latched == before.latched, "unknown latched or armed"
            return
        below = health is not None and health < TRIGGER
        self.row = [*self.row, *([block.hash] if block.hash not in self.row else [])] if below else []
        if not below and self.ended is not None and block.number > self.ended:
            self.recovered.add(block.hash)
        if verdict.fires:
            assert below, "fired while health was not below"
            assert len(self.row) >= self.rule.for_blocks, "fired before enough blocks in a row"
            assert verdict.episode not in [episode for episode, _ in self.fired], "one episode fired twice"
            if self.fired:
                assert self.ended is not None, "fired again before the end of the last firing"
                assert self.recovered, "fired again without a recovery on this chain"
                assert block.timestamp >= self.fired[-1][1].timestamp + self.rule.limits.cooldown, "fired while cooling"
            self.fired.append((verdict.episode, block))
            self.ended = block.number if self.rule.mode is Mode.NOTIFY else None
            self.recovered = set()
            self.row = []
        if verdict.kind is VerdictKind.CALM:
            assert not below, "calm while below"

    @property
    def head(self) -> BlockRef:
        return self.chain[-1][0] if self.chain else BlockRef(0, "0xgenesis", "0x", 1_000, 1)

    @rule(health=HEALTHS, skip=st.sampled_from([0, 0, 0, 2]))
    def grow(self, health, skip):
        number = self.head.number + 1 + skip
        block = self.block(number, self.head.hash if skip == 0 else f"0x{self.fork}-{number - 1}")
        self.chain.append((block, health))
        self.read(block, health)

    @precondition(lambda self: self.chain)
    @rule()
    def read_again(self):
        before = self.state
        fires = len(self.fired)
        self.read(*self.chain[-1])
        assert len(self.fired) == fires, "a block fired twice"
        assert self.state.below <= max(before.below, 1)

    @rule()
    def dark(self):
        block = self.block(self.head.number + 1, self.head.hash)
        self.read(block, None, "the node does not answer")

    @precondition(lambda self: len(self.chain) > 1)
    @rule(depth=st.integers(1, 3), health=HEALTHS)
    def reorganise(self, depth, health):
        depth = min(depth, len(self.chain) - 1)
        gone = {block.hash for block, _ in self.chain[-depth:]}
        del self.chain[-depth:]
        self.fork += 1
        self.row = []
        self.recovered -= gone
        block = self.block(self.head.number + 1, self.head.hash)
        self.chain.append((block, health))
        self.read(block, health)

    @rule()
    def restart(self):
        """What survives is what is written down: no firing is forgotten, only the row."""
        self.state = state_from_data(state_to_data(self.state))
        self.row = []

    @precondition(lambda self: self.fired and self.ended is None and self.chain)
    @rule(later=st.integers(0, 2))
    def end(self, later):
        self.ended = self.head.number + later
        self.state = conclude(self.state, self.ended, self.fired[-1][0])

    @invariant()
    def latched_from_the_firing_on(self):
        if self.fired and not self.recovered:
            assert self.state.latched
            assert self.state.episode == self.fired[-1][0]


TestHysteresis = Hysteresis.TestCase
TestHysteresis.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
