"""Opens the app: the signer process first, then the first frame, and only then the engine and its imports."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from tui.config.options import Options
from tui.config.paths import Paths
from tui.headless.output import Exit, talk
from tui.vault.client import SignerClient, spawn_signer

if TYPE_CHECKING:
    from tui.engine.facade import EngineFacade
    from tui.wiring import Wired

READ_ONLY = "This window was started read-only."


class EngineLife:
    """The engine behind one screen: started once by the app, stopped once when it leaves."""

    def __init__(
        self, options: Options, paths: Paths, signer: SignerClient | None, labels: Mapping[str, str] | None = None
    ) -> None:
        self._options = options
        self._paths = paths
        self._signer = signer
        self._labels = labels
        self._wired: Wired | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> EngineFacade:
        """Wire and start the engine. Heavy imports happen in a thread: the screen is on already."""
        await asyncio.to_thread(import_module, "tui.wiring")
        wired = self._wired = self._wire()
        self._task = asyncio.create_task(wired.engine.run())
        return wired.commands

    def _wire(self) -> Wired:
        from tui.ports.journal import JournalLocked
        from tui.wiring import wire

        if self._signer is None:
            return wire(self._options, signing=False, labels=self._labels, read_only_why=READ_ONLY)
        try:
            return wire(self._options, signing=True, signer=self._signer, labels=self._labels)
        except JournalLocked as locked:
            # Another engine has the state directory: look, do not touch. Its kill switch can still be pulled.
            return wire(self._options, signing=False, labels=self._labels, read_only_why=str(locked))

    async def stop(self) -> None:
        """End the engine and everything it holds."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._wired is not None:
            await self._wired.aclose()


def run_app(options: Options, *, network: str = "", labels: Mapping[str, str] | None = None) -> int:
    """Show the app until it is left; the exit code."""
    from tui.config.paths import resolve_paths
    from tui.model.signing import SignerUnavailable
    from tui.screen.app import TrimtabApp
    from tui.vault.hardening import forbid_dumps

    forbid_dumps()
    try:
        paths = resolve_paths(options.config, options.state)
        signer = None if options.read_only else spawn_signer(paths.state)
    except OSError as error:
        talk(f"trimtab: {error.filename}: {error.strerror}; choose another --config or --state")
        return Exit.USAGE
    except SignerUnavailable as error:
        talk(f"trimtab: {error}; start with --read-only to watch without signing")
        return Exit.REFUSED
    life = EngineLife(options, paths, signer, labels)
    try:
        app = TrimtabApp(
            life.start,
            config=paths.config,
            state=paths.state,
            stop=life.stop,
            network=network or options.network or "",
        )
        app.run()
        return Exit.DONE if app.return_code in (None, 0) else Exit.FOUND
    finally:
        if signer is not None:
            signer.close()
