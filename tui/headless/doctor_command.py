"""`trimtab doctor`: am I protected right now, and what would stop it? Looks at everything, changes nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tui.config.options import Options, UsageError, options_from
from tui.engine.arming import obstacles, positions_for
from tui.engine.killswitch import KillSwitch
from tui.headless.output import Exit, data, data_json, talk
from tui.model.block import BlockRef
from tui.model.rule import Mode
from tui.model.snapshot import Snapshot
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import JournalError
from tui.wiring import Wired, paths_of, wire

FIRST_BLOCK_SECONDS = 15.0
CLOCK_SKEW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `ok` None: could not be told, which counts as not well."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


def run_doctor(args: argparse.Namespace) -> int:
    """Print every check; exit code 1 where something would stop a defence."""
    try:
        options = options_from(args)
        checks = list(_local_checks(options))
        wired = wire(options, signing=False)
    except (UsageError, JournalError) as error:
        talk(f"trimtab doctor: {error}")
        return Exit.USAGE
    try:
        checks += asyncio.run(_chain_checks(wired))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    well = all(check.ok for check in checks)
    if args.json:
        data_json({"ok": well, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            sign = {True: "ok  ", False: "BAD ", None: "??? "}[check.ok]
            data(f"{sign} {check.name}: {check.detail}" + (f"; {check.fix}" if check.fix and not check.ok else ""))
        data("nothing is known that would stop a defence" if well else "a defence would be stopped or weakened")
    return Exit.DONE if well else Exit.FOUND


def _local_checks(options: Options) -> Iterator[Check]:
    from tui.journal.lock import holder_pid

    state = paths_of(options).state
    yield _writable(state)
    killed = KillSwitch(state).is_on()
    yield Check("kill switch", not killed, "on: nothing is signed" if killed else "off", "trimtab kill --off")
    holder = holder_pid(state)
    yield Check(
        "engine",
        holder is not None,
        f"process {holder} holds {state}" if holder is not None else f"no engine runs on {state}: nothing is armed",
        "start `trimtab run`, or arm a rule in the app",
    )


def _writable(state: Path) -> Check:
    try:
        with tempfile.TemporaryFile(dir=state) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return Check("disk", False, f"{state}: {error.strerror}", "free space, or mend its permissions")
    return Check("disk", True, f"{state} can be written")


async def _chain_checks(wired: Wired) -> list[Check]:
    checks: list[Check] = []
    heads = wired.chain.heads
    try:
        async with asyncio.timeout(FIRST_BLOCK_SECONDS):
            block = await heads.poll()
            while block is None:
                await wired.engine.ports.clock.sleep(heads.poll_interval)
                block = await heads.poll()
        checks += _node_checks(wired, block)
        checks += await _defence_checks(wired, block)
    except TimeoutError:
        checks += _node_checks(wired, None)
    except (ChainUnreachable, ReadFailed) as error:
        checks.append(Check("reading", False, str(error), "check the node or the network file"))
    finally:
        await wired.aclose()
    return checks


def _node_checks(wired: Wired, block: BlockRef | None) -> Iterator[Check]:
    well = 0
    for one in wired.chain.reader.providers():
        ok = one.state == "ok"
        well += ok
        latency = "" if one.latency_ms is None else f", {one.latency_ms:.0f} ms"
        yield Check(f"node {one.url}", ok, f"{one.state}{latency} {one.detail}".strip(), "check its URL and plan")
    quorum = wired.network.quorum
    yield Check("quorum", well >= quorum, f"{well} of {quorum} nodes needed answer", "add nodes to the network file")
    if block is None:
        yield Check("head", False, "no block could be read", "check --rpc or the network file")
        return
    skew = abs(time.time() - block.timestamp)
    limit = max(CLOCK_SKEW_SECONDS, 5 * wired.network.block_time)
    yield Check(
        "head",
        skew <= limit,
        f"block {block.number}, its time is {skew:.0f} s from this machine's clock",
        "the node lags, the chain stands still, or the clock is wrong",
    )


async def _defence_checks(wired: Wired, block: BlockRef) -> list[Check]:
    engine = wired.engine
    engine.book.reload(force=True)
    engine.watch.defend(engine.watch.accounts)
    snapshot, fees = await asyncio.gather(engine.watch.snapshot(block), engine.ports.fees.quote(block))
    checks = [Check("rules", False, str(fault), "mend the file") for fault in engine.book.faults]
    own = tuple(engine.setup.keystores)
    if not own:
        checks.append(Check("key", False, "no key file: nothing can be signed", "trimtab keystore new, or import"))
    checks += [_position_check(snapshot, index) for index in range(len(snapshot.positions))]
    guarded = False
    for rule in engine.book.rules:
        if rule.mode is Mode.NOTIFY:
            continue
        for position in positions_for(rule, snapshot, own):
            guarded = True
            found = obstacles(rule, position, snapshot, fees, engine.prospect)
            name = f"rule {rule.name} on {position.id}"
            checks += [Check(name, False, line) for line in found] or [Check(name, True, "its means reach its target")]
    if own and not guarded:
        checks.append(Check("rules", False, "no rule would act for your account", "write one, see `trimtab rules`"))
    return checks


def _position_check(snapshot: Snapshot, index: int) -> Check:
    position = snapshot.positions[index]
    if position.unknown is not None:
        return Check(f"position {position.id}", None, f"unknown: {position.unknown}")
    notes = "; ".join(position.notes)
    return Check(f"position {position.id}", not notes, notes or f"read, {position.status}")
