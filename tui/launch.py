"""Opens the app: the signer process first, then the first frame, and only then the engine and its imports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

from tui.config.options import Options
from tui.config.paths import Paths
from tui.headless.output import Exit, talk
from tui.vault.spawn import SignerProcess, start_signer

if TYPE_CHECKING:
    from tui.engine.facade import EngineFacade
    from tui.headless.attendants import Attendants
    from tui.vault.client import SignerClient
    from tui.wiring import Wired

READ_ONLY = "This window was started read-only."
DISARM_WITHIN = 5.0
"""Seconds that the engine has for disarming one rule when the terminal is gone."""
GONE_WITHIN = 20.0
"""Seconds after which a program that was told to end ends without its screen's help."""
_ENDS = {signal.SIGHUP: "the terminal hung up", signal.SIGTERM: "the program was told to end"}


class EngineLife:
    """The engine behind one screen: started once by the app, stopped once when it leaves.

    `ring` rings the terminal's bell; `leave` ends the screen; `died` says that the engine ended though nobody wanted it
    to. A signal that ends the program disarms first, and says so in the journal: nobody is there any more to be told.
    """

    def __init__(
        self,
        options: Options,
        paths: Paths,
        signer: SignerClient | SignerProcess | None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._options = options
        self._paths = paths
        self._process = signer
        self._labels = labels
        self._wired: Wired | None = None
        self._task: asyncio.Task[None] | None = None
        self._attendants: Attendants | None = None
        self._leaving: asyncio.Task[None] | None = None
        self.ring: Callable[[], None] | None = None
        self.leave: Callable[[int], None] | None = None
        self.ended_by: signal.Signals | None = None
        self.died: str | None = None

    async def start(self) -> EngineFacade:
        """Wire and start the engine. Heavy imports happen in a thread: the screen is on already."""
        loop = asyncio.get_running_loop()
        for number in _ENDS:
            with contextlib.suppress(ValueError, RuntimeError):  # tests run loops outside the main thread
                loop.add_signal_handler(number, self._signalled, number)
        await asyncio.to_thread(import_module, "tui.wiring")
        attendants = await asyncio.to_thread(import_module, "tui.headless.attendants")
        alerts = attendants.alert_settings(self._paths)
        wired = self._wired = self._wire()
        alone = self._process is None and attendants.holder_pid(self._paths.state) is None
        self._attendants = attendants.Attendants(wired, alerts, self.ring, alone=alone)
        self._attendants.start()
        self._task = asyncio.create_task(wired.engine.run())
        self._task.add_done_callback(self._engine_ended)
        return wired.commands

    def _engine_ended(self, task: asyncio.Task[None]) -> None:
        """The engine never ends by itself. Where it does, screen, heartbeat and alerts say so at once."""
        wired = self._wired
        if self._task is not task or wired is None:
            return  # it was this object that ended it
        wired.engine.died(None if task.cancelled() else task.exception())
        self.died = wired.engine.ended

    def _signalled(self, number: signal.Signals) -> None:
        if self._leaving is None:
            self.ended_by = number
            last = threading.Timer(GONE_WITHIN, os._exit, (128 + number,))
            last.daemon = True
            last.start()
            self._leaving = asyncio.create_task(self._leave(_ENDS[number]))

    async def _leave(self, why: str) -> None:
        """Disarm, end the engine, then the screen."""
        wired = self._wired
        if wired is not None:
            for name in tuple(wired.engine.book.armed):
                with contextlib.suppress(Exception):  # the next rule must be disarmed whatever this one did
                    await asyncio.wait_for(wired.commands.disarm(name, why, by_hand=False), DISARM_WITHIN)
        await self.stop()
        if self.leave is not None:
            self.leave(128 + (self.ended_by or 0))

    def _wire(self) -> Wired:
        from tui.ports.journal import JournalLocked
        from tui.vault.client import SignerClient
        from tui.wiring import wire

        if self._process is None:
            return wire(self._options, signing=False, labels=self._labels, read_only_why=READ_ONLY)
        signer = self._process
        if isinstance(signer, SignerProcess):
            signer = SignerClient.of(signer)
        try:
            return wire(self._options, signing=True, signer=signer, labels=self._labels)
        except JournalLocked as locked:
            # Another engine has the state directory: look, do not touch. Its kill switch can still be pulled.
            return wire(self._options, signing=False, labels=self._labels, read_only_why=str(locked))

    async def stop(self) -> None:
        """End the engine and everything it holds. May be called again."""
        task, attendants, wired = self._task, self._attendants, self._wired
        self._task = self._attendants = self._wired = None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # how it died is told already
        if attendants is not None:
            await attendants.aclose("the app was left" if self.ended_by is None else _ENDS[self.ended_by])
        if wired is not None:
            await wired.aclose()


class _Terminal:
    """Standard error that may lose its terminal. The screen writes to it from a thread, which an error would end: then
    the loop would wait for that thread forever, and nothing would be disarmed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, to nowhere where the terminal is gone."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _forget_terminal() -> None:
    """The terminal may be gone: what is still buffered for it must not turn the exit code into Python's own."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)


def run_app(
    options: Options, *, network: str = "", labels: Mapping[str, str] | None = None, password_hint: str = ""
) -> int:
    """Show the app until it is left; the exit code. `password_hint` is shown where a password is asked (practice)."""
    from tui.config.paths import resolve_paths
    from tui.config.settings import SettingsFault, load_settings, save_settings
    from tui.screen.app import TrimtabApp
    from tui.screen.themes import DEFAULT
    from tui.vault.hardening import forbid_dumps

    forbid_dumps()
    if sys.__stderr__ is not None:
        # The screen takes this very name.
        setattr(sys, "__stderr__", _Terminal(sys.__stderr__))  # noqa: B010
    try:
        paths = resolve_paths(options.config, options.state)
    except OSError as error:
        talk(f"trimtab: {error.filename}: {error.strerror}; choose another --config or --state")
        return Exit.USAGE
    try:
        signer = None if options.read_only else start_signer(paths.state)
    except OSError as error:
        why = f"the signer process cannot be started ({error.strerror})"
        talk(f"trimtab: {why}; start with --read-only to watch without signing")
        return Exit.REFUSED
    try:
        settings = load_settings(paths.config)
    except SettingsFault as fault:
        talk(f"trimtab: {fault}")
        return Exit.USAGE

    def keep_theme(name: str) -> None:
        with contextlib.suppress(OSError, SettingsFault):
            save_settings(paths.config, replace(load_settings(paths.config), theme=name))

    life = EngineLife(options, paths, signer, labels)
    try:
        app = TrimtabApp(
            life.start,
            config=paths.config,
            state=paths.state,
            stop=life.stop,
            network=network or options.network or "",
            password_hint=password_hint,
            keep_theme=keep_theme,
            theme=settings.theme or DEFAULT,
        )
        life.ring = app.bell
        life.leave = lambda code: app.exit(return_code=code)
        app.run()
        if life.ended_by is not None:
            _forget_terminal()
            return 128 + life.ended_by
        if life.died is not None:
            talk(f"trimtab: nothing was protected any more: {life.died}")
            return Exit.FOUND
        return Exit.DONE if app.return_code in (None, 0) else Exit.FOUND
    finally:
        if signer is not None:
            signer.close()
