"""The glyph, the word and the role of every state: colour never speaks alone."""

from __future__ import annotations

from typing import NamedTuple

from tui.model.intent import FiringState, IntentState
from tui.model.position import MarketKey, Status
from tui.model.rule import ActionKind, Mode
from tui.model.view import Protection, RuleActivity, Severity
from tui.screen.clean import clean_text


class Sign(NamedTuple):
    """How a state is shown."""

    glyph: str
    word: str
    role: str

    @property
    def both(self) -> str:
        """Glyph and word."""
        return f"{self.glyph} {self.word}"


STATUS: dict[Status, Sign] = {
    Status.NO_DEBT: Sign("○", "no debt", "muted"),
    Status.SAFE: Sign("●", "safe", "safe"),
    Status.WATCH: Sign("◐", "watch", "watch"),
    Status.AT_RISK: Sign("▲", "at risk", "risk"),
    Status.LIQUIDATABLE: Sign("✖", "liquidatable", "danger"),
    Status.UNKNOWN: Sign("?", "unknown", "unknown"),
}


def status_sign(status: Status, stale: bool) -> Sign:
    """The sign of a status; what was true at an old block is only said to have been."""
    sign = STATUS[status]
    return Sign("?", f"was {sign.word}"[:15], "stale") if stale and status is not Status.UNKNOWN else sign


PROTECTION: dict[Protection, Sign] = {
    Protection.ARMED: Sign("◆", "ARMED", "armed"),
    Protection.WATCHING: Sign("◇", "WATCHING", "watching"),
    Protection.HELD: Sign("■", "HELD", "held"),
    Protection.READ_ONLY: Sign("○", "READ-ONLY", "readonly"),
}
KILLED = Sign("■", "KILL SWITCH", "held")
BLIND = Sign("✖", "BLIND", "held")

ACTIVITY: dict[RuleActivity, Sign] = {
    RuleActivity.OFF: Sign("·", "off", "muted"),
    RuleActivity.INVALID: Sign("✖", "invalid", "alarm"),
    RuleActivity.DISARMED: Sign("◇", "disarmed", "muted"),
    RuleActivity.ARMED: Sign("◆", "armed", "good"),
    RuleActivity.COUNTING: Sign("◔", "counting", "warn"),
    RuleActivity.ASKING: Sign("◈", "asks you", "warn"),
    RuleActivity.FIRING: Sign("▶", "firing", "accent"),
    RuleActivity.LATCHED: Sign("▣", "latched", "watch"),
    RuleActivity.COOLING: Sign("◷", "cooling", "watch"),
    RuleActivity.HELD: Sign("■", "held", "alarm"),
}

SEVERITY: dict[Severity, Sign] = {
    Severity.INFO: Sign("·", "note", "muted"),
    Severity.GOOD: Sign("✓", "good", "good"),
    Severity.WARNING: Sign("▲", "warning", "warn"),
    Severity.ALARM: Sign("✖", "alarm", "alarm"),
}

FIRING: dict[FiringState, Sign] = {
    FiringState.TRIGGERED: Sign("▶", "triggered", "warn"),
    FiringState.PLANNED: Sign("▶", "planned", "warn"),
    FiringState.RUNNING: Sign("▶", "running", "accent"),
    FiringState.DONE: Sign("✓", "done", "good"),
    FiringState.FAILED: Sign("✖", "failed", "alarm"),
    FiringState.DROPPED: Sign("·", "dropped", "muted"),
    FiringState.HALTED: Sign("■", "halted", "alarm"),
}

INTENT: dict[IntentState, Sign] = {
    IntentState.PLANNED: Sign("·", "planned", "muted"),
    IntentState.RESERVED: Sign("◌", "nonce bound", "watch"),
    IntentState.SIGNED: Sign("✎", "signed", "watch"),
    IntentState.MAYBE_SENT: Sign("↗", "sent, awaiting a block", "accent"),
    IntentState.CANCELLING: Sign("↺", "cancelling", "warn"),
    IntentState.INCLUDED: Sign("◑", "in a block, not final", "accent"),
    IntentState.FINAL_OK: Sign("✓", "final", "good"),
    IntentState.FINAL_REVERTED: Sign("✖", "reverted, final", "alarm"),
    IntentState.FINAL_CANCELLED: Sign("·", "cancelled, final", "muted"),
    IntentState.NONCE_LOST: Sign("✖", "nonce used elsewhere", "alarm"),
    IntentState.DROPPED: Sign("·", "dropped", "muted"),
}

MODE: dict[Mode, str] = {Mode.NOTIFY: "notify", Mode.CONFIRM: "confirm", Mode.AUTO: "auto"}

ACTION: dict[ActionKind, str] = {
    ActionKind.REPAY: "repay",
    ActionKind.ADD_COLLATERAL: "add",
    ActionKind.REPAY_WITH_ATOKENS: "repay from supply",
    ActionKind.DELEVERAGE: "deleverage",
    ActionKind.SWITCH_COLLATERAL: "switch collateral",
    ActionKind.SWITCH_DEBT: "switch debt",
    ActionKind.BOOST: "boost",
    ActionKind.SWAP_TO_REPAY: "swap and repay",
}

PROVIDER_ROLE = {"ok": "good", "lagging": "warn", "wrong-chain": "alarm", "failing": "alarm", "lying": "alarm"}


def market_name(market: MarketKey) -> str:
    """`aave-v3 core`, cleaned."""
    return f"{clean_text(market.protocol, 16)} {clean_text(market.name, 16)}"
