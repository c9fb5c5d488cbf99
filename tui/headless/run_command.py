"""`trimtab run`: the engine without a screen. Fires what is armed; log on stderr, events on stdout with `--json`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys

from tui.config.options import Options, UsageError, options_from
from tui.engine.facade import CommandRefused, Passwords
from tui.headless.as_json import block_json, evaluation_json, usd, wad
from tui.headless.attendants import Attendants, alert_settings
from tui.headless.outlet import Outlet, outlets
from tui.headless.output import Exit, data_json, silence, talk
from tui.model.alert import AlertSettings
from tui.model.rule import Mode
from tui.model.view import ActivityEntry, Severity, ViewState
from tui.ports.journal import JournalError
from tui.vault.hardening import forbid_dumps
from tui.wiring import Wired, find_keystores, paths_of, read_passwords, wire

FIRST_BLOCK_SECONDS = 30.0


def run_engine(args: argparse.Namespace) -> int:
    """Run until SIGINT or SIGTERM and return the exit code."""
    with outlets(_dropped_event if args.json else _dropped_line, _dropped_line):
        return _run_engine(args)


def _run_engine(args: argparse.Namespace) -> int:
    forbid_dumps()
    try:
        options = options_from(args)
        passwords = None if not options.keystores else _passwords(options)
        if options.keystores and passwords is None and not options.read_only:
            raise UsageError("--keystore needs --password-file FILE or --password-fd N: there is nobody to ask")
        alerts = alert_settings(paths_of(options))
        # The signer starts before the loop and its threads: the kernel ties its life to this main thread.
        wired = wire(options, signing=bool(options.keystores) and not options.read_only)
    except UsageError as error:
        talk(f"trimtab run: {error}")
        return error.exit_code
    except JournalError as error:
        talk(f"trimtab run: {error}")
        return Exit.REFUSED
    try:
        run = _Run(wired, options, passwords, args.json, alerts)
        del passwords
        return asyncio.run(run.main())
    finally:
        wired.close_signer()


def _passwords(options: Options) -> dict[str, str] | None:
    """The password of each key file that was named, by account. Raises UsageError."""
    return read_passwords(options, tuple(find_keystores(options, paths_of(options))))


def _dropped_event(count: int) -> str:
    return json.dumps({"event": "dropped", "count": count})


def _dropped_line(count: int) -> str:
    return f"{count} lines were dropped here: nobody read them in time"


class _Run:
    """One run: what was said already, and what ends it."""

    def __init__(
        self, wired: Wired, options: Options, passwords: Passwords | None, as_json: bool, alerts: AlertSettings
    ) -> None:
        self._wired = wired
        self._options = options
        self._passwords = passwords
        self._as_json = as_json
        self._attendants = Attendants(wired, alerts, _ring if sys.stderr.isatty() else None, alone=True)
        self._refused: list[str] = []
        self._told = 0
        self._told_dropped = False
        self._block = ""
        self._protection: tuple[object, ...] = ()
        self._ended: asyncio.Future[int] | None = None

    async def main(self) -> int:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[int] = loop.create_future()
        self._ended = ended
        for number, code in ((signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.DONE)):
            loop.add_signal_handler(number, self._end, code)
        with contextlib.suppress(ValueError):
            # A terminal that hangs up is none of this run's business.
            loop.add_signal_handler(signal.SIGHUP, lambda: talk("hang-up ignored: the run goes on"))
        stop = self._wired.engine.subscribe(self._show)
        self._attendants.start()
        engine = asyncio.create_task(self._wired.engine.run())
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.wait((ended, engine, starting), return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and starting.result() is not None:
                return starting.result() or Exit.DONE
            await asyncio.wait((ended, engine), return_when=asyncio.FIRST_COMPLETED)
            if engine.done():
                self._wired.engine.died(None if engine.cancelled() else engine.exception())
                talk(f"trimtab run: nothing is protected any more: {self._wired.engine.ended}")
                return Exit.FOUND
            if not ended.done():
                return Exit.NO_CHAIN
            return Exit.REFUSED if self._refused and ended.result() == Exit.DONE else ended.result()
        finally:
            starting.cancel()
            engine.cancel()
            await asyncio.gather(starting, engine, return_exceptions=True)
            armed = ", ".join(self._wired.engine.book.armed)
            await self._attendants.aclose("the run was ended")
            stop()  # after them: what could not be told any more is said here
            await self._wired.aclose()
            talk(f"stopped: nothing is watched any more{f' (was armed: {armed})' if armed else ''}")

    def _end(self, code: int) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(code)

    async def _start(self) -> int | None:
        """Wait for the first block, then arm what may fire by itself. An exit code where the run makes no sense."""
        try:
            async with asyncio.timeout(FIRST_BLOCK_SECONDS):
                await self._first_snapshot()
        except TimeoutError:
            why = self._wired.engine.blind() or "no block came"
            talk(
                f"trimtab run: no chain reached in {FIRST_BLOCK_SECONDS:.0f} s: {why}; check --rpc or the network file"
            )
            return Exit.NO_CHAIN
        return await self._arm()

    async def _first_snapshot(self) -> None:
        engine = self._wired.engine
        seen = asyncio.Event()
        stop = engine.subscribe(lambda view: seen.set() if view.chain.block is not None else None)
        try:
            if engine.snapshot is None:
                await seen.wait()
        finally:
            stop()

    async def _arm(self) -> int | None:
        engine = self._wired.engine
        for fault in engine.book.faults:
            talk(f"rules: {fault}")
        wanted = [rule for rule in engine.book.rules if rule.mode is Mode.AUTO]
        passwords, self._passwords = self._passwords, None  # asked for once: nothing of the run needs them later
        if passwords is None:
            if wanted:
                talk("watching only: no keystore was given, nothing will be signed")
            return None
        for rule in engine.book.rules:
            if rule.mode is Mode.CONFIRM:
                talk(f"{rule.name}: mode confirm needs the app; without a screen it is not armed")
        for rule in wanted:
            try:
                report = await self._wired.commands.arming_report(rule.name)
                await self._wired.commands.arm(rule.name, rule.name, passwords)
            except CommandRefused as refused:
                talk(f"trimtab run: {rule.name} is NOT armed: {refused}")
                self._event({"event": "refused", "rule": rule.name, "why": str(refused)})
                self._refused.append(rule.name)
                continue
            for warning in report.warnings:
                talk(f"{rule.name}: would stop or weaken it: {warning}")
            for view in engine.view.rules:
                if view.rule.name == rule.name:
                    for position in view.positions:
                        if position.endswith(f"/{report.account}"):
                            signers = [use.account for use in report.keys]
                            paid = "" if signers == [report.account] else f", signed by {', '.join(signers)}"
                            talk(f"armed: {rule.name} on {position}{paid}")
                            self._event({"event": "armed", "rule": rule.name, "position": position, "signers": signers})
        if not wanted:
            talk("watching only: no rule has mode auto, nothing will be signed")
        if len(self._refused) == len(wanted) > 0:
            return Exit.REFUSED
        if self._refused:
            # What one rule lacks is no reason to leave the others' positions without a defence.
            talk(f"trimtab run: goes on without {', '.join(self._refused)}; mend that, and start it again")
        return None

    # --- telling ---------------------------------------------------------------------------------------------------

    def _show(self, view: ViewState) -> None:
        for entry in view.activity:
            if entry.number > self._told:
                self._told = entry.number
                self._tell(entry)
        said = (view.protection, view.held, view.killed, view.degraded is None, view.signer is None)
        if said != self._protection:
            self._protection = said
            talk(f"{view.protection}: {view.protection_why}")
            self._event(
                {
                    "event": "protection",
                    "protection": view.protection,
                    "why": view.protection_why,
                    "held": view.held,
                    "killed": view.killed,
                    "degraded": view.degraded,
                    "signer": view.signer,
                }
            )
        block = view.chain.block
        if block is not None and block.hash != self._block:
            self._block = block.hash
            self._event(_block_event(view))

    def _tell(self, entry: ActivityEntry) -> None:
        quiet = {"debug": 0, "info": 0, "warning": 1, "error": 2}[self._options.log_level]
        rank = {Severity.INFO: 0, Severity.GOOD: 1, Severity.WARNING: 1, Severity.ALARM: 2}[entry.severity]
        if rank >= quiet:
            at = "" if entry.block is None else f"block {entry.block}: "
            talk(f"{entry.severity}: {at}{entry.text}")
        self._event(
            {
                "event": "activity",
                "at": entry.at,
                "block": entry.block,
                "severity": str(entry.severity),
                "text": entry.text,
                "firing": entry.firing_id,
            }
        )

    def _event(self, event: dict[str, object]) -> None:
        if not self._as_json:
            return
        gone: str | None = None
        try:
            data_json(event)
        except OSError as error:
            silence(1)
            gone = error.strerror or "error"
        out = sys.stdout
        if isinstance(out, Outlet):
            gone = out.gone
            if out.dropped and not self._told_dropped:
                self._told_dropped = True
                talk("stdout is not read: the oldest events are dropped and counted, the run goes on")
        if gone is not None:
            # Whoever read the events is gone. That must not end a defence.
            self._as_json = False
            talk(f"stdout is closed ({gone}): no more events, the run goes on")


def _ring() -> None:
    err = sys.stderr
    if isinstance(err, Outlet):
        err.ring()
        return
    with contextlib.suppress(OSError):
        err.write("\a")
        err.flush()


def _block_event(view: ViewState) -> dict[str, object]:
    assert view.chain.block is not None
    return {
        "event": "block",
        "block": block_json(view.chain.block),
        "base_fee": str(view.chain.block.base_fee),
        "protection": str(view.protection),
        "would_stop": list(view.would_stop),
        "positions": [
            {
                "id": one.position.id,
                "health_factor": wad(one.position.health_factor) if one.position.unknown is None else None,
                "status": str(one.position.status),
                "debt_usd": usd(one.position.debt_usd) if one.position.unknown is None else None,
                "unknown": one.position.unknown,
            }
            for one in view.positions
        ],
        "rules": [
            {
                "rule": one.rule.name,
                "activity": str(one.activity),
                "detail": one.detail,
                "evaluation": None if one.evaluation is None else evaluation_json(one.evaluation),
            }
            for one in view.rules
        ],
    }
