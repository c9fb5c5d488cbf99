"""`trimtab doctor`: am I armed, since when, and what would stop me? Looks at everything, changes nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from tui.config.options import Options, UsageError, options_from
from tui.engine.arming import candidates_for, find_obstacles, not_told, positions_for
from tui.engine.conditions import acting_rule
from tui.engine.killswitch import KillSwitch
from tui.engine.live_rules import live_faults
from tui.engine.validation import beside, loud, problems_of
from tui.headless.checks import (
    Check,
    Verdict,
    condition_checks,
    disk_checks,
    engine_checks,
    head_checks,
    journal_check,
    key_checks,
    kill_check,
    node_checks,
    position_checks,
    unarmed_checks,
    verdict,
    wallet_checks,
)
from tui.headless.heartbeat import Beat, read_heartbeat
from tui.headless.output import Exit, data, data_json, talk
from tui.headless.record_checks import unsettled_checks
from tui.journal.lock import holder_pid, is_held
from tui.journal.reading import read_journal
from tui.model.block import BlockRef
from tui.model.network import DE_RISK
from tui.model.plan import FeeQuote
from tui.model.rule import Mode, RuleProblem
from tui.model.snapshot import Snapshot
from tui.model.text import clean_text
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import JournalError, JournalMissing
from tui.wiring import Wired, paths_of, wire

FIRST_BLOCK_SECONDS = 15.0
_SIGNS = {"ok": "ok", "note": "note", "bad": "BAD", "unknown": "??"}
_WIDTH = 100


def run_doctor(args: argparse.Namespace) -> int:
    """Print every check; exit code 0 only where something is armed and nothing is known that would stop it."""
    try:
        options = options_from(args)
        state = paths_of(options).state
    except UsageError as error:
        talk(f"trimtab doctor: {error}")
        return error.exit_code
    now = time.time()
    beat, unreadable = _heartbeat(state)
    checks = [
        *engine_checks(beat, unreadable, holder_pid(state), is_held(state), now),
        kill_check(KillSwitch(state).is_on()),
        *disk_checks(_unwritable(state), _free(state)),
        *_journal_checks(state),
        *_key_checks(options),
    ]
    try:
        wired = wire(options, signing=False)
        wired.engine.book.reload(force=True)
        acting = [rule.name for rule in wired.engine.book.rules if rule.mode is not Mode.NOTIFY]
        unarmed = list(unarmed_checks(acting, checks, beat))
        checks += unarmed
        checks += asyncio.run(_chain_checks(wired, now, {one.name for one in unarmed}))
    except UsageError as error:
        checks.append(Check("configuration", False, str(error), "give the options that the engine was started with"))
    except JournalError as error:
        checks.append(Check("reading", False, str(error)))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    found = verdict(checks, beat)
    _print(checks, found, now, as_json=args.json)
    return Exit.DONE if found.well else Exit.FOUND


# --- printing ------------------------------------------------------------------------------------------------------


def _print(checks: Sequence[Check], found: Verdict, now: float, *, as_json: bool) -> None:
    if as_json:
        data_json(
            {
                "ok": found.well,
                "armed": found.armed,
                "armed_since": found.since,
                "rules": list(found.rules),
                "verdict": found.text(now),
                "checks": [
                    {
                        "name": one.name,
                        "ok": one.ok,
                        "level": one.level,
                        "stops": one.stops,
                        "detail": one.detail,
                        "fix": one.fix,
                    }
                    for one in checks
                ],
            }
        )
        return
    names = min(max(len(check.name) for check in checks), 30)
    for check in checks:
        for line in check_lines(check, names):
            data(line)
    data("")
    data(found.text(now))


def check_lines(check: Check, names: int) -> Iterator[str]:
    """A check in columns: sign, name (`names` wide), what was found; the fix below where it is not well."""
    margin = " " * (names + 7)
    head = f"{_SIGNS[check.level]:<4}  {check.name:<{names}} "
    detail = textwrap.wrap(clean_text(check.detail, 1000), max(_WIDTH - len(margin), 40)) or [""]
    if len(head) > len(margin):
        yield head.rstrip()
    else:
        yield head + detail.pop(0)
    yield from (margin + line for line in detail)
    if check.fix and not check.ok:
        lines = textwrap.wrap(f"→ {check.fix}", max(_WIDTH - len(margin), 40), subsequent_indent="  ")
        yield from (margin + line for line in lines)


# --- this machine --------------------------------------------------------------------------------------------------


def _heartbeat(state: Path) -> tuple[Beat | None, str]:
    try:
        return read_heartbeat(state), ""
    except ValueError as error:
        return None, str(error)


def _unwritable(state: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=state) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return f"{state}: {error.strerror}"
    return ""


def _free(state: Path) -> int | None:
    try:
        return shutil.disk_usage(state).free
    except OSError:
        return None


def _journal_checks(state: Path) -> Iterator[Check]:
    """Whether the record can be read and is whole, and what it says of accounts and of the circuit breaker."""
    try:
        record = read_journal(state)
    except JournalMissing as missing:
        yield Check("journal", True, missing.what)
        return
    except JournalError as error:
        yield journal_check("", f"{error.where}: {error.what}", error.mend)
        return
    try:
        record.verify()
        yield journal_check("whole", "", "")
        held = record.meta("held")
        if held:
            fix = "mend it, then `trimtab resume`"
            yield Check("circuit breaker", False, f"holds the engine: {clean_text(held, 400)}", fix)
        for chain_id, account, why in record.all_halted():
            text = f"{account} on chain {chain_id} is halted: {clean_text(why, 300)}"
            yield Check("halted account", False, text, "look at `trimtab journal`, then `trimtab resume`")
        yield from unsettled_checks(record.all_unsettled(), is_held(state))
    except JournalError as error:
        yield journal_check("", f"{error.where}: {error.what}", error.mend)
    finally:
        record.close()


def _key_checks(options: Options) -> Iterator[Check]:
    """The key file named, else every one of the configuration: place, permissions, form. None is opened."""
    from tui.vault.keystore import inspect_keystore

    directory = paths_of(options).config / "keystore"
    paths = list(options.keystores) or sorted(directory.glob("*.json"))
    if not paths:
        yield Check("key", False, "there is no key file: nothing can be signed", "trimtab keystore new, or import")
    for path in paths:
        report = inspect_keystore(path)
        if report.faults:
            for fault in report.faults:
                yield Check("key", False, str(fault))
        else:
            yield Check("key", report.address is not None, f"{path} is fit for use, {report.address or 'no address'}")


# --- the chain -----------------------------------------------------------------------------------------------------


async def _chain_checks(wired: Wired, now: float, unarmed: Set[str]) -> list[Check]:
    heads, network = wired.chain.heads, wired.network
    checks: list[Check] = []
    block: BlockRef | None = None
    try:
        async with asyncio.timeout(FIRST_BLOCK_SECONDS):
            block = await heads.poll()
            while block is None:
                await wired.engine.ports.clock.sleep(heads.poll_interval)
                block = await heads.poll()
            checks += await _defence_checks(wired, block, unarmed)
            if wired.chain.broadcaster.relay is not None:
                await wired.chain.broadcaster.relay.look()
    except TimeoutError:
        if block is not None:
            checks.append(Check("reading", False, "the node is too slow to read a block", "use a faster node"))
    except (ChainUnreachable, ReadFailed) as error:
        checks.append(Check("reading", False, str(error), "check the node or the network file"))
    finally:
        nodes = wired.chain.reader.providers()
        await wired.aclose()
    number, timestamp = (None, None) if block is None else (block.number, block.timestamp)
    degraded = network.degraded == DE_RISK
    return [
        *node_checks(nodes, network.quorum, degraded),
        *head_checks(number, timestamp, network.block_time, now, network.max_lag),
        *checks,
    ]


async def _defence_checks(wired: Wired, block: BlockRef, unarmed: Set[str] = frozenset()) -> list[Check]:
    """What a defence of the positions would meet at this block. `unarmed` names checks of rules not armed."""
    engine = wired.engine
    engine.book.reload(force=True)
    own = tuple(engine.setup.keystores)
    paying = [wallet for rule in engine.book.rules if rule.mode is not Mode.NOTIFY for wallet in rule.wallets]
    named = [one.rpartition("/")[2] for one in (rule.position for rule in engine.book.rules) if one.count("/") == 2]
    engine.watch.defend([*(own or engine.watch.accounts), *(named if own else ()), *paying])
    snapshot, fees = await asyncio.gather(engine.watch.snapshot(block), engine.ports.fees.quote(block))
    checks = [
        Check(f"rules {fault.rule or ''}".rstrip(), False, str(fault), "", stops=fault.severity == "error")
        for fault in engine.book.faults
    ]
    checks += [
        Check(f"rule {fault.rule}", False, str(fault), "", stops=True)
        for fault in live_faults(engine.book.sets, snapshot, engine.prospect.markets)
        if fault.severity == "error"
    ]
    signing = tuple(dict.fromkeys((*own, *paying)))
    unwatched = [notice for notice in engine.setup.notices if "NOT watched" in notice]
    checks += [Check("market", False, one, "what is there is not defended from here", stops=False) for one in unwatched]
    checks += [*position_checks(snapshot), *wallet_checks(snapshot, signing if own else own)]
    guarded = False
    bad = unarmed | {check.name for check in checks if check.level in ("bad", "unknown")}
    for rule in engine.book.rules:
        if rule.mode is Mode.NOTIFY:
            continue
        for position in candidates_for(rule, snapshot, own):
            guarded = True
            name, before = f"rule {rule.name}", len(checks)
            checks += key_checks(name, rule, position.key.account, own)
            strange = engine.guard.judge(rule, position, snapshot)
            acting = acting_rule(rule, strange)
            found = find_obstacles(acting, position, snapshot, fees, engine.prospect)
            problems: tuple[RuleProblem, ...] = ()
            if fees is not None:
                problems = await problems_of(acting, position, snapshot, fees, engine.prospect)
            found = not_told(found, problems)
            wrong = beside(problems, found)
            checks += condition_checks(name, strange, steps_left=len(acting.steps))
            checks += [Check(name, False, one.text, stops=one.stops) for one in found]
            checks += [Check(name, False, one.words, one.fix, stops=one.decisive) for one in wrong]
            # What is bad of it by its file, its keys or its market is not fine in the next line.
            if name not in bad and not loud(problems) and all(one.ok or not one.stops for one in checks[before:]):
                checks.append(Check(name, True, f"its means reach its target on {position.id}"))
    checks += await _aggregator_checks(wired, snapshot, fees, own)
    if own and not guarded:
        checks.append(Check("rules", False, "no rule would act for your account", "write one; see `trimtab rules`"))
    return checks


async def _aggregator_checks(
    wired: Wired, snapshot: Snapshot, fees: FeeQuote, accounts: tuple[str, ...]
) -> list[Check]:
    """Whether each aggregator would make a call for the first swap that a rule would want now. None stops a defence."""
    prospect = wired.engine.prospect
    orders = (
        order
        for rule in wired.engine.book.rules
        for position in positions_for(rule, snapshot, accounts or wired.engine.watch.accounts)
        for order in prospect.orders_at(rule, position, snapshot, fees).values()
    )
    order = next(orders, None)
    unusable = [notice for notice in wired.engine.setup.notices if "for swaps" in notice]
    found = [Check("aggregator", False, notice, stops=False) for notice in unusable]
    if order is None or prospect.venues is None:
        return found
    fix = "swaps go by the exchange on the chain meanwhile; look at its [[swap]] table in the network file"
    for venue, why in (await prospect.venues.look(order)).items():
        told = f"offers {order.sold.symbol} for {order.bought.symbol}" if why is None else f"offers nothing now: {why}"
        found.append(Check(f"aggregator {venue}", why is None, told, fix, stops=False))
    return found
