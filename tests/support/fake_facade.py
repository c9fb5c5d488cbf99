"""A facade that only records what it was asked, and publishes what a test gives it: for the screen's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.support.views import ALICE, RULES_TEXT, killed, watching
from tui.engine.facade import ArmingReport, CommandRefused, Passwords, Preview, RulesText
from tui.model.outcome import Row
from tui.model.view import (
    ViewState,
)


@dataclass
class FakeFacade:
    """Publishes what a test gives it and records every command. `slow` holds `arm` back until it is set."""

    view: ViewState
    commands: list[tuple[object, ...]] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    report: ArmingReport | None = None
    text: str = RULES_TEXT
    preview_answer: Preview = field(default_factory=lambda: Preview((), ()))
    slow: asyncio.Event | None = None
    rows: tuple[Row, ...] = ()
    _receivers: list[Callable[[ViewState], None]] = field(default_factory=list)

    def publish(self, view: ViewState) -> None:
        """As the engine does after each block."""
        self.view = view
        for receive in list(self._receivers):
            receive(view)

    def subscribe(self, receive: Callable[[ViewState], None]) -> Callable[[], None]:
        self._receivers.append(receive)
        return lambda: self._receivers.remove(receive)

    def _note(self, *command: object) -> None:
        self.commands.append(command)
        reason = self.refuse.get(str(command[0]))
        if reason is not None:
            raise CommandRefused(reason)

    async def arming_report(self, rule: str) -> ArmingReport:
        self._note("arming_report", rule)
        return self.report or ArmingReport(
            rule,
            ALICE,
            "/home/you/.config/trimtab/keystores/main.json",
            ("up to 8,000 USDC a firing", "up to 2 WETH a firing", "at most $50,000 a day and $200 of gas a firing"),
            ("The wallet holds 5,000.00 USDC of the 8,000 USDC that the rule may need.",),
            (),
        )

    async def arm(self, rule: str, typed_name: str, passwords: Passwords) -> None:
        if self.slow is not None:
            await self.slow.wait()
        if not isinstance(passwords, str):
            passwords = " ".join(f"{account[:6]}:{password}" for account, password in passwords.items())
        self._note("arm", rule, typed_name, len(passwords))

    async def disarm(self, rule: str, why: str, *, by_hand: bool = True) -> None:
        self._note("disarm", rule, why, *(() if by_hand else ("not by hand",)))

    async def answer(self, confirmation_id: str, yes: bool, digest: str) -> None:
        assert any(one.id == confirmation_id and one.digest == digest for one in self.view.confirmations)
        self._note("answer", confirmation_id, yes)

    async def kill(self, on: bool, why: str) -> None:
        self._note("kill", on, why)
        self.publish(replace(killed() if on else watching(), sequence=self.view.sequence + 1))

    async def cancel(self, intent_id: str) -> None:
        self._note("cancel", intent_id)

    async def outcomes(self) -> tuple[Row, ...]:
        self._note("outcomes")
        return self.rows

    async def resume(self) -> None:
        self._note("resume")

    async def rules_text(self) -> RulesText:
        self._note("rules_text")
        return RulesText("/home/you/.config/trimtab/rules.toml", self.text, "t1")

    async def preview(self, text: str) -> Preview:
        self._note("preview", text)
        return self.preview_answer

    async def save_rules(self, text: str, digest: str) -> None:
        self._note("save_rules", text, digest)
        self.text = text


async def started(facade: FakeFacade) -> FakeFacade:
    """A start that is there at once."""
    await asyncio.sleep(0)
    return facade
