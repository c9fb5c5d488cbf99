"""Nothing heavy stands before the first frame: what is imported, and what is not."""

from __future__ import annotations

import json
import subprocess
import sys

_PROBE = """
import asyncio, json, sys
from tui.screen.app import TrimtabApp

async def never():
    await asyncio.Event().wait()

class Probe(TrimtabApp):
    def _begin(self):
        print(json.dumps(sorted(sys.modules)))
        self.exit()

Probe(never, ticking=False).run(headless=True)
"""


def test_the_first_frame_imports_nothing_it_does_not_show() -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "tui.screen.main" in loaded
    heavy = {
        "tui.model.view",
        "tui.model.plan",
        "web3",
        "httpx",
        "eth_account",
        "eth_abi",
        "coincurve",
        "sqlite3",
        "tomlkit",
        "orjson",
        "textual.widgets._text_area",
    }
    later = {
        "tui.screen.editor",
        "tui.screen.form",
        "tui.screen.help",
        "tui.screen.export",
        "tui.screen.password",
        "tui.screen.dialogs.arm",
        "tui.screen.dialogs.ask",
        "tui.screen.dialogs.confirm",
        "tui.rules.edit",
    }
    assert not loaded & (heavy | later)
    assert not [name for name in loaded if name.startswith(("tui.chain", "tui.vault", "tui.journal", "tui.wiring"))]
