"""What a rule remembers of its rounds, what of the next is worth its gas, and whom rounds that are stuck hold back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from tests.support import views
from tests.support.clock import FakeClock
from tests.support.plain_market import USDC, WETH, PlainMarket
from tests.support.plain_rules import repay, rule_of, sell, supply, swap
from tui.engine.hindrances import ROUNDS_SECONDS, Hindrances
from tui.engine.questions import Questions
from tui.engine.rounds import USEFUL_GAS, after_round, next_round, refuse_scrap, undone_round
from tui.engine.rulebook import RuleBook
from tui.model.plan import Action, Plan, PlannedStep
from tui.model.position import Position
from tui.model.rounds import DebtPart, PlannedRound, Rounds, RoundsSoFar
from tui.model.rule import ActionKind, Rule, Step, close, health_above, restore
from tui.model.snapshot import Snapshot
from tui.model.units import USD, WAD
from tui.rules.state import disarmed, initial_state

RULE = rule_of(repay(maximum="5000"), sell(maximum="3"), supply("WBTC", "1"))
GIVEN = ((0, 5_000 * 10**6), (1, WAD), (2, 10**8))
"""What a round is planned to take of each step."""
SOME = ((),)
"""The events of one transaction; what they say is the market's to tell."""


@dataclass
class Told(PlainMarket):
    """A market whose events say so much."""

    moved: dict[str, int] = field(default_factory=dict)
    sold: int | None = 0
    repaid: int = 0

    def moved_in(self, logs, owner: str, token: str) -> int:
        return self.moved.get(token, 0)

    def sold_in(self, logs, owner: str, token: str) -> int | None:
        return self.sold

    def repaid_in(self, logs, owner: str, token: str) -> int:
        return self.repaid


def standing() -> Position:
    return PlainMarket().position({WETH: 100 * WAD}, {USDC: 120_000 * 10**6})


def planned(*used: tuple[int, int], **changes) -> RoundsSoFar:
    return RoundsSoFar(1, planned=PlannedRound("episode", 10, 1, used), **changes)


