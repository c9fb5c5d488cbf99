"""`trimtab cancel ID`: close a transaction's nonce by a no-op, by the hand of the engine that runs on the state.

Only that engine may sign: it is asked through a file in its state directory, and the record tells what came of it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from tui.config.options import UsageError, options_from
from tui.engine.handsign import CANCEL_REFUSED, ResumeSign
from tui.headless.output import Exit, talk
from tui.journal.lock import is_held
from tui.journal.reading import SqliteReader, read_journal
from tui.model.intent import AttemptKind, Intent, IntentState
from tui.model.text import clean_text
from tui.ports.journal import JournalError, JournalMissing
from tui.wiring import state_directory

WAIT_SECONDS = 20.0
_LOOK_EVERY = 0.2
_NO_ENGINE = (
    "no engine runs here, and only a running one may sign the no-op: start `trimtab run` with the key and a rule of "
    "mode auto, or the app and arm a rule of that account; then ask again. What was sent before may be mined meanwhile"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("intent", metavar="ID", help="the transaction's id; `trimtab journal` lists them")


def run_cancel(args: argparse.Namespace) -> int:
    """Ask for a no-op; the exit code: 0 it is on its way, 1 there is nothing to cancel, 4 it could not be done."""
    try:
        state = state_directory(options_from(args))
    except UsageError as error:
        talk(f"trimtab cancel: {error}")
        return Exit.USAGE
    try:
        record = read_journal(state)
    except JournalMissing:
        talk("trimtab cancel: no engine ever ran here")
        return Exit.FOUND
    except JournalError as error:
        talk(f"trimtab cancel: {error}")
        return Exit.REFUSED
    try:
        return _cancel(state, record, args.intent)
    except JournalError as error:
        talk(f"trimtab cancel: {error}")
    except OSError as error:
        talk(f"trimtab cancel: {state}: {error.strerror}; mend the directory's permissions or space")
    finally:
        record.close()
    return Exit.REFUSED


def _cancel(state: Path, record: SqliteReader, intent_id: str) -> int:
    intent = record.intent(intent_id)
    if intent is None:
        talk(f"trimtab cancel: there is no transaction {clean_text(intent_id, 60)!r}; {_open_ones(record)}")
        return Exit.FOUND
    if intent.state.is_final or intent.nonce is None:
        talk(f"trimtab cancel: {clean_text(intent.words, 120)} is {intent.state}: there is nothing to cancel")
        return Exit.FOUND
    if _is_cancelling(intent):
        talk(f"its no-op is on its way already, nonce {intent.nonce}; `trimtab journal` tells which of them wins")
        return Exit.DONE
    if not is_held(state):
        talk(f"trimtab cancel: {_NO_ENGINE}")
        return Exit.REFUSED
    return _ask_engine(state, record, intent)


def _ask_engine(
    state: Path,
    record: SqliteReader,
    intent: Intent,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Put the request up, and wait for what the record says of it."""
    sign = ResumeSign(state)
    told = max((line.number for line in record.decisions(limit=1)), default=0)
    sign.put_cancel(intent.id)
    end = clock() + WAIT_SECONDS
    while clock() < end:
        now = record.intent(intent.id)
        if now is not None and (_is_cancelling(now) or now.state is IntentState.DROPPED):
            freed = now.state is IntentState.DROPPED
            what = "nothing was signed for it, its nonce is free" if freed else "its no-op is signed and on its way"
            talk(f"{clean_text(intent.words, 120)}: {what} (nonce {intent.nonce}); what is mined in the end decides")
            return Exit.DONE
        for line in record.decisions(limit=100):
            if line.number > told and line.kind == CANCEL_REFUSED and line.firing_id == intent.firing_id:
                talk(f"trimtab cancel: {clean_text(line.text, 300)}")
                return Exit.REFUSED
        sleep(_LOOK_EVERY)
    if sign.drop_cancel(intent.id):
        talk(f"trimtab cancel: the engine did not answer within {WAIT_SECONDS:.0f} s; nothing was asked of it")
    else:
        talk("trimtab cancel: the engine took the request and has not said what came of it; see `trimtab journal`")
    return Exit.REFUSED


def _is_cancelling(intent: Intent) -> bool:
    return any(attempt.kind is AttemptKind.CANCEL for attempt in intent.attempts)


def _open_ones(record: SqliteReader) -> str:
    found = [f"{one.id} ({clean_text(one.words, 60)}, {one.state})" for one in record.all_unsettled()]
    return f"under way: {'; '.join(found)}" if found else "none is under way"
