"""The heartbeat file: what a running engine says of itself, for anyone who asks whether it still protects.

Written beside the journal by the one engine that holds the state directory, every few seconds and at each change. It
holds no secret, and is replaced whole: a reader finds the old one or the new one.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import orjson

from tui.model.text import clean_text
from tui.model.view import RuleActivity, RuleView, ViewState
from tui.ports.clock import Clock

HEARTBEAT_FILE = "heartbeat.json"
BEAT_EVERY = 5.0
"""Seconds between two beats where nothing changes."""
FRESH_WITHIN = 20.0
"""Seconds after which a beat is too old to believe in."""
FORMAT = 1
_MAX_BYTES = 256 * 1024
_TEXT = 400


class Heartbeat:
    """Writes the file. `network` and `version` are what they are called on screen."""

    def __init__(self, state_directory: Path, clock: Clock, network: str, version: str) -> None:
        self._path = state_directory / HEARTBEAT_FILE
        self._clock = clock
        self._network = network
        self._version = version
        self._started_at = clock.now()
        self._view: ViewState | None = None
        self._block = ""
        self._received_at: float | None = None
        self._ticked_at: float | None = None
        self._written: tuple[object, ...] | None = None
        self.fault: str | None = None

    def see(self, view: ViewState) -> None:
        """Take in a view; written at once where what protects has changed."""
        block = view.chain.block
        if block is not None and block.hash != self._block:
            self._block = block.hash
            self._received_at = view.at - (view.chain.head_age or 0.0)
        self._view = view
        standing = (view.protection, view.held, view.killed, view.degraded is None, view.signer is None)
        changed = (*standing, tuple(_armed(view)))
        if changed != self._written:
            self._written = changed
            self.beat()

    def beat(self, stopped: bool = False, why: str = "", *, ticked_at: float | None = None) -> None:
        """Write the file now. A disk that refuses is kept in `fault`: the file grows old, and that tells as well.

        `ticked_at` is when the engine last moved (unix seconds); None: a view has just come from it.
        """
        view = self._view
        now = self._clock.now()
        self._ticked_at = ticked_at if ticked_at is not None else None if view is None else view.at
        beat: dict[str, object] = {
            "format": FORMAT,
            "version": self._version,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "at": now,
            "ticked_at": self._ticked_at,
            "stopped": stopped,
            "network": self._network,
            "chain_id": None if view is None else view.chain.chain_id,
            "protection": "STOPPED" if stopped else None if view is None else str(view.protection),
            "why": why if stopped else "" if view is None else view.protection_why,
            "held": None if view is None else view.held,
            "killed": False if view is None else view.killed,
            "blind": None if view is None else view.chain.blind,
            "armed": [] if view is None or stopped else [dict(zip(_ARMED, one, strict=True)) for one in _armed(view)],
            "block": self._seen_block(),
            "disarmed": [] if view is None else [[one.rule.name, one.detail] for one in _disarmed(view)],
            "degraded": None if view is None else view.degraded,
            "signer": None if view is None else view.signer,
            "nodes": []
            if view is None
            else [
                {"url": one.url, "role": one.role, "state": one.state, "detail": one.detail}
                for one in view.chain.providers
            ],
            "would_stop": [] if view is None else list(view.would_stop),
            "policy_until": None if view is None else view.policy_until,
        }
        try:
            self._replace(json.dumps(beat, ensure_ascii=True).encode())
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}"
        else:
            self.fault = None

    def _seen_block(self) -> dict[str, object] | None:
        block = None if self._view is None else self._view.chain.block
        if block is None:
            return None
        return {
            "number": block.number,
            "hash": block.hash,
            "timestamp": block.timestamp,
            "received_at": self._received_at,
            "block_time": self._view.chain.block_time if self._view is not None else None,
        }

    def _replace(self, content: bytes) -> None:
        temporary = self._path.with_name(f".{HEARTBEAT_FILE}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
        temporary.replace(self._path)


_ARMED = ("rule", "since", "positions")


def _armed(view: ViewState) -> list[tuple[str, float, tuple[str, ...]]]:
    return [(one.rule.name, one.armed_since, one.positions) for one in view.rules if one.armed_since is not None]


def _disarmed(view: ViewState) -> list[RuleView]:
    """Rules that lost their signatures while this engine ran: their detail says why."""
    return [one for one in view.rules if one.activity is RuleActivity.DISARMED and one.detail.startswith("disarmed: ")]


@dataclass(frozen=True, slots=True)
class ArmedRule:
    """A rule that was armed at a beat, since when (unix seconds)."""

    rule: str
    since: float


@dataclass(frozen=True, slots=True)
class NodeBeat:
    """A node, or the private relay, as the engine knew it at a beat. `url` masked."""

    url: str
    role: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat file says. Times in unix seconds; texts made harmless."""

    pid: int
    started_at: float
    at: float
    stopped: bool
    network: str
    protection: str
    why: str
    held: str | None
    armed: tuple[ArmedRule, ...]
    would_stop: tuple[str, ...]
    block_number: int | None
    block_received_at: float | None
    policy_until: float | None
    degraded: str | None = None
    disarmed: tuple[tuple[str, str], ...] = ()
    nodes: tuple[NodeBeat, ...] = ()
    ticked_at: float | None = None
    block_time: float | None = None
    signer: str | None = None


