"""`trimtab plan` on a rule that has fired: it is beyond its trigger, and the engine would not act all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.firings import ACCOUNT, BLOCK
from tui.engine.rulebook import why_waits
from tui.headless.as_json import evaluation_json
from tui.headless.watch_commands import _print_plans
from tui.journal.store import SqliteJournal, open_journal
from tui.model.block import BlockRef
from tui.model.plan import Evaluation
from tui.model.position import MarketKey, Position, PositionKey
from tui.model.rule import Limits, Mode, Rule, RuleProblem, health_below, restore
from tui.model.units import WAD
from tui.rules.evaluate import step
from tui.rules.state import RuleState, conclude, initial_state, state_to_data

KEY = PositionKey(MarketKey("aave-v3", "core"), ACCOUNT)
RULE = Rule(
    "guard", "*", Mode.AUTO, health_below(5 * WAD // 4), 1, restore(3 * WAD // 2), (), Limits(cooldown=600), "d"
)


def block_after(blocks: int) -> BlockRef:
    number = BLOCK.number + blocks
    return BlockRef(number, f"0x{number}", f"0x{number - 1}", BLOCK.timestamp + 12 * blocks, 1)


def at(block: BlockRef, health: int = 12 * WAD // 10) -> Position:
    return Position(KEY, block, (), (), health, 0, 0)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    opened = open_journal(tmp_path / "state")
    yield opened
    opened.close()


def fired() -> RuleState:
    block = block_after(0)
    state, verdict = step(RULE, initial_state(RULE, str(KEY)), at(block), block)
    assert verdict.fires
    return state


def waits(journal: SqliteJournal, state: RuleState, blocks: int) -> str | None:
    journal.save_rule_state(RULE.digest, state.position, json.dumps(state_to_data(state)), 0.0)
    block = block_after(blocks)
    return why_waits(journal, RULE, at(block), block, None)


def test_what_fired_already_waits_and_says_for_what(journal: SqliteJournal) -> None:
    state = fired()
    assert why_waits(None, RULE, at(BLOCK), BLOCK, None) is None
    assert why_waits(journal, RULE, at(BLOCK), BLOCK, None) is None, "nothing is on record yet"
    assert (waits(journal, state, 1) or "").endswith("already fired, its last firing is not concluded")
    state = conclude(state, BLOCK.number + 1)
    assert (waits(journal, state, 2) or "").endswith("already fired, waits for a block at or above 1.25")


def test_what_rests_waits_until_its_cooldown_is_over(journal: SqliteJournal) -> None:
    block = block_after(2)
    state, _ = step(RULE, conclude(fired(), BLOCK.number + 1), at(block, 2 * WAD), block)
    assert (waits(journal, state, 10) or "").endswith("rests 480 s more")
    assert waits(journal, state, 51) is None


def test_it_is_told_in_words_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    fires = Evaluation("guard", str(KEY), BLOCK, True, "health factor 1.20 below 1.25", None, None)
    held = replace(fires, waits="health factor 1.20 below 1.25; rests 480 s more")
    _print_plans([fires, held])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("FIRES, health factor 1.20 below 1.25")
    assert lines[1].endswith(
        "beyond its trigger, but the engine would NOT act: health factor 1.20 below 1.25; rests 480 s more"
    )
    assert evaluation_json(fires)["waits"] is None
    assert (evaluation_json(held)["fires"], evaluation_json(held)["waits"]) == (True, held.waits)


def test_what_would_be_said_of_a_rule_were_it_armed_is_told_in_words_and_in_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    calm = Evaluation("guard", str(KEY), BLOCK, False, "health factor 1.30 is not below 1.25", None, None)
    assert evaluation_json(calm)["problems"] is None, "nobody asked"
    far = RuleProblem("out-of-reach", None, "it gets to 1.32, not to 1.50", "fund the wallet", decisive=True)
    dear = RuleProblem("loses-too-much", 1, "now it would lose 1%", "wait for a better price", decisive=False)
    judged = replace(calm, problems=(far, dear))
    _print_plans([judged])
    lines = capsys.readouterr().out.splitlines()
    assert "    would NOT be armed anew: it gets to 1.32, not to 1.50; fund the wallet" in lines
    assert "    worth knowing: now it would lose 1%; wait for a better price" in lines
    assert evaluation_json(judged)["problems"] == [
        {"code": far.code, "step": None, "words": far.words, "fix": far.fix, "refuses_arming": True},
        {"code": dear.code, "step": 2, "words": dear.words, "fix": dear.fix, "refuses_arming": False},
    ]
