"""What a screen or a headless command may ask of the engine; views come out, commands go in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tui.model.outcome import Row
from tui.model.plan import Evaluation
from tui.model.rule import RuleFault
from tui.model.view import ViewState

Passwords = str | Mapping[str, str]
"""One password for every key file that a rule needs, or one by account (lower-case hex)."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key that a rule needs: whose, in which key file, and the steps that it signs, in words."""

    account: str
    keystore: str
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArmingReport:
    """What arming a rule would mean: what it may spend in words, what would stop it, what forbids arming at all.

    `account` is whose position it is, `keystore` that account's key file where it is here. `keys` are all that its
    steps need and that are here: other accounts may pay.

    `problems` forbid (invalid rule, no key for the account ...); `warnings` would stop a defence (missing token or
    gas); `spends` are lines such as "up to 5,000 USDC a firing, $50,000 a day".
    """

    rule: str
    account: str | None
    keystore: str | None
    spends: tuple[str, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    keys: tuple[KeyUse, ...] = ()


@dataclass(frozen=True, slots=True)
class RulesText:
    """The rules file as it is now; `digest` must be handed back when saving."""

    path: str
    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A rule text held against the current block: faults, and what each rule in it would do now."""

    faults: tuple[RuleFault, ...]
    evaluations: tuple[Evaluation, ...]


class CommandRefused(Exception):
    """The engine would not do that; the text says why and what to do."""


class EngineFacade(Protocol):
    """The engine as a screen sees it. Commands raise CommandRefused and nothing else."""

    @property
    def view(self) -> ViewState:
        """The latest view."""

    def subscribe(self, receive: Callable[[ViewState], None]) -> Callable[[], None]:
        """Call `receive` (in the loop's thread) with every new view; returns the way to stop."""

    async def arming_report(self, rule: str) -> ArmingReport:
        """What arming would mean, at the current block."""

    async def arm(self, rule: str, typed_name: str, passwords: Passwords) -> None:
        """Unlock every keystore that a rule needs and arm it; `typed_name` must equal the rule's name."""

    async def disarm(self, rule: str, why: str, *, by_hand: bool = True) -> None:
        """Stop a rule from firing; what is under way is tracked to its end. Not `by_hand`, where the app is left, it
        forgets nothing: armed again it goes on where it was.
        """

    async def answer(self, confirmation_id: str, yes: bool, digest: str) -> None:
        """Answer a confirmation; `digest` is that of the one that was shown, with the plan that it had then."""

    async def kill(self, on: bool, why: str) -> None:
        """Set or release the kill switch."""

    async def cancel(self, intent_id: str) -> None:
        """Close a signed transaction's nonce by a transfer of nothing to oneself; what is mined in the end decides."""

    async def resume(self) -> None:
        """Go on by hand after the engine held itself."""

    async def outcomes(self) -> tuple[Row, ...]:
        """What was expected of the latest firings that signed something and what came of them, oldest first."""

    async def rules_text(self) -> RulesText:
        """The rules file."""

    async def preview(self, text: str) -> Preview:
        """What a rules text would do at the current block; nothing is saved."""

    async def save_rules(self, text: str, digest: str) -> None:
        """Write the rules file where it has not changed since `digest` was read; armed rules that changed disarm."""
