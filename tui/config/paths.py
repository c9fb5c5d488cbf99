"""Where Trimtab keeps its files: configuration, state, cache, log, themes. Directories are private to their owner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import platformdirs

APP = "trimtab"


@dataclass(frozen=True, slots=True)
class Paths:
    """The directories in use. `themes` holds the built-in themes, as data files."""

    config: Path
    state: Path
    cache: Path
    log: Path
    themes: Path


def resolve_paths(config: Path | None = None, state: Path | None = None) -> Paths:
    """The directories, made where missing with mode 0700. Raises OSError where one cannot be made."""
    found = locate_paths(config, state)
    for directory in (found.config, found.state, found.cache, found.log):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def locate_paths(config: Path | None = None, state: Path | None = None) -> Paths:
    """The directories, without making any."""
    return Paths(
        config=config.absolute() if config is not None else platformdirs.user_config_path(APP),
        state=state.absolute() if state is not None else platformdirs.user_state_path(APP),
        cache=platformdirs.user_cache_path(APP),
        log=platformdirs.user_log_path(APP),
        themes=built_in_themes(),
    )


def built_in_themes() -> Path:
    """The themes beside the package in a checkout, inside it where it was installed as a wheel."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_themes"
    return inside if inside.is_dir() else package.parent / "themes"
