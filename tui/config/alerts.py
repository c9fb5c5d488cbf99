"""The `[alerts]` table of the settings: who is told, of what, and how."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from tui.model.alert import AlertKind, AlertSettings

_KEYS = ("bell", "command", "webhook", "on", "repeat")
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHORTEST = 10.0
_MAX_ARGUMENTS = 64
_MAX_TEXT = 2048


def alerts_from(table: object) -> AlertSettings:
    """Settings from a parsed TOML table. Raises ValueError: what is wrong and what to write, without any secret."""
    if not isinstance(table, dict):
        raise ValueError("is not a table; write [alerts] on a line of its own")
    unknown = sorted(str(key) for key in table if key not in _KEYS)
    if unknown:
        raise ValueError(f"has an unknown key {unknown[0][:40]!r}; it may have {', '.join(_KEYS)}")
    plain = AlertSettings()
    bell = table.get("bell", plain.bell)
    if not isinstance(bell, bool):
        raise ValueError("bell is neither true nor false")
    return AlertSettings(
        bell=bell,
        command=_command(table.get("command", [])),
        webhook=_webhook(table["webhook"]) if "webhook" in table else None,
        on=_kinds(table["on"]) if "on" in table else plain.on,
        repeat=_repeat(table["repeat"]) if "repeat" in table else plain.repeat,
    )


def _command(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(
            'command is not a list of texts; write command = ["notify-send", "Trimtab"] (no shell runs it)'
        )
    if not value:
        return ()
    if len(value) > _MAX_ARGUMENTS or any(len(one) > _MAX_TEXT or "\0" in one for one in value) or not value[0].strip():
        raise ValueError("command names no program, or is too long, or holds a NUL character")
    return tuple(value)


def _webhook(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable() or " " in value:
        raise ValueError('webhook is not an address; write webhook = "https://..."')
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError('webhook is not an address; write webhook = "https://..."') from None
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError('webhook is not an address; write webhook = "https://..."')
    if parts.scheme == "http" and not _is_near(host):
        raise ValueError("webhook would send positions unencrypted; use https (http only within your own network)")
    return value


def _is_near(host: str) -> bool:
    """Whether a host is this machine or in a private network, by its address."""
    try:
        return host == "localhost" or ip_address(host).is_private
    except ValueError:
        return False


def _kinds(value: object) -> frozenset[AlertKind]:
    known = ", ".join(AlertKind)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"on is not a list of kinds; there are {known}")
    for one in value:
        if one not in list(AlertKind):
            raise ValueError(f"on names an unknown kind {one[:40]!r}; there are {known}")
    return frozenset(AlertKind(one) for one in value)


def _repeat(value: object) -> float:
    if value == "never":
        return 0.0
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError('repeat is no time; write repeat = "10m" (s, m, h or d), or "never"')
    seconds = float(int(found[1]) * _SECONDS[found[2]])
    if seconds < _SHORTEST:
        raise ValueError('repeat is shorter than 10 s; write a longer one, or "never"')
    return seconds
