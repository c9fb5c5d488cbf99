"""Nothing heavy stands before the first frame: what is imported, and what is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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

_COMMAND = """
import json, sys
from textual.app import App
from tui.cli import main

run = App.run
def probed(self, *args, **kwargs):
    def begin():
        print(json.dumps(sorted(sys.modules)))
        self.exit()
    self._begin = begin
    self.ticking = False
    return run(self, headless=True)
App.run = probed
main(["--network", "nowhere.toml", "--address", "0x" + "11" * 20, "--config", sys.argv[1], "--state", sys.argv[1]])
"""


def test_the_whole_command_imports_no_engine_before_the_first_frame(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _COMMAND, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    loaded = {name for name in json.loads(done.stdout.splitlines()[-1]) if name.startswith("tui.")}
    assert {"tui.screen.main", "tui.vault.spawn", "tui.vault.hardening", "tui.model.alert"} <= loaded
    assert {name for name in loaded if name.startswith("tui.vault.")} == {"tui.vault.spawn", "tui.vault.hardening"}
    assert {name for name in loaded if name.startswith("tui.model.")} == {"tui.model.alert", "tui.model.text"}
    others = ("tui.rules.load", "tui.practice", "tui.engine", "tui.chain", "tui.journal", "tui.config.alerts")
    assert not [name for name in loaded if name.startswith(others)]
    assert {name for name in loaded if name.startswith("tui.headless.")} == {"tui.headless.output"}


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