def read_heartbeat(state_directory: Path) -> Beat | None:
    """The last beat, None where there is none. Raises ValueError where the file is not to be believed."""
    path = state_directory / HEARTBEAT_FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ValueError(f"{path} can be written by others")
        raw = os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        if len(raw) > _MAX_BYTES:
            raise ValueError("too large")
        return _parse(orjson.loads(raw))  # the standard parser's nesting can end the process
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is not a heartbeat of this version") from None


def _parse(data: dict[str, object]) -> Beat:
    if data["format"] != FORMAT:
        raise ValueError("another format")
    block = data["block"]
    armed, would_stop = data["armed"], data["would_stop"]
    if not isinstance(armed, list) or not isinstance(would_stop, list):
        raise TypeError
    held, degraded, signer = data["held"], data.get("degraded"), data.get("signer")
    disarmed, nodes = data.get("disarmed", []), data.get("nodes", [])
    if not isinstance(disarmed, list) or not isinstance(nodes, list):
        raise TypeError
    return Beat(
        pid=_whole(data["pid"]),
        started_at=_time(data["started_at"]),
        at=_time(data["at"]),
        stopped=data["stopped"] is not False,
        network=clean_text(str(data["network"])),
        protection=clean_text(str(data["protection"])),
        why=clean_text(str(data["why"]), _TEXT),
        held=None if held is None else clean_text(str(held), _TEXT),
        armed=tuple(ArmedRule(clean_text(str(one["rule"])), _time(one["since"])) for one in armed),
        would_stop=tuple(clean_text(str(one), _TEXT) for one in would_stop),
        block_number=None if not isinstance(block, dict) else _whole(block["number"]),
        block_received_at=None if not isinstance(block, dict) else _maybe_time(block["received_at"]),
        policy_until=_maybe_time(data["policy_until"]),
        ticked_at=_maybe_time(data.get("ticked_at")),
        block_time=_maybe_time(block.get("block_time")) if isinstance(block, dict) else None,
        degraded=None if degraded is None else clean_text(str(degraded), _TEXT),
        signer=None if signer is None else clean_text(str(signer), _TEXT),
        disarmed=tuple((clean_text(str(name)), clean_text(str(why), _TEXT)) for name, why in disarmed),
        nodes=tuple(
            NodeBeat(*(clean_text(str(one[key]), _TEXT) for key in ("url", "role", "state", "detail"))) for one in nodes
        ),
    )


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("not a whole number")
    return value


def _time(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e11:
        raise ValueError("not a time")
    return float(value)


def _maybe_time(value: object) -> float | None:
    return None if value is None else _time(value)
