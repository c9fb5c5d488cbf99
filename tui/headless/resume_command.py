"""`trimtab resume`: the hand that an engine waits for after it held itself.

A running engine is asked through a file in its state directory; without one, the record itself is told.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from tui.config.options import UsageError, options_from
from tui.engine.engine import HELD_KEY
from tui.engine.handsign import STAYS_HELD, WENT_ON, ResumeSign
from tui.headless.heartbeat import Beat, read_heartbeat
from tui.headless.output import Exit, talk
from tui.journal.lock import is_held
from tui.journal.reading import SqliteReader
from tui.journal.store import open_journal
from tui.model.text import clean_text
from tui.model.view import Severity
from tui.ports.journal import JournalError, JournalMissing
from tui.wiring import open_record, state_directory

WAIT_SECONDS = 10.0
_LOOK_EVERY = 0.2


def run_resume(args: argparse.Namespace) -> int:
    """Ask for the engine to go on; the exit code: 0 it does, 1 there was nothing to go on from, 4 it could not."""
    try:
        options = options_from(args)
        state = state_directory(options)
    except UsageError as error:
        talk(f"trimtab resume: {error}")
        return Exit.USAGE
    try:
        try:
            record = open_record(options)
        except JournalMissing:
            talk("trimtab resume: no engine ever ran here")
            return Exit.FOUND
        try:
            if is_held(state):
                return _ask_engine(state, record)
        finally:
            record.close()
        return _clear_record(state)
    except JournalError as error:
        talk(f"trimtab resume: {error}")
    except OSError as error:
        talk(f"trimtab resume: {state}: {error.strerror}; mend the directory's permissions or space")
    return Exit.REFUSED


def _ask_engine(
    state: Path,
    record: SqliteReader,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Put the sign up, wait until the engine has taken it down, and for what the record says came of it."""
    before = _beat(state)
    if before is not None and before.held is None and not record.all_halted():
        talk(f"nothing is held that a hand could release: {before.protection}, {before.why}")
        return Exit.FOUND
    sign = ResumeSign(state)
    told = max((line.number for line in record.decisions(limit=1)), default=0)
    sign.put()
    end = clock() + WAIT_SECONDS
    while sign.is_there():
        if clock() >= end:
            sign.take()
            talk(f"trimtab resume: the engine did not answer within {WAIT_SECONDS:.0f} s; nothing was changed")
            return Exit.REFUSED
        sleep(_LOOK_EVERY)
    while clock() < end:
        said = [line for line in record.decisions(limit=100) if line.number > told]
        refused = next((line.text for line in said if line.kind == STAYS_HELD), None)
        if refused is not None:
            talk(f"trimtab resume: {clean_text(refused, 300)}; nothing goes on, try again when it answers")
            return Exit.REFUSED
        beat = _beat(state)
        if any(line.kind == WENT_ON for line in said) and beat is not None and beat.held is None:
            talk(f"the engine goes on: {beat.protection}, {beat.why}")
            return Exit.DONE
        sleep(_LOOK_EVERY)
    talk("trimtab resume: the engine took the request and is still held; `trimtab doctor` says why")
    return Exit.REFUSED


def _clear_record(state: Path) -> int:
    """No engine runs: what the circuit breaker left in the record is taken out of it."""
    journal = open_journal(state)
    try:
        why = journal.meta(HELD_KEY)
        halted = journal.all_halted()
        if why:
            journal.set_meta(HELD_KEY, "")
            text = f"goes on by hand: {clean_text(why, 300)}"
            journal.record_decision(at=time.time(), kind="resumed", severity=Severity.WARNING, text=text)
            talk("the hold is lifted; the next engine starts without it")
        for chain_id, account, reason in halted:
            talk(f"{account} on chain {chain_id} stays halted ({clean_text(reason, 200)}): its nonces have to be read")
        if halted:
            talk("start the engine, then `trimtab resume` once more")
            return Exit.REFUSED
        if not why:
            talk("nothing is held here")
            return Exit.FOUND
        return Exit.DONE
    finally:
        journal.close()


def _beat(state: Path) -> Beat | None:
    try:
        return read_heartbeat(state)
    except ValueError:
        return None
