"""What the record says is armed: a restart arms that again, whatever became of its means meanwhile.

Kept as one named text for each rule of a chain, since lines of the journal are let go of in time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tui.model.position import Position
from tui.model.rule import Rule
from tui.ports.journal import Journal, JournalReader

_MOST = 64 * 1024
"""More characters than that are nothing of ours."""


def is_armed_on_record(record: JournalReader | None, chain_id: int, rule: Rule, positions: Iterable[Position]) -> bool:
    """Whether a rule of exactly this meaning was armed for any of these positions, and no hand has disarmed it since.

    A rule is armed for all positions of an account or for none of them, so one that it had is enough. What cannot be
    read says no. Raises JournalError.
    """
    text = None if record is None else record.meta(_key(chain_id, rule))
    if not text or len(text) > _MOST:
        return False
    try:
        kept = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(kept, dict) or kept.get("digest") != rule.digest:
        return False
    known = kept.get("positions")
    return isinstance(known, list) and any(position.id in known for position in positions)


def record_armed(journal: Journal | None, chain_id: int, rule: Rule, positions: Iterable[Position]) -> None:
    """The rule is armed for these positions from now on. Raises JournalError."""
    if journal is not None:
        kept = {"digest": rule.digest, "positions": [position.id for position in positions]}
        journal.set_meta(_key(chain_id, rule), json.dumps(kept))


def record_disarmed(journal: Journal | None, chain_id: int, rule: Rule) -> None:
    """A hand disarmed the rule: armed once more, it is armed anew. Raises JournalError."""
    if journal is not None:
        journal.set_meta(_key(chain_id, rule), "")


def _key(chain_id: int, rule: Rule) -> str:
    return f"armed/{chain_id}/{rule.name}"
