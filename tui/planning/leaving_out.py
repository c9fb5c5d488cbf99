"""What else to try at the same block where a simulation refuses a plan, or tells that there is no money for all of its
gas: the same rule with a step of it left out.

One step that cannot be done (an exchange that answers with a price and then reverts, a token that is paused) must not
keep the others from being done. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from tui.model.plan import Action, Plan, Refusal
from tui.model.rule import SALES
from tui.planning.payers import paid_by

MOST_SIMULATED = 6
"""Plans that are simulated for one rule at one block: each is a round trip, while the price may go on falling."""
UNAVAILABLE = "simulation-unavailable"

LeftOut = Mapping[int, str]
"""Numbers of steps in the rule, from 0, and why each is left out."""


def is_refused(refusal: Refusal) -> bool:
    """Whether a simulation was made, and says no."""
    return refusal.code.startswith("simulation-") and refusal.code != UNAVAILABLE


def suspects(plan: Plan, refusal: Refusal) -> tuple[int, ...]:
    """The numbers of the steps that may be why a simulation refuses a plan, the likeliest first: the one whose call
    failed; where no call did, any of them, those first that an exchange has a part in.
    """
    actions = [step.action for step in plan.steps]
    if refusal.failed is not None:
        blamed = [_what(action) == _what(refusal.failed) for action in actions]
        if any(blamed):
            return (plan.taken[blamed.index(True)],)
    sales_first = sorted(zip(plan.taken, actions, strict=True), key=lambda one: one[1].kind not in SALES)
    return tuple(number for number, _ in sales_first)


def last_suspect(plan: Plan, refusal: Refusal) -> int | None:
    """The number of the likeliest step where a plan was simulated well, and then refused with its permits signed: the
    one whose call failed; where no call did, the first that a permit is for, since nothing else differs.
    """
    if refusal.failed is None:
        signed = [_what(call.action) for call in plan.calls if call.permit is not None and call.action is not None]
        for number, step in zip(plan.taken, plan.steps, strict=True):
            if _what(step.action) in signed:
                return number
    return next(iter(suspects(plan, refusal)), None)


class Trials:
    """What is tried for one rule at one block, one after the other: everything, then without what failed, the likeliest
    first and with as little left out as possible. `doubts` are left out from the first on, for `because`.
    """

    def __init__(self, doubts: LeftOut = MappingProxyType({}), because: Refusal | None = None) -> None:
        self._waiting: list[dict[int, str]] = [dict(doubts)]
        self._seen: set[frozenset[int]] = {frozenset(doubts)}
        self._refused: Refusal | None = because
        self._held: Refusal | None = None

    def __iter__(self) -> Iterator[LeftOut]:
        """What to leave out next."""
        for _ in range(MOST_SIMULATED):
            if not self._waiting:
                return
            yield self._waiting.pop(0)

    def refused(self, left_out: LeftOut, plan: Plan, refusal: Refusal) -> None:
        """The simulation of what was tried refuses it."""
        self._refused = self._refused or refusal
        self._without_one(left_out, suspects(plan, refusal), refusal)

    def short(self, left_out: LeftOut, plan: Plan, refusal: Refusal) -> None:
        """What was tried takes more gas, simulated, than an account can pay: it goes without the last of its steps."""
        self.held(left_out, refusal)
        account = plan.position.account
        taken = reversed(list(zip(plan.taken, plan.steps, strict=True)))
        theirs = tuple(number for number, step in taken if paid_by(step.action, account) == refusal.account)
        self._without_one(left_out, theirs, refusal)

    def _without_one(self, left_out: LeftOut, numbers: Iterable[int], refusal: Refusal) -> None:
        for number in numbers:
            longer = {**left_out, number: refusal.reason}
            if frozenset(longer) not in self._seen:
                self._seen.add(frozenset(longer))
                self._waiting.append(longer)

    def held(self, left_out: LeftOut, refusal: Refusal) -> None:
        """What was tried is not simulated: a limit holds it, or nothing is left to be done."""
        if not left_out:
            self._held = refusal
        elif self._held is None and refusal.code != "nothing-available":
            self._held = replace(refusal, reason=f"{refusal.reason}; left out: {'; '.join(left_out.values())}")

    @property
    def verdict(self) -> Refusal:
        """Why nothing of all that was tried is done. A way that waits for a limit is a way; without any it is what the
        simulation said of the first.
        """
        return self._held or self._refused or Refusal("nothing-available", "the rule has no steps")


def _what(action: Action) -> tuple[object, ...]:
    """Which step an action is of, whatever its size and its terms."""
    return action.kind, action.asset.address, None if action.sale is None else action.sale.collateral.address
