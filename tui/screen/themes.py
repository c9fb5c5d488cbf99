"""Themes are TOML files: found beside the package, in the wheel and in the user's own directory, faults said in words.

A theme gives Textual its colours and gives every role of our panes a style.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.errors import StyleSyntaxError
from rich.style import Style
from textual.theme import Theme

from tui.config.toml_text import read_toml
from tui.screen.clean import clean_text

COLORS = (
    "primary",
    "secondary",
    "accent",
    "success",
    "warning",
    "error",
    "foreground",
    "background",
    "surface",
    "panel",
)
FALLBACK = {
    "strong": "bold",
    "muted": "dim",
    "faint": "dim",
    "label": "dim",
    "title": "bold",
    "rule": "dim",
    "accent": "cyan",
    "key": "bold",
    "good": "green",
    "warn": "yellow",
    "alarm": "bold red",
    "safe": "green",
    "watch": "yellow",
    "risk": "bold yellow",
    "danger": "bold red",
    "unknown": "magenta",
    "stale": "dim",
    "threshold": "red",
    "trigger": "yellow",
    "target": "cyan",
    "curve": "cyan",
    "armed": "reverse green",
    "watching": "reverse cyan",
    "held": "reverse bold red",
    "readonly": "reverse",
    "bar": "",
    "chosen": "reverse",
}
"""Every role there is, with the style it has where a theme does not say."""

DEFAULT = "keel"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_HEX = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class ThemeFile:
    """A theme as read: Textual's part and the styles of our roles."""

    theme: Theme
    title: str
    styles: Mapping[str, Style]


def theme_directories(user: Path | None = None) -> list[Path]:
    """Where themes are looked for; a later directory wins over an earlier one of the same name."""
    package = Path(__file__).resolve().parent.parent
    candidates = [package.parent / "themes", package / "_themes"]
    if user is not None:
        candidates.append(user)
    return [candidate for candidate in candidates if candidate.is_dir()]


def parse_theme(text: str, where: str) -> ThemeFile:
    """A theme from TOML text. Raises ValueError that says what is wrong in `where` and what would be right."""
    try:
        raw = read_toml(text)
    except ValueError as error:
        raise ValueError(f"{where}: not valid TOML: {error}; mend or delete it") from None
    name = raw.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{where}: name must be lower-case letters, digits and dashes")
    colors, roles = raw.get("colors", {}), raw.get("roles", {})
    if not isinstance(colors, dict) or not isinstance(roles, dict):
        raise ValueError(f"{where}: colors and roles must be tables")
    for key, value in colors.items():
        if key not in COLORS:
            raise ValueError(f"{where}: there is no colour {key!r}; there are {', '.join(COLORS)}")
        if not isinstance(value, str) or not _HEX.fullmatch(value):
            raise ValueError(f"{where}: colour {key} must be written #rrggbb")
    missing = [key for key in COLORS if key not in colors]
    if missing:
        raise ValueError(f"{where}: colours are missing: {', '.join(missing)}")
    styles: dict[str, Style] = {}
    for key, value in roles.items():
        if key not in FALLBACK:
            raise ValueError(f"{where}: there is no role {key!r}; there are {', '.join(FALLBACK)}")
        try:
            styles[key] = Style.parse(str(value))
        except StyleSyntaxError:
            raise ValueError(f"{where}: role {key} must be a style such as 'bold #rrggbb on #rrggbb'") from None
    for key, value in FALLBACK.items():
        styles.setdefault(key, Style.parse(value))
    title = raw.get("title", name)
    theme = Theme(name=name, dark=bool(raw.get("dark", True)), variables=_variables(colors), **colors)
    return ThemeFile(theme, clean_text(str(title), 40), styles)


def _variables(colors: Mapping[str, str]) -> dict[str, str]:
    """What Textual's own widgets draw with, taken from the theme's colours."""
    return {
        "border": colors["secondary"],
        "border-blurred": colors["panel"],
        "input-cursor-background": colors["foreground"],
        "input-cursor-foreground": colors["background"],
        "input-selection-background": f"{colors['accent']} 35%",
        "block-cursor-background": colors["accent"],
        "block-cursor-foreground": colors["background"],
        "scrollbar": colors["panel"],
        "scrollbar-hover": colors["secondary"],
        "scrollbar-active": colors["accent"],
        "scrollbar-background": colors["background"],
        "scrollbar-corner-color": colors["background"],
        "scrollbar-background-hover": colors["background"],
        "scrollbar-background-active": colors["background"],
        "button-color-foreground": colors["background"],
    }


def load_themes(directories: Sequence[Path]) -> tuple[dict[str, ThemeFile], list[str]]:
    """All themes by name, and the faults of those that cannot be used."""
    themes: dict[str, ThemeFile] = {}
    faults: list[str] = []
    for directory in directories:
        for path in sorted(directory.glob("*.toml")):
            try:
                found = parse_theme(path.read_text(encoding="utf-8"), str(path))
            except (OSError, UnicodeDecodeError) as error:
                faults.append(f"{path}: cannot be read: {error}")
            except ValueError as error:
                faults.append(str(error))
            else:
                themes[found.theme.name] = found
    return themes, faults


def load_one(directories: Sequence[Path], name: str) -> ThemeFile | None:
    """The theme of this name from the file of this name, None where there is no such usable file."""
    for directory in reversed(directories):
        path = directory / f"{name}.toml"
        try:
            found = parse_theme(path.read_text(encoding="utf-8"), str(path))
        except (OSError, ValueError):
            continue
        if found.theme.name == name:
            return found
    return None


def plain_theme() -> ThemeFile:
    """What is drawn with where no theme file can be used at all."""
    theme = Theme(
        name="plain",
        primary="#5fafd7",
        secondary="#5f87af",
        accent="#5fafd7",
        success="#5faf5f",
        warning="#d7af5f",
        error="#d75f5f",
        foreground="#d0d0d0",
        background="#121212",
        surface="#1c1c1c",
        panel="#262626",
    )
    return ThemeFile(theme, "Plain", {key: Style.parse(value) for key, value in FALLBACK.items()})
