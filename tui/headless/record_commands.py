"""`trimtab journal` and `trimtab kill`: the record, and the switch that any process on this machine may pull."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tui.config.options import UsageError, options_from
from tui.config.paths import locate_paths
from tui.engine.killswitch import KillSwitch
from tui.headless.as_json import Json, decision_json, firing_json, usd, wad
from tui.headless.outcomes import differences_json, outcome_json, outcome_lines
from tui.headless.output import Exit, data, data_json, talk
from tui.journal.lock import holder_pid, is_held
from tui.journal.reading import SqliteReader
from tui.model.intent import Firing
from tui.ports.journal import Decision, JournalError, JournalMissing, SpendEntry, SpendKind
from tui.wiring import open_record, state_directory

_AGO = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def run_journal(args: argparse.Namespace) -> int:
    """Print decisions and firings, oldest first; the exit code."""
    try:
        since = parse_since(args.since, time.time())
        record = open_record(options_from(args))
    except UsageError as error:
        talk(f"trimtab journal: {error}")
        return Exit.USAGE
    except JournalMissing:
        talk("no journal yet: nothing was ever decided here")
        return Exit.DONE
    except JournalError as error:
        talk(f"trimtab journal: {error}")
        return Exit.REFUSED
    if args.outcomes:
        return _outcomes(record, since, as_json=args.json)
    try:
        entries: list[tuple[float, int, Firing | Decision]] = [
            (decision.at, 0, decision) for decision in record.decisions(since, limit=10_000)
        ]
        entries += [(firing.block_timestamp, 1, firing) for firing in record.firings(limit=1_000, since=since)]
        counted = {
            entry.id: counted_json(record.budget_of(entry.id)) for _, _, entry in entries if isinstance(entry, Firing)
        }
    except JournalError as error:
        talk(f"trimtab journal: {error}")
        return Exit.REFUSED
    finally:
        record.close()
    for _, _, entry in sorted(entries, key=lambda one: one[:2]):
        if args.json:
            if isinstance(entry, Firing):
                data_json(firing_json(entry) | {"budget": counted[entry.id]})
            else:
                data_json(decision_json(entry))
        else:
            _print(entry)
            if isinstance(entry, Firing) and entry.intents:
                _print_counted(counted[entry.id])
    return Exit.DONE


def _outcomes(record: SqliteReader, since: float, *, as_json: bool) -> int:
    try:
        rows = record.outcomes(1_000, since)
    except JournalError as error:
        talk(f"trimtab journal: {error}")
        return Exit.REFUSED
    finally:
        record.close()
    if as_json:
        for row in rows:
            data_json(outcome_json(row))
        data_json(differences_json(rows))
        return Exit.DONE
    for line in outcome_lines(rows):
        data(line)
    return Exit.DONE


def counted_json(entries: Sequence[SpendEntry]) -> Json:
    """What a firing counts for against its rule's daily limit, in dollars; `gas_usd` null: its gas has no price."""
    moved = sum(one.amount for one in entries if one.kind is SpendKind.USD)
    gas = [one.amount for one in entries if one.kind is SpendKind.GAS_USD]
    return {
        "day": next((one.day for one in entries), None),
        "moved_usd": usd(moved),
        "gas_usd": usd(sum(gas), 4) if gas else None,
    }


def _print_counted(counted: Json) -> None:
    gas = "?" if counted["gas_usd"] is None else f"${counted['gas_usd']}"
    data(f"    counted on {counted['day']}: ${counted['moved_usd']} moved, {gas} of gas")


def _print(entry: Firing | Decision) -> None:
    if isinstance(entry, Decision):
        at = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        data(f"{at}Z  {entry.severity:<8} {entry.text}")
        return
    at = datetime.fromtimestamp(entry.block_timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
    health = ""  # what was asked for by hand has none to mend
    if entry.health_factor_before is not None:
        health = f"HF {wad(entry.health_factor_before, 4)} -> {wad(entry.health_factor_after, 4) or '?'}, "
    gas = usd(entry.cost_usd) or "?"
    data(f"{at}Z  {entry.state:<8} {entry.rule} on {entry.position}: {entry.summary}; {health}gas ${gas}")
    for intent in entry.intents:
        data(f"    {intent.id}  nonce {intent.nonce}: {intent.words}: {intent.state} {intent.included_hash or ''}")


def parse_since(text: str | None, now: float) -> float:
    """Unix seconds from `--since`; 0 where it is not given. Raises UsageError."""
    if text is None:
        return 0.0
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text!r} is no time; write 2h, 1700000000 or 2026-01-31T12:00") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def run_kill(args: argparse.Namespace) -> int:
    """Pull or release the kill switch of a state directory; the exit code."""
    try:
        options = options_from(args)
        was_there = locate_paths(options.config, options.state).state.is_dir()
        directory = state_directory(options)
    except UsageError as error:
        talk(f"trimtab kill: {error}")
        return Exit.USAGE
    switch = KillSwitch(directory)
    try:
        if args.off:
            switch.release()
        else:
            switch.pull("pulled from the command line")
    except OSError as error:
        talk(f"trimtab kill: {directory}: {error.strerror}; stop the engine itself if it must not sign")
        return Exit.REFUSED
    talk(f"kill switch {'released' if args.off else 'on'}: {_whom_it_binds(directory, off=args.off)}")
    if not was_there:
        talk(
            f"trimtab kill: CAREFUL: {directory} was not there and has just been made. An engine that runs on another "
            "state directory is NOT stopped: give the --state that it was started with"
        )
    return Exit.DONE


def _whom_it_binds(directory: Path, *, off: bool) -> str:
    """Whether an engine holds the state directory, in words."""
    if not is_held(directory):
        now = "" if off else "; one that is started there will sign nothing"
        return f"no engine runs on {directory} now{now}"
    pid = holder_pid(directory)
    engine = f"the engine{'' if pid is None else f' with process id {pid}'} on {directory}"
    return f"{engine} may sign again" if off else f"{engine} signs nothing more"
