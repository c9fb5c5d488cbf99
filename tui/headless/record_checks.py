"""What the doctor concludes from the record: transactions that are stuck, or that nobody follows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tui.engine.intents import HOW_TO_CANCEL, is_stuck, stuck_words
from tui.headless.checks import Check
from tui.model.intent import Intent, IntentState


def unsettled_checks(intents: Sequence[Intent], followed: bool) -> Iterator[Check]:
    """Transactions that own a nonce and are not final. `followed`: an engine holds the state directory."""
    for intent in intents:
        name = f"nonce {intent.nonce}"
        if is_stuck(intent):
            yield Check(name, False, f"{stuck_words(intent)} It is: {intent.words}", HOW_TO_CANCEL)
        elif intent.state is IntentState.RESERVED and not intent.signing_began:
            text = f"{intent.words}: its nonce is bound, and the signer was not asked yet"
            yield Check(name, followed, text, "start the engine again: it frees the nonce and judges anew")
        elif intent.state is IntentState.RESERVED:
            text = f"{intent.words}: the signer was asked and nothing came of it; its nonce is kept for it"
            yield Check(name, False, text, f"arm the rule again, which signs the very same, or {HOW_TO_CANCEL}")
        elif followed:
            yield Check(name, True, f"{intent.words}: under way ({intent.state})")
        else:
            text = f"{intent.words}: {intent.state}, and no engine follows it"
            yield Check(name, False, text, "start the engine again: it sends the very same bytes and follows them")