def test_a_round_takes_of_each_maximum_what_its_receipts_say() -> None:
    market = Told(moved={USDC.address: 900}, sold=7 * WAD // 10, repaid=4_000 * 10**6)
    after = after_round(planned(*GIVEN, used=((1, WAD),)), market, standing(), RULE, SOME)
    assert after.used == ((0, 4_000 * 10**6), (1, 17 * WAD // 10), (2, 10**8))
    assert (after.rounds, after.planned, after.left) == (1, None, ((USDC.address, 900),))
    undone = after_round(planned(*GIVEN), Told(), standing(), RULE, SOME)
    assert undone.used == ((2, 10**8),), "a repayment that reverted has used nothing up"


@dataclass
class Moving(Told):
    """A market in which each transaction, named by its one event, moved so much of a token."""

    moves: dict[str, dict[str, int]] = field(default_factory=dict)

    def moved_in(self, logs, owner: str, token: str) -> int:
        return self.moves[logs[0]].get(token, 0)


def test_what_the_wallets_own_steps_paid_is_not_taken_off_what_a_round_left() -> None:
    moves = {
        "repay": {USDC.address: -5_000 * 10**6},
        "withdraw": {WETH.address: WAD},
        "swap": {WETH.address: -WAD, USDC.address: 2_003 * 10**6},
        "repay too": {USDC.address: -2_000 * 10**6},
        "wrapped": {},
    }
    market = Moving(moves=moves, sold=WAD, repaid=10**12)
    logs = tuple((name,) for name in moves)
    after = after_round(planned((0, 5_000 * 10**6), (1, WAD)), market, standing(), RULE, logs)
    assert dict(after.left) == {USDC.address: 3 * 10**6}
    undone = after_round(planned((0, 5_000 * 10**6), (1, WAD)), market, standing(), RULE, logs[1:])
    assert dict(undone.left) == {USDC.address: 3 * 10**6}, "what was not paid is not given back"


def test_a_swap_of_the_wallet_that_was_undone_has_used_nothing_of_its_maximum() -> None:
    rule = rule_of(swap("WBTC", maximum="1"), sell())
    rounds = RoundsSoFar(1, planned=PlannedRound("episode", 10, 1, ((0, 10**8), (1, WAD)), ((1, 2_000 * USD),)))
    for sold, used in ((None, ()), (10**7, ((0, 10**7), (1, 10**7))), (WAD, ((0, 10**8), (1, WAD)))):
        after = after_round(rounds, Told(sold=sold), standing(), rule, SOME)
        assert after.used == used
    assert after.sold_usd == ((1, 2_000 * USD),)
    half = after_round(rounds, Told(sold=WAD // 2), standing(), rule, SOME)
    assert half.sold_usd == ((1, 1_000 * USD),)
    unread = after_round(rounds, Told(), standing(), rule, ())
    assert (unread.used, unread.sold_usd) == (((0, 10**8), (1, WAD)), ((1, 2_000 * USD),))


def test_without_receipts_all_that_was_planned_is_used_up() -> None:
    after = after_round(planned(*GIVEN, left=((USDC.address, 5),)), Told(), standing(), RULE, ())
    assert after.used == GIVEN
    assert after.left == ((USDC.address, 5),)


def test_a_round_that_was_undone_whole_has_moved_and_used_nothing() -> None:
    rounds = planned(*GIVEN, used=((1, WAD),), spent_usd=100, cost_usd=7)
    after = after_round(undone_round(rounds), Told(), standing(), RULE, ())
    assert (after.rounds, after.used, after.spent_usd, after.cost_usd) == (1, ((1, WAD),), 100, 8)
    earlier = after_round(undone_round(planned(used=((1, WAD),))), Told(), standing(), RULE, ())
    assert earlier.used == ((1, WAD),), "of an earlier version"
    assert undone_round(RoundsSoFar(1)) == RoundsSoFar(1)


def test_a_round_of_an_earlier_version_is_booked_by_its_step_alone() -> None:
    after = after_round(planned(used=((1, WAD),)), Told(sold=WAD), standing(), RULE, SOME)
    assert after.used == ((1, 2 * WAD),)


def plan_of(spend: int, gas: int, after: int | None, before: int = 11 * WAD // 10, **changes) -> Plan:
    made = views.plan()
    cost = replace(made.cost, gas_usd=gas * USD)
    return replace(made, health_factor_before=before, health_factor_after=after, cost=cost, spend_usd=spend * USD,
                   **{"reaches_target": False, "shortfall": "falls short", **changes})  # fmt: skip


@pytest.mark.parametrize(
    ("spend", "gas", "after", "refused"),
    [
        (13, 2, 1_105, True), (2 * USEFUL_GAS, 2, 1_105, False), (13, 2, 1_140, False), (13, 2, None, False),
    ],
)  # fmt: skip
def test_a_round_that_is_not_worth_its_gas_is_waited_with(
    spend: int, gas: int, after: int | None, refused: bool
) -> None:
    found = refuse_scrap(RULE, plan_of(spend, gas, None if after is None else after * WAD // 1_000))
    assert (found is not None) is refused
    if found is not None:
        assert found.code == "adds-too-little"
        assert "would move $13.00 for $2.00 of gas (falls short)" in found.reason


def test_a_round_that_leads_to_the_target_and_one_in_an_emergency_are_always_worth_it() -> None:
    assert refuse_scrap(RULE, plan_of(13, 2, 1_105 * WAD // 1_000, reaches_target=True)) is None
    assert refuse_scrap(RULE, plan_of(13, 2, 1_004 * WAD // 1_000, before=1_003 * WAD // 1_000)) is None
    half = replace(RULE, goal=close(5_000))
    assert refuse_scrap(half, plan_of(13, 2, 2 * WAD)) is not None
    unpriced = plan_of(13, 2, 1_105 * WAD // 1_000)
    assert refuse_scrap(RULE, replace(unpriced, cost=replace(unpriced.cost, gas_usd=None))) is None


def fired(book: RuleBook, rule: Rule, position: Position, rounds: RoundsSoFar) -> None:
    """Let a round of the rule be under way."""
    state = replace(initial_state(rule, position.id), latched=True, episode="episode", fired_block=90,
                    fired_at=position.block.timestamp - 100, rounds=rounds)  # fmt: skip
    book.keep(rule, position, state, 0)


@pytest.mark.parametrize("done", [0, 2])
def test_a_round_that_is_dropped_once_its_rule_was_disarmed_does_not_stop_the_next_ones(done: int) -> None:
    book, position = RuleBook((), None), standing()
    fired(book, RULE, position, planned(*GIVEN, rounds=done, left=((USDC.address, 5),)))
    book.keep(RULE, position, disarmed(RULE, book.state(RULE, position)), 0)
    assert book.state(RULE, position).rounds.stopped
    book.forget(RULE, position, 0)
    state = book.state(RULE, position)
    assert (state.rounds, state.latched) == (None, False)


def test_a_round_that_is_dropped_leaves_those_before_it_and_what_earlier_firings_left() -> None:
    book, position = RuleBook((), None), standing()
    left = ((USDC.address, 5),)
    fired(book, RULE, position, planned(*GIVEN, rounds=2, left=left, parts=(DebtPart(USDC.address, 9),)))
    book.forget(RULE, position, 0)
    state = book.state(RULE, position)
    assert (state.rounds.rounds, state.rounds.planned, state.latched) == (2, None, False)
    fired(book, RULE, position, planned(*GIVEN, left=left))
    book.forget(RULE, position, 0)
    assert book.state(RULE, position).rounds == RoundsSoFar(1, left=left)


def test_rounds_that_are_stuck_for_an_hour_hold_no_boost_any_more() -> None:
    boost = Rule("lever", "*", RULE.mode, health_above(2 * WAD), 1, restore(18 * WAD // 10),
                 (Step(ActionKind.BOOST, "WETH", None, "USDC", 50),), RULE.limits, "other")  # fmt: skip
    book, position = RuleBook((), None), standing()
    book.rules = (RULE, boost)
    fired(book, RULE, position, RoundsSoFar(1, rounds=2))
    book.keep(RULE, position, replace(book.state(RULE, position), latched=False, ended_block=91), 0)
    nobody = SimpleNamespace(is_crossed=lambda *_: False)
    asks = Questions(None, None, FakeClock(0), 90)
    hindrances = Hindrances(book, nobody, None, asks, None, 1, True, lambda: None)

    def held(seconds: int) -> str | None:
        block = replace(position.block, timestamp=position.block.timestamp - 100 + seconds)
        return hindrances._no_time_to_boost(boost, position, Snapshot(block, (position,)))

    assert "goes on with its rounds" in (held(ROUNDS_SECONDS - 1) or "")
    assert held(ROUNDS_SECONDS) is None


def test_a_firing_that_is_gone_on_with_in_rounds_has_taken_of_their_maxima_what_it_took_before() -> None:
    acting = replace(RULE, steps=RULE.steps[:2])
    rounds = Rounds(1, 1, 5, WAD, True, 900 * USD, USD, 1, None, WETH, USDC)
    step = PlannedStep(Action(ActionKind.REPAY, USDC, 7), 12 * WAD // 10)
    sale = plan_of(900, 1, 12 * WAD // 10, steps=(step,), taken=(1,), rounds=rounds)
    sale = replace(sale, before=((0, 5_000 * 10**6),))
    state = initial_state(RULE, "position")
    begun = next_round(state, sale, RULE, acting, "episode")
    assert begun is not None
    assert begun.used == ((0, 5_000 * 10**6),)
    further = next_round(replace(state, rounds=replace(begun, rounds=1)), sale, RULE, RULE, "x")
    assert further is not None
    assert further.used == begun.used, "counted once"
