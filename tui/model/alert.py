"""What a person is told of when nobody looks at the screen, and how they want to be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The settings are read before the first frame, and the view is not needed for them.
    from tui.model.view import Severity


class AlertKind(StrEnum):
    """What happened, by the name used in settings and in every alert's JSON."""

    AT_RISK = "at-risk"
    LIQUIDATED = "liquidated"
    FIRED = "fired"
    DONE = "done"
    FAILED = "failed"
    HELD = "held"
    BLIND = "blind"
    LOW_GAS = "low-gas"
    DISARMED = "disarmed"
    ALIVE_AGAIN = "alive-again"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing worth waking somebody. `at` unix seconds of the view that showed it; `text` one plain sentence.

    `key` names the event or the lasting state: two alerts with one key are about the same thing. `level` grows as a
    lasting state gets worse. `lasts` says that it goes on until it ends, and is told again meanwhile.
    """

    kind: AlertKind
    key: str
    severity: Severity
    text: str
    at: float
    network: str
    block: int | None = None
    rule: str | None = None
    position: str | None = None
    firing: str | None = None
    level: int = 0
    lasts: bool = False
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The ways an alert goes and which kinds go at all. `repeat` in seconds, for states that last (0: never again).

    `command` is an argument list, run without a shell. `webhook` is a secret: never shown whole.
    """

    bell: bool = True
    command: tuple[str, ...] = field(default=(), repr=False)
    webhook: str | None = field(default=None, repr=False)
    on: frozenset[AlertKind] = frozenset(AlertKind)
    repeat: float = 600.0
