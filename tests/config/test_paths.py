"""Where files are kept, and the settings file there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tui.config.paths import locate_paths, resolve_paths
from tui.config.settings import Settings, SettingsFault, load_settings, save_settings, settings_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_directories_are_private(home: Path) -> None:
    assert not locate_paths().config.exists()
    paths = resolve_paths()
    for directory in (paths.config, paths.state, paths.cache, paths.log):
        assert directory.is_relative_to(home)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_chosen_directories(home: Path) -> None:
    paths = resolve_paths(home / "c" / "onfig", home / "s")
    assert (paths.config, paths.state) == (home / "c" / "onfig", home / "s")
    assert stat.S_IMODE(paths.config.stat().st_mode) == 0o700
    assert stat.S_IMODE(paths.state.stat().st_mode) == 0o700


def test_the_themes_of_a_checkout() -> None:
    assert any(locate_paths().themes.glob("*.toml"))


def test_settings_survive_a_round_trip(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == Settings()
    settings = Settings("base", ("https://example.org/v2/token",), ("0x" + "ab" * 20,), "signal")
    path = save_settings(tmp_path, settings)
    assert load_settings(tmp_path) == settings
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"network = 5",
        b'rpc = "http://x"',
        b"rpc = [1]",
        b'nework = "base"',
        b"network = ",
        b"\xff",
        b'network = "a"\nnetwork = "b"',
        b"rpc = " + b"[" * 5000,
        b"#" * 100_000,
        b'network = "\x00"',
    ],
)
def test_settings_that_cannot_be_used_say_where(tmp_path: Path, content: bytes) -> None:
    settings_path(tmp_path).write_bytes(content)
    with pytest.raises(SettingsFault) as caught:
        load_settings(tmp_path)
    assert str(caught.value).startswith(f"{settings_path(tmp_path)}: ")
    assert str(caught.value).isprintable()
