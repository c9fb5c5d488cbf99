"""The first run on a real terminal: questions, wrong answers, a key, rules, and the app at the end of it."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

from tests.support.program import terminal
from tui.rules.load import load_rules
from tui.vault.keystore import inspect_keystore

ADDRESS = "0x" + "ab" * 20
PASSWORD = "a long enough password"


async def test_watching_ones_own_position_with_a_new_key(tmp_path: Path) -> None:
    config, state = tmp_path / "config", tmp_path / "state"
    own = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"  # hidden prompts ask the controlling terminal
    async with terminal("--config", config, "--state", state, prelude=own, columns=100) as shown:
        await shown.shows("Choose 1 or 2")
        shown.press("2\n")
        await shown.shows("Network (")
        shown.press("nowhere\n")
        await shown.shows("cannot be used")
        shown.press("ethereum\n")
        await shown.shows("URL of your node")
        shown.press("http://127.0.0.1:9/token\n")
        await shown.shows("Address to watch")
        shown.press(f"{ADDRESS}\n")
        await shown.shows("Choose 1, 2 or 3")
        shown.press("3\n")
        await shown.shows("assword")
        shown.press(f"{PASSWORD}\n")
        await shown.shows("gain")
        shown.press(f"{PASSWORD}\n")
        await shown.shows("Positions")
        shown.press("q")
        assert await shown.ended() == 0
    settings = tomllib.loads((config / "settings.toml").read_text())
    assert settings == {"network": "ethereum", "rpc": ["http://127.0.0.1:9/token"], "addresses": [ADDRESS]}
    assert stat.S_IMODE((config / "settings.toml").stat().st_mode) == 0o600
    (key,) = (config / "keystore").glob("*.json")
    assert inspect_keystore(key).faults == ()
    assert load_rules(config / "rules.toml").errors == ()
    assert PASSWORD not in bytes(shown.raw).decode(errors="replace")


async def test_without_a_terminal_it_says_what_to_give(tmp_path: Path) -> None:
    from tests.support.program import run_trimtab

    code, _, err = await run_trimtab("--config", tmp_path / "config", "--state", tmp_path / "state")
    assert code == 2
    assert "--network" in err
