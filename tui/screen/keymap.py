"""The keymap file: other keys for actions, with every fault said instead of a key that silently does nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tui.config.toml_text import read_toml
from tui.screen.actions import ACTIONS, BY_ID, Where, keys_of

_KEY = re.compile(r"(?:(?:ctrl|shift|alt|super)\+)*(?:[a-z0-9]|f[1-9]|f1[0-9]|f2[0-4]|[a-z]+(?:_[a-z]+)*)")
_LONG = {"?": "question_mark", "/": "slash", ".": "full_stop", ",": "comma", "esc": "escape", "-": "minus", "+": "plus"}
_RESERVED = {"f12", "ctrl+q", "tab", "shift+tab"}


def read_keymap(path: Path) -> tuple[dict[str, str], list[str]]:
    """The keys of `path` by action id, and its faults; no file is no fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{path}: cannot be read: {error}"]
    return parse_keymap(text, str(path))


def parse_keymap(text: str, where: str) -> tuple[dict[str, str], list[str]]:
    """`{action id: comma-separated keys}` from TOML text, without the entries that are at fault, and the faults."""
    try:
        raw = read_toml(text)
    except ValueError as error:
        return {}, [f"{where}: not valid TOML: {error}; mend or delete it"]
    keymap: dict[str, str] = {}
    faults: list[str] = []
    for action_id, value in raw.items():
        if action_id not in BY_ID:
            faults.append(f"{where}: there is no action {action_id!r}; the help screen lists them all")
            continue
        if not isinstance(value, str) or not value.strip():
            faults.append(f"{where}: {action_id} must be a key such as 'ctrl+a' or 'f5'")
            continue
        keys = [_LONG.get(key.strip().lower(), key.strip().lower()) for key in value.split(",") if key.strip()]
        strange = [key for key in keys if not _KEY.fullmatch(key)]
        reserved = [key for key in keys if key in _RESERVED]
        if strange or not keys:
            faults.append(
                f"{where}: {action_id}: {value!r} is not a key; write it like 'ctrl+a', 'f5' or 'question_mark'"
            )
        elif reserved:
            faults.append(f"{where}: {action_id}: {reserved[0]} cannot be given away")
        elif BY_ID[action_id].priority and any(len(key) == 1 for key in keys):
            faults.append(f"{where}: {action_id} works while typing, so its key cannot be a letter; use ctrl or F keys")
        else:
            keymap[action_id] = ",".join(keys)
    for clash in _clashes(keymap):
        first, second, key = clash
        mover = first if first in keymap else second
        faults.append(f"{where}: {key} is used by both {first} and {second}; {mover} keeps its usual key")
        keymap.pop(mover, None)
    return keymap, faults


def _clashes(keymap: Mapping[str, str]) -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    for place in Where:
        owners: dict[str, str] = {}
        for action in ACTIONS:
            if action.where not in (place, Where.EVERYWHERE) or (place is Where.HELP and action.id == "help"):
                continue
            for key in keys_of(action, keymap):
                other = owners.setdefault(key, action.id)
                clash = (other, action.id, key)
                if other != action.id and (other in keymap or action.id in keymap) and clash not in found:
                    found.append(clash)
    return found
