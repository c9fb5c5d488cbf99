"""What waits for its signature since a crash or a locked signer, and whose rule is not there to sign it. Pure.

As long as it has its nonces nothing else of its account can be done, so it must not wait in silence.
"""

from __future__ import annotations

from collections.abc import Callable

from tui.engine.intents import senders, unsigned
from tui.model.intent import Firing
from tui.model.position import Position
from tui.model.rule import Rule
from tui.model.text import clean_text, short_address


def why_left_over(
    firing: Firing, rule: Rule | None, position: Position | None, armed_for: Callable[[Rule, Position], bool]
) -> tuple[str, bool] | None:
    """Why a firing cannot be signed as it was meant, and whether that is for good; None where it can."""
    if rule is None and firing.health_factor_before is None:
        return "it was asked for by hand, which no rule goes on with", True
    if rule is None:
        return "no rule in the rules files is called so", True
    if rule.digest != firing.rule_digest:
        return "its rule was edited since", True
    if position is None:
        return "its position is not watched any more", True
    return None if armed_for(rule, position) else ("its rule is not armed", False)


def left_over_words(firing: Firing, why: str) -> str:
    """For whoever has to mend it."""
    whose = senders(unsigned(firing)) or (firing.account,)
    return (
        f"{clean_text(firing.rule, 40)}: asked for its signature earlier, and {why}; nothing else of "
        f"{', '.join(map(short_address, whose))} can be signed before its nonce is free: arm a rule of that account, "
        "which frees it, or `trimtab cancel`"
    )
