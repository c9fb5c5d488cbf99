"""Makes the README's picture with the app itself: a crash on the practice chain, defended.

Run: python -m tests.pictures [FILE]
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

import platformdirs

from tui.config.networks import load_network
from tui.config.paths import resolve_paths
from tui.engine.facade import EngineFacade
from tui.practice.session import PracticeOptions, PracticeSession
from tui.screen.app import TrimtabApp
from tui.wiring import Wired, assemble

SIZE = (132, 42)
BLOCKS = 76


def _wire(session: PracticeSession) -> Wired:
    session.rules_file.write_text(session.rules_file.read_text().replace('"confirm"', '"auto"'))
    return assemble(
        load_network(session.network_file),
        resolve_paths(session.home.directory, session.engine_state),
        accounts=list(session.accounts.values()),
        rules_files=[session.rules_file],
        keystores={session.accounts["trader"]: session.keystore},
        labels={address.lower(): name for name, address in session.accounts.items()},
        signing=True,
    )


async def _picture(session: PracticeSession) -> str:
    wired = _wire(session)

    async def head() -> None:
        block = await wired.chain.heads.poll()
        if block is not None:
            await wired.engine.on_head(block)

    async def start() -> EngineFacade:
        await wired.engine.start()
        await head()
        return wired.commands

    app = TrimtabApp(start, network="practice", ticking=False)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await app.workers.wait_for_complete()
        await wired.commands.arm("guard", "guard", session.password_file.read_text().strip())
        for _ in range(BLOCKS):
            session.world.step()
            await head()
        app.show_view(wired.engine.view)
        await pilot.pause()
        picture = app.export_screenshot(title="Trimtab")
    await wired.aclose()
    # The fonts would be fetched from elsewhere; any monospace will do.
    return re.sub(r"@font-face\s*\{.*?\}", "", picture, flags=re.S)


def main() -> int:
    """Write the picture."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "docs" / "trimtab.svg"
    with tempfile.TemporaryDirectory() as name:
        cache = platformdirs.user_cache_path("trimtab") / "practice"
        session = PracticeSession(PracticeOptions(Path(name), cache, seed=11, scenario="crash"))
        try:
            session.prepare()
            target.write_text(asyncio.run(_picture(session)))
        finally:
            session.close()
    sys.stdout.write(f"{target}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
