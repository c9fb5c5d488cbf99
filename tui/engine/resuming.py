"""What a restart or a locked signer left before its signatures were recorded: signed after all, or given up and freed.

Never opens a firing: what is judged anew goes the way of every verdict.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Sequence

from tui.engine.cancelling import CannotCancel
from tui.engine.executor import Executor
from tui.engine.guard import Guard
from tui.engine.intents import senders, unsigned
from tui.engine.leftovers import why_left_over
from tui.engine.prospect import Prospect
from tui.engine.rulebook import RuleBook
from tui.engine.sending import Teller
from tui.model.intent import Firing, FiringState
from tui.model.plan import FeeQuote, PlannedCall
from tui.model.position import Position
from tui.model.snapshot import Snapshot
from tui.model.view import Severity
from tui.ports.chain import ChainUnreachable, ReadFailed

STALE_TRIES = 3
"""What waits for its signature and was refused by this many simulations in a row is of no use any more."""


class Resuming:
    """Remembers how often what it takes up was refused. `may_act` answers None, or why nothing may be signed now;
    `guard` what holds a rule back on a position. `executor` None: nothing is ever taken up.
    """

    def __init__(
        self,
        rulebook: RuleBook,
        prospect: Prospect,
        executor: Executor | None,
        teller: Teller,
        guard: Guard,
        may_act: Callable[[], str | None],
    ) -> None:
        self._book = rulebook
        self._prospect = prospect
        self._executor = executor
        self._teller = teller
        self._guard = guard
        self._may_act = may_act
        self._stale: dict[str, int] = {}

    async def take_up(self, snapshot: Snapshot, fees: FeeQuote | None) -> None:
        """Take up firings that a restart or a locked signer left before their signatures were recorded."""
        if self._executor is None or fees is None:
            return
        for firing in self._executor.resume_planned():
            if firing.state is not FiringState.RUNNING:
                self._executor.drop_firing(firing.id, "stopped before anything was reserved; judged anew")
                continue
            rule, position = self._book.rule(firing.rule), snapshot.position(firing.position)
            left_over = why_left_over(firing, rule, position, self._book.armed_for)
            if left_over is not None:
                await self._give_up(firing, fees, *left_over)
            if left_over is not None or rule is None or position is None or self._may_act() is not None:
                continue
            if self._guard.hold_back(rule, position) is not None:
                continue

            refused: list[str] = []

            async def verify(
                calls: Sequence[PlannedCall], held: Position = position, said: list[str] = refused
            ) -> str | None:
                reason = await self._prospect.still_helps(held, snapshot, calls)
                said.extend(() if reason is None else (reason,))
                return reason

            if rule.boosts:
                await self._free(firing, fees, "a boost is not taken up again")
                continue
            await self._executor.resume_reserved(firing, fees, verify)
            if any(reason.startswith("simulated") for reason in refused):
                tries = self._stale[firing.id] = self._stale.get(firing.id, 0) + 1
                if tries >= STALE_TRIES:
                    await self._free(firing, fees, refused[0])
            else:
                self._stale.pop(firing.id, None)

    async def _give_up(self, firing: Firing, fees: FeeQuote, why: str, for_good: bool) -> None:
        """Tell of a firing that nobody is there to sign for, as long as it lasts; where a rule of its account is armed,
        its key frees the nonces. A rule that may yet be armed again is given as many blocks as a simulation.
        """
        assert self._executor is not None
        self._executor.tell_left_over(firing, why)
        keys = {key for armed in self._book.armed.values() for key in armed.keys}
        if keys.isdisjoint(senders(unsigned(firing))):
            return
        tries = self._stale[firing.id] = self._stale.get(firing.id, 0) + 1
        if (for_good or tries >= STALE_TRIES) and self._may_act() is None:
            await self._free(firing, fees, why, keys)

    async def _free(self, firing: Firing, fees: FeeQuote, why: str, keys: Container[str] | None = None) -> None:
        """Close the nonces of what was asked for, never recorded as signed and of no use any more: as long as they are
        bound, nothing else of the account can be done. `keys`: the accounts that can sign for that (None: all).
        """
        assert self._executor is not None
        mine = (one for one in unsigned(firing) if keys is None or one.account in keys)
        first = next((one for one in mine if not one.withheld), None)
        if first is None:
            return
        with contextlib.suppress(CannotCancel, ChainUnreachable, ReadFailed):
            await self._executor.cancel(first.id, fees)
            self._stale.pop(firing.id, None)
            self._teller.say(
                Severity.ALARM,
                f"{firing.rule}: given up after the restart ({why}): a transfer of nothing frees its nonce",
                kind="firing",
                firing_id=firing.id,
            )
