"""What is published: a view of this moment, drawn from what each room knows and handed to everyone who subscribed.

Only shows. What cannot be drawn looks like nothing that anybody may rely on, and who fails to listen ends no defence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from tui.crash import described
from tui.engine import publish
from tui.engine.armory import Armory
from tui.engine.breaker import DRAWING, Breaker
from tui.engine.defender import Defender
from tui.engine.guard import Guard
from tui.engine.history import History
from tui.engine.killswitch import KillSwitch
from tui.engine.left_behind import left_behind
from tui.engine.lookout import Lookout
from tui.engine.recorded import Recorded
from tui.engine.rulebook import RuleBook
from tui.engine.sending import Teller
from tui.engine.surroundings import Setup
from tui.engine.wanting import cannot_act, held_back
from tui.model.snapshot import Snapshot
from tui.model.view import Protection, Severity, ViewState, empty_view
from tui.ports.chain import Reader
from tui.ports.clock import Clock
from tui.ports.journal import JournalError


@dataclass(frozen=True, slots=True)
class Moment:
    """What only the loop knows of now, as `ViewState` tells it; `signer` is what keeps the signer from signing."""

    held: str | None
    blind: str | None
    head_age: float | None
    signer: str | None
    degraded: str | None
    troubles: tuple[tuple[str, str], ...]


class Showing:
    """Keeps the newest `view` and who wants to see it. `may_sign`: whether this engine can send anything at all;
    `count(trouble, where)` shows the circuit breaker an unexpected error.
    """

    def __init__(
        self,
        setup: Setup,
        rulebook: RuleBook,
        defender: Defender,
        guard: Guard,
        armory: Armory,
        lookout: Lookout,
        recorded: Recorded,
        history: History,
        teller: Teller,
        breaker: Breaker,
        kill_switch: KillSwitch,
        reader: Reader,
        clock: Clock,
        may_sign: bool,
        count: Callable[[str, str], None],
    ) -> None:
        self._setup = setup
        self._book = rulebook
        self._defender = defender
        self._guard = guard
        self._armory = armory
        self._lookout = lookout
        self._recorded = recorded
        self._history = history
        self._teller = teller
        self._breaker = breaker
        self._kill_switch = kill_switch
        self._reader = reader
        self._clock = clock
        self._may_sign = may_sign
        self._count = count
        self._deaf: dict[Callable[[ViewState], None], str] = {}
        self._receivers: list[Callable[[ViewState], None]] = []
        self.view = empty_view(setup.network.name, setup.network.chain_id, setup.network.block_time)

    def subscribe(self, receive: Callable[[ViewState], None]) -> Callable[[], None]:
        """Call `receive` with every view from now on; returns the way to stop."""
        self._receivers.append(receive)

        def stop() -> None:
            with contextlib.suppress(ValueError):
                self._receivers.remove(receive)

        return stop

    def publish(self, snapshot: Snapshot | None, moment: Callable[[], Moment]) -> None:
        """Draw a view of this moment and hand it to everyone who subscribed. Nothing of either stops the engine."""
        try:
            self.view = self._drawn(snapshot, moment)
        except Exception as error:  # noqa: BLE001 - what cannot be shown must not look as it did before
            self.view = self._undrawn(described(error))
            self._count(f"showing what is: {described(error)}", DRAWING)
        else:
            self._breaker.passed(DRAWING)
        for receive in tuple(self._receivers):
            try:
                receive(self.view)
            except Exception as error:  # noqa: BLE001 - who looks on must not end a defence
                self._unheard(receive, described(error))
            else:
                self._deaf.pop(receive, None)

    def _undrawn(self, trouble: str) -> ViewState:
        """The last view, as one that nobody may rely on."""
        before = self.view
        kept = Protection.READ_ONLY if self._setup.read_only else Protection.HELD
        why = f"What the engine sees cannot be shown ({trouble}): take nothing here as protected."
        return replace(before, sequence=before.sequence + 1, protection=kept, protection_why=why, would_stop=(why,))

    def _unheard(self, receive: Callable[[ViewState], None], trouble: str) -> None:
        """Told once as long as it lasts: what this reader shows or sends on is old."""
        if receive in self._deaf:
            return
        self._deaf[receive] = trouble
        with contextlib.suppress(JournalError):
            self._teller.say(Severity.ALARM, f"a screen or an output fails to follow: {trouble}", kind="unheard")

    def _drawn(self, snapshot: Snapshot | None, moment: Callable[[], Moment]) -> ViewState:
        setup = self._setup
        firings, spent, halted, stuck = self._recorded.shown(
            0 if snapshot is None else snapshot.block.timestamp, self._book.rules
        )
        now = moment()  # after the record was read: one that fails holds the engine
        standing = publish.Standing(
            at=self._clock.now(),
            read_only=setup.read_only,
            killed=self._kill_switch.is_on(),
            held=now.held,
            blind=now.blind,
            read_only_why=self._setup.read_only_why if self._setup.read_only else "",
            head_age=now.head_age,
            signer=now.signer,
        )
        refused = cannot_act(self._book.armed, self._defender.evaluations.values())
        facts = publish.Facts(
            network=setup.network,
            providers=self._reader.providers(),
            snapshot=snapshot,
            rules=self._book.rules,
            faults=self._book.faults,
            rules_file=str(setup.rules_files[0]) if setup.rules_files else "",
            armed_since={name: armed.since for name, armed in self._book.armed.items()},
            armed_accounts={name: armed.account for name, armed in self._book.armed.items()},
            armed_keys={name: armed.keys for name, armed in self._book.armed.items()},
            verdicts=self._defender.verdicts,
            evaluations=self._defender.evaluations,
            firings=firings,
            confirmations=self._defender.confirmations,
            spent_today=spent,
            own_accounts=frozenset(setup.keystores),
            labels=setup.labels,
            triggers=self._lookout.triggers,
            would_stop=(
                *self._breaker.counting,
                *(text for _, text in (*now.troubles, *refused)),
                *(f"a screen or an output fails to follow: {trouble}" for trouble in self._deaf.values()),
                *self._lookout.would_stop,
            ),
            worth_knowing=self._lookout.worth_knowing,
            halted=halted,
            low_gas=self._lookout.low_gas,
            policy_until=self._armory.policy_until,
            conditions=self._guard.conditions,
            disarmed=self._book.disarmed,
            degraded=now.degraded,
            left_behind=left_behind(firings, self._book.armed.values()) if self._may_sign else (),
            troubles=(*now.troubles, *held_back(self._book.armed, self._guard.conditions), *refused),
            notices=self._defender.notices,
            stuck=stuck,
        )
        return publish.draw(self.view.sequence + 1, standing, facts, self._history)
