"""`trimtab kill` and `trimtab journal` as programs: whom the switch binds, and what a firing counts for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.firings import BLOCK, a_debit, a_firing, an_intent
from tests.support.program import run_trimtab
from tui.engine.budget import gas_correction, gas_debits
from tui.engine.killswitch import KILL_FILE
from tui.journal.store import open_journal
from tui.model.intent import FiringState
from tui.model.transitions import advance_firing
from tui.model.units import USD

pytestmark = pytest.mark.usefixtures("warm_programs")


async def test_a_state_directory_that_was_not_there_is_warned_of_and_the_switch_is_pulled(tmp_path: Path) -> None:
    typo = tmp_path / "sttae"
    given = ("--state", typo, "--config", tmp_path / "config")
    code, _, err = await run_trimtab("kill", *given)
    assert code == 0
    assert "CAREFUL" in err
    assert "An engine that runs on another state directory is NOT stopped" in err
    assert "no engine runs on" in err
    assert (typo / KILL_FILE).exists()
    code, _, err = await run_trimtab("kill", "--off", *given)
    assert (code, "CAREFUL" in err) == (0, False)
    assert not (typo / KILL_FILE).exists()


async def test_it_says_which_engine_it_stops(tmp_path: Path) -> None:
    state = tmp_path / "state"
    journal = open_journal(state)
    try:
        code, _, err = await run_trimtab("kill", "--state", state, "--config", tmp_path / "config")
        assert code == 0
        assert "kill switch on: the engine with process id" in err
        assert "signs nothing more" in err
        assert "CAREFUL" not in err
    finally:
        journal.close()


async def test_the_journal_tells_what_a_firing_counts_for(tmp_path: Path) -> None:
    state = tmp_path / "state"
    journal = open_journal(state)
    firing = a_firing()
    journal.open_firing(firing)
    planned = advance_firing(firing, FiringState.PLANNED)
    journal.save_firing(firing, planned)
    debit, intent = a_debit(firing), an_intent(firing, 0)
    gas = gas_debits(firing.rule, debit.day, [intent], 3_000 * USD)
    journal.reserve(planned, advance_firing(planned, FiringState.RUNNING), [intent], debit, None, gas)
    (stored,) = journal.unsettled(firing.chain_id)
    journal.save_intents([], gas_correction(stored, firing.rule, journal.gas_debit(intent.id), 10**15))
    journal.close()
    options = ("--state", state, "--config", tmp_path / "config")
    code, out, _ = await run_trimtab("journal", "--json", *options)
    assert code == 0
    (told,) = [json.loads(line) for line in out.splitlines()]
    assert told["budget"] == {"day": debit.day, "moved_usd": "5.00", "gas_usd": "3.0000"}
    assert told["block"]["number"] == BLOCK.number
    code, out, _ = await run_trimtab("journal", *options)
    assert f"counted on {debit.day}: $5.00 moved, $3.0000 of gas" in out
