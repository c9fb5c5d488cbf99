"""What is on its way and whose rule is not armed any more: nobody is there to raise its fee. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tui.engine.intents import is_stuck
from tui.engine.rulebook import Armed
from tui.model.intent import Firing, IntentState


def left_behind(firings: Iterable[Firing], armed_rules: Iterable[Armed]) -> tuple[str, ...]:
    """Transactions on their way whose rule is disarmed: the signer may not raise their fees any more."""
    keys = {key for armed in armed_rules for key in armed.keys}
    waiting = [
        intent.id
        for firing in firings
        if firing.state.is_open
        for intent in firing.intents
        if intent.account not in keys
        if intent.attempts and not intent.state.is_final and intent.state is not IntentState.INCLUDED
        if not is_stuck(intent)
    ]
    if not waiting:
        return ()
    it, its = ("a transaction", "its fee") if len(waiting) == 1 else (f"{len(waiting)} transactions", "their fees")
    return (
        f"On the way: {it} of a rule that is disarmed ({', '.join(waiting)}). Followed and sent again, "
        f"but {its} cannot be raised while the key is locked: arm a rule of that account to raise or cancel.",
    )
