"""What may be loaded when: seen from outside, in a fresh interpreter each time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("textual", "web3", "httpx", "eth_account", "eth_abi", "tomlkit", "hypothesis", "coincurve")


def _modules_after(code: str) -> set[str]:
    """Top-level names of everything loaded after `code` ran in a fresh interpreter."""
    script = f"import sys, json\n{code}\nprint('\\n' + json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["practice", "--help"], ["run", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"from tui.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit:\n    pass"
    assert _modules_after(code).isdisjoint(HEAVY)


def test_commands_without_a_screen_never_load_the_terminal_library() -> None:
    code = (
        "import tui.headless.run_command, tui.headless.watch_commands, tui.headless.record_commands\n"
        "import tui.headless.doctor_command, tui.wiring"
    )
    assert _modules_after(code).isdisjoint({"textual", "web3"})


def test_the_signing_library_stays_in_the_signer() -> None:
    code = "import tui.wiring, tui.launch, tui.screen.app, tui.vault.client, tui.vault.keystore, tui.practice.session"
    assert "eth_account" not in _modules_after(code)


def test_the_first_frame_needs_no_network_library() -> None:
    assert _modules_after("import tui.launch, tui.screen.app").isdisjoint({"web3", "httpx", "eth_account", "sqlite3"})
