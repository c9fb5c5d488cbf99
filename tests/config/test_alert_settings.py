"""The `[alerts]` table: what it may hold, what is said of what it may not, and that a person's text stays theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tui.config.settings import SettingsFault, load_settings, save_settings, settings_path
from tui.model.alert import AlertKind, AlertSettings

SECRET = "xoxB-93kfLmQz77TtPp"
FULL = f"""\
# mine
network = "base"

[alerts]
bell = false
command = ["notify-send", "Trimtab"]   # JSON on stdin
webhook = "https://hooks.example.org/{SECRET}"
on = ["at-risk", "failed"]
repeat = "15m"
"""


def test_all_of_it(tmp_path: Path) -> None:
    settings_path(tmp_path).write_text(FULL)
    alerts = load_settings(tmp_path).alerts
    assert alerts == AlertSettings(
        False,
        ("notify-send", "Trimtab"),
        f"https://hooks.example.org/{SECRET}",
        frozenset({AlertKind.AT_RISK, AlertKind.FAILED}),
        900.0,
    )
    assert SECRET not in repr(load_settings(tmp_path))


def test_nothing_of_it(tmp_path: Path) -> None:
    assert load_settings(tmp_path).alerts == AlertSettings()
    assert AlertSettings().on == frozenset(AlertKind)


def test_saving_keeps_the_table_and_the_comments(tmp_path: Path) -> None:
    path = settings_path(tmp_path)
    path.write_text(FULL)
    save_settings(tmp_path, replace(load_settings(tmp_path), network="ethereum", theme="paper"))
    text = path.read_text()
    assert "# mine" in text
    assert "# JSON on stdin" in text
    changed = load_settings(tmp_path)
    assert (changed.network, changed.theme) == ("ethereum", "paper")
    assert changed.alerts.webhook == f"https://hooks.example.org/{SECRET}"
    save_settings(tmp_path, replace(changed, theme=None))
    assert load_settings(tmp_path).theme is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("alerts = 5", "is not a table"),
        ("[alerts]\nbells = true", "unknown key 'bells'"),
        ("[alerts]\nbell = 1", "bell is neither"),
        ('[alerts]\ncommand = "notify-send"', "command is not a list"),
        ('[alerts]\ncommand = ["", "x"]', "command names no program"),
        ('[alerts]\ncommand = ["a\\u0000b"]', "NUL"),
        ("[alerts]\ncommand = [1]", "command is not a list"),
        (f'[alerts]\nwebhook = "ftp://example.org/{SECRET}"', "webhook is not an address"),
        (f'[alerts]\nwebhook = "http://example.org/{SECRET}"', "unencrypted"),
        (f'[alerts]\nwebhook = "https://[bad/{SECRET}"', "webhook is not an address"),
        (f'[alerts]\nwebhook = "https://example.org:99999/{SECRET}"', "webhook is not an address"),
        (f'[alerts]\nwebhook = ["{SECRET}"]', "webhook is not an address"),
        ('[alerts]\non = ["fire"]', "unknown kind 'fire'; there are at-risk"),
        ("[alerts]\non = true", "on is not a list"),
        ('[alerts]\nrepeat = "10"', "repeat is no time"),
        ("[alerts]\nrepeat = 10", "repeat is no time"),
        ('[alerts]\nrepeat = "1s"', "shorter than 10 s"),
    ],
)
def test_what_it_may_not_hold(tmp_path: Path, line: str, why: str) -> None:
    settings_path(tmp_path).write_text(line)
    with pytest.raises(SettingsFault) as caught:
        load_settings(tmp_path)
    assert why in str(caught.value)
    assert str(settings_path(tmp_path)) in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x", "http://localhost/x", "http://192.168.1.5/x", "http://[::1]/"]
)
def test_near_ones_need_no_encryption(tmp_path: Path, url: str) -> None:
    settings_path(tmp_path).write_text(f'[alerts]\nwebhook = "{url}"\nrepeat = "never"')
    assert load_settings(tmp_path).alerts.webhook == url
    assert load_settings(tmp_path).alerts.repeat == 0
