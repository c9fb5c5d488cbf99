"""A deleverage in rounds by the account itself: what one firing has done so far, and what is still to come."""

from __future__ import annotations

from dataclasses import dataclass

from tui.model.position import Asset
from tui.model.rule import ActionKind
from tui.model.units import WAD

MOST_ROUNDS = 30
"""A chain of rounds that has not met its target after so many is given up."""
FLOOR = 102 * WAD // 100
"""A withdrawal leaves health at this or above: until what it bought has repaid, the price may fall by a fiftieth."""
LEAST_FLOOR = 1_005 * WAD // 1_000
"""Under health 1.04 a withdrawal goes half way towards 1, but no further than this: nearer to 1 nothing goes out."""


@dataclass(frozen=True, slots=True)
class PlannedRound:
    """A round that is about to fire or under way, by its episode; what it moves and costs, dollars with 8 decimals.
    `used` and `sold_usd`: what it takes of each step, as in `RoundsSoFar`, for every step that has a part in it.
    """

    episode: str
    spend_usd: int
    cost_usd: int
    used: tuple[tuple[int, int], ...] = ()
    sold_usd: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Agreed:
    """The most that all rounds of a firing may do by the yes that a person gave, what they did before it counted in.

    `steps` are (number of a step, base units of what its maximum is of) of what is done at once, `sales` (number of a
    step, dollars that are sold) of what goes in rounds, as it was shown: a step that is in neither was not asked about.
    `cost_usd`: gas and sales of all of it; None: what it costs was not known, so no further round is covered but in an
    emergency, in which cost asks nobody. Dollars with 8 decimals.
    """

    cost_usd: int | None
    steps: tuple[tuple[int, int], ...] = ()
    sales: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class DebtPart:
    """A debt of which a firing closes a part, in rounds: base units of `token` (lower-case hex) that were `owed` when
    it fired, and that its rounds have `repaid` since, by their own transactions.
    """

    token: str
    owed: int
    repaid: int = 0


@dataclass(frozen=True, slots=True)
class RoundsSoFar:
    """What a rule remembers between two rounds: the number of the step that went in rounds last (from 0), how many
    rounds have ended, dollars (8 decimals) moved and paid.

    `used` are (number of a step, base units of what its maximum is of) that they took of it, `sold_usd` (number of a
    step, dollars) that they sold by it. `left` are base units by token (lower-case hex) that the rounds took out of the
    position or bought, and did not use: they are in the wallet. Without any round it is what the rounds of an earlier
    firing left there. `agreed` is what a person said yes to for all rounds; None: nobody was asked.
    `planned` is the round that is about to fire or under way; `stopped`: the rule was disarmed by hand, and it is
    the last. `parts` are the debts of which a part is closed, where that is the goal: what was owed when it fired says
    how much that is, whatever a round leaves.
    """

    step: int
    rounds: int = 0
    used: tuple[tuple[int, int], ...] = ()
    spent_usd: int = 0
    cost_usd: int = 0
    left: tuple[tuple[str, int], ...] = ()
    agreed: Agreed | None = None
    planned: PlannedRound | None = None
    stopped: bool = False
    parts: tuple[DebtPart, ...] = ()
    sold_usd: tuple[tuple[int, int], ...] = ()

    def left_of(self, token: str) -> int:
        """Base units of a token that earlier rounds left in the wallet."""
        return dict(self.left).get(token, 0)

    def used_of(self, step: int) -> int:
        """Base units that the rounds took of the maximum of a step."""
        return dict(self.used).get(step, 0)

    def sold_of(self, step: int) -> int:
        """Dollars (8 decimals) that the rounds sold by a step."""
        return dict(self.sold_usd).get(step, 0)

    @property
    def leftovers(self) -> RoundsSoFar | None:
        """What the next firing is to know of rounds that are over: only what they left in the wallet."""
        return RoundsSoFar(self.step, left=self.left) if self.left else None


@dataclass(frozen=True, slots=True)
class Behind:
    """What a further step of the rule (its number `step`) is likely to do once the rounds before it are over: it repays
    `amount` base units of `asset` for `taken` of what its maximum is of, which is `pays` where it sells
    something, else the same asset. `spend_usd` is what it moves; `by_rounds`: it goes in rounds itself.
    """

    step: int
    kind: ActionKind
    asset: Asset
    amount: int
    pays: Asset
    taken: int
    spend_usd: int
    by_rounds: bool


@dataclass(frozen=True, slots=True)
class Rounds:
    """That a plan is one round of several: `number` from 1, `step` the number of the rule's step (from 0), `ahead`
    about how many follow, by estimate; what those move and cost (dollars with 8 decimals, units of gas).

    `lowest` is the health (wad) that this round's withdrawal leaves until the repayment; `reaches_target`: whether the
    rounds to come are likely to meet it, `ends_at` the health (wad; None: no debt) they end at. `collateral` and `debt`
    are what the rounds sell and repay. `by_choice`: the step asks for rounds, whether a helper stands or not.
    `parts` are the debts of which a part is closed, as they stood before this round, and `closes_bps` the part that
    the rounds come to; none and None where they restore a health factor. `behind` is what other steps are likely to do
    afterwards, which the sums have in them.
    """

    step: int
    number: int
    ahead: int
    lowest: int
    reaches_target: bool
    spend_usd: int
    swap_usd: int
    gas_units: int
    ends_at: int | None
    collateral: Asset
    debt: Asset
    by_choice: bool = False
    parts: tuple[DebtPart, ...] = ()
    closes_bps: int | None = None
    behind: tuple[Behind, ...] = ()

    @property
    def sale_usd(self) -> int:
        """What the rounds of this step alone are likely to sell that are still to come."""
        return self.spend_usd - sum(one.spend_usd for one in self.behind)

    @property
    def words(self) -> str:
        """`round 2 of about 9`."""
        return f"round {self.number} of about {self.number + self.ahead}"

    @property
    def why(self) -> str:
        """How many there are and why, for whoever arms or confirms it."""
        return f"{self.how_many} of withdrawing, swapping and repaying, one after the other, {self._because}"

    @property
    def in_short(self) -> str:
        """The same in fewer words."""
        return f"{self.how_many}, {self._because}"

    @property
    def how_many(self) -> str:
        """`in about 9 rounds`."""
        number = self.number + self.ahead
        return "in about one round" if number == 1 else f"in about {number} rounds"

    @property
    def _because(self) -> str:
        if self.by_choice:
            return 'because its step says rounds = "always"'
        return "because no helper is deployed (`trimtab helper deploy` makes it one transaction)"


def floor_of(health: int) -> int | None:
    """The least health (wad) that a withdrawal may leave where it is `health` now; None where nothing may go out."""
    floor = min(WAD + (health - WAD) // 2, FLOOR)
    return floor if LEAST_FLOOR <= floor < health else None
