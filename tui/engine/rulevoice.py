"""How anything is told of one rule on one position: under its name and account. Never decides whether to tell."""

from __future__ import annotations

from tui.engine.sending import Teller
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.model.view import Severity


class RuleVoice:
    """Speaks through `teller`, to the journal and to whoever listens. Raises JournalError."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller

    def say(self, severity: Severity, rule: Rule, position: Position, snapshot: Snapshot, text: str) -> None:
        """At a block, as often as it happens."""
        line = f"{rule.name} on {short_address(position.key.account)}: {text}"
        self._teller.say(severity, line, kind="rule", block=snapshot.block.number, rule=rule.name, position=position.id)

    def say_once(self, severity: Severity, rule: Rule, position: Position, text: str) -> None:
        """The same, unless it was the last thing said of this rule on this position."""
        line = f"{rule.name} on {short_address(position.key.account)}: {text}"
        self._teller.say_once(
            severity,
            line,
            kind="rule",
            about=f"{rule.name}/{position.id}",
            rule=rule.name,
            position=position.id,
        )
