"""`settings.toml` of the configuration directory: which network, nodes and accounts to start with, and the theme."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tui.config.toml_text import read_toml, shown_key
from tui.model.alert import AlertSettings
from tui.model.text import clean_text

if TYPE_CHECKING:
    import tomlkit

MAX_BYTES = 64 * 1024
_TEXTS = ("network", "theme")
_LISTS = ("rpc", "addresses")
_ALERTS = "alerts"


class SettingsFault(Exception):
    """The settings file cannot be used; the text says where, what and how to mend it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the app starts with where the command line says nothing. `rpc` may hold secrets: never shown whole."""

    network: str | None = None
    rpc: tuple[str, ...] = field(default=(), repr=False)
    addresses: tuple[str, ...] = ()
    theme: str | None = None
    alerts: AlertSettings = field(default_factory=AlertSettings)


def settings_path(config: Path) -> Path:
    """Where the settings are."""
    return config / "settings.toml"


def load_settings(config: Path) -> Settings:
    """The settings; empty ones where there is no file. Raises SettingsFault."""
    path = settings_path(config)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsFault(f"{path}: cannot be read ({error.strerror}); mend its permissions") from error
    if len(raw) > MAX_BYTES:
        raise SettingsFault(f"{path}: larger than {MAX_BYTES // 1024} KiB; it holds a few lines only")
    try:
        data = read_toml(raw.decode("utf-8"))
    except ValueError as error:
        raise SettingsFault(f"{path}: not valid TOML ({clean_text(str(error), 120)}); mend or delete it") from error
    unknown = sorted(set(data) - {*_TEXTS, *_LISTS, _ALERTS})
    if unknown:
        raise SettingsFault(f"{path}: unknown key {shown_key(unknown[0])!r}; remove it")
    for key in _TEXTS:
        if key in data and not isinstance(data[key], str):
            raise SettingsFault(f'{path}: {key} is not a text; write {key} = "..."')
    for key in _LISTS:
        if key in data and not (isinstance(data[key], list) and all(isinstance(one, str) for one in data[key])):
            raise SettingsFault(f'{path}: {key} is not a list of texts; write {key} = ["..."]')
    return Settings(
        data.get("network"),
        tuple(data.get("rpc", ())),
        tuple(data.get("addresses", ())),
        data.get("theme"),
        _alerts(path, data[_ALERTS]) if _ALERTS in data else AlertSettings(),
    )


def _alerts(path: Path, table: object) -> AlertSettings:
    from tui.config.alerts import alerts_from  # few have any, and reading comes before the first frame

    try:
        return alerts_from(table)
    except ValueError as error:
        raise SettingsFault(f"{path}: [alerts] {clean_text(str(error), 300)}") from None


def save_settings(config: Path, settings: Settings) -> Path:
    """Write the settings, for their owner alone; the old file or the new one is whole. Raises OSError.

    Comments and tables such as `[alerts]` are a person's own: they stay as they are in the file.
    """
    import tomlkit  # reading needs none of it, and reading comes before the first frame

    path = settings_path(config)
    document = _present(path)
    for key in (*_TEXTS, *_LISTS):
        value = getattr(settings, key)
        if value:
            document[key] = list(value) if isinstance(value, tuple) else value
        else:
            document.pop(key, None)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, tomlkit.dumps(document).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    return path


def _present(path: Path) -> tomlkit.TOMLDocument:
    """The file as it is, to be changed; an empty document where there is none that could be."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    with contextlib.suppress(OSError, ValueError, RecursionError, TOMLKitError):
        if path.stat().st_size <= MAX_BYTES:
            return tomlkit.parse(path.read_bytes().decode("utf-8"))
    return tomlkit.document()
